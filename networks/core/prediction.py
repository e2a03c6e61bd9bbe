"""Predicted fields on Gamma, some levels at a time: what is asked of any generator, whatever family it belongs to."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Weights(Protocol):
    """A combination of the fields at each node: ``load r[n] + velocity v[n] + displacement ū[n + lead]``.

    Attributes:
        displacement, velocity, load: (node,) weights.
        lead: 0 or 1.
        theta: of the average ``ū[n] = u[n] + theta (u[n+1] - 2 u[n] + u[n-1])``; 0 where lead is 1.
    """

    @property
    def displacement(self) -> Array: ...

    @property
    def velocity(self) -> Array: ...

    @property
    def load(self) -> Array: ...

    @property
    def lead(self) -> int: ...

    @property
    def theta(self) -> float: ...


@dataclass(frozen=True)
class SourceSets:
    """Sources of some sets; the waves of a set add up. Sets with fewer sources than others are filled up with silence.

    Attributes:
        places: (set, source, 2) positions in the user's coordinates.
        signals: (set, source, time + 1) samples at the levels 0 .. N, zero at the first.
        parameters: (set, source, parameter), NaN where a source is silent; None where a signal is not of the kind that
            parameters describe.
    """

    places: Array
    signals: Array
    parameters: Array | None = None

    def __len__(self) -> int:
        return len(self.places)


class Predictor(Protocol):
    """Fields of some sets of sources, level by level.

    Attributes:
        fields: names, in the order of the levels' second axis.
        num_levels: time levels.
        combines: takes weights.
    """

    @property
    def fields(self) -> tuple[str, ...]: ...

    @property
    def num_levels(self) -> int: ...

    @property
    def combines(self) -> bool: ...

    def levels(self, start: int, stop: int, weights: Weights | None = None) -> Array:
        """The levels start .. stop - 1, (set, field, level, node); or a combination of the fields, (set, level, node).

        Raises:
            ValueError: levels that are not there; weights that look too far ahead, or are not taken.
        """
        ...


def require_levels(start: int, stop: int, num_levels: int) -> None:
    """Refuse levels that are not there.

    Raises:
        ValueError: they are not within 0 .. num_levels.
    """
    if not 0 <= start < stop <= num_levels:
        raise ValueError(f"levels {start} to {stop} are not among the {num_levels} that there are")
