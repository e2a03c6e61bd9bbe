"""Profiles of runs: the time of each part in seconds, as a share, and against what the machine could do. Local."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from solvers.batch.bandwidth import step_bytes, step_footprint, triad_bandwidth
from submodel.case.case import CaseError

BUDGET = 1.0  # seconds for calls that are compared
LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Part:
    """A part of the profiled runs.

    Args:
        name: What is done.
        seconds: For each number of runs.
        limits: Seconds that it would take at the limit, likewise; ``None`` where there is none.
    """

    name: str
    seconds: tuple[float, ...]
    limits: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Profile:
    """Timings of a command from beginning to end.

    Args:
        title: What it is.
        num_runs: The numbers of runs that were tried.
        parts: Where its time goes.
        notes: What the limits are, and what else belongs to the figures.
    """

    title: str
    num_runs: tuple[int, ...]
    parts: tuple[Part, ...]
    notes: tuple[str, ...]

    def total(self, column: int) -> float:
        """Seconds of all parts for one of the numbers of runs."""
        return sum(part.seconds[column] for part in self.parts)

    def rows(self, column: int) -> list[tuple[float, float, float | None]]:
        """Seconds, share of the total, and share of the limit that is reached, of each part."""
        total = self.total(column)
        return [
            (
                part.seconds[column],
                part.seconds[column] / total,
                part.limits[column] / part.seconds[column] if part.limits and part.seconds[column] else None,
            )
            for part in self.parts
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        keys = ("seconds", "share", "of_limit")
        columns = [
            {
                "runs": num,
                "seconds": self.total(column),
                "parts": {
                    part.name: dict(zip(keys, row, strict=True))
                    for part, row in zip(self.parts, self.rows(column), strict=True)
                },
            }
            for column, num in enumerate(self.num_runs)
        ]
        return {"title": self.title, "columns": columns, "notes": list(self.notes)}


def require_serial(comm: MPI.Comm) -> None:
    """See that one rank is at work.

    Raises:
        CaseError: There are more.
    """
    if comm.size > 1:
        raise CaseError(f"submodel profile is serial, and there are {comm.size} ranks: run it without mpirun")


def steps_limit(num_steps: int, num_rows: int, num_entries: int, lanes: int, itemsize: int) -> float:
    """Seconds of plain steps at the triad's rate. Local. Sizes as in `solvers.batch.bandwidth.step_bytes`."""
    sizes = (num_rows, num_entries, lanes, itemsize)
    return num_steps * step_bytes(*sizes) / triad_bandwidth(step_footprint(*sizes))


def least(calls: Mapping[str, Callable[[], Any]], share: float = 1.0) -> dict[str, float]:
    """Least seconds of each call; all are called in turn until a share of the budget is spent, and once before."""
    for call in calls.values():
        call()
    best, rounds, start = dict.fromkeys(calls, np.inf), 0, time.perf_counter()
    while rounds < LEAST_ROUNDS or time.perf_counter() - start < share * BUDGET:
        rounds += 1
        for name, call in calls.items():
            best[name] = min(best[name], seconds_of(call))
    return best


def seconds_of(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
