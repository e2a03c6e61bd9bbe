"""The wave speed of a domain on a regular grid, for what needs the medium but not the mesh."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray

from solvers.mesh.cell_search import CellSearch
from solvers.mesh.domain import Domain, node_spacing

MOST_INTERVALS = 256  # along the longer side


def sampled_speed(domain: Domain) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """The speed at the nodes of a grid over the domain's bounding box. Collective on the mesh's comm.

    On an edge between cells the faster one is taken, along which a first arrival would run; the result does not
    depend on how the mesh is distributed.

    Returns:
        x ``(num_x,)``, y ``(num_y,)`` and the speed ``(num_y, num_x)``, NaN outside the domain; on every rank.
    """
    mesh, comm = domain.mesh, domain.mesh.comm
    lower, upper = _bounds(domain)
    x, y = grid(lower, upper, spacing(domain))
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    rows, cells, _ = CellSearch(mesh).around(points)
    speed = np.zeros(len(points))
    np.maximum.at(speed, rows, domain.speed[cells])
    comm.Allreduce(MPI.IN_PLACE, speed, op=MPI.MAX)
    speed[speed == 0.0] = np.nan
    return x, y, speed.reshape(len(y), len(x)).astype(np.float32)


def spacing(domain: Domain) -> float:
    """Half the smallest spacing of the mesh's vertices. Collective on the mesh's comm."""
    mine = float(node_spacing(domain.mesh).min(initial=np.inf))
    return 0.5 * float(domain.mesh.comm.allreduce(mine, op=MPI.MIN))


def grid(lower: ArrayLike, upper: ArrayLike, wanted: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Equally spaced x and y that include both ends; a spacing near the one wanted, but not too many. Local."""
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    step = max(wanted, float(np.max(high - low)) / MOST_INTERVALS)
    return _divided(low[0], high[0], step), _divided(low[1], high[1], step)


def _divided(low: float, high: float, step: float) -> NDArray[np.float64]:
    num_intervals = max(1, int(np.ceil((high - low) / step - 1e-6)))
    return np.asarray(np.linspace(low, high, num_intervals + 1), dtype=np.float64)


def _bounds(domain: Domain) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of the bounding box. Collective on the mesh's comm."""
    comm, nodes = domain.mesh.comm, domain.mesh.geometry.x[:, :2]
    lower = np.array(nodes.min(axis=0, initial=np.inf))
    upper = np.array(nodes.max(axis=0, initial=-np.inf))
    comm.Allreduce(MPI.IN_PLACE, lower, op=MPI.MIN)
    comm.Allreduce(MPI.IN_PLACE, upper, op=MPI.MAX)
    return lower, upper
