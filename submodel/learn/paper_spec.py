"""The networks' side of [A]'s tables: the specification of each of its models, and its two ways of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from networks.paper.catalogue import VARIANTS
from networks.paper.generator import build
from networks.paper.printed_tables import ZONE_MODELS, Schedule
from networks.paper.spec import GeneratorSpec
from networks.training.plan import EULER_WEIGHT, TrainingPlan
from solvers.gamma.gamma import Gamma
from submodel.case.parameters import Parameters, X, Y
from submodel.geometry.zone_target import Sizes

FIELDS = ("displacement", "velocity")
"""Fields that [A]'s models predict."""
CHECKPOINT_EVERY = 60.0
"""Seconds between two savings of an unfinished training; that of the largest model takes 370 MB."""


def specification(
    model: str, variant: str, sizes: Sizes, fields: Sequence[str] = FIELDS, num_parameters: int = 3
) -> GeneratorSpec:
    """Specification of a model of [A] in one of its variants.

    Args:
        model, variant: names, as in `paper_tables.MODEL_TITLES` and `VARIANT_TITLES`.
        sizes: of the data.
        fields: predicted fields; by default those of [A].
        num_parameters: length of a parameter vector; by default that of [A].

    Raises:
        ValueError: an unknown name, or sizes that the model cannot take: a zone whose nodes form no grid.
    """
    zone = model in ZONE_MODELS
    return GeneratorSpec.named(
        model,
        variant=variant,
        num_levels=sizes.num_levels,
        num_arc=sizes.num_zone if zone else sizes.num_arc,
        grid=sizes.grid if zone else None,
        fields=tuple(fields),
        num_parameters=num_parameters,
    )


def reference(parameters: Parameters, gamma: Gamma) -> tuple[float, ...]:
    """The parameter vector that a model counts from: sources from the middle of Γ, all else from zero."""
    x, y = map(float, 0.5 * (gamma.points.min(axis=0) + gamma.points.max(axis=0)))
    return tuple({X: x, Y: y}.get(name, 0.0) for name in parameters.names)


def training_plan(
    variant: str, schedule: Schedule, *, epochs: int, dt: float, seed: int, device: str, threads: int
) -> TrainingPlan:
    """Plan of a training of [A]: short, at 1e-3 with early stopping; long, ten times the epochs, from 1e-3 to 1e-4.

    Args:
        variant: of the model; "e" and "e-sl" are trained with Euler regularisation.
        schedule: which of the two.
        epochs: of the short one.
        dt: time between two levels.
        seed, device, threads: as of `TrainingPlan`.
    """
    options: dict[str, Any] = {
        "euler": EULER_WEIGHT if VARIANTS[variant].euler else 0.0,
        "dt": dt,
        "seed": seed,
        "device": device,
        "threads": threads,
        "checkpoint_every": CHECKPOINT_EVERY,
    }
    if schedule == "short":
        return TrainingPlan.early_stopping(epochs=epochs, **options)
    return TrainingPlan.long_decay(epochs=10 * epochs, **options)


def count_parameters(spec: GeneratorSpec) -> int:
    """Trainable numbers of a model, without memory for them."""
    with torch.device("meta"):
        return build(spec).num_parameters
