"""Preparation of trainings of the models of [A], see `submodel.learn.preparation`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from networks.paper.catalogue import VARIANTS
from networks.paper.family import Samples
from networks.paper.printed_tables import ZONE_MODELS
from networks.training.plan import COMPRESSIBLE, EULER_WEIGHT, TrainingPlan
from submodel.case.case import Case
from submodel.data.dataset import Dataset
from submodel.geometry.zone_target import Sizes
from submodel.learn.budget import Length
from submodel.learn.paper_spec import reference, specification
from submodel.learn.preparation import Preparation

LEARNS_RESPONSES = False
"""It needs samples, see `submodel.learn.preparation.Preparer`."""
HELD_OUT = 0.1
"""Share of the samples where a case does not say it."""
FINE_TUNING_RATES = (3e-3, 3e-4)
"""First and last learning rate after compression: factors bear more than the weights that they stand for. On the
corner case, 15 times fewer numbers, 40 epochs, 3e-3 to 3e-4 left a validation error of 0.100, 3e-3 to 1e-4 0.108, 1e-3
more."""


def prepare(case: Case, dataset: Dataset, length: Length) -> Preparation:
    """Read what the case's model learns from.

    Raises:
        CaseError: A model of the zone is to predict the load, which the zone's inside does not have.
        DatasetError: The dataset lacks zone fields, or is damaged.
        ValueError: The model cannot be built for this zone, or numbers are out of range.
    """
    training = case.training
    zone = training.model in ZONE_MODELS
    fields = training.predicted()
    if not zone:
        dataset.gamma.closed_loop_size()
    euler = VARIANTS[training.variant].euler
    plan = TrainingPlan(
        epochs=length.epochs,
        seconds=length.seconds,
        batch_size=training.batch_size,
        validation=HELD_OUT if training.validation is None else training.validation,
        seed=length.seed,
        device=length.device,
        threads=length.threads,
        euler=EULER_WEIGHT if euler else 0.0,
        dt=case.time.dt if euler else None,
        **(COMPRESSIBLE if training.compressible else {}),
    )
    sizes = Sizes.of(dataset.geometry)
    spec = specification(training.model, training.variant, sizes, fields, case.parameters.dimension)
    spec = replace(spec, reference=reference(case.parameters, dataset.gamma))
    samples = Samples(dataset.parameters("train"), targets(dataset, fields, zone=zone))
    return Preparation(spec, plan, samples)


def fine_tuning(plan: TrainingPlan) -> TrainingPlan:
    """The plan of a compressed generator's fine-tuning: its ranks are low by now, and a short one wants more steps."""
    first, last = FINE_TUNING_RATES
    size = max(1, plan.batch_size // 2)
    return replace(plan, weight_decay=0.0, batch_size=size, learning_rate=first, final_learning_rate=last)


def targets(dataset: Dataset, fields: Sequence[str], *, zone: bool) -> NDArray[np.float32]:
    """Targets of the training samples, (sample, field, time, node): fields of the zone, or on Γ.

    Raises:
        DatasetError: The dataset lacks zone fields, or is damaged.
    """
    if not zone:
        traces = dataset.traces("train")
        return np.stack([traces[name] for name in fields], axis=1)
    num = dataset.num_samples("train")
    out: NDArray[np.float32] = np.empty((num, len(fields), len(dataset.times), len(dataset.zone_points)), np.float32)
    for index in range(num):
        both = dict(zip(("displacement", "velocity"), dataset.zone_fields("train", index), strict=True))
        for place, name in enumerate(fields):
            out[index, place] = both[name]
    return out
