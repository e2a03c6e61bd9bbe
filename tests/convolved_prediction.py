"""Prediction by its definition: responses at every level, convolved with the drives, in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from network_problems import respond
from numpy.typing import NDArray

from networks.core.fields import FIELDS
from networks.core.prediction import SourceSets, require_levels
from networks.response.predictor import checked
from networks.response.signal_response import LowPass, centred_rate

Array = NDArray[np.float64]


class ConvolvedPredictor:
    """A `networks.core.prediction.Predictor` of anything with a `spec` and responses of sources.

    Args:
        generator: its `responses` map places (source, 2) to (source, 2, time + 1, node), of displacement and load; an
            operator generator's are its basis times its amplitudes.
        sets: sources and signals.
    """

    fields = FIELDS
    combines = True

    def __init__(self, generator: Any, sets: SourceSets) -> None:
        places, signals = checked(generator.spec, sets)
        self.num_levels: int = generator.spec.num_levels
        drives = LowPass(generator.spec.rate, generator.spec.dt).inverse(signals, -1)
        y = _responses(generator, places.reshape(-1, 2)).reshape(*places.shape[:2], 2, self.num_levels + 1, -1)
        waves = np.stack([respond(y[:, :, field], drives).sum(1) for field in (0, 1)], 1)  # (set, 2, time + 1, node)
        self._ahead = waves[:, 0]
        rates = np.stack([centred_rate(u, generator.spec.dt) for u in self._ahead])
        self._fields = np.stack((waves[:, 0, :-1], rates, waves[:, 1, :-1]), axis=1)

    def levels(self, start: int, stop: int, weights: Any = None) -> Array:
        """As `networks.core.prediction.Predictor.levels`."""
        require_levels(start, stop, self.num_levels)
        if weights is None:
            return np.asarray(self._fields[:, :, start:stop])
        _, v, r = self._fields.transpose(1, 0, 2, 3)
        u = np.concatenate((np.zeros_like(self._ahead[:, :1]), self._ahead), axis=1)  # at rest before the first level
        mean = u[:, 2:] if weights.lead else u[:, 1:-1] + weights.theta * np.diff(u, 2, axis=1)
        whole = weights.load * r + weights.velocity * v + weights.displacement * mean
        return np.asarray(whole[:, start:stop])


@torch.inference_mode()
def _responses(generator: Any, places: Array) -> Array:
    if hasattr(generator, "responses"):
        return np.asarray(generator.responses(places))
    where = torch.as_tensor(places, dtype=generator.basis.dtype)
    return (generator.basis.double() @ generator.amplitudes(where).double()).numpy()
