"""Base of the specifications of generators of responses: levels, frequencies, nodes of Γ, origin of places."""

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from networks.core.fields import FIELDS
from networks.core.specification import Specification
from networks.response.symmetry import Pair, SymmetryMap


@dataclasses.dataclass(frozen=True)
class ResponseSpecification(Specification):
    """The part of a specification that says which responses a generator predicts.

    Attributes:
        num_levels: time levels N of a run.
        dt: time between levels.
        rate: of both poles of the low-pass that makes the response learnable, rad per unit of time.
        band: lowest and highest angular frequency that the loss counts, rad per unit of time.
        points: nodes of Gamma in canonical order, unit of length, from the origin.
    """

    num_levels: int
    dt: float
    rate: float
    band: Pair
    points: tuple[Pair, ...]

    if TYPE_CHECKING:  # fields of those that derive, after fields without a default

        @property
        def symmetries(self) -> tuple[SymmetryMap, ...]: ...
        @property
        def num_frequencies(self) -> int: ...
        @property
        def period(self) -> float: ...
        @property
        def origin(self) -> Pair: ...

    def settle(self) -> None:
        """Bring what is shared into the types that it is to have, as JSON knows lists only."""
        object.__setattr__(self, "points", tuple((float(x), float(y)) for x, y in self.points))
        object.__setattr__(self, "band", tuple(self.band))
        object.__setattr__(self, "origin", (float(self.origin[0]), float(self.origin[1])))
        maps = tuple(m if isinstance(m, SymmetryMap) else SymmetryMap(**m) for m in self.symmetries)
        object.__setattr__(self, "symmetries", maps)

    def check(self, *counts: str) -> None:
        """Refuse values that no run has.

        Args:
            counts: further entries that are positive integers.

        Raises:
            ValueError: such a value.
        """
        for name in ("num_levels", "num_frequencies", *counts):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        for name in ("dt", "rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value!r}")
        if self.num_levels < 4 or len(self.points) < 4:
            raise ValueError(
                f"a response needs 4 levels and 4 nodes at least, got {self.num_levels} and {len(self.points)}"
            )
        if len(self.band) != 2 or not 0 < self.band[0] <= self.band[1]:
            raise ValueError(f"band must be a lowest and a highest positive frequency, got {self.band!r}")
        if not self.period > 1:
            raise ValueError(f"period must be above 1, longer than a run, got {self.period!r}")
        if any(len(m.images) != len(self.points) for m in self.symmetries):
            raise ValueError(f"a symmetry must say where each of the {len(self.points)} nodes goes")

    @property
    def fields(self) -> tuple[str, ...]:
        """Predicted fields: all; velocity follows from displacement, so two of them are learnt."""
        return FIELDS

    def relative(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Positions in the user's coordinates, (..., 2), as they are counted from the origin."""
        return np.asarray(positions, np.float64) - np.array(self.origin)

    def images(self, positions: ArrayLike) -> list[NDArray[np.float64]]:
        """Positions in the user's coordinates, (source, 2), after each of the symmetries."""
        return [
            self.relative(positions) @ np.array(each.matrix).T + np.array(each.shift) + np.array(self.origin)
            for each in self.symmetries
        ]

    @property
    def num_arc(self) -> int:
        """Nodes of Gamma."""
        return len(self.points)

    @property
    def duration(self) -> float:
        """From the first level to the last."""
        return (self.num_levels - 1) * self.dt

    @property
    def omega(self) -> np.ndarray:
        """(frequency,) the angular frequencies of the amplitudes, from 0."""
        return 2 * np.pi / (self.period_levels * self.dt) * np.arange(self.num_frequencies)

    @property
    def period_levels(self) -> int:
        """The period in levels."""
        return max(round(self.period * (self.num_levels - 1)), self.num_levels + 1)
