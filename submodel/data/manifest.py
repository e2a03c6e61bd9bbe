"""The manifest of a dataset: the arguments of its generation, what is drawn from them, and the tasks that fill it."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from submodel.case.case import Case
from submodel.case.errors import SubmodelError
from submodel.data.storage.checksum import CROSS, DATASET, FORMAT_VERSION, RECIPROCAL
from submodel.geometry.arrays import Geometry

Precision = Literal["double", "single"]
MANIFEST_FILE = "plan.json"  # its name since version 1
Shapes = Mapping[str, tuple[int, ...]]
REFUSALS = {
    DATASET: "holds samples: name a dataset made with `submodel generate --reciprocal`",
    RECIPROCAL: "holds reciprocal runs, which can only be trained on: name a dataset with samples",
    CROSS: "holds cross runs, of which a wave table is made: name a dataset with samples",
}
"""Words where another kind of dataset is wanted, by the beginning of a seal."""


class DatasetError(SubmodelError, ValueError):
    """A dataset that cannot be read, or not be written as asked; the message names the remedy."""


@dataclass(frozen=True)
class Request:
    """Arguments of a generation; None stands for the case's.

    Args:
        train: number of training samples; of a reciprocal dataset, of sources, 2048 when None.
        test: number of test samples.
        calibration: number of calibration samples.
        seed: of the Latin hypercubes.
        ranks_per_sample: MPI ranks that share a run.
        fields: whether displacement and velocity in the zone are stored.
        precision: of the explicit steps; single is nearly twice as fast, at errors of some 1e-6.
    """

    train: int | None = None
    test: int | None = None
    calibration: int | None = None
    seed: int | None = None
    ranks_per_sample: int = 1
    fields: bool = True
    precision: Precision = "double"


@dataclass(frozen=True)
class Task:
    """One shard to make: a sample of a split, or a reciprocal run of a quantity, by its number therein."""

    group: str
    index: int

    def __str__(self) -> str:
        return f"{self.group}-{self.index:04d}"


@dataclass(frozen=True)
class Stored:
    """An array that lies in the joining file itself."""

    name: str
    values: NDArray[np.float64]
    axes: str
    unit: str


@dataclass(frozen=True)
class Piece:
    """An array of a shard, or a part of it, that is one row of a joined array.

    Args:
        task: whose shard it is.
        array: name therein.
        shape: of all of that array.
        part: which part of it is taken.
    """

    task: Task
    array: str
    shape: tuple[int, ...]
    part: Any = ...


@dataclass(frozen=True)
class Joined:
    """An array of the joining file whose rows lie in shards.

    Args:
        name: of the array.
        shape: of one row.
        pieces: the rows.
        axes: names of the axes.
    """

    name: str
    shape: tuple[int, ...]
    pieces: list[Piece]
    axes: str


@dataclass(frozen=True)
class Manifest(ABC):
    """Everything that decides the bytes of a dataset.

    Args:
        case: JSON of the case.
        seed: of the Latin hypercubes.
        ranks_per_sample: the order of sums, and with it the last bit, depends on it.
        code_version: of submodel.
    """

    case: str
    seed: int
    ranks_per_sample: int
    code_version: str

    FORMAT: ClassVar[str]  # attribute of the joining file
    SEAL: ClassVar[str]  # the beginning of its seal
    UNIT: ClassVar[str]  # of what is counted
    SMALLER: ClassVar[str]  # a way to need less room
    STORED: ClassVar[tuple[str, ...]]  # attributes of the joining file beside case, seed and code_version
    LISTS: ClassVar[tuple[str, ...]] = ()  # those among them that stand there as JSON

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError: the text is not a manifest of this kind.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"not the manifest of a dataset of {cls.UNIT}: {error}") from error

    def to_json(self) -> str:
        """Text that `from_json` reads back as an equal manifest."""
        return json.dumps(asdict(self), sort_keys=True)

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits that tell this manifest from any other."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @classmethod
    def from_file(cls, attributes: Mapping[str, Any], read: Callable[[str], NDArray[Any]]) -> Self:
        """Read it from a joining file.

        Args:
            attributes: of its root.
            read: gives an array by name.

        Raises:
            ValueError: something is missing, as in a file of an older make.
        """
        names = ("case", "seed", "code_version", *cls.STORED)
        if missing := [name for name in names if name not in attributes]:
            raise ValueError(
                f"it does not say {missing[0]}, another submodel made it: use that one, or delete it with its shards "
                "and run `submodel generate` again"
            )
        values = {name: attributes[name] for name in names}
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
        return cls(**plain | {name: json.loads(plain[name]) for name in cls.LISTS} | cls._drawn(read))

    def attributes(self) -> dict[str, Any]:
        """Attributes of the joining file's root."""
        begin: dict[str, Any] = {"format": self.FORMAT, "format_version": FORMAT_VERSION}
        begin |= {"plan": self.key, "case": self.case}
        begin |= {"case_fingerprint": Case.from_json(self.case).fingerprint(), "code_version": self.code_version}
        own = {name: getattr(self, name) for name in ("seed", *self.STORED)}
        return begin | own | {name: json.dumps(own[name]) for name in self.LISTS}

    @property
    def shard_attributes(self) -> dict[str, Any]:
        """Attributes that all shards have."""
        return {"format": "submodel-shard", "format_version": FORMAT_VERSION, "plan": self.key}

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All that is to be made, in order."""
        return tuple(Task(group, index) for group, num in self.counts().items() for index in range(num))

    def num_bytes(self, tasks: list[Task], geometry: Geometry) -> int:
        """Bytes of the arrays of some tasks."""
        shapes = [shape for task in tasks for shape in self.shapes(task, geometry).values()]
        return sum(4 * int(np.prod(shape)) for shape in shapes)

    def difference(self, asked: Self) -> str | None:
        """The first difference between what was begun and what is asked for now, or None, in a clause."""
        for option, begun in self.options().items():
            now = asked.options()[option]
            if begun != now:
                return f"was begun with {option} {begun}, you asked for {option} {now}"
        if self.code_version != asked.code_version:
            return f"was begun by submodel {self.code_version}, this is {asked.code_version}"
        for key, before, now in Case.from_json(self.case).differences(Case.from_json(asked.case)):
            return f"was begun from a case with {key} = {json.dumps(before)}, yours has {json.dumps(now)}"
        return self._other_difference(asked)

    def label(self, task: Task) -> str:
        """Name of a task in a message."""
        return str(task)

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Number of tasks, by split or quantity."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Options of the command line that decide the dataset."""

    @abstractmethod
    def marks(self, task: Task) -> dict[str, Any]:
        """Attributes of a task's shard."""

    @abstractmethod
    def shapes(self, task: Task, geometry: Geometry) -> Shapes:
        """Shape of each array of a task's shard."""

    @abstractmethod
    def contents(self, geometry: Geometry) -> Iterator[Stored | Joined]:
        """Arrays of the joining file, beside the geometry."""

    @abstractmethod
    def parameters_by_name(self) -> list[tuple[str, tuple[float, ...]]]:
        """Parameters, which must differ and be possible, with what they belong to."""

    @abstractmethod
    def require(self, case: Case, vector: tuple[float, ...]) -> None:
        """Refuse one of these that the case cannot run.

        Raises:
            CaseError: it cannot.
        """

    @classmethod
    @abstractmethod
    def _drawn(cls, read: Callable[[str], NDArray[Any]]) -> dict[str, Any]:
        """Values that are arrays of the joining file."""

    @abstractmethod
    def _other_difference(self, asked: Self) -> str | None:
        """A difference that is neither one of the options nor of the case."""


def rows(array: NDArray[np.float64]) -> list[list[float]]:
    """A matrix as plain numbers."""
    return [[float(value) for value in row] for row in array]


def shards_folder(path: Path) -> Path:
    """The folder of a dataset's shards, beside it: dataset.h5 and dataset.shards/."""
    return path.with_suffix(".shards")
