"""Generators and interrupted trainings on disk: safetensors with a JSON header, never pickle.

One file holds one thing: the tensors, and in the header its kind, format version, a checksum of the tensors
and a JSON document. Files are written beside their name and renamed, so a reader never sees half of one.

A generator's file names its family, by which it is built. The file of a compressed one holds its recipe, and each
tensor that layers share once.
"""

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from networks import family
from networks.core.rebuildable import is_compressed
from networks.core.sharing import Packs, load_unique, unique_tensors
from networks.core.tensor_file import CheckpointError, read_tensors, write_tensors

__all__ = ["CheckpointError", "load", "read_metadata", "save", "update_metadata"]

GENERATOR = "submodel-generator"
Generator = Any
"""A module whose `spec` names its family."""


def save(path: str | Path, generator: Generator, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a generator with its specification and whatever belongs to it.

    Args:
        path: file name, by convention ending in .safetensors.
        generator: the model, of any family.
        metadata: values for JSON, given back by `load`.
    """
    document = {"family": family.of(generator).name, "spec": generator.spec.to_dict(), "metadata": dict(metadata or {})}
    if is_compressed(generator):
        document["compression"] = _structure().recipe_of(generator)
    tensors = generator.packed() if isinstance(generator, Packs) else unique_tensors(generator)
    write_tensors(path, GENERATOR, tensors, document)


def load(path: str | Path, device: str | torch.device = "cpu") -> tuple[Generator, dict[str, Any]]:
    """Read a generator, in evaluation mode, and its metadata.

    Raises:
        CheckpointError: the file is missing, damaged, not a generator, or of another version.
    """
    tensors, document = read_tensors(path, GENERATOR)
    with _buildable(path):
        own = family.named(document["family"])
        with torch.random.fork_rng(devices=()):
            generator = own.build(own.Spec.from_dict(document["spec"]))
            if recipe := document.get("compression"):
                _structure().apply_recipe(generator, recipe)
        if isinstance(generator, Packs):
            generator.unpack(tensors)
        else:
            load_unique(generator, tensors)
        metadata = dict(document["metadata"])
    return generator.to(device).eval(), metadata


def read_metadata(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """Specification and metadata of a generator, without building it.

    Raises:
        CheckpointError: as `load`.
    """
    _, document = read_tensors(path, GENERATOR)
    with _buildable(path):
        return family.named(document["family"]).Spec.from_dict(document["spec"]), dict(document["metadata"])


def update_metadata(path: str | Path, changes: Mapping[str, Any]) -> None:
    """Rewrite a generator's file with entries of its metadata changed or added, atomically; all else stays.

    Args:
        path: the file.
        changes: values for JSON.

    Raises:
        CheckpointError: as `load`.
    """
    tensors, document = read_tensors(path, GENERATOR)
    with _buildable(path):
        document["metadata"] = {**document["metadata"], **changes}
    write_tensors(path, GENERATOR, tensors, document)


@contextlib.contextmanager
def _buildable(path: str | Path) -> Iterator[None]:
    """Say which file it was that holds what cannot be built."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} holds a generator that this version cannot build ({error}); train it again"
        ) from error


def _structure() -> Any:
    """The module that knows how compressed layers are stored; a generator without them does not need it."""
    return importlib.import_module("networks.compression.layer.structure")
