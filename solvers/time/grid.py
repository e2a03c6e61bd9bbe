"""The time grid: levels are integers, times are computed from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TimeGrid:
    """Levels ``0 .. num_levels - 1`` that divide ``[0, final]`` evenly ([A] section 2).

    Args:
        final: Last time, in the case's unit of time.
        num_levels: Number of levels, both ends included.
    """

    final: float
    num_levels: int

    def __post_init__(self) -> None:
        if not self.final > 0.0:
            raise ValueError(f"the final time must be positive, got {self.final}")
        if self.num_levels < 3:
            raise ValueError(f"a time grid needs at least 3 levels, got {self.num_levels}")

    @property
    def dt(self) -> float:
        """Time step."""
        return self.final / (self.num_levels - 1)

    @property
    def times(self) -> NDArray[np.float64]:
        """Time of each level, shape ``(num_levels,)``."""
        return np.asarray(np.arange(self.num_levels) * self.dt, dtype=np.float64)

    def divided(self, parts: int) -> TimeGrid:
        """The grid whose step is ``parts`` times smaller."""
        return TimeGrid(self.final, (self.num_levels - 1) * parts + 1)
