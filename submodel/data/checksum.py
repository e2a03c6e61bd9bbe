"""The seal of a file: a line ahead of its HDF5 content that says what it is, with the checksum of all that follows.

It is compared before the HDF5 library sees the file, which a single damaged byte may crash or send into a loop.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from submodel.geometry.arrays import FORMAT_VERSION

SEAL_SIZE = 512  # bytes; an HDF5 user block, which the library leaves alone
MISSING = "is missing"
DATASET, RECIPROCAL = "submodel dataset, version ", "submodel reciprocal dataset, version "


class Keyed(Protocol):
    """A plan, known by its key."""

    @property
    def key(self) -> str: ...


def dataset_name(kind: str = DATASET) -> str:
    """What the seal of a dataset says."""
    return f"{kind}{FORMAT_VERSION}"


def is_reciprocal(path: Path) -> bool:
    """Whether a file says that it is a reciprocal dataset, of whatever version. Local."""
    try:
        with open(path, "rb") as file:
            return file.read(len(RECIPROCAL)) == RECIPROCAL.encode()
    except OSError:
        return False


def shard_name(key: str, sample: object) -> str:
    """What the seal of a shard says; key is that of the plan."""
    return f"submodel shard, version {FORMAT_VERSION}, plan {key}, sample {sample}"


def seal(file: BinaryIO, content: NDArray[np.uint8], name: str) -> None:
    """Write the seal of a file. Local.

    Args:
        file: open for writing.
        content: (byte,) all of it, the place of the seal included.
        name: what the seal says.
    """
    file.seek(0)
    file.write(seal_line(content, name))


def is_sealed(content: NDArray[np.uint8], name: str) -> bool:
    """Whether the content is what was sealed under that name."""
    return content[:SEAL_SIZE].tobytes() == seal_line(content, name)


def shard_fault(folder: Path, plan: Keyed, sample: object) -> str | None:
    """What is wrong with a shard, or None. Reads all of it. Local.

    Args:
        folder: where the shards lie.
        plan: what it must belong to.
        sample: which one.
    """
    try:
        content = np.fromfile(folder / f"{sample}.h5", np.uint8)
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return f"is damaged: it cannot be read ({error.strerror})"
    name = shard_name(plan.key, sample)
    if is_sealed(content, name):
        return None
    if content[: len(name)].tobytes() == name.encode():
        return "is damaged: it does not match its checksum"
    return "is damaged or of another dataset: its seal does not name this sample"


def seal_line(content: NDArray[np.uint8], name: str) -> bytes:
    """The seal of a content, which may or may not stand in it already."""
    checksum = zlib.crc32(content[SEAL_SIZE:])
    return f"{name}, crc32 {checksum:08x}\n".encode().ljust(SEAL_SIZE, b"\0")
