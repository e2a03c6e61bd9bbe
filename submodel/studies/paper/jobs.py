"""Jobs that make up a reproduction of [A]'s tables, and the outcome that each leaves. Plain values, no torch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from networks.paper.catalogue import variant
from networks.paper.printed_tables import MODEL_TITLES, SCHEDULES, VARIANT_TITLES, ZONE_MODELS, Schedule
from submodel.data.storage.whole import write_json


@dataclass(frozen=True)
class Job:
    """One model to train and validate.

    Attributes:
        model, variant: names, as in `MODEL_TITLES` and `VARIANT_TITLES`.
        schedule: "short" is [A]'s 1000 epochs, "long" its 10000.
    """

    model: str
    variant: str
    schedule: Schedule

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.model}.{self.variant}.{self.schedule}"

    @property
    def predicts_zone(self) -> bool:
        """True where the model predicts the zone's fields, not those on Γ alone."""
        return self.model in ZONE_MODELS

    def __str__(self) -> str:
        return f"{MODEL_TITLES[self.model]}, {VARIANT_TITLES[self.variant]}, {self.schedule}"


@dataclass(frozen=True)
class Errors:
    """Error of one field, as fractions: mean over some samples of ε's time mean, and of the relative L2 error."""

    epsilon: float
    relative_l2: float


@dataclass(frozen=True)
class Outcome:
    """Figures that a job left.

    Attributes:
        job: which one.
        num_parameters: trainable numbers.
        planned_epochs, epochs, best_epoch: of the training; fewer are run than planned where it stopped early.
        epoch_seconds: mean wall time of an epoch, its validation included.
        device: where it was trained.
        num_samples: samples of each split that the errors are means over.
        errors: by `PaperTable.key`.
        failure: why there are none, if so.
    """

    job: Job
    num_parameters: int
    planned_epochs: int
    epochs: int = 0
    best_epoch: int = 0
    epoch_seconds: float = float("nan")
    device: str = ""
    num_samples: dict[str, int] = field(default_factory=dict)
    errors: dict[str, Errors] = field(default_factory=dict)
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_json`.

        Raises:
            TypeError: an unknown or missing entry.
        """
        errors = {key: Errors(**error) for key, error in values["errors"].items()}
        return cls(**{**values, "job": Job(**values["job"]), "errors": errors})


def select(models: Sequence[str] = (), variants: Sequence[str] = (), schedule: str = "short") -> tuple[Job, ...]:
    """The jobs of a selection, in the paper's order.

    Args:
        models: names; none stands for all eleven.
        variants: names; none stands for all six.
        schedule: "short", "long" or "both".

    Raises:
        ValueError: an unknown name; the message lists those there are.
    """
    for name in variants:
        variant(name)  # says why E and BN exclude each other
    chosen_models = _known("model", models, tuple(MODEL_TITLES))
    chosen_variants = _known("variant", variants, tuple(VARIANT_TITLES))
    schedules = SCHEDULES if schedule == "both" else _known("schedule", [schedule], SCHEDULES)
    return tuple(Job(*triple) for triple in itertools.product(chosen_models, chosen_variants, schedules))


def read_outcome(path: Path, key: str) -> Outcome | None:
    """The outcome of a job, or None where there is none that was made under this key."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Outcome.from_json(document["record"]) if document["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_outcome(path: Path, key: str, outcome: Outcome) -> None:
    """Write the outcome of a job, whole or not at all."""
    write_json(path, {"key": key, "record": outcome.to_json()})


Name = Literal["model", "variant", "schedule"]
Known = TypeVar("Known", bound=str)


def _known(what: Name, names: Sequence[str], known: tuple[Known, ...]) -> tuple[Known, ...]:
    """The names in the order of those that are known."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown {what} {unknown[0]!r}: there are {', '.join(known)}")
    return tuple(name for name in known if name in names) if names else known
