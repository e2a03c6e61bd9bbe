"""One model of [A]'s tables: trained, validated on the zone and after the zoom, and recorded. Local to one rank."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from networks import checkpoint
from networks.core.device import select_device
from networks.core.distributed import Group
from networks.paper.generator import BoundaryGenerator, build
from networks.paper.predict import predict
from networks.paper.printed_tables import PaperSplit
from networks.paper.spec import GeneratorSpec
from networks.paper.task import train
from networks.training.fit import TrainingError
from networks.training.plan import Progress, TrainingPlan
from solvers.gamma.trace import Trace
from solvers.problems.zone import ZoneModel
from submodel import __version__
from submodel.case.case import Case
from submodel.data.dataset import Dataset
from submodel.geometry.metrics import FieldErrors, field_errors
from submodel.geometry.zone_target import Sizes, gamma_nodes
from submodel.learn.paper import targets
from submodel.learn.paper_spec import FIELDS, reference, specification, training_plan
from submodel.learn.train import generator_file, training_record
from submodel.studies.paper.jobs import Errors, Job, Outcome, read_outcome, write_outcome

BATCH = 8
"""Samples that a generator predicts at once: a zone of 1089 nodes and 256 levels takes 2 MB a sample."""
FREE = ("device", "threads", "checkpoint_every")
"""Entries of a plan that change no number that matters."""

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Options:
    """Options of a user, for all jobs alike.

    Attributes:
        epochs: instead of 1000 for the short schedule; the long one has ten times as many.
        seed: of weights, batches and the validation split.
        device: auto, cpu or cuda.
        threads: of torch, on a CPU.
        train_samples: how many training samples the errors on the training split are means over, at most.
    """

    epochs: int = 1000
    seed: int = 0
    device: str = "auto"
    threads: int = 1
    train_samples: int = 25


class Bench:
    """Trains and validates one job after the other, with what they share: data, the zone, files. Local.

    Args:
        case: the case.
        dataset: its runs, with fields in the zone.
        folder: where generators and outcomes go.
        options: of all jobs.
        zone: the zone under [A]'s condition, u prescribed on Γ; on one rank.
    """

    def __init__(self, case: Case, dataset: Dataset, folder: Path, options: Options, zone: ZoneModel) -> None:
        self.case, self.dataset, self.folder, self.options, self.zone = case, dataset, folder, options, zone
        self.parameters = dataset.parameters("train")
        self.sizes = Sizes.of(dataset.geometry)
        dataset.gamma.closed_loop_size()  # raises where Γ is not one
        self._targets: tuple[bool, NDArray[np.float32]] | None = None

    def samples(self, split: PaperSplit) -> NDArray[np.int64]:
        """Numbers of the samples that errors are taken over: all of the test split, of the training split some,
        evenly spread."""
        num = self.dataset.num_samples(split)
        wanted = num if split == "test" else min(num, self.options.train_samples)
        return np.linspace(0, num - 1, wanted).round().astype(np.int64)

    def outcome(self, job: Job) -> Outcome | None:
        """The outcome of a job that is done, or None."""
        spec, plan = self._ordered(job)
        return read_outcome(self._file(job, ".json"), self._key(spec, plan, evaluated=True))

    def do(self, job: Job, tell: Tell) -> Outcome:
        """Train and validate what is not done, and write its outcome.

        Args:
            job: which one.
            tell: called with the fraction done of the job and a note.

        Raises:
            DatasetError: the dataset lacks zone fields, or is damaged.
            ValueError: the model cannot be built for this zone.
        """
        if (done := self.outcome(job)) is not None:
            return done
        spec, plan = self._ordered(job)
        key = self._key(spec, plan, evaluated=True)
        try:
            generator, metadata = self._trained(job, spec, plan, tell)
            outcome = self._validated(job, generator, metadata, tell)
        except TrainingError as error:  # a finding, and it would come again
            size = build(spec).num_parameters
            outcome = Outcome(job, size, plan.epochs or 0, device=_device_name(plan), failure=str(error))
        write_outcome(self._file(job, ".json"), key, outcome)
        return outcome

    def _trained(
        self, job: Job, spec: GeneratorSpec, plan: TrainingPlan, tell: Tell
    ) -> tuple[BoundaryGenerator, dict[str, Any]]:
        """The generator of a job, from its file where that is whole and the same training's."""
        key = self._key(spec, plan, evaluated=False)
        path = self._file(job, ".safetensors")
        with contextlib.suppress(checkpoint.CheckpointError):  # missing or damaged: made anew
            generator, metadata = checkpoint.load(path, select_device(plan.device))
            if metadata.get("key") == key:
                return generator, metadata

        def progress(now: Progress) -> None:
            tell(0.95 * now.fraction, f"{job}: {now.words}")

        unfinished = self._file(job, f".{key[:12]}.unfinished.safetensors")
        options: dict[str, Any] = {"checkpoint": unfinished, "resume": True, "progress": progress, "group": Group()}
        try:
            generator, history = train(spec, self.parameters, self._targets_of(job), plan, **options)
        except checkpoint.CheckpointError:  # damaged: from the start
            unfinished.unlink()
            generator, history = train(spec, self.parameters, self._targets_of(job), plan, **options)
        file = replace(generator_file(self.case, self.dataset), training=training_record(plan, history))
        metadata = file.to_document() | {"device": _device_name(plan), "key": key}
        checkpoint.save(path, generator, metadata=metadata)
        for left in self.folder.glob(f"{job.name}.*.unfinished.safetensors"):  # those of other options as well
            left.unlink(missing_ok=True)
        return generator, metadata

    def _validated(self, job: Job, generator: BoundaryGenerator, metadata: dict[str, Any], tell: Tell) -> Outcome:
        losses = metadata["history"]["validation"] or metadata["history"]["train"]
        num_epochs = len(losses)
        errors: dict[str, Errors] = {}
        num_samples: dict[str, int] = {}
        splits: tuple[PaperSplit, ...] = ("train", "test")
        for split in splits:
            samples = self.samples(split)
            num_samples[split] = len(samples)
            gathered: dict[str, list[FieldErrors]] = {}
            for done, (index, predicted) in enumerate(self._predictions(generator, split, samples)):
                tell(0.95, f"{job}: {split} sample {done + 1} of {len(samples)}")
                for key, error in self._errors(job, split, index, predicted):
                    gathered.setdefault(key, []).append(error)
            errors |= {key: _mean(each) for key, each in gathered.items()}
        return Outcome(
            job,
            generator.num_parameters,
            planned_epochs=metadata["plan"]["epochs"],
            epochs=num_epochs,
            best_epoch=int(np.argmin(losses)) + 1,
            epoch_seconds=metadata["seconds"] / num_epochs,
            device=metadata["device"],
            num_samples=num_samples,
            errors=errors,
        )

    def _predictions(
        self, generator: BoundaryGenerator, split: PaperSplit, samples: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Number and prediction (field, time, node) of each sample."""
        parameters = self.dataset.parameters(split)
        device = next(generator.parameters()).device
        for start in range(0, len(samples), BATCH):
            part = samples[start : start + BATCH]
            for index, predicted in zip(part, predict(generator, parameters[part], device), strict=True):
                yield int(index), predicted.reshape(*predicted.shape[:2], -1).astype(np.float64)

    def _errors(
        self, job: Job, split: PaperSplit, index: int, predicted: NDArray[np.float64]
    ) -> Iterator[tuple[str, FieldErrors]]:
        """Errors of one sample: of a prediction on the zone itself, then of the zone run that it drives."""
        true = self.dataset.zone_fields(split, index)
        on_curve = predicted
        if job.predicts_zone:
            for name, mine, theirs in zip(FIELDS, predicted, true, strict=True):
                yield f"{split}.full.{name}", field_errors(mine, theirs)
            nodes = gamma_nodes(self.dataset.zone_points, self.dataset.gamma.points)
            on_curve = predicted[..., nodes]
        trace = Trace(self.dataset.times, self.dataset.gamma, on_curve[0], on_curve[1], None)
        run = self.zone.run(trace)
        for name, field, theirs in zip(FIELDS, (run.displacement, run.velocity), true, strict=True):
            zoomed = self.zone.at(field, self.dataset.zone_points)
            if zoomed is None:
                raise RuntimeError("a job's zone lives on one rank: build it on MPI.COMM_SELF")
            yield f"{split}.zoom.{name}", field_errors(zoomed, theirs)

    def _targets_of(self, job: Job) -> NDArray[np.float32]:
        """Training targets (sample, field, time, node), of the zone or of Γ; those of the last job are kept."""
        if self._targets is None or self._targets[0] != job.predicts_zone:
            self._targets = None  # before the others are read, which are large
            self._targets = (job.predicts_zone, targets(self.dataset, FIELDS, zone=job.predicts_zone))
        return self._targets[1]

    def _ordered(self, job: Job) -> tuple[GeneratorSpec, TrainingPlan]:
        """The model and the training of a job."""
        options = self.options
        plan = training_plan(
            job.variant,
            job.schedule,
            epochs=options.epochs,
            dt=self.case.time.dt,
            seed=options.seed,
            device=options.device,
            threads=options.threads,
        )
        spec = specification(job.model, job.variant, self.sizes)
        return replace(spec, reference=reference(self.case.parameters, self.dataset.gamma)), plan

    def _key(self, spec: GeneratorSpec, plan: TrainingPlan, *, evaluated: bool) -> str:
        """Digits that tell a training from others; with `evaluated`, its outcome."""
        deciding: dict[str, Any] = {
            "spec": spec.to_dict(),
            "plan": {name: value for name, value in asdict(plan).items() if name not in FREE},
            "dataset": self.dataset.manifest.key,
            "version": __version__,
        }
        if evaluated:
            deciding["train_samples"] = len(self.samples("train"))
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def _file(self, job: Job, ending: str) -> Path:
        return self.folder / f"{job.name}{ending}"


def _mean(errors: list[FieldErrors]) -> Errors:
    """Over the samples."""
    return Errors(
        float(np.mean([error.mean_epsilon for error in errors])),
        float(np.mean([error.relative_l2 for error in errors])),
    )


def _device_name(plan: TrainingPlan) -> str:
    """The processor that a training runs on, by its maker's name."""
    chosen = select_device(plan.device)
    if chosen.type == "cuda":
        return str(torch.cuda.get_device_name(chosen))
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    threads = plan.threads or torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"
