"""Training of the operator generator: its rays, its time basis, then its network on pairs of a source and a node."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.core.device import select_device
from networks.core.distributed import Group
from networks.execution.layers import settle_training
from networks.operator.network import OperatorGenerator
from networks.operator.ray_fit import RayStep, fit_rays
from networks.operator.spec import OperatorSpec
from networks.operator.targets import Coordinates, band_weights, coordinates
from networks.operator.training_data import ResponseData, require
from networks.training.fit import Fit, drawn, run, split_samples
from networks.training.plan import History, TrainingPlan
from networks.training.soap import Soap
from networks.training.start import copy_of, origin

WARM_UP = 50
"""Steps over which the learning rate rises."""
LOAD = 0.5
"""Weight of the load's relative squared error to that of the displacement."""
RAYS_SHARE = 0.7
"""Share of a plan's seconds that the fit of the rays may take, half of it for each field."""


def operator_plan(**options: Any) -> TrainingPlan:
    """A plan with the operator generator's own defaults: batches of pairs, the rates of SOAP, nothing held out."""
    own: dict[str, Any] = {"batch_size": 512, "learning_rate": 5e-3, "final_learning_rate": 1e-6, "threads": 1}
    return TrainingPlan(**{**own, "validation": 0.0, **options})


def train_operator(
    spec: OperatorSpec,
    data: ResponseData,
    plan: TrainingPlan,
    *,
    initial: OperatorGenerator | None = None,
    **options: Any,
) -> tuple[OperatorGenerator, History]:
    """Train an operator generator. Collective.

    Args:
        spec: what to build.
        data: responses to learn.
        plan: how long and in which steps, see `operator_plan`; losses are mean relative squared errors over the band.
        initial: a generator of the same specification, compressed or not, to start from; it is left as it is, and its
            rays, time basis and standardisation are kept.
        options: checkpoint, resume, progress, group and clock, as of `networks.training.fit.run`.

    Returns:
        The generator, with the weights of the last pass, and the passes.

    Raises:
        ValueError: data, or an initial generator, that do not fit the specification.
    """
    return run(lambda group: ResponseTask(spec, data, plan, group, initial), plan, **options)


class ResponseTask:
    """`networks.training.fit.Task` of the operator generator.

    Args:
        spec: what to build.
        data: responses to learn.
        plan: how to train.
        group: the processes that share each batch.
        initial: where to start; None fits the rays and draws the weights.

    Raises:
        ValueError: as `train_operator`.
    """

    def __init__(
        self,
        spec: OperatorSpec,
        data: ResponseData,
        plan: TrainingPlan,
        group: Group,
        initial: OperatorGenerator | None = None,
    ) -> None:
        require(spec, data)
        plan.refuse("weight_decay", "initial_scale", "euler", "levels_per_sample")
        self.data = (data.sources, data.displacement, data.load)
        data = data.relative(spec)
        self.spec, self.responses, self.plan, self.group = spec, data, plan, group
        self.progress: dict[str, Any] = {"steps": 0, "rays": None}
        self.remarks: list[str] = []
        self.device = select_device(plan.device)
        self.origin = origin(initial)
        self.fresh = initial is None
        self.model: OperatorGenerator
        self.model = drawn(lambda: OperatorGenerator(spec), plan.seed) if initial is None else copy_of(initial, spec)
        if data.travel is not None and spec.travel is not None:
            for name in ("x", "y", "time"):
                values = np.asarray(getattr(data.travel, name), np.float32)
                getattr(self.model.rays, f"travel_{name}").copy_(torch.as_tensor(values))
        self.model.to(self.device)
        self.model.rays.factors.requires_grad_(False)
        self.chosen, self.held = split_samples(len(data.sources), plan.validation, plan.seed)
        self.num_held = len(self.held)
        self.keeps_best = self.num_held > 0  # the rays alone, where no pass is better than they
        self.optimizer = Soap(self.model.net.parameters(), plan.learning_rate)

    def begin(self, fit: Fit, *, resumed: bool) -> None:
        """Fit the rays and choose the time basis, unless a file or the model to start from has them; then make the
        targets. Collective."""
        u, r = self.responses.displacement[self.chosen], self.responses.load[self.chosen]
        basis = self.model.basis[:-1].double().cpu().numpy()
        self.coordinates = [coordinates(weight, basis) for weight in band_weights(self.spec, u, r)]
        begun = resumed and self.progress["rays"] is None
        if self.fresh and self.spec.rays != "none" and not begun:
            self._fit_rays(fit, (u, r))
        self.group.broadcast(self.model)
        self._prepare(fresh=self.fresh and not begun)
        if self.fresh and self.spec.rays != "none" and not begun:
            fit.keep_start()  # of the rays alone
        if not begun:
            settle_training(self.model, (self.train_split[0][: self.plan.batch_size],), self.group, part=self.model.net)

    def _fit_rays(self, fit: Fit, responses: tuple[NDArray[np.floating], NDArray[np.floating]]) -> None:
        """Fit the rays, within their share of the plan's seconds."""
        budget = math.inf if self.plan.seconds is None else RAYS_SHARE * self.plan.seconds
        before = self.progress["rays"]
        start = RayStep() if before is None else RayStep(**before)

        def watch(step: RayStep) -> bool:
            self.progress["rays"] = asdict(step)
            fit.tell(step.words)
            return fit.elapsed < budget * (step.field + 1) / 2

        fit.tell(start.words)
        sources = np.asarray(self.responses.sources, np.float64)[self.chosen]
        end = fit_rays(self.model, sources, responses, start=start, watch=watch)
        self.progress["rays"] = None
        self.remarks += [end.remark] if end.remark else []

    @torch.no_grad()
    def _prepare(self, fresh: bool) -> None:
        """Features and targets of all pairs; the time basis, where none was restored."""
        every = torch.as_tensor(np.asarray(self.responses.sources), dtype=torch.float32, device=self.device)
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
            zip(self.coordinates, (self.responses.displacement, self.responses.load), strict=True)
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
            coefficients = rest @ (read if self.fresh else torch.linalg.pinv(read).T)  # the basis may be of other data
            lost += share[field] * float(moment.trace() - (coefficients * (rest @ read))[self.chosen].sum(-1).mean())
            targets.append(coefficients.to(torch.float32))
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
        the whole over the training split."""
        parts, energy = [], 0.0
        for part in np.array_split(np.arange(len(values)), max(1, len(values) // 16)):
            whole = torch.as_tensor(known.of(values[part]), device=self.device)
            energy += float(whole[np.isin(part, self.chosen)].square().sum())
            rays = self.model.known(sources[part])
            if rays is not None:
                project = torch.as_tensor(known.project, dtype=torch.float32, device=self.device)
                whole -= (rays[:, field].transpose(1, 2) @ project.T).double()
            place = arcs[part][..., None].expand_as(whole)
            parts.append(torch.zeros_like(whole).scatter_(1, place, whole))
        return torch.cat(parts), energy / (len(self.chosen) * self.spec.num_arc)

    def rate(self, fit: Fit) -> float:
        """Half a cosine. Collective."""
        first, last = self.plan.learning_rate, self.plan.final_learning_rate
        return last + (first - last) * 0.5 * (1 + math.cos(math.pi * fit.agreed_fraction()))

    def learn(self, batches: torch.Generator, rate: float) -> Tensor:
        """One pass over pairs of the training split; their mean loss. Collective."""
        features, scores = self.train_split
        order = torch.randperm(len(features), generator=batches)[: self.plan.pairs_per_epoch]
        total = torch.zeros((), device=self.device)
        self.model.train()
        for batch in order.split(self.plan.batch_size):
            self.progress["steps"] += 1
            for each in self.optimizer.param_groups:
                each["lr"] = rate * min(1.0, self.progress["steps"] / WARM_UP)
            self._step(batch, features, scores, total)
        self.group.total(total)
        return total / len(order) + self.lost

    @torch.no_grad()
    def score(self) -> Tensor:
        """Mean loss over the pairs of the validation split."""
        self.model.eval()
        features, scores = self.held_split
        total = torch.zeros((), device=self.device)
        for part, target in zip(features.split(8192), scores.split(8192), strict=True):
            total += ((self.model.net(part) - target).square() @ self.share).sum()
        return total / len(features) + self.lost

    def _step(self, batch: Tensor, features: Tensor, scores: Tensor, total: Tensor) -> None:
        mine = self.group.share(batch).to(self.device)
        self.optimizer.zero_grad(set_to_none=True)
        miss = (self.model.net(features[mine]) - scores[mine]).square() @ self.share
        loss = miss.sum() * (self.group.size / len(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        self.group.average_gradients(self.model.net)
        self.optimizer.step()
        total += miss.detach().sum()
