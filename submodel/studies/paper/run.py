"""Reproduce [A]'s tables: train and validate a selection of its models, farmed over ranks, model by model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mpi4py import MPI

from networks.core.device import select_device
from networks.paper.printed_tables import PaperSplit
from solvers.problems.zone import ZoneModel
from submodel.case.case import Case
from submodel.case.errors import SubmodelError
from submodel.data.dataset import Dataset
from submodel.data.manifest import DatasetError
from submodel.data.outputs import require_folder
from submodel.geometry.metrics import field_errors
from submodel.learn.paper_spec import FIELDS
from submodel.solve import from_case as build
from submodel.solve.task_farm import agree, farm, on_root
from submodel.studies.paper.bench import Bench, Options
from submodel.studies.paper.jobs import Job, Outcome
from submodel.studies.paper.page import Setting, write_page
from submodel.studies.paper.sizes import count_all

Advance = Callable[[float, str], None]
MODELS_FOLDER = "models"
SPLITS: tuple[PaperSplit, ...] = ("train", "test")


class ReproductionError(SubmodelError, ValueError):
    """A model could not be trained or validated; what was finished before is kept."""


@dataclass(frozen=True)
class Reproduced:
    """The outcome of a reproduction.

    Attributes:
        outcomes: of the jobs that are done, in the order of the selection.
        files: what was written, by what it is.
    """

    outcomes: tuple[Outcome, ...]
    files: dict[str, Path]


def reproduce(
    case: Case,
    dataset_path: Path,
    folder: Path,
    jobs: tuple[Job, ...],
    *,
    options: Options | None = None,
    comm: MPI.Comm,
    command: str = "",
    progress: Advance | None = None,
) -> Reproduced | None:
    """Train and validate models, each on one rank, and write Tables 1 to 18. Collective on comm.

    A job that is done leaves a outcome and a generator in ``folder/models``; the same call after a kill does what is
    missing and continues the training that was cut off.

    Args:
        case: the case.
        dataset_path: its runs, with fields in the zone.
        folder: where tables, outcomes and generators go.
        jobs: the selection, from `reproduction.select`.
        options: how to train and validate.
        comm: whose ranks share the jobs; with several GPUs each takes one.
        command: the command line, for the page.
        progress: called on the root with the number of jobs done, parts of one included, and a note.

    Returns:
        On the root what there is now, ``None`` elsewhere.

    Raises:
        CaseError: the folder cannot be written, or the dataset belongs to another case.
        DatasetError: the dataset cannot be used.
        ReproductionError: a job failed; those that were done before are kept.
        ValueError: the device is not there, or the zone is none that a model can predict.
    """
    options = options or Options()
    on_root(comm, lambda: require_folder(folder / MODELS_FOLDER))
    agree(comm, lambda: _choose_device(options.device, comm))
    zone = _zone_in_turn(case, comm)
    with agree(comm, lambda: _open(dataset_path, case)) as dataset:
        bench = Bench(case, dataset, folder / MODELS_FOLDER, options, zone)
        todo = on_root(comm, lambda: [job for job in jobs if bench.outcome(job) is None])
        count = _Count(len(jobs) - len(todo), progress if comm.rank == 0 else None)
        count.tell(0.0, "")
        alone = comm.Split(comm.rank, 0)
        failure = farm(len(todo), lambda item: count.work(bench, todo[item]), comm, alone, count.add)
        alone.Free()
        outcomes = tuple(outcome for job in jobs if (outcome := bench.outcome(job)) is not None)
        files = on_root(comm, lambda: _write(bench, jobs, outcomes, folder, command))
    if failure:
        raise ReproductionError(
            f"{todo[failure.item]}: {failure.message}; what was done before is kept, and the same command goes on "
            "from it"
        ) from failure.error
    return Reproduced(outcomes, files) if comm.rank == 0 else None


def _write(
    bench: Bench, jobs: tuple[Job, ...], outcomes: tuple[Outcome, ...], folder: Path, command: str
) -> dict[str, Path]:
    """Write the tables. Root."""
    setting = Setting(
        case=bench.case,
        dataset=bench.dataset.path.name,
        num_samples={split: bench.dataset.num_samples(split) for split in SPLITS},
        num_nodes=(bench.sizes.num_arc, bench.sizes.num_zone),
        options=bench.options,
        jobs=jobs,
        sizes=count_all(bench.sizes),
        still=_still(bench),
        command=command,
    )
    return write_page(setting, outcomes, folder)


class _Count:
    """Tells how many jobs are done, parts of the root's own included. Local."""

    def __init__(self, done: int, progress: Advance | None) -> None:
        self._done, self._progress = done, progress

    def work(self, bench: Bench, job: Job) -> None:
        """Do a job and tell how far it is."""
        bench.do(job, self.tell)

    def add(self, item: int) -> None:
        """One more is done."""
        self._done += 1
        self.tell(0.0, "")

    def tell(self, part: float, note: str) -> None:
        """Tell how many jobs are done, and the part of one more."""
        if self._progress is not None:
            self._progress(self._done + part, note)


def _open(path: Path, case: Case) -> Dataset:
    """The dataset, if it holds what the tables need."""
    dataset = Dataset.open(path)
    try:
        dataset.require_case(case)
        for split in SPLITS:
            if dataset.num_samples(split) == 0:
                raise DatasetError(f"{path} has no {split} samples: generate it with --{split} 1 or more")
        dataset.zone_fields("test", 0)  # raises where there are none
    except ValueError:
        dataset.close()
        raise
    return dataset


def _choose_device(device: str, comm: MPI.Comm) -> None:
    """Give each rank of a machine a GPU of its own, as far as they go. Collective on comm."""
    local = comm.Split_type(MPI.COMM_TYPE_SHARED)
    rank = local.rank
    local.Free()
    if select_device(device).type == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())


def _zone_in_turn(case: Case, comm: MPI.Comm) -> ZoneModel:
    """The zone under [A]'s condition on every rank alone; first on the root, which fills the cache of compiled forms.

    Collective on comm.
    """

    def model(mine: bool) -> list[ZoneModel]:
        return [build.zone_model(case, MPI.COMM_SELF, condition="dirichlet")] if mine else []

    first = agree(comm, lambda: model(comm.rank == 0))
    return (first + agree(comm, lambda: model(comm.rank > 0)))[0]


def _still(bench: Bench) -> dict[str, float]:
    """The error of predicting nothing at all on the test samples, by field: what a model has to beat. Local."""
    errors: dict[str, list[float]] = {name: [] for name in FIELDS}
    for index in bench.samples("test"):
        for name, true in zip(FIELDS, bench.dataset.zone_fields("test", int(index)), strict=True):
            errors[name].append(field_errors(np.zeros_like(true), true).mean_epsilon)
    return {name: float(np.mean(values)) for name, values in errors.items()}
