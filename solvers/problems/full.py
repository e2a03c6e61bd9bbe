"""A run on the whole domain Ω: one point source in, the trace on Γ and the fields in the zone out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from solvers.batch.ensemble import Selection
from solvers.batch.in_turn import InTurn
from solvers.gamma.gamma import Gamma
from solvers.mesh.domain import Domain
from solvers.problems.engine import Runs
from solvers.problems.loads import NodalLoad, averaged_signal, loads_of_runs
from solvers.problems.recording import FullRun, TraceRecorder
from solvers.space.assembly import Discretization, assemble, function_space
from solvers.space.locate_gamma import GammaDofs, locate_gamma
from solvers.space.physics import WAVE, Physics
from solvers.space.points import PointEvaluator
from solvers.space.stability import points_per_wavelength, warn_if_coarse
from solvers.stepping.schemes import Stepper, make_stepper
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource


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
    """An equation on Ω, built once and run for many sources. Collective on the domain's comm.

    Args:
        domain: Ω with its zone.
        discretization: Element and stepper.
        time: Levels of the recorded trace; the run takes the same steps.
        physics: The equation, [A] eq. 1 by default.
        stencils: As of `solvers.batch.ensemble.Ensemble`, for comparisons.

    Raises:
        ValueError: If the time step is unstable, the mesh does not suit the element, or the zone has no boundary.
    """

    def __init__(
        self,
        domain: Domain,
        discretization: Discretization,
        time: TimeGrid,
        *,
        physics: Physics = WAVE,
        stencils: bool = True,
    ) -> None:
        self.domain, self.discretization, self.time, self.physics = domain, discretization, time, physics
        V = function_space(domain.mesh, discretization)
        self.V = V
        self._comm = domain.mesh.comm
        self.gamma_dofs: GammaDofs = locate_gamma(V, domain)
        self.gamma: Gamma = self.gamma_dofs.gamma
        assembly = assemble(V, domain, discretization, physics=physics)
        self.stepper: Stepper = make_stepper(discretization.stepper, assembly, time.dt)
        self.evaluator = PointEvaluator(V)
        self._points_at_unit_omega = points_per_wavelength(domain, discretization.degree, 1.0)
        self._warned = False
        self.runs = Runs(self.stepper, stencils=stencils)
        self._recorder = TraceRecorder(V, domain, discretization, physics, self.gamma_dofs, self.runs.order, time)
        self.zone_points: NDArray[np.float64] = self._recorder.zone_points

    def run(self, source: PointSource, *, fields: bool = True) -> FullRun | None:
        """One run from rest. Collective; the result on the communicator's rank 0, ``None`` elsewhere.

        Args:
            source: The excitation, outside the zone.
            fields: Whether the zone's fields are wanted beside the trace.

        Raises:
            ValueError: If the source lies outside Ω or inside the zone.
            DivergenceError: If the run diverges.
        """
        runs = self.run_many([source], fields=fields)
        return None if runs is None else runs[0]

    def batch_size(self, dtype: DTypeLike = np.float64, *, fields: bool = True) -> int:
        """Number of runs that `run_many` steps at once: multiples of it cost least. Local."""
        return self.runs.batch_size(dtype, (self.time.num_levels + 2) * self._recorder.num_recorded(fields))

    def run_many(
        self, sources: Sequence[PointSource], *, fields: bool = True, dtype: DTypeLike = np.float64
    ) -> list[FullRun] | None:
        """Runs from rest, one for each source, stepped together where the stepper is explicit. Collective.

        What a run yields does not depend on those beside it.

        Args:
            sources: The excitations, outside the zone.
            fields: Whether the zone's fields are wanted beside the trace.
            dtype: Precision of the explicit steps: float64, or float32, which changes a trace by some 1e-6.

        Returns:
            The runs on the communicator's rank 0, ``None`` elsewhere.

        Raises:
            ValueError: If a source lies outside Ω or inside the zone.
            DivergenceError: If a run diverges.
        """
        loads = [self._loads(source) for source in sources]
        record = self._recorder.record(fields)
        slots = 1 + np.arange(self.time.num_levels + 1)  # the first is level -1, at rest
        histories = self.runs.make(loads, record, slots, dtype)
        return None if histories is None else [self._recorder.finish(history, fields) for history in histories]

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
        run, V = InTurn(self.stepper), self.V
        index_map = V.dofmap.index_map
        last = Selection(np.argsort(run.order), np.where(np.arange(level + 1) == level, 0, -1))
        owned = run.run(level, loads=loads_of_runs(self.stepper, [self._loads(source)]), selection=last)[0, 0]
        values = self._comm.gather(owned, root=0)
        points = self._comm.gather(V.tabulate_dof_coordinates()[: len(owned), :2], root=0)
        num_cells_owned = V.mesh.topology.index_map(V.mesh.topology.dim).size_local
        local = V.dofmap.list[:num_cells_owned]
        cells = self._comm.gather(index_map.local_to_global(local.ravel()).reshape(local.shape), root=0)
        if values is None or points is None or cells is None:
            return None
        triangles = np.concatenate(cells) if self.discretization.element == "p1" else None
        return Snapshot(np.concatenate(points), np.concatenate(values), triangles)

    def _loads(self, source: PointSource) -> list[NodalLoad]:
        self._warn_if_coarse(source.signal.highest_omega)
        samples = averaged_signal(source, self.time, self.discretization.theta)
        return [NodalLoad(*self._load(source.position), samples)]

    def _load(self, position: tuple[float, float]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        try:
            dofs, weights = self.evaluator.load(position)
        except ValueError as error:
            raise ValueError(f"the source at {position} lies outside the domain: move it inside") from error
        ids = self.V.dofmap.index_map.local_to_global(dofs)
        interior = self._recorder.zone_interior  # ascending
        inside = np.searchsorted(interior, ids, side="right") > np.searchsorted(interior, ids)
        if self._comm.allreduce(int(inside.any())):
            raise ValueError(
                f"the source at {position} lies inside the zone: sources belong outside, move it or the zone"
            )
        return dofs, weights

    def _warn_if_coarse(self, omega: float) -> None:
        if not self._warned and self._comm.rank == 0:
            self._warned = warn_if_coarse(self._points_at_unit_omega / omega, omega)
