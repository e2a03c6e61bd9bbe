"""The device of a computation, from its name."""

import torch


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
