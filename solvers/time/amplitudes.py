"""Amplitudes at a few frequencies of what a run from rest records, summed up while it is stepped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter


@dataclass(frozen=True)
class Amplitudes:
    """Frequencies and weights that turn impulse responses into amplitudes.

    A response g of a run that goes on to P levels, low-passed to ``y = LP g`` and tapered after T of them, has

        Y_k = (2/P) sum over n < P of window[n] y[n] exp(-i ω_k n dt),   ω_k = 2 π k / (P dt),

    half of it at k = 0, so that ``y[n] = Re sum over k of Y_k exp(i ω_k n dt)`` for n < T, up to what the frequencies
    beyond the last would add. LP has two equal poles ``exp(-rate dt)`` and the gain 1 at rest.

    Args:
        num_levels: T.
        dt: Time step.
        num_frequencies: K.
        rate: Of both poles, rad per unit of time.
        period: P in durations of a run of T levels.

    Raises:
        ValueError: If a number is not positive, the period not above 1, or there are more frequencies than the levels
            can show.
    """

    num_levels: int
    dt: float
    num_frequencies: int
    rate: float
    period: float = 1.25

    def __post_init__(self) -> None:
        for name in ("num_levels", "dt", "num_frequencies", "rate"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if not self.period > 1.0:
            raise ValueError(f"period must be above 1, longer than a run, got {self.period}")
        if self.num_frequencies > self.most_frequencies:
            raise ValueError(
                f"{self.num_frequencies} frequencies are more than {self.period_levels} levels show: ask for "
                f"{self.most_frequencies} at most"
            )

    @property
    def period_levels(self) -> int:
        """P."""
        return max(round(self.period * (self.num_levels - 1)), self.num_levels + 1)

    @property
    def most_frequencies(self) -> int:
        """Frequencies below that of two levels a period."""
        return self.period_levels // 2

    @property
    def omega(self) -> NDArray[np.float64]:
        """Angular frequencies from 0, shape ``(K,)``."""
        return np.asarray(self.spacing * np.arange(self.num_frequencies))

    @property
    def spacing(self) -> float:
        """Distance of the angular frequencies."""
        return 2.0 * np.pi / (self.period_levels * self.dt)

    @property
    def window(self) -> NDArray[np.float64]:
        """Factor of each level: 1 before level T, then smoothly down to 0 at level P; shape ``(P,)``."""
        last, end = self.num_levels - 1, self.period_levels
        place = np.clip((np.arange(end) - last) / (end - last), 0.0, 1.0)
        with np.errstate(divide="ignore", over="ignore"):  # 1/0 and exp of it are what is meant at both ends
            return np.asarray(1.0 / (1.0 + np.exp(1.0 / (1.0 - place) - 1.0 / place)))

    def weights(self) -> NDArray[np.complex128]:
        """Weight of each level of the response itself, low-pass and taper included: ``Y = weights @ g``, (K, P)."""
        levels = np.arange(self.period_levels)
        direct = self.window * np.exp(-1j * np.outer(self.omega * self.dt, levels)) * (2.0 / self.period_levels)
        direct[0] *= 0.5
        pole = float(np.exp(-self.rate * self.dt))
        filtered = lfilter([(1.0 - pole) ** 2], [1.0, -2.0 * pole, pole**2], direct[:, ::-1], axis=1)
        return np.ascontiguousarray(filtered[:, ::-1])

    def fields(self, amplitudes: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """Low-passed responses y at the levels of the run, (..., K) to (..., T)."""
        turns = np.exp(1j * np.outer(self.omega * self.dt, np.arange(self.num_levels)))
        return np.asarray((amplitudes @ turns).real)
