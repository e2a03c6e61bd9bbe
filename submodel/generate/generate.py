"""Makes datasets in parallel, of samples or of reciprocal runs, and keeps what was done when it is killed."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpi4py import MPI

from solvers.space.stability import ResolutionWarning
from solvers.stepping.schemes import DivergenceError
from submodel.case.case import Case
from submodel.case.errors import SubmodelError
from submodel.data.dataset_file import write_master
from submodel.data.manifest import DatasetError, Manifest, Request, Task, shards_folder
from submodel.data.shards import ShardWriter
from submodel.data.storage.checksum import shard_fault
from submodel.generate.production import Production
from submodel.generate.reserve import begun, claimed, tidy
from submodel.generate.samples import SampleProduction
from submodel.solve.task_farm import farm, on_root

RUN_ERRORS = (ArithmeticError, DivergenceError, ValueError)


class GenerationError(SubmodelError, RuntimeError):
    """A sample could not be made; what was made before is kept."""


class SampleError(SubmodelError):
    """A sample could not be made; the message names it."""


@dataclass(frozen=True)
class GenerationReport:
    """The outcome of a generation.

    Args:
        manifest: what the dataset holds.
        num_made: samples, or reciprocal runs, that were made.
        num_kept: those that were there already.
        setup_seconds: checks and building of the model.
        loop_seconds: running and writing.
    """

    manifest: Manifest
    num_made: int
    num_kept: int
    setup_seconds: float
    loop_seconds: float


def generate(
    case: Case,
    path: str | Path,
    request: Request | None = None,
    *,
    kind: type[Production[Any]] = SampleProduction,
    comm: MPI.Comm,
    announce: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GenerationReport:
    """Make a dataset, or what is missing or damaged of it. Collective on comm.

    Its place is claimed once everything is checked, and let go of when nothing was made.

    Args:
        case: what is solved and sampled.
        path: the dataset; its samples lie in a folder beside it, of the same name with the ending .shards.
        request: the arguments; the case's when None.
        kind: samples, or `submodel.generate.reciprocal.ReciprocalProduction`.
        comm: whose ranks share the runs.
        announce: called on the root, before the first reciprocal run, with `Production.summary`.
        progress: called on the root with the samples done and those to do.

    Returns:
        The report, the same on every rank but for the times.

    Raises:
        ValueError: an argument cannot be used.
        CaseError: a symmetry that the case names does not hold.
        DatasetError: something else lies at path, or it was begun with other arguments, or cannot be written.
        GenerationError: a run failed, or its result could not be stored.
    """
    request = request or Request()
    on_root(comm, lambda: check_ranks(request.ranks_per_sample, comm))
    group = comm.Split(comm.rank // request.ranks_per_sample, comm.rank)
    with warnings.catch_warnings():
        if comm.rank > 0:  # every group has a root, which warns for itself
            warnings.simplefilter("ignore", ResolutionWarning)
        report = _generate(kind(case, request, comm, group), Path(path), announce, progress)
    group.Free()
    return report


def _generate(
    production: Production[Any],
    path: Path,
    announce: Callable[[str], None] | None,
    progress: Callable[[int, int], None] | None,
) -> GenerationReport:
    """As `generate`, once the ranks are in groups. Collective on comm."""
    start, comm, folder = time.perf_counter(), production.comm, shards_folder(path)
    asked = production.draw()
    manifest, finished = on_root(comm, lambda: begun(path, asked))
    todo = faulty(manifest, folder, comm)
    num_kept = len(manifest.tasks) - len(todo)
    if (summary := production.summary(manifest)) and announce and comm.rank == 0:
        announce(summary)
    if finished and not todo:
        on_root(comm, lambda: tidy(path, manifest))
        return GenerationReport(manifest, 0, num_kept, time.perf_counter() - start, 0.0)
    size, geometry = production.prepare(manifest), production.geometry
    on_root(comm, lambda: require_space(path, manifest, len(todo), manifest.num_bytes(todo, geometry)))
    with ExitStack() as stack:
        on_root(comm, lambda: stack.enter_context(claimed(path, manifest)))
        built = time.perf_counter()
        make_tasks(production, manifest, todo, size, folder, Counter(progress, len(todo), comm))
        looped = time.perf_counter()
        on_root(comm, lambda: write_master(path, manifest, geometry))
    return GenerationReport(manifest, len(todo), num_kept, built - start, looped - built)


def make_tasks(
    production: Production[Any], manifest: Manifest, todo: list[Task], size: int, folder: Path, counter: Counter
) -> None:
    """Make the shards of some tasks, shared by the groups of ranks. Collective on the production's comm.

    Args:
        production: makes them.
        manifest: what they belong to.
        todo: all of them.
        size: number that is made at once.
        folder: where the shards lie.
        counter: hears of each batch.

    Raises:
        GenerationError: one could not be made.
    """
    comm, group = production.comm, production.group
    batches = batches_of(todo, size, comm.size // group.size)
    work = _Work(production, manifest, batches, ShardWriter(folder, manifest, production.geometry))
    failure = farm(len(batches), work.make, comm, group, lambda item: counter.add(len(batches[item])))
    if failure:
        raise GenerationError(
            f"{failure.message}; the {manifest.UNIT} made so far are kept, and the same command goes on from them"
        ) from failure.error


class Counter:
    """Tells progress on the root how many tasks are done, beginning with none.

    Args:
        progress: called with the tasks done and those to do.
        total: those to do.
        comm: all ranks.
    """

    def __init__(self, progress: Callable[[int, int], None] | None, total: int, comm: MPI.Comm) -> None:
        self._progress = progress if comm.rank == 0 else None
        self._count, self._total = 0, total
        self.add(0)

    def add(self, num: int) -> None:
        """So many more are done. Root."""
        self._count += num
        if self._progress:
            self._progress(self._count, self._total)


@dataclass(frozen=True)
class _Work:
    """Batches of tasks that are made together, and what with."""

    production: Production[Any]
    manifest: Manifest
    batches: list[list[Task]]
    writer: ShardWriter

    def make(self, number: int) -> None:
        """Run and write one batch; if that fails, its tasks in turn, so that those before the one at fault are kept.

        Collective on the production's group.

        Raises:
            SampleError: a task could not be done.
        """
        try:
            self._make(self.batches[number])
        except RUN_ERRORS:
            for task in self.batches[number]:
                try:
                    self._make([task])
                except RUN_ERRORS as error:
                    raise self._error(task, error) from error

    def _make(self, batch: list[Task]) -> None:
        for task, arrays in self.production.make(self.manifest, batch):
            try:
                self.writer.write(task, arrays)
            except (DatasetError, OSError) as error:
                raise self._error(task, error) from error

    def _error(self, task: Task, error: Exception) -> SampleError:
        return SampleError(f"{self.manifest.label(task)} could not be made: {error}")


def batches_of(todo: list[Task], size: int, num_groups: int) -> list[list[Task]]:
    """Tasks that are done together: as many as are stepped at once, or fewer where all groups shall have some.

    Args:
        todo: all of them.
        size: number that is stepped at once.
        num_groups: groups of ranks that share them.
    """
    size = max(1, min(size, -(-len(todo) // num_groups)))
    return [todo[start : start + size] for start in range(0, len(todo), size)]


def faulty(manifest: Manifest, folder: Path, comm: MPI.Comm) -> list[Task]:
    """The tasks whose shards are missing or damaged, looked at by all ranks. Collective on comm."""
    mine = [task for task in manifest.tasks[comm.rank :: comm.size] if shard_fault(folder, manifest.key, task)]
    everywhere = {task for part in comm.allgather(mine) for task in part}
    return [task for task in manifest.tasks if task in everywhere]


def check_ranks(ranks_per_sample: int, comm: MPI.Comm) -> None:
    if ranks_per_sample < 1 or comm.size % ranks_per_sample:
        raise ValueError(
            f"--ranks-per-sample {ranks_per_sample} does not divide the {comm.size} ranks: "
            "start mpirun -n with a multiple of it"
        )


def require_space(path: Path, manifest: Manifest, num: int, num_bytes: int) -> None:
    """Refuse to begin what the disk cannot hold. Local.

    Raises:
        DatasetError: there is not enough room.
    """
    free = shutil.disk_usage(path.parent).free
    if num_bytes > free:
        raise DatasetError(
            f"{num} {manifest.UNIT} need {num_bytes / 1e9:.1f} GB in {path.parent}, which has {free / 1e9:.1f} GB "
            f"left: make room, choose another -o, or {manifest.SMALLER}"
        )
