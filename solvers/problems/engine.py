"""Runs of one scheme from rest under nodal loads: explicit ones together in compiled steps, implicit ones in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import DTypeLike, NDArray

from solvers.batch.ensemble import Ensemble, Selection
from solvers.batch.in_turn import InTurn, runs_at_once, runs_of
from solvers.batch.sums import LevelSums, as_complex
from solvers.problems.gather import Gathering
from solvers.problems.loads import NodalLoad, loads_of_runs
from solvers.stepping.schemes import DivergenceError, Stepper

MANY = 2  # any number of runs above one asks for a whole line of lanes
MOST_BYTES = 2**30
"""Most bytes of the histories of runs that are stepped together."""


class Runs:
    """Makes runs of a stepper. Collective on the assembly's comm.

    Args:
        stepper: The scheme.
        stencils: As of `Ensemble`.

    Attributes:
        order: The owned dof at each place of what is recorded.
    """

    order: NDArray[np.int32]

    def __init__(self, stepper: Stepper, *, stencils: bool = True) -> None:
        self._stepper, self._stencils = stepper, stencils
        self._made: dict[tuple[int, str], Ensemble | InTurn] = {}
        self.order = self._runs(1, np.float64).order

    def batch_size(self, dtype: DTypeLike = np.float64, num_values: int = 0) -> int:
        """Number of runs that are stepped at once: that of the lanes, if their histories leave room. Local.

        Args:
            dtype: Of the steps.
            num_values: Selection values of one run.
        """
        lanes = runs_at_once(self._stepper, MANY, dtype)
        return lanes if lanes * num_values * np.dtype(dtype).itemsize <= MOST_BYTES else 1

    def prepare(self, dtype: DTypeLike = np.float64) -> None:
        """Build what batches of runs are stepped with, which the first of them would do otherwise. Collective."""
        if self.batch_size(dtype) > 1:
            self._runs(MANY, dtype)

    def make(
        self,
        loads: Sequence[Sequence[NodalLoad]],
        record: Gathering,
        slots: NDArray[np.int64],
        dtype: DTypeLike = np.float64,
    ) -> list[NDArray[Any]] | None:
        """Runs from rest, each under its own loads; any number of them. Collective on the assembly's comm.

        Args:
            loads: Of each run this rank's share of its loads.
            record: Dofs that are recorded, in this object's order.
            slots: Place of each level 0 .. num_steps in a history, -1 for those left out.
            dtype: Of the compiled steps; the implicit ones are float64.

        Returns:
            On the root each run's history, shape ``(num_slots, num_recorded)``; ``None`` elsewhere. Slots that no level
            belongs to are zero.

        Raises:
            DivergenceError: On every rank, if a run diverges; it says which.
        """
        histories: list[NDArray[Any]] = []
        num_values = len(record.local) * (int(slots.max(initial=-1)) + 1)
        size = self.batch_size(dtype, record.comm.allreduce(num_values, op=MPI.MAX))
        selection = Selection(record.local, slots)
        for start in range(0, len(loads), size):
            part = loads[start : start + size]
            try:
                history = self._runs(len(part), dtype).run(
                    len(slots) - 1, loads=loads_of_runs(self._stepper, part), selection=selection
                )
            except DivergenceError as error:
                raise DivergenceError(error.step, error.time, error.norm, start + error.run) from error
            gathered = [record.gather(each) for each in history[: len(part)]]
            histories += [each for each in gathered if each is not None]
        return histories if record.comm.rank == 0 else None

    def sums(
        self, loads: Sequence[Sequence[NodalLoad]], record: Gathering, weights: NDArray[np.complex128]
    ) -> list[NDArray[np.complex128]] | None:
        """Weighted sums over the levels of runs from rest, which store no history. Collective on the assembly's comm.

        Args:
            loads: Of each run this rank's share of its loads.
            record: Dofs that are summed, in this object's order.
            weights: Of each level 0 .. num_steps, shape ``(num_sums, num_steps + 1)``.

        Returns:
            On the root each run's sums, shape ``(num_sums, num_recorded)``; ``None`` elsewhere.

        Raises:
            DivergenceError: On every rank, if a run diverges; it says which.
        """
        gathered: list[NDArray[np.float64]] = []
        sums = LevelSums(weights)
        num_values = 2 * len(weights) * len(record.local)
        size = self.batch_size(np.float64, record.comm.allreduce(num_values, op=MPI.MAX))
        selection = Selection(record.local, sums.slots)
        for start in range(0, len(loads), size):
            part = loads[start : start + size]
            sums.begin(len(part), len(record.local))
            try:
                self._runs(len(part), np.float64).run(
                    weights.shape[1] - 1, loads=loads_of_runs(self._stepper, part), selection=selection, sums=sums
                )
            except DivergenceError as error:
                raise DivergenceError(error.step, error.time, error.norm, start + error.run) from error
            gathered += [each for total in sums.totals() if (each := record.gather(total)) is not None]
        return [as_complex(each) for each in gathered] if record.comm.rank == 0 else None

    def _runs(self, num_runs: int, dtype: DTypeLike) -> Ensemble | InTurn:
        key = (runs_at_once(self._stepper, num_runs, dtype), np.dtype(dtype).name)
        if key not in self._made:
            self._made[key] = runs_of(self._stepper, num_runs, dtype, stencils=self._stencils)
        return self._made[key]
