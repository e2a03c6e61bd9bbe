"""A bound of a generator's error after the zoom, and where its training samples lie.

The error of a sample goes with its signal and with the place of its source. `submodel.predict.signal_error` says what
the signal makes of the residuals that held-out runs have left, `submodel.predict.error_model` what error to expect with
that, and the bound with its coverage. It holds for samples drawn like those of the calibration: one source, a signal of
the case's kind. For other signals, and for several sources, the expected error is known but no coverage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from submodel.case.parameters import Parameters
from submodel.predict.error_model import FEW, SIGNAL, ErrorModel, rank_of, split
from submodel.predict.signal_error import ResidualSpectrum, RunPowers

Array = NDArray[np.float64]

COVERAGE = 0.9
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

    def features(self, sources: ArrayLike, omega: ArrayLike, others: ArrayLike) -> dict[str, Array]:
        """Quantities beside the signal's own error that the error may depend on, by group, (sample, column) each.

        Frequency and its square; logarithm of the distance of the source to Γ, relative to the training's, and its
        square; distance to the nearest training sources, also in wavelengths; place in the box; registered axes.

        Args:
            sources: Shape (sample, 2).
            omega: Angular frequency, or the mean one of a signal of another kind, shape (sample,).
            others: Registered axes, shape (sample, axis), perhaps none; NaN where a signal has none.
        """
        places = np.asarray(sources, np.float64)
        waves = np.array(np.asarray(omega) / (0.5 * sum(self.parameters.omega)), dtype=np.float64)
        corners = np.array([self.parameters.source_lower, self.parameters.source_upper])
        extent = np.maximum(np.ptp(corners, axis=0), 1e-9 * np.abs(corners).max())
        zone = cKDTree(self.interface)
        to_zone = np.log(zone.query(places)[0] / np.median(zone.query(self.sources)[0]))
        gap = self.distance(places)
        groups = {
            "frequency": np.column_stack([waves, waves**2]),
            "distance": np.column_stack([to_zone, to_zone**2]),
            "density": np.column_stack([gap, waves * gap]),
            "place": (places - corners.mean(axis=0)) / extent,
        }
        axes = np.asarray(others, np.float64)
        return groups | ({"axes": axes} if axes.shape[1] else {})


@dataclass(frozen=True)
class Trust:
    """Training range and error models of a generator, as its file holds them.

    Args:
        training: Where the training samples lie.
        models: Error model of each interface condition that was calibrated.
        coverage: Of the bounds where no other is asked for.
        spectrum: Of held-out residuals; without it the errors follow frequency and place only.
    """

    training: Training
    models: dict[str, ErrorModel]
    coverage: float = COVERAGE
    spectrum: ResidualSpectrum | None = None

    @classmethod
    def calibrate(
        cls,
        training: Training,
        parameters: ArrayLike,
        epsilon: Mapping[str, ArrayLike],
        *,
        signals: ArrayLike | None = None,
        residuals: RunPowers | ResidualSpectrum | None = None,
        coverage: float = COVERAGE,
    ) -> Self:
        """Trust from runs with known errors, that the generator has not seen.

        Args:
            training: Where the training samples lie.
            parameters: Of the calibration runs, shape (sample, axis).
            epsilon: ε after the zoom by interface condition, each of shape (sample,).
            signals: Of the runs, samples at the levels 0 .. N, shape (sample, N + 1); needed with residuals.
            residuals: Powers of these very runs, whose part of the fit makes the spectrum; or a spectrum from other
                runs. With that, fewer than 50 runs are all left to the coverage.
            coverage: Of the bounds.

        Raises:
            ValueError: As `ErrorModel.fit`; or the runs are too few for the coverage; or signals are missing.
        """
        vectors = np.asarray(parameters, np.float64)
        num = len(vectors)
        own = isinstance(residuals, RunPowers)
        num_fitted = 0 if residuals is not None and not own and num < FEW else None
        fitted, _ = split(num, num_fitted=num_fitted)
        spectrum = residuals.spectrum(fitted) if isinstance(residuals, RunPowers) else residuals
        trust = cls(training, {}, coverage, spectrum)
        features = trust.features(vectors, signals)
        if isinstance(residuals, RunPowers) and len(fitted) > 1:
            samples = np.asarray(signals, np.float64)
            for run in fitted:  # its own residual must not be known to what is to foretell it
                others = residuals.spectrum(fitted[fitted != run])
                features[SIGNAL][run] = np.log(others.expected(samples[run, None, None]))
        models = {
            name: ErrorModel.fit(features, np.asarray(errors), num_fitted=num_fitted)
            for name, errors in epsilon.items()
        }
        for model in models.values():
            rank_of(coverage, model.num_sorted)
        return cls(training, models, coverage, spectrum)

    def features(self, parameters: ArrayLike, signals: ArrayLike | None = None) -> dict[str, Array]:
        """Features of samples with one source each, by group.

        Args:
            parameters: Shape (sample, axis).
            signals: Samples at the levels 0 .. N, shape (sample, N + 1); needed where there is a spectrum.

        Raises:
            ValueError: Signals are missing.
        """
        vectors, axes = np.asarray(parameters, np.float64), self.training.parameters
        omega, others = axes.omegas(vectors), axes.others(vectors)
        if self.spectrum is None:
            return self.training.features(axes.sources(vectors), omega, others)
        if signals is None:
            raise ValueError("this error model follows the signal: give the signals of the samples")
        samples = np.asarray(signals, np.float64)[:, None]
        return self._with_signal(axes.sources(vectors), samples, others)

    def bound(
        self,
        parameters: ArrayLike,
        interface: str,
        coverage: float | None = None,
        *,
        signals: ArrayLike | None = None,
    ) -> Array:
        """A bound of ε after the zoom for each parameter vector, (sample, axis) to (sample,).

        Args:
            parameters: Shape (sample, axis).
            interface: Kind of interface condition.
            coverage: That of the calibration by default.
            signals: As for `features`.

        Raises:
            ValueError: The interface condition was not calibrated, or as `ErrorModel.factor` and `features`.
        """
        model = self._model(interface)
        factor = model.factor(self.coverage if coverage is None else coverage)
        return factor * model.expected(self.features(parameters, signals))

    def expected(self, sources: ArrayLike, signals: ArrayLike, interface: str) -> float | None:
        """Error that is to be expected of one set of sources with any signals, without a coverage.

        It is the error model's times the quotient in the middle; features of the place are means over the sources.

        Args:
            sources: Shape (source, 2).
            signals: Samples at the levels 0 .. N, shape (source, N + 1).
            interface: Kind of interface condition.

        Returns:
            ε after the zoom; None where no spectrum is known.

        Raises:
            ValueError: The interface condition was not calibrated.
        """
        model = self._model(interface)
        if self.spectrum is None:
            return None
        places, samples = np.asarray(sources, np.float64), np.asarray(signals, np.float64)
        num_axes = self.training.parameters.dimension - 3
        features = self._with_signal(
            places, np.repeat(samples[None], len(places), axis=0), np.full((len(places), num_axes), np.nan)
        )
        mean = {name: values.mean(axis=0, keepdims=True) for name, values in features.items()}
        return float(np.median(model.quotients) * model.expected(mean)[0])

    def basis(self, interface: str) -> str:
        """Words on what the bound for an interface condition rests on."""
        return self._model(interface).basis(self.coverage)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the metadata of a generator."""
        return {
            "coverage": self.coverage,
            "omega": list(self.training.parameters.omega),
            "sources": self.training.sources.tolist(),
            "interface": self.training.interface.tolist(),
            "spacing": self.training.spacing().tolist(),
            "models": {name: asdict(model) for name, model in self.models.items()},
            "spectrum": None if self.spectrum is None else self.spectrum.to_json(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any], parameters: Parameters) -> Self:
        """Inverse of `to_json`, for the axes of the generator's case.

        Raises:
            ValueError: The values are not those of `to_json`.
        """
        try:
            training = Training(parameters, np.array(values["sources"]), np.array(values["interface"]))
            models = {name: ErrorModel.from_json(model) for name, model in values["models"].items()}
            spectrum = None if values["spectrum"] is None else ResidualSpectrum.from_json(values["spectrum"])
            return cls(training, models, float(values["coverage"]), spectrum)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the error model of this generator cannot be read ({error}): calibrate it again"
            ) from error

    def _model(self, interface: str) -> ErrorModel:
        if interface not in self.models:
            known = ", ".join(self.models) or "none"
            raise ValueError(f"no bound was calibrated for the interface condition {interface}, only for {known}")
        return self.models[interface]

    def _with_signal(self, sources: Array, signals: Array, others: Array) -> dict[str, Array]:
        """Features of places, (sample, 2), with the signals of a set each, (sample, source, N + 1)."""
        if self.spectrum is None:
            raise ValueError("there is no residual spectrum: calibrate the generator again")
        expected = {SIGNAL: np.log(self.spectrum.expected(signals))[:, None]}
        return expected | self.training.features(sources, self.spectrum.centroid(signals), others)


@dataclass(frozen=True)
class ErrorBound:
    """A bound of the error before any full run, or why there is none.

    Args:
        value: A bound of ε after the zoom, as a fraction; ``None`` where there is none.
        basis: The runs that it rests on, or why there is none.
        coverage: The probability with which it holds for a fresh sample like those of the calibration.
        expected: Where there is no bound, the error that the residual spectrum lets expect, which is not calibrated.
    """

    value: float | None
    basis: str
    coverage: float | None = None
    expected: float | None = None

    def words(self) -> str:
        """One line."""
        if self.value is not None and self.coverage is not None:
            return f"epsilon <= {100 * self.value:.3g} % with {100 * self.coverage:g} % coverage ({self.basis})"
        words = f"no bound for epsilon: {self.basis}"
        if self.expected is None:
            return words
        return f"{words}; about {100 * self.expected:.2g} % is expected by the spectrum of held-out residuals"
