"""Parameters: the named axes that a case samples, as a table of the case file and as vectors with a column an axis.

Columns are asked for by name. An axis beside frequency and source's place is registered with what it does to the
source's signal; a case then names it with its range, as in ``[parameters] amplitude = [0.5, 2.0]``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field, PositiveFloat, model_validator

from solvers.time.signals import SIGNALS, Signal
from submodel.case.sections import Point, Section, Units, check_box, covers

Array = NDArray[np.float64]
Vector = tuple[float, ...]

OMEGA, X, Y = "omega", "x", "y"


@dataclass(frozen=True)
class Axis:
    """One parameter: its name, as in every file; its unit; and its range.

    Args:
        name: Head of its column.
        unit: In labels of the case's units.
        low, high: Range that is sampled.
    """

    name: str
    unit: str
    low: float
    high: float


@dataclass(frozen=True)
class AxisKind:
    """A parameter beside frequency and place of the source, which a case may name.

    Args:
        name: Its key in the table [parameters], and the head of its column.
        unit: In words; ``{length}`` and ``{time}`` become the case's labels.
        excite: The signal of a source whose signal without this axis is the first argument, at the value that is the
            second.
    """

    name: str
    unit: str
    excite: Callable[[Signal, float], Signal]


AXES: dict[str, AxisKind] = {}
"""Axes by name, those that a case may name beside its own."""


class Parameters(Section):
    """Axes with their ranges, and how often they are sampled: omega, the source's place in a box less an excluded box,
    and registered axes."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, tuple[float, float]] = Field(init=False)

    omega: tuple[PositiveFloat, PositiveFloat] = Field(
        description="lowest and highest angular frequency, rad per unit of time", examples=[[6.2832, 18.8496]]
    )
    source_lower: Point = Field(description="lower left corner of the sources", examples=[[-0.9, -0.9]])
    source_upper: Point = Field(description="upper right corner of the sources", examples=[[0.9, 0.9]])
    exclude_lower: Point | None = Field(
        default=None, description="no source from this corner on", examples=[[-0.35, -0.35]]
    )
    exclude_upper: Point | None = Field(
        default=None, description="no source up to this corner", examples=[[0.35, 0.35]]
    )
    train: int = Field(ge=0, description="number of training samples", examples=[100])
    test: int = Field(ge=0, description="number of test samples", examples=[25])
    calibration: int = Field(
        default=0, ge=0, description="number of samples that calibrate the error bound", examples=[100]
    )
    seed: int = Field(ge=0, lt=2**63, description="of the Latin hypercubes", examples=[42])

    @property
    def extra(self) -> dict[str, tuple[float, float]]:
        """Range of each registered axis that the case names."""
        return self.__pydantic_extra__ or {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the axes in the order of the columns."""
        return (OMEGA, X, Y, *self.extra)

    @property
    def dimension(self) -> int:
        """Number of axes."""
        return len(self.names)

    @property
    def hole(self) -> tuple[Point, Point] | None:
        """Corners of the excluded box, if there is one."""
        if self.exclude_lower is None or self.exclude_upper is None:
            return None
        return self.exclude_lower, self.exclude_upper

    def axes(self, units: Units) -> tuple[Axis, ...]:
        """Every axis with its unit in the labels of a case."""
        (left, bottom), (right, top) = self.source_lower, self.source_upper
        wave = (Axis(OMEGA, f"rad/{units.time}", *self.omega),)
        place = (Axis(X, units.length, left, right), Axis(Y, units.length, bottom, top))
        return wave + place + self.other_axes(units)

    def other_axes(self, units: Units) -> tuple[Axis, ...]:
        """The registered axes."""
        labels = units.model_dump()
        return tuple(Axis(name, AXES[name].unit.format(**labels), *ends) for name, ends in self.extra.items())

    def other_words(self, units: Units) -> str:
        """Ranges of the registered axes, after those of the others."""
        axes = self.other_axes(units)
        return "".join(f", {each.name} in [{each.low:.4g}, {each.high:.4g}] {each.unit}".rstrip() for each in axes)

    def unit_words(self, units: Units) -> str:
        """Units of the columns in one line, for the attribute of an array in a file."""
        others = "".join(f"; {axis.name}: {axis.unit or '1'}" for axis in self.other_axes(units))
        return f"omega: rad/{units.time}; x, y: {units.length}{others}"

    def matrix(self, rows: Any) -> Array:
        """Parameter vectors from rows of numbers, shape (sample, axis), also where there are none."""
        return np.array(rows, dtype=np.float64).reshape(-1, self.dimension)

    def column(self, vectors: ArrayLike, name: str) -> Array:
        """Values along one axis, (..., axis) to (...)."""
        return np.asarray(vectors, dtype=np.float64)[..., self.names.index(name)]

    def omegas(self, vectors: ArrayLike) -> Array:
        """Angular frequencies, (..., axis) to (...)."""
        return self.column(vectors, OMEGA)

    def sources(self, vectors: ArrayLike) -> Array:
        """Places of the sources, (..., axis) to (..., 2)."""
        return np.asarray(vectors, dtype=np.float64)[..., [self.names.index(X), self.names.index(Y)]]

    def source(self, vector: ArrayLike) -> Point:
        """Place of the source of one vector."""
        x, y = self.sources(vector)
        return float(x), float(y)

    def others(self, vectors: ArrayLike) -> Array:
        """Values along the registered axes, (..., axis) to (..., registered axis)."""
        return np.asarray(vectors, dtype=np.float64)[..., [self.names.index(name) for name in self.extra]]

    def named(self, vector: ArrayLike) -> dict[str, float]:
        """Values of one vector by name."""
        return dict(zip(self.names, map(float, np.asarray(vector)), strict=True))

    def vectors(self, columns: Mapping[str, ArrayLike]) -> Array:
        """Parameter vectors from columns (sample,) by name; those that are not given are NaN."""
        filled = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
        num = len(next(iter(filled.values())))
        return np.column_stack([filled.get(name, np.full(num, np.nan)) for name in self.names])

    def signal(self, kind: str, vector: ArrayLike) -> Signal:
        """Signal of one vector's source.

        Args:
            kind: Name of the signal without the registered axes, one of `SIGNALS`.
            vector: Shape (axis,).
        """
        values = self.named(vector)
        signal: Signal = SIGNALS[kind](values[OMEGA])
        for name in self.extra:
            signal = AXES[name].excite(signal, values[name])
        return signal

    def words(self, vector: ArrayLike, digits: int = 6) -> str:
        """One vector for a message."""
        values = self.named(vector)
        others = "".join(f", {name} {values[name]:.{digits}g}" for name in self.extra)
        place = f"({values[X]:.{digits}g}, {values[Y]:.{digits}g})"
        return f"omega {values[OMEGA]:.{digits}g}, source {place}{others}"

    def box_words(self) -> str:
        """Ranges for a message."""
        text = f"omega {self.omega[0]:.4g} to {self.omega[1]:.4g}, " + "".join(
            f"{name} {low:.4g} to {high:.4g}, " for name, (low, high) in self.extra.items()
        )
        text += f"sources in {list(self.source_lower)} to {list(self.source_upper)}"
        return text if self.hole is None else f"{text} but not in {list(self.hole[0])} to {list(self.hole[1])}"

    def contains(self, vector: ArrayLike) -> bool:
        """True where a vector lies in the ranges that the case samples, and a generator has seen."""
        values = self.named(vector)
        ranges: dict[str, tuple[float, float]] = {OMEGA: self.omega, **self.extra}
        inside = all(low <= values[name] <= high for name, (low, high) in ranges.items())
        return inside and self.contains_source(values[X], values[Y])

    def contains_source(self, x: float, y: float) -> bool:
        """True where a source lies in the box of the sources and not in the excluded one."""
        if not covers((self.source_lower, self.source_upper), ((x, y), (x, y))):
            return False
        if self.hole is None:
            return True
        (left, bottom), (right, top) = self.hole
        return not (left < x < right and bottom < y < top)

    def require_clear(self, points: Array) -> None:
        """Refuse to sample sources where a zone lies.

        Args:
            points: Nodes of the zone, (node, 2).

        Raises:
            ValueError: Some lie where sources may fall.
        """
        inside = ((points > self.source_lower) & (points < self.source_upper)).all(axis=1)
        if self.hole is not None:
            inside &= ~((points >= self.hole[0]) & (points <= self.hole[1])).all(axis=1)
        if inside.any():
            raise ValueError(self.overlap_words(points.min(axis=0).tolist(), points.max(axis=0).tolist()))

    def overlap_words(self, lower: Sequence[float], upper: Sequence[float]) -> str:
        """Refusal of sources that may fall into a zone with these corners."""
        return (
            f"parameters: sources from {list(self.source_lower)} to {list(self.source_upper)} may fall inside the "
            f"zone: exclude it with exclude_lower = {list(lower)} and exclude_upper = {list(upper)}, or wider"
        )

    def from_cells(self, header: Sequence[str], cells: Sequence[str]) -> Vector:
        """One vector from a line of a table whose columns are in any order.

        Raises:
            ValueError: A cell is no number.
        """
        values = dict(zip(header, map(float, cells), strict=True))
        return tuple(values[name] for name in self.names)

    @classmethod
    def require_known(cls, names: Iterable[str]) -> None:
        """Refuse keys of the table that are neither its own nor those of registered axes.

        Raises:
            ValueError: There is one; the message names the keys that there are. Or an axis has a name that is taken.
        """
        if taken := AXES.keys() & {X, Y, *cls.model_fields}:
            raise ValueError(f"the name {min(taken)} of a parameter is taken: choose another")
        known = [*cls.model_fields, *AXES]
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                meant = f"did you mean {close[0]}? " if close else ""
                raise ValueError(f"unknown key parameters.{name}: {meant}[parameters] takes {', '.join(known)}")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.require_known(self.extra)
        for name, (low, high) in {OMEGA: self.omega, **self.extra}.items():
            if low > high:
                raise ValueError(f"parameters.{name} = {[low, high]} runs backwards: write [lowest, highest]")
        check_box("parameters", self.source_lower, self.source_upper, "source_")
        if (self.exclude_lower is None) != (self.exclude_upper is None):
            absent = "exclude_lower" if self.exclude_lower is None else "exclude_upper"
            raise ValueError(
                f"parameters.{absent} is missing: give exclude_lower and exclude_upper together, or neither"
            )
        if self.hole is not None:
            check_box("parameters", *self.hole, "exclude_")
            if covers(self.hole, (self.source_lower, self.source_upper)):
                raise ValueError(
                    "parameters.exclude_lower and exclude_upper leave no place for a source: they cover "
                    f"{list(self.source_lower)} to {list(self.source_upper)}; make it smaller"
                )
        return self
