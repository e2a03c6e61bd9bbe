"""How to train, and what a training says about itself."""

import dataclasses
from typing import Any, Literal, Self

LOSSES = ("mean_square", "mean_absolute")


EULER_WEIGHT = 0.1
"""Weight of the Euler regularisation in the variants E; the paper does not say its own."""

COMPRESSIBLE: dict[str, Any] = {"initial_scale": 0.2, "weight_decay": 3.0}
"""Of a training after which weights have low ranks: docs/compression.md has the comparison."""


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """How to train. Exactly one of `epochs` and `seconds` is given.

    Attributes:
        epochs: passes over the training split.
        seconds: wall-clock time of all passes; the learning rate decays with it.
        batch_size: samples of one step.
        learning_rate, final_learning_rate: of Adam at the first and last pass; a geometric decay between, none
            where they are equal.
        weight_decay: decoupled, per unit of learning rate (AdamW).
        initial_scale: factor on the trunks' initial weights; below 1 what is learnt outweighs what was drawn.
        loss: a name of `losses.LOSSES`.
        euler: weight of the Euler regularisation ([A] eq. 21) beside the loss; 0 leaves it out.
        dt: time between two levels, which the Euler regularisation needs.
        patience: passes without a better validation error after which training stops; None never stops early.
        levels_per_sample: levels drawn from each sample in a pass, for a model whose time is sampled: a batch holds
            batch_size x levels_per_sample pairs of a sample and a level, and a pass meets every sample once.
        validation: fraction of the samples kept from training to choose the best weights; 0 chooses by the
            training loss.
        seed: of the weights, the validation split and the batches.
        device: auto, cpu or cuda.
        threads: CPU threads while training; None leaves torch's own number. The steps of a small generator are too
            short to share: one thread was as fast as two on two free cores, and ten times faster on busy ones.
        checkpoint_every: seconds between two savings of the state of training; 0 saves after every epoch.
    """

    epochs: int | None = None
    seconds: float | None = None
    batch_size: int = 4
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    weight_decay: float = 0.0
    initial_scale: float = 1.0
    loss: Literal["mean_square", "mean_absolute"] = "mean_absolute"
    euler: float = 0.0
    dt: float | None = None
    patience: int | None = None
    levels_per_sample: int = 16
    validation: float = 0.1
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    checkpoint_every: float = 10.0

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.seconds is None):
            raise ValueError(f"give either epochs or seconds, got epochs={self.epochs} and seconds={self.seconds}")
        amount = self.epochs if self.epochs is not None else self.seconds
        if amount is not None and not amount > 0:
            raise ValueError(f"epochs or seconds must be positive, got {amount}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not self.checkpoint_every >= 0:
            raise ValueError(f"checkpoint_every must not be negative, got {self.checkpoint_every}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")
        if not 0 < self.final_learning_rate <= self.learning_rate:
            raise ValueError(
                f"learning rates must be positive and not grow, got {self.learning_rate} to {self.final_learning_rate}"
            )
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation must be a fraction in [0, 1), got {self.validation}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        if not self.initial_scale > 0:
            raise ValueError(f"initial_scale must be positive, got {self.initial_scale}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        if not self.euler >= 0:
            raise ValueError(f"euler must not be negative, got {self.euler}")
        if self.euler > 0 and not (self.dt or 0) > 0:
            raise ValueError(f"the Euler regularisation needs the time between two levels: give dt, got {self.dt}")
        for name in ("patience", "levels_per_sample"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @classmethod
    def early_stopping(cls, **options: Any) -> Self:
        """The first schedule of [A] (section 7.2): 1000 epochs at 1e-3, with early stopping.

        The paper does not say its patience; ours is 100 epochs.
        """
        own = {"epochs": 1000, "learning_rate": 1e-3, "final_learning_rate": 1e-3, "patience": 100}
        return cls(**{**own, **options})

    @classmethod
    def long_decay(cls, **options: Any) -> Self:
        """The second schedule of [A] (section 7.3): 10000 epochs from 1e-3 down to 1e-4 at the last one."""
        return cls(**{"epochs": 10000, "learning_rate": 1e-3, "final_learning_rate": 1e-4, **options})


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One pass: number from 1, seconds since the start, mean losses in standard scores, learning rate."""

    epoch: int
    elapsed: float
    loss: float
    validation: float
    learning_rate: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a progress bar needs.

    Attributes:
        last: the pass just done.
        best: smallest validation error so far.
        fraction: of the plan that is done, 0 to 1.
        remaining: seconds left, estimated.
    """

    last: Epoch
    best: float
    fraction: float
    remaining: float
