"""A family of generators of its own: it knows the mean of the recorded fields, and goes down the main road."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from roof_problems import done, refused, submodel, toy
from torch import Tensor, nn

from networks import checkpoint, family
from networks.core.device import select_device
from networks.core.distributed import Group
from networks.core.prediction import SourceSets, Weights
from networks.training.fit import Fit, run
from networks.training.plan import History, TrainingPlan
from submodel.case import models
from submodel.case.case import Case
from submodel.data.dataset import Dataset
from submodel.geometry.metrics import relative_l2
from submodel.learn import preparation
from submodel.learn.budget import Length

FIELDS = ("displacement", "velocity", "load")


@dataclass(frozen=True)
class MeanSpec:
    """Shape of the mean."""

    family: ClassVar[str] = "mean"

    num_levels: int
    num_arc: int
    model: str = "mean"
    fields: tuple[str, ...] = FIELDS

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MeanSpec:
        return cls(**values | {"fields": tuple(values["fields"])})


class Mean(nn.Module):
    """One history for all parameters."""

    def __init__(self, spec: MeanSpec) -> None:
        super().__init__()
        self.spec = spec
        self.history = nn.Parameter(torch.zeros(len(spec.fields), spec.num_levels, spec.num_arc))

    @property
    def num_parameters(self) -> int:
        return self.history.numel()


class MeanTask:
    """Half of what is missing is learnt in each pass."""

    keeps_best = False
    num_held = 0

    def __init__(self, spec: MeanSpec, targets: np.ndarray, device: str) -> None:
        self.spec, self.data, self.device = spec, (targets,), select_device(device)
        self.model = Mean(spec).to(self.device)
        self.mean = torch.as_tensor(targets, dtype=torch.float32, device=self.device).mean(0)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.5)
        self.origin: dict[str, Any] = {"initial": None}
        self.progress: dict[str, Any] = {}
        self.remarks: list[str] = []

    def begin(self, fit: Fit, *, resumed: bool) -> None:
        pass

    def rate(self, fit: Fit) -> float:
        return 0.5

    def learn(self, batches: torch.Generator, rate: float) -> Tensor:
        miss = self.mean - self.model.history
        with torch.no_grad():
            self.model.history.add_(miss, alpha=rate)
        return miss.detach().square().mean()

    def score(self) -> Tensor:
        raise AssertionError("nothing is held out")


class MeanPredictor:
    """The mean for whatever is asked, once for each source that is not silent."""

    combines = False

    def __init__(self, generator: Mean, sets: SourceSets) -> None:
        self.fields, self.num_levels = generator.spec.fields, generator.spec.num_levels
        self.mean = generator.history.detach().double().numpy()
        assert sets.parameters is not None
        self.counts = (~np.isnan(sets.parameters).any(-1)).sum(-1)

    def levels(self, start: int, stop: int, weights: Weights | None = None) -> np.ndarray:
        return np.asarray(self.counts[:, None, None, None] * self.mean[None, :, start:stop])


class MeanFamily:
    """`networks.family.Family` of the mean."""

    name = "mean"
    Spec = MeanSpec
    takes_signals = False

    def build(self, spec: MeanSpec) -> Mean:
        return Mean(spec)

    def train(self, spec: MeanSpec, data: np.ndarray, plan: TrainingPlan, **options: Any) -> tuple[Mean, History]:
        def make(group: Group) -> MeanTask:
            return MeanTask(spec, data, plan.device)

        return run(make, plan, **options)

    def ready(self, generator: Mean, device: str | torch.device = "cpu", *, patient: bool = False) -> Mean:
        return generator.cpu().eval()

    def predictor(self, ready: Mean, sets: SourceSets) -> MeanPredictor:
        return MeanPredictor(ready, sets)

    def execution(self, generator: Mean) -> str:
        return "nothing to run"

    def band(self, spec: MeanSpec) -> None:
        return None

    def predicts_zone(self, spec: MeanSpec) -> bool:
        return False

    def facts(self, spec: MeanSpec) -> dict[str, str]:
        return {"knows": "the mean only"}

    def inputs(self, spec: MeanSpec, parameters: np.ndarray, sources: np.ndarray) -> tuple[Tensor, ...]:
        return (torch.as_tensor(parameters),)


class MeanPreparer:
    """`submodel.learn.preparation.Preparer` of the mean."""

    LEARNS_RESPONSES = False

    def prepare(self, case: Case, dataset: Dataset, length: Length) -> preparation.Preparation:
        traces = dataset.traces("train")
        targets = np.stack([traces[name] for name in case.training.fields], axis=1)
        spec = MeanSpec(case.time.levels, targets.shape[-1], fields=case.training.fields)
        plan = TrainingPlan(
            epochs=length.epochs, seconds=length.seconds, seed=length.seed, validation=0.0, device=length.device
        )
        return preparation.Preparation(spec, plan, targets)

    def fine_tuning(self, plan: TrainingPlan) -> TrainingPlan:
        return plan


@pytest.fixture
def mean_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """The three registrations, undone after the test."""
    monkeypatch.setattr(family, "FAMILIES", dict(family.FAMILIES))
    monkeypatch.setattr(models, "FAMILIES", dict(models.FAMILIES))
    monkeypatch.setattr(preparation, "PREPARERS", dict(preparation.PREPARERS))
    family.FAMILIES["mean"] = MeanFamily()
    models.FAMILIES["mean"] = models.ModelFamily("mean", "the mean", ("mean",), frozenset({"fields"}))
    preparation.PREPARERS["mean"] = MeanPreparer()


def test_a_family_of_ones_own_goes_down_the_main_road(mean_family: None, tmp_path: Path) -> None:
    case = toy(tmp_path, model='model = "mean"', variant="", batch_size="", validation="", epochs="epochs = 30")
    data, target = tmp_path / "data.h5", tmp_path / "mean.safetensors"
    done("generate", case, "-o", data)
    text = done("train", case, "--dataset", data, "-o", target)
    assert "30 epochs, loss " in text and "validation" not in text

    found, _ = checkpoint.load(target)
    with Dataset.open(data) as dataset:
        recorded = {split: dataset.traces(split) for split in ("train", "test")}  # type: ignore[arg-type]
    means = {name: recorded["train"][name].mean(axis=0) for name in FIELDS}
    for number, name in enumerate(FIELDS):
        size = np.abs(means[name]).max()
        np.testing.assert_allclose(found.history[number].detach(), means[name], rtol=0, atol=1e-6 * size)
    assert "the mean only" in done("info", target)

    drive = ("--generator", target, "--omega", 2.5, "--source", 0.6, 0.7)
    done("zoom", case, *drive, "-o", tmp_path / "one")
    table = tmp_path / "sets.csv"
    table.write_text("omega,x,y\n2.5,0.6,0.7\n2.2,0.5,0.8\n", encoding="utf-8")
    done("zoom", case, "--generator", target, "--parameters", table, "-o", tmp_path / "many")
    refused(submodel("zoom", case, *drive, "--signal", "ricker", "-o", tmp_path / "no"), "knows the signal of the case")

    report = tmp_path / "errors.json"
    done("validate", case, "--dataset", data, "--generator", target, "--json", report)
    figures: dict[str, Any] = json.loads(report.read_text())
    expected = np.mean([relative_l2(means["displacement"], true) for true in recorded["test"]["displacement"]])
    assert figures["before"]["displacement"]["relative_l2"] == pytest.approx(expected, rel=1e-3)


def test_keys_that_the_family_does_not_take_are_refused(mean_family: None, tmp_path: Path) -> None:
    case = toy(tmp_path, model='model = "mean"', variant="", validation="")
    refused(submodel("generate", case, "-o", tmp_path / "data.h5"), "training.batch_size = 4 does not go with", "mean")
