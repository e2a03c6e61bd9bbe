"""The moving parts of one training: the model, its optimiser, the data on the device, one pass after the other."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from networks.core.distributed import Group
from networks.core.norm import share_statistics
from networks.core.sharing import unique_tensors
from networks.errors import NetworkError
from networks.execution.layers import settle_training
from networks.execution.training_graphs import recorded_training
from networks.paper.generator import BoundaryGenerator, build
from networks.paper.losses import LOSSES, EulerResidual
from networks.paper.predict import select_device
from networks.paper.spec import GeneratorSpec
from networks.training.plan import Epoch, Progress, TrainingPlan
from networks.training.start import copy_of, origin

VALIDATION_LEVELS = 32
"""Levels of each validation sample, evenly spaced, that a model whose time is sampled is judged by."""


class TrainingError(NetworkError):
    """Training cannot go on; the message says where and what to do."""


def split_samples(num_samples: int, validation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the validation split; at least one sample stays on each side unless the fraction is 0.

    Returns:
        Sorted indices of the training and of the validation samples.

    Raises:
        ValueError: too few samples.
    """
    num_validation = 0 if validation == 0 else max(1, round(validation * num_samples))
    if num_samples - num_validation < 1:
        raise ValueError(f"{num_samples} samples cannot be split into training and validation; generate more")
    order = np.random.default_rng(seed).permutation(num_samples)
    return np.sort(order[num_validation:]), np.sort(order[:num_validation])


class Fit:
    """One training between its passes. Collective over `group`: every rank holds all of it and makes every pass.

    Args:
        spec: what to build.
        parameters: (sample, parameter), physical.
        targets: (sample, field, time, node), physical.
        plan: how to train.
        group: the processes that share each batch.
        initial: where to start, its scalers kept; None starts at weights drawn from the plan's seed.

    Raises:
        ValueError: shapes that do not fit the specification, too few samples, a plan that the model refuses, or an
            initial model of another specification.
    """

    def __init__(
        self,
        spec: GeneratorSpec,
        parameters: np.ndarray,
        targets: np.ndarray,
        plan: TrainingPlan,
        group: Group,
        initial: BoundaryGenerator | None = None,
    ) -> None:
        expected = (len(parameters), len(spec.fields), spec.num_levels, spec.num_arc)
        if np.shape(targets) != expected:
            raise ValueError(
                f"targets must have shape (sample, field, time, node) = {expected}, got {np.shape(targets)}"
            )
        self.plan, self.spec, self.group = plan, spec, group
        self.euler = EulerResidual(spec, plan.dt or 0.0) if plan.euler > 0 else None
        self.device = select_device(plan.device)
        self.origin = origin(initial)
        if initial is None:
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(plan.seed)
                self.model = build(spec)
            self.model.scale_trunks(plan.initial_scale)
        else:
            self.model = copy_of(initial, spec)
        chosen, held = split_samples(len(parameters), plan.validation, plan.seed)
        inputs = torch.as_tensor(spec.relative(parameters).astype(np.float32))
        outputs = torch.as_tensor(np.asarray(targets, np.float32))
        if initial is None:
            self.model.input_scaler.fit(inputs[chosen])
            self.model.target_scaler.fit(outputs[chosen])
        scaler = self.model.target_scaler
        scores, held_scores = scaler(outputs[chosen]), scaler(outputs[held])
        self.held_levels: Tensor | None = None
        if spec.time == "sampled":
            number = min(VALIDATION_LEVELS, spec.num_levels)
            self.held_levels = torch.linspace(0, spec.num_levels - 1, number).round().long().to(self.device)
            held_scores = held_scores[:, :, self.held_levels.cpu()]
        self.model.to(self.device)
        group.broadcast(self.model)
        share_statistics(self.model, group)
        self.train_split = (inputs[chosen].to(self.device), scores.to(self.device))
        self.held_split = (inputs[held].to(self.device), held_scores.to(self.device))
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), plan.learning_rate, weight_decay=plan.weight_decay, foreach=True
        )
        self.loss = LOSSES[plan.loss]
        self.recorded: Callable[..., Tensor] | None = None
        self.batches = torch.Generator().manual_seed(plan.seed)
        self.best = {name: tensor.clone() for name, tensor in unique_tensors(self.model).items()}
        self.best_error = float("inf")
        if initial is not None and len(held):  # what training must better
            self.best_error = float(self._validation_error())
        self.history: list[Epoch] = []
        self.started = time.monotonic()

    def settle(self) -> None:
        """Choose by measurement how layers run, and on a GPU the whole pass; for a training that begins. Collective."""
        batch = self.train_split[0][: self.plan.batch_size]
        if self.spec.time != "sampled":
            settle_training(self.model, (batch,), self.group)
            if self.device.type == "cuda" and self.group.size == 1 and not self.spec.batch_norm:
                self._record(batch)
            return
        levels = torch.arange(self.plan.levels_per_sample, device=self.device) % self.spec.num_levels
        settle_training(self.model, (batch, levels), self.group)

    def _record(self, batch: Tensor) -> None:
        """Let batches of this size pass as CUDA graphs, where that is faster."""
        from networks.execution.measure import clock

        self.model.train()
        self.recorded = recorded_training(self.model, self.model.standardised, (batch,), clock(self.device))

    @property
    def elapsed(self) -> float:
        """Seconds of this training, those before an interruption included. Local."""
        return time.monotonic() - self.started

    def fraction(self) -> float:
        """Of the plan that is done. Local."""
        done = len(self.history) / self.plan.epochs if self.plan.epochs else self.elapsed / (self.plan.seconds or 1.0)
        return min(1.0, done)

    def finished(self) -> bool:
        """Whether the plan is done or the validation error has stopped to fall; the same on every rank."""
        if self.stalled():
            return True
        if self.plan.epochs is not None:
            return len(self.history) >= self.plan.epochs
        last = self.history[-1].elapsed if self.history else 0.0
        return last >= (self.plan.seconds or 0.0)

    def stalled(self) -> bool:
        """Whether the last better validation error is `patience` passes ago."""
        if self.plan.patience is None or not self.history:
            return False
        best = min(self.history, key=lambda epoch: epoch.validation)  # the first of equals
        return len(self.history) - best.epoch >= self.plan.patience

    def learning_rate(self) -> float:
        """Of the next pass; with epochs given, the final one belongs to the last pass."""
        plan = self.plan
        if plan.epochs is not None:
            done = len(self.history) / max(1, plan.epochs - 1)
        else:
            done = self.group.agree(self.fraction())
        return float(plan.learning_rate * (plan.final_learning_rate / plan.learning_rate) ** done)

    def epoch(self) -> None:
        """One pass over the training split and one over the validation split; one device transfer."""
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        num_samples, size = len(self.train_split[0]), self.plan.batch_size
        order = torch.randperm(num_samples, generator=self.batches).to(self.device)
        levels: Sequence[Tensor | None] = [None] * len(order.split(size))
        if self.spec.time == "sampled":
            shape = (num_samples, self.plan.levels_per_sample)
            levels = torch.randint(self.spec.num_levels, shape, generator=self.batches).to(self.device).split(size)
        total = torch.zeros((), device=self.device)
        self.model.train()
        for batch, own_levels in zip(order.split(size), levels, strict=True):
            self._step(batch, own_levels, total)
        self.group.total(total)
        total /= num_samples
        validation = self._validation_error() if len(self.held_split[0]) else total
        mean, error = torch.stack((total, validation)).tolist()
        self.history.append(Epoch(len(self.history) + 1, self.group.agree(self.elapsed), mean, error, rate))
        if not (np.isfinite(mean) and np.isfinite(error)):
            raise TrainingError(
                f"the loss is not finite in epoch {len(self.history)} (training {mean}, validation {error}); "
                "lower the learning rate or check the data"
            )
        if error < self.best_error:
            self.best_error = error
            for name, tensor in unique_tensors(self.model).items():
                self.best[name].copy_(tensor)

    def _step(self, batch: Tensor, levels: Tensor | None, total: Tensor) -> None:
        """One step of the optimiser; this rank computes its share of the batch and adds its loss to `total`."""
        mine = self.group.share(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._objective(mine, None if levels is None else self.group.share(levels))
        weight = len(mine) * self.group.size / len(batch)  # so that the mean over ranks is the mean over the batch
        (loss * weight if self.group.size > 1 else loss).backward()  # type: ignore[no-untyped-call]
        self.group.average_gradients(self.model)
        self.optimizer.step()
        total += loss.detach() * len(mine)

    def _objective(self, batch: Tensor, levels: Tensor | None) -> Tensor:
        """The loss of some training samples, at levels (batch, level) of their own where time is sampled."""
        inputs, scores = self.train_split
        parameters = inputs[batch]
        if self.recorded is not None and levels is None:
            predicted = self.recorded(parameters)
        else:
            predicted = self.model.standardised(parameters, levels)
        if len(batch) == 0:  # a rank without a share still takes part in every message
            return predicted.sum()
        wanted = scores[batch] if levels is None else scores[batch[:, None], :, levels].transpose(1, 2)
        loss = self.loss(predicted, wanted)
        if self.euler is not None:
            if levels is None:
                residual = self.euler.of_history(self.model, predicted)
            else:
                residual = self.euler.at_levels(self.model, parameters, predicted, levels)
            loss = loss + self.plan.euler * residual
        return loss

    @torch.no_grad()
    def _validation_error(self) -> Tensor:
        self.model.eval()
        inputs, scores = self.held_split
        total = torch.zeros((), device=self.device)
        parts = torch.arange(len(inputs), device=self.device).split(32 if self.held_levels is None else 8)
        for part in map(self.group.share, parts):
            if len(part):
                found = self.model.standardised(inputs[part], self.held_levels)
                total += self.loss(found, scores[part]) * len(part)
        return self.group.total(total) / len(inputs)

    def progress(self) -> Progress:
        """What a progress bar needs. Local."""
        fraction = 1.0 if self.finished() else self.fraction()
        remaining = self.elapsed * (1 - fraction) / max(fraction, 1e-9)
        return Progress(self.history[-1], self.best_error, fraction, remaining)
