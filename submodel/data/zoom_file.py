"""The fields of many zoomed runs in one HDF5 file, filled set by set; docs/dataset-format.md describes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from submodel.case.case import Case
from submodel.data.hdf5 import laid_out, lay_out
from submodel.data.manifest import DatasetError

FORMAT, FORMAT_VERSION = "submodel-zoomed", 1


class ZoomedFile:
    """A file of zoomed runs. Several processes may fill it, each its own sets: what is written stays. Local.

    Args:
        path: The file.

    Raises:
        DatasetError: It is none, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        laid = laid_out(path)
        if laid.attributes.get("format") != FORMAT:
            raise DatasetError(f"{path} holds no zoomed runs: choose another folder, or remove it")
        self.attributes, self._arrays = laid.attributes, laid.arrays

    @classmethod
    def prepared(
        cls,
        path: Path,
        key: str,
        attributes: Mapping[str, Any],
        case: Case,
        *,
        parameters: NDArray[np.float64],
        times: NDArray[np.float64],
        points: NDArray[np.float64],
    ) -> Self:
        """The file of many zoomed runs, made with room for all sets, or as an earlier run with this key left it.

        Args:
            path: The file.
            key: Of all that decides the content.
            attributes: Of the root, beside format and key.
            case: Gives the units.
            parameters: Shape ``(set, axis)``.
            times: Shape ``(time,)``.
            points: The zone's nodes, shape ``(node, 2)``.

        Raises:
            DatasetError: There is a file of other arguments.
            OSError: It cannot be written, or there is no room for it.
        """
        if not path.exists():
            num = len(parameters)
            root = {"format": FORMAT, "format_version": FORMAT_VERSION, "key": key, **attributes}
            shape = (num, len(times), len(points))
            lay_out(
                path,
                root,
                {
                    "parameters": (parameters, "set", case.parameters.unit_words(case.units)),
                    "time": (times, "time", case.units.time),
                    "points": (points, "node", case.units.length),
                    "displacement": ((shape, "<f4"), "set,time,node", ""),
                    "peak": (((num,), "<f4"), "set", ""),
                    "finished": (((num,), "|u1"), "set", ""),
                },
            )
        file = cls(path)
        if file.attributes.get("key") != key:
            raise DatasetError(f"{path} holds the runs of other arguments: choose another folder, or remove it")
        return file

    def pending(self) -> NDArray[np.int64]:
        """The sets that are not finished."""
        return np.flatnonzero(self.array("finished") == 0)

    def array(self, name: str) -> NDArray[Any]:
        """One of the arrays as it is now, read when it is looked at."""
        start, shape, kind = self._arrays[name]
        return np.memmap(self.path, kind, "r", start, shape)

    def write(self, sets: NDArray[np.int64], displacement: NDArray[np.float32]) -> None:
        """Store some sets, and mark them as finished once they are there.

        Args:
            sets: Their numbers.
            displacement: Shape ``(len(sets), time, node)``.

        Raises:
            OSError: They cannot be written.
        """
        peaks = np.maximum(displacement.max(axis=(1, 2)), -displacement.min(axis=(1, 2)))
        arrays = {"displacement": displacement, "peak": peaks, "finished": np.ones(len(sets), np.uint8)}
        file = os.open(self.path, os.O_WRONLY)
        try:
            for name, values in arrays.items():  # the mark last
                start, _, kind = self._arrays[name]
                for number, value in zip(sets, np.ascontiguousarray(values, kind), strict=True):
                    _put(file, np.atleast_1d(value), start + int(number) * value.nbytes)
        finally:
            os.close(file)


def _put(file: int, values: NDArray[Any], place: int) -> None:
    content = memoryview(values.reshape(-1).view(np.uint8))
    while len(content):
        num_written = os.pwrite(file, content, place)
        content, place = content[num_written:], place + num_written
