"""Training: a dataset in, a generator file out. Needs torch and h5py, not FEniCS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from networks import checkpoint
from networks.generator import BoundaryGenerator, GeneratorSpec, closed_loop_size
from networks.training import Epoch, Progress, TrainingPlan, train
from submodel import __version__
from submodel.case import Case, CaseError
from submodel.dataset import Dataset, DatasetError
from submodel.outputs import require_file


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Args:
        path: The generator's file.
        generator: The network with its best weights.
        history: One entry an epoch.
    """

    path: Path
    generator: BoundaryGenerator
    history: tuple[Epoch, ...]

    @property
    def best(self) -> Epoch:
        """The epoch whose weights were kept."""
        return min(self.history, key=lambda epoch: epoch.validation)


def train_generator(
    case: Case,
    dataset_path: Path,
    output: Path,
    *,
    epochs: int | None = None,
    seconds: float | None = None,
    device: str = "auto",
    threads: int = 1,
    seed: int | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train the case's model on a dataset and write the generator.

    Args:
        case: Says which model, which fields and how long.
        dataset_path: Its training split is used.
        output: The generator's file; beside it, the state of an unfinished training.
        epochs: Instead of the case's.
        seconds: Instead of the case's.
        device: auto, cpu or cuda.
        threads: CPU threads; the steps of a generator are too small to gain from more than one.
        seed: Instead of the case's.
        resume: Continue an unfinished training.
        progress: Called after every epoch.

    Raises:
        CaseError: The dataset belongs to another case, or neither epochs nor seconds are known.
        DatasetError: The dataset cannot be used.
        CheckpointError: The unfinished training is damaged or another one.
        TrainingError: The loss is not finite.
        ValueError: The device is not there, or numbers are out of range.
    """
    plan = _plan(case, epochs=epochs, seconds=seconds, device=device, threads=threads, seed=seed)
    unfinished = output.with_name(f"{output.stem}.unfinished.safetensors")
    if resume and not unfinished.exists():
        raise CaseError(f"there is no unfinished training {unfinished} to resume: leave out --resume")
    require_file(output, "generator.safetensors")
    with Dataset.open(dataset_path) as dataset:
        dataset.require_case(case)
        if dataset.num_samples("train") == 0:
            raise DatasetError(f"{dataset_path} has no training samples: generate it with --train 1 or more")
        parameters = dataset.parameters("train")
        traces = dataset.traces("train")
        targets = np.stack([traces[name] for name in case.training.fields], axis=1)
        interface = dataset.interface
        origin = {"file": dataset_path.name, "key": dataset.plan.key}
    spec = GeneratorSpec.named(
        case.training.model,
        num_levels=targets.shape[2],
        num_arc=closed_loop_size(interface.loop),
        fields=case.training.fields,
        shared="sl" in case.training.variant,
        batch_norm="bn" in case.training.variant,
    )
    generator, history = train(spec, parameters, targets, plan, checkpoint=unfinished, resume=resume, progress=progress)
    metadata: dict[str, Any] = {
        "version": __version__,
        "case": case.to_json(),
        "interface": {name: values.tolist() for name, values in asdict(interface).items()},
        "dataset": origin,
        "parameters": parameters.tolist(),
        "plan": asdict(plan),
        "history": {
            "train": [float(f"{epoch.loss:.6g}") for epoch in history],
            "validation": [float(f"{epoch.validation:.6g}") for epoch in history] if plan.validation else [],
        },
        "seconds": history[-1].elapsed,
    }
    checkpoint.save(output, generator, metadata=metadata)
    unfinished.unlink(missing_ok=True)
    return Trained(output, generator, history)


def _plan(
    case: Case, *, epochs: int | None, seconds: float | None, device: str, threads: int, seed: int | None
) -> TrainingPlan:
    said = case.training
    if epochs is None and seconds is None:
        epochs, seconds = said.epochs, said.seconds
    if (epochs is None) == (seconds is None):
        raise CaseError("how long to train is not said, or said twice: give --epochs or --seconds, one of them")
    return TrainingPlan(
        epochs=epochs,
        seconds=seconds,
        batch_size=said.batch_size,
        validation=said.validation,
        seed=said.seed if seed is None else seed,
        device=device,
        threads=threads,
    )
