"""Quantities of any size in words: a number and its unit, with a prefix or a power of ten where that helps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
WITH_PREFIX = ("s", "m", "Hz", "rad/s", "m/s")
"""Units that are read with a prefix; any other stands behind a power of ten."""
PLAIN = (1e-2, 1e4)
"""Numbers that need neither."""


@dataclass(frozen=True)
class Scale:
    """A unit and a number of decimals that suit all values of a quantity.

    Args:
        factor: what the unit is worth in that of the values.
        label: the unit, for the label of an axis.
        decimals: after the point, so that the largest value shows three digits.
        joint: stands between number and unit.
    """

    factor: float
    label: str
    decimals: int
    joint: str = " "

    @classmethod
    def of(cls, unit: str, *values: Any) -> Self:
        """The scale of some values, numbers or arrays, in a unit."""
        sizes = np.abs(np.concatenate([np.ravel(value) for value in values])) if values else np.zeros(0)
        largest = float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))
        power = 0
        if largest > 0 and not PLAIN[0] <= largest < PLAIN[1]:
            power = 3 * math.floor(math.log10(largest) / 3)
        factor = 10.0**power
        digits = math.floor(math.log10(largest / factor)) + 1 if largest > 0 else 1
        decimals = max(0, 3 - digits)
        if power == 0:
            return cls(factor, unit, decimals)
        if unit in WITH_PREFIX and power in PREFIXES and not (unit == "s" and power > 0):
            return cls(factor, PREFIXES[power] + unit, decimals)
        return cls(factor, f"10{str(power).translate(SUPERSCRIPT)} {unit}", decimals, "·")

    def number(self, value: float) -> str:
        """The number alone, as one of a series: all have the same decimals."""
        text = f"{value / self.factor:.{self.decimals}f}"
        return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")

    def text(self, value: float) -> str:
        """Number and unit, as one of a series."""
        return self.with_unit(self.number(value))

    def given(self, value: float, digits: int = 6) -> str:
        """The number alone, as somebody wrote it."""
        return f"{value / self.factor:.{digits}g}".replace("-", "−")

    def with_unit(self, words: str) -> str:
        """Numbers with the unit behind them."""
        return f"{words}{self.joint}{self.label}"


def quantity(value: float, unit: str, digits: int = 6) -> str:
    """One value with its unit."""
    scale = Scale.of(unit, value)
    return scale.with_unit(scale.given(value, digits))


def box(lower: Sequence[float], upper: Sequence[float], unit: str) -> str:
    """Intervals with their unit, one for each pair of ends."""
    scale = Scale.of(unit, lower, upper)
    pairs = zip(lower, upper, strict=True)
    return scale.with_unit(" × ".join(f"[{scale.given(low)}, {scale.given(high)}]" for low, high in pairs))


def seconds(duration: float) -> str:
    """A duration in the unit that suits it."""
    if duration < 1e-3:
        return f"{1e6 * duration:.0f} µs"
    if duration < 1:
        return f"{1e3 * duration:.3g} ms"
    if duration < 60:
        return f"{duration:.3g} s"
    minutes = round(duration) // 60
    rest = round(duration) % 60
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
