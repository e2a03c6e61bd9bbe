"""Results of a full run: the trace on Γ and, where they are wanted, the fields in the zone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from dolfinx import fem
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.batch.native_build import compiled_steps
from solvers.gamma.trace import Trace
from solvers.mesh.domain import Domain
from solvers.problems.gather import Gathering, canonical_order, gather_rows, gathering_of
from solvers.space.assembly import Discretization, assemble_damping, assemble_mass, assemble_stiffness
from solvers.space.locate_gamma import GammaDofs
from solvers.space.physics import Physics
from solvers.time.grid import TimeGrid, centred_rate


@dataclass(frozen=True)
class FullRun:
    """Results of a full run.

    Args:
        trace: u, v and r on Γ.
        zone: u at the zone's nodes at the levels -1 .. num_levels, shape ``(num_levels + 2, num_zone_nodes)``, or
            ``None`` if not asked for.
    """

    trace: Trace
    zone: NDArray[np.float64] | None

    @property
    def displacement(self) -> NDArray[np.float64] | None:
        """u at the zone's nodes, shape ``(num_levels, num_zone_nodes)``, or ``None``."""
        return None if self.zone is None else self.zone[1:-1]

    @cached_property
    def velocity(self) -> NDArray[np.float64] | None:
        """v there, the same shape, or ``None``."""
        return None if self.zone is None else centred_rate(self.zone, self.trace.dt)


class TraceRecorder:
    """Selects the dofs that a run records, and makes the trace from them. Collective on the domain's comm.

    All of the zone is recorded, or the strip of dofs that the load on Γ needs, at the levels -1 .. num_levels.

    Args:
        V: The space on Ω.
        domain: Ω with its zone.
        discretization: Element and stepper.
        physics: The equation.
        gamma_dofs: Dofs of Γ.
        order: The stepper's order of the owned dofs.
        time: Levels of the trace.
    """

    def __init__(
        self,
        V: fem.FunctionSpace,
        domain: Domain,
        discretization: Discretization,
        physics: Physics,
        gamma_dofs: GammaDofs,
        order: NDArray[np.int32],
        time: TimeGrid,
    ) -> None:
        self._V, self._domain, self._comm = V, domain, domain.mesh.comm
        self._order, self._time, self._gamma = order, time, gamma_dofs.gamma
        comm, index_map, num_nodes = self._comm, V.dofmap.index_map, self._gamma.num_nodes
        rows = load_rows(V, domain, discretization, physics, gamma_dofs)
        gamma_ids = index_map.local_to_global(gamma_dofs.dofs).astype(np.int64)
        all_gamma: NDArray[np.int64] = np.empty(num_nodes, dtype=np.int64)
        all_gamma[np.concatenate(comm.allgather(gamma_dofs.positions))] = np.concatenate(comm.allgather(gamma_ids))
        zone_ids, zone_points = self._zone_dofs()
        self.zone_points: NDArray[np.float64] = zone_points
        self.zone_interior: NDArray[np.int64] = np.setdiff1d(zone_ids, all_gamma)
        strip_ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        if rows is not None:
            strip_ids = np.unique(np.concatenate([matrix.indices for matrix in rows])).astype(np.int64)
            mass, damping, stiff = (matrix[:, strip_ids] for matrix in rows)
            scaled, theta = mass / time.dt**2, discretization.theta
            self._load = ThreeLevels(
                scaled + theta * stiff, (1.0 - 2.0 * theta) * stiff - 2.0 * scaled, damping / (2.0 * time.dt)
            )
            by_id = np.argsort(zone_ids)
            self._strip_in_zone = by_id[np.searchsorted(zone_ids, strip_ids, sorter=by_id)]
            self._gamma_in_strip = np.searchsorted(strip_ids, all_gamma)
        strip_ids = comm.bcast(strip_ids, root=0)
        self._nums = (len(strip_ids), len(zone_ids))
        self._zone_record, self._strip_record = self._record(zone_ids), self._record(strip_ids)

    def record(self, fields: bool) -> Gathering:
        """Dofs that a run stores, with or without the zone's fields."""
        return self._zone_record if fields else self._strip_record

    def num_recorded(self, fields: bool) -> int:
        """Dofs that are stored, over all ranks."""
        return self._nums[fields]

    def finish(self, history: NDArray[Any], fields: bool) -> FullRun:
        """Velocity and load on Γ from the displacement at the levels -1 .. num_levels. Root.

        Args:
            history: Shape ``(num_levels + 2, num_recorded)``, in the record's order.
            fields: Whether that is all of the zone.
        """
        recorded = np.asarray(history, dtype=np.float64)
        strip = np.take(recorded, self._strip_in_zone, axis=1) if fields else recorded
        load = self._load(strip)
        u = np.take(strip, self._gamma_in_strip, axis=1)
        trace = Trace(self._time.times, self._gamma, u[1:-1], centred_rate(u, self._time.dt), load)
        return FullRun(trace, recorded if fields else None)

    def _record(self, wanted: NDArray[np.int64]) -> Gathering:
        index_map = self._V.dofmap.index_map
        first, last = index_map.local_range
        mine = (np.sort(wanted[(wanted >= first) & (wanted < last)]) - first).astype(np.int32)
        return gathering_of(self._comm, index_map, self._order, mine, wanted)

    def _zone_dofs(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Global dofs of the zone's cells in canonical order, and their coordinates, on every rank. Collective."""
        V = self._V
        index_map = V.dofmap.index_map
        num_cells_owned = V.mesh.topology.index_map(V.mesh.topology.dim).size_local
        cells = self._domain.zone_cells[self._domain.zone_cells < num_cells_owned]
        local = np.unique(V.dofmap.list[cells])
        ids = np.concatenate(self._comm.allgather(index_map.local_to_global(local)))
        points = np.concatenate(self._comm.allgather(V.tabulate_dof_coordinates()[local, :2]))
        ids, first = np.unique(ids, return_index=True)
        order = canonical_order(points[first])
        return ids[order].astype(np.int64), points[first][order]


def load_rows(
    V: fem.FunctionSpace, domain: Domain, discretization: Discretization, physics: Physics, gamma_dofs: GammaDofs
) -> tuple[sp.csr_matrix, sp.csr_matrix, sp.csr_matrix] | None:
    """Rows of Γ of M, C and K over the zone's cells, which make the load. Collective on the mesh's comm.

    Returns:
        On the root three matrices of shape ``(num_nodes, num_dofs_global)``, rows in canonical order; else ``None``.
    """
    gathered = [
        gather_rows(
            V.mesh.comm,
            assembled(V, domain, discretization, physics=physics, zone=True)[gamma_dofs.dofs],
            gamma_dofs.positions,
            gamma_dofs.gamma.num_nodes,
        )
        for assembled in (assemble_mass, assemble_damping, assemble_stiffness)
    ]
    mass, damping, stiffness = gathered
    return None if mass is None or damping is None or stiffness is None else (mass, damping, stiffness)


class ThreeLevels:
    """``outer (u⁺ + u⁻) + inner u + odd (u⁺ − u⁻)`` at every level of a history: a three-level scheme's load. Local.

    Args:
        outer: Shape ``(num_rows, num_columns)``.
        inner: The same shape.
        odd: The same shape.

    Raises:
        CompileError: If the compiled steps cannot be built.
    """

    def __init__(self, outer: sp.csr_matrix, inner: sp.csr_matrix, odd: sp.csr_matrix) -> None:
        module = compiled_steps(MPI.COMM_SELF)
        self._ffi, self._apply = module.ffi, module.lib.three_levels
        self._shape = inner.shape
        self._entries = []
        for matrix in (outer, inner, odd):
            rows = matrix.tocsr()
            rows.eliminate_zeros()
            self._entries += [rows.indptr.astype(np.int32), rows.indices.astype(np.int32), rows.data.astype(np.float64)]

    def __call__(self, history: NDArray[np.float64]) -> NDArray[np.float64]:
        """From ``(num_levels + 2, num_columns)`` to ``(num_levels, num_rows)``."""
        u = np.ascontiguousarray(history)
        out = np.empty((len(u) - 2, self._shape[0]))
        kinds = 3 * ("int32_t *", "int32_t *", "double *")
        entries = [self._ffi.cast(kind, array.ctypes.data) for kind, array in zip(kinds, self._entries, strict=True)]
        values, result = (self._ffi.cast("double *", array.ctypes.data) for array in (u, out))
        self._apply(len(out), u.shape[1], values, self._shape[0], *entries, result)
        return out
