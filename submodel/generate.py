"""Runs the full model for the samples of a case, in parallel, and keeps what was done when it is killed."""

from __future__ import annotations

import itertools
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

from solvers.full import FullModel
from solvers.stability import ResolutionWarning
from submodel import build
from submodel.case import Case
from submodel.claim import claim, plan_of
from submodel.dataset import DatasetError, Geometry, InterfaceArrays, ShardWriter, write_master
from submodel.farm import Failure, agree, farm, on_root
from submodel.layout import FIELDS
from submodel.plan import Plan, SampleId, shards_folder
from submodel.sampling import SPLITS
from submodel.seal import Keyed, shard_fault
from submodel.sections import GmshDomain

SMALLER = "leave out the fields in the zone with --no-fields"


Sample = TypeVar("Sample", covariant=True)


class Samples(Keyed, Protocol[Sample]):
    """A plan that names what is to be made."""

    @property
    def samples(self) -> tuple[Sample, ...]: ...


class GenerationError(RuntimeError):
    """A sample could not be made; what was made before is kept."""


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
            model.require_sources(np.concatenate([plan.vectors(split) for split in SPLITS])[:, 1:])
        geometry = shared_geometry(case, model)
        sizes = geometry.shapes(plan.fields).values()
        on_root(comm, lambda: check_space(path, len(todo), len(todo) * sum(4 * math.prod(size) for size in sizes)))
        built = time.perf_counter()
        writer = ShardWriter(shards_folder(path), plan, geometry.shapes(plan.fields))
        job = _Job(case, plan, todo, model, geometry.times, writer)
        failure = farm(len(todo), job.do, comm, group, counted(progress, len(todo), comm))
        looped = time.perf_counter()
        del model, job
        group.Free()
        if failure:
            raise GenerationError(_words(failure, todo[failure.item], plan)) from failure.error
        on_root(comm, lambda: write_master(path, plan, geometry))
    return Generated(plan, len(todo), kept, built - start, looped - built)


@dataclass(frozen=True)
class _Job:
    """The samples to run and write, and what with."""

    case: Case
    plan: Plan
    todo: list[SampleId]
    model: FullModel
    times: NDArray[np.float64]
    writer: ShardWriter

    def do(self, item: int) -> None:
        """Run and write one sample. Collective on the model's comm."""
        sample, fields = self.todo[item], self.plan.fields
        omega, x, y = self.plan.parameters[sample.split][sample.index]
        run = self.model.run(build.point_source(self.case, omega, x, y), fields=fields)
        if run is None:  # not the root of the group
            return
        if not np.array_equal(run.trace.times, self.times):
            raise DatasetError("the levels of the run are not those of the case: correct the solver")
        arrays = {name: getattr(run.trace, name) for name in FIELDS}
        if fields:
            arrays |= {"zone_displacement": run.displacement, "zone_velocity": run.velocity}
        self.writer.write(sample, arrays)


def counted(progress: Callable[[int, int], None] | None, total: int, comm: MPI.Comm) -> Callable[[], None]:
    """A call after each sample that tells progress how many are done, beginning with none."""
    count = itertools.count()

    def done() -> None:
        if progress and comm.rank == 0:
            progress(next(count), total)

    done()
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
    interface = InterfaceArrays(
        points=np.asarray(model.interface.points, dtype=np.float64),
        arc=np.asarray(model.interface.arc, dtype=np.float64),
        loop=np.asarray(model.interface.loop, dtype=np.int64),
        weights=np.asarray(model.interface.weights, dtype=np.float64),
    )
    zone_points = np.asarray(model.zone_points, dtype=np.float64)
    return Geometry(build.time_grid(case).times, interface, zone_points, build.medium_map(case, model.domain))


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


def _words(failure: Failure, sample: SampleId, plan: Plan) -> str:
    omega, x, y = plan.parameters[sample.split][sample.index]
    return (
        f"{sample} (omega {omega:.6g}, source ({x:.6g}, {y:.6g})) could not be made: {failure.message}; "
        "the samples made so far are kept, and the same command goes on from them"
    )
