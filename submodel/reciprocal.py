"""Reciprocal datasets: impulse responses of the zone's boundary to a source at many places. No FEniCS needed.

`submodel.generate_reciprocal` makes them; docs/dataset-format.md says how they lie on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from submodel import __version__
from submodel.case import Case
from submodel.dataset import (
    REDO,
    DatasetError,
    join,
    open_sealed,
    put_geometry,
    require_same,
    sealed_file,
    stored_geometry,
)
from submodel.layout import FORMAT_VERSION, Geometry, InterfaceArrays, MediumMap
from submodel.plan import case_difference, rows
from submodel.sampling import sample
from submodel.seal import RECIPROCAL, shard_fault
from submodel.symmetry import Symmetries, Symmetry, find

Field = Literal["displacement", "load"]
FIELDS: tuple[Field, ...] = get_args(Field)
NUM_SOURCES = 2048  # when nothing else is asked for
OPTIONS = {"seed": "--seed", "sources": "--train", "ranks_per_sample": "--ranks-per-sample"}


@dataclass(frozen=True)
class RunId:
    """A run: of which field, and for which orbit of nodes."""

    field: Field
    orbit: int

    def __str__(self) -> str:
        return f"{self.field}-{self.orbit:04d}"


@dataclass(frozen=True)
class ReciprocalPlan:
    """Everything that decides the bytes of a reciprocal dataset.

    Args:
        case: JSON of the case.
        seed: of the sources.
        ranks_per_sample: how many ranks share a run.
        code_version: of submodel.
        sources: (x_s, y_s) of each.
        symmetries: names of the maps that the mesh has, the identity first.
        orbits: by run, of each node of the zone's boundary that it stands for the node's number and that of the map
            that carries it to the loaded node; the loaded node first.
    """

    case: str
    seed: int
    ranks_per_sample: int
    code_version: str
    sources: list[list[float]]
    symmetries: list[str]
    orbits: list[list[list[int]]]

    @classmethod
    def draw(
        cls, case: Case, *, num: int | None, seed: int | None, ranks_per_sample: int, symmetries: Symmetries
    ) -> ReciprocalPlan:
        """Draw the sources: those of the case's training samples, if there are as many.

        Raises:
            ValueError: the number or the seed cannot be used, or a source cannot be run.
        """
        num = NUM_SOURCES if num is None else num
        if num < 1:
            raise ValueError(f"--train is {num}: give the number of sources, 1 or more")
        seed = case.parameters.seed if seed is None else seed
        if seed < 0:
            raise ValueError(f"--seed is {seed}: give a whole number, 0 or more")
        vectors = sample(case, num, seed, "train")
        for vector in vectors:
            case.check_parameters(*vector)
        return cls(
            case=case.to_json(),
            seed=seed,
            ranks_per_sample=ranks_per_sample,
            code_version=__version__,
            sources=rows(vectors[:, 1:]),
            symmetries=[symmetry.name for symmetry in symmetries.maps],
            orbits=[[list(member) for member in orbit] for orbit in symmetries.orbits()],
        )

    @classmethod
    def from_json(cls, text: str) -> ReciprocalPlan:
        """The plan that `to_json` wrote.

        Raises:
            ValueError: the text is not a plan.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"not the plan of a reciprocal dataset: {error}") from error

    def to_json(self) -> str:
        """Text that `from_json` reads back as an equal plan."""
        return json.dumps(asdict(self), sort_keys=True)

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits that tell this plan from any other."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def samples(self) -> tuple[RunId, ...]:
        """Every run, those of the displacement first."""
        return tuple(RunId(field, orbit) for field in FIELDS for orbit in range(len(self.orbits)))

    @property
    def num_nodes(self) -> int:
        """Nodes of the zone's boundary."""
        return sum(len(orbit) for orbit in self.orbits)

    def marks(self, run: RunId) -> dict[str, Any]:
        """What a shard says of its run."""
        return {"field": run.field, "nodes": np.array([node for node, _ in self.orbits[run.orbit]])}

    def shape(self, run: RunId, num_levels: int) -> tuple[int, int, int]:
        """Of what a run gives: (node, source, time)."""
        return len(self.orbits[run.orbit]), len(self.sources), num_levels

    def num_bytes(self, num_levels: int) -> int:
        """Of all runs."""
        return len(FIELDS) * self.num_nodes * len(self.sources) * num_levels * 4

    def words(self, num_levels: int) -> str:
        """How many runs are needed, and what they cover."""
        case, maps = Case.from_json(self.case), len(self.symmetries)
        said, length = case.parameters, case.units.length
        shared = f", which stand for all {self.num_nodes} under {maps} symmetries of the mesh" if maps > 1 else ""
        outside = ""
        if said.exclude_lower is not None:
            outside = f" outside {list(said.exclude_lower)} to {list(said.exclude_upper or ())}"
        return (
            f"{len(self.samples)} runs, two for each of {len(self.orbits)} nodes of the zone's boundary{shared}: they "
            f"cover every source in {list(said.source_lower)} to {list(said.source_upper)} {length}{outside}, kept at "
            f"{len(self.sources)} places, and every signal ({self.num_bytes(num_levels) / 1e6:.0f} MB)"
        )

    def difference(self, asked: ReciprocalPlan) -> str | None:
        """What was begun and what is asked for now, in words, or None when both make the same dataset."""
        for key, option in OPTIONS.items():
            begun, now = getattr(self, key), getattr(asked, key)
            if key == "sources" and len(begun) != len(now):
                return f"was begun with {option} {len(begun)}, you asked for {option} {len(now)}"
            if key != "sources" and begun != now:
                return f"was begun with {option} {begun}, you asked for {option} {now}"
        if difference := case_difference(self.case, self.code_version, asked.case, asked.code_version):
            return difference
        if self.symmetries != asked.symmetries:
            return f"was begun with the symmetries {self.symmetries}, yours are {asked.symmetries}"
        return None


def write_reciprocal(path: Path, plan: ReciprocalPlan, geometry: Geometry) -> None:
    """Join the runs in one file, whole or not at all. Local; all shards must be there.

    Raises:
        OSError: the file cannot be written.
    """
    case = Case.from_json(plan.case)
    place = {node: (run, index) for run, orbit in enumerate(plan.orbits) for index, (node, _) in enumerate(orbit)}
    with sealed_file(path, RECIPROCAL) as file:
        file.attrs.update(
            {
                "format": "submodel-reciprocal",
                "format_version": FORMAT_VERSION,
                "plan": plan.key,
                "case": plan.case,
                "case_fingerprint": case.fingerprint(),
                "code_version": plan.code_version,
                "seed": plan.seed,
                "ranks_per_sample": plan.ranks_per_sample,
                "symmetries": json.dumps(plan.symmetries),
                "orbits": json.dumps(plan.orbits),
            }
        )
        put_geometry(file, path, geometry, case.units)
        stored = file.create_dataset("sources", data=np.array(plan.sources))
        stored.attrs.update(axes="source,component", unit=case.units.length)
        for field in FIELDS:
            pieces = []
            for node in range(plan.num_nodes):
                run = RunId(field, place[node][0])
                pieces.append((f"{run}.h5", field, plan.shape(run, len(geometry.times)), place[node][1]))
            join(file, path, field, (len(plan.sources), len(geometry.times)), pieces, "arc,source,time")


def plan_of_reciprocal(path: Path) -> ReciprocalPlan:
    """The plan of a reciprocal dataset."""
    with ReciprocalDataset.open_master(path) as dataset:
        return dataset.plan


class ReciprocalDataset:
    """A finished reciprocal dataset, open for reading; what it returns has been compared with the checksums.

    with ReciprocalDataset.open("reciprocal.h5") as dataset:
        displacement, load = dataset.responses(slice(0, 64))
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self._file = file
        self._whole = False
        attributes = file.attrs
        self.plan = ReciprocalPlan(
            case=attributes["case"],
            seed=int(attributes["seed"]),
            ranks_per_sample=int(attributes["ranks_per_sample"]),
            code_version=attributes["code_version"],
            sources=rows(file["sources"][()]),
            symmetries=json.loads(attributes["symmetries"]),
            orbits=json.loads(attributes["orbits"]),
        )
        self.folder = path.parent / attributes["shards"]
        self.case = Case.from_json(self.plan.case, label=f"the case in {path}")
        self.geometry = stored_geometry(file)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a dataset and see that all its runs are there.

        Raises:
            DatasetError: there is no dataset, it is of another make, unfinished, or lacks runs.
        """
        dataset = cls.open_master(Path(path))
        absent = [run for run in dataset.plan.samples if not (dataset.folder / f"{run}.h5").exists()]
        if absent:
            dataset.close()
            raise DatasetError(
                f"{path} lacks {len(absent)} of its runs, first {dataset.folder.name}/{absent[0]}.h5: put the "
                f"folder {dataset.folder.name} back beside it, or {REDO}"
            )
        return dataset

    @classmethod
    def open_master(cls, path: Path) -> Self:
        """Open a dataset whose runs may be missing.

        Raises:
            DatasetError: there is no dataset, it is of another make or unfinished.
        """
        file = open_sealed(path, RECIPROCAL)
        try:
            return cls(path, file)
        except ValueError as error:
            file.close()
            raise DatasetError(f"{path} cannot be used: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def require_case(self, case: Case) -> None:
        """See that the dataset was generated for a case.

        Raises:
            CaseError: it was not; the first difference is named.
        """
        require_same(self.path, self.case, case)

    @property
    def sources(self) -> NDArray[np.float64]:
        """(source, 2), length."""
        return np.array(self.plan.sources, dtype=np.float64)

    @property
    def num_sources(self) -> int:
        """Number of sources."""
        return len(self.plan.sources)

    @property
    def times(self) -> NDArray[np.float64]:
        """(time,) the levels, in units of time."""
        return self.geometry.times

    @property
    def interface(self) -> InterfaceArrays:
        """The zone's boundary."""
        return self.geometry.interface

    @property
    def medium(self) -> MediumMap:
        """The wave speed in the domain."""
        return self.geometry.medium

    @property
    def symmetries(self) -> list[Symmetry]:
        """The maps that the mesh has, which spared runs; a training may know more, see `symmetry.find`."""
        return find(self.interface, self.medium, self.plan.symmetries[1:])

    def responses(self, which: slice = slice(None)) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Impulse responses g of displacement and load on the zone's boundary: q[n] = sum of g[n - m] s[m].

        Args:
            which: The sources wanted.

        Returns:
            Two arrays, (source, time, arc), for the levels n = 0, 1, ...

        Raises:
            DatasetError: a run is damaged.
        """
        self._require_whole()
        displacement, load = (
            np.ascontiguousarray(self._file[field][:, which, :].transpose(1, 2, 0)) for field in FIELDS
        )
        return displacement, load

    def faults(self) -> Iterator[tuple[RunId, str]]:
        """The runs that are missing, damaged or not finite, and what is wrong with each."""
        for run in self.plan.samples:
            fault = shard_fault(self.folder, self.plan, run)
            if fault is None:
                nodes = sorted(node for node, _ in self.plan.orbits[run.orbit])
                if not all(np.isfinite(self._file[run.field][node]).all() for node in nodes):
                    fault = f"{run.field} has values that are not finite"
            if fault:
                yield run, fault

    def describe(self) -> dict[str, Any]:
        """Facts about the dataset, by name."""
        return {
            "case": f"{self.case.name} ({self.case.fingerprint()})",
            "runs": f"{len(self.plan.samples)}, two for each of {len(self.plan.orbits)} nodes of the zone's boundary",
            "sources": f"{self.num_sources}, seed {self.plan.seed}",
            "symmetries of the mesh": ", ".join(self.plan.symmetries),
            "levels": f"{len(self.times)} up to t = {self.times[-1]:g} {self.case.units.time}",
            "nodes on the zone's boundary": self.plan.num_nodes,
            "written by": f"submodel {self.plan.code_version}",
        }

    def _require_whole(self) -> None:
        """Compare all shards with their seals, once, before HDF5 reads them."""
        if self._whole:
            return
        for run in self.plan.samples:
            if fault := shard_fault(self.folder, self.plan, run):
                raise DatasetError(f"{self.path}: {run} {fault}; {REDO}")
        self._whole = True
