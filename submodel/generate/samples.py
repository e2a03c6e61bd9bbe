"""Runs the full model for the samples of a case, in parallel, and keeps what was done when it is killed."""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.problems.full import FullModel
from solvers.problems.recording import FullRun
from solvers.space.stability import ResolutionWarning
from solvers.stepping.schemes import DivergenceError
from submodel.case.case import Case
from submodel.case.errors import SubmodelError
from submodel.case.sampling import SPLITS
from submodel.case.sections import GmshDomain
from submodel.data.checksum import Keyed, shard_fault
from submodel.data.dataset import DatasetError, Geometry, write_master
from submodel.data.manifest import Plan, Precision, SampleId, shards_folder
from submodel.data.reserve import claim, plan_of
from submodel.data.shards import ShardWriter
from submodel.geometry.arrays import FIELDS, ZONE_FIELD
from submodel.solve import from_case as build
from submodel.solve.task_farm import agree, farm, on_root

SMALLER = "leave out the fields in the zone with --no-fields"


Sample = TypeVar("Sample")
Named = TypeVar("Named", covariant=True)


class Samples(Keyed, Protocol[Named]):
    """A plan that names what is to be made."""

    @property
    def samples(self) -> tuple[Named, ...]: ...


class GenerationError(SubmodelError, RuntimeError):
    """A sample could not be made; what was made before is kept."""


class SampleError(SubmodelError):
    """A sample could not be made; the message names it."""


RUN_ERRORS = (ArithmeticError, DivergenceError, ValueError)


@dataclass(frozen=True)
class Generated:
    """What a generation did.

    Args:
        plan: what the dataset holds.
        num_made: samples that were run.
        num_kept: samples that were there already.
        setup_seconds: checks and building of the model.
        loop_seconds: running and writing of samples.
    """

    plan: Plan
    num_made: int
    num_kept: int
    setup_seconds: float
    loop_seconds: float


def generate(
    case: Case,
    path: str | Path,
    *,
    train: int | None = None,
    test: int | None = None,
    calibration: int | None = None,
    seed: int | None = None,
    ranks_per_sample: int = 1,
    fields: bool = True,
    precision: Precision = "double",
    comm: MPI.Comm,
    progress: Callable[[int, int], None] | None = None,
) -> Generated:
    """Make a dataset, or what is missing or damaged of it. Collective on comm.

    Args:
        case: what is solved and sampled.
        path: the dataset; its samples lie in a folder beside it, of the same name with the ending .shards.
        train: number of training samples; the case's when None.
        test: number of test samples; the case's when None.
        calibration: number of calibration samples; the case's when None.
        seed: of the samples; the case's when None.
        ranks_per_sample: how many ranks share a run.
        fields: whether displacement and velocity in the zone are stored.
        precision: of the explicit steps; single is nearly twice as fast, at errors of some 1e-6.
        comm: whose ranks share the samples.
        progress: called on the root with the samples done and those to do.

    Returns:
        What was done, the same on every rank but for the times.

    Raises:
        ValueError: an argument cannot be used.
        DatasetError: something else lies at path, or it was begun with other arguments, or cannot be written.
        GenerationError: a run failed, or its result could not be stored.
    """
    start = time.perf_counter()
    path = Path(path)
    with warnings.catch_warnings():
        if comm.rank > 0:  # every group has a root, which warns for itself
            warnings.simplefilter("ignore", ResolutionWarning)

        def prepare() -> tuple[Plan, bool]:
            if ranks_per_sample < 1 or comm.size % ranks_per_sample:
                raise ValueError(
                    f"--ranks-per-sample {ranks_per_sample} does not divide the {comm.size} ranks: "
                    f"start mpirun -n with a multiple of it"
                )
            asked = Plan.draw(
                case,
                train=train,
                test=test,
                calibration=calibration,
                seed=seed,
                fields=fields,
                ranks_per_sample=ranks_per_sample,
                precision=precision,
            )
            return claim(path, asked, plan_of)

        plan, finished = on_root(comm, prepare)
        todo = faulty(plan, shards_folder(path), comm)
        kept = len(plan.samples) - len(todo)
        if finished and not todo:
            return Generated(plan, 0, kept, time.perf_counter() - start, 0.0)
        group = comm.Split(comm.rank // ranks_per_sample, comm.rank)
        model = build_in_turn(case, comm, group)
        if isinstance(case.domain, GmshDomain):  # of a box the case itself knows what lies inside
            model.require_sources(case.parameters.sources(np.concatenate([plan.vectors(split) for split in SPLITS])))
        geometry = shared_geometry(case, model)
        sizes = geometry.shapes(plan.fields).values()
        on_root(comm, lambda: check_space(path, len(todo), len(todo) * sum(4 * math.prod(size) for size in sizes)))
        model.runs.prepare(plan.dtype)
        built = time.perf_counter()
        writer = ShardWriter(shards_folder(path), plan, geometry.shapes(plan.fields))
        batches = batches_of(todo, model.batch_size(plan.dtype, fields=plan.fields), comm.size // ranks_per_sample)
        job = _Job(case, plan, batches, model, geometry.times, writer)
        failure = farm(len(batches), job.do, comm, group, counted(progress, [len(each) for each in batches], comm))
        looped = time.perf_counter()
        del model, job
        group.Free()
        if failure:
            raise GenerationError(
                f"{failure.message}; the samples made so far are kept, and the same command goes on from them"
            ) from failure.error
        on_root(comm, lambda: write_master(path, plan, geometry))
    return Generated(plan, len(todo), kept, built - start, looped - built)


@dataclass(frozen=True)
class _Job:
    """The samples to run and write, in batches that are stepped together, and what with."""

    case: Case
    plan: Plan
    batches: list[list[SampleId]]
    model: FullModel
    times: NDArray[np.float64]
    writer: ShardWriter

    def do(self, item: int) -> None:
        """Run and write one batch. Collective on the model's comm.

        Raises:
            SampleError: A sample could not be made; those before it are.
        """
        make_together(self.batches[item], self._make, self._words)

    def _make(self, batch: list[SampleId]) -> None:
        plan = self.plan
        parameters = [plan.parameters[sample.split][sample.index] for sample in batch]
        sources = [build.point_source(self.case, vector) for vector in parameters]
        runs = self.model.run_many(sources, fields=plan.fields, dtype=plan.dtype)
        if runs is None:  # not the root of the group
            return
        for sample, run in zip(batch, runs, strict=True):
            if not np.array_equal(run.trace.times, self.times):
                raise SampleError("the levels of the run are not those of the case: correct the solver")
            try:
                self._write(sample, run)
            except (DatasetError, OSError) as error:
                raise SampleError(self._words(sample, error)) from error

    def _write(self, sample: SampleId, run: FullRun) -> None:
        arrays = {name: getattr(run.trace, name) for name in FIELDS}
        if self.plan.fields:
            arrays[ZONE_FIELD] = run.zone
        self.writer.write(sample, arrays)

    def _words(self, sample: SampleId, error: Exception) -> str:
        vector = self.plan.parameters[sample.split][sample.index]
        return f"{sample} ({self.case.parameters.words(vector)}) could not be made: {error}"


def make_together(
    batch: list[Sample], make: Callable[[list[Sample]], None], words: Callable[[Sample, Exception], str]
) -> None:
    """Make a batch; if that fails, its samples in turn, so that those before the one at fault are kept.

    Args:
        batch: What is to be made.
        make: Makes some samples, on all ranks of a group.
        words: Says which sample could not be made, and why.

    Raises:
        SampleError: A sample could not be made.
    """
    try:
        make(batch)
    except RUN_ERRORS:
        for sample in batch:
            try:
                make([sample])
            except RUN_ERRORS as error:
                raise SampleError(words(sample, error)) from error


def batches_of(todo: list[Sample], size: int, num_groups: int) -> list[list[Sample]]:
    """Samples that are made together: as many as are stepped at once, or fewer where all groups shall have some.

    Args:
        todo: What is to be made.
        size: How many are stepped at once.
        num_groups: Groups of ranks that share them.
    """
    size = max(1, min(size, -(-len(todo) // num_groups)))
    return [todo[start : start + size] for start in range(0, len(todo), size)]


def counted(progress: Callable[[int, int], None] | None, sizes: list[int], comm: MPI.Comm) -> Callable[[int], None]:
    """A call after each piece that tells progress how many samples are done, beginning with none.

    Args:
        progress: Called on the root with the samples done and those to do.
        sizes: Samples of each piece.
        comm: Whose root tells.
    """
    count = 0

    def done(item: int) -> None:
        nonlocal count
        count += sizes[item]
        tell()

    def tell() -> None:
        if progress and comm.rank == 0:
            progress(count, sum(sizes))

    tell()
    return done


def faulty(plan: Samples[Sample], folder: Path, comm: MPI.Comm) -> list[Sample]:
    """The samples that are missing or damaged, looked at by all ranks. Collective on comm."""
    mine = [sample for sample in plan.samples[comm.rank :: comm.size] if shard_fault(folder, plan, sample)]
    found = {sample for part in comm.allgather(mine) for sample in part}
    return [sample for sample in plan.samples if sample in found]


def build_in_turn(case: Case, comm: MPI.Comm, group: MPI.Comm) -> FullModel:
    """Build the full model in the root's group, which fills the cache of compiled forms, then in the others.

    Collective on comm.
    """
    first = comm.rank < comm.bcast(group.size)
    models = agree(comm, lambda: [build.full_model(case, group)] if first else [])
    return (models + agree(comm, lambda: [] if first else [build.full_model(case, group)]))[0]


def shared_geometry(case: Case, model: FullModel) -> Geometry:
    """What all samples share. Collective on the model's comm."""
    zone_points = np.asarray(model.zone_points, dtype=np.float64)
    return Geometry(build.time_grid(case).times, model.gamma, zone_points, build.medium_map(case, model.domain))


def check_space(path: Path, num: int, needed: int, remedy: str = SMALLER) -> None:
    """Refuse to begin what the disk cannot hold. Local.

    Args:
        path: Where it is to lie.
        num: Number of samples.
        needed: Bytes of them all.
        remedy: What to do beside making room.

    Raises:
        DatasetError: There is not enough room.
    """
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise DatasetError(
            f"{num} samples need {needed / 1e9:.1f} GB in {path.parent}, which has {free / 1e9:.1f} GB left: "
            f"make room, choose another -o, or {remedy}"
        )
