"""How the layers of a generator run: what is measured, what keeps its factors, what is kept."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from networks.core.distributed import current_group
from networks.execution import layers as execution
from networks.execution import measure as measured
from networks.execution.layers import executions, is_open, rebuildable, set_executions, settle, settle_training
from networks.execution.measure import choose_execution
from networks.layers.decomposed import DecomposedConv, Decomposition, DenseConv
from networks.paper.generator import BoundaryGenerator, build
from networks.paper.spec import GeneratorSpec
from networks.paper.task import train
from networks.training.plan import TrainingPlan


def generator(**options: Any) -> BoundaryGenerator:
    torch.manual_seed(3)
    sizes = {"coarse": (4, 4), "widths": (6, 4), "kernel_size": (3, 3), "stem": 5, **options}
    return build(GeneratorSpec(12, 10, **sizes)).eval()


def told(faster: str) -> Callable[..., Any]:
    """A clock by which one execution is always faster."""

    def make(_: torch.device) -> Callable[[Callable[[], object]], float]:
        turns = {"number": 0}

        def timer(work: Callable[[], object]) -> float:
            work()
            repeat, place = divmod(turns["number"], 2)
            turns["number"] += 1
            order = measured.EXECUTIONS if repeat % 2 else measured.EXECUTIONS[::-1]
            return 1.0 if order[place] == faster else 2.0

        return timer

    return make


@pytest.mark.parametrize("faster", ["factorised", "dense"])
def test_layers_of_the_paper_are_measured_at_inference(faster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = generator()
    parameters = torch.rand(2, 3)
    with torch.no_grad():
        before = model(parameters)
    assert not is_open(model)  # on a CPU
    monkeypatch.setattr(execution, "is_open", lambda model: True)  # as on a GPU
    num = len(rebuildable(model))
    clocks = told(faster)
    monkeypatch.setattr(measured, "clock", lambda device: clocks(device))
    settle(model)
    assert list(executions(model).values()) == [faster] * num and num > 4
    with torch.no_grad():
        after = model(parameters)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)  # float32 sums in another order


def test_predictions_on_a_cpu_keep_the_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    """They repeat to the bit: nothing is chosen by a clock."""
    model = generator()
    monkeypatch.setattr(measured, "clock", told("dense"))
    settle(model)
    assert set(executions(model).values()) == {"factorised"}
    model.to("meta")  # another device
    assert is_open(model)


def test_training_on_a_cpu_keeps_the_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    model = generator()
    clocks = told("dense")
    monkeypatch.setattr(measured, "clock", lambda device: clocks(device))
    settle_training(model, (torch.rand(2, 3),), current_group())
    assert set(executions(model).values()) == {"factorised"}
    model.compression = {"execution": "auto"}  # type: ignore[assignment]  # a recipe that asks for it
    settle_training(model, (torch.rand(2, 3),), current_group())
    assert set(executions(model).values()) == {"dense"}


def test_what_a_recipe_says_is_kept() -> None:
    model = generator()
    model.compression = {"execution": "factorised"}  # type: ignore[assignment]
    assert not is_open(model)
    settle(model)
    assert set(executions(model).values()) == {"factorised"}
    assert not is_open(nn.Linear(2, 2))
    assert not is_open(generator(split="none"))


def test_a_layer_without_a_dense_form_is_left_alone() -> None:
    bent = DecomposedConv(2, 2, (3, 3), Decomposition(activation=nn.Tanh()))
    model = nn.Sequential(bent, DecomposedConv(2, 2, (3, 3)))
    assert set(choose_execution(model, torch.randn(1, 2, 5, 5), repeats=1)) == {"1"}
    assert executions(model).keys() == {"1"}
    for name, value in (("0", "dense"), ("1", "sparse"), ("2", "dense")):
        with pytest.raises(ValueError, match="no layer of factors"):
            set_executions(model, {name: value})
    set_executions(model, {"1": "dense"})
    assert model[1].execution == "dense"


def test_a_training_is_the_same_by_dense_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU may choose: gradients pass through the kernels that are rebuilt in each step."""
    spec = generator().spec
    rng = np.random.default_rng(0)
    parameters = rng.random((6, 3))
    targets = rng.standard_normal((6, len(spec.fields), 12, 10)).astype(np.float32)
    plan = TrainingPlan(epochs=3, batch_size=3, learning_rate=1e-3)
    _, factorised = train(spec, parameters, targets, plan)

    def all_dense(model: nn.Module, *_: Any, **__: Any) -> None:
        set_executions(model, dict.fromkeys(executions(model), "dense"))

    monkeypatch.setattr("networks.paper.task.settle_training", all_dense)
    _, dense = train(spec, parameters, targets, plan)
    for ours, theirs in zip(factorised, dense, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)  # float32 and three epochs of Adam


def test_dense_layers_are_no_layers_of_factors() -> None:
    assert rebuildable(nn.Sequential(DenseConv(2, 2, (3, 3)))) == {}
    assert execution.words(generator()) == ""
