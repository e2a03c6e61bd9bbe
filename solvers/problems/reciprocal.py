"""Reciprocity: a run with the load on one node of Γ gives what this node feels of sources everywhere.

M and K are symmetric, so the discrete operator from a load to the displacement is: what a load b makes at node j is
what a load on node j makes in the mean over b, and the mean over a point source's load is the value at its place. The
load on Γ, ``r = M_z (u⁺ - 2u + u⁻)/dt² + C_z (u⁺ - u⁻)/(2 dt) + K_z ū``, is such a mean too, with rows of M_z, C_z and
K_z in place of the node.
Both hold for every stepper of `solvers.stepping.schemes`, in discrete time and to round-off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from solvers.mesh.domain import Domain, cell_midpoints
from solvers.problems.full import FullModel
from solvers.problems.gather import gather_rows, gathering_of
from solvers.problems.loads import NodalLoad
from solvers.problems.recording import load_rows
from solvers.time.grid import centred_rate

Quantity = Literal["displacement", "load"]
ONSET = 2  # level of the unit impulse: the load's differences and averages reach two levels back
MATCH = 1e-9  # of the domain's size: cells that a map carries onto each other


class ReciprocalModel:
    """Impulse responses of a node of Γ to sources at given places. Collective on the full model's comm.

    A response g answers a source with the samples s by ``q[n] = sum over m of g[n - m] s[m]``.

    Args:
        model: The full model.
        positions: Places of the sources, shape ``(num_positions, 2)``, the same on every rank.

    Raises:
        ValueError: If a place lies outside the domain, or the equation is not symmetric.
    """

    def __init__(self, model: FullModel, positions: NDArray[np.float64]) -> None:
        comm = model.domain.mesh.comm
        rows = gather_rows(comm, model.evaluator.matrix(positions), np.arange(len(positions)), len(positions))
        self._prepare(model, rows)

    @classmethod
    def at_nodes(cls, model: FullModel, dofs: NDArray[np.int64]) -> Self:
        """Responses to sources at nodes of the mesh. Collective on the full model's comm.

        Args:
            model: The full model.
            dofs: Global numbers of the nodes' dofs, the same on every rank.

        Raises:
            ValueError: If the equation is not symmetric.
        """
        made, num = cls.__new__(cls), len(dofs)
        shape = (num, model.V.dofmap.index_map.size_global)
        root = model.domain.mesh.comm.rank == 0
        made._prepare(model, sp.csr_matrix((np.ones(num), (np.arange(num), dofs)), shape=shape) if root else None)
        return made

    def _prepare(self, model: FullModel, rows: sp.csr_matrix | None) -> None:
        """See what is recorded: means over dofs, rows on the root. Collective."""
        if not model.physics.symmetric:
            raise ValueError(f"the physics '{model.physics.name}' is not symmetric: use runs from samples instead")
        self._model = model
        comm, index_map = model.domain.mesh.comm, model.V.dofmap.index_map
        wanted: NDArray[np.int64] = comm.bcast(None if rows is None else np.unique(rows.indices).astype(np.int64))
        self._means: sp.csr_matrix | None = None if rows is None else rows[:, wanted]
        self._first, last = index_map.local_range
        mine = (wanted[(wanted >= self._first) & (wanted < last)] - self._first).astype(np.int32)
        self._record_size = len(wanted)
        self._record = gathering_of(comm, index_map, model.runs.order, mine, wanted)
        self._nodes: sp.csr_matrix = self._rows_of_gamma(
            sp.identity(index_map.size_global, format="csr")[self._first : last]
        )
        rows_of_load = load_rows(model.V, model.domain, model.discretization, model.physics, model.gamma_dofs)
        self._mass, self._damping, self._stiffness = comm.bcast(rows_of_load)

    def batch_size(self) -> int:
        """Number of runs that are stepped at once: multiples of it cost least. Local."""
        return self._model.runs.batch_size(np.float64, self._record_size * self._model.time.num_levels)

    def responses(self, wanted: Sequence[tuple[Quantity, int]]) -> list[NDArray[np.float64]] | None:
        """Responses at nodes of Γ, one run for each, on the root; ``None`` elsewhere. Collective.

        Args:
            wanted: Of each run the quantity, u or r, and the node's place in canonical order.

        Returns:
            Of each run an array of shape ``(num_positions, 1 + num_levels)``, for the levels n = -1 .. num_levels - 1.
            Level -1 is zero for u, and for r under central differences; Newmark's scheme knows the next sample of the
            source when it makes a step, and its r that of the step after.

        Raises:
            DivergenceError: If a run diverges.
        """
        loads = self._loads(wanted)
        slots = np.maximum(np.arange(ONSET + self._model.time.num_levels) - (ONSET - 1), -1)
        histories = self._model.runs.make(loads, self._record, slots)
        if histories is None or self._means is None:
            return None
        return [np.asarray(self._means @ np.ascontiguousarray(history.T)) for history in histories]

    def amplitudes(
        self, wanted: Sequence[tuple[Quantity, int]], weights: NDArray[np.complex128]
    ) -> list[NDArray[np.complex128]] | None:
        """Weighted sums over the levels of responses, of which no history is stored. Collective.

        Args:
            wanted: As of `responses`.
            weights: Of the levels n = 0, 1, ... of a response, shape ``(num_sums, num)``; at most num_levels of them.

        Returns:
            On the root of each run an array of shape ``(num_positions, num_sums)``; ``None`` elsewhere.

        Raises:
            ValueError: If there are weights of more levels than the model has.
            DivergenceError: If a run diverges.
        """
        num, steps = weights.shape[1], ONSET + self._model.time.num_levels
        if num > self._model.time.num_levels:
            raise ValueError(f"the model has {self._model.time.num_levels} levels, the weights are of {num}")
        by_level = np.zeros((len(weights), steps), dtype=np.complex128)
        by_level[:, ONSET : ONSET + num] = weights
        sums = self._model.runs.sums(self._loads(wanted), self._record, by_level)
        if sums is None or self._means is None:
            return None
        return [np.asarray(self._means @ np.ascontiguousarray(each.T)) for each in sums]

    def _loads(self, wanted: Sequence[tuple[Quantity, int]]) -> list[list[NodalLoad]]:
        """Loads of each run: an impulse on a node, or on the nodes that the load at it is a mean over."""
        impulse = self._averaged(self._impulse())
        inertia = np.asarray(self._difference(impulse) / self._model.time.dt**2, dtype=np.float64)
        rate = centred_rate(np.pad(impulse, 1), self._model.time.dt)
        loads = []
        for quantity, node in wanted:
            if quantity == "displacement":
                loads.append([self._local(self._nodes[node], impulse)])
            else:
                stiff = self._averaged(impulse)
                loads.append([self._local(self._mass[node], inertia), self._local(self._stiffness[node], stiff)])
                if self._damping.nnz:
                    loads[-1].append(self._local(self._damping[node], rate))
        return loads

    def _impulse(self) -> NDArray[np.float64]:
        samples: NDArray[np.float64] = np.zeros(ONSET + self._model.time.num_levels)
        samples[ONSET] = 1.0
        return samples

    def _difference(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """The second difference at every level; the samples are zero beyond both ends."""
        return np.asarray(np.diff(samples, n=2, prepend=0.0, append=0.0))

    def _averaged(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(samples + self._model.discretization.theta * self._difference(samples))

    def _local(self, row: sp.csr_matrix, samples: NDArray[np.float64]) -> NodalLoad:
        dofs = row.indices - self._first
        mine = (dofs >= 0) & (dofs < len(self._model.runs.order))
        return NodalLoad(dofs[mine].astype(np.int32), row.data[mine], samples)

    def _rows_of_gamma(self, rows: sp.csr_matrix) -> sp.csr_matrix:
        """The rows of Γ's dofs in canonical order, on every rank. Collective."""
        gamma_dofs, comm = self._model.gamma_dofs, self._model.domain.mesh.comm
        return comm.bcast(gather_rows(comm, rows[gamma_dofs.dofs], gamma_dofs.positions, gamma_dofs.gamma.num_nodes))


def preserves(domain: Domain, matrix: NDArray[np.float64], shift: NDArray[np.float64]) -> bool:
    """Test whether ``x -> matrix x + shift`` carries cells onto cells of one speed and zone. Collective on the comm.

    Then what is computed has the symmetry to round-off, sources between the nodes included.
    """
    mesh, comm = domain.mesh, domain.mesh.comm
    num_owned = mesh.topology.index_map(mesh.topology.dim).size_local
    in_zone = np.isin(np.arange(num_owned), domain.zone_cells)
    mine = np.column_stack([cell_midpoints(mesh)[:num_owned], domain.speed[:num_owned], in_zone])
    parts, nodes = comm.gather(mine), comm.gather(mesh.geometry.x[:, :2])
    same = None
    if parts is not None and nodes is not None:
        cells: NDArray[np.float64] = np.concatenate(parts)
        points: NDArray[np.float64] = np.concatenate(nodes)
        size = float(np.ptp(points, axis=0).max())
        image = np.column_stack([cells[:, :2] @ matrix.T + shift, cells[:, 2:]])
        same = _same(cells, image, size) and _same(points, points @ matrix.T + shift, size)
    return bool(comm.bcast(same))


def _same(rows: NDArray[np.float64], images: NDArray[np.float64], size: float) -> bool:
    """Test whether every image lies on a place, x and y first, that has the same other values."""
    distance, nearest = cKDTree(rows[:, :2]).query(images[:, :2])
    return bool(distance.max() <= MATCH * size and np.allclose(rows[nearest, 2:], images[:, 2:], rtol=1e-12, atol=0.0))
