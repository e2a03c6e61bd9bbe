"""The sum of rays and driven waves in C, on a processor: loops that stay in the first cache, as tensors cannot.

Built with the C compiler that is there when it is first needed, and kept in the user's cache; where there is no
compiler, tensors do the same in about three times the time.
"""

import ctypes
import hashlib
import logging
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).parent / "native" / "waves.c"
COMPILE = ["-std=c99", "-O3", "-march=native", "-ffast-math", "-fPIC", "-c"]
TILE = 32
"""Columns of a tile, as in the C code."""
LINK = ["-shared"]
"""Linked apart, without -ffast-math, by which older compilers change the rounding of the whole process."""


class CompiledDrive:
    """Drives waves.

    Args:
        library: that holds the function.
        turn: (2, frequency) cosine and sine of the angle between levels.
    """

    def __init__(self, library: ctypes.CDLL, turn: NDArray[np.float64]) -> None:
        self._drive = library.drive_waves
        self._drive.argtypes = [ctypes.c_int64] * 3 + [ctypes.c_void_p] * 3
        self._drive.restype = None
        self._turn = np.ascontiguousarray(turn, np.float64)

    def __call__(self, drives: NDArray[np.float64]) -> NDArray[np.float32]:
        """Driven waves of the levels, (set and source, time + 1) to (set and source, time, 2 frequency + 2).

        Real parts, imaginary parts, then the drive at the next level and at this one.
        """
        drives = np.ascontiguousarray(drives, np.float64)
        count, num_levels, num = len(drives), drives.shape[1] - 1, self._turn.shape[1]
        out = np.empty((count, num_levels, 2 * num + 2), np.float32)
        self._drive(count, num_levels, num, self._turn.ctypes.data, drives.ctypes.data, out.ctypes.data)
        return out


class CompiledRays:
    """Adds rays to coefficients.

    Args:
        library: that holds the function.
        tables: exponents of growth and of phase, (feature, field and frequency), and the waveforms.
        num_ways: features that phases depend on, the first ones.
        num_arc: nodes of Gamma.
        limits: largest exponent of growth, and a part of a turn in rad.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        tables: Sequence[NDArray[np.float32]],
        num_ways: int,
        num_arc: int,
        limits: tuple[float, float],
    ) -> None:
        self._add = library.add_rays
        self._add.argtypes = [ctypes.c_int64] * 5 + [ctypes.c_float] * 2 + [ctypes.c_void_p] * 10
        self._add.restype = None
        self._tables = [np.ascontiguousarray(table, np.float32) for table in tables]
        self._pointers = [table.ctypes.data for table in self._tables]
        num_features, both = self._tables[0].shape
        self._sizes, self._limits = (num_arc, num_features, num_ways, both // 2), limits

    def add(self, source: NDArray[np.int64], rays: Sequence[NDArray[Any]], out: NDArray[np.float32]) -> None:
        """Add the rays of some pairs.

        Args:
            source: (pair,) whose they are.
            rays: what `Rays.places` gives, each transposed: features and strengths with the rays last.
            out: (source, arc, 2, 2 frequency): of displacement and load, what multiplies cosines, then sines.

        Raises:
            ValueError: numbers of another type than the compiled loop takes.
        """
        types = (np.float32, np.float32, np.int32, np.int64, np.float32)
        arrays = [np.ascontiguousarray(values) for values in rays]
        if out.dtype != np.float32 or not out.flags.c_contiguous or any(
            values.dtype != kind for values, kind in zip(arrays, types, strict=True)
        ):
            raise ValueError("compiled rays take what `Rays.places` gives, and add to contiguous numbers of float32")
        pointers = [values.ctypes.data for values in (source, *arrays)]
        num_rays, pointers = len(source) * self._sizes[0], [*pointers, *self._pointers, out.ctypes.data]
        self._add(num_rays, *self._sizes, *self._limits, *pointers)


class CompiledProducts:
    """Multiplies rows of a wave table's left factors with its other factors, at every frequency.

    Args:
        library: that holds the function.
        ranks: of each frequency.
        products: of each frequency (rank, 2 arc), complex: of displacement, then load.
    """

    def __init__(
        self, library: ctypes.CDLL, ranks: Sequence[int], products: Sequence[NDArray[np.complexfloating]]
    ) -> None:
        self._multiply = library.table_parts
        self._multiply.argtypes = [ctypes.c_int64] * 4 + [ctypes.c_void_p] * 5
        self._multiply.restype = None
        self._first = np.concatenate(([0], np.cumsum(ranks))).astype(np.int64)
        self._num_arc = products[0].shape[1] // 2
        self._products = np.ascontiguousarray(np.concatenate([_tiled(each) for each in products]), np.float32)

    def __call__(self, rows: NDArray[np.float32], arcs: NDArray[np.int64]) -> NDArray[np.float32]:
        """Factors of cosines, then sines, of u and r, (source, arc, 2, 2 frequency).

        Args:
            rows: (source, 2 rank of every frequency), real parts of a frequency before imaginary ones.
            arcs: (source, arc) the node whose numbers each node gets.
        """
        rows, arcs = np.ascontiguousarray(rows, np.float32), np.ascontiguousarray(arcs, np.int64)
        num = len(self._first) - 1
        if rows.shape[1] != 2 * self._first[-1] or arcs.shape != (len(rows), self._num_arc):
            raise ValueError(f"rows {rows.shape} or nodes {arcs.shape} are not those of this table")
        out = np.empty((len(rows), self._num_arc, 2, 2 * num), np.float32)
        pointers = [each.ctypes.data for each in (self._first, rows, self._products, arcs, out)]
        self._multiply(len(rows), num, self._num_arc, rows.shape[1], *pointers)
        return out


def _tiled(product: NDArray[np.complexfloating]) -> NDArray[np.floating]:
    """Numbers of a product (rank, column) by tiles of columns, then rank, real parts before imaginary ones."""
    columns = -(-product.shape[1] // TILE) * TILE
    padded = np.zeros((len(product), columns), product.dtype)
    padded[:, : product.shape[1]] = product
    tiles = padded.reshape(len(product), columns // TILE, TILE).swapaxes(0, 1)
    return np.stack((tiles.real, tiles.imag), 2).ravel()


@cache
def library() -> ctypes.CDLL | None:
    """The compiled loop, built where it is not there yet; None, with a note in the log, where it cannot be."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "submodel-compiled"
    path = folder / f"_submodel_waves-{_key()}.so"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _build(path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        logger.info("tensors predict waves, more slowly: the loops in C cannot be built or loaded (%s)", error)
        return None


def _build(path: Path) -> None:
    """Compile in a folder of its own and give the result its name: several processes may do it at once."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part, whole = Path(folder) / "waves.o", Path(folder) / "waves.so"
        for arguments in ([*COMPILE, str(SOURCE), "-o", str(part)], [*LINK, str(part), "-o", str(whole), "-lm"]):
            subprocess.run([_compiler(), *arguments], check=True, capture_output=True)
        os.replace(whole, path)


def _compiler() -> str:
    return os.environ.get("CC") or "cc"


def _key() -> str:
    """Sixteen digits that change with the code, the flags, the compiler and the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    what = [SOURCE.read_text(encoding="utf-8"), *COMPILE, *LINK, _compiler(), platform.machine(), flags]
    return hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]
