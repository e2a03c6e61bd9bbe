"""Runs of a scheme that has no compiled steps, one run and one step at a time, in the form of the compiled ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from solvers.batch.ensemble import BoundaryBlocks, Ensemble, Loads, Selection, lanes_of
from solvers.batch.sums import LevelSums
from solvers.stepping.schemes import LEVELS_BETWEEN_CHECKS, CentralDifference, Stepper, march
from solvers.time.grid import centred_rate


class InTurn:
    """A run of any scheme from rest, in plain steps. Collective on the assembly's comm.

    Args:
        stepper: The scheme.

    Attributes:
        order: The owned dof at each place of a level.
        lanes: Runs at once: one.
        dtype: float64.
    """

    lanes = 1
    dtype = np.dtype(np.float64)

    def __init__(self, stepper: Stepper) -> None:
        self._stepper, self.order = stepper, stepper.order

    def run(
        self,
        num_steps: int,
        *,
        loads: Loads | None = None,
        boundary: BoundaryBlocks | None = None,
        selection: Selection,
        history: NDArray[Any] | None = None,
        rates: NDArray[Any] | None = None,
        sums: LevelSums | None = None,
    ) -> NDArray[Any]:
        """Steps from rest. Collective on the assembly's comm. Arguments and result as of `Ensemble.run`.

        Raises:
            DivergenceError: On every rank, if the motion is not finite or exceeds what its input can cause.
        """
        rows, slots = selection.rows, selection.slots
        out = np.zeros((1, int(slots.max(initial=-1)) + 1, len(rows))) if history is None else history
        for n, state in march(self._stepper, Input(self._stepper, loads, boundary), num_steps):
            if slots[n] >= 0:
                out[0, slots[n]] = state[rows]
            if sums is not None and n > 0 and (n % LEVELS_BETWEEN_CHECKS == 0 or n == num_steps):
                sums.add(out, n - (n - 1) % LEVELS_BETWEEN_CHECKS, n + 1)
        if rates is not None:
            centred_rate(out[0], self._stepper.dt, out=rates[0])
        return out


class Input:
    """Loads and boundary data of one run, step by step."""

    def __init__(
        self, stepper: Stepper, loads: Loads | None = None, boundary: BoundaryBlocks | None = None
    ) -> None:
        self._loads, self._boundary, self._prescribed = loads, boundary, stepper.prescribed
        self._held = slice(len(stepper.order) - len(stepper.assembly.held), None)
        self._weight = stepper.load_weight[self._held]
        self._start = 0
        self._block: NDArray[Any] = np.empty((0, 0, 1))
        if loads is not None:
            self._rows = np.argsort(stepper.order)[loads.dofs]
            self._weights = stepper.load_weight[self._rows] * loads.weights

    def bound(self) -> float:
        if self._boundary is not None:
            return float(self._boundary.bounds()[0])
        return np.inf if self._loads is None else float(self._loads.bounds[0])

    def apply(self, out: NDArray[np.float64], n: int) -> None:
        if self._loads is not None:
            np.add.at(out, self._rows, self._weights * self._loads.samples[n, self._loads.signals])
        if self._boundary is None:
            return
        if not self._start <= n < self._start + len(self._block):
            self._start, self._block = n, self._boundary.from_step(n)
        datum = self._block[n - self._start, :, 0]
        if self._prescribed:
            out[self._held] = datum
        else:
            out[self._held] += self._weight * datum


def runs_of(
    stepper: Stepper, num_runs: int, dtype: DTypeLike = np.float64, *, stencils: bool = True
) -> Ensemble | InTurn:
    """The fastest way to make some runs of a scheme. Collective on the assembly's comm. Arguments as of `Ensemble`."""
    if isinstance(stepper, CentralDifference):
        return Ensemble(stepper, num_runs, dtype, stencils=stencils)
    return InTurn(stepper)


def runs_at_once(stepper: Stepper, num_runs: int, dtype: DTypeLike = np.float64) -> int:
    """Lanes of what `runs_of` makes. Local."""
    return lanes_of(dtype, num_runs) if stepper.explicit else InTurn.lanes
