"""Training of the models of [A]: Adam with decay on whole samples, the best weights by validation error."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from networks.core.device import select_device
from networks.core.distributed import Group
from networks.core.norm import share_statistics
from networks.execution.layers import settle_training
from networks.execution.training_graphs import recorded_training
from networks.paper.generator import BoundaryGenerator, build
from networks.paper.losses import EulerResidual, mean_absolute
from networks.paper.spec import GeneratorSpec
from networks.training.fit import Fit, drawn, run, split_samples
from networks.training.plan import History, TrainingPlan
from networks.training.start import copy_of, origin

VALIDATION_LEVELS = 32
"""Levels of each validation sample, evenly spaced, that a model whose time is sampled is judged by."""


def train(
    spec: GeneratorSpec,
    parameters: np.ndarray,
    targets: np.ndarray,
    plan: TrainingPlan,
    *,
    initial: BoundaryGenerator | None = None,
    **options: Any,
) -> tuple[BoundaryGenerator, History]:
    """Train a generator on samples. Collective.

    Args:
        spec: what to build.
        parameters: (sample, parameter), physical.
        targets: (sample, field, time, node), physical, float32.
        plan: how long and in which steps; losses are in standard scores.
        initial: a generator of the same specification, compressed or not, to start from instead of drawn weights; it
            is left as it is, its scalers are kept, and its weights are those to better on the validation split.
        options: checkpoint, resume, progress, group and clock, as of `networks.training.fit.run`.

    Raises:
        ValueError: shapes that do not fit the specification, too few samples, the Euler regularisation together with
            batch normalisation, or an initial generator of another specification.
    """
    return run(lambda group: SampleTask(spec, (parameters, targets), plan, group, initial), plan, **options)


class SampleTask:
    """`networks.training.fit.Task` of the models of [A].

    Args:
        spec: what to build.
        data: parameters (sample, parameter) and targets (sample, field, time, node), physical.
        plan: how to train.
        group: the processes that share each batch.
        initial: where to start, its scalers kept; None starts at weights drawn from the plan's seed.

    Raises:
        ValueError: as `train`.
    """

    keeps_best = True

    def __init__(
        self,
        spec: GeneratorSpec,
        data: tuple[np.ndarray, np.ndarray],
        plan: TrainingPlan,
        group: Group,
        initial: BoundaryGenerator | None = None,
    ) -> None:
        parameters, targets = data
        expected = (len(parameters), len(spec.fields), spec.num_levels, spec.num_arc)
        if np.shape(targets) != expected:
            raise ValueError(
                f"targets must have shape (sample, field, time, node) = {expected}, got {np.shape(targets)}"
            )
        self.plan, self.spec, self.group, self.data = plan, spec, group, data
        self.progress: dict[str, Any] = {}
        self.remarks: list[str] = []
        self.euler = EulerResidual(spec, plan.dt or 0.0) if plan.euler > 0 else None
        self.device = select_device(plan.device)
        self.origin = origin(initial)
        plan.refuse("pairs_per_epoch")
        if initial is None:
            self.model: BoundaryGenerator = drawn(lambda: build(spec), plan.seed)
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
        self.recorded: Callable[..., Tensor] | None = None
        self.num_held = len(held)

    def begin(self, fit: Fit, *, resumed: bool) -> None:
        """Choose by measurement how layers run, and on a GPU the whole pass, unless a file says it. Collective."""
        if not resumed:
            self.settle()

    def settle(self) -> None:
        """Choose by measurement how layers run, and on a GPU the whole pass. Collective."""
        batch = self.train_split[0][: self.plan.batch_size]
        if self.spec.time != "sampled":
            settle_training(self.model, (batch,), self.group)
            if self.device.type == "cuda" and self.group.size == 1 and not self.spec.batch_norm:
                self._record(batch)
            return
        levels = torch.arange(self.plan.levels_per_sample, device=self.device) % self.spec.num_levels
        settle_training(self.model, (batch, levels), self.group)

    def rate(self, fit: Fit) -> float:
        """A geometric decay; with epochs given, the final rate belongs to the last pass. Collective."""
        first, last, epochs = self.plan.learning_rate, self.plan.final_learning_rate, self.plan.epochs
        done = fit.agreed_fraction() if epochs is None else len(fit.history) / max(1, epochs - 1)
        return float(first * (last / first) ** done)

    def learn(self, batches: torch.Generator, rate: float) -> Tensor:
        """One pass over the training split; its mean loss. Collective."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        num_samples, size = len(self.train_split[0]), self.plan.batch_size
        order = torch.randperm(num_samples, generator=batches).to(self.device)
        levels: Sequence[Tensor | None] = [None] * len(order.split(size))
        if self.spec.time == "sampled":
            shape = (num_samples, self.plan.levels_per_sample)
            levels = torch.randint(self.spec.num_levels, shape, generator=batches).to(self.device).split(size)
        total = torch.zeros((), device=self.device)
        self.model.train()
        for batch, own_levels in zip(order.split(size), levels, strict=True):
            self._step(batch, own_levels, total)
        self.group.total(total)
        return total / num_samples

    @torch.no_grad()
    def score(self) -> Tensor:
        """Mean loss over the validation split. Collective."""
        self.model.eval()
        inputs, scores = self.held_split
        total = torch.zeros((), device=self.device)
        parts = torch.arange(len(inputs), device=self.device).split(32 if self.held_levels is None else 8)
        for part in map(self.group.share, parts):
            if len(part):
                found = self.model.standardised(inputs[part], self.held_levels)
                total += mean_absolute(found, scores[part]) * len(part)
        return self.group.total(total) / len(inputs)

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
        loss = mean_absolute(predicted, wanted)
        if self.euler is not None:
            if levels is None:
                residual = self.euler.of_history(self.model, predicted)
            else:
                residual = self.euler.at_levels(self.model, parameters, predicted, levels)
            loss = loss + self.plan.euler * residual
        return loss

    def _record(self, batch: Tensor) -> None:
        """Let batches of this size pass as CUDA graphs, where that is faster."""
        from networks.execution.measure import clock

        self.model.train()
        self.recorded = recorded_training(self.model, self.model.standardised, (batch,), clock(self.device))
