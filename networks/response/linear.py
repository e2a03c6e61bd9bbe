"""The protocol between a generator of impulse responses and those that predict fields with it."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from networks.core.prediction import Weights
from networks.response.waves import Combination, DrivenWaves

Array = NDArray[np.float64]


class ResponseSpec(Protocol):
    """The part of a specification that says which responses a generator predicts.

    Attributes:
        num_levels: time levels N of a run.
        points: nodes of Gamma in canonical order, from the specification's origin, unit of length.
    """

    @property
    def num_levels(self) -> int: ...

    @property
    def points(self) -> tuple[tuple[float, float], ...]: ...

    @property
    def num_arc(self) -> int: ...

    def relative(self, positions: ArrayLike) -> Array:
        """Positions in the user's coordinates, (..., 2), as they are counted from the origin."""
        ...


class LinearInference(Protocol):
    """A generator of impulse responses made ready to predict quickly.

    Attributes:
        spec: its specification.
        device: where it runs.
    """

    @property
    def spec(self) -> ResponseSpec: ...

    @property
    def device(self) -> torch.device: ...

    def mixture(self, sources: Array, signals: Array) -> DrivenWaves:
        """The factors of the fields, for sources (set, source, 2) with signals (set, source, time + 1)."""
        ...

    def combination(self, weights: Weights) -> Combination:
        """Factors of a combination, which are kept."""
        ...

    def history(self, sources: Array, signals: Array, weights: Weights | None = None) -> NDArray[np.float32]:
        """On a CUDA device, all levels of sources that add up, ([3,] time, arc), through a graph that is kept."""
        ...

    def prepared(self, sources: Array, signals: Array, *, every: bool) -> list[NDArray[Any]]:
        """Inputs of `mixed` that the host works out, of shapes that depend on the number of sources alone."""
        ...

    def mixed(self, inputs: list[Tensor], num_sources: int) -> DrivenWaves:
        """The factors from `prepared` inputs on the device; nothing waits for the host."""
        ...
