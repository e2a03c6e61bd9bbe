"""A partition of a mesh over ranks that is the same in every run, so that runs repeat bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from mpi4py import MPI
from numpy.typing import NDArray
from scipy.sparse.csgraph import reverse_cuthill_mckee


def partition_cells(comm: MPI.Intracomm, num_parts: int, graph: Any) -> NDArray[np.int32]:
    """Cut the dual graph of a mesh into strips of equal size. Collective on comm.

    The graph partitioners that DOLFINx knows work asynchronously: their parts, and with them the order of sums and the
    last bits of a run, differ from one run to the next. Here the root numbers the cells by reverse Cuthill-McKee, front
    after front, and hands each rank as many of them in turn.

    Args:
        comm: Communicator that shares the graph; of a box that is the root alone.
        num_parts: Number of parts.
        graph: Neighbours of the cells that this rank holds, numbered globally.

    Returns:
        The part of each of them, shape ``(num_cells_local,)``.
    """
    num_local = len(graph.offsets) - 1
    pieces = comm.gather((np.diff(graph.offsets), np.array(graph.array, dtype=np.int64)), root=0)
    parts: NDArray[np.int32] | None = None
    if pieces is not None:
        degrees = np.concatenate([degree for degree, _ in pieces])
        neighbours = np.concatenate([array for _, array in pieces])
        offsets = np.concatenate([[0], np.cumsum(degrees)])
        num_cells = len(degrees)
        cells = sp.csr_matrix((np.ones(len(neighbours), np.int8), neighbours, offsets), shape=(num_cells, num_cells))
        order = reverse_cuthill_mckee(cells, symmetric_mode=True)
        parts = np.empty(num_cells, dtype=np.int32)
        parts[order] = np.arange(num_cells, dtype=np.int64) * num_parts // num_cells
    everywhere: NDArray[np.int32] = comm.bcast(parts, root=0)
    first = comm.exscan(num_local) or 0
    return everywhere[first : first + num_local]
