"""The matrix of an ensemble's steps, numbered for one rank: which rows come first, and where columns stand."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from mpi4py import MPI
from numpy.typing import NDArray

MOST_ENTRIES = 2**31 - 1
"""Most entries of a rank's rows: the compiled steps count them in 32 bits."""


def require_countable(comm: MPI.Comm, matrix: sp.csr_matrix) -> None:
    """See that a rank's part of the matrix can be counted. Collective on comm.

    Raises:
        ValueError: On every rank, if one has too many entries or columns.
    """
    most = comm.allreduce(max(matrix.nnz, *matrix.shape), op=MPI.MAX)
    if most > MOST_ENTRIES:
        raise ValueError(
            f"a rank's rows have {most} entries, {MOST_ENTRIES} at most can be stepped: share the run over more ranks"
        )


def waiting_last(
    matrix: sp.csr_matrix, order: NDArray[np.int32], num_held: int, offset: int
) -> NDArray[np.int32]:
    """The order in which rows that need no other rank's values come first; held ones stay last. Local."""
    free = order[: len(order) - num_held]
    elsewhere = (matrix.indices < offset) | (matrix.indices >= offset + matrix.shape[0])
    waits = np.diff(np.concatenate([[0], np.cumsum(elsewhere)])[matrix.indptr])[free] > 0
    return np.concatenate([free[~waits], free[waits], order[len(free) :]]).astype(np.int32)


def local_matrix(
    matrix: sp.csr_matrix,
    order: NDArray[np.int32],
    position: NDArray[np.int64],
    offset: int,
    wanted: NDArray[np.int64],
) -> sp.csr_matrix:
    """The matrix with rows in an order, and columns as they stand in a level: owned, then those of others. Local."""
    num_owned = len(order)
    columns = matrix.indices.astype(np.int64) - offset
    mine = (columns >= 0) & (columns < num_owned)
    places = np.empty(len(columns), dtype=np.int64)
    places[mine] = position[columns[mine]]
    places[~mine] = num_owned + np.searchsorted(wanted, matrix.indices[~mine])
    local = sp.csr_matrix((matrix.data, places, matrix.indptr), shape=(num_owned, num_owned + len(wanted)))[order]
    local.sort_indices()
    return local


def num_ready(matrix: sp.csr_matrix) -> int:
    """Rows before the first one that needs other ranks' values. Local."""
    waiting = np.flatnonzero(matrix.indices >= matrix.shape[0])
    return int(np.searchsorted(matrix.indptr, waiting[0], side="right")) - 1 if len(waiting) else matrix.shape[0]
