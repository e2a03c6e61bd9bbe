"""The runs to add next: of the kind whose halving hurts more, for each run that it takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from networks.table.data import CrossData
from networks.table.fit.maps import DirectRuns, choose
from networks.table.fit.metric import Responses, gains

FEWEST = 3
"""Direct runs that cross-validation needs to say anything."""


@dataclass(frozen=True)
class Halved:
    """Relative root mean squares, in the metric, of what is left of direct runs left out.

    Attributes:
        whole: with all runs.
        direct: with the first half of the direct runs; None where that is too few.
        reciprocal: with the first half of the reciprocal ones.
    """

    whole: float
    direct: float | None
    reciprocal: float


@dataclass(frozen=True)
class Growth:
    """Runs to add.

    Attributes:
        direct, reciprocal: their numbers; one of them is 0.
        halved: the errors that say so.
        fall: of the logarithm of the error with one run more of this kind, about.
    """

    direct: int
    reciprocal: int
    halved: Halved
    fall: float = 0.0

    @property
    def reason(self) -> str:
        """One line for the report."""
        h = self.halved
        direct = "too few to halve" if h.direct is None else f"{100 * h.direct:.3g} %"
        return (
            f"left of runs left out {100 * h.whole:.3g} %; with half of the direct runs {direct}, with half of the "
            f"reciprocal ones {100 * h.reciprocal:.3g} %"
        )


def halved(data: CrossData, *, seed: int = 0) -> Halved:
    """Cross-validate the runs at hand, the first half of the direct ones, and the first half of the reciprocal ones.

    Loads and places are in the order in which they were added: the first half is what was there before.
    """
    times = data.times
    weights = gains(Responses.of(times.signals, times.rate, times.dt, times.omega), data.direct)
    every = np.repeat(weights, data.direct.shape[1] // 2, 0)
    direct: NDArray[np.complexfloating] = data.direct * every
    made_up = None if data.made_up is None else data.made_up * every

    def left(runs: NDArray[np.complexfloating], loads: NDArray[np.integer]) -> float:
        return choose(DirectRuns(runs, loads, seed=seed, made_up=made_up))[2]

    half = max(FEWEST, (len(direct) + 1) // 2)
    return Halved(
        left(direct, data.loads),
        left(direct[:half], data.loads) if half < len(direct) else None,
        left(direct, data.loads[: max(1, len(data.loads) // 2)]),
    )


def next_runs(
    data: CrossData, *, steps: tuple[int, int] = (5, 10), runs: int | None = None, seed: int = 0
) -> Growth:
    """Choose what to add, from the runs at hand alone.

    Args:
        data: the runs.
        steps: direct and reciprocal runs that would be added.
        runs: reciprocal runs that the loads come from, fewer where symmetries serve several by one; else one a load.
        seed: of the folds of cross-validation.
    """
    num_direct, num_loads = len(data.direct), len(data.loads)
    out = halved(data, seed=seed)
    rates = []
    for error, num, part, paid in (
        (out.direct, num_direct, max(FEWEST, (num_direct + 1) // 2), num_direct),
        (out.reciprocal, num_loads, max(1, num_loads // 2), runs or num_loads),
    ):
        rates.append(
            np.log(error / out.whole) / np.log(num / part) / paid if error and out.whole and num > part else 0.0
        )
    complete = num_loads >= data.direct.shape[1]
    if complete or rates[0] > rates[1]:
        return Growth(steps[0], 0, out, float(rates[0]))
    return Growth(0, min(steps[1], data.direct.shape[1] - num_loads), out, float(rates[1]))
