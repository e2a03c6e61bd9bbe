"""Fields that a generator of responses predicts for sets of sources with a signal each, any levels by themselves.

The response to a source is ``y = basis @ amplitudes``; with the drive d of a signal the fields are
``q = (d * basis) @ amplitudes``, and levels are rows of a matrix product.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.core.fields import FIELDS
from networks.core.prediction import SourceSets, Weights, require_levels
from networks.response.inference import ResponseInference
from networks.response.specification import ResponseSpecification
from networks.response.waves import DrivenWaves

Array = NDArray[np.float64]

ONSET = 1e-6
"""Largest s(0) that counts as 0, relative to the signal's maximum."""

LARGEST = 2**25
"""Numbers of single precision that one pass works on at most: driven waves and fields of all its levels."""

BATCH = 16
"""Sets of one pass: more are not faster, and need memory."""


class ResponsePredictor:
    """`networks.core.prediction.Predictor` of a generator of responses.

    What sets share is worked out when levels are first asked for, and kept where all sets go through one pass.

    Args:
        inference: a generator made ready.
        sets: sources and signals.
        batch_size: sets of one pass, at most; fewer where histories are long.

    Raises:
        ValueError: no sets, shapes that do not fit, or a signal that does not begin with zero.
    """

    fields = FIELDS
    combines = True

    def __init__(self, inference: ResponseInference, sets: SourceSets, *, batch_size: int = BATCH) -> None:
        self._inference = inference
        self._places, self._signals = checked(inference.spec, sets)
        self.num_levels: int = inference.spec.num_levels
        spec, (_, num_sources, num_samples) = inference.spec, self._signals.shape
        numbers = num_samples * (num_sources * 2 * (spec.num_frequencies + 1) + len(FIELDS) * spec.num_arc)
        self._size = max(1, min(batch_size, LARGEST // numbers))
        self._single = len(sets) <= self._size
        self._captured = len(sets) == 1 and inference.device.type == "cuda"
        self._waves: DrivenWaves | None = None
        self._kept: tuple[Weights | None, Callable[[int, int], Tensor]] | None = None

    def levels(self, start: int, stop: int, weights: Weights | None = None) -> Array:
        """As `networks.core.prediction.Predictor.levels`."""
        require_levels(start, stop, self.num_levels)
        if self._single:
            if self._kept is None or self._kept[0] is not weights:
                self._kept = (weights, self._one_pass(weights))
            return np.asarray(self._kept[1](start, stop).numpy())
        num_sets, num_arc = len(self._places), self._inference.spec.num_arc
        fields = () if weights is not None else (len(FIELDS),)
        out = np.empty((num_sets, *fields, stop - start, num_arc))
        for first in range(0, num_sets, self._size):
            part = slice(first, first + self._size)
            waves = self._inference.mixture(self._places[part], self._signals[part])
            out[part] = _product(waves, weights)(start, stop).numpy()
        return out

    def _one_pass(self, weights: Weights | None) -> Callable[[int, int], Tensor]:
        """A function of levels for all sets at once."""
        if self._captured:
            whole = torch.from_numpy(self._inference.history(self._places[0], self._signals[0], weights)).double()
            return lambda start, stop: whole[None, ..., start:stop, :]
        if self._waves is None:
            self._waves = self._inference.mixture(self._places, self._signals)
        return _product(self._waves, weights)


def _product(waves: DrivenWaves, weights: Weights | None) -> Callable[[int, int], Tensor]:
    levels = waves.fields() if weights is None else waves.combined(weights)
    return lambda start, stop: levels(start, stop, torch.float64).cpu()


def checked(spec: ResponseSpecification, sets: SourceSets) -> tuple[Array, Array]:
    """Places (set, source, 2), counted from the specification's origin, and signals (set, source, time + 1).

    Raises:
        ValueError: no sets, shapes that do not fit, or a signal that does not begin with zero.
    """
    places, signals = np.asarray(sets.places, np.float64), np.asarray(sets.signals, np.float64)
    if not len(places):
        raise ValueError("there are no samples to predict: give at least one")
    num = spec.num_levels + 1
    if places.ndim != 3 or places.shape[2] != 2 or signals.shape != (*places.shape[:2], num):
        raise ValueError(
            f"sources (set, source, 2) need a signal each at {num} levels, one past the last: "
            f"got shapes {places.shape} and {signals.shape}"
        )
    late = np.abs(signals[..., 0]) > ONSET * np.abs(signals).max(-1)
    if late.any():
        raise ValueError(
            f"a signal begins with {signals[late][0][0]:.3g}, {ONSET:g} of its maximum at most is allowed: "
            "the run starts from rest, let the signal start from zero"
        )
    return spec.relative(places), signals
