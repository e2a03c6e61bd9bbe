"""Runs of one zone for many histories of boundary data at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from solvers.batch.ensemble import Selection
from solvers.batch.in_turn import runs_of
from solvers.problems.boundary_drives import ManyRuns
from solvers.problems.zone import ZoneModel
from solvers.stepping.schemes import DivergenceError


class ZoneBatch:
    """The displacement of a zone under many histories of boundary data, a cache line of runs at a time. Local.

    Explicit steps are taken together; Newmark's one run after the other.

    Args:
        model: The zone, on one rank.
        num_runs: Number of runs to expect, as of `Ensemble`: one is stepped alone.
        dtype: Of the steps and of what is returned. float64 gives the numbers of single runs; float32, twice as fast,
            differs by about 1e-5 of the largest value over some hundred steps.
        stencils: As of `Ensemble`, for comparisons.

    Attributes:
        lanes: Runs that are stepped at once: whole multiples of it waste nothing.

    Raises:
        ValueError: If several ranks share the zone, or dtype is another.
        CompileError: If the steps cannot be compiled.
    """

    def __init__(
        self, model: ZoneModel, dtype: DTypeLike = np.float32, *, num_runs: int = 2, stencils: bool = True
    ) -> None:
        num_ranks = model.zone.mesh.comm.size
        if num_ranks > 1:
            raise ValueError(f"many runs share a zone on one rank, this one is on {num_ranks}: make one a rank instead")
        self.model, self.dtype = model, np.dtype(dtype)
        self._in_order = np.array_equal(model.positions, np.arange(model.gamma.num_nodes))
        self._runs = runs_of(model.stepper, num_runs, dtype, stencils=stencils)
        self.lanes = self._runs.lanes
        slots = np.full(model.num_steps, -1)
        slots[:: model.parts] = np.arange(model.time.num_levels)
        self._selection = Selection(np.argsort(self._runs.order)[model.nodes], slots)

    def room(self, num_runs: int) -> NDArray[Any]:
        """An array for the result of this many runs: given to `run` again, its memory is not cleared by the system."""
        return np.empty((num_runs, self.model.time.num_levels, len(self.model.points)), self.dtype)

    def run(self, data: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Runs from rest.

        Args:
            data: As `ZoneModel.datum` gives them, shape ``(num_runs, num_steps, num_nodes)``.
            out: Array for the result, as `room` makes it.

        Returns:
            u at the zone's ``points``, shape ``(num_runs, num_levels, num_points)``.

        Raises:
            DivergenceError: If a run diverges; it names the first that does.
        """
        model = self.model
        out = self.room(len(data)) if out is None else out
        for start in range(0, len(data), self.lanes):
            part, target = data[start : start + self.lanes], out[start : start + self.lanes]
            try:
                self._fill(part if self._in_order else part[:, :, model.positions], target)
            except DivergenceError as error:
                raise DivergenceError(error.step, error.time, error.norm, start + error.run) from error
        return out

    def _fill(self, data: NDArray[Any], out: NDArray[Any]) -> None:
        whole = out if len(out) == self.lanes else np.empty((self.lanes, *out.shape[1:]), self.dtype)
        boundary = ManyRuns(data, self.model.energy_bound)
        self._runs.run(self.model.num_steps - 1, boundary=boundary, selection=self._selection, history=whole)
        if whole is not out:
            out[:] = whole[: len(out)]
