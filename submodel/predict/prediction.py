"""Boundary data that a network predicts on Γ for sets of sources, any range of time levels at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.datum import DatumWeights
from solvers.gamma.gamma import Gamma
from solvers.gamma.trace import Trace

if TYPE_CHECKING:
    from networks.core.prediction import Predictor

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """Predicted boundary data of one or many sets of sources.

    Args:
        times: Times of the levels, shape (time,).
        gamma: The nodes of Γ.
        predictor: Gives the levels at the network's nodes.
        nodes: Which of a network's nodes are those of Γ, shape (node,); ``None`` when all are.
    """

    times: Array
    gamma: Gamma
    predictor: Predictor
    nodes: NDArray[np.int64] | None = None

    @property
    def num_levels(self) -> int:
        """Number of time levels."""
        return len(self.times)

    @property
    def combines(self) -> bool:
        """Weighted sums of the fields come from the network at once, without the fields."""
        return self.nodes is None and self.predictor.combines

    def levels(self, start: int, stop: int) -> dict[str, Array]:
        """Displacement, velocity and, where it is predicted, load of the levels start .. stop - 1.

        A velocity that was not predicted is the displacement's rate of change.

        Returns:
            Fields by name, each of shape (set, stop - start, node).
        """
        fields = self.predictor.fields
        low, high = (start, stop) if "velocity" in fields else (max(0, start - 1), min(self.num_levels, stop + 1))
        whole = self.predictor.levels(low, high)
        if self.nodes is not None:
            whole = whole[..., self.nodes]
        named = {name: whole[:, number] for number, name in enumerate(fields)}
        if "velocity" not in named:
            named["velocity"] = np.gradient(named["displacement"], self.times[low:high], axis=1)
        return {name: field[:, start - low : stop - low] for name, field in named.items()}

    def data(self, weights: DatumWeights, start: int = 0, stop: int | None = None) -> Array:
        """Data of a conforming, undivided zone for the steps from start on, shape (set, step, node).

        Raises:
            ValueError: The weights ask for the load, which is not predicted.
        """
        stop = self.num_levels if stop is None else stop
        if self.combines:
            return self.predictor.levels(start, stop, weights)
        return np.stack([weights.of(trace)[start:stop] for trace in self.traces()])

    def traces(self, start: int = 0, stop: int | None = None) -> list[Trace]:
        """The trace of each set, of some levels or of all."""
        stop = self.num_levels if stop is None else stop
        fields = self.levels(start, stop)
        times = self.times[start:stop]
        return [
            Trace(times, self.gamma, **dict(zip(fields, each, strict=True)))
            for each in zip(*fields.values(), strict=True)
        ]

    def trace(self) -> Trace:
        """The whole trace of the only set."""
        (trace,) = self.traces()
        return trace
