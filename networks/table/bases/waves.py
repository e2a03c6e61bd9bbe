"""Regular plane waves over a source area of one wave speed, with a dispersion that is fitted.

The prior of a field at wave number k is the kernel J0(k |x - x'|): waves from all directions with random amplitudes.
On a mesh waves of frequency w travel a little slower, ``k = w / c (1 + a s + b s^2)`` with s = (w / highest)^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from networks.table.bases.area import Area
from networks.table.bases.components import Components

SPARE = 20
"""Waves beyond those that the longest way across the area can tell apart."""
FARTHEST = 1.25
"""Frequency relative to the highest from where on the dispersion goes on as there."""


class Waves(Components):
    """Principal components of random plane waves, orthonormal over the source nodes.

    Args:
        area: the source area.
        speed: the one wave speed, unit of length per unit of time.
        dispersion: a and b.
        smallest, reach, sizes, seed: as of `networks.table.bases.components.Components`.

    Raises:
        ValueError: a speed that is not positive, or numbers that make no basis.
    """

    kind: ClassVar[str] = "waves"

    def __init__(
        self,
        area: Area,
        speed: float,
        dispersion: Sequence[float] = (0.0, 0.0),
        smallest: float = 0.001,
        reach: int = 3,
        sizes: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        if not speed > 0 or len(dispersion) != 2:
            raise ValueError(f"waves need a positive speed and two numbers of dispersion, got {speed}, {dispersion}")
        self._numbers = {"speed": float(speed), "dispersion": [float(each) for each in dispersion]}
        super().__init__(area, _PlaneWaves(area, speed, dispersion), smallest, reach, sizes, seed)

    def description(self) -> dict[str, Any]:
        """Speed and dispersion beside the rest."""
        return {**super().description(), **self._numbers}


class _PlaneWaves:
    """Sums of plane waves from all directions."""

    def __init__(self, area: Area, speed: float, dispersion: Sequence[float]) -> None:
        self._places = area.nodes - (area.nodes.min(0) + area.nodes.max(0)) / 2
        self._radius = float(np.linalg.norm(self._places, axis=1).max())
        self._speed, self._dispersion, self._highest = speed, dispersion, float(area.omega[-1])

    def fields(self, omega: float, random: np.random.Generator) -> NDArray[np.complex128]:
        """Sums (S, m) of plane waves at a frequency with random amplitudes."""
        number = wave_number(omega, self._speed, self._dispersion, self._highest)
        modes = int(np.ceil(2 * number * self._radius)) + SPARE
        angles = 2 * np.pi * np.arange(2 * modes) / (2 * modes)
        phases = number * (self._places @ np.stack((np.cos(angles), np.sin(angles))))
        shape = (len(angles), modes)
        amplitudes = random.normal(size=shape) + 1j * random.normal(size=shape)
        return np.asarray(np.exp(1j * phases) @ amplitudes, np.complex128)


def wave_number(omega: float, speed: float, dispersion: Sequence[float], highest: float) -> float:
    """Wave number at a frequency, rad per unit of length."""
    share = min(omega / highest, FARTHEST) ** 2
    return float(omega / speed * (1 + dispersion[0] * share + dispersion[1] * share**2))
