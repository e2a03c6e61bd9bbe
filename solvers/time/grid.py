"""The time grid: levels are integers, times are computed from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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

    def matches(self, times: NDArray[np.float64]) -> bool:
        """Compare with times of other data, to 1e-6 of the last one, whatever the unit."""
        return len(times) == self.num_levels and bool(np.all(np.abs(times - self.times) <= 1e-6 * self.final))

    def divided(self, parts: int) -> TimeGrid:
        """The grid whose step is ``parts`` times smaller."""
        return TimeGrid(self.final, (self.num_levels - 1) * parts + 1)


def centred_rate(
    values: NDArray[Any], dt: float, *, at: NDArray[np.int64] | None = None, out: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Centred rate of change ``(u⁺ − u⁻) / (2 dt)`` in float64, shape ``(num_wanted, ...)``.

    Args:
        values: u, shape ``(num_levels, ...)``; neighbours must be ``dt`` apart in time.
        dt: Time step.
        at: Levels wanted; all but the first and the last by default.
        out: Array that the result is written to.
    """
    after, before = (values[2:], values[:-2]) if at is None else (values[at + 1], values[at - 1])
    rate = np.subtract(after, before, out=out, dtype=np.float64)
    rate *= 0.5 / dt
    return np.asarray(rate)
