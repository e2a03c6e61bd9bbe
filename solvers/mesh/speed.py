"""Wave speeds of the cells of a mesh: numbers, or functions of the place that are taken at midpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From places (place, 2) to wave speeds (place,)."""
Speed = float | Function


def cell_speeds(comm: MPI.Comm, speed: Speed, middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """The wave speed of each cell. Collective on comm.

    Args:
        comm: Communicator that shares the mesh.
        speed: A number, or a function.
        middle: Midpoints of the local cells, ``(num_cells_local, 2)``.

    Raises:
        ValueError: It is not positive and finite everywhere; on every rank.
    """
    values = np.asarray(speed(middle) if callable(speed) else np.full(len(middle), float(speed)), dtype=np.float64)
    bad = np.flatnonzero(~((values > 0.0) & (values < np.inf)))
    first = None if not len(bad) else (float(values[bad[0]]), *map(float, middle[bad[0]]))
    faults = [each for each in comm.allgather(first) if each is not None]
    if faults:
        value, x, y = faults[0]
        raise ValueError(f"the wave speed must be positive, got {value:g} at ({x:g}, {y:g}): give a finite one")
    return values


class Law:
    """Wave speeds of cells that belong to groups, from which cells of a refined mesh take their own.

    Args:
        speeds: The speed of each group, by its number.
    """

    def __init__(self, speeds: Mapping[int, Speed]) -> None:
        self._speeds = dict(speeds)

    @property
    def varies(self) -> bool:
        """True where a speed is a function."""
        return any(callable(speed) for speed in self._speeds.values())

    def __call__(self, comm: MPI.Comm, middle: NDArray[np.float64], group: NDArray[np.int32]) -> NDArray[np.float64]:
        """The wave speed of each cell, 0 where its group has none. Collective on comm.

        Args:
            comm: Communicator that shares the mesh.
            middle: Midpoints of the local cells, ``(num_cells_local, 2)``.
            group: Number of each local cell's group, ``(num_cells_local,)``.

        Raises:
            ValueError: As `cell_speeds`.
        """
        speeds = np.zeros(len(middle))
        for number in sorted(self._speeds):
            mine = group == number
            speeds[mine] = cell_speeds(comm, self._speeds[number], middle[mine])
        return speeds
