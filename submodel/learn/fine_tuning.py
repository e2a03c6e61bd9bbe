"""Fine-tuning of a compressed generator: its own training again, started from what compression left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from networks import checkpoint
from networks.core.distributed import current_group
from networks.training.plan import Progress, TrainingPlan
from submodel.data.generator_file import GeneratorFile
from submodel.learn.budget import Length
from submodel.learn.preparation import preparer, require_learnable
from submodel.learn.train import Trained, open_training_data, run_training, training_record, unfinished_path


@dataclass(frozen=True)
class FineTuning:
    """Length and data of a fine-tuning; one of `seconds` and `epochs` is given.

    Args:
        dataset: What to learn from; that of the training, or another of its case.
        seconds: Wall time.
        epochs: Passes over the samples.
        threads: CPU threads.

    Raises:
        ValueError: Numbers out of range.
    """

    dataset: Path
    seconds: float | None = None
    epochs: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.epochs is None):
            raise ValueError("give the fine-tuning either seconds or epochs")
        if not (self.seconds or self.epochs or 0) > 0:
            raise ValueError(
                f"--fine-tune must be positive, got {self.seconds if self.epochs is None else self.epochs}"
            )

    def words(self) -> dict[str, Any]:
        """Entries in the compressed generator's file."""
        return {"dataset": self.dataset.name, "seconds": self.seconds, "epochs": self.epochs}


def fine_tune(
    model: Any,
    file: GeneratorFile,
    output: Path,
    tuning: FineTuning,
    *,
    device: str,
    progress: Callable[[Progress], None] | None,
) -> Trained:
    """Train a compressed generator further, from where an interruption was, and write it.

    Args:
        model: As it was compressed.
        file: Its document; of the plan of its training, batches and validation split stay.
        output: Its file.
        tuning: How long, and on what.
        device: auto, cpu or cuda.
        progress: Called after every epoch.

    Raises:
        CaseError, CheckpointError, DatasetError, TrainingError, ValueError: As `train_generator`.
    """
    own, original = preparer(model.spec.family), dict(file.trained().plan)
    length = Length(tuning.epochs, tuning.seconds, original["seed"], device, tuning.threads)
    unfinished = unfinished_path(output)
    with open_training_data(tuning.dataset, file.case) as dataset:
        require_learnable(own, dataset, model.spec.model)
        ready = own.prepare(file.case, dataset, length)
        key = dataset.manifest.key
    ready = replace(ready, spec=model.spec, plan=own.fine_tuning(with_entries(ready.plan, original)))
    generator, history = run_training(ready, unfinished, restart=False, initial=model, progress=progress)
    if current_group().leads:
        record = tuning.words() | {"key": key} | training_record(ready.plan, history).to_document()
        compression = {**(file.compression or {}), "fine_tuning": record}
        checkpoint.save(output, generator, metadata=file.compressed(compression).to_document())
        unfinished.unlink(missing_ok=True)
    return Trained(output, generator, history)


def with_entries(plan: TrainingPlan, original: dict[str, Any]) -> TrainingPlan:
    """A plan with the entries of another, its length and place excepted.

    Args:
        plan: Its epochs, seconds, device and threads stay.
        original: Entries of the plan that a generator was trained with, as its file holds them.
    """
    known = {field.name for field in fields(plan)} - {"epochs", "seconds", "device", "threads", "checkpoint_every"}
    return replace(plan, **{name: value for name, value in original.items() if name in known})
