"""Use a trained generator: pick the device, run it, return NumPy."""

import numpy as np
import torch

from networks.paper.generator import BoundaryGenerator

PAIRS = 1024
"""Pairs of a sample and a level that a model whose time is sampled evaluates at once."""


def predict(
    generator: BoundaryGenerator,
    parameters: np.ndarray,
    device: str | torch.device = "cpu",
    *,
    batch_size: int = 32,
) -> np.ndarray:
    """Fields on the nodes of Gamma or of the zone for parameter vectors, in physical units.

    Args:
        generator: a trained model; it is moved to the device and left in evaluation mode.
        parameters: (sample, parameter).
        device: where to run.
        batch_size: samples of one pass; less where time is sampled, so that memory stays bounded.

    Returns:
        float32 (sample, field, time, node).

    Raises:
        ValueError: parameters of another shape.
    """
    return predict_levels(generator, parameters, 0, generator.spec.num_levels, device, batch_size=batch_size)


def predict_levels(
    generator: BoundaryGenerator,
    parameters: np.ndarray,
    start: int,
    stop: int,
    device: str | torch.device = "cpu",
    *,
    batch_size: int = 32,
) -> np.ndarray:
    """A block of levels. A model whose time is sampled evaluates these levels only; any other its whole history.

    Args:
        generator, parameters, device, batch_size: as of `predict`.
        start, stop: first level and the one after the last.

    Returns:
        float32 (sample, field, stop - start, node).

    Raises:
        ValueError: parameters of another shape, or levels outside the history.
    """
    spec = generator.spec
    values = np.asarray(parameters)
    if values.ndim != 2 or values.shape[1] != spec.num_parameters:
        raise ValueError(f"parameters must have shape (samples, {spec.num_parameters}), got {values.shape}")
    if not 0 <= start < stop <= spec.num_levels:
        raise ValueError(f"levels must be within 0..{spec.num_levels}, got {start} to {stop}")
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
                levels = None if whole else torch.arange(level, end, device=reference.device)
                out[first : first + len(batch), :, level - start : end - start] = generator(batch, levels).cpu().numpy()
    return out
