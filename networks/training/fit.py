"""The one loop of all trainings: passes until the plan is done, resumable to the bit, shared by ranks."""

import contextlib
import functools
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from networks.core.distributed import Group, current_group
from networks.core.errors import NetworkError
from networks.core.sharing import load_unique, unique_tensors
from networks.training.plan import Epoch, History, Progress, TrainingPlan
from networks.training.state import restore, store

Clock = Callable[[], float]


class TrainingError(NetworkError):
    """Training cannot go on; the message says where and what to do."""


class Task(Protocol):
    """A family's own part of a training.

    Attributes:
        spec: of the generator.
        model: the generator, on its device.
        optimizer: of its weights.
        data: arrays that are learnt from, to tell one training from another.
        origin: what tells a start from another, values for JSON.
        device: where it trains.
        num_held: samples of the validation split.
        keeps_best: the weights of the pass with the best score are kept; else those of the last pass.
        progress: numbers beside the tensors that the next pass depends on, values for JSON.
        remarks: sentences about what came before the passes, and what did not come to its end.
    """

    spec: Any
    model: Any
    origin: dict[str, Any]
    device: torch.device
    num_held: int
    keeps_best: bool
    progress: dict[str, Any]
    remarks: list[str]

    @property
    def optimizer(self) -> torch.optim.Optimizer: ...

    @property
    def data(self) -> tuple[np.ndarray, ...]: ...

    def begin(self, fit: "Fit", *, resumed: bool) -> None:
        """Work before the next pass: what a fresh training needs, or one whose tensors come from a file.

        Long work calls `fit.tell` and keeps to its share of `plan.seconds`.
        """
        ...

    def rate(self, fit: "Fit") -> float:
        """Learning rate of the next pass. Collective."""
        ...

    def learn(self, batches: torch.Generator, rate: float) -> Tensor:
        """One pass over the training split; its mean loss, on the device. Collective."""
        ...

    def score(self) -> Tensor:
        """Mean loss over the validation split, on the device. Collective."""
        ...


class Fit:
    """A training between its passes. Collective over `group`: every rank holds all of it and makes every pass.

    Args:
        task: the family's part.
        plan: length and steps.
        group: the processes that share each batch.
        path: file of the state of training.
        progress: called before and after passes, on the leading rank.
        clock: gives seconds.
    """

    def __init__(
        self,
        task: Task,
        plan: TrainingPlan,
        group: Group,
        path: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.task, self.plan, self.group, self.path = task, plan, group, path
        self.clock, self.notify = clock, progress
        self.started = clock()
        self.stored = self.began = 0.0  # seconds of this training
        self.batches = torch.Generator().manual_seed(plan.seed)
        self.history: list[Epoch] = []
        tensors = unique_tensors(task.model).items() if task.keeps_best else ()
        self.best = {name: tensor.clone() for name, tensor in tensors}
        self.best_score = math.inf

    def begin(self, *, resume: bool) -> None:
        """Make ready for the next pass; collective."""
        resumed = resume and self.path is not None and bool(self.group.agree(self.path.exists()))
        if resumed and self.path is not None:
            restore(self.path, self)
            self.stored = self.elapsed
        self.task.begin(self, resumed=resumed)
        if self.task.origin["initial"] is not None and not resumed:
            self.keep_start()
        self.began = self.group.agree(self.elapsed)

    def keep_start(self) -> None:
        """Take the weights that there are for the best so far: what passes must better to be kept."""
        if self.task.num_held and self.task.keeps_best:
            self.best_score = float(self.task.score())
            for name, tensor in unique_tensors(self.task.model).items():
                self.best[name].copy_(tensor)

    @functools.cached_property
    def digest(self) -> str:
        """Checksum of the data, so that a training is continued with its own."""
        digest = hashlib.sha256()
        for array in self.task.data:
            digest.update(np.ascontiguousarray(array, np.float32).data)
        return digest.hexdigest()

    @property
    def elapsed(self) -> float:
        """Seconds of this training, those before an interruption included. Local."""
        return self.clock() - self.started

    def fraction(self) -> float:
        """Share of the plan that is done. Local."""
        done = len(self.history) / self.plan.epochs if self.plan.epochs else self.elapsed / (self.plan.seconds or 1.0)
        return min(1.0, done)

    def agreed_fraction(self) -> float:
        """Share of the plan that is done by the clock of the leading rank. Collective."""
        return self.group.agree(self.fraction())

    def finished(self) -> bool:
        """True where the plan is done, the score has stopped to fall, or another pass would take too long.

        The same on every rank.
        """
        if self.stalled():
            return True
        if self.plan.epochs is not None:
            return len(self.history) >= self.plan.epochs
        if not self.history:
            return False
        last, before = self.history[-1].elapsed, self.history[-2].elapsed if len(self.history) > 1 else self.began
        return last + max(0.0, last - before) > (self.plan.seconds or 0.0)

    def stalled(self) -> bool:
        """True where the last better score is `patience` passes ago."""
        if self.plan.patience is None or not self.history:
            return False
        return len(self.history) - self.best_epoch().epoch >= self.plan.patience

    def best_epoch(self) -> Epoch:
        """The pass with the best score, the first of equals."""
        return min(self.history, key=lambda epoch: epoch.score)

    def epoch(self) -> None:
        """One pass over the training split and one over the validation split; one device transfer."""
        task = self.task
        rate = task.rate(self)
        total = task.learn(self.batches, rate)
        values = torch.stack((total, task.score())) if task.num_held else total[None]
        loss, *held = values.tolist()
        number = len(self.history) + 1
        self.history.append(Epoch(number, self.group.agree(self.elapsed), loss, held[0] if held else None, rate))
        if not np.isfinite([loss, *held]).all():
            raise TrainingError(
                f"the loss is not finite in epoch {number} ({self.history[-1].words}); "
                "lower the learning rate or check the data"
            )
        if self.history[-1].score < self.best_score:
            self.best_score = self.history[-1].score
            for name, tensor in unique_tensors(task.model).items() if task.keeps_best else ():
                self.best[name].copy_(tensor)

    def tell(self, stage: str = "") -> None:
        """Report progress and store the state where it is time, on the leading rank. Local.

        Args:
            stage: of the work before the first pass, in words; empty after a pass.
        """
        if not self.group.leads:
            return
        done = not stage and self.finished()
        if self.path is not None and (done or self.elapsed - self.stored >= self.plan.checkpoint_every):
            store(self.path, self)
            self.stored = self.elapsed
        if self.notify is not None:
            fraction = 1.0 if done else self.fraction()
            remaining = self.elapsed * (1 - fraction) / fraction if fraction else math.inf
            last = self.history[-1] if self.history else None
            best = self.best_score if self.task.keeps_best else math.inf
            self.notify(Progress(last, best, fraction, remaining, stage))

    def result(self) -> tuple[Any, History]:
        """The generator with the weights that are kept, in evaluation mode, and the passes."""
        number = len(self.history)
        if self.task.keeps_best:
            load_unique(self.task.model, self.best)
            best = self.best_epoch()
            number = best.epoch if best.score <= self.best_score else 0
        return self.task.model.eval(), History(tuple(self.history), number, tuple(self.task.remarks))


def run(
    make: Callable[[Group], Task],
    plan: TrainingPlan,
    *,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    group: Group | None = None,
    clock: Clock = time.monotonic,
) -> tuple[Any, History]:
    """Train a generator.

    Collective over `group`: every rank calls it with the same arguments, takes its share of every batch, and returns
    the same generator. Apart from rounding the result is that of one process.

    Args:
        make: makes the family's part for a group.
        plan: how long and in which steps; its batch is that of all ranks together.
        checkpoint: file that holds the state of training, written by the leading rank every `plan.checkpoint_every`
            seconds and at the end; every rank must see it to resume.
        resume: continue from `checkpoint` where it exists; on a CPU, with epochs given, the result is the same to the
            bit as without the interruption.
        progress: called on the leading rank after each epoch, and while long work precedes the first.
        group: processes that train together; default those that torchrun started.
        clock: gives seconds.

    Returns:
        The generator, on the plan's device and in evaluation mode, and the passes.

    Raises:
        ValueError: data, an initial generator or a plan that the family refuses.
        TrainingError: the loss is not finite.
        CheckpointError: `checkpoint` is damaged or belongs to another training.
        DistributedError: torchrun's processes cannot be connected.
    """
    if resume and checkpoint is None:
        raise ValueError("resume needs the checkpoint to continue from")
    group = current_group() if group is None else group
    start = clock()
    with with_threads(plan.threads):
        fit = Fit(make(group), plan, group, None if checkpoint is None else Path(checkpoint), progress, clock)
        fit.started = start
        fit.begin(resume=resume)
        while not fit.finished():
            fit.epoch()
            fit.tell()
        return fit.result()


def split_samples(num_samples: int, validation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the validation split; at least one sample stays on each side unless the fraction is 0.

    Returns:
        Sorted indices of the training and of the validation samples.

    Raises:
        ValueError: too few samples.
    """
    num_validation = 0 if validation == 0 else max(1, round(validation * num_samples))
    if num_samples - num_validation < 1:
        raise ValueError(
            f"{num_samples} samples cannot be split into training and validation; generate more, or hold none out "
            "with validation = 0"
        )
    order = np.random.default_rng(seed).permutation(num_samples)
    return np.sort(order[num_validation:]), np.sort(order[:num_validation])


def drawn(build: Callable[[], nn.Module], seed: int) -> Any:
    """A model whose weights are drawn from a seed; torch's own seed stays."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return build()


@contextlib.contextmanager
def with_threads(number: int | None) -> Iterator[None]:
    """Change torch's number of threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
