"""Fit a generator to samples: Adam with decay, best weights by validation error, resumable to the bit."""

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from networks.checkpoint import CheckpointError, read_tensors, write_tensors
from networks.generator import BoundaryGenerator, GeneratorSpec, build
from networks.losses import LOSSES
from networks.plan import Epoch, Progress, TrainingPlan
from networks.predict import select_device

TRAINING = "submodel-training"


class TrainingError(Exception):
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


def train(
    spec: GeneratorSpec,
    parameters: np.ndarray,
    targets: np.ndarray,
    plan: TrainingPlan,
    *,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[BoundaryGenerator, tuple[Epoch, ...]]:
    """Train a generator.

    Args:
        spec: what to build.
        parameters: (sample, parameter), physical.
        targets: (sample, field, time, arc), physical, float32.
        plan: how to train.
        checkpoint: file that holds the state of training, written every `plan.checkpoint_every` seconds and at
            the end.
        resume: continue from `checkpoint` where it exists; on a CPU, with epochs given, the result is the
            same to the bit as without the interruption.
        progress: called after each epoch.

    Returns:
        The generator with the best weights, on the plan's device and in evaluation mode, and the history.

    Raises:
        ValueError: shapes that do not fit the specification, or too few samples.
        TrainingError: the loss is not finite.
        CheckpointError: `checkpoint` is damaged or belongs to another training.
    """
    run = _Run(spec, parameters, targets, plan)
    path = None if checkpoint is None else Path(checkpoint)
    if resume and path is None:
        raise ValueError("resume needs the checkpoint to continue from")
    if resume and path is not None and path.exists():
        run.restore(path)
    stored = run.elapsed
    with _threads(plan.threads):
        while not run.finished():
            run.epoch()
            if path is not None and (run.finished() or run.elapsed - stored >= plan.checkpoint_every):
                run.store(path)
                stored = run.elapsed
            if progress is not None:
                progress(run.progress())
    return run.result(), tuple(run.history)


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Change torch's number of threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Run:
    """The moving parts of one training."""

    def __init__(self, spec: GeneratorSpec, parameters: np.ndarray, targets: np.ndarray, plan: TrainingPlan) -> None:
        expected = (len(parameters), len(spec.fields), spec.num_levels, spec.num_arc)
        if np.shape(targets) != expected:
            raise ValueError(
                f"targets must have shape (sample, field, time, arc) = {expected}, got {np.shape(targets)}"
            )
        self.plan, self.spec = plan, spec
        self.device = select_device(plan.device)
        self.digest = _digest(parameters, targets)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(plan.seed)
            self.model = build(spec)
        chosen, held = split_samples(len(parameters), plan.validation, plan.seed)
        inputs = torch.as_tensor(np.asarray(parameters, np.float32))
        outputs = torch.as_tensor(np.asarray(targets, np.float32))
        self.model.input_scaler.fit(inputs[chosen])
        self.model.target_scaler.fit(outputs[chosen])
        scores = self.model.target_scaler(outputs)
        self.model.to(self.device)
        self.train_split = (inputs[chosen].to(self.device), scores[chosen].to(self.device))
        self.held_split = (inputs[held].to(self.device), scores[held].to(self.device))
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), plan.learning_rate, weight_decay=plan.weight_decay, foreach=True
        )
        self.loss = LOSSES[plan.loss]
        self.batches = torch.Generator().manual_seed(plan.seed)
        self.best = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.best_error = float("inf")
        self.history: list[Epoch] = []
        self.started = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def fraction(self) -> float:
        """Of the plan that is done."""
        done = len(self.history) / self.plan.epochs if self.plan.epochs else self.elapsed / (self.plan.seconds or 1.0)
        return min(1.0, done)

    def finished(self) -> bool:
        last = self.history[-1].elapsed if self.history else 0.0
        if self.plan.epochs is not None:
            return len(self.history) >= self.plan.epochs
        return last >= (self.plan.seconds or 0.0)

    def epoch(self) -> None:
        """One pass over the training split and one over the validation split; one device transfer."""
        plan = self.plan
        decay = (plan.final_learning_rate / plan.learning_rate) ** self.fraction()
        rate = plan.learning_rate * decay
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        inputs, scores = self.train_split
        order = torch.randperm(len(inputs), generator=self.batches).to(self.device)
        total = torch.zeros((), device=self.device)
        self.model.train()
        for batch in order.split(plan.batch_size):
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(self.model.standardised(inputs[batch]), scores[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += loss.detach() * len(batch)
        total /= len(inputs)
        validation = self._validation_error() if len(self.held_split[0]) else total
        mean, error = torch.stack((total, validation)).tolist()
        self.history.append(Epoch(len(self.history) + 1, self.elapsed, mean, error, rate))
        if not (np.isfinite(mean) and np.isfinite(error)):
            raise TrainingError(
                f"the loss is not finite in epoch {len(self.history)} (training {mean}, validation {error}); "
                "lower the learning rate or check the data"
            )
        if error < self.best_error:
            self.best_error = error
            for name, tensor in self.model.state_dict().items():
                self.best[name].copy_(tensor)

    @torch.no_grad()
    def _validation_error(self) -> Tensor:
        self.model.eval()
        inputs, scores = self.held_split
        total = torch.zeros((), device=self.device)
        for part, target in zip(inputs.split(32), scores.split(32), strict=True):
            total += self.loss(self.model.standardised(part), target) * len(part)
        return total / len(inputs)

    def progress(self) -> Progress:
        fraction = self.fraction()
        remaining = self.elapsed * (1 - fraction) / max(fraction, 1e-9)
        return Progress(self.history[-1], self.best_error, fraction, remaining)

    def result(self) -> BoundaryGenerator:
        self.model.load_state_dict(self.best)
        return self.model.eval()

    def identity(self) -> dict[str, Any]:
        """What must agree for a training to be continued."""
        plan = dataclasses.asdict(self.plan)
        del plan["device"], plan["threads"], plan["checkpoint_every"]  # these change no number that matters
        return {"spec": self.spec.to_dict(), "plan": plan, "data": {"samples": self.digest}}

    def store(self, path: Path) -> None:
        """Write everything that `restore` needs."""
        tensors = {f"model.{n}": t for n, t in self.model.state_dict().items()}
        tensors |= {f"best.{n}": t for n, t in self.best.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{n}": t for n, t in state.items()}
        tensors["batches"] = self.batches.get_state()
        document = {
            **self.identity(),
            "history": [dataclasses.astuple(e) for e in self.history],
            "best_error": self.best_error,
            "elapsed": self.elapsed,
        }
        write_tensors(path, TRAINING, tensors, document)

    def restore(self, path: Path) -> None:
        """Continue where `store` was called."""
        tensors, document = read_tensors(path, TRAINING)
        for part, entries in self.identity().items():
            for key, value in entries.items():
                stored = document.get(part, {}).get(key)
                if (list(value) if isinstance(value, tuple) else value) != stored:
                    raise CheckpointError(
                        f"{path} belongs to a training with {key} = {stored}, this one has {value}; "
                        "use the same options, or another checkpoint file"
                    )
        try:
            self._take(tensors, document)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} holds no complete training ({error}); delete it and train again") from error

    def _take(self, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name in tensors:
            if name.startswith("optimizer."):
                _, number, entry = name.split(".")
                state.setdefault(int(number), {})[entry] = tensors[name]
        self.model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
        for name, tensor in self.best.items():
            tensor.copy_(tensors[f"best.{name}"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.batches.set_state(tensors["batches"])
        self.history = [Epoch(*entry) for entry in document["history"]]
        self.best_error = document["best_error"]
        self.started = time.monotonic() - document["elapsed"]


def _digest(*arrays: np.ndarray) -> str:
    """Checksum of the samples, so that a training is continued with its own."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()
