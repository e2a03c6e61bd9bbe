"""The choice between factors and dense weight, with a clock that is told what to show."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from networks.compression.layer.base import CompressedLayer
from networks.compression.layer.geometry import Geometry
from networks.compression.layer.trains import TrainLayer
from networks.execution.measure import Choice, choose_execution, clock

DEPTH = 6


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(11)


class FakeClock:
    """Seconds by layer and execution; does the work, and sees by hooks which layer did it and how."""

    def __init__(self, model: nn.Module, seconds: dict[str, tuple[float, float]]) -> None:
        self.seconds, self.last, self.log = seconds, ("", ""), []  # type: ignore[var-annotated]
        for name, module in model.named_modules():
            if isinstance(module, CompressedLayer):
                module.register_forward_pre_hook(lambda layer, _, name=name: self.see(name, layer))

    def see(self, name: str, layer: Any) -> None:
        self.last = (name, layer.execution)

    def __call__(self, work: Callable[[], object]) -> float:
        work()
        self.log.append(self.last)
        name, execution = self.last
        return self.seconds[name][("factorised", "dense").index(execution)] * (1 + 0.01 * (len(self.log) % 3))


def stack() -> nn.Sequential:
    """Three compressed layers around what has a state of its own."""
    geometry = Geometry.of(nn.Conv2d(DEPTH, DEPTH, 3, padding=1))
    layers = [TrainLayer(geometry, DEPTH, DEPTH, (2, 2)) for _ in range(3)]
    return nn.Sequential(layers[0], nn.BatchNorm2d(DEPTH), nn.Dropout(0.5), layers[1], layers[2])


SECONDS = {"0": (1.0, 2.0), "3": (2.0, 1.0), "4": (1.0, 1.02)}  # faster by its factors; dense; a tie


@pytest.mark.parametrize("training", [False, True])
def test_auto_takes_the_faster_form_and_dense_in_a_tie(training: bool) -> None:
    model = stack()
    timer = FakeClock(model, SECONDS)
    chosen = choose_execution(model, torch.randn(2, DEPTH, 6, 7), training=training, timer=timer)
    assert {name: choice.chosen for name, choice in chosen.items()} == {"0": "factorised", "3": "dense", "4": "dense"}
    assert [model[i].execution for i in (0, 3, 4)] == ["factorised", "dense", "dense"]
    assert chosen["0"].factorised_seconds == pytest.approx(1.01, abs=0.011)
    assert all(isinstance(choice, Choice) for choice in chosen.values())
    forms = [execution for name, execution in timer.log if name == "3"]
    assert all(set(forms[i : i + 2]) == {"factorised", "dense"} for i in range(0, len(forms), 2))  # interleaved


def test_a_measurement_leaves_the_model_as_it_was() -> None:
    model = stack()
    model[2].eval()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    choose_execution(model, torch.randn(2, DEPTH, 6, 7, generator=torch.Generator().manual_seed(1)), training=True)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_every_input_of_a_layer_that_is_used_twice_is_measured() -> None:
    geometry = Geometry.of(nn.Conv2d(DEPTH, DEPTH, 3, padding=1))
    layer = TrainLayer(geometry, DEPTH, DEPTH, (2, 2))
    model = nn.Sequential(layer, nn.AvgPool2d(2), layer)
    timer = FakeClock(model, {"0": (1.0, 3.0)})
    sizes: list[int] = []
    layer.register_forward_pre_hook(lambda _, arguments: sizes.append(arguments[0].shape[-1]))
    assert set(choose_execution(model, torch.randn(1, DEPTH, 6, 8), repeats=1, timer=timer)) == {"0"}
    assert sizes == [8, 4] * (1 + 6)


def test_layers_that_a_pass_does_not_reach_stay() -> None:
    model = nn.ModuleDict({"used": stack()[0], "unused": stack()[0]})
    model.forward = lambda x: model["used"](x)  # type: ignore[method-assign,assignment]
    model["unused"].execution = "dense"
    assert set(choose_execution(model, torch.randn(1, DEPTH, 6, 7), repeats=1)) == {"used"}
    assert model["unused"].execution == "dense"
    assert choose_execution(nn.Linear(2, 2), torch.randn(1, 2)) == {}


def test_bad_numbers_of_a_measurement() -> None:
    for wrong in ({"repeats": 0}, {"margin": 0.9}):
        with pytest.raises(ValueError, match="repeats and margin must be at least 1"):
            choose_execution(stack(), torch.randn(1, DEPTH, 6, 7), **wrong)  # type: ignore[arg-type]


def test_the_clock_times_one_run() -> None:
    runs: list[int] = []
    assert clock(torch.device("cpu"))(lambda: runs.append(1)) > 0
    assert runs == [1]
