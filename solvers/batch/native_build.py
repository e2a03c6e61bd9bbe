"""The compiled steps: C code that is built for the machine at hand when it is first used, and kept in the user's cache.

DOLFINx compiles its forms in the same way, so a C compiler is there wherever it runs.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import platform
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import cffi
import numpy as np
from mpi4py import MPI
from numpy.typing import DTypeLike, NDArray

from solvers.errors import SolverError

SOURCES = Path(__file__).parent / "native"
FLAGS = ["-O3", "-march=native", "-ffp-contract=off"]
NAME = "_submodel_steps"

LANES: dict[str, tuple[int, int]] = {"float64": (1, 8), "float32": (1, 16)}
"""Runs that the compiled steps take at once, by type of number: one, or as many as fill a cache line."""

DECLARATIONS = """
void step_{0}(const struct steps *s, int64_t n, int64_t first, int64_t last);
void tiled_{0}(const struct steps *s, int64_t n, int64_t num_steps, const int32_t *ends, int64_t num_tiles,
               int64_t depth);
void motion_{0}(const struct steps *s, int64_t n, const double *mass, double *out);
"""
PLAIN = """
void triad(int64_t count, double scale, const double *b, const double *c, double *a);
void three_levels(int64_t num_levels, int64_t num_columns, const double *u, int64_t num_rows,
                  const int32_t *outer_starts, const int32_t *outer_columns, const double *outer,
                  const int32_t *inner_starts, const int32_t *inner_columns, const double *inner,
                  const int32_t *odd_starts, const int32_t *odd_columns, const double *odd, double *out);
"""


class CompileError(SolverError, RuntimeError):
    """The compiled steps cannot be built."""


def compiled_steps(comm: MPI.Comm) -> ModuleType:
    """The compiled module, with ``ffi`` and ``lib``. Collective on comm: the root builds it where it is not there yet.

    Raises:
        CompileError: On every rank, if it cannot be built.
    """
    fault: str | None = None
    if comm.rank == 0:
        try:
            _module()
        except CompileError as error:
            fault = str(error)
    fault = comm.bcast(fault)
    if fault is not None:
        raise CompileError(fault)
    return _module()


def lanes_of(dtype: DTypeLike, num_runs: int) -> int:
    """Number of runs that are stepped at once: one of one, else a cache line of them. Local.

    Raises:
        ValueError: If the type is neither float64 nor float32.
    """
    name = np.dtype(dtype).name
    if name not in LANES:
        raise ValueError(f"steps are compiled for float64 and float32, got {name}")
    single, full = LANES[name]
    return single if num_runs <= 1 else full


def suffix(dtype: DTypeLike, lanes: int) -> str:
    """Ending of the names of the compiled functions of a type and width."""
    return f"{'double' if np.dtype(dtype) == np.float64 else 'float'}_{lanes}"


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros that begin at a cache line."""
    kind = np.dtype(dtype)
    num_bytes = int(np.prod(shape)) * kind.itemsize
    room = np.zeros(num_bytes + 64, dtype=np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + num_bytes].view(kind).reshape(shape)


@cache
def _module() -> ModuleType:
    path = _path()
    if not path.exists():
        _build(path)
    spec = importlib.util.spec_from_file_location(NAME, path)
    if spec is None or spec.loader is None:
        raise CompileError(f"{path} is no module that Python can load: delete it")
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        raise CompileError(f"{path} cannot be loaded ({error}): delete it, it is built again") from error
    return module


def _build(path: Path) -> None:
    """Compile to a folder of its own and give the result its name: several processes may do it at once."""
    ffi = cffi.FFI()
    kinds = [suffix(dtype, lanes) for dtype, widths in LANES.items() for lanes in widths]
    header = (SOURCES / "steps.h").read_text(encoding="utf-8")
    ffi.cdef(header + PLAIN + "".join(DECLARATIONS.format(kind) for kind in kinds))
    ffi.set_source(NAME, '#include "steps.c"', include_dirs=[str(SOURCES)], extra_compile_args=FLAGS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            os.replace(ffi.compile(tmpdir=folder), path)
    except OSError as error:
        raise CompileError(
            f"cannot write {path.parent} ({error.strerror}): set XDG_CACHE_HOME to another folder"
        ) from error
    except (cffi.VerificationError, ImportError) as error:
        raise CompileError(
            f"the compiled steps cannot be built ({error}): install a C compiler and Python's headers "
            "(Debian: gcc, python3-dev)"
        ) from error


def _path() -> Path:
    """Path of the compiled module."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "submodel-compiled"
    return folder / f"{NAME}-{_key()}{importlib.machinery.EXTENSION_SUFFIXES[0]}"


def _key() -> str:
    """Sixteen digits that change with the code, the flags, the compiler, Python and the processor."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.read_bytes())
    for words in (FLAGS, sysconfig.get_config_var("CC"), sysconfig.get_config_var("SOABI"), _processor()):
        digest.update(repr(words).encode())
    return digest.hexdigest()[:16]


def _processor() -> list[str]:
    """Lines about the processor on which compiled code may depend."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return [platform.machine(), platform.processor()]
    kinds = ("model name", "flags", "Features", "CPU part")
    return [platform.machine(), *sorted({line for line in lines if line.startswith(kinds)})]
