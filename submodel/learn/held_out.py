"""Error of u on Γ that a table from some cross runs makes, by the direct runs that are left out in turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from networks.table.data import CrossData
from networks.table.growth import Growth, next_runs
from networks.table.solve import held_out

Array = NDArray[np.float64]
Complex = NDArray[np.complexfloating]

@dataclass(frozen=True)
class Estimate:
    """Relative L2 errors of u on Γ over the run.

    Args:
        errors: Of each direct run, predicted without it, mean over signals like the case's: (run,).
    """

    errors: Array

    @property
    def mean(self) -> float:
        """Over the runs."""
        return float(self.errors.mean())

    @property
    def spread(self) -> float:
        """Standard error of the mean; infinite for one run."""
        num = len(self.errors)
        return float(self.errors.std(ddof=1) / np.sqrt(num)) if num > 1 else float("inf")

    def words(self) -> str:
        """Mean and standard error in %."""
        return f"{100 * self.mean:.2g} ± {100 * self.spread:.2g} %"


@dataclass(frozen=True)
class Judgement:
    """Error of a table from some cross runs, and the runs that would help most.

    Args:
        estimate: By the direct runs.
        growth: Runs to add.
    """

    estimate: Estimate
    growth: Growth


def needed_runs(num: int, error: float, tolerance: float, fall: float) -> int | None:
    """Runs that a tolerance would take, guessed from what the last ones brought; None where that is nothing.

    Args:
        num: Runs of both kinds at hand.
        error: From them.
        tolerance: Wanted.
        fall: Of the logarithm of the error with one run more.
    """
    return num + int(np.ceil(np.log(max(error, tolerance) / tolerance) / fall)) if fall > 0 else None


class Judge:
    """Judges tables from cross runs.

    Args:
        data: The runs.
        seed: Of the folds of cross-validation.
    """

    def __init__(self, data: CrossData, seed: int = 0) -> None:
        self.data, self._seed = data, seed
        self._maps, _, errors = held_out(data, seed=seed)
        self.estimate = Estimate(errors[:, 0])

    def judgement(self, num_reciprocal: int) -> Judgement:
        """The error, and what more runs would bring.

        Args:
            num_reciprocal: Runs that the loads come from, fewer than these where symmetries serve several by one.
        """
        return Judgement(self.estimate, next_runs(self.data, runs=num_reciprocal, seed=self._seed))

    def fresh(self, direct: Complex) -> Estimate:
        """Error of u of runs (run, 2A, K) that the map was not fitted to, from what was run at their loads."""
        predicted = self._maps.predict(direct[:, self._maps.cross.loads])
        return Estimate(self._maps.errors(direct, predicted)[:, 0])
