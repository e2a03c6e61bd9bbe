"""Responses and travel times that an operator generator learns from."""

import dataclasses
from typing import Self

import numpy as np
from numpy.typing import NDArray

from networks.operator.spec import OperatorSpec


@dataclasses.dataclass(frozen=True)
class TravelTimes:
    """Travel times of the direct ray.

    Attributes:
        x, y: regular grid, rising, unit of length.
        time: (y, x, arc) from the grid's points to the nodes of Gamma.
    """

    x: NDArray[np.floating]
    y: NDArray[np.floating]
    time: NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class ResponseData:
    """Responses to learn from.

    Attributes:
        sources: (source, 2) positions.
        displacement, load: (source, level, arc) low-passed responses to a unit sample.
        travel: where the spec asks for it.
    """

    sources: NDArray[np.floating]
    displacement: NDArray[np.floating]
    load: NDArray[np.floating]
    travel: TravelTimes | None = None

    def relative(self, spec: OperatorSpec) -> Self:
        """The same, places counted from a specification's origin."""
        if self.travel is None:
            return dataclasses.replace(self, sources=spec.relative(self.sources))
        (left, bottom), table = spec.origin, self.travel
        travel = dataclasses.replace(table, x=np.asarray(table.x) - left, y=np.asarray(table.y) - bottom)
        return dataclasses.replace(self, sources=spec.relative(self.sources), travel=travel)


def require(spec: OperatorSpec, data: ResponseData) -> None:
    """See that data fit the specification."""
    num = len(data.sources)
    if np.shape(data.sources) != (num, 2) or num == 0:
        raise ValueError(f"sources must have shape (source, 2), got {np.shape(data.sources)}")
    expected = (num, spec.num_levels, spec.num_arc)
    for name in ("displacement", "load"):
        values = getattr(data, name)
        if np.shape(values) != expected:
            raise ValueError(f"{name} must have shape (source, level, arc) = {expected}, got {np.shape(values)}")
        if not np.isfinite(values).all() or not np.any(values):
            raise ValueError(f"{name} must be finite and not all zero; check the dataset")
    shape = None if data.travel is None else np.shape(data.travel.time)
    wanted = None if spec.travel is None else (*spec.travel, spec.num_arc)
    if shape != wanted:
        raise ValueError(f"travel times must have shape (y, x, arc) = {wanted}, as the specification says, got {shape}")
