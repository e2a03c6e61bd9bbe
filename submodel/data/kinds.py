"""The kinds of datasets: samples of the full model, and reciprocal runs; what differs between them on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from submodel import __version__
from submodel.case.case import Case
from submodel.case.sampling import SPLITS, sample
from submodel.data.manifest import Joined, Manifest, Piece, Precision, Request, Shapes, Stored, Task, rows
from submodel.data.storage.checksum import DATASET, RECIPROCAL
from submodel.geometry.arrays import FIELDS, ZONE_FIELD, Geometry
from submodel.geometry.symmetry import Symmetries

QUANTITIES = ("displacement", "load")  # of a reciprocal run
NUM_SOURCES = 2048  # of a reciprocal dataset, where nothing else is asked for


@dataclass(frozen=True)
class SampleManifest(Manifest):
    """The manifest of a dataset of samples.

    Args:
        train: number of training samples.
        test: number of test samples.
        calibration: number of calibration samples.
        fields: whether displacement and velocity in the zone are stored.
        precision: of the explicit steps.
        parameters: vector of each sample, by split.
    """

    train: int
    test: int
    calibration: int
    fields: bool
    precision: Precision
    parameters: dict[str, list[list[float]]]

    FORMAT = "submodel-dataset"
    SEAL = DATASET
    UNIT = "samples"
    SMALLER = "leave out the fields in the zone with --no-fields"
    STORED = ("train", "test", "calibration", "fields", "ranks_per_sample", "precision")

    @classmethod
    def draw(cls, case: Case, request: Request) -> Self:
        """Draw the samples.

        Raises:
            ValueError: a count or the seed is negative, nothing is asked for, or a source cannot be run.
        """
        defaults = case.parameters
        num: dict[str, int] = {split: _or_case(getattr(request, split), getattr(defaults, split)) for split in SPLITS}
        for split, asked in num.items():
            if asked < 0:
                raise ValueError(f"--{split} is {asked}: give a number of samples, 0 or more")
        if request.precision == "single" and case.discretization.stepper != "explicit":
            raise ValueError(
                f"--precision single is for explicit steps, the case's stepper is {case.discretization.stepper}: "
                "leave it out"
            )
        if sum(num.values()) == 0:
            raise ValueError("--train, --test and --calibration are all 0: ask for one sample at least")
        seed = seed_of(case, request)
        drawn = {split: sample(case, num[split], seed, split) for split in SPLITS}
        for vector in np.concatenate(list(drawn.values())):
            case.require(vector)
        return cls(
            case=case.to_json(),
            seed=seed,
            ranks_per_sample=request.ranks_per_sample,
            code_version=__version__,
            **num,
            fields=request.fields,
            precision=request.precision,
            parameters={split: rows(vectors) for split, vectors in drawn.items()},
        )

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """Type of the explicit steps."""
        return np.float32 if self.precision == "single" else np.float64

    def counts(self) -> dict[str, int]:
        return {split: getattr(self, split) for split in SPLITS}

    def options(self) -> dict[str, Any]:
        names = ("seed", "train", "test", "calibration", "ranks_per_sample", "precision")
        return {"--" + name.replace("_", "-"): getattr(self, name) for name in names}

    def vector(self, sample: Task) -> list[float]:
        """Parameters of a sample, (axis,)."""
        return self.parameters[sample.group][sample.index]

    def vectors(self, split: str) -> NDArray[np.float64]:
        """Parameters of a split, (sample, axis)."""
        return Case.from_json(self.case).parameters.matrix(self.parameters[split])

    def marks(self, task: Task) -> dict[str, Any]:
        return {"split": task.group, "sample": task.index, "parameters": np.array(self.vector(task))}

    def shapes(self, task: Task, geometry: Geometry) -> Shapes:
        num_times, num_arc = len(geometry.times), geometry.gamma.num_nodes
        zone = {ZONE_FIELD: (num_times + 2, len(geometry.zone_points))} if self.fields else {}
        return dict.fromkeys(FIELDS, (num_times, num_arc)) | zone

    def contents(self, geometry: Geometry) -> Iterator[Stored | Joined]:
        case = Case.from_json(self.case)
        unit = case.parameters.unit_words(case.units)
        for split, num in self.counts().items():
            yield Stored(f"{split}/parameters", self.vectors(split), "sample", unit)
            samples = [Task(split, i) for i in range(num)]
            for name, shape in self.shapes(Task(split, 0), geometry).items():
                axes = "sample,level,node" if name == ZONE_FIELD else "sample,time,arc"
                yield Joined(f"{split}/{name}", shape, [Piece(each, name, shape) for each in samples], axes)

    def label(self, task: Task) -> str:
        return f"{task} ({Case.from_json(self.case).parameters.words(self.vector(task))})"

    def parameters_by_name(self) -> list[tuple[str, tuple[float, ...]]]:
        return [(str(sample), tuple(self.vector(sample))) for sample in self.tasks]

    def require(self, case: Case, vector: tuple[float, ...]) -> None:
        case.require(vector)

    @classmethod
    def _drawn(cls, read: Callable[[str], NDArray[Any]]) -> dict[str, Any]:
        return {"parameters": {split: rows(read(f"{split}/parameters")) for split in SPLITS}}

    def _other_difference(self, asked: Self) -> str | None:
        if self.fields == asked.fields:
            return None
        words = {True: "with fields in the zone", False: "with --no-fields"}
        return f"was begun {words[self.fields]}, you asked for one {words[asked.fields]}"


@dataclass(frozen=True)
class ReciprocalManifest(Manifest):
    """The manifest of a reciprocal dataset.

    Args:
        sources: (x_s, y_s) of each.
        symmetries: names of the maps that the mesh has, the identity first.
        orbits: by run, of each node of the zone's boundary that it stands for the node's number and that of the map
            that carries it to the loaded node; the loaded node first.
    """

    sources: list[list[float]]
    symmetries: list[str]
    orbits: list[list[list[int]]]

    FORMAT = "submodel-reciprocal"
    SEAL = RECIPROCAL
    UNIT = "runs"
    SMALLER = "ask for fewer sources with --train"
    STORED = ("ranks_per_sample", "symmetries", "orbits")
    LISTS = ("symmetries", "orbits")

    @classmethod
    def draw(cls, case: Case, request: Request, symmetries: Symmetries) -> Self:
        """Draw the sources: those of the case's training samples, if there are as many.

        Raises:
            ValueError: an argument cannot be used, or a source cannot be run.
        """
        num = _or_case(request.train, NUM_SOURCES)
        if num < 1:
            raise ValueError(f"--train is {num}: give the number of sources, 1 or more")
        seed = seed_of(case, request)
        sources = case.parameters.sources(sample(case, num, seed, "train"))
        for place in sources:
            case.require_source(*place)
        return cls(
            case=case.to_json(),
            seed=seed,
            ranks_per_sample=request.ranks_per_sample,
            code_version=__version__,
            sources=rows(sources),
            symmetries=[symmetry.name for symmetry in symmetries.maps],
            orbits=[[list(member) for member in orbit] for orbit in symmetries.orbits()],
        )

    @property
    def num_nodes(self) -> int:
        """Nodes of the zone's boundary."""
        return sum(len(orbit) for orbit in self.orbits)

    def counts(self) -> dict[str, int]:
        return dict.fromkeys(QUANTITIES, len(self.orbits))

    def options(self) -> dict[str, Any]:
        return {"--seed": self.seed, "--train": len(self.sources), "--ranks-per-sample": self.ranks_per_sample}

    def marks(self, task: Task) -> dict[str, Any]:
        return {"field": task.group, "nodes": np.array([node for node, _ in self.orbits[task.index]])}

    def shapes(self, task: Task, geometry: Geometry) -> Shapes:
        return {task.group: (len(self.orbits[task.index]), len(self.sources), len(geometry.times))}

    def contents(self, geometry: Geometry) -> Iterator[Stored | Joined]:
        yield Stored("sources", np.array(self.sources), "source", Case.from_json(self.case).units.length)
        place = {node: (run, i) for run, orbit in enumerate(self.orbits) for i, (node, _) in enumerate(orbit)}
        for quantity in QUANTITIES:
            pieces = []
            for orbit, index in (place[node] for node in range(self.num_nodes)):
                run = Task(quantity, orbit)
                pieces.append(Piece(run, quantity, self.shapes(run, geometry)[quantity], index))
            yield Joined(quantity, (len(self.sources), len(geometry.times)), pieces, "arc,source,time")

    def parameters_by_name(self) -> list[tuple[str, tuple[float, ...]]]:
        return [(f"source {i}", tuple(place)) for i, place in enumerate(self.sources)]

    def require(self, case: Case, vector: tuple[float, ...]) -> None:
        case.require_source(*vector)

    def summary(self, geometry: Geometry) -> str:
        """Number of runs that are needed, and what they cover, in a sentence."""
        case, maps = Case.from_json(self.case), len(self.symmetries)
        ranges, length = case.parameters, case.units.length
        shared = f", which stand for all {self.num_nodes} under {maps} symmetries of the mesh" if maps > 1 else ""
        outside = ""
        if ranges.exclude_lower is not None:
            outside = f" outside {list(ranges.exclude_lower)} to {list(ranges.exclude_upper or ())}"
        return (
            f"{len(self.tasks)} runs, two for each of {len(self.orbits)} nodes of the zone's boundary{shared}: they "
            f"cover every source in {list(ranges.source_lower)} to {list(ranges.source_upper)} {length}{outside}, kept "
            f"at {len(self.sources)} places, and every signal ({self.num_bytes(list(self.tasks), geometry) / 1e6:.0f} "
            "MB)"
        )

    @classmethod
    def _drawn(cls, read: Callable[[str], NDArray[Any]]) -> dict[str, Any]:
        return {"sources": rows(read("sources"))}

    def _other_difference(self, asked: Self) -> str | None:
        if self.symmetries == asked.symmetries:
            return None
        return f"was begun with the symmetries {self.symmetries}, yours are {asked.symmetries}"


def _or_case(asked: int | None, default: int) -> int:
    return default if asked is None else asked


def seed_of(case: Case, request: Request) -> int:
    """Seed of a request, the case's by default.

    Raises:
        ValueError: it is negative.
    """
    seed = _or_case(request.seed, case.parameters.seed)
    if seed < 0:
        raise ValueError(f"--seed is {seed}: give a whole number, 0 or more")
    return seed
