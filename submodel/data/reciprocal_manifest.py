"""What a reciprocal dataset is to hold: its sources, and the runs that cover them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from submodel import __version__
from submodel.case.case import Case
from submodel.case.sampling import sample
from submodel.data.manifest import case_difference, rows
from submodel.geometry.symmetry import Symmetries

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
            case.require_source(*case.parameters.source(vector))
        return cls(
            case=case.to_json(),
            seed=seed,
            ranks_per_sample=ranks_per_sample,
            code_version=__version__,
            sources=rows(case.parameters.sources(vectors)),
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
