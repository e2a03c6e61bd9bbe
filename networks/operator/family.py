"""The operator generator as a family: it learns impulse responses and answers any signal."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from networks.core.prediction import SourceSets
from networks.operator.inference import OperatorInference
from networks.operator.network import OperatorGenerator
from networks.operator.spec import OperatorSpec
from networks.operator.task import train_operator
from networks.operator.training_data import ResponseData
from networks.response.predictor import ResponsePredictor
from networks.training.plan import History, TrainingPlan


class OperatorFamily:
    """`networks.family.Family` of the operator generator."""

    name = OperatorSpec.family
    Spec = OperatorSpec
    takes_signals = True

    def build(self, spec: OperatorSpec) -> OperatorGenerator:
        """An untrained generator; its case's travel times, where it has some, are among its tensors."""
        return OperatorGenerator(spec)

    def train(
        self, spec: OperatorSpec, data: ResponseData, plan: TrainingPlan, **options: Any
    ) -> tuple[OperatorGenerator, History]:
        """Train on impulse responses; options as of `networks.operator.task.train_operator`."""
        return train_operator(spec, data, plan, **options)

    def ready(
        self, generator: OperatorGenerator, device: str | torch.device = "cpu", *, patient: bool = False
    ) -> OperatorInference:
        """With all that depends on Gamma or the weights alone worked out."""
        return OperatorInference(generator, device)

    def predictor(self, ready: OperatorInference, sets: SourceSets) -> ResponsePredictor:
        """Fields, or combinations of them, for any signals."""
        return ResponsePredictor(ready, sets)

    def execution(self, generator: OperatorGenerator) -> str:
        """As one product with their neighbours."""
        return "compressed layers are folded with their neighbours, dense"

    def band(self, spec: OperatorSpec) -> tuple[float, float]:
        """The band of its specification."""
        return spec.band

    def predicts_zone(self, spec: OperatorSpec) -> bool:
        """Its nodes are those of Gamma."""
        return False

    def facts(self, spec: OperatorSpec) -> dict[str, str]:
        """Band, frequencies, rays and symmetries."""
        low, high = spec.band
        rays = {"none": "none", "direct": "the direct one", "walls": "the direct one and those from flat walls"}
        others = max(0, len(spec.symmetries) - 1)
        return {
            "takes": "any signal that starts from rest, several sources",
            "band": f"{low:.4g} to {high:.4g} rad per unit of time",
            "frequencies": str(spec.num_frequencies),
            "rays": rays.get(spec.rays, spec.rays),
            "symmetries": f"{others} beside the identity" if others else "none",
        }

    def inputs(self, spec: OperatorSpec, parameters: np.ndarray, sources: np.ndarray) -> tuple[Tensor, ...]:
        """The sources' places, from the origin of the specification."""
        return (torch.as_tensor(spec.relative(sources), dtype=torch.float32),)


FAMILY = OperatorFamily()
