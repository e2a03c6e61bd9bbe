"""The plan of a training, and the passes that it made."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, Self, overload

EULER_WEIGHT = 0.1
"""Weight of the Euler regularisation in the variants E; the paper does not say its own."""

COMPRESSIBLE: dict[str, Any] = {"initial_scale": 0.2, "weight_decay": 3.0}
"""Options of a training after which weights have low ranks: docs/compression.md has the comparison."""

NO_NUMBERS = ("device", "threads", "checkpoint_every")
"""Entries of a plan that change no number that matters."""


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """Length, steps and place of a training. Exactly one of `epochs` and `seconds` is given.

    Attributes:
        epochs: passes over the training split.
        seconds: wall-clock time of everything, what precedes the first pass included; the learning rate falls with it.
            A pass that would exceed it is not begun, unless it is the first.
        batch_size: samples, or pairs of a source and a node, of one step.
        learning_rate, final_learning_rate: at the first and the last pass.
        weight_decay: decoupled, per unit of learning rate (AdamW).
        initial_scale: factor on the trunks' initial weights; below 1 what is learnt outweighs what was drawn.
        euler: weight of the Euler regularisation ([A] eq. 21) beside the loss; 0 leaves it out.
        dt: time between two levels, which the Euler regularisation needs.
        patience: passes without a better score after which training stops; None never stops early.
        levels_per_sample: levels drawn from each sample in a pass, for a model whose time is sampled: a batch holds
            batch_size x levels_per_sample pairs of a sample and a level, and a pass meets every sample once.
        pairs_per_epoch: pairs of a source and a node of one pass, at most, for a model that learns pairs.
        validation: fraction of the samples kept from training; a pass is scored by them, by its loss where it is 0.
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
    euler: float = 0.0
    dt: float | None = None
    patience: int | None = None
    levels_per_sample: int = 16
    pairs_per_epoch: int = 25600
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
        for name in ("batch_size", "threads", "patience", "levels_per_sample", "pairs_per_epoch"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("checkpoint_every", "weight_decay", "euler"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.final_learning_rate <= self.learning_rate:
            raise ValueError(
                f"learning rates must be positive and not grow, got {self.learning_rate} to {self.final_learning_rate}"
            )
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation must be a fraction in [0, 1), got {self.validation}")
        if not self.initial_scale > 0:
            raise ValueError(f"initial_scale must be positive, got {self.initial_scale}")
        if self.euler > 0 and not (self.dt or 0) > 0:
            raise ValueError(f"the Euler regularisation needs the time between two levels: give dt, got {self.dt}")

    def refuse(self, *names: str) -> None:
        """Refuse options that a model has no use for, where they are not the defaults.

        Raises:
            ValueError: one of them is given.
        """
        for name in names:
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise ValueError(f"{name} = {getattr(self, name)!r} is nothing that this model uses: leave it out")

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
    """One pass.

    Attributes:
        epoch: its number, from 1.
        elapsed: seconds since the start.
        loss: mean over the training split.
        validation: mean over the validation split; None where nothing is held out.
        learning_rate: of its steps.
    """

    epoch: int
    elapsed: float
    loss: float
    validation: float | None
    learning_rate: float

    @property
    def score(self) -> float:
        """The validation error, or the loss where nothing is held out."""
        return self.loss if self.validation is None else self.validation

    @property
    def words(self) -> str:
        """Loss and, where there is one, validation error."""
        held = "" if self.validation is None else f", validation {self.validation:.3g}"
        return f"loss {self.loss:.3g}{held}"


@dataclasses.dataclass(frozen=True)
class History(Sequence[Epoch]):
    """The passes of a training.

    Attributes:
        epochs: all of them.
        weights_epoch: number of the one whose weights the generator has; 0 for those that the training started from.
        remarks: sentences about what came before the passes, such as a fit that converged or was cut short.
    """

    epochs: tuple[Epoch, ...]
    weights_epoch: int
    remarks: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Epoch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Epoch]: ...
    def __getitem__(self, index: int | slice) -> Epoch | Sequence[Epoch]:
        return self.epochs[index]

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    @property
    def words(self) -> str:
        """One line: which weights were kept, and their figures."""
        num, seconds = len(self), f"{self[-1].elapsed:.0f} s"
        if self.weights_epoch == 0:
            return f"no better in {num} epochs than at the start, whose weights are kept, {seconds}"
        if self.weights_epoch == num:
            return f"{num} epochs, {self[-1].words}, {seconds}"
        return f"best of {num} epochs is {self.weights_epoch} ({self[self.weights_epoch - 1].words}), {seconds}"


@dataclasses.dataclass(frozen=True)
class Progress:
    """The state of a training for a progress bar.

    Attributes:
        last: the pass just done; None before the first.
        best: score of the weights that would be kept; infinite where those of the last pass are kept anyway.
        fraction: share of the plan that is done, 0 to 1.
        remaining: seconds left, estimated.
        stage: of the work before the first pass, in words.
    """

    last: Epoch | None
    best: float
    fraction: float
    remaining: float
    stage: str = ""

    @property
    def epoch(self) -> int:
        """Number of passes done."""
        return 0 if self.last is None else self.last.epoch

    @property
    def words(self) -> str:
        """One line."""
        if self.last is None:
            return self.stage
        best = f" (best {self.best:.3g})" if math.isfinite(self.best) else ""
        return f"epoch {self.last.epoch}, {self.last.words}{best}"
