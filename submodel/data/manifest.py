"""What a dataset is to hold: the arguments of its generation and the parameters drawn from them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from submodel import __version__
from submodel.case.case import Case
from submodel.case.sampling import SPLITS, Split, sample

Precision = Literal["double", "single"]
PRECISIONS = get_args(Precision)
OPTIONS = {
    "seed": "--seed",
    "train": "--train",
    "test": "--test",
    "calibration": "--calibration",
    "ranks_per_sample": "--ranks-per-sample",
    "precision": "--precision",
}
PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class SampleId:
    """One sample: its split and its place therein."""

    split: Split
    index: int

    def __str__(self) -> str:
        return f"{self.split}-{self.index:04d}"


@dataclass(frozen=True)
class Plan:
    """Everything that decides the bytes of a dataset.

    Args:
        case: JSON of the case.
        seed: of the Latin hypercubes.
        train: number of training samples.
        test: number of test samples.
        calibration: number of calibration samples.
        fields: whether displacement and velocity in the zone are stored.
        ranks_per_sample: the order of sums, and with it the last bit, depends on it.
        precision: of the explicit steps, double or single.
        code_version: of submodel.
        parameters: vector of each sample, by split.
    """

    case: str
    seed: int
    train: int
    test: int
    calibration: int
    fields: bool
    ranks_per_sample: int
    precision: Precision
    code_version: str
    parameters: dict[str, list[list[float]]]

    @classmethod
    def draw(
        cls,
        case: Case,
        *,
        train: int | None,
        test: int | None,
        calibration: int | None = 0,
        seed: int | None,
        fields: bool,
        ranks_per_sample: int,
        precision: Precision = "double",
    ) -> Plan:
        """Draw the samples; what is None is the case's.

        Raises:
            ValueError: a count or the seed is negative, nothing is asked for, or a source cannot be run.
        """
        num: dict[Split, int] = {}
        for split, asked in zip(SPLITS, (train, test, calibration), strict=True):
            num[split] = getattr(case.parameters, split) if asked is None else asked
            if num[split] < 0:
                raise ValueError(f"--{split} is {num[split]}: give a number of samples, 0 or more")
        if precision == "single" and case.discretization.stepper != "explicit":
            raise ValueError(
                f"--precision single is for explicit steps, the case's stepper is {case.discretization.stepper}: "
                "leave it out"
            )
        if sum(num.values()) == 0:
            raise ValueError("--train, --test and --calibration are all 0: ask for one sample at least")
        seed = case.parameters.seed if seed is None else seed
        if seed < 0:
            raise ValueError(f"--seed is {seed}: give a whole number, 0 or more")
        drawn = {split: sample(case, num[split], seed, split) for split in SPLITS}
        for vector in np.concatenate([drawn[split] for split in SPLITS]):
            case.require(vector)
        return cls(
            case=case.to_json(),
            seed=seed,
            train=num["train"],
            test=num["test"],
            calibration=num["calibration"],
            fields=fields,
            ranks_per_sample=ranks_per_sample,
            precision=precision,
            code_version=__version__,
            parameters={split: rows(drawn[split]) for split in SPLITS},
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote.

        Raises:
            ValueError: the text is not a plan.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"not the plan of a dataset: {error}") from error

    def to_json(self) -> str:
        """Text that `from_json` reads back as an equal plan."""
        return json.dumps(asdict(self), sort_keys=True)

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits that tell this plan from any other."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """Of the explicit steps."""
        return np.float32 if self.precision == "single" else np.float64

    @property
    def samples(self) -> tuple[SampleId, ...]:
        """Every sample, training first."""
        return tuple(SampleId(split, i) for split in SPLITS for i in range(self.num(split)))

    def num(self, split: Split) -> int:
        """Number of samples of a split."""
        num: int = getattr(self, split)
        return num

    def marks(self, sample: SampleId) -> dict[str, Any]:
        """What a shard says of its sample."""
        parameters = np.array(self.parameters[sample.split][sample.index])
        return {"split": sample.split, "sample": sample.index, "parameters": parameters}

    def vectors(self, split: Split) -> NDArray[np.float64]:
        """Parameters of a split, (sample, axis)."""
        return Case.from_json(self.case).parameters.matrix(self.parameters[split])

    def difference(self, asked: Plan) -> str | None:
        """What was begun and what is asked for now, in words, or None when both make the same dataset."""
        for key, option in OPTIONS.items():
            begun, now = getattr(self, key), getattr(asked, key)
            if begun != now:
                return f"was begun with {option} {begun}, you asked for {option} {now}"
        if self.fields != asked.fields:
            words = {True: "with fields in the zone", False: "with --no-fields"}
            return f"was begun {words[self.fields]}, you asked for one {words[asked.fields]}"
        return case_difference(self.case, self.code_version, asked.case, asked.code_version)


def case_difference(begun_case: str, begun_version: str, asked_case: str, asked_version: str) -> str | None:
    """In what the program, or the physics of a case, differs from that asked for now, in words."""
    if begun_version != asked_version:
        return f"was begun by submodel {begun_version}, this is {asked_version}"
    for key, begun, now in Case.from_json(begun_case).differences(Case.from_json(asked_case)):
        return f"was begun from a case with {key} = {json.dumps(begun)}, yours has {json.dumps(now)}"
    return None


def rows(array: NDArray[np.float64]) -> list[list[float]]:
    """A matrix as plain numbers."""
    return [[float(value) for value in row] for row in array]


def shards_folder(path: Path) -> Path:
    """Where the samples of a dataset lie, one file each: beside it, dataset.h5 and dataset.shards/."""
    return path.with_suffix(".shards")
