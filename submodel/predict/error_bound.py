"""A bound of a generator's error after the zoom, and where its training samples lie.

The error model says what size of error to expect at a parameter vector; split conformal calibration turns it into a
bound: runs are split in two, the model of log eps is fitted on the first part, and on the second the quotients of true
and expected error are sorted. For a fresh sample drawn like the calibration runs, the bound
``expected * quotient[k]``, ``k = ceil((n + 1) coverage)`` of n, holds with at least the probability asked for, whatever
the generator and however poor the error model. Source: Papadopoulos, Proedrou, Vovk, Gammerman 2002; Lei, G'Sell,
Rinaldo, Tibshirani, Wasserman 2018, J. Am. Stat. Assoc. 113, 2.2 and 5.2 (locally weighted residuals).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from submodel.case.parameters import Parameters

Array = NDArray[np.float64]

COVERAGE = 0.9
FITTED = 0.3
"""Share of the calibration runs that the error model is fitted on; the rest decides the coverage, whose spread over
calibrations goes with one over the root of their number."""

RIDGE = 0.3
"""Weight of the penalty on the error model's coefficients, in runs."""

FEWEST = 4
"""Calibration runs that are needed at least."""

NEIGHBOURS = 3


@dataclass(frozen=True)
class Training:
    """Where the training samples lie, and Γ, from which distances are counted.

    Args:
        parameters: Axes of the training with their ranges.
        sources: Sources of the training, shape (sample, 2); where a symmetry is used, their images too.
        interface: Nodes of Γ, shape (arc, 2).
    """

    parameters: Parameters
    sources: Array
    interface: Array

    def distance(self, sources: ArrayLike, *, excluded: bool = False) -> Array:
        """Mean distance to the nearest training sources, shape (sample,): large where these are sparse.

        Args:
            sources: Shape (sample, 2).
            excluded: Whether the sources are of the training, so that each leaves itself out.
        """
        num = min(NEIGHBOURS, len(self.sources) - int(excluded))
        distances, _ = cKDTree(self.sources).query(np.asarray(sources), k=list(range(1, num + 1 + int(excluded))))
        return np.asarray(distances[:, int(excluded) :].mean(axis=1))

    def spacing(self) -> Array:
        """Median and largest distance between neighbouring training sources."""
        if len(self.sources) < 2:
            return np.full(2, np.inf)
        distances = self.distance(self.sources, excluded=True)
        return np.array([np.median(distances), distances.max()])

    def features(self, vectors: ArrayLike) -> Array:
        """Quantities that the error may depend on, shape (sample, feature).

        Frequency, its square, distance of the source to Γ (logarithm) and to the nearest training sources, and that
        distance times the frequency: in wavelengths; then the registered axes.
        """
        omega, sources = self.parameters.omegas(vectors), self.parameters.sources(vectors)
        to_zone, _ = cKDTree(self.interface).query(sources)
        scale = 0.5 * sum(self.parameters.omega)
        gap = self.distance(sources)
        waves = [omega / scale, (omega / scale) ** 2, np.log(to_zone), gap, omega / scale * gap]
        return np.column_stack([*waves, self.parameters.others(vectors)])


@dataclass(frozen=True)
class ErrorModel:
    """Expected error as a function of the parameters, and the sorted quotients of true and expected errors.

    Args:
        centre: Mean of each feature over the runs of the fit.
        scale: Their standard deviations.
        coefficients: Of log eps, the constant first.
        quotients: Of the other runs, ascending.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    quotients: tuple[float, ...]

    @classmethod
    def fit(cls, features: Array, epsilon: Array, *, seed: int = 0) -> Self:
        """Split the runs at random, fit log eps on one part by ridge regression, take quotients on the other.

        Raises:
            ValueError: Too few runs, or an error that is not positive and finite.
        """
        if len(epsilon) < FEWEST:
            raise ValueError(f"{len(epsilon)} calibration runs are too few: generate {FEWEST} at least, 100 for 90 %")
        if not (np.isfinite(epsilon).all() and (epsilon > 0.0).all()):
            raise ValueError("an error of a calibration run is zero or not finite: nothing can be calibrated on it")
        order = np.random.default_rng(seed).permutation(len(epsilon))
        num_fitted = len(epsilon) - num_sorted(len(epsilon))
        fitted, rest = order[:num_fitted], order[num_fitted:]
        centre = features[fitted].mean(axis=0)
        scale = np.maximum(features[fitted].std(axis=0), 1e-6 * np.abs(centre))
        scale[scale == 0.0] = 1.0
        scores = (features[fitted] - centre) / scale
        logarithm = np.log(epsilon[fitted])
        normal = scores.T @ scores + RIDGE * num_fitted**0.5 * np.eye(scores.shape[1])
        slopes = np.linalg.solve(normal, scores.T @ (logarithm - logarithm.mean()))
        coefficients = np.concatenate([[logarithm.mean()], slopes])
        model = cls(_plain(centre), _plain(scale), _plain(coefficients), ())
        quotients = np.sort(epsilon[rest] / model.expected(features[rest]))
        return cls(model.centre, model.scale, model.coefficients, _plain(quotients))

    @property
    def num_runs(self) -> int:
        """Runs on which the coverage rests."""
        return len(self.quotients)

    def expected(self, features: Array) -> Array:
        """Expected error, shape (sample,); beyond the features of the fit it stays as at three deviations."""
        scores = np.clip((features - np.array(self.centre)) / np.array(self.scale), -3.0, 3.0)
        return np.asarray(np.exp(self.coefficients[0] + scores @ np.array(self.coefficients[1:])))

    def factor(self, coverage: float) -> float:
        """Factor of the expected error with which it holds with a coverage.

        Raises:
            ValueError: As `rank_of`.
        """
        return self.quotients[rank_of(coverage, self.num_runs) - 1]


@dataclass(frozen=True)
class Trust:
    """Training range and error models of a generator, as its file holds them.

    Args:
        training: Where the training samples lie.
        models: Error model of each interface condition that was calibrated.
        coverage: Of the bounds where no other is asked for.
    """

    training: Training
    models: dict[str, ErrorModel]
    coverage: float = COVERAGE

    @classmethod
    def calibrate(
        cls, training: Training, parameters: ArrayLike, epsilon: Mapping[str, ArrayLike], *, coverage: float = COVERAGE
    ) -> Self:
        """Trust from runs with known errors.

        Args:
            training: Where the training samples lie.
            parameters: Of the calibration runs, shape (sample, axis).
            epsilon: ε after the zoom by interface condition, each of shape (sample,).
            coverage: Of the bounds.

        Raises:
            ValueError: As `ErrorModel.fit`; or the runs are too few for the coverage.
        """
        features = training.features(parameters)
        models = {name: ErrorModel.fit(features, np.asarray(errors)) for name, errors in epsilon.items()}
        for model in models.values():
            rank_of(coverage, model.num_runs)
        return cls(training, models, coverage)

    def bound(self, parameters: ArrayLike, interface: str, coverage: float | None = None) -> Array:
        """A bound of ε after the zoom for each parameter vector, (sample, axis) to (sample,).

        Raises:
            ValueError: The interface condition was not calibrated, or as `ErrorModel.factor`.
        """
        if interface not in self.models:
            known = ", ".join(self.models) or "none"
            raise ValueError(f"no bound was calibrated for the interface condition {interface}, only for {known}")
        model = self.models[interface]
        factor = model.factor(self.coverage if coverage is None else coverage)
        return factor * model.expected(self.training.features(parameters))

    def to_json(self) -> dict[str, Any]:
        """Plain values for the metadata of a generator."""
        return {
            "coverage": self.coverage,
            "omega": list(self.training.parameters.omega),
            "sources": self.training.sources.tolist(),
            "interface": self.training.interface.tolist(),
            "spacing": self.training.spacing().tolist(),
            "models": {name: asdict(model) for name, model in self.models.items()},
        }

    @classmethod
    def from_json(cls, values: dict[str, Any], parameters: Parameters) -> Self:
        """Inverse of `to_json`, for the axes of the generator's case.

        Raises:
            ValueError: The values are not those of `to_json`.
        """
        try:
            training = Training(parameters, np.array(values["sources"]), np.array(values["interface"]))
            models = {
                name: ErrorModel(**{key: tuple(values) for key, values in model.items()})
                for name, model in values["models"].items()
            }
            return cls(training, models, float(values["coverage"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the error model of this generator cannot be read ({error}): calibrate it again"
            ) from error


@dataclass(frozen=True)
class ErrorBound:
    """A bound of the error before any full run, or why there is none.

    Args:
        value: A bound of ε after the zoom, as a fraction; ``None`` where there is none.
        basis: The runs that it rests on, or why there is none.
        coverage: The probability with which it holds for a fresh sample like those of the calibration.
    """

    value: float | None
    basis: str
    coverage: float | None = None

    def words(self) -> str:
        """One line."""
        if self.value is None or self.coverage is None:
            return f"no bound for epsilon: {self.basis}"
        return f"epsilon <= {100 * self.value:.3g} % with {100 * self.coverage:g} % coverage ({self.basis})"


def num_sorted(num_runs: int) -> int:
    """Number of the calibration runs that the coverage rests on, the others being those of the error model."""
    return num_runs - max(1, round(FITTED * num_runs))


def rank_of(coverage: float, num: int) -> int:
    """Which of so many ascending quotients has a coverage: ``ceil((num + 1) coverage)``, counted from 1.

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


def _plain(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
