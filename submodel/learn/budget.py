"""Length, place and seed of a training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Length:
    """Length, place and seed of a training.

    Args:
        epochs: Passes over the samples, or ``None``.
        seconds: Wall time, or ``None``; one of the two is given.
        seed: Of weights and batches.
        device: auto, cpu or cuda.
        threads: CPU threads.
    """

    epochs: int | None
    seconds: float | None
    seed: int
    device: str
    threads: int
