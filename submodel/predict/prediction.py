"""What networks foretell on the zone's boundary for one excitation, any stretch of time levels at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.datum import DatumWeights
from solvers.gamma.gamma import Gamma
from solvers.gamma.trace import Trace

if TYPE_CHECKING:
    from networks.operator.symmetric_parts import Weights
    from networks.playback import Playback

Block = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What networks foretell on Γ for one excitation, any stretch of levels at a time.

    Args:
        times: Times of the levels, shape (time,).
        gamma: The nodes of Γ.
        playbacks: What networks give, one or several whose fields are added.
        nodes: Which of a network's nodes are those of Γ, shape (arc,); ``None`` when all are.
    """

    times: NDArray[np.float64]
    gamma: Gamma
    playbacks: Sequence[Playback]
    nodes: NDArray[np.int64] | None = None

    @property
    def num_levels(self) -> int:
        """How many levels there are."""
        return len(self.times)

    def block(self, start: int, stop: int) -> dict[str, Block]:
        """Displacement, velocity and, where it is predicted, load of the levels start .. stop - 1, each (level, arc).

        A velocity that was not predicted is the displacement's rate of change.
        """
        fields = self.playbacks[0].fields
        low, high = (start, stop) if "velocity" in fields else (max(0, start - 1), min(self.num_levels, stop + 1))
        blocks = [playback.block(low, high) for playback in self.playbacks]
        whole = blocks[0] if len(blocks) == 1 else np.sum(blocks, axis=0)
        if self.nodes is not None:
            whole = whole[..., self.nodes]
        named = dict(zip(fields, whole, strict=True))
        if "velocity" not in named:
            named["velocity"] = np.gradient(named["displacement"], self.times[low:high], axis=0)
        return {name: field[start - low : stop - low] for name, field in named.items()}

    def combined(self, weights: DatumWeights) -> Callable[[int, int], Block] | None:
        """A zone's data without the fields that they are made of.

        Returns:
            A function of the first level and the one after the last that gives (stop - start, arc); ``None`` where the
            networks give fields only.
        """
        if self.nodes is not None:
            return None
        parts = [playback.combined(weights) for playback in self.playbacks]
        ready = [part for part in parts if part is not None]
        if len(ready) < len(parts):
            return None
        if len(ready) == 1:
            return ready[0]
        return lambda start, stop: np.sum([part(start, stop) for part in ready], axis=0)

    def datum(self, weights: DatumWeights) -> Block:
        """All of a conforming, undivided zone's data, (step, arc), by the shortest way that the networks offer.

        Raises:
            ValueError: The weights ask for the load, which is not predicted.
        """
        combined = self.combined(weights)
        return weights.of(self.trace()) if combined is None else combined(0, self.num_levels)

    def stretch(self, start: int, stop: int) -> Trace:
        """The trace of the levels start .. stop - 1."""
        return Trace(self.times[start:stop], self.gamma, **self.block(start, stop))

    def trace(self) -> Trace:
        """All levels in one shot."""
        return self.stretch(0, self.num_levels)


@dataclass(frozen=True)
class Whole:
    """A history that is there already, (field, time, node)."""

    fields: tuple[str, ...]
    history: NDArray[np.float64]

    @property
    def num_levels(self) -> int:
        return int(self.history.shape[1])

    def block(self, start: int, stop: int) -> Block:
        return self.history[:, start:stop]

    def combined(self, weights: Weights) -> None:
        return None
