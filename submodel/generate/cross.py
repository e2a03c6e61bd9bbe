"""Cross data: direct runs first, then reciprocal ones from the loads on Γ that those show to matter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.problems.full import FullModel
from solvers.problems.reciprocal import Quantity, ReciprocalModel
from solvers.space.cells import gather_cells
from solvers.time.grid import TimeGrid
from solvers.time.signals import Impulse, PointSource
from submodel.case.case import Case, CaseError
from submodel.case.spectrum import amplitudes_of, case_signals
from submodel.data.cross import DIRECT, FLOOR, MADE_UP, RECIPROCAL, CrossManifest, area_of
from submodel.data.dataset_file import write_master
from submodel.data.hdf5 import open_file
from submodel.data.manifest import Request, Task, rows, shards_folder
from submodel.generate.generate import (
    Counter,
    GenerationReport,
    check_ranks,
    faulty,
    make_tasks,
    require_space,
)
from submodel.generate.loads import choose_loads, floor_errors, weights_of
from submodel.generate.made_up import MadeUpRuns, arrival, beside, impulse_response, onsets
from submodel.generate.production import Production, shared_geometry
from submodel.generate.reserve import begun, claimed, renew, tidy
from submodel.generate.source_area import image_dofs, source_area
from submodel.geometry.arrays import Geometry, SourceArea
from submodel.geometry.symmetry import Symmetries
from submodel.solve import from_case as build
from submodel.solve.task_farm import agree, on_root

ENVELOPE = 5
"""Direct runs that show when energy arrives."""
QUANTITIES: tuple[Quantity, Quantity] = ("displacement", "load")


class CrossProduction(Production[CrossManifest]):
    """Runs of both kinds, several stepped at once, of which amplitudes are kept."""

    def build_model(self) -> FullModel:
        about = amplitudes_of(self.case)
        levels = about.period_levels + 1  # the impulse is at level 1
        return build.full_model(self.case, self.group, TimeGrid(about.dt * (levels - 1), levels))

    @cached_property
    def plain(self) -> Geometry:
        """Geometry without the source area. Collective on comm."""
        return agree(self.comm, lambda: shared_geometry(self.case, self.model))

    @cached_property
    def geometry(self) -> Geometry:
        return replace(self.plain, source_area=self._area[0])

    @cached_property
    def symmetries(self) -> Symmetries:
        """Those of the case's that the mesh has too. Collective on comm."""
        return self.mesh_symmetries(self.plain)

    @cached_property
    def signals(self) -> NDArray[np.float64]:
        """Signals like the case's, shape ``(num_signals, num_levels + 1)``."""
        return case_signals(self.case)

    @cached_property
    def reciprocal(self) -> ReciprocalModel:
        """Records at the source nodes and their images. Collective on comm."""
        dofs = self._area[1]
        return agree(self.comm, lambda: ReciprocalModel.at_nodes(self.model, dofs.ravel()))

    @cached_property
    def made_up(self) -> MadeUpRuns:
        """Runs on a patch around the zone. Collective on comm."""
        runs = agree(self.comm, lambda: MadeUpRuns(self.case, self.model))
        first = self.comm.rank < self.comm.bcast(self.group.size)
        for mine in (first, not first):  # the root's group fills the cache of compiled forms
            agree(self.comm, runs.prepare if mine else lambda: None)
        return runs

    @cached_property
    def _area(self) -> tuple[SourceArea, NDArray[np.int64]]:
        """The source area, and the dofs at the images of its nodes, (map, node). Collective on comm."""
        symmetries = self.symmetries

        def find() -> tuple[SourceArea, NDArray[np.int64]]:
            cells = gather_cells(self.model.V, self.model.domain)

            def take() -> tuple[SourceArea, NDArray[np.int64]] | None:
                if cells is None:
                    return None
                area = source_area(self.case, cells, symmetries, self.case.discretization.degree)
                return area, image_dofs(cells, area, symmetries)

            taken = on_root(self.group, take)
            if taken is None:
                raise CaseError("the source area was not found")
            return taken

        return agree(self.comm, find)

    def draw(self) -> CrossManifest:
        symmetries = self.symmetries
        return on_root(self.comm, lambda: CrossManifest.draw(self.case, self.request, symmetries))

    def folded(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places in the sector that stands for all. Local."""
        return self.symmetries.fold(places, float(np.ptp(self.plain.gamma.points, axis=0).max()))

    def prepare(self, manifest: CrossManifest) -> int:
        self.require_sources(np.array(manifest.places))
        return self.model.batch_size(fields=False)

    def make(
        self, manifest: CrossManifest, batch: list[Task]
    ) -> Iterator[tuple[Task, dict[str, NDArray[np.floating[Any]]]]]:
        kinds = {DIRECT: self._direct, MADE_UP: self._made_up, RECIPROCAL: self._reciprocal}
        return kinds[batch[0].group](manifest, batch)

    def _direct(
        self, manifest: CrossManifest, batch: list[Task]
    ) -> Iterator[tuple[Task, dict[str, NDArray[np.floating[Any]]]]]:
        about = amplitudes_of(self.case)
        impulse = Impulse(self.model.time.dt, self.case.parameters.omega[1])
        sources = [PointSource(tuple(manifest.places[task.index]), impulse) for task in batch]  # type: ignore[arg-type]
        runs = self.model.run_many(sources, fields=False)
        for task, run in zip(batch, runs or (), strict=runs is not None):
            response = impulse_response(run.trace)
            amplitudes = response @ about.weights().T
            floor = floor_errors(response, amplitudes, about, self.signals)
            yield task, {DIRECT: _parts(amplitudes), FLOOR: floor}

    def _made_up(
        self, manifest: CrossManifest, batch: list[Task]
    ) -> Iterator[tuple[Task, dict[str, NDArray[np.floating[Any]]]]]:
        runs = self.made_up.amplitudes([manifest.made_up[task.index] for task in batch])
        for task, values in zip(batch, runs or (), strict=runs is not None):
            yield task, {MADE_UP: _parts(values)}

    def _reciprocal(
        self, manifest: CrossManifest, batch: list[Task]
    ) -> Iterator[tuple[Task, dict[str, NDArray[np.floating[Any]]]]]:
        about, maps = amplitudes_of(self.case), len(manifest.symmetries)
        wanted = [(QUANTITIES[task.index // manifest.num_nodes], task.index % manifest.num_nodes) for task in batch]
        runs = self.reciprocal.amplitudes(wanted, about.weights())
        for task, values in zip(batch, runs or (), strict=runs is not None):
            images = values.reshape(maps, -1, values.shape[1])
            members = manifest.members[task.index % manifest.num_nodes]
            yield task, {RECIPROCAL: _parts(images[[number for _, number in members]])}


class CrossRuns:
    """Cross data of a case that can become more; the model is built once. Methods are collective on comm.

    Args:
        case: What is solved.
        path: The dataset; its runs lie in a folder beside it, of the same name with the ending .shards.
        request: Its seed and ranks_per_sample; the case's by default.
        comm: Whose ranks share the runs.

    Raises:
        ValueError: An argument cannot be used.
        CaseError: A symmetry that the case names does not hold.
        DatasetError: Something else lies at path, or it was begun with other arguments.
    """

    def __init__(self, case: Case, path: str | Path, request: Request | None = None, *, comm: MPI.Comm) -> None:
        request = request or Request()
        on_root(comm, lambda: check_ranks(request.ranks_per_sample, comm))
        self._group = comm.Split(comm.rank // request.ranks_per_sample, comm.rank)
        self._comm, self._path, self._case = comm, Path(path), case
        self._production = CrossProduction(case, request, comm, self._group)
        self._asked = self._production.draw()
        on_root(comm, lambda: begun(self._path, self._asked))

    @property
    def most_reciprocal(self) -> int:
        """Reciprocal runs that there can be."""
        return 2 * len(self._asked.orbits)

    def grow(
        self,
        num_direct: int,
        num_reciprocal: int,
        num_made_up: int = 0,
        *,
        announce: Callable[[str], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> GenerationReport:
        """Have so many runs of each kind at least; those that are there stay.

        Args:
            num_direct: Direct runs.
            num_reciprocal: Reciprocal runs.
            num_made_up: Runs on a patch around the zone, which are cheap.
            announce: Called on the root with what is to be done, and what the number of frequencies costs.
            progress: Called on the root with the runs done and those to do.

        Returns:
            The report, the same on every rank but for the times.

        Raises:
            CaseError: There are not as many, or a place cannot be run from.
            DatasetError: Something else lies at path, or it cannot be written.
            GenerationError: A run failed, or its result could not be stored.
        """
        start, comm, production, path = time.perf_counter(), self._comm, self._production, self._path
        on_root(comm, lambda: self._require(num_direct, num_reciprocal))
        old, finished = on_root(comm, lambda: begun(path, self._asked))
        manifest = on_root(comm, lambda: old.with_places(num_direct, production.folded))
        todo = faulty(manifest, shards_folder(path), comm)
        missing = max(0, num_reciprocal - len(manifest.loads))
        num_kept = len(manifest.tasks) - len(todo)
        more = max(0, num_made_up - len(manifest.made_up))
        if finished and not todo and not missing and not more:
            on_root(comm, lambda: tidy(path, manifest))
            return GenerationReport(manifest, 0, num_kept, time.perf_counter() - start, 0.0)
        size, geometry = production.prepare(manifest), production.geometry
        num_bytes = manifest.num_bytes(todo, geometry) + manifest.num_bytes_of(more, missing, geometry)
        say = announce if announce and comm.rank == 0 else lambda words: None
        say(self._summary(manifest, missing, more, num_bytes))
        on_root(comm, lambda: require_space(path, manifest, len(todo) + missing + more, num_bytes))
        with ExitStack() as stack:
            on_root(comm, lambda: stack.enter_context(claimed(path, old)))
            built = time.perf_counter()
            counter = Counter(progress, len(todo) + missing + more, comm)
            on_root(comm, lambda: renew(path, manifest))
            direct = [task for task in todo if task.group == DIRECT]
            make_tasks(production, manifest, direct, size, shards_folder(path), counter)
            if direct:
                say(on_root(comm, lambda: self._floor(manifest)))
            if more:
                manifest = self._with_made_up(manifest, num_made_up)
                on_root(comm, lambda: renew(path, manifest))
            made = [task for task in faulty(manifest, shards_folder(path), comm) if task.group == MADE_UP]
            if made:
                _ = production.made_up  # built by all ranks, which share the runs in groups
            make_tasks(production, manifest, made, size, shards_folder(path), counter)
            if missing:
                manifest = on_root(comm, lambda: manifest.with_loads(self._choice(manifest, missing)))
                on_root(comm, lambda: renew(path, manifest))
            rest = faulty(manifest, shards_folder(path), comm)
            make_tasks(production, manifest, rest, production.reciprocal.batch_size(), shards_folder(path), counter)
            looped = time.perf_counter()
            on_root(comm, lambda: write_master(path, manifest, geometry))
        return GenerationReport(manifest, len(todo) + missing + more, num_kept, built - start, looped - built)

    def close(self) -> None:
        """Free the groups of ranks."""
        self._group.Free()

    def _require(self, num_direct: int, num_reciprocal: int) -> None:
        if num_direct < 1 or num_reciprocal < 1:
            raise CaseError(
                f"--cross {num_direct}+{num_reciprocal}: give at least one direct and one reciprocal run, such as 10+30"
            )
        if num_reciprocal > self.most_reciprocal:
            raise CaseError(
                f"--cross {num_direct}+{num_reciprocal}: there are {self.most_reciprocal} reciprocal runs from the "
                f"zone's boundary in all: ask for {self.most_reciprocal} at most"
            )

    def _with_made_up(self, manifest: CrossManifest, num: int) -> CrossManifest:
        """The manifest with made-up sources, which go off when energy arrives in the first direct runs. Collective."""
        made_up = self._production.made_up
        places = agree(self._comm, lambda: made_up.places(num, manifest.seed))

        def drawn() -> CrossManifest:
            share = arrival(self._amplitudes(manifest, DIRECT)[:ENVELOPE], amplitudes_of(self._case))
            levels = onsets(num, manifest.seed, share)
            sources = [[*place, level] for place, level in zip(rows(places), levels, strict=True)]
            return replace(manifest, made_up=[*manifest.made_up, *sources[len(manifest.made_up) :]])

        return on_root(self._comm, drawn)

    def _summary(self, manifest: CrossManifest, missing: int, more: int, num_bytes: int) -> str:
        about, area = amplitudes_of(self._case), area_of(self._production.geometry)
        made_up = f" (and {num} made-up ones near the zone)" if (num := len(manifest.made_up) + more) else ""
        shared = f" under {num} symmetries of the mesh" if (num := len(manifest.symmetries)) > 1 else ""
        return (
            f"{len(manifest.places)} direct and {len(manifest.loads) + missing} of {self.most_reciprocal} reciprocal "
            f"runs of {about.period_levels} levels{made_up}: {about.num_frequencies} frequencies, "
            f"{len(area.nodes)} source nodes{shared} ({num_bytes / 1e6:.0f} MB to be written)"
        )

    def _read(self, manifest: CrossManifest, group: str, name: str) -> NDArray[np.float32]:
        """An array of all runs of a group, (run, ...). Local."""
        values = []
        for index in range(manifest.counts()[group]):
            with open_file(shards_folder(self._path) / f"{Task(group, index)}.h5") as shard:
                values.append(shard[name][()])
        return np.stack(values)

    def _amplitudes(self, manifest: CrossManifest, group: str) -> NDArray[np.complex128]:
        """Amplitudes of all runs of a group, (run, 2 A, K). Local."""
        parts = self._read(manifest, group, group).astype(np.float64)
        return np.asarray(parts[..., 0] + 1j * parts[..., 1])

    def _floor(self, manifest: CrossManifest) -> str:
        u, v, r = 100.0 * self._read(manifest, DIRECT, FLOOR).mean(axis=0)
        num = manifest.num_frequencies
        return f"{num} frequencies leave {u:.2g} % of u, {v:.2g} % of v and {r:.2g} % of the load, whatever the runs"

    def _choice(self, manifest: CrossManifest, num: int) -> list[int]:
        """Loads to run from beside those that are, first nodes of their groups. Local."""
        direct = self._amplitudes(manifest, DIRECT)
        firsts = [quantity * manifest.num_nodes + node for quantity in (0, 1) for node in manifest.members]
        groups = [manifest.loads_of(first) for first in firsts]
        there = [firsts.index(load) for load in manifest.loads]
        gains = weights_of(direct, amplitudes_of(self._case), self._production.signals)
        seen = gains * (beside(direct, self._amplitudes(manifest, MADE_UP)) if manifest.made_up else direct)
        return [firsts[number] for number in choose_loads(seen, groups, there, num)]


def grow(
    case: Case,
    path: str | Path,
    num_direct: int,
    num_reciprocal: int,
    comm: MPI.Comm,
    *,
    request: Request | None = None,
    announce: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GenerationReport:
    """As `CrossRuns.grow`, of runs that are opened for it. Collective on comm."""
    runs = CrossRuns(case, path, request, comm=comm)
    report = runs.grow(num_direct, num_reciprocal, announce=announce, progress=progress)
    runs.close()
    return report


def _parts(values: NDArray[np.complexfloating]) -> NDArray[np.floating[Any]]:
    """Real and imaginary part along a last axis."""
    return np.stack((values.real, values.imag), axis=-1)
