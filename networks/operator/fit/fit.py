"""Train an operator generator: fit its rays, choose its time basis, then its network on pairs of source and node."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.core.distributed import Group, current_group
from networks.execution.layers import settle_training
from networks.operator.fit.state import restore, store
from networks.operator.network import OperatorGenerator
from networks.operator.spec import OperatorSpec
from networks.operator.targets import Coordinates, band_weights, coordinates, fit_rays
from networks.operator.training_data import OperatorPlan, ResponseData, require
from networks.paper.predict import select_device
from networks.paper.train import TrainingError, split_samples, with_threads
from networks.training.plan import Epoch, Progress
from networks.training.soap import Soap
from networks.training.start import copy_of, origin

WARM_UP = 50
LOAD = 0.5
"""Weight of the load's relative squared error to that of the displacement."""


def train_operator(
    spec: OperatorSpec,
    data: ResponseData,
    plan: OperatorPlan,
    *,
    initial: OperatorGenerator | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    group: Group | None = None,
) -> tuple[OperatorGenerator, tuple[Epoch, ...]]:
    """Train an operator generator.

    Collective over `group`: every rank calls it with the same arguments and returns the same generator.

    Args:
        spec: what to build.
        data: responses to learn.
        plan: how to train; its batch is that of all ranks together.
        initial: a generator of the same specification, compressed or not, to start from; it is left as it is, and its
            rays, time basis and standardisation are kept.
        checkpoint: file that holds the state of training, written every `plan.checkpoint_every` seconds and at the end.
        resume: continue from `checkpoint` where it exists; on a CPU, with epochs given, the result is the same to the
            bit as without the interruption.
        progress: called after each epoch, on the leading rank.
        group: processes that train together; default those that torchrun started.

    Returns:
        The generator, on the plan's device and in evaluation mode, and the history; losses are mean relative squared
        errors over the band.

    Raises:
        ValueError: data, or an initial generator, that do not fit the specification.
        TrainingError: the loss is not finite.
        CheckpointError: `checkpoint` is damaged or belongs to another training.
    """
    if resume and checkpoint is None:
        raise ValueError("resume needs the checkpoint to continue from")
    group = current_group() if group is None else group
    path = None if checkpoint is None else Path(checkpoint)
    with with_threads(plan.threads):
        run = OperatorFit(spec, data, plan, group, initial)
        run.begin(path if resume and path is not None and group.agree(path.exists()) else None)
        stored = run.elapsed
        while not run.finished():
            run.epoch()
            if not group.leads:
                continue
            if path is not None and (run.finished() or run.elapsed - stored >= plan.checkpoint_every):
                store(path, run)
                stored = run.elapsed
            if progress is not None:
                progress(run.progress())
    return run.model.eval(), tuple(run.history)


class OperatorFit:
    """The moving parts of one training."""

    def __init__(
        self,
        spec: OperatorSpec,
        data: ResponseData,
        plan: OperatorPlan,
        group: Group,
        initial: OperatorGenerator | None = None,
    ) -> None:
        require(spec, data)
        data = data.relative(spec)
        self.spec, self.data, self.plan, self.group = spec, data, plan, group
        self.started = time.monotonic()
        self.device = select_device(plan.device)
        self.origin = origin(initial)
        self.fresh = initial is None
        if initial is None:
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(plan.seed)
                self.model = OperatorGenerator(spec)
        else:
            self.model = copy_of(initial, spec)
        if data.travel is not None and spec.travel is not None:
            for name in ("x", "y", "time"):
                values = np.asarray(getattr(data.travel, name), np.float32)
                getattr(self.model.rays, f"travel_{name}").copy_(torch.as_tensor(values))
        self.model.to(self.device)
        self.model.rays.factors.requires_grad_(False)
        self.chosen, self.held = split_samples(len(data.sources), plan.validation, plan.seed)
        self.optimizer = Soap(self.model.net.parameters(), plan.learning_rate)
        self.batches = torch.Generator().manual_seed(plan.seed)
        self.history: list[Epoch] = []
        self.steps = 0

    def begin(self, path: Path | None) -> None:
        """Fit the rays and choose the time basis, or take both from a file or the model to start from; then make the
        targets."""
        u, r = self.data.displacement[self.chosen], self.data.load[self.chosen]
        weights = band_weights(self.spec, u, r)
        basis = self.model.basis[:-1].double().cpu().numpy()
        self.coordinates = [coordinates(weight, basis) for weight in weights]
        if path is not None:
            restore(path, self)
        elif self.fresh and self.spec.rays != "none":
            fit_rays(self.model, np.asarray(self.data.sources, np.float64)[self.chosen], (u, r))
        self.group.broadcast(self.model)
        self._prepare(fresh=self.fresh and path is None)
        if path is None:
            batch = self.train_split[0][: self.plan.batch_size]
            settle_training(self.model, (batch,), self.group, part=self.model.net)

    @torch.no_grad()
    def _prepare(self, fresh: bool) -> None:
        """Features and targets of all pairs; the time basis, where none was restored."""
        every = torch.as_tensor(np.asarray(self.data.sources), dtype=torch.float32, device=self.device)
        folded, arcs = self.model.fold(every)
        features = self.model.features(folded)
        if fresh:
            inputs = features[self.chosen].flatten(0, 1).double()
            self.model.feature_mean.copy_(inputs.mean(0))
            self.model.feature_scale.copy_(inputs.std(0).clamp(min=1e-6 * self.model.feature_units().double()))
        targets = []
        share = [1.0, LOAD]
        lost = 0.0
        for field, (known, values) in enumerate(
            zip(self.coordinates, (self.data.displacement, self.data.load), strict=True)
        ):
            rest, energy = self._rest(field, known, values, every, arcs)
            rest /= math.sqrt(energy)
            moment = rest[self.chosen].flatten(0, 1)
            moment = moment.T @ moment / len(moment)
            if fresh:
                directions = torch.linalg.eigh(moment)[1].flip(1)[:, : self.spec.rank]
                lift = torch.as_tensor(known.lift, device=self.device) @ directions * math.sqrt(energy)
                self.model.decoder[field].zero_()
                self.model.decoder[field, :, : directions.shape[1]] = lift.to(torch.float32)
            project = torch.as_tensor(known.project, device=self.device)
            read = (project @ self.model.decoder[field].double()) / math.sqrt(energy)  # orthonormal columns
            found = rest @ (read if self.fresh else torch.linalg.pinv(read).T)  # the basis may be of other data
            lost += share[field] * float(moment.trace() - (found * (rest @ read))[self.chosen].sum(-1).mean())
            targets.append(found.to(torch.float32))
        self.share = torch.tensor(share, device=self.device).repeat_interleave(self.spec.rank)
        self.lost = lost
        scores = torch.cat(targets, -1)
        standard = (features - self.model.feature_mean) / self.model.feature_scale
        self.train_split = (standard[self.chosen].flatten(0, 1), scores[self.chosen].flatten(0, 1))
        self.held_split = (standard[self.held].flatten(0, 1), scores[self.held].flatten(0, 1))

    def _rest(
        self, field: int, known: Coordinates, values: NDArray[np.floating], sources: Tensor, arcs: Tensor
    ) -> tuple[Tensor, float]:
        """Coordinates (source, arc, coordinate) of what the rays leave, for folded sources; and the mean square of
        what there was with them."""
        parts, energy = [], 0.0
        for part in np.array_split(np.arange(len(values)), max(1, len(values) // 16)):
            whole = torch.as_tensor(known.of(values[part]), device=self.device)
            energy += float(whole.square().sum())
            rays = self.model.known(sources[part])
            if rays is not None:
                project = torch.as_tensor(known.project, dtype=torch.float32, device=self.device)
                whole -= (rays[:, field].transpose(1, 2) @ project.T).double()
            place = arcs[part][..., None].expand_as(whole)
            parts.append(torch.zeros_like(whole).scatter_(1, place, whole))
        return torch.cat(parts), energy / (len(values) * self.spec.num_arc)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def fraction(self) -> float:
        """Of the plan that is done."""
        done = len(self.history) / self.plan.epochs if self.plan.epochs else self.elapsed / (self.plan.seconds or 1.0)
        return min(1.0, done)

    def finished(self) -> bool:
        if self.plan.epochs is not None:
            return len(self.history) >= self.plan.epochs
        return bool(self.history) and self.history[-1].elapsed >= (self.plan.seconds or 0.0)

    def epoch(self) -> None:
        """One pass; one device transfer."""
        plan = self.plan
        fraction = self.group.agree(self.fraction())
        fall = 0.5 * (1 + math.cos(math.pi * fraction))
        rate = plan.final_learning_rate + (plan.learning_rate - plan.final_learning_rate) * fall
        features, scores = self.train_split
        order = torch.randperm(len(features), generator=self.batches)[: plan.pairs_per_epoch]
        total = torch.zeros((), device=self.device)
        self.model.train()
        for batch in order.split(plan.batch_size):
            self.steps += 1
            for each in self.optimizer.param_groups:
                each["lr"] = rate * min(1.0, self.steps / WARM_UP)
            self._step(batch, features, scores, total)
        self.group.total(total)
        total /= len(order)
        validation = self._validation_error() if len(self.held) else total
        mean, error = (torch.stack((total, validation)) + self.lost).tolist()
        self.history.append(Epoch(len(self.history) + 1, self.group.agree(self.elapsed), mean, error, rate))
        if not (np.isfinite(mean) and np.isfinite(error)):
            raise TrainingError(
                f"the loss is not finite in epoch {len(self.history)} (training {mean}, validation {error}); "
                "lower the learning rate or check the data"
            )

    def _step(self, batch: Tensor, features: Tensor, scores: Tensor, total: Tensor) -> None:
        mine = self.group.share(batch).to(self.device)
        self.optimizer.zero_grad(set_to_none=True)
        miss = (self.model.net(features[mine]) - scores[mine]).square() @ self.share
        loss = miss.sum() * (self.group.size / len(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        self.group.average_gradients(self.model.net)
        self.optimizer.step()
        total += miss.detach().sum()

    @torch.no_grad()
    def _validation_error(self) -> Tensor:
        self.model.eval()
        features, scores = self.held_split
        total = torch.zeros((), device=self.device)
        for part, target in zip(features.split(8192), scores.split(8192), strict=True):
            total += ((self.model.net(part) - target).square() @ self.share).sum()
        return total / len(features)

    def progress(self) -> Progress:
        fraction = 1.0 if self.finished() else self.fraction()
        remaining = self.elapsed * (1 - fraction) / max(fraction, 1e-9)
        return Progress(self.history[-1], min(e.validation for e in self.history), fraction, remaining)
