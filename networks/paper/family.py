"""The models of [A] as a family: they learn whole histories for parameter vectors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from networks.core.prediction import SourceSets
from networks.execution.layers import AUTO, policy, settle, words
from networks.paper.generator import BoundaryGenerator, build
from networks.paper.predict import HistoryPredictor
from networks.paper.spec import GeneratorSpec
from networks.paper.task import train
from networks.training.plan import History, TrainingPlan

SAMPLED_LEVELS = 16
"""Levels of each example, where a model's time is sampled."""


@dataclass(frozen=True)
class Samples:
    """Parameter vectors and the fields that belong to them.

    Attributes:
        parameters: (sample, parameter), physical.
        targets: (sample, field, time, node), physical.
    """

    parameters: np.ndarray
    targets: np.ndarray


class PaperFamily:
    """`networks.family.Family` of the models of [A]."""

    name = GeneratorSpec.family
    Spec = GeneratorSpec
    takes_signals = False

    def build(self, spec: GeneratorSpec) -> BoundaryGenerator:
        """An untrained generator, its weights drawn from torch's current seed."""
        return build(spec)

    def train(
        self, spec: GeneratorSpec, data: Samples, plan: TrainingPlan, **options: Any
    ) -> tuple[BoundaryGenerator, History]:
        """Train on samples; options as of `networks.paper.task.train`."""
        return train(spec, data.parameters, data.targets, plan, **options)

    def ready(
        self, generator: BoundaryGenerator, device: str | torch.device = "cpu", *, patient: bool = False
    ) -> BoundaryGenerator:
        """With its layers, and on a GPU its whole pass, in the fastest form."""
        generator = generator.to(device).eval()
        settle(generator, patient=patient)
        return generator

    def predictor(self, ready: BoundaryGenerator, sets: SourceSets) -> HistoryPredictor:
        """Histories for parameter vectors."""
        return HistoryPredictor(ready, sets)

    def execution(self, generator: BoundaryGenerator) -> str:
        """By their factors or rebuilt, as was measured or as the recipe says."""
        source = "as measured here" if policy(generator) == AUTO else "as its file says"
        return f"compressed layers run {words(generator)}, {source}"

    def band(self, spec: GeneratorSpec) -> None:
        """None: its frequencies are those of the parameters."""
        return None

    def predicts_zone(self, spec: GeneratorSpec) -> bool:
        """True of a model whose target is the zone."""
        return spec.target == "zone"

    def facts(self, spec: GeneratorSpec) -> dict[str, str]:
        """The trunk, and the target where that is the zone."""
        facts = {"trunk": "shared" if spec.shared else "one for each field"}
        return facts | ({"target": "the zone, boundary included"} if self.predicts_zone(spec) else {})

    def inputs(self, spec: GeneratorSpec, parameters: np.ndarray, sources: np.ndarray) -> tuple[Tensor, ...]:
        """The vectors, from the reference of the specification; with some levels where time is sampled."""
        vectors = torch.as_tensor(spec.relative(parameters), dtype=torch.float32)
        if spec.time != "sampled":
            return (vectors,)
        last = spec.num_levels - 1
        return vectors, torch.linspace(0, last, min(SAMPLED_LEVELS, last + 1)).round().long()


FAMILY = PaperFamily()
