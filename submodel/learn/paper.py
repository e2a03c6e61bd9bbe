"""Training of the models of [A]: what they are given, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from networks.paper.catalogue import VARIANTS
from networks.paper.generator import BoundaryGenerator
from networks.paper.printed_tables import ZONE_MODELS
from networks.paper.spec import GeneratorSpec
from networks.paper.train import train
from networks.training.plan import COMPRESSIBLE, EULER_WEIGHT, Epoch, TrainingPlan
from submodel.case.case import Case
from submodel.data.dataset import Dataset
from submodel.geometry.zone_target import Sizes
from submodel.learn.budget import Length
from submodel.learn.paper_spec import reference, specification


@dataclass(frozen=True)
class Job:
    """A training about to begin.

    Args:
        spec: What to build.
        plan: How to train it.
        parameters: (sample, axis).
        targets: (sample, field, time, node).
    """

    spec: GeneratorSpec
    plan: TrainingPlan
    parameters: NDArray[np.float64]
    targets: NDArray[np.float32]

    def train(self, **options: Any) -> tuple[BoundaryGenerator, tuple[Epoch, ...]]:
        """Train; options are those of `networks.paper.train.train`."""
        return train(self.spec, self.parameters, self.targets, self.plan, **options)


def prepare(case: Case, dataset: Dataset, length: Length) -> Job:
    """Read what the case's model learns from.

    Raises:
        CaseError: A model of the zone is to predict the load, which the zone's inside does not have.
        DatasetError: The dataset lacks zone fields, or is damaged.
        ValueError: The model cannot be built for this zone, or numbers are out of range.
    """
    said = case.training
    zone = said.model in ZONE_MODELS
    fields = said.predicted()
    if not zone:
        dataset.gamma.closed_loop_size()
    euler = VARIANTS[said.variant].euler
    plan = TrainingPlan(
        epochs=length.epochs,
        seconds=length.seconds,
        batch_size=said.batch_size,
        validation=said.validation,
        seed=length.seed,
        device=length.device,
        threads=length.threads,
        euler=EULER_WEIGHT if euler else 0.0,
        dt=case.time.dt if euler else None,
        **(COMPRESSIBLE if said.compressible else {}),
    )
    spec = specification(said.model, said.variant, Sizes.of(dataset.geometry), fields, case.parameters.dimension)
    spec = replace(spec, reference=reference(case.parameters, dataset.gamma))
    return Job(spec, plan, dataset.parameters("train"), targets(dataset, fields, zone=zone))


def targets(dataset: Dataset, fields: Sequence[str], *, zone: bool) -> NDArray[np.float32]:
    """What the training samples are to become, (sample, field, time, node): fields of the zone, or on Γ.

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
