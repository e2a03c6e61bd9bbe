"""Point sources and their signatures in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import make_interp_spline

ENERGY_THAT_MATTERS = 0.99
MOST_SAMPLES = 2**16  # of a table whose spectrum is taken
DEGREES = {"linear": 1, "cubic": 3}


class Signal(Protocol):
    """A signature s(t), zero for t < 0."""

    @property
    def highest_omega(self) -> float:
        """Largest angular frequency that matters for the resolution of the grid, rad per unit of time."""
        ...

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        """Values at times ``t``, of the shape of ``t``."""
        ...


@dataclass(frozen=True)
class Sine:
    """``sin(omega t)`` from t = 0 on. Source: [A] eq. 2.

    Args:
        omega: Angular frequency, rad per unit of time.
    """

    omega: float

    def __post_init__(self) -> None:
        _require_positive(self.omega)

    @property
    def highest_omega(self) -> float:
        """The frequency itself; the onset's wider spectrum decays as its inverse square."""
        return self.omega

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        time = np.asarray(t, dtype=np.float64)
        return np.where(time >= 0.0, np.sin(self.omega * time), 0.0)


@dataclass(frozen=True)
class Ricker:
    """Ricker pulse ``(1 - 2a) exp(-a)``, ``a = (omega (t - t0) / 2)^2``, delayed by 1.5 periods.

    The delay ``t0 = 3 pi / omega`` leaves 1e-8 of the amplitude at t = 0. Source: Ricker 1953, Geophysics 18, eq. 21.

    Args:
        omega: Angular frequency of the spectrum's peak, rad per unit of time.
    """

    omega: float

    def __post_init__(self) -> None:
        _require_positive(self.omega)

    @property
    def highest_omega(self) -> float:
        """Frequency at which the spectrum ``(w/omega)^2 exp(1 - (w/omega)^2)`` has fallen to 1 % of its peak."""
        return 2.77 * self.omega

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        time = np.asarray(t, dtype=np.float64)
        a = (0.5 * (self.omega * time - 3.0 * np.pi)) ** 2
        return np.where(time >= 0.0, (1.0 - 2.0 * a) * np.exp(-a), 0.0)


@dataclass(frozen=True)
class Chirp:
    """``sin(omega_start t + (omega_end - omega_start) t^2 / (2 duration))``: a sweep linear in time, from s(0) = 0.

    After its duration it goes on at the frequency that it has reached.

    Args:
        omega_start: Angular frequency at t = 0, rad per unit of time.
        omega_end: Angular frequency at ``duration``; below ``omega_start`` the sweep runs downwards.
        duration: Time of the sweep.
    """

    omega_start: float
    omega_end: float
    duration: float

    def __post_init__(self) -> None:
        _require_positive(self.omega_start)
        _require_positive(self.omega_end)
        if not self.duration > 0.0:
            raise ValueError(f"the duration of a chirp must be positive, got {self.duration}")

    @property
    def highest_omega(self) -> float:
        """The larger end of the sweep."""
        return max(self.omega_start, self.omega_end)

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        time = np.asarray(t, dtype=np.float64)
        sweep = np.clip(time, 0.0, self.duration)
        rate = (self.omega_end - self.omega_start) / self.duration
        phase = self.omega_start * sweep + 0.5 * rate * sweep**2 + self.omega_end * (time - sweep)
        return np.where(time >= 0.0, np.sin(phase), 0.0)


@dataclass(frozen=True)
class Impulse:
    """1 at level 1 of a run and 0 at all others: what follows is the impulse response, a level late.

    Args:
        dt: Time step.
        highest_omega: Largest angular frequency that is going to be looked at, rad per unit of time.
    """

    dt: float
    highest_omega: float

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        return np.where(np.rint(np.asarray(t, dtype=np.float64) / self.dt) == 1.0, 1.0, 0.0)


@dataclass(frozen=True)
class Tabulated:
    """Samples of a signal, interpolated between; zero before the first, as the last one after it.

    Args:
        times: Times of the samples, increasing.
        samples: s at these times.
        kind: ``"cubic"`` spline (4 samples at least) or ``"linear"`` (2 at least).
    """

    times: tuple[float, ...]
    samples: tuple[float, ...]
    kind: Literal["cubic", "linear"] = "cubic"
    highest_omega: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in DEGREES:
            raise ValueError(f"the interpolation must be one of {tuple(DEGREES)}, got {self.kind!r}")
        t, s = np.asarray(self.times, dtype=np.float64), np.asarray(self.samples, dtype=np.float64)
        if t.ndim != 1 or t.shape != s.shape or len(t) <= DEGREES[self.kind]:
            raise ValueError(
                f"a {self.kind} table needs {DEGREES[self.kind] + 1} samples or more and a time for each, "
                f"got {t.shape} times and {s.shape} samples"
            )
        if not (np.isfinite(t).all() and np.isfinite(s).all()):
            raise ValueError("a table of a signal must hold finite numbers: look for gaps and inf")
        if not np.all(np.diff(t) > 0.0):
            row = int(np.flatnonzero(np.diff(t) <= 0.0)[0]) + 1
            raise ValueError(f"the times of a table must increase, sample {row + 1} at t = {t[row]:g} does not")
        if not s.any():
            raise ValueError("a table of a signal holds zeros only: nothing would move")
        object.__setattr__(self, "times", tuple(float(value) for value in t))
        object.__setattr__(self, "samples", tuple(float(value) for value in s))
        object.__setattr__(self, "highest_omega", _highest_omega(t, s))

    @property
    def end(self) -> float:
        """Time of the last sample."""
        return self.times[-1]

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        time = np.asarray(t, dtype=np.float64)
        spline = make_interp_spline(self.times, self.samples, k=DEGREES[self.kind])
        inside = np.clip(time, self.times[0], self.times[-1])
        return np.where(time >= self.times[0], spline(inside), 0.0)


SIGNALS: dict[str, type[Sine] | type[Ricker]] = {"sine": Sine, "ricker": Ricker}


@dataclass(frozen=True)
class PointSource:
    """``f = s(t) delta(x - x_s)`` ([A] eq. 2).

    Args:
        position: ``x_s``, anywhere in the domain.
        signal: ``s``.
    """

    position: tuple[float, float]
    signal: Signal


def _require_positive(omega: float) -> None:
    if not omega > 0.0:
        raise ValueError(f"the angular frequency omega must be positive, got {omega}")


def _highest_omega(times: NDArray[np.float64], samples: NDArray[np.float64]) -> float:
    """Angular frequency below which 99 % of a table's energy lies, from its samples at the finest spacing."""
    span = float(times[-1] - times[0])
    even = np.linspace(times[0], times[-1], 1 + round(min(span / float(np.diff(times).min()), MOST_SAMPLES)))
    num_padded = 4 * len(even)
    energy = np.abs(np.fft.rfft(np.interp(even, times, samples), num_padded)) ** 2
    place = max(1, int(np.searchsorted(np.cumsum(energy), ENERGY_THAT_MATTERS * energy.sum())))
    return float(2.0 * np.pi * place / (num_padded * (even[1] - even[0])))
