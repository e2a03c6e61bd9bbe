"""From a case and a dataset to a training, one file a family: the seam behind which a family says what it learns."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

from networks import family
from networks.training.plan import History, TrainingPlan
from submodel.case.case import Case
from submodel.case.models import family_of
from submodel.data.cross import CrossDataset
from submodel.data.dataset import Dataset, ReciprocalDataset
from submodel.data.generator_file import Reached
from submodel.data.manifest import DatasetError
from submodel.learn.budget import Length

BUILT_IN = {
    "paper": "submodel.learn.paper",
    "operator": "submodel.learn.operator",
    "table": "submodel.learn.table",
}
"""Modules that prepare the trainings of the family of that name."""


AnyDataset = Dataset | ReciprocalDataset | CrossDataset


@dataclass(frozen=True)
class Preparation:
    """A training about to begin.

    Args:
        spec: What to build.
        plan: How to train it.
        data: What its family learns from.
    """

    spec: Any
    plan: TrainingPlan
    data: Any

    @property
    def computes(self) -> bool:
        """True where the generator is computed at once, to an error, instead of trained in passes."""
        return False

    def reached(self) -> Reached | None:
        """Form and error of the generator that `train` made, where it was made to an error."""
        return None

    def train(self, **options: Any) -> tuple[Any, History]:
        """Train; options are those of `networks.family.Family.train`."""
        return family.named(self.spec.family).train(self.spec, self.data, self.plan, **options)


class Preparer(Protocol):
    """A family's own part, for example a module.

    Attributes:
        LEARNS_RESPONSES: It learns from reciprocal data too.
        LEARNS_CROSS_DATA: It learns from cross data; it need not be there where it does not.
    """

    LEARNS_RESPONSES: bool

    def prepare(self, case: Case, dataset: Any, length: Length) -> Preparation:
        """Read what the case's model learns from.

        Raises:
            CaseError: The case asks for what its model or problem does not have.
            DatasetError: The dataset lacks fields, or is damaged.
            ValueError: Numbers are out of range.
        """
        ...

    def fine_tuning(self, plan: TrainingPlan) -> TrainingPlan:
        """The plan of a compressed generator's fine-tuning, from that of its training."""
        ...


PREPARERS: dict[str, Preparer] = {}
"""Preparations by the name of their family; a built-in one once it was asked for."""


def preparer(name: str) -> Preparer:
    """The preparation of a family's trainings."""
    if name not in PREPARERS:
        module: Any = importlib.import_module(BUILT_IN[name])
        PREPARERS[name] = module
    return PREPARERS[name]


def prepare(case: Case, dataset: AnyDataset, length: Length) -> Preparation:
    """Read what a case's model learns from a dataset.

    Raises:
        CaseError: As `Preparer.prepare`; or the model cannot learn from reciprocal data.
        DatasetError, ValueError: As `Preparer.prepare`.
    """
    own = preparer(family_of(case.training.model).name)
    require_learnable(own, dataset, case.training.model)
    return own.prepare(case, dataset, length)


def require_learnable(own: Preparer, dataset: AnyDataset, model: str) -> None:
    """Refuse a reciprocal dataset for a family that needs samples, and cross data for one that takes none.

    Raises:
        DatasetError: It cannot learn from them.
    """
    if isinstance(dataset, CrossDataset) and not getattr(own, "LEARNS_CROSS_DATA", False):
        raise DatasetError(
            f"{dataset.path} holds cross data, which {model} cannot learn from: choose --model table, or use a dataset "
            "made without --cross"
        )
    if isinstance(dataset, ReciprocalDataset) and not own.LEARNS_RESPONSES:
        raise DatasetError(
            f"{dataset.path} holds responses by reciprocity, which {model} cannot learn from: "
            "use a dataset made without --reciprocal, or the operator generator"
        )
