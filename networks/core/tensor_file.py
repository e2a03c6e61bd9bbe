"""Named tensors with a JSON document in one safetensors file, written whole or not at all, never unpickled."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open  # type: ignore[attr-defined]
from safetensors.torch import save_file
from torch import Tensor

from networks.core.errors import NetworkError

FORMAT_VERSION = 2


class CheckpointError(NetworkError):
    """A checkpoint cannot be read; the message says which, why, and what to do."""


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
