"""Families of generators, each found by its name: the seam behind which a new kind of generator is added.

A generator is a module with a `spec`; the class of its specification says in `family` to which family it belongs, and
files hold that name. The built-in families live in folders of their own and are imported when they are first asked for.
"""

import importlib
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from networks.core.prediction import Predictor, SourceSets
from networks.training.plan import History, TrainingPlan

BUILT_IN = {
    "paper": "networks.paper.family",
    "operator": "networks.operator.family",
    "table": "networks.table.family",
}
"""Modules whose `FAMILY` is the family of that name."""


class Family(Protocol):
    """One kind of generator.

    Attributes:
        name: as files and specifications name it.
        Spec: class of the specifications: `to_dict`, `from_dict`, and in the class `family`, this family's name. An
            instance has `model`, `fields` (some of displacement, velocity, load) and `num_levels`.
        takes_signals: it predicts the answer to any signal of a source; another knows the signal of its case only.
    """

    name: str
    Spec: Any
    takes_signals: bool

    def build(self, spec: Any) -> nn.Module:
        """An untrained generator; its weights are drawn from torch's current seed."""
        ...

    def train(self, spec: Any, data: Any, plan: TrainingPlan, **options: Any) -> tuple[nn.Module, History]:
        """Train a generator.

        Args:
            spec: what to build.
            data: what the family learns from.
            plan: how to train.
            options: initial, checkpoint, resume, progress, group and clock, as of `networks.training.fit.run`.

        Returns:
            The generator, in evaluation mode, and the passes.
        """
        ...

    def ready(self, generator: Any, device: str | torch.device = "cpu", *, patient: bool = False) -> Any:
        """The generator as it predicts fastest on a device, made once for many predictions.

        Args:
            generator: a trained one, which is moved to the device and left in evaluation mode.
            device: where to run.
            patient: a minute of compiling pays.
        """
        ...

    def predictor(self, ready: Any, sets: SourceSets) -> Predictor:
        """Predictor of some sets of sources.

        Args:
            ready: a generator made ready.
            sets: the sources.

        Raises:
            ValueError: sets that it cannot take.
        """
        ...

    def execution(self, generator: Any) -> str:
        """Form in which the layers of a compressed generator run when it predicts, in words."""
        ...

    def band(self, spec: Any) -> tuple[float, float] | None:
        """Lowest and highest angular frequency that a generator takes; None where the parameters' range says it."""
        ...

    def predicts_zone(self, spec: Any) -> bool:
        """True where the nodes are those of the whole zone, False where they are those of Gamma."""
        ...

    def facts(self, spec: Any) -> dict[str, str]:
        """Lines that tell a generator from others of its family, each by its heading."""
        ...

    def inputs(self, spec: Any, parameters: np.ndarray, sources: np.ndarray) -> tuple[Tensor, ...]:
        """Arguments of a forward pass for parameter vectors (sample, parameter) with sources at (sample, axis)."""
        ...


FAMILIES: dict[str, Family] = {}
"""Families by name, those whose generators' files can be read and written; a built-in one once it was asked for."""


def named(name: str) -> Family:
    """The family of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in FAMILIES:
        if name not in BUILT_IN:
            raise ValueError(f"unknown family {name!r}; there are {', '.join(sorted({*BUILT_IN, *FAMILIES}))}")
        FAMILIES[name] = importlib.import_module(BUILT_IN[name]).FAMILY
    return FAMILIES[name]


def of(generator: Any) -> Family:
    """The family that a generator belongs to."""
    return named(generator.spec.family)
