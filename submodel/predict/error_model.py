"""Model of a generator's error, and the quotients of true and expected errors that make a bound of it.

Split conformal calibration: runs are split in two, the model of log eps is fitted on the first part, and on the second
the quotients of true and expected error are sorted. For a fresh sample drawn like the calibration runs, the bound
``expected * quotient[k]``, ``k = ceil((n + 1) coverage)`` of n, holds with at least the probability asked for, whatever
the generator and however poor the error model. Source: Papadopoulos, Proedrou, Vovk, Gammerman 2002; Lei, G'Sell,
Rinaldo, Tibshirani, Wasserman 2018, J. Am. Stat. Assoc. 113, 2.2 and 5.2 (locally weighted residuals).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Features = Mapping[str, Array]
"""Columns that the error may depend on, by group, each of shape (sample, column)."""

SIGNAL = "signal"
"""Group of the logarithm of the signal's expected error, `submodel.predict.signal_error`: its slope is near 1."""

FITTED = 0.3
"""Share of the calibration runs that the error model is fitted on; the rest decides the coverage, whose spread over
calibrations goes with one over the root of their number."""

RIDGE = 0.3
"""Weight of the penalty on the error model's coefficients, in runs."""

FEWEST = 4
"""Calibration runs that are needed at least."""

FEW = 50
"""Calibrations of fewer runs are said to be of few."""

GAIN = 0.97
"""Share of the deviation over runs left out that a group of features must come down to, or it is not used."""

FAR = 3.0
"""Deviations from the mean of the fit beyond which the expected error follows a feature no further."""


@dataclass(frozen=True)
class ErrorModel:
    """Expected error as a function of features, and the sorted quotients of true and expected errors.

    Args:
        groups: Groups of features that it uses, in the order of its columns.
        centre: Mean of each column over the runs of the fit.
        scale: Their standard deviations.
        coefficients: Of log eps, the constant first.
        num_fitted: Runs of the fit.
        quotients: Of the other runs, ascending.
    """

    groups: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    num_fitted: int
    quotients: tuple[float, ...]

    @classmethod
    def fit(cls, features: Features, epsilon: Array, *, seed: int = 0, num_fitted: int | None = None) -> ErrorModel:
        """Split the runs at random, fit log eps on one part by ridge regression, take quotients on the other.

        The groups of features are taken in one after the other, that of the signal first, as long as the deviation
        over runs left out of the fit comes down by them.

        Args:
            features: Of the runs; the columns of `SIGNAL` are logarithms of expected errors.
            epsilon: Error of each run, shape (sample,).
            seed: Of the split.
            num_fitted: Runs of the fit; 0 takes the signal's expected error as it is.

        Raises:
            ValueError: Too few runs, or an error that is not positive and finite.
        """
        if len(epsilon) < FEWEST:
            raise ValueError(f"{len(epsilon)} calibration runs are too few: generate {FEWEST} at least, 100 for 90 %")
        if not (np.isfinite(epsilon).all() and (epsilon > 0.0).all()):
            raise ValueError("an error of a calibration run is zero or not finite: nothing can be calibrated on it")
        fitted, rest = split(len(epsilon), seed=seed, num_fitted=num_fitted)
        if len(fitted):
            model = _chosen({name: values[fitted] for name, values in features.items()}, np.log(epsilon[fitted]))
        else:
            model = cls((SIGNAL,), (0.0,), (1.0,), (0.0, 1.0), 0, ())
        quotients = np.sort(epsilon[rest] / model.expected({name: values[rest] for name, values in features.items()}))
        return replace(model, quotients=_plain(quotients))

    @property
    def num_sorted(self) -> int:
        """Runs on which the coverage rests."""
        return len(self.quotients)

    @property
    def num_runs(self) -> int:
        """All runs of the calibration."""
        return self.num_fitted + self.num_sorted

    def expected(self, features: Features) -> Array:
        """Expected error, shape (sample,).

        Beyond the features of the fit it stays as at three deviations; but it follows the signal's own everywhere. A
        feature that is not a number counts as its mean.
        """
        columns = _columns(features, self.groups)
        scores = np.nan_to_num((columns - np.array(self.centre)) / np.array(self.scale), nan=0.0)
        bounded = [] if SIGNAL not in self.groups else [0] * features[SIGNAL].shape[1]
        scores[:, len(bounded) :] = np.clip(scores[:, len(bounded) :], -FAR, FAR)
        return np.asarray(np.exp(self.coefficients[0] + scores @ np.array(self.coefficients[1:])))

    def factor(self, coverage: float) -> float:
        """Factor of the expected error with which it holds with a coverage.

        Raises:
            ValueError: As `rank_of`.
        """
        return self.quotients[rank_of(coverage, self.num_sorted) - 1]

    def basis(self, coverage: float) -> str:
        """Words on the runs that the bound rests on and the features that it follows; few runs are said to be few."""
        follows = f", by {', '.join(self.groups)}" if self.groups else ", one for all"
        words = f"split conformal on {self.num_sorted} runs{follows}"
        if self.num_runs >= FEW:
            return words
        spread = math.sqrt(coverage * (1.0 - coverage) / (self.num_sorted + 2))
        return (
            f"{words}; a calibration of {self.num_runs} runs, fewer than {FEW}, may miss the coverage by "
            f"{100 * spread:.0f} points"
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The model whose fields have these plain values.

        Raises:
            TypeError: They are others.
        """
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**plain)


def split(num_runs: int, *, seed: int = 0, num_fitted: int | None = None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Numbers of the calibration runs of the fit, and of those of the quotients, drawn at random."""
    order = np.random.default_rng(seed).permutation(num_runs)
    num = num_runs - num_sorted(num_runs) if num_fitted is None else num_fitted
    return order[:num], order[num:]


def num_sorted(num_runs: int) -> int:
    """Number of the calibration runs that the coverage rests on, the others being those of the error model."""
    return num_runs - max(1, round(FITTED * num_runs))


def rank_of(coverage: float, num: int) -> int:
    """Rank of the one of so many ascending quotients that has a coverage: ``ceil((num + 1) coverage)``, from 1.

    Raises:
        ValueError: The coverage is not between 0 and 1, or needs more quotients.
    """
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"the coverage must lie between 0 and 1, got {coverage:g}")
    rank = math.ceil((num + 1) * coverage - 1e-9)
    if rank > num:
        needed = math.ceil(coverage / (1.0 - coverage) - 1e-9)
        raise ValueError(
            f"a coverage of {100 * coverage:g} % needs {needed} calibration runs beside those of the fit, "
            f"there are {num}: generate more, or ask for less"
        )
    return max(rank, 1)


def _chosen(features: Features, logarithm: Array) -> ErrorModel:
    """The model of the groups of features that bring the deviation over runs left out down, by forward choice."""
    groups: tuple[str, ...] = (SIGNAL,) if SIGNAL in features else ()
    least = _left_out(features, groups, logarithm)
    while others := [name for name in features if name not in groups]:
        deviations = {name: _left_out(features, (*groups, name), logarithm) for name in others}
        best = min(deviations, key=lambda name: deviations[name])
        if deviations[best] > GAIN * least:
            break
        groups, least = (*groups, best), deviations[best]
    centre, scale, coefficients = _ridge(features, groups, logarithm)
    return ErrorModel(groups, _plain(centre), _plain(scale), _plain(coefficients), len(logarithm), ())


def _ridge(features: Features, groups: tuple[str, ...], logarithm: Array) -> tuple[Array, Array, Array]:
    """Mean and deviation of each column, and coefficients that are drawn to slope 1 of the signal, 0 of others."""
    columns = _columns(features, groups, len(logarithm))
    centre = columns.mean(axis=0)
    scale = np.maximum(columns.std(axis=0), 1e-6 * np.abs(centre))
    scale[scale == 0.0] = 1.0
    scores = (columns - centre) / scale
    prior = np.zeros(columns.shape[1])
    if SIGNAL in groups:
        prior[: features[SIGNAL].shape[1]] = 1.0
    prior *= scale
    left = logarithm - logarithm.mean() - scores @ prior
    normal = scores.T @ scores + RIDGE * len(logarithm) ** 0.5 * np.eye(scores.shape[1])
    return centre, scale, np.concatenate([[logarithm.mean()], prior + np.linalg.solve(normal, scores.T @ left)])


def _left_out(features: Features, groups: tuple[str, ...], logarithm: Array) -> float:
    """Root mean square of log eps less the model's, each run by the fit on the others."""
    num = len(logarithm)
    if num < 2:
        return math.inf
    misses = np.empty(num)
    columns = _columns(features, groups, num)
    for run in range(num):
        rest = np.delete(np.arange(num), run)
        centre, scale, coefficients = _ridge(
            {name: values[rest] for name, values in features.items()}, groups, logarithm[rest]
        )
        misses[run] = logarithm[run] - coefficients[0] - (columns[run] - centre) / scale @ coefficients[1:]
    return float(np.sqrt(np.mean(misses**2)))


def _columns(features: Features, groups: tuple[str, ...], num: int | None = None) -> Array:
    """Columns of some groups, shape (sample, column)."""
    if not groups:
        return np.empty((len(next(iter(features.values()))) if num is None else num, 0))
    return np.concatenate([features[name] for name in groups], axis=1)


def _plain(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
