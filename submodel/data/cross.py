"""Cross data: a few direct runs, the source at a place, and some reciprocal ones, the load on a node of Γ.

What is kept of a run are amplitudes at K frequencies (`solvers.time.amplitudes`). More runs can be added to a dataset:
places come one after the other, loads too, and what is there stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from solvers.time.amplitudes import Amplitudes
from submodel import __version__
from submodel.case.case import Case
from submodel.case.parameters import OMEGA, X, Y
from submodel.case.sampling import from_unit_cube
from submodel.case.spectrum import amplitudes_of
from submodel.data.dataset_file import DatasetFile
from submodel.data.kinds import seed_of
from submodel.data.manifest import DatasetError, Joined, Manifest, Piece, Request, Shapes, Stored, Task, rows
from submodel.data.storage.checksum import CROSS
from submodel.geometry.arrays import Geometry, SourceArea
from submodel.geometry.symmetry import Symmetries, Symmetry, find

DIRECT, MADE_UP, RECIPROCAL, FLOOR = "direct", "made-up", "reciprocal", "floor"
STREAM = 17  # of the random numbers of places, beside those of the splits


@dataclass(frozen=True)
class CrossManifest(Manifest):
    """The manifest of cross data; places and loads are what there is so far.

    Args:
        num_frequencies: K.
        symmetries: names of the maps that the mesh has, the identity first.
        orbits: as of a reciprocal dataset, groups of nodes of Γ that the maps carry onto one another.
        places: (x_s, y_s) of each direct run.
        loads: of each reciprocal run: the first node of a group for u, that and the number of nodes for r.
        made_up: (x, y, level at which it goes off) of each source on a patch around the zone.
    """

    num_frequencies: int
    symmetries: list[str]
    orbits: list[list[list[int]]]
    places: list[list[float]]
    loads: list[int]
    made_up: list[list[float]]

    FORMAT = "submodel-cross"
    SEAL = CROSS
    UNIT = "runs"
    SMALLER = "ask for fewer runs with --cross"
    STORED = ("ranks_per_sample", "num_frequencies", "symmetries", "orbits", "loads", "made_up")
    LISTS = ("symmetries", "orbits", "loads", "made_up")

    @classmethod
    def draw(cls, case: Case, request: Request, symmetries: Symmetries) -> Self:
        """The manifest of no run as yet.

        Raises:
            ValueError: the seed is negative.
        """
        return cls(
            case=case.to_json(),
            seed=seed_of(case, request),
            ranks_per_sample=request.ranks_per_sample,
            code_version=__version__,
            num_frequencies=amplitudes_of(case).num_frequencies,
            symmetries=[symmetry.name for symmetry in symmetries.maps],
            orbits=[[list(member) for member in orbit] for orbit in symmetries.orbits()],
            places=[],
            loads=[],
            made_up=[],
        )

    def with_places(self, num: int, fold: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Self:
        """The same with so many direct runs at least.

        Args:
            num: Number of places.
            fold: Carries places to those where they are run.

        Raises:
            CaseError: a place cannot be run from.
        """
        if num <= len(self.places):
            return self
        case = Case.from_json(self.case)
        unit = np.random.default_rng([self.seed, STREAM]).random((num, case.parameters.dimension))
        drawn = fold(case.parameters.sources(from_unit_cube(unit, case.parameters)))
        for place in drawn:
            case.require_source(*place)
        return replace(self, places=[*self.places, *rows(drawn[len(self.places) :])])

    def with_loads(self, loads: list[int]) -> Self:
        """The same with further reciprocal runs."""
        return replace(self, loads=[*self.loads, *loads])

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits of all but the runs, which may become more."""
        fixed = replace(self, places=[], loads=[], made_up=[])
        return hashlib.sha256(fixed.to_json().encode()).hexdigest()[:16]

    @property
    def num_nodes(self) -> int:
        """Nodes of Γ."""
        return sum(len(orbit) for orbit in self.orbits)

    @cached_property
    def members(self) -> dict[int, list[list[int]]]:
        """Nodes of each group by its first one, each with the map that carries it to the first."""
        return {orbit[0][0]: orbit for orbit in self.orbits}

    def loads_of(self, load: int) -> list[int]:
        """All loads that one reciprocal run stands for, its own first."""
        quantity, node = divmod(load, self.num_nodes)
        return [quantity * self.num_nodes + member for member, _ in self.members[node]]

    def counts(self) -> dict[str, int]:
        return {DIRECT: len(self.places), MADE_UP: len(self.made_up), RECIPROCAL: len(self.loads)}

    @property
    def tasks(self) -> tuple[Task, ...]:
        made = [Task(group, i) for group in (DIRECT, MADE_UP) for i in range(self.counts()[group])]
        return (*made, *(Task(RECIPROCAL, load) for load in self.loads))

    def options(self) -> dict[str, Any]:
        return {"--seed": self.seed, "--ranks-per-sample": self.ranks_per_sample}

    def marks(self, task: Task) -> dict[str, Any]:
        if task.group == DIRECT:
            return {"place": np.array(self.places[task.index])}
        if task.group == MADE_UP:
            return {"source": np.array(self.made_up[task.index])}
        return {"loads": np.array(self.loads_of(task.index))}

    def shapes(self, task: Task, geometry: Geometry) -> Shapes:
        num = self.num_frequencies
        if task.group == DIRECT:
            return {DIRECT: (2 * self.num_nodes, num, 2), FLOOR: (3,)}
        if task.group == MADE_UP:
            return {MADE_UP: (2 * self.num_nodes, num, 2)}
        return {RECIPROCAL: (len(self.loads_of(task.index)), len(area_of(geometry).nodes), num, 2)}

    def contents(self, geometry: Geometry) -> Iterator[Stored | Joined]:
        units = Case.from_json(self.case).units
        yield Stored("places", np.array(self.places).reshape(-1, 2), "run", units.length)
        yield Stored("omega", amplitudes_of(Case.from_json(self.case)).omega, "frequency", f"rad/{units.time}")
        area = area_of(geometry)
        for name in ("nodes", "cells", "patch_nodes", "patch_cells", "patch_speed"):
            unit = "" if name.endswith("cells") else units.length + f"/{units.time}" * name.endswith("speed")
            axes = "cell" if "cells" in name or "speed" in name else "node"
            yield Stored(f"source/{name}", getattr(area, name), axes, unit)
        direct = [Task(DIRECT, i) for i in range(len(self.places))]
        for name, shape in self.shapes(Task(DIRECT, 0), geometry).items():
            axes = "run,field" if name == FLOOR else "run,load,frequency,part"
            yield Joined(name, shape, [Piece(each, name, shape) for each in direct], axes)
        shape = self.shapes(Task(MADE_UP, 0), geometry)[MADE_UP]
        made_up = [Piece(Task(MADE_UP, i), MADE_UP, shape) for i in range(len(self.made_up))]
        yield Joined(MADE_UP, shape, made_up, "run,load,frequency,part")
        pieces = []
        for load in self.loads:
            run = Task(RECIPROCAL, load)
            shape = self.shapes(run, geometry)[RECIPROCAL]
            pieces += [Piece(run, RECIPROCAL, shape, i) for i in range(shape[0])]
        shape = (len(area.nodes), self.num_frequencies, 2)
        yield Joined(RECIPROCAL, shape, pieces, "load,node,frequency,part")

    def label(self, task: Task) -> str:
        if task.group == DIRECT:
            x, y = self.places[task.index]
            return f"{task} (source {x:g}, {y:g})"
        if task.group == MADE_UP:
            return str(task)
        quantity, node = divmod(task.index, self.num_nodes)
        return f"{task} ({'load' if quantity else 'displacement'} at node {node})"

    def parameters_by_name(self) -> list[tuple[str, tuple[float, ...]]]:
        return [(str(Task(DIRECT, i)), tuple(place)) for i, place in enumerate(self.places)]

    def require(self, case: Case, vector: tuple[float, ...]) -> None:
        case.require_source(*vector)

    def num_bytes_of(self, num_made_up: int, num_reciprocal: int, geometry: Geometry) -> int:
        """Bytes of the arrays of some runs more, at most."""
        largest = max(self.members, key=lambda node: len(self.members[node]))
        both = ((num_made_up, Task(MADE_UP, 0)), (num_reciprocal, Task(RECIPROCAL, largest)))
        return sum(num * self.num_bytes([task], geometry) for num, task in both)

    @classmethod
    def _drawn(cls, read: Callable[[str], NDArray[Any]]) -> dict[str, Any]:
        return {"places": rows(read("places"))}

    def _other_difference(self, asked: Self) -> str | None:
        if self.symmetries != asked.symmetries:
            return f"was begun with the symmetries {self.symmetries}, yours are {asked.symmetries}"
        if self.num_frequencies != asked.num_frequencies:
            return f"was begun with {self.num_frequencies} frequencies, this submodel takes {asked.num_frequencies}"
        return None


def area_of(geometry: Geometry) -> SourceArea:
    """The source area of cross data.

    Raises:
        DatasetError: there is none.
    """
    if geometry.source_area is None:
        raise DatasetError("cross data need the elements of the source area: generate them with --cross")
    return geometry.source_area


class CrossDataset(DatasetFile[CrossManifest]):
    """Amplitudes of direct and of reciprocal runs.

    with CrossDataset.open("cross.h5") as dataset:
        direct, reciprocal = dataset.direct, dataset.reciprocal
    """

    KIND, TITLE = CrossManifest, "cross data"

    @cached_property
    def geometry(self) -> Geometry:
        area = {each.name: self._file[f"source/{each.name}"][()] for each in fields(SourceArea)[2:]}
        section = self.case.discretization
        return replace(super().geometry, source_area=SourceArea(section.element, section.degree, **area))

    @property
    def amplitudes(self) -> Amplitudes:
        """Frequencies and weights."""
        return amplitudes_of(self.case)

    @property
    def places(self) -> NDArray[np.float64]:
        """(direct run, 2) of the sources, length; in one sector where the mesh is symmetric."""
        return np.array(self.manifest.places, dtype=np.float64).reshape(-1, 2)

    @cached_property
    def direct(self) -> NDArray[np.complex64]:
        """(direct run, 2 arc, frequency) amplitudes on Γ, of u, then of r.

        Raises:
            DatasetError: a run is damaged.
        """
        self._require_whole(task for task in self.manifest.tasks if task.group == DIRECT)
        return _complex(self._read(DIRECT, ...))

    @cached_property
    def made_up(self) -> NDArray[np.complex64]:
        """(made-up run, 2 arc, frequency) as `direct`, of sources on a patch around the zone; none by default.

        They obey the same map between loads on Γ, as far as the medium near the zone is known; weigh them against the
        direct runs, which alone say how well the map serves.

        Raises:
            DatasetError: a run is damaged.
        """
        self._require_whole(task for task in self.manifest.tasks if task.group == MADE_UP)
        return _complex(self._read(MADE_UP, ...))

    @property
    def floor(self) -> NDArray[np.float32]:
        """(direct run, 3) relative L2 errors of u, v and r that the number of frequencies alone makes.

        Raises:
            DatasetError: a run is damaged.
        """
        self._require_whole(task for task in self.manifest.tasks if task.group == DIRECT)
        return self._read(FLOOR, ...)

    @property
    def loads(self) -> NDArray[np.int64]:
        """(load,) those of the reciprocal runs: u at node i is i, r there i and the number of nodes.

        A run's load and the images of it follow each other, run by run.
        """
        return np.array([load for run in self.manifest.loads for load in self.manifest.loads_of(run)], dtype=np.int64)

    @property
    def loads_of_runs(self) -> NDArray[np.int64]:
        """(reciprocal run,) loads that it stands for, with those of the runs before it."""
        return np.cumsum([len(self.manifest.loads_of(run)) for run in self.manifest.loads], dtype=np.int64)

    @cached_property
    def reciprocal(self) -> NDArray[np.complex64]:
        """(source node, load, frequency) amplitudes that a source at a node leaves in each load.

        Raises:
            DatasetError: a run is damaged.
        """
        self._require_whole(task for task in self.manifest.tasks if task.group == RECIPROCAL)
        return np.ascontiguousarray(_complex(self._read(RECIPROCAL, ...)).transpose(1, 0, 2))

    @property
    def source_mesh(self) -> dict[str, Any]:
        """Nodes, cells, element and degree of the source area's elements."""
        area = area_of(self.geometry)
        return {"nodes": area.nodes, "cells": area.cells, "element": area.element, "degree": area.degree}

    @property
    def patch(self) -> dict[str, Any]:
        """Nodes, cells and speed of the source area and the rings around it."""
        area = area_of(self.geometry)
        return {"nodes": area.patch_nodes, "cells": area.patch_cells, "speed": area.patch_speed}

    @property
    def symmetries(self) -> list[Symmetry]:
        """The maps that the mesh has, the identity first."""
        return find(self.gamma, self.medium, self.manifest.symmetries[1:])

    def training_parameters(self) -> NDArray[np.float64]:
        """Parameters of the direct runs, (run, axis): NaN but for the place."""
        nothing = np.full(len(self.places), np.nan)
        return self.case.parameters.vectors({OMEGA: nothing, X: self.places[:, 0], Y: self.places[:, 1]})

    def describe(self) -> dict[str, Any]:
        """Facts about the dataset, by name."""
        manifest, area = self.manifest, area_of(self.geometry)
        shared = f", which stand for {len(self.loads)} loads" if len(manifest.symmetries) > 1 else ""
        made_up = f", {num} made-up" if (num := len(manifest.made_up)) else ""
        u, v, r = 100.0 * self.floor.mean(axis=0) if len(manifest.places) else (np.nan,) * 3
        return {
            "case": f"{self.case.name} ({self.case.fingerprint()})",
            "runs": f"{len(manifest.places)} direct{made_up}, {len(manifest.loads)} reciprocal{shared}",
            "seed": manifest.seed,
            "frequencies": f"{manifest.num_frequencies} up to {self.amplitudes.omega[-1]:.4g} "
            f"rad/{self.case.units.time}; they leave {u:.2g} % of u, {v:.2g} % of v, {r:.2g} % of the load",
            "source area": f"{len(area.nodes)} nodes, {len(area.cells)} cells",
            "symmetries of the mesh": ", ".join(manifest.symmetries),
            "levels": f"{self.amplitudes.period_levels} of a run",
            "nodes on the zone's boundary": manifest.num_nodes,
            "written by": f"submodel {manifest.code_version}",
        }


def _complex(parts: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Complex numbers from real and imaginary parts along the last axis."""
    return np.ascontiguousarray(parts).view(np.complex64)[..., 0]
