"""The tables of a case file, each checked for itself; `submodel.case.case` joins them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from solvers.gamma.condition import CONDITIONS, InterfaceCondition, condition_named
from solvers.time.grid import TimeGrid
from submodel.case.speed import Formula

Point = tuple[float, float]
SymmetryMap = Literal["mirror-x", "mirror-y", "transpose", "antitranspose", "rotate-90", "rotate-180", "rotate-270"]


class Section(BaseModel):
    """A table of the case file: frozen, typed strictly, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Units(Section):
    """Labels of the units; numbers are never converted."""

    length: str = Field(min_length=1, description="label of the unit of length", examples=["m"])
    time: str = Field(min_length=1, description="label of the unit of time", examples=["s"])


class BoxDomain(Section):
    """A rectangle of equal cells: triangles for p1, quadrilaterals for gll."""

    kind: Literal["box"]
    lower: Point = Field(description="lower left corner", examples=[[-1.0, -1.0]])
    upper: Point = Field(description="upper right corner", examples=[[1.0, 1.0]])
    cells: tuple[PositiveInt, PositiveInt] = Field(
        description="squares along x and y, cut into triangles for p1", examples=[[128, 128]]
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_box("domain", self.lower, self.upper)
        return self

    @property
    def box(self) -> tuple[Point, Point] | None:
        """Lower and upper corner of the domain, where the case alone knows its shape."""
        return self.lower, self.upper

    def contains(self, x: float, y: float) -> bool:
        """True where a point lies inside, the boundary left out."""
        return self.lower[0] < x < self.upper[0] and self.lower[1] < y < self.upper[1]

    @property
    def mesh_words(self) -> str:
        """Mesh in words."""
        return f"{self.cells[0]} x {self.cells[1]} cells"


class GmshDomain(Section):
    """A mesh made by gmsh, with physical groups for its boundary and for the zone's cells."""

    kind: Literal["gmsh"]
    file: str = Field(min_length=1, description="mesh, relative to the case file", examples=["../meshes/a.msh"])
    outer: str = Field(
        default="outer",
        min_length=1,
        description="physical group of the domain's boundary, all of it",
        examples=["outer"],
    )
    zone: str | tuple[str, ...] = Field(
        default="zone", min_length=1, description="physical group, or groups, of the zone's cells", examples=["zone"]
    )
    sha256: str | None = Field(
        default=None, description="checksum of the mesh file, filled in when read", examples=["9f86"]
    )

    @property
    def box(self) -> tuple[Point, Point] | None:
        """Nothing: the shape is known from the mesh."""
        return None

    def contains(self, x: float, y: float) -> bool:
        """True: the mesh alone can say it, and the solver asks it."""
        return True

    @property
    def mesh_words(self) -> str:
        """Mesh in words, with its groups."""
        zone = self.zone if isinstance(self.zone, str) else " + ".join(self.zone)
        return f"{self.file}, boundary {self.outer}, zone {zone}"


class Zone(Section):
    """The box of interest inside a box domain."""

    lower: Point = Field(description="lower left corner of the zone", examples=[[-0.25, -0.25]])
    upper: Point = Field(description="upper right corner of the zone", examples=[[0.25, 0.25]])

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_box("zone", self.lower, self.upper)
        return self

    def touches(self, x: float, y: float) -> bool:
        """True where a point lies inside the zone or on its boundary."""
        return self.lower[0] <= x <= self.upper[0] and self.lower[1] <= y <= self.upper[1]


class Medium(Section):
    """Wave speed, in length per time: a number, a formula of x and y, or one of these per physical group; or a file.

    What varies from place to place is taken at the midpoint of each cell, and of each cell of a refined zone.
    """

    speed: PositiveFloat | str | Annotated[dict[str, PositiveFloat | str], Field(min_length=1)] | None = Field(
        default=None,
        description="wave speed, or a formula of x and y, or one of these per physical group",
        examples=[1.0],
    )
    file: str | None = Field(
        default=None,
        min_length=1,
        description="in place of speed: a file of rows x,y,speed, one for each cell, relative to the case file",
        examples=["speed.csv"],
    )
    sha256: str | None = Field(default=None, description="checksum of the file, filled in when read", examples=["9f86"])

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.speed is None) == (self.file is None):
            raise ValueError(
                "medium.speed is missing: add `speed = 1.0` (a number, or a formula of x and y) to [medium], or a file"
                if self.speed is None
                else f'medium.speed and medium.file = "{self.file}" exclude each other: give one of them'
            )
        for key, formula in self.formulas.items():
            try:
                Formula(formula)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
        return self

    @property
    def formulas(self) -> dict[str, str]:
        """The formulas by their dotted keys."""
        groups: dict[str, float | str | None] = {**self.speed} if isinstance(self.speed, dict) else {"": self.speed}
        named = {f"medium.speed.{name}".rstrip("."): each for name, each in groups.items()}
        return {name: each for name, each in named.items() if isinstance(each, str)}


class Time(Section):
    """Levels n dt with dt = final / (levels - 1)."""

    final: PositiveFloat = Field(description="last time, in units of time", examples=[2.0])
    levels: int = Field(ge=4, description="number of time levels, that of t = 0 included", examples=[256])

    @property
    def grid(self) -> TimeGrid:
        """The levels as the solvers take them."""
        return TimeGrid(self.final, self.levels)

    @property
    def dt(self) -> float:
        """Time step."""
        return self.grid.dt

    @property
    def times(self) -> NDArray[np.float64]:
        """Time of each level, (time,)."""
        return self.grid.times


class Discretization(Section):
    """Element and time stepper."""

    element: Literal["p1", "gll"] = Field(description="linear triangles or GLL quadrilaterals", examples=["p1"])
    degree: int = Field(default=1, ge=1, le=8, description="polynomial degree, 1 for p1", examples=[1])
    stepper: Literal["explicit", "newmark"] = Field(
        description="central differences with a diagonal mass, or implicit", examples=["explicit"]
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.element == "p1" and self.degree != 1:
            raise ValueError(
                f'discretization.degree = {self.degree} does not go with element = "p1", whose degree is 1: '
                'write degree = 1, or element = "gll" for a higher degree'
            )
        return self


class Interface(Section):
    """Interface condition of the zone run; a command may choose another.

    Beside the kind stand the numbers of that condition, see `solvers.gamma.condition.CONDITIONS`.
    """

    model_config = ConfigDict(extra="allow")

    kind: str = Field(description="interface condition: dirichlet or impedance", examples=["impedance"])
    alpha: float | None = Field(
        default=None, ge=0, description="1/length; the solver chooses when absent", examples=[2.0]
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind not in CONDITIONS:
            known = " or ".join(f"'{name}'" for name in CONDITIONS)
            raise ValueError(f"interface.kind should be {known}, got '{self.kind}'")
        self.condition()
        return self

    def condition(self, kind: str | None = None) -> InterfaceCondition:
        """The condition, or another with its default numbers.

        Raises:
            ValueError: A number has no meaning with the kind, or there is no such kind.
        """
        if kind is not None and kind != self.kind:
            return condition_named(kind)
        return condition_named(self.kind, alpha=self.alpha, **(self.model_extra or {}))


class Equation(Section):
    """The equation that is solved; keys beside its kind are numbers of its own, which the solvers check."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)

    kind: str = Field(min_length=1, description="wave, or another that is registered", examples=["wave"])


class Source(Section):
    """Time signature of the point source; its frequency and place are the parameters."""

    signal: Literal["sine", "ricker"] = Field(description="sin(omega t), or a Ricker pulse", examples=["sine"])


class DeclaredSymmetry(Section):
    """Which maps of the plane leave the problem as it is; source and zone's boundary are folded by them."""

    maps: Literal["auto"] | tuple[SymmetryMap, ...] = Field(
        default="auto",
        description="those found, none, or those named, about the middle of the domain's box",
        examples=[["mirror-x", "mirror-y"]],
    )


def check_box(table: str, lower: Point, upper: Point, prefix: str = "") -> None:
    """Refuse corners that span no box; prefix is that of their keys in the table."""
    if not (lower[0] < upper[0] and lower[1] < upper[1]):
        raise ValueError(
            f"{table}.{prefix}upper = {list(upper)} is not above and to the right of "
            f"{prefix}lower = {list(lower)}: swap or correct the corners"
        )


def covers(outer: tuple[Point, Point], inner: tuple[Point, Point]) -> bool:
    """True where the box outer, given by two corners, holds the box inner."""
    return all(outer[0][axis] <= inner[0][axis] and inner[1][axis] <= outer[1][axis] for axis in (0, 1))
