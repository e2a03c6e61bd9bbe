"""The source area as bases see it: its nodes, the frequencies of the amplitudes and the medium around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Patch:
    """Cells of the source area and some rings around it, with their wave speed; none of them touches Gamma or an edge.

    Attributes:
        nodes: (M, 2), those of the source area first, unit of length.
        cells: (C, v) nodes of each cell: 3 of a triangle, or (degree + 1)^2 of a quadrilateral.
        speed: (C,) wave speed, unit of length per unit of time.
    """

    nodes: NDArray[np.float64]
    cells: NDArray[np.int64]
    speed: NDArray[np.float64]


@dataclass(frozen=True)
class Area:
    """Source nodes and frequencies.

    Attributes:
        nodes: (S, 2) places of the finite-element nodes of all cells that meet the source area, unit of length.
        omega: (K,) angular frequencies 2 pi k / (P dt), rad per unit of time.
        dt: time between levels.
        num_levels: T of a run; the runs of which the amplitudes are go on to P levels and are tapered after T.
        patch: what is known of the medium; None where nothing is.
    """

    nodes: NDArray[np.float64]
    omega: NDArray[np.float64]
    dt: float
    num_levels: int
    patch: Patch | None = None

    @property
    def bin(self) -> float:
        """Distance of the frequencies."""
        return float(self.omega[1] - self.omega[0])

    @property
    def period_levels(self) -> int:
        """P, the period of the amplitudes in levels."""
        return round(2 * np.pi / (self.bin * self.dt))
