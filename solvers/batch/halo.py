"""Values that a rank needs from others, in each step: one message to each neighbour for all runs at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray


@dataclass(frozen=True)
class Neighbours:
    """Rows that ranks send each other. They arrive in the order of their global numbers, behind the rank's own.

    Args:
        comm: Communicator of the mesh.
        wanted: Global numbers of the rows of other ranks that this one needs, ascending, shape ``(num_wanted,)``.
        sources: Of each rank that has some of them: rank, first one and one after the last within ``wanted``.
        targets: Of each rank that needs some of this rank's: rank, and their global numbers.
    """

    comm: MPI.Comm
    wanted: NDArray[np.int64]
    sources: list[tuple[int, int, int]]
    targets: list[tuple[int, NDArray[np.int64]]]


def find_neighbours(comm: MPI.Comm, offset: int, num_owned: int, columns: NDArray[Any]) -> Neighbours:
    """Who owns what the columns of a rank's rows name, and who asks this rank. Collective on comm.

    Args:
        comm: Communicator of the mesh.
        offset: Global number of this rank's first row.
        num_owned: Rows of this rank.
        columns: Global columns of its entries.
    """
    used = np.unique(columns).astype(np.int64)
    wanted = used[(used < offset) | (used >= offset + num_owned)]
    firsts = np.array(comm.allgather(offset), dtype=np.int64)
    counts = np.array(comm.allgather(num_owned), dtype=np.int64)
    starts, stops = np.searchsorted(wanted, firsts), np.searchsorted(wanted, firsts + counts)
    asked = comm.alltoall([wanted[start:stop] for start, stop in zip(starts, stops, strict=True)])
    return Neighbours(
        comm,
        wanted,
        [(rank, int(a), int(b)) for rank, (a, b) in enumerate(zip(starts, stops, strict=True)) if a < b],
        [(rank, numbers) for rank, numbers in enumerate(asked) if len(numbers)],
    )


class Exchange:
    """Messages over two buffers of levels, set up once and started in each step.

    Args:
        neighbours: Which rows go where.
        position: Where each owned row stands in a level, by its global number less ``offset``.
        offset: Global number of this rank's first row.
        levels: The two levels, each ``(num_owned + num_wanted, lane)``.
    """

    def __init__(
        self,
        neighbours: Neighbours,
        position: NDArray[np.int64],
        offset: int,
        levels: tuple[NDArray[Any], NDArray[Any]],
    ) -> None:
        comm, num_owned = neighbours.comm, len(position)
        sent = [numbers - offset for _, numbers in neighbours.targets]
        self._rows = position[np.concatenate(sent)] if sent else np.empty(0, dtype=np.int64)
        self._levels = levels
        lanes, dtype = levels[0].shape[1], levels[0].dtype
        self._packed = np.empty((len(self._rows), lanes), dtype=dtype)
        bounds = np.concatenate([[0], np.cumsum([len(rows) for rows in sent])]).astype(int)
        sends = [
            comm.Send_init(self._packed[bounds[k] : bounds[k + 1]], dest=rank)
            for k, (rank, _) in enumerate(neighbours.targets)
        ]
        self._requests = []
        for level in levels:
            places = [(rank, level[num_owned + a : num_owned + b]) for rank, a, b in neighbours.sources]
            self._requests.append(sends + [comm.Recv_init(place, source=rank) for rank, place in places])

    def begin(self, n: int) -> None:
        """Send this rank's values of level n, and take those of others. Collective on the communicator."""
        np.take(self._levels[n % 2], self._rows, axis=0, out=self._packed, mode="clip")
        MPI.Prequest.Startall(self._requests[n % 2])

    def finish(self, n: int) -> None:
        """Wait for what `begin` started."""
        MPI.Request.Waitall(self._requests[n % 2])

    def close(self) -> None:
        """Free the messages."""
        for request in {id(r): r for requests in self._requests for r in requests}.values():
            request.Free()
