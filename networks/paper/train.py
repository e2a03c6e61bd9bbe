"""Fit a generator to samples: Adam with decay, best weights by validation error, resumable to the bit."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from networks.core.distributed import Group, current_group
from networks.core.sharing import load_unique
from networks.paper.fit import Fit, TrainingError, split_samples
from networks.paper.generator import BoundaryGenerator
from networks.paper.spec import GeneratorSpec
from networks.paper.state import TRAINING, restore, samples_digest, store
from networks.training.plan import Epoch, Progress, TrainingPlan

__all__ = ["TRAINING", "Epoch", "Progress", "TrainingError", "TrainingPlan", "split_samples", "train"]


def train(
    spec: GeneratorSpec,
    parameters: np.ndarray,
    targets: np.ndarray,
    plan: TrainingPlan,
    *,
    initial: BoundaryGenerator | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    group: Group | None = None,
) -> tuple[BoundaryGenerator, tuple[Epoch, ...]]:
    """Train a generator.

    Collective over `group`: every rank calls it with the same arguments, takes its share of every batch, and
    returns the same generator. Apart from rounding the result is that of one process.

    Args:
        spec: what to build.
        parameters: (sample, parameter), physical.
        targets: (sample, field, time, node), physical, float32.
        plan: how to train; its batch is that of all ranks together.
        initial: a generator of the same specification, compressed or not, to start from instead of drawn weights; it
            is left as it is, its scalers are kept, and its weights are those to better on the validation split.
        checkpoint: file that holds the state of training, written by the leading rank every
            `plan.checkpoint_every` seconds and at the end; every rank must see it to resume.
        resume: continue from `checkpoint` where it exists; on a CPU, with epochs given, the result is the
            same to the bit as without the interruption.
        progress: called after each epoch, on the leading rank.
        group: processes that train together; default those that torchrun started.

    Returns:
        The generator with the best weights, on the plan's device and in evaluation mode, and the history.

    Raises:
        ValueError: shapes that do not fit the specification, too few samples, or the Euler regularisation together
            with batch normalisation; or an initial generator of another specification.
        TrainingError: the loss is not finite.
        CheckpointError: `checkpoint` is damaged or belongs to another training.
        DistributedError: torchrun's processes cannot be connected.
    """
    group = current_group() if group is None else group
    fit = Fit(spec, parameters, targets, plan, group, initial)
    path = None if checkpoint is None else Path(checkpoint)
    if resume and path is None:
        raise ValueError("resume needs the checkpoint to continue from")
    digest = samples_digest(parameters, targets) if path is not None else ""
    with with_threads(plan.threads):
        if resume and path is not None and group.agree(path.exists()):
            restore(path, fit, digest)
        else:
            fit.settle()
        stored = fit.elapsed
        while not fit.finished():
            fit.epoch()
            if not group.leads:
                continue
            if path is not None and (fit.finished() or fit.elapsed - stored >= plan.checkpoint_every):
                store(path, fit, digest)
                stored = fit.elapsed
            if progress is not None:
                progress(fit.progress())
    load_unique(fit.model, fit.best)
    return fit.model.eval(), tuple(fit.history)


@contextlib.contextmanager
def with_threads(number: int | None) -> Iterator[None]:
    """Change torch's number of threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
