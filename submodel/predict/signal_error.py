"""Expected error of a signal, from the spectrum of what a generator leaves over in runs that it has not seen.

The waves of a source are the convolution of a response with the source's signal, frequency by frequency a product. So
the error of u on Γ that a signal makes is, in the mean over places, the sum over frequencies of the mean squared
residual of the response times the signal's own power. Over the same sum of the field it is the expected relative
error::

    e(s)² = Σ_k residual_k |D_k|² / Σ_k field_k |D_k|²

with the spectrum D of the drive, the signal less the low-pass of the response
(`networks.response.signal_response.LowPass`). The sources of a set are taken as incoherent: their powers add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from networks.response.signal_response import LowPass

Array = NDArray[np.float64]
Complex = NDArray[np.complexfloating[Any, Any]]

BANDS = 3.0
"""Highest frequency of a spectrum from traces, in highest frequencies of the band: the onset of a sine reaches far."""

TAPERED = 0.25
"""Share of the levels, the last ones, over which runs and drives fade before their spectra are taken."""

PERIOD = 1.25
"""Length of the period whose multiples are the frequencies of a spectrum from traces, in lengths of the run."""


@dataclass(frozen=True)
class ResidualSpectrum:
    """Mean squares over places and nodes of Γ of held-out residuals and of fields, by frequency.

    Args:
        omega: Angular frequencies, shape (K,), rad per unit of time.
        residual: Mean squared residual of the low-passed response of u, shape (K,).
        field: Mean square of that response, shape (K,).
        rate: Of the low-pass, rad per unit of time.
        dt: Time between levels.
        num_runs: Runs that the means are taken over.

    Raises:
        ValueError: The shapes differ; or a value is negative or not finite; or the field is zero everywhere.
    """

    omega: Array
    residual: Array
    field: Array
    rate: float
    dt: float
    num_runs: int

    def __post_init__(self) -> None:
        for name in ("omega", "residual", "field"):
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or len(values) != len(self.omega) or not (np.isfinite(values) & (values >= 0.0)).all():
                raise ValueError(
                    f"{name} of a residual spectrum has shape {values.shape} for {len(self.omega)} frequencies, or a "
                    "value that is negative or not finite: give one mean square a frequency"
                )
            object.__setattr__(self, name, values)
        if not self.field.any():
            raise ValueError("the field of a residual spectrum is zero at every frequency: no error is relative to it")
        LowPass(self.rate, self.dt)

    def expected(self, signals: ArrayLike) -> Array:
        """Expected relative L2 error of u on Γ, shape (set,).

        Args:
            signals: Samples at the levels 0 .. N of every source of each set, shape (set, source, N + 1).
        """
        power = self._power(signals)
        return np.asarray(np.sqrt((power @ self.residual) / (power @ self.field)))

    def centroid(self, signals: ArrayLike) -> Array:
        """Mean angular frequency of the field that some signals make, shape (set,); signals as for `expected`."""
        power = self._power(signals) * self.field
        return np.asarray((power @ self.omega) / power.sum(axis=-1))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {name: getattr(self, name).tolist() for name in ("omega", "residual", "field")}
        return {**values, "rate": self.rate, "dt": self.dt, "num_runs": self.num_runs}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: The values are not those of `to_json`.
        """
        arrays = {name: np.array(values[name], dtype=np.float64) for name in ("omega", "residual", "field")}
        return cls(**arrays, rate=float(values["rate"]), dt=float(values["dt"]), num_runs=int(values["num_runs"]))

    def _power(self, signals: ArrayLike) -> Array:
        """Sum over the sources of |D|², shape (set, K).

        Raises:
            ValueError: The signals have another shape, or a set is silent.
        """
        samples = np.asarray(signals, dtype=np.float64)
        if samples.ndim != 3:
            raise ValueError(f"signals must have shape (set, source, levels), got {samples.shape}")
        power: Array = drive_powers(samples, self.omega, LowPass(self.rate, self.dt)).sum(axis=1)
        if not (power > 0.0).any(axis=-1).all():
            raise ValueError("a set's signals are zero at every level: nothing is known of the error of silence")
        return power


@dataclass(frozen=True)
class RunPowers:
    """Powers of held-out runs by frequency, from which the spectrum of any of them follows.

    Args:
        omega: Angular frequencies, shape (K,), rad per unit of time.
        residual: Mean over the nodes of Γ of the squared error of u, shape (run, K).
        field: The same of the true u, shape (run, K).
        drive: Power of each run's drive, shape (run, K); one for an impulse.
        low_pass: The low-pass of the response.
    """

    omega: Array
    residual: Array
    field: Array
    drive: Array
    low_pass: LowPass

    @classmethod
    def of_amplitudes(cls, predicted: Complex, true: Complex, omega: ArrayLike, low_pass: LowPass) -> Self:
        """Powers of direct runs, whose signal is an impulse, from their low-passed amplitudes.

        Args:
            predicted: Of u by a generator that has not seen the run, shape (run, node, K).
            true: Of u in the run, shape (run, node, K).
            omega: Angular frequencies, shape (K,).
            low_pass: The low-pass.
        """
        squares = [(np.abs(each) ** 2).mean(axis=1, dtype=np.float64) for each in (predicted - true, true)]
        frequencies = np.asarray(omega, dtype=np.float64)
        return cls(frequencies, squares[0], squares[1], np.ones_like(squares[0]), low_pass)

    @classmethod
    def of_traces(
        cls,
        predicted: Sequence[NDArray[np.floating]],
        true: Sequence[NDArray[np.floating]],
        signals: ArrayLike,
        low_pass: LowPass,
        highest: float,
    ) -> Self:
        """Powers of runs with any signals, one source each, from their traces.

        Args:
            predicted: u on Γ of each run by a generator that has not seen it, shape (level, node) each.
            true: u on Γ in the full run.
            signals: Samples at the levels 0 .. N, shape (run, N + 1).
            low_pass: The low-pass.
            highest: Highest angular frequency of the band.
        """
        samples = np.asarray(signals, dtype=np.float64)
        num_levels, dt = len(true[0]), low_pass.dt
        period = max(num_levels + 1, round(PERIOD * (num_levels - 1)))
        num = min(period // 2, int(np.ceil(BANDS * highest * period * dt / (2.0 * np.pi)))) + 1
        omega: Array = np.asarray(2.0 * np.pi * np.arange(num) / (period * dt), dtype=np.float64)
        window = _window(num_levels)

        def powers(field: NDArray[np.floating]) -> Array:
            spectra = np.fft.rfft(field * window[:, None], period, axis=0)[:num]
            return np.asarray((np.abs(spectra) ** 2).mean(axis=1))

        residual = np.array([powers(hat - field) for hat, field in zip(predicted, true, strict=True)])
        fields = np.array([powers(field) for field in true])
        return cls(omega, residual, fields, drive_powers(samples, omega, low_pass), low_pass)

    def spectrum(self, runs: NDArray[np.integer] | slice = slice(None)) -> ResidualSpectrum:
        """The spectrum of all or of some of the runs: their powers over those of their drives."""
        drive = self.drive[runs].sum(axis=0)
        residual, field = (powers[runs].sum(axis=0) / drive for powers in (self.residual, self.field))
        return ResidualSpectrum(
            self.omega, residual, field, self.low_pass.rate, self.low_pass.dt, len(self.drive[runs])
        )


def drive_powers(signals: Array, omega: Array, low_pass: LowPass) -> Array:
    """Power of the drive of some signals at some frequencies, (..., N + 1) to (..., K)."""
    drive = low_pass.inverse(signals, axis=-1)[..., :-1]
    drive = drive * _window(drive.shape[-1])
    phases = np.exp(-1j * low_pass.dt * np.outer(np.arange(drive.shape[-1]), omega))
    return np.asarray(np.abs(drive @ phases) ** 2)


def _window(num_levels: int) -> Array:
    """Weights of the levels that end smoothly, so that the end of the run is not heard as a click, shape (level,)."""
    left = (num_levels - np.arange(num_levels)) / (TAPERED * num_levels)
    return np.asarray(np.sin(0.5 * np.pi * np.minimum(left, 1.0)) ** 2)
