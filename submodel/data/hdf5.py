"""HDF5 files: made whole or not at all, joined, laid out to be filled. The only module that imports h5py."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from submodel.data.manifest import DatasetError, Joined, shards_folder
from submodel.data.storage.checksum import SEAL_SIZE, dataset_name, seal
from submodel.data.storage.whole import whole_file

METADATA_SIZE = 2**16  # bytes, generously, of what HDF5 writes beside the arrays of a shard
VERSION = str(h5py.version.hdf5_version)

File = h5py.File


def open_file(path: Path) -> h5py.File:
    """Open a file to read it."""
    return h5py.File(path, "r")


@contextmanager
def sealed_file(path: Path, kind: str) -> Iterator[h5py.File]:
    """An HDF5 file to fill, which is sealed and gets its name when it is whole. Local."""
    with whole_file(path) as unfinished:
        with h5py.File(unfinished, "w", userblock_size=SEAL_SIZE) as file:
            yield file
        content = np.fromfile(unfinished, np.uint8)
        with open(unfinished, "r+b") as sealed:
            seal(sealed, content, dataset_name(kind))


def shard_places(path: Path, attributes: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Write a shard of zeros, and say at which byte each of its float32 arrays begins. Local.

    Args:
        path: the file.
        attributes: of the root.
        shapes: of the arrays.

    Raises:
        OSError: the file cannot be written.
    """
    _require_space(path, 4 * sum(int(np.prod(shape)) for shape in shapes.values()) + METADATA_SIZE)
    with h5py.File(path, "w", userblock_size=SEAL_SIZE) as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        return {
            name: int(file.create_dataset(name, data=np.zeros(shape, np.float32)).id.get_offset())
            for name, shape in shapes.items()
        }


def _require_space(path: Path, num_bytes: int) -> None:
    """See that a file of this size can be written, by writing it: on a full disk HDF5 2 crashes instead of failing.

    Raises:
        OSError: the disk is full, or the file would be larger than allowed.
    """
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, num_bytes)


def join(file: h5py.File, path: Path, joined: Joined) -> None:
    """Add a virtual dataset, joined from the shards along a first axis; path is what the file will be called."""
    if not joined.pieces:
        file.create_dataset(joined.name, (0, *joined.shape), np.float32).attrs["axes"] = joined.axes
        return
    layout = h5py.VirtualLayout((len(joined.pieces), *joined.shape), np.float32)
    layout.dcpl.set_obj_track_times(False)  # the same arguments give the same bytes
    for row, piece in enumerate(joined.pieces):
        # relative, so that file and folder move together; HDF5 takes a lone % for a pattern
        shard = f"{shards_folder(path).name}/{piece.task}.h5".replace("%", "%%")
        layout[row] = h5py.VirtualSource(shard, piece.array, piece.shape)[piece.part]
    file.create_virtual_dataset(joined.name, layout, fillvalue=np.nan).attrs["axes"] = joined.axes


def put(file: h5py.File, name: str, array: NDArray[Any], axes: str, unit: str) -> None:
    stored = file.create_dataset(name, data=array)
    stored.attrs["axes"] = axes if array.ndim == 1 else f"{axes},component"
    if unit:
        stored.attrs["unit"] = unit


@dataclass(frozen=True)
class LaidOut:
    """A file whose arrays lie in one piece each, to be filled where they lie, by any number of processes.

    Args:
        attributes: of the root.
        arrays: of each array its first byte, its shape and its type.
    """

    attributes: dict[str, Any]
    arrays: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]]


def lay_out(
    path: Path,
    attributes: Mapping[str, Any],
    arrays: Mapping[str, tuple[NDArray[Any] | tuple[tuple[int, ...], str], str, str]],
) -> None:
    """Make an HDF5 file with room for its arrays, whole or not at all. Local.

    Args:
        path: the file.
        attributes: of the root.
        arrays: of each its values, or shape and type of zeros to be; its axes; its unit or an empty string.

    Raises:
        OSError: the file cannot be written, or there is no room for it.
    """
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # a new file's bytes are zeros
    early.set_obj_track_times(False)
    with whole_file(path) as unfinished:
        with h5py.File(unfinished, "w") as file:
            file.attrs.update(attributes)
            for name, (values, axes, unit) in arrays.items():
                if isinstance(values, np.ndarray):
                    put(file, name, values, axes, unit)
                    continue
                shape, kind = values
                space, stored = h5py.h5s.create_simple(shape), h5py.h5t.py_create(np.dtype(kind))
                made = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), stored, space, early))
                made.attrs.update({"axes": axes} | ({"unit": unit} if unit else {}))
        with open(unfinished, "r+b") as made_file:
            os.posix_fallocate(made_file.fileno(), 0, os.fstat(made_file.fileno()).st_size)


def laid_out(path: Path) -> LaidOut:
    """Attributes and places of a file that `lay_out` made. Local.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: (array.id.get_offset(), array.shape, array.dtype) for name, array in file.items()}
            return LaidOut(dict(file.attrs), arrays)
    except (OSError, AttributeError) as error:
        raise DatasetError(f"{path} cannot be read as a file of this program ({error}): remove it") from error
