"""Error of u on Γ that a table from some cross runs makes, by the direct runs that are left out in turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from networks.table.data import CrossData
from networks.table.fit.maps import DirectRuns, Pooling, fit_map
from networks.table.solve import Maps, held_out
from submodel.case.case import Case
from submodel.case.excitation import Excitation
from submodel.case.sampling import from_unit_cube

Array = NDArray[np.float64]
Complex = NDArray[np.complexfloating]

NUM_SIGNALS = 9
"""Signals that a run's error is the mean over."""
FOLDS = 5
"""Parts that the direct runs are left out in, as of `networks.table.fit.maps.DirectRuns`."""
POOLINGS = (Pooling(2), Pooling(3, 0.3), Pooling(6, 0.3))
"""Neighbours that a map from half of the runs may have: enough to tell which kind of run is wanting."""
LEAST_HALF = 3
"""Direct runs of half of them, at least: fewer say nothing of a map."""


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
    """Error of a table from some cross runs, and what it owes to each kind of run.

    Args:
        num_direct, num_reciprocal: The runs.
        estimate: By the direct runs.
        per_direct: Fall of the logarithm of the error with one more direct run.
        per_reciprocal: With one more reciprocal run.
    """

    num_direct: int
    num_reciprocal: int
    estimate: Estimate
    per_direct: float
    per_reciprocal: float


def case_signals(case: Case, num: int = NUM_SIGNALS, seed: int = 0) -> Array:
    """Samples (signal, level + 1) of signals like the case's own, by ascending ω.

    Each lies in a slice of ω of its own; registered axes are drawn as those of samples.
    """
    rng = np.random.default_rng([seed, num])
    unit = rng.random((num, case.parameters.dimension))
    place = case.parameters.names.index("omega")
    unit[:, place] = (np.arange(num) + rng.random(num)) / num
    vectors = from_unit_cube(unit, case.parameters)
    return np.array([Excitation.of_parameters(case, vector).samples(case)[0] for vector in vectors])


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

    def judgement(self) -> Judgement:
        """The error, and what more of each kind would bring."""
        direct, loads = self.data.direct, self.data.loads
        num_direct, num_loads = len(direct), len(loads)
        mean = max(self.estimate.mean, np.finfo(float).tiny)
        left = 1.0 - 1.0 / min(FOLDS, num_direct)  # share of the runs that the others of a fold are
        per_direct = np.log(self._halves() / mean) / np.log(left * num_direct / self._half) / num_direct
        half = self._map(direct, loads[: num_loads // 2])
        fewer = self._maps.errors(direct, half.cross.held_out / self._maps.weights)[:, 0].mean()
        per_reciprocal = np.log(fewer / mean) / np.log(2.0) / num_loads
        return Judgement(num_direct, num_loads, self.estimate, float(per_direct), float(per_reciprocal))

    def fresh(self, direct: Complex) -> Estimate:
        """Error of u of runs (run, 2A, K) that the map was not fitted to, from what was run at their loads."""
        return Estimate(_errors(self._maps, direct))

    @property
    def _half(self) -> int:
        """Direct runs of half of them."""
        return max(LEAST_HALF, (len(self.data.direct) + 1) // 2)

    def _halves(self) -> float:
        """Mean error of u of the runs that half of the direct runs predict, over two choices of the half."""
        direct, half = self.data.direct, self._half
        if half == len(direct):
            return self.estimate.mean
        firsts = _errors(self._map(direct[:half], self.data.loads), direct[half:])
        lasts = _errors(self._map(direct[-half:], self.data.loads), direct[:-half])
        return float(np.mean([firsts.mean(), lasts.mean()]))

    def _map(self, direct: Complex, loads: NDArray[np.integer]) -> Maps:
        cross = fit_map(DirectRuns(direct * self._maps.weights, loads, seed=self._seed), POOLINGS)
        return Maps(cross, self._maps.gains, self._maps.responses)


def _errors(maps: Maps, direct: Complex) -> Array:
    """Errors of u (run,) of runs that a map was not fitted to."""
    return np.asarray(maps.errors(direct, maps.predict(direct[:, maps.cross.loads]))[:, 0])
