"""What networks foretell on the zone's boundary for one excitation, any stretch of time levels at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from solvers.trace import Interface, Trace

if TYPE_CHECKING:
    from networks.playback import Playback

Block = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What networks foretell on Γ for one excitation, any stretch of levels at a time.

    Args:
        times: Times of the levels, shape (time,).
        interface: The nodes of Γ.
        playbacks: What networks give, one or several whose fields are added.
        nodes: Which of a network's nodes are those of Γ, shape (arc,); ``None`` when all are.
    """

    times: NDArray[np.float64]
    interface: Interface
    playbacks: Sequence[Playback]
    nodes: NDArray[np.int64] | None = None

    @property
    def num_levels(self) -> int:
        """How many levels there are."""
        return len(self.times)

    def begin(self, start: int, stop: int) -> Callable[[], dict[str, Block]]:
        """Start on some levels; the call of what is returned waits for them.

        Returns:
            Gives displacement, velocity and, where it is predicted, load, each (stop - start, arc). A velocity that was
            not predicted is the displacement's rate of change.
        """
        fields = self.playbacks[0].fields
        low, high = (start, stop) if "velocity" in fields else (max(0, start - 1), min(self.num_levels, stop + 1))
        begun = [playback.begin(low, high) for playback in self.playbacks]

        def finish() -> dict[str, Block]:
            blocks = [wait() for wait in begun]
            whole = blocks[0] if len(blocks) == 1 else np.sum(blocks, axis=0)
            if self.nodes is not None:
                whole = whole[..., self.nodes]
            named = dict(zip(fields, whole, strict=True))
            if "velocity" not in named:
                named["velocity"] = np.gradient(named["displacement"], self.times[low:high], axis=0)
            return {name: field[start - low : stop - low] for name, field in named.items()}

        return finish

    def stretch(self, start: int, stop: int) -> Trace:
        """The trace of the levels start .. stop - 1."""
        return Trace(self.times[start:stop], self.interface, **self.begin(start, stop)())

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

    def begin(self, start: int, stop: int) -> Callable[[], Block]:
        return lambda: self.history[:, start:stop]
