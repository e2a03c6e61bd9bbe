"""Makes reciprocal datasets: runs from the nodes of the zone's boundary, in parallel, each kept when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.problems.full import FullModel
from solvers.problems.reciprocal import ReciprocalModel, preserves
from submodel.case.case import Case
from submodel.case.sections import GmshDomain
from submodel.data.manifest import shards_folder
from submodel.data.reciprocal import plan_of_reciprocal, write_reciprocal
from submodel.data.reciprocal_manifest import ReciprocalPlan, RunId
from submodel.data.reserve import claim
from submodel.data.shards import ShardWriter
from submodel.generate.samples import (
    GenerationError,
    batches_of,
    build_in_turn,
    check_space,
    counted,
    faulty,
    make_together,
    shared_geometry,
)
from submodel.geometry.arrays import Geometry
from submodel.geometry.symmetry import Symmetries, Symmetry, find
from submodel.solve.task_farm import agree, farm, on_root


@dataclass(frozen=True)
class ReciprocalGenerated:
    """What a generation did.

    Args:
        plan: what the dataset holds.
        num_made: runs that were made.
        num_kept: runs that were there already.
        setup_seconds: checks and building of the model.
        loop_seconds: running and writing.
    """

    plan: ReciprocalPlan
    num_made: int
    num_kept: int
    setup_seconds: float
    loop_seconds: float


def generate_reciprocal(
    case: Case,
    path: str | Path,
    *,
    num: int | None = None,
    seed: int | None = None,
    ranks_per_sample: int = 1,
    comm: MPI.Comm,
    announce: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReciprocalGenerated:
    """Make a reciprocal dataset, or what is missing or damaged of it. Collective on comm.

    Args:
        case: what is solved, and where the sources may lie.
        path: the dataset; its runs lie in a folder beside it, of the same name with the ending .shards.
        num: number of sources at which the responses are kept; 2048 when None.
        seed: of the sources; the case's when None.
        ranks_per_sample: how many ranks share a run.
        comm: whose ranks share the runs.
        announce: called on the root, before the first run, with how many runs are needed and what they cover.
        progress: called on the root with the runs done and those to do.

    Returns:
        What was done, the same on every rank but for the times.

    Raises:
        ValueError: an argument cannot be used.
        CaseError: a symmetry that the case names does not hold.
        DatasetError: something else lies at path, or it was begun with other arguments, or cannot be written.
        GenerationError: a run failed, or its result could not be stored.
    """
    path = Path(path)
    on_root(comm, lambda: _check_ranks(ranks_per_sample, comm))
    group = comm.Split(comm.rank // ranks_per_sample, comm.rank)

    def draw(symmetries: Symmetries) -> ReciprocalPlan:
        return ReciprocalPlan.draw(case, num=num, seed=seed, ranks_per_sample=ranks_per_sample, symmetries=symmetries)

    done = _generate(case, path, draw, comm, group, announce, progress)
    group.Free()
    return done


def _generate(
    case: Case,
    path: Path,
    draw: Callable[[Symmetries], ReciprocalPlan],
    comm: MPI.Comm,
    group: MPI.Comm,
    announce: Callable[[str], None] | None,
    progress: Callable[[int, int], None] | None,
) -> ReciprocalGenerated:
    """As `generate_reciprocal`, once the ranks are in groups and what is to be drawn is known. Collective on comm."""
    start = time.perf_counter()
    model = build_in_turn(case, comm, group)
    geometry = agree(comm, lambda: shared_geometry(case, model))
    symmetries = agree(comm, lambda: _symmetries(case, model, geometry))
    plan, finished = on_root(comm, lambda: claim(path, draw(symmetries), plan_of_reciprocal))
    num_levels = len(geometry.times)
    if announce and comm.rank == 0:
        announce(plan.words(num_levels))
    todo = faulty(plan, shards_folder(path), comm)
    kept = len(plan.samples) - len(todo)
    if finished and not todo:
        return ReciprocalGenerated(plan, 0, kept, time.perf_counter() - start, 0.0)
    sources = np.array(plan.sources)
    if isinstance(case.domain, GmshDomain):  # of a box the case itself knows what lies inside
        model.require_sources(sources)
    needed = plan.num_bytes(num_levels) * len(todo) // len(plan.samples)
    on_root(comm, lambda: check_space(path, len(todo), needed, "ask for fewer sources with --train"))
    images = np.concatenate([symmetry.apply(sources) for symmetry in symmetries.maps])
    reciprocal = agree(comm, lambda: ReciprocalModel(model, images))
    batches = batches_of(todo, reciprocal.batch_size(), comm.size // group.size)
    job = _Job(plan, batches, reciprocal, shards_folder(path))
    built = time.perf_counter()
    failure = farm(len(batches), job.do, comm, group, counted(progress, [len(each) for each in batches], comm))
    looped = time.perf_counter()
    if failure:
        raise GenerationError(
            f"{failure.message}; the runs made so far are kept, and the same command goes on from them"
        ) from failure.error
    on_root(comm, lambda: write_reciprocal(path, plan, geometry))
    return ReciprocalGenerated(plan, len(todo), kept, built - start, looped - built)


@dataclass(frozen=True)
class _Job:
    """The runs to make and write, in batches that are stepped together, and what with."""

    plan: ReciprocalPlan
    batches: list[list[RunId]]
    model: ReciprocalModel
    folder: Path

    def do(self, item: int) -> None:
        """Make and write one batch. Collective on the model's comm."""
        make_together(self.batches[item], self._make, lambda run, error: f"{run} could not be made: {error}")

    def _make(self, batch: list[RunId]) -> None:
        found = self.model.responses([(run.field, self.plan.orbits[run.orbit][0][0]) for run in batch])
        for run, values in zip(batch, found or (), strict=found is not None):
            self._write(run, values[:, 1:])

    def _write(self, run: RunId, values: NDArray[np.float64]) -> None:
        orbit = self.plan.orbits[run.orbit]
        images = values.reshape(-1, len(self.plan.sources), values.shape[1])
        shape = self.plan.shape(run, values.shape[1])
        ShardWriter(self.folder, self.plan, {run.field: shape}).write(
            run, {run.field: images[[symmetry for _, symmetry in orbit]]}
        )


def _check_ranks(ranks_per_sample: int, comm: MPI.Comm) -> None:
    if ranks_per_sample < 1 or comm.size % ranks_per_sample:
        raise ValueError(
            f"--ranks-per-sample {ranks_per_sample} does not divide the {comm.size} ranks: "
            "start mpirun -n with a multiple of it"
        )


def _symmetries(case: Case, model: FullModel, geometry: Geometry) -> Symmetries:
    """Those of the case's that the mesh has too, so that what they spare is exact. Collective on the model's comm."""
    found = find(geometry.gamma, geometry.medium, case.symmetry.maps)

    def kept(symmetry: Symmetry) -> bool:
        return preserves(model.domain, symmetry.matrix, symmetry.shift)

    return Symmetries(tuple(symmetry for symmetry in found if kept(symmetry)))
