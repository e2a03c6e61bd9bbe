"""Prediction with a trained generator of [A]: its histories for parameter vectors, whole or some levels of them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from networks.core.prediction import SourceSets, Weights, require_levels
from networks.paper.generator import BoundaryGenerator

PAIRS = 1024
"""Pairs of a sample and a level that a model whose time is sampled evaluates at once."""


def predict(
    generator: BoundaryGenerator,
    parameters: ArrayLike,
    device: str | torch.device = "cpu",
    *,
    levels: tuple[int, int] | None = None,
    batch_size: int = 32,
) -> NDArray[np.float32]:
    """Fields on the nodes of Gamma or of the zone for parameter vectors, in physical units.

    A model whose time is sampled evaluates the levels asked for only; any other its whole history.

    Args:
        generator: a trained model; it is moved to the device and left in evaluation mode.
        parameters: (sample, parameter).
        device: where to run.
        levels: first level and the one after the last; all by default.
        batch_size: samples of one pass; less where time is sampled, so that memory stays bounded.

    Returns:
        (sample, field, level, node).

    Raises:
        ValueError: parameters of another shape, or levels outside the history.
    """
    spec = generator.spec
    values = np.asarray(parameters)
    if values.ndim != 2 or values.shape[1] != spec.num_parameters:
        raise ValueError(f"parameters must have shape (samples, {spec.num_parameters}), got {values.shape}")
    start, stop = levels or (0, spec.num_levels)
    require_levels(start, stop, spec.num_levels)
    generator.to(device).eval()
    reference = generator.input_scaler.mean
    out = np.empty((len(values), len(spec.fields), stop - start, spec.num_arc), np.float32)
    num_levels = stop - start
    if spec.time == "sampled":
        batch_size = max(1, min(batch_size, PAIRS // num_levels))
        num_levels = min(num_levels, PAIRS)
    with torch.inference_mode():
        for first in range(0, len(values), batch_size):
            batch = torch.as_tensor(spec.relative(values[first : first + batch_size])).to(reference)
            for level in range(start, stop, num_levels):
                end = min(level + num_levels, stop)
                whole = (level, end) == (0, spec.num_levels)
                wanted = None if whole else torch.arange(level, end, device=reference.device)
                out[first : first + len(batch), :, level - start : end - start] = generator(batch, wanted).cpu().numpy()
    return out


class HistoryPredictor:
    """`networks.core.prediction.Predictor` of a model of [A]: whole histories, cut.

    A model whose time is sampled is evaluated at the levels asked for only.

    Args:
        generator: a trained one, on its device.
        sets: sources by their parameters.

    Raises:
        ValueError: no sets, or sets without parameters.
    """

    combines = False

    def __init__(self, generator: BoundaryGenerator, sets: SourceSets) -> None:
        if sets.parameters is None or not len(sets):
            raise ValueError(f"{generator.spec.model} predicts for parameters, of one set at least: give some")
        self.fields: tuple[str, ...] = generator.spec.fields
        self.num_levels: int = generator.spec.num_levels
        self._generator, self._parameters = generator, sets.parameters
        self._device = generator.input_scaler.mean.device
        self._history: NDArray[np.float64] | None = None

    def levels(self, start: int, stop: int, weights: Weights | None = None) -> NDArray[np.float64]:
        """As `networks.core.prediction.Predictor.levels`; no weights are taken."""
        require_levels(start, stop, self.num_levels)
        if weights is not None:
            raise ValueError(f"{self._generator.spec.model} predicts fields, not combinations of them")
        if self._generator.spec.time == "sampled":
            return self._summed((start, stop))
        if self._history is None:
            self._history = self._summed(None)
        return self._history[:, :, start:stop]

    def _summed(self, levels: tuple[int, int] | None) -> NDArray[np.float64]:
        """Fields of some levels, added over the sources of each set that are not silent."""
        num_sets, num_sources, _ = self._parameters.shape
        loud = ~np.isnan(self._parameters).any(axis=2)
        each = predict(self._generator, self._parameters[loud], self._device, levels=levels)
        if num_sources == 1:
            return each.astype(np.float64)
        out: NDArray[Any] = np.zeros((num_sets, *each.shape[1:]))
        np.add.at(out, np.nonzero(loud)[0], each)
        return out
