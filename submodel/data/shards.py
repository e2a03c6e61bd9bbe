"""Shards: the files of a dataset's samples, each written whole or not at all."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submodel.data.hdf5 import VERSION, shard_places
from submodel.data.manifest import DatasetError, Manifest, Task
from submodel.data.storage.checksum import SEAL_SIZE, seal_line, shard_name
from submodel.data.storage.whole import whole_file
from submodel.geometry.arrays import Geometry

Floats = NDArray[np.floating[Any]]


class ShardWriter:
    """Writes one file a sample, whole or not at all. Local.

    All shards of one shape have one layout. HDF5 makes it once; then a shard is a copy of it with its numbers in their
    places, byte for byte what HDF5 writes, at a small part of its time.

    Args:
        folder: where the shards lie.
        manifest: what they belong to.
        geometry: which gives their shapes.
    """

    def __init__(self, folder: Path, manifest: Manifest, geometry: Geometry) -> None:
        self._folder, self._manifest, self._geometry = folder, manifest, geometry
        self._layouts: dict[str, _Layout] = {}
        self._read: NDArray[np.uint8] = np.empty(0, np.uint8)  # a shard as it is read back

    def write(self, task: Task, arrays: Mapping[str, Floats]) -> None:
        """Write a shard to a temporary name, read it back, compare, and give it its name.

        Args:
            task: which one.
            arrays: those of `Manifest.shapes`; stored as float32.

        Raises:
            DatasetError: a value is not finite in float32, or what was read back differs.
            OSError: the file cannot be written.
        """
        with whole_file(self._folder / f"{task}.h5", sync=False) as unfinished:
            self._put(unfinished, self._content(unfinished, task, arrays))

    def _content(self, unfinished: Path, task: Task, arrays: Mapping[str, Floats]) -> NDArray[np.uint8]:
        """All bytes of a shard; HDF5 needs a file, of that name, for the first."""
        marks, shapes = self._manifest.marks(task), self._manifest.shapes(task, self._geometry)
        same = repr((shapes, {name: mark for name, mark in marks.items() if isinstance(mark, str)}))
        if same not in self._layouts:
            self._layouts[same] = _layout(unfinished, self._manifest.shard_attributes, marks, shapes)
        layout = self._layouts[same]
        for name, place in layout.arrays.items():
            with np.errstate(over="ignore"):  # an overflow is refused below
                np.copyto(place, arrays[name], casting="same_kind")
            if not _is_finite(place):
                raise DatasetError(f"{task}: {name} has values that float32 cannot hold: scale the units of the case")
        for name, number in layout.marks.items():
            number[...] = marks[name]
        content = layout.content
        content[:SEAL_SIZE] = np.frombuffer(seal_line(content, shard_name(self._manifest.key, task)), np.uint8)
        return content

    def _put(self, path: Path, content: NDArray[np.uint8]) -> None:
        """Write a file and see that it can be read."""
        if len(self._read) != len(content):
            self._read = np.empty_like(content)
        with open(path, "w+b") as file:
            num_written = file.write(content.data)
            file.seek(0)
            num_read = file.readinto(self._read.data)
        if not num_written == num_read == len(content) or not _same(self._read, content):
            raise DatasetError(f"{path}: what was read back is not what was written: check the disk")


def _is_finite(values: NDArray[np.float32]) -> bool:
    """True where all are finite; the sum of their squares tells it in a tenth of the time, unless it overflows."""
    flat = values.reshape(-1)
    return bool(np.isfinite(np.dot(flat, flat)) or np.isfinite(flat).all())


def _same(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    """True where two contents are equal, eight bytes at a time."""
    whole = len(a) - len(a) % 8
    return np.array_equal(a[:whole].view(np.uint64), b[:whole].view(np.uint64)) and np.array_equal(a[whole:], b[whole:])


@dataclass(frozen=True)
class _Layout:
    """The bytes of a shard, with the places of what differs between shards.

    Args:
        content: all bytes; the others are views of it.
        arrays: float32, of their shapes.
        marks: attributes that are numbers.
    """

    content: NDArray[np.uint8]
    arrays: dict[str, NDArray[np.float32]]
    marks: dict[str, NDArray[Any]]


def _layout(
    path: Path, common: Mapping[str, Any], marks: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> _Layout:
    """Let HDF5 write a shard whose numbers are place holders, and find those.

    Raises:
        DatasetError: HDF5 stores attributes in a way that hides them.
        OSError: the file cannot be written.
    """
    numbers = {name: np.asarray(mark) for name, mark in marks.items() if not isinstance(mark, str)}
    holders = {name: _place_holder(name, number) for name, number in numbers.items()}
    starts = shard_places(path, {**common, **marks, **holders}, shapes)
    content = np.fromfile(path, np.uint8)
    path.unlink()
    whole = content.tobytes()
    places = {}
    for name, holder in holders.items():
        sought = holder.tobytes()
        if whole.count(sought) != 1:
            raise DatasetError(f"HDF5 {VERSION} hides the attribute {name}: use another release")
        start = whole.index(sought)
        places[name] = content[start : start + holder.nbytes].view(holder.dtype).reshape(holder.shape)
    arrays = {
        name: content[start : start + 4 * math.prod(shapes[name])].view(np.float32).reshape(shapes[name])
        for name, start in starts.items()
    }
    return _Layout(content, arrays, places)


def _place_holder(name: str, number: NDArray[Any]) -> NDArray[Any]:
    """A number of the same type and shape whose bytes stand nowhere else."""
    digits = hashlib.shake_256(name.encode()).digest(number.nbytes)
    return np.frombuffer(digits, number.dtype).reshape(number.shape)
