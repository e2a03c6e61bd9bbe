"""The limit of a step: the bytes that it cannot do without, at the rate that the memory gives to streams."""

from __future__ import annotations

import time

from mpi4py import MPI

from solvers.batch.native_build import aligned, compiled_steps

INDEX_SIZE = 4
"""Bytes of a column's number, and of a row's start."""

LEAST_FOOTPRINT = 3 * 64
"""Bytes: a cache line of each array."""


def triad_bandwidth(footprint: int, *, repeats: int = 7, least_seconds: float = 2e-3) -> float:
    """Bytes per second that this core streams in ``a = b + s c``. Local.

    Two arrays are read and one is written, as the step does with two levels. What the cache reads of an array before it
    is overwritten is not counted, as is the custom; a level that a step overwrites has been read by it anyway.

    Args:
        footprint: Bytes of the three arrays together, which decide the cache or memory that is measured.
        repeats: Of which the fastest counts.
        least_seconds: That a repeat lasts at least; small arrays are gone through several times.

    Raises:
        ValueError: If the footprint is less than a cache line an array.
        CompileError: If the steps cannot be compiled.
    """
    if footprint < LEAST_FOOTPRINT:
        raise ValueError(f"a footprint of {footprint} bytes holds no three arrays: give {LEAST_FOOTPRINT} or more")
    module = compiled_steps(MPI.COMM_SELF)
    count = footprint // (3 * 8)
    a, b, c = (aligned((count,), "float64") for _ in range(3))
    b[:], c[:] = 1.0, 2.0
    pointers = [module.ffi.cast("double *", array.ctypes.data) for array in (b, c, a)]

    def seconds(rounds: int) -> float:
        start = time.perf_counter()
        for _ in range(rounds):
            module.lib.triad(count, 0.5, *pointers)
        return time.perf_counter() - start

    warm = min(seconds(1) for _ in range(3))
    rounds = max(1, round(least_seconds / max(warm, 1e-7)))
    return 3 * 8 * count * rounds / min(seconds(rounds) for _ in range(repeats))


def step_bytes(num_rows: int, num_entries: int, lanes: int, itemsize: int) -> int:
    """Bytes that one step ``u⁺ = A u − u⁻`` of several runs at once must move, if each is moved once. Local.

    Of the matrix each entry's value and column and each row's start; of each run u once, and ``u⁻``, which ``u⁺``
    overwrites, once each way. Loads and records are left out: they are a few rows.

    Args:
        num_rows: Rows of the matrix.
        num_entries: Its entries.
        lanes: Runs that are stepped at once.
        itemsize: Bytes of a number.
    """
    matrix = num_entries * (itemsize + INDEX_SIZE) + (num_rows + 1) * INDEX_SIZE
    return matrix + 3 * num_rows * lanes * itemsize


def step_footprint(num_rows: int, num_entries: int, lanes: int, itemsize: int) -> int:
    """Bytes that a step keeps at hand: the matrix and two levels. Local. Arguments as of `step_bytes`."""
    return step_bytes(num_rows, num_entries, lanes, itemsize) - num_rows * lanes * itemsize
