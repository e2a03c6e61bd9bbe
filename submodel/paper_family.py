"""The networks' side of [A]'s tables: the specification of each of its models, and its two ways of training."""

from __future__ import annotations

from typing import Any

import torch

from networks.generator import build
from networks.plan import TrainingPlan
from networks.spec import GeneratorSpec
from submodel.paper_tables import Schedule

FIELDS = ("displacement", "velocity")
"""What [A]'s models predict."""


def specification(
    model: str, variant: str, *, num_levels: int, num_arc: int, grid: tuple[int, int] | None = None
) -> GeneratorSpec:
    """What to build for a model of [A] in one of its variants.

    Args:
        model, variant: names, as in `paper_tables.MODEL_TITLES` and `VARIANT_TITLES`.
        num_levels: time levels.
        num_arc: nodes of Γ, for the models that predict there.
        grid: nodes of the zone along y and x, for those that predict the zone.

    Raises:
        ValueError: an unknown name, or sizes that the model cannot take.
    """
    parts = variant.split("-")
    return GeneratorSpec.named(
        model,
        num_levels=num_levels,
        num_arc=num_arc,
        fields=FIELDS,
        shared="sl" in parts,
        batch_norm="bn" in parts,
    )


def training_plan(variant: str, schedule: Schedule, epochs: int, times: Any) -> TrainingPlan:
    """How [A] trains: short, at 1e-3 with early stopping; long, ten times the epochs, from 1e-3 to 1e-4.

    Args:
        variant: of the model; "e" and "e-sl" are trained with Euler regularisation.
        schedule: which of the two.
        epochs: of the short one.
        times: (level,) of the data, for the time derivative in eq. 21.
    """
    if schedule == "short":
        return TrainingPlan(epochs=epochs, learning_rate=1e-3, final_learning_rate=1e-3)
    return TrainingPlan(epochs=10 * epochs, learning_rate=1e-3, final_learning_rate=1e-4)


def count_parameters(spec: GeneratorSpec) -> int:
    """Trainable numbers of a model, without memory for them.

    Raises:
        ValueError: the model is not built.
    """
    with torch.device("meta"):
        return build(spec).num_parameters


def paper_remarks() -> dict[str, str]:
    """Why a model's size or ratio is off the paper's by more than 15 %, by model."""
    return {}


def own_forms() -> list[tuple[str, int, tuple[str, ...], str]]:
    """Forms of our own generator: name, trainable numbers, fields, what it is for."""
    return []
