"""Recording a run: each rank keeps its own values, the root puts them in order once the run is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from mpi4py import MPI
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dolfinx.common import IndexMap


@dataclass(frozen=True)
class Gathering:
    """Values of chosen dofs over the levels of a run; no communication while it runs.

    Args:
        comm: Communicator of the run.
        local: Where the recorded dofs stand in the stepper's array on this rank.
        permutation: Root: column of the gathered values for each recorded dof in the wanted order; empty elsewhere,
            and ``None`` on a single rank, which records in that order from the start.
    """

    comm: MPI.Comm
    local: NDArray[np.int64]
    permutation: NDArray[np.int64] | None

    def store(self, row: NDArray[np.float64], state: NDArray[np.float64]) -> None:
        """Copy the recorded dofs of a state into a row of the history. Local."""
        np.take(state, self.local, out=row, mode="clip")

    def gather(self, history: NDArray[Any]) -> NDArray[Any] | None:
        """All values in the wanted order on the root, ``None`` elsewhere. Collective on comm.

        Args:
            history: This rank's values, shape ``(num_levels, num_recorded_local)``.
        """
        if self.permutation is None:
            return history
        parts = self.comm.gather(history, root=0)
        return None if parts is None else np.take(np.concatenate(parts, axis=1), self.permutation, axis=1)


def gathering_of(
    comm: MPI.Comm,
    index_map: IndexMap,
    order: NDArray[np.int32],
    owned_dofs: NDArray[np.int32],
    wanted: NDArray[np.int64],
) -> Gathering:
    """A record of owned dofs. Collective on comm.

    Args:
        comm: Communicator of the run.
        index_map: The space's dofs.
        order: The stepper's order of the owned dofs.
        owned_dofs: Owned dofs of this rank to record.
        wanted: Global dofs in the order in which the root wants them.
    """
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    mine = index_map.local_range[0] + owned_dofs.astype(np.int64)
    parts = comm.gather(mine, root=0)
    permutation: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    if parts is not None:
        joined = np.concatenate(parts)
        by_id = np.argsort(joined)
        permutation = np.asarray(by_id[np.searchsorted(joined, wanted, sorter=by_id)])
    if comm.size == 1:
        return Gathering(comm, position[owned_dofs][permutation], None)
    return Gathering(comm, position[owned_dofs], permutation)


def gather_rows(
    comm: MPI.Comm, rows: sp.csr_matrix, row_numbers: NDArray[np.int64], num_rows: int
) -> sp.csr_matrix | None:
    """A distributed matrix on the root; ``None`` elsewhere. Collective on comm.

    Args:
        comm: Communicator of the mesh.
        rows: This rank's rows, global columns.
        row_numbers: Number of each row in the result.
        num_rows: Rows of the result.
    """
    entries = rows.tocoo()
    parts = comm.gather((row_numbers[entries.row], entries.col, entries.data), root=0)
    if parts is None:
        return None
    row, column, data = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return sp.csr_matrix((data, (row, column)), shape=(num_rows, rows.shape[1]))


def canonical_order(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order of points by y, then x, insensitive to round-off. Local."""
    if not len(points):
        return np.empty(0, dtype=np.int64)
    size = max(float(np.ptp(points, axis=0).max()), float(np.finfo(np.float64).tiny))
    rounded = np.round((points - points.min(axis=0)) / size, 9)
    return np.lexsort((rounded[:, 0], rounded[:, 1]))
