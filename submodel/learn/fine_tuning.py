"""Fine-tuning of a compressed generator: its own training again, started from what compression left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from networks import checkpoint
from networks.core.distributed import current_group
from networks.training.plan import Progress
from submodel.case.case import Case, CaseError
from submodel.learn import operator as train_operator
from submodel.learn import paper as train_paper
from submodel.learn.budget import Length
from submodel.learn.train import OPERATOR, Trained, open_training_data, progress_record

RATES = {"paper": (3e-3, 3e-4), "operator": (1e-3, 1e-6)}
"""First and last learning rate, by family: factors bear more than the weights that they stand for. On the corner case,
15 times fewer numbers, 40 epochs, 3e-3 to 3e-4 left a validation error of 0.100, 3e-3 to 1e-4 0.108, 1e-3 more."""


@dataclass(frozen=True)
class FineTuning:
    """How to fine-tune; one of `seconds` and `epochs` is given.

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
        """What the compressed generator's file says of it."""
        return {"dataset": self.dataset.name, "seconds": self.seconds, "epochs": self.epochs}


def progress_path(output: Path) -> Path:
    """File of the state of an unfinished fine-tuning."""
    return output.with_name(f"{output.stem}.unfinished.safetensors")


def fine_tune(
    model: Any,
    case: Case,
    about: dict[str, Any],
    output: Path,
    tuning: FineTuning,
    *,
    device: str,
    resume: bool,
    progress: Callable[[Progress], None] | None,
) -> Trained:
    """Train a compressed generator further, and write it.

    Args:
        model: As it was compressed.
        case: Of its training.
        about: Its metadata; the plan of its training is among them, whose loss, batches and validation split stay.
        output: Its file.
        tuning: How long, and on what.
        device: auto, cpu or cuda.
        resume: Go on where an interruption was, with the state if one was written.
        progress: Called after every epoch.

    Raises:
        CaseError, CheckpointError, DatasetError, TrainingError, ValueError: As `train_generator`.
    """
    operator = model.spec.model == OPERATOR
    family: Any = train_operator if operator else train_paper
    length = Length(tuning.epochs, tuning.seconds, about["plan"]["seed"], device, tuning.threads)
    unfinished = progress_path(output)
    with open_training_data(tuning.dataset, case) as dataset:
        if not operator and not hasattr(dataset, "traces"):
            raise CaseError(
                f"{tuning.dataset} holds responses by reciprocity, which {model.spec.model} cannot learn from"
            )
        job = family.prepare(case, dataset, length)
        key = dataset.manifest.key
    job = replace(
        job, spec=model.spec, plan=tuning_plan(job.plan, about["plan"], RATES["operator" if operator else "paper"])
    )
    generator, history = job.train(
        initial=model, checkpoint=unfinished, resume=resume and unfinished.exists(), progress=progress
    )
    if current_group().leads:
        record = tuning.words() | {"key": key} | progress_record(job.plan, history)
        compression = about["compression"] | {"fine_tuning": record}
        checkpoint.save(output, generator, metadata=about | {"compression": compression})
        unfinished.unlink(missing_ok=True)
    return Trained(output, generator, history)


def tuning_plan(plan: Any, original: dict[str, Any], rates: tuple[float, float]) -> Any:
    """The plan of a training again, for another time and with other learning rates.

    Args:
        plan: As a training from the start would have it; its length, device and threads count.
        original: Entries of the plan that the generator was trained with.
        rates: First and last learning rate.
    """
    length = ("epochs", "seconds", "device", "threads", "checkpoint_every")
    known = {field.name for field in fields(plan)} - {*length, "learning_rate", "final_learning_rate"}
    same = {name: value for name, value in original.items() if name in known}
    if "weight_decay" in known:  # a model of the paper: its ranks are low by now, and a short training wants more steps
        same |= {"weight_decay": 0.0, "batch_size": max(1, same["batch_size"] // 2)}
    return replace(plan, **same, learning_rate=rates[0], final_learning_rate=rates[1])
