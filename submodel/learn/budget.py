"""How long a training lasts, where it runs, and from which seed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Length:
    """How long, where, and from which seed.

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
