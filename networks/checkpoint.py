"""Generators and interrupted trainings on disk: safetensors with a JSON header, never pickle.

One file holds one thing: the tensors, and in the header its kind, format version, a checksum of the tensors
and a JSON document. Files are written beside their name and renamed, so a reader never sees half of one.

A generator is of one of two families, and its file says of which: the models of [A], or the operator generator. The
file of a compressed one holds its recipe, and each tensor that layers share once.
"""

import contextlib
import hashlib
import importlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open  # type: ignore[attr-defined]
from safetensors.torch import save_file
from torch import Tensor

from networks.core.rebuildable import is_compressed
from networks.core.sharing import load_unique, unique_tensors
from networks.errors import NetworkError
from networks.paper.generator import GeneratorSpec, build

FORMAT_VERSION = 2
GENERATOR = "submodel-generator"
OPERATOR = "operator"
"""The family of the operator generator, and the `model` of its specification."""
PAPER = "paper"
"""The family of the models of [A]."""

Generator = Any
"""`BoundaryGenerator` or `OperatorGenerator`: modules with a `spec` whose `model` says which."""
Spec = Any
"""`GeneratorSpec` or `OperatorSpec`."""


class CheckpointError(NetworkError):
    """A checkpoint cannot be read; the message says which, why, and what to do."""


def save(path: str | Path, generator: Generator, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a generator with its specification and whatever belongs to it.

    Args:
        path: file name, by convention ending in .safetensors.
        generator: the model, of either family.
        metadata: values for JSON, given back by `load`.
    """
    family = OPERATOR if generator.spec.model == OPERATOR else PAPER
    document = {"family": family, "spec": generator.spec.to_dict(), "metadata": dict(metadata or {})}
    if is_compressed(generator):
        document["compression"] = _structure().recipe_of(generator)
    write_tensors(path, GENERATOR, unique_tensors(generator), document)


def load(path: str | Path, device: str | torch.device = "cpu") -> tuple[Generator, dict[str, Any]]:
    """Read a generator of either family, in evaluation mode, and its metadata.

    Raises:
        CheckpointError: the file is missing, damaged, not a generator, or of another version.
    """
    tensors, document = read_tensors(path, GENERATOR)
    with _buildable(path):
        spec = _spec(document)
        with torch.random.fork_rng(devices=()):
            generator = build(spec) if isinstance(spec, GeneratorSpec) else _operator(spec)
            if recipe := document.get("compression"):
                _structure().apply_recipe(generator, recipe)
        load_unique(generator, tensors)
        metadata = dict(document["metadata"])
    return generator.to(device).eval(), metadata


def read_metadata(path: str | Path) -> tuple[Spec, dict[str, Any]]:
    """Specification and metadata of a generator, without building it.

    Raises:
        CheckpointError: as `load`.
    """
    _, document = read_tensors(path, GENERATOR)
    with _buildable(path):
        return _spec(document), dict(document["metadata"])


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


def _spec(document: Mapping[str, Any]) -> Spec:
    """The specification that a document holds."""
    family = document["family"]
    if family == PAPER:
        return GeneratorSpec.from_dict(document["spec"])
    if family == OPERATOR:
        module = importlib.import_module("networks.operator.spec")  # it need not be loaded for the others
        return module.OperatorSpec.from_dict(document["spec"])
    raise ValueError(f"unknown family {family!r}")


def _structure() -> Any:
    """The module that knows recipes of compressed models, which need not be there for the others."""
    return importlib.import_module("networks.compression.layer.structure")


def _operator(spec: Spec) -> Generator:
    """An operator generator, untrained; what its case gave it, travel times above all, is among its tensors."""
    return importlib.import_module("networks.operator.network").OperatorGenerator(spec)


def write_tensors(path: str | Path, kind: str, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Write tensors and a JSON document as one file, atomically."""
    path = Path(path)
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {
        "kind": kind,
        "version": str(FORMAT_VERSION),
        "checksum": _checksum(plain),
        "document": json.dumps(document, allow_nan=True),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(plain, temporary, metadata=header)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or version.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; give the path of a file written by submodel train")
    try:
        with safe_open(str(path), framework="pt") as file:  # type: ignore[attr-defined]
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no readable safetensors file ({error}); it is damaged or foreign, train again"
        ) from error
    if header.get("kind") != kind:
        raise CheckpointError(f"{path} is no {kind} but {header.get('kind', 'of another program')}; give another file")
    if header.get("version") != str(FORMAT_VERSION):
        raise CheckpointError(f"{path} has format version {header.get('version')}, not {FORMAT_VERSION}; train again")
    if header.get("checksum") != _checksum(tensors):
        raise CheckpointError(
            f"{path} is damaged: its numbers do not match their checksum; copy it again or train again"
        )
    try:
        document = json.loads(header["document"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: its header holds no document ({error}); train again") from error
    return tensors, document


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
