"""A run on the zone Ω' alone, fed with boundary data level by level, under an interface condition."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import Delaunay

from solvers.batch.ensemble import Ensemble, Selection
from solvers.batch.in_turn import InTurn, runs_of
from solvers.gamma.condition import Dirichlet, InterfaceCondition
from solvers.gamma.datum import BoundarySource, DatumWeights, Steps
from solvers.gamma.gamma import Gamma
from solvers.gamma.trace import Trace
from solvers.mesh.containment import containment
from solvers.mesh.domain import Defect, Domain, with_defect
from solvers.problems.boundary_drives import OneRun
from solvers.problems.gather import canonical_order, gather_rows, gathering_of
from solvers.space.assembly import Discretization, OnGamma, assemble, assemble_admittance, function_space
from solvers.space.locate_gamma import gamma_facets, locate_gamma
from solvers.space.physics import WAVE, Physics
from solvers.space.points import PointEvaluator
from solvers.space.stability import stable_dt
from solvers.stepping.schemes import SCHEMES, Stepper, make_stepper
from solvers.time.grid import TimeGrid, centred_rate


@dataclass(frozen=True)
class ZoneRun:
    """Fields of a zone run at the levels of the boundary data.

    Args:
        times: Times, shape ``(num_levels,)``.
        displacement: u at the nodes that this rank owns, by y, then x, shape ``(num_levels, num_owned)``: on one rank
            at `ZoneModel.points`, which are the ``zone_points`` of a full run where the zone's mesh is the same; on
            several `ZoneModel.gather` joins them.
        velocity: v, the same shape.
    """

    times: NDArray[np.float64]
    displacement: NDArray[np.float64]
    velocity: NDArray[np.float64]


class ZoneModel:
    """An equation on the zone, built once and run for many traces. Collective on the zone's comm.

    Explicit steps that a refined or faster zone cannot take are divided.

    Args:
        zone: A zone mesh, from ``zone_submesh``, ``refined_zone_box`` or ``refined``.
        discretization: Element and stepper.
        time: Levels of the boundary data.
        physics: The equation.
        condition: The interface condition; `Dirichlet` by default.
        defect: A disc with another wave speed; the interface condition keeps the speed of the outside.

    Raises:
        ValueError: For a defect outside the zone.
    """

    def __init__(
        self,
        zone: Domain,
        discretization: Discretization,
        time: TimeGrid,
        *,
        physics: Physics = WAVE,
        condition: InterfaceCondition | None = None,
        defect: Defect | None = None,
    ) -> None:
        self.zone = zone if defect is None else with_defect(zone, defect)
        self.discretization, self.time = discretization, time
        self.V = function_space(zone.mesh, discretization)
        self._comm = zone.mesh.comm
        self._gamma_dofs = locate_gamma(self.V, self.zone)
        self.gamma: Gamma = self._gamma_dofs.gamma
        self.condition = (condition or Dirichlet()).fitted(self.gamma)
        self._evaluator = PointEvaluator(self.V)
        self._evaluations: dict[bytes, sp.csr_matrix | None] = {}
        admittance = assemble_admittance(self.V, zone, discretization, gamma_facets(zone), physics=physics)
        self._terms = self.condition.terms(self.gamma, self._on_gamma(admittance))
        dofs, at = self._gamma_dofs.dofs, self._gamma_dofs.positions
        on_gamma = OnGamma(dofs, self._terms.damping[at], self._terms.spring[at])
        assembly = assemble(self.V, self.zone, discretization, physics=physics, on_gamma=on_gamma)
        on_edge = np.zeros(assembly.num_owned)
        on_edge[assembly.fixed] = 1.0
        self._free = 1.0 - self._on_gamma(on_edge)  # where Γ ends at ∂Ω, u = 0 whatever the data are
        self.parts = 1
        if SCHEMES[discretization.stepper].explicit:
            self.parts = int(np.ceil(time.dt / stable_dt(assembly) - 1e-9))
        self._fine = time.divided(self.parts)
        self.stepper: Stepper = make_stepper(
            discretization.stepper, assembly, self._fine.dt, prescribed=self.condition.prescribes
        )
        self._slots = _Slots(time.num_levels, self.parts)
        self._runs: Ensemble | InTurn | None = None
        self._set_up_gathering()

    def boundary_source(self, trace: Trace) -> BoundarySource:
        """Boundary data from a trace, carried over to this zone's nodes and levels. Local.

        Raises:
            ValueError: If the trace has other levels than this zone, belongs to another Γ, or lacks a field that the
                interface condition needs.
        """
        if not self.time.matches(trace.times):
            raise ValueError(
                f"the trace has {len(trace.times)} levels up to t = {trace.times[-1]:g}, the zone expects "
                f"{self.time.num_levels} up to t = {self.time.final:g}: use the case that made the trace"
            )
        datum = self.datum(trace.on(self.gamma))
        return Steps(datum[:, self.positions])

    @property
    def positions(self) -> NDArray[np.int64]:
        """Place among all nodes of Γ of each that this rank owns: its columns of `datum`."""
        return self._gamma_dofs.positions

    @property
    def nodes(self) -> NDArray[np.int64]:
        """The owned dof at each column of a run: by y, then x."""
        return self._nodes

    def datum(self, trace: Trace, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
        """Boundary data of each step from a trace at this zone's nodes of Γ, shape ``(num_steps, num_nodes)``. Local.

        The trace may be a stretch of levels: what depends on neighbours in time is then right in its inside only (one
        level at either end; where the steps are divided, as far as the cubic splines of `Trace.resampled` reach).

        Args:
            trace: Boundary data.
            start: The first level of the trace from which steps are wanted.
            stop: The one after the last, all by default; from the trace's last level there is one step.

        Raises:
            ValueError: If the trace lacks a field that the interface condition needs.
        """
        num_fine = (len(trace.times) - 1) * self.parts + 1
        first = start * self.parts
        end = num_fine if stop is None else min(stop * self.parts, num_fine)
        low, high = max(0, first - 1), min(num_fine, end + 1)
        self.condition.require(trace.fields, "this trace")
        return self._weights().of(trace.resampled(self.parts, low, high))[first - low : end - low]

    def datum_weights(self) -> DatumWeights | None:
        """Weights of the fields in `datum`; ``None`` where a step of the data is divided into several. Local."""
        return None if self.parts > 1 else self._weights()

    def _weights(self) -> DatumWeights:
        weights = self.condition.datum(self._terms, self.discretization.theta)
        fields = {name: getattr(weights, name) * self._free for name in ("displacement", "velocity", "load")}
        return replace(weights, **fields)

    def run(self, source: Trace | BoundarySource) -> ZoneRun:
        """One run from rest. Collective on the zone's comm.

        Raises:
            DivergenceError: If the run diverges.
        """
        data = self.boundary_source(source) if isinstance(source, Trace) else source
        history = np.empty((self._slots.num, len(self.stepper.order)))
        history[0] = 0.0  # level -1: at rest
        if self.parts > 1:
            self._record(data, history)
            at = self._slots.levels
            return ZoneRun(self.time.times, history[at], centred_rate(history, self._fine.dt, at=at))
        velocity = np.empty((self.time.num_levels, history.shape[1]))
        self._record(data, history, velocity)
        return ZoneRun(self.time.times, history[1:-1], velocity)

    def triangles(self) -> NDArray[np.int64] | None:
        """Triangles between `points` for pictures, shape ``(num_triangles, 3)``. Collective on the zone's comm.

        ``None`` where the curves of Γ alone bound the zone: those inside them are meant.
        """
        own_edges = len(self.zone.outer_facets) + len(self.zone.free_facets)
        if not self._comm.allreduce(own_edges) and self.gamma.outlines():
            return None
        corners = Delaunay(self.points).simplices
        inside, _ = containment(self.zone, self.points[corners].mean(axis=1))
        return np.asarray(corners[inside], dtype=np.int64)

    @property
    def num_steps(self) -> int:
        """Steps of a run: one past the last level, for the velocity there."""
        return (self.time.num_levels - 1) * self.parts + 1

    @property
    def energy_bound(self) -> float:
        """A generous bound of the energy norm on this rank, for boundary data of magnitude one."""
        mass, held = self.stepper.assembly.mass_diagonal, self.stepper.assembly.held
        return self.condition.energy_bound(mass, mass[held], self.stepper.dt, self.time.final)

    def at(self, values: NDArray[np.float64], points: ArrayLike) -> NDArray[np.float64] | None:
        """Values of a run at points of the zone, on the root; ``None`` elsewhere. Collective on the zone's comm.

        Args:
            values: A field of a :class:`ZoneRun`, shape ``(num_levels, num_owned)``.
            points: Shape ``(num_points, 2)``, the same on every rank.

        Returns:
            Shape ``(num_levels, num_points)``.

        Raises:
            ValueError: If a point lies outside the zone.
        """
        xy = np.asarray(points, dtype=np.float64)
        key = xy.tobytes()
        if key not in self._evaluations:
            rows = self._evaluator.matrix(xy)
            matrix = gather_rows(self._comm, rows, np.arange(len(xy)), len(xy))
            self._evaluations[key] = None if matrix is None else matrix[:, self._order]
        matrix = self._evaluations[key]
        gathered = self.gather(values)
        return None if gathered is None or matrix is None else np.asarray((matrix @ gathered.T).T)

    def gather(self, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Values at ``points`` (all nodes of the zone, by y, then x) on the root. Collective on the zone's comm."""
        return self._gathered.gather(values)

    def _record(
        self, data: BoundarySource, history: NDArray[np.float64], velocity: NDArray[np.float64] | None = None
    ) -> None:
        """Steps whose levels are recorded, and v at all but the first and the last. Collective on the zone's comm."""
        if self._runs is None:
            self._runs = runs_of(self.stepper, 1)
            self._selection = Selection(np.argsort(self._runs.order)[self._nodes], self._slots.places[1:])
        self._runs.run(
            self.num_steps,
            boundary=OneRun(data, self.energy_bound),
            selection=self._selection,
            history=history[None],
            rates=None if velocity is None else velocity[None],
        )

    def _on_gamma(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of owned dofs at all nodes of Γ, on every rank: each node is owned by one. Collective."""
        local = np.zeros(self.gamma.num_nodes)
        local[self._gamma_dofs.positions] = values[self._gamma_dofs.dofs]
        whole = np.empty_like(local)
        self._comm.Allreduce(local, whole)
        return whole

    def _set_up_gathering(self) -> None:
        index_map = self.V.dofmap.index_map
        num_owned = index_map.size_local
        coordinates = self.V.tabulate_dof_coordinates()[:num_owned, :2]
        points = np.concatenate(self._comm.allgather(coordinates))
        self._order = canonical_order(points)
        self.points: NDArray[np.float64] = points[self._order]
        first, last = index_map.local_range
        self._nodes: NDArray[np.int64] = self._order[(self._order >= first) & (self._order < last)] - first
        columns = self._nodes.astype(np.int32)
        self._gathered = gathering_of(self._comm, index_map, columns, columns, self._order.astype(np.int64))


class _Slots:
    """Selection steps: each level of the boundary data and its neighbours in time.

    Attributes:
        num: Their number.
        places: Place of step n among them, at n + 1; -1 if it is left out.
        levels: Places of the levels of the boundary data; their neighbours in time stand on each side.
    """

    def __init__(self, num_levels: int, parts: int) -> None:
        wanted = np.arange(num_levels) * parts
        steps = np.unique(np.concatenate([wanted - 1, wanted, wanted + 1]))
        self.num = len(steps)
        self.places = np.full(steps[-1] + 2, -1)
        self.places[steps + 1] = np.arange(self.num)
        self.levels: NDArray[np.int64] = self.places[wanted + 1]
