"""A run on the whole domain Ω: one point source in, the trace on Γ and the fields in the zone out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from dolfinx import fem
from numpy.typing import NDArray

from solvers.interface import InterfaceDofs, locate_interface
from solvers.mesh import Domain
from solvers.operators import Discretization, Operators, assemble_mass, assemble_stiffness, function_space
from solvers.points import PointEvaluator
from solvers.record import Record, canonical_order, gather_rows, record_of
from solvers.source import PointSource
from solvers.stability import POINTS_PER_WAVELENGTH, ResolutionWarning, points_per_wavelength
from solvers.stepping import CentralDifference, Newmark, Stepper, march
from solvers.time import TimeGrid
from solvers.trace import Interface, Trace


@dataclass(frozen=True)
class FullRun:
    """What a full run leaves behind.

    Args:
        trace: u, v and r on Γ.
        displacement: u at the zone's nodes, shape ``(num_levels, num_zone_nodes)``, or ``None`` if not asked for.
        velocity: v there, the same shape, or ``None``.
    """

    trace: Trace
    displacement: NDArray[np.float64] | None
    velocity: NDArray[np.float64] | None


@dataclass(frozen=True)
class Snapshot:
    """u in all of Ω at one level.

    Args:
        points: The nodes, shape ``(num_nodes, 2)``.
        values: u there, shape ``(num_nodes,)``.
        triangles: The cells of linear triangles, shape ``(num_cells, 3)``; ``None`` for other elements.
    """

    points: NDArray[np.float64]
    values: NDArray[np.float64]
    triangles: NDArray[np.int64] | None


class FullModel:
    """The wave equation on Ω ([A] eq. 1), built once and run for many sources. Collective on the domain's comm.

    Args:
        domain: Ω with its zone.
        how: Element and stepper.
        time: Levels of the recorded trace; the run takes the same steps.

    Raises:
        ValueError: If the time step is unstable, the mesh does not suit the element, or the zone has no boundary.
    """

    def __init__(self, domain: Domain, how: Discretization, time: TimeGrid) -> None:
        self.domain, self.how, self.time = domain, how, time
        V = function_space(domain.mesh, how)
        self.V = V
        self._comm = domain.mesh.comm
        self.gamma: InterfaceDofs = locate_interface(V, domain)
        self.interface: Interface = self.gamma.curve
        self.stepper: Stepper = make_stepper(how, self._operators(), time.dt)
        self.evaluator = PointEvaluator(V)
        self._points_at_unit_omega = points_per_wavelength(domain, how.degree, 1.0)
        self._warned = False
        self._set_up_records()

    def run(self, source: PointSource, *, fields: bool = True) -> FullRun | None:
        """One run from rest. Collective; the result on the communicator's rank 0, ``None`` elsewhere.

        Args:
            source: The excitation, outside the zone.
            fields: Whether the zone's fields are wanted beside the trace.

        Raises:
            ValueError: If the source lies outside Ω or inside the zone.
            DivergenceError: If the run diverges.
        """
        self._warn_if_coarse(source.signal.highest_omega)
        dofs, weights = self._load(source.position)
        drive = PointLoad(self.stepper, dofs, weights, averaged_signal(source, self.time, self.how.theta))
        record = self._zone_record if fields else self._strip_record
        num_levels = self.time.num_levels
        history = record.history(num_levels + 2)
        history[0] = 0.0  # level -1: at rest
        for n, state in march(self.stepper, drive, num_levels):
            record.store(history[n + 1], state)
        gathered = record.gather(history)
        return None if gathered is None else self._finish(gathered, fields)

    def require_sources(self, positions: NDArray[np.float64]) -> None:
        """See that sources can be placed, before any run. Collective on the domain's comm.

        Args:
            positions: Shape ``(num_sources, 2)``, the same on every rank.

        Raises:
            ValueError: If one lies outside Ω or inside the zone; the first is named.
        """
        for x, y in positions:
            self._load((float(x), float(y)))

    def snapshot(self, source: PointSource, level: int) -> Snapshot | None:
        """u in all of Ω at one level. Collective; the result on the communicator's rank 0, ``None`` elsewhere.

        Raises:
            ValueError: If the source lies outside Ω or inside the zone.
            DivergenceError: If the run diverges.
        """
        dofs, weights = self._load(source.position)
        drive = PointLoad(self.stepper, dofs, weights, averaged_signal(source, self.time, self.how.theta))
        for _, state in march(self.stepper, drive, level):
            last = state
        V = self.V
        index_map = V.dofmap.index_map
        owned = np.empty_like(last)
        owned[self.stepper.order] = last
        values = self._comm.gather(owned, root=0)
        points = self._comm.gather(V.tabulate_dof_coordinates()[: len(owned), :2], root=0)
        num_cells_owned = V.mesh.topology.index_map(V.mesh.topology.dim).size_local
        local = V.dofmap.list[:num_cells_owned]
        cells = self._comm.gather(index_map.local_to_global(local.ravel()).reshape(local.shape), root=0)
        if values is None or points is None or cells is None:
            return None
        triangles = np.concatenate(cells) if self.how.element == "p1" else None
        return Snapshot(np.concatenate(points), np.concatenate(values), triangles)

    def _operators(self) -> Operators:
        domain, V = self.domain, self.V
        mass = assemble_mass(V, domain, self.how)
        facet_dofs = fem.locate_dofs_topological(V, domain.mesh.topology.dim - 1, domain.outer_facets)
        num_owned = mass.shape[0]
        return Operators(
            self._comm,
            V.dofmap.index_map.local_range[0],
            mass,
            assemble_stiffness(V, domain, self.how),
            damping=np.zeros(num_owned),
            robin=np.zeros(num_owned),
            fixed=facet_dofs[facet_dofs < num_owned].astype(np.int32),
            held=np.empty(0, dtype=np.int32),
        )

    def _set_up_records(self) -> None:
        """Decide what is recorded: all of the zone, or the strip of dofs that the load on Γ needs."""
        V, comm, gamma = self.V, self._comm, self.gamma
        index_map = V.dofmap.index_map
        num_nodes = self.interface.num_nodes
        mass = assemble_mass(V, self.domain, self.how, zone=True)[gamma.dofs]
        stiffness = assemble_stiffness(V, self.domain, self.how, zone=True)[gamma.dofs]
        load_mass = gather_rows(comm, mass, gamma.positions, num_nodes)
        load_stiffness = gather_rows(comm, stiffness, gamma.positions, num_nodes)
        gamma_ids = index_map.local_to_global(gamma.dofs).astype(np.int64)
        zone_ids, zone_points = self._zone_dofs()
        self.zone_points: NDArray[np.float64] = zone_points
        self._zone_interior = np.setdiff1d(zone_ids, np.concatenate(comm.allgather(gamma_ids)))
        strip_ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        if load_mass is not None and load_stiffness is not None:
            strip_ids = np.unique(np.concatenate([load_mass.indices, load_stiffness.indices])).astype(np.int64)
            self._load_mass: sp.csr_matrix = load_mass[:, strip_ids]
            self._load_stiffness: sp.csr_matrix = load_stiffness[:, strip_ids]
            by_id = np.argsort(zone_ids)
            self._strip_in_zone = by_id[np.searchsorted(zone_ids, strip_ids, sorter=by_id)]
            everywhere = np.argsort(strip_ids)
            all_gamma = np.concatenate(comm.gather(gamma_ids, root=0) or [])
            positions = np.concatenate(comm.gather(gamma.positions, root=0) or [])
            ordered = np.empty(num_nodes, dtype=np.int64)
            ordered[positions] = all_gamma
            self._gamma_in_strip = everywhere[np.searchsorted(strip_ids, ordered, sorter=everywhere)]
        else:
            comm.gather(gamma_ids, root=0)
            comm.gather(gamma.positions, root=0)
        strip_ids = comm.bcast(strip_ids, root=0)
        self._zone_record = self._record(zone_ids)
        self._strip_record = self._record(strip_ids)

    def _record(self, wanted: NDArray[np.int64]) -> Record:
        index_map = self.V.dofmap.index_map
        first, last = index_map.local_range
        mine = (np.sort(wanted[(wanted >= first) & (wanted < last)]) - first).astype(np.int32)
        return record_of(self._comm, index_map, self.stepper.order, mine, wanted)

    def _zone_dofs(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Global dofs of the zone's cells in canonical order, and their coordinates, on every rank. Collective."""
        V = self.V
        index_map = V.dofmap.index_map
        num_cells_owned = V.mesh.topology.index_map(V.mesh.topology.dim).size_local
        cells = self.domain.zone_cells[self.domain.zone_cells < num_cells_owned]
        local = np.unique(V.dofmap.list[cells])
        ids = np.concatenate(self._comm.allgather(index_map.local_to_global(local)))
        points = np.concatenate(self._comm.allgather(V.tabulate_dof_coordinates()[local, :2]))
        ids, first = np.unique(ids, return_index=True)
        order = canonical_order(points[first])
        return ids[order].astype(np.int64), points[first][order]

    def _load(self, position: tuple[float, float]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        try:
            dofs, weights = self.evaluator.load(position)
        except ValueError as error:
            raise ValueError(f"the source at {position} lies outside the domain: move it inside") from error
        ids = self.V.dofmap.index_map.local_to_global(dofs)
        if self._comm.allreduce(int(np.isin(ids, self._zone_interior).sum())):
            raise ValueError(
                f"the source at {position} lies inside the zone: sources belong outside, move it or the zone"
            )
        return dofs, weights

    def _finish(self, recorded: NDArray[np.float64], fields: bool) -> FullRun:
        """Velocity and load from the displacement at the levels -1 .. num_levels. Root."""
        dt = self.time.dt
        strip = np.take(recorded, self._strip_in_zone, axis=1) if fields else recorded
        second_difference = np.diff(strip, n=2, axis=0)
        averaged = strip[1:-1] + self.how.theta * second_difference if self.how.theta else strip[1:-1]
        load = second_difference @ (self._load_mass.T / dt**2) + averaged @ self._load_stiffness.T
        gamma = np.take(strip, self._gamma_in_strip, axis=1)
        trace = Trace(self.time.times, self.interface, gamma[1:-1], _centred(gamma, dt), load)
        if not fields:
            return FullRun(trace, None, None)
        return FullRun(trace, recorded[1:-1], _centred(recorded, dt))

    def _warn_if_coarse(self, omega: float) -> None:
        points = self._points_at_unit_omega / omega
        if points < POINTS_PER_WAVELENGTH and not self._warned and self._comm.rank == 0:
            self._warned = True
            warnings.warn(
                f"at omega = {omega:.4g} a wavelength has {points:.1f} points, fewer than {POINTS_PER_WAVELENGTH:.0f}: "
                "expect several per cent of dispersion error; refine the mesh or lower omega",
                ResolutionWarning,
                stacklevel=3,
            )


def _centred(values: NDArray[np.float64], dt: float) -> NDArray[np.float64]:
    """Centred rate of change; the first and last level are given for it and left out of it."""
    rate = values[2:] - values[:-2]
    rate *= 0.5 / dt
    return rate


class PointLoad:
    """The load of a point source: ``weights * samples[n]`` on a few dofs."""

    prescribes = False

    def __init__(
        self,
        stepper: Stepper,
        dofs: NDArray[np.int32],
        weights: NDArray[np.float64],
        samples: NDArray[np.float64],
    ) -> None:
        position = np.empty(len(stepper.order), dtype=np.int64)
        position[stepper.order] = np.arange(len(stepper.order))
        self._at = position[dofs]
        self._weights = stepper.load_weight[self._at] * weights
        self._samples = samples
        inverse_mass = 1.0 / stepper.operators.mass_diagonal[dofs]
        self._bound = 100.0 * stepper.dt * np.abs(samples).sum() * float(np.sqrt(np.sum(inverse_mass * weights**2)))

    def bound(self) -> float:
        """A hundred times the energy norm that an undamped system can take up: ``sum of dt |F_n| in M⁻¹``."""
        return self._bound

    def apply(self, out: NDArray[np.float64], n: int) -> None:
        out[self._at] += self._weights * self._samples[n]


def averaged_signal(source: PointSource, time: TimeGrid, theta: float) -> NDArray[np.float64]:
    """The signal at every level, averaged over three levels as the scheme asks; zero before t = 0."""
    samples = source.signal(np.arange(-1, time.num_levels + 1) * time.dt)
    samples[0] = 0.0
    return np.asarray(samples[1:-1] + theta * (samples[2:] - 2.0 * samples[1:-1] + samples[:-2]))


def make_stepper(how: Discretization, operators: Operators, dt: float, *, prescribed: bool = False) -> Stepper:
    """The stepper that the discretisation names. Collective on the operators' comm."""
    if how.stepper == "newmark":
        return Newmark(operators, dt, prescribed=prescribed)
    return CentralDifference(operators, dt, prescribed=prescribed)
