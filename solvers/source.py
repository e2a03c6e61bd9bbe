"""Point sources and their signatures in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
        """Where the spectrum ``(w/omega)^2 exp(1 - (w/omega)^2)`` has fallen to 1 % of its peak."""
        return 2.77 * self.omega

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        time = np.asarray(t, dtype=np.float64)
        a = (0.5 * (self.omega * time - 3.0 * np.pi)) ** 2
        return np.where(time >= 0.0, (1.0 - 2.0 * a) * np.exp(-a), 0.0)


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
