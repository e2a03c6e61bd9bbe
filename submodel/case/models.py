"""Names of the models that a case can ask for, and the keys of [training] that each family of them takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Model = Literal[
    "operator",
    "table",
    "fc-t",
    "conv2d",
    "conv2d-t",
    "conv3d",
    "conv2.5d",
    "conv2.5db",
    "fc-t-boundary",
    "conv1d-boundary",
    "conv1d-t-boundary",
    "conv2d-boundary",
    "conv1.5d-boundary",
]
"""Built-in models: the operator generator, the wave table, then those of the paper."""

COMMON = frozenset({"model", "epochs", "seconds", "seed"})
"""Keys of [training] that every family takes."""


@dataclass(frozen=True)
class ModelFamily:
    """Models of one kind.

    Args:
        name: As in `networks.family`.
        title: In a sentence.
        models: Their names in a case.
        keys: Keys of [training] that they take beside `COMMON`.
        zone_models: Those that predict the zone's inside, where there is no load.
    """

    name: str
    title: str
    models: tuple[str, ...]
    keys: frozenset[str]
    zone_models: frozenset[str] = frozenset()


OPERATOR = ModelFamily("operator", "the operator generator", ("operator",), frozenset({"rays", "size", "validation"}))
TABLE = ModelFamily("table", "the wave table", ("table",), frozenset({"tolerance", "basis", "numbers"}))
PAPER = ModelFamily(
    "paper",
    "a model of the paper",
    get_args(Model)[2:],
    frozenset({"variant", "compressible", "fields", "batch_size", "validation"}),
    frozenset(model for model in get_args(Model)[2:] if not model.endswith("boundary")),
)
FAMILIES: dict[str, ModelFamily] = {family.name: family for family in (OPERATOR, TABLE, PAPER)}
"""Families by name, those whose models a case can ask for."""


def model_names() -> tuple[str, ...]:
    """All models that a case can ask for."""
    return tuple(model for family in FAMILIES.values() for model in family.models)


def family_of(model: str) -> ModelFamily:
    """The family of a model.

    Raises:
        ValueError: No family has it.
    """
    for family in FAMILIES.values():
        if model in family.models:
            return family
    raise ValueError(f'training.model = "{model}" is not known: write one of {", ".join(model_names())}')


def families_taking(key: str) -> list[ModelFamily]:
    """The families that take a key of [training]."""
    return [family for family in FAMILIES.values() if key in family.keys]
