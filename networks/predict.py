"""Use a trained generator: pick the device, run one pass, return NumPy."""

import numpy as np
import torch

from networks.generator import BoundaryGenerator


def select_device(name: str) -> torch.device:
    """Turn a device option into a device.

    Args:
        name: "cpu", "cuda", or "auto" for cuda where there is one.

    Raises:
        ValueError: an unknown name, or "cuda" on a machine without it.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device cuda was asked for, but torch finds no CUDA device here; use --device cpu or auto")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def predict(
    generator: BoundaryGenerator,
    parameters: np.ndarray,
    device: str | torch.device = "cpu",
    *,
    batch_size: int = 32,
) -> np.ndarray:
    """Fields on Gamma for parameter vectors, in physical units.

    Args:
        generator: a trained model; it is moved to the device and left in evaluation mode.
        parameters: (sample, parameter).
        device: where to run.
        batch_size: samples of one pass.

    Returns:
        float32 (sample, field, time, arc).

    Raises:
        ValueError: parameters of another shape.
    """
    spec = generator.spec
    values = np.asarray(parameters)
    if values.ndim != 2 or values.shape[1] != spec.num_parameters:
        raise ValueError(f"parameters must have shape (samples, {spec.num_parameters}), got {values.shape}")
    generator.to(device).eval()
    out = np.empty((len(values), len(spec.fields), spec.num_levels, spec.num_arc), np.float32)
    with torch.inference_mode():
        for start in range(0, len(values), batch_size):
            batch = torch.as_tensor(values[start : start + batch_size]).to(generator.input_scaler.mean)
            out[start : start + len(batch)] = generator(batch).cpu().numpy()
    return out
