"""The seal of a file: a line ahead of its HDF5 content that says what it is, with the checksum of all that follows.

It is compared before the HDF5 library sees the file, which a single damaged byte may crash or send into a loop.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION = 4
SEAL_SIZE = 512  # bytes; an HDF5 user block, which the library leaves alone
MISSING = "is missing"
DATASET, RECIPROCAL, CROSS = (f"submodel {kind}dataset, version " for kind in ("", "reciprocal ", "cross "))


def dataset_name(kind: str = DATASET) -> str:
    """Words of a dataset's seal; kind is `DATASET`, `RECIPROCAL` or `CROSS`."""
    return f"{kind}{FORMAT_VERSION}"


def shard_name(key: str, task: object) -> str:
    """Words of a shard's seal; key is that of the manifest."""
    return f"submodel shard, version {FORMAT_VERSION}, plan {key}, sample {task}"


def seal(file: BinaryIO, content: NDArray[np.uint8], name: str) -> None:
    """Write the seal of a file. Local.

    Args:
        file: open for writing.
        content: (byte,) all of it, the place of the seal included.
        name: words of the seal.
    """
    file.seek(0)
    file.write(seal_line(content, name))


def is_sealed(content: NDArray[np.uint8], name: str) -> bool:
    """True where the content is what was sealed under that name."""
    return content[:SEAL_SIZE].tobytes() == seal_line(content, name)


def shard_fault(folder: Path, key: str, task: object) -> str | None:
    """Fault of a shard, or None. Reads all of it. Local.

    Args:
        folder: where the shards lie.
        key: of the manifest that it must belong to.
        task: which one.
    """
    try:
        content = np.fromfile(folder / f"{task}.h5", np.uint8)
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return f"is damaged: it cannot be read ({error.strerror})"
    name = shard_name(key, task)
    if is_sealed(content, name):
        return None
    if content[: len(name)].tobytes() == name.encode():
        return "is damaged: it does not match its checksum"
    return "is damaged or of another dataset: its seal does not name this sample"


def seal_line(content: NDArray[np.uint8], name: str) -> bytes:
    """The seal of a content, which may or may not stand in it already."""
    checksum = zlib.crc32(content[SEAL_SIZE:])
    return f"{name}, crc32 {checksum:08x}\n".encode().ljust(SEAL_SIZE, b"\0")
