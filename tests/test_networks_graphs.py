"""Recorded and compiled passes: chosen by a clock that is told what to show, recorded by a stand-in for CUDA graphs."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from networks.execution import layers as execution
from networks.execution import measure as measured
from networks.execution.graphs import PLAIN, RecordedPass, Replayable, fastest, makers, record_cuda
from networks.execution.layers import executions, set_executions, settle
from networks.paper.generator import BoundaryGenerator, build
from networks.paper.predict import predict
from networks.paper.spec import GeneratorSpec

CPU = torch.device("cpu")


class Recorder:
    """Replays into one output, as a CUDA graph does; counts."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        self.recorded += 1
        output = work()

        def replay() -> None:
            self.replayed += 1
            output.copy_(work())

        return replay, output


class Clock:
    """Seconds by turns, in the order in which versions are measured."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.turn = seconds, 0

    def __call__(self, work: Callable[[], object]) -> float:
        work()
        self.turn += 1
        return self.seconds[(self.turn - 1) % len(self.seconds)]


def generator(**options: object) -> BoundaryGenerator:
    torch.manual_seed(5)
    sizes = {"coarse": (4, 4), "widths": (6, 4), "kernel_size": (3, 3), "stem": 5, **options}
    return build(GeneratorSpec(12, 10, **sizes)).eval()  # type: ignore[arg-type]


def test_a_recorded_pass_takes_new_inputs_and_gives_tensors_of_its_own() -> None:
    recorder = Recorder()
    recorded = RecordedPass(lambda x, y: x + 2 * y, (torch.zeros(3), torch.zeros(3)), recorder)
    first = recorded(torch.ones(3), torch.ones(3))
    second = recorded(torch.ones(3), torch.zeros(3))
    assert first.tolist() == [3, 3, 3] and second.tolist() == [1, 1, 1]
    assert (recorder.recorded, recorder.replayed) == (1, 2)


@pytest.mark.parametrize(("seconds", "name"), [((2.0, 1.0), "recorded"), ((1.0, 2.0), PLAIN), ((1.02, 1.0), PLAIN)])
def test_the_fastest_pass_is_chosen_and_the_plain_one_in_a_tie(seconds: tuple[float, float], name: str) -> None:
    ways: dict[str, Any] = {"recorded": partial(RecordedPass, recorder=Recorder())}
    chosen = fastest(torch.sin, (torch.ones(2),), ways, Clock(*seconds))
    assert chosen.name == name and chosen.seconds == {PLAIN: seconds[0], "recorded": seconds[1]}
    torch.testing.assert_close(chosen.function(torch.ones(2)), torch.ones(2).sin())


def test_what_fails_or_differs_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    def no_compiler(*_: object) -> Callable[..., Tensor]:
        raise RuntimeError("there is no compiler")

    ways: dict[str, Any] = {
        "compiled": no_compiler,
        "wrong": lambda function, inputs: lambda x: function(x) + 0.1,
        "cut": lambda function, inputs: lambda x: function(x)[:1],
        "nan": lambda function, inputs: lambda x: function(x) * float("nan"),
    }
    chosen = fastest(torch.sin, (torch.ones(2),), ways, Clock(1.0), repeats=2)
    assert chosen.name == PLAIN and set(chosen.seconds) == {PLAIN}
    assert chosen.refused["compiled"] == "RuntimeError: there is no compiler"
    assert all("differ by" in chosen.refused[name] for name in ("wrong", "cut", "nan"))
    assert "the compiled pass is not used" in caplog.text
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        fastest(torch.sin, (torch.ones(2),), ways, Clock(1.0), repeats=0)


def test_on_a_cpu_there_is_the_plain_pass_alone() -> None:
    assert makers(CPU) == makers(CPU, patient=True) == {}
    assert list(makers(torch.device("cuda"))) == ["recorded"]
    assert list(makers(torch.device("cuda"), patient=True)) == ["recorded", "compiled"]


def settled(monkeypatch: pytest.MonkeyPatch, recorder: Recorder, *seconds: float) -> BoundaryGenerator:
    """A generator whose pass is chosen by told seconds, by those of its layers first."""
    monkeypatch.setattr(execution, "is_open", lambda model: True)  # as on a GPU
    ways = {"recorded": partial(RecordedPass, recorder=recorder)}
    monkeypatch.setattr(execution, "makers", lambda device, patient: ways)
    clocks = iter([Clock(1.0)] * len(executions(generator())) + [Clock(*seconds[i : i + 2]) for i in (0, 2, 4)])
    monkeypatch.setattr(measured, "clock", lambda device: next(clocks))
    model = generator()
    settle(model)
    return model


def test_a_generator_replays_its_pass_for_one_source(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    # the layers tie, so all are dense; dense, then factorised, each plain and recorded
    model = settled(monkeypatch, recorder, 9.0, 3.0, 8.0, 2.0)
    assert set(executions(model).values()) == {"factorised"}  # the faster one once it is recorded
    one, two = torch.rand(1, 3), torch.rand(2, 3)
    with torch.no_grad():
        expected = model.evaluated(one)
        count = recorder.replayed
        assert model(one).equal(expected) and recorder.replayed == count + 1
        model(two)  # another batch
    model(one)  # with gradients
    assert recorder.replayed == count + 1
    predict(model, one.numpy().astype(np.float64))
    assert recorder.replayed == count + 2  # `predict` moves it to where it is
    assert copy.deepcopy(model)._chosen is None


@pytest.mark.parametrize("change", ["double", "train", "load", "none"])
def test_what_was_chosen_is_dropped_when_the_generator_changes(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = settled(monkeypatch, Recorder(), 9.0, 3.0, 8.0, 2.0)
    assert model._chosen is not None
    if change == "double":
        model.double()
    elif change == "train":
        model.train()
    elif change == "load":
        model.load_state_dict(generator().state_dict())
    else:
        settled(monkeypatch, Recorder(), 1.0, 3.0, 1.0, 2.0)
        model.replay((torch.rand(1, 3),), None)
    assert model._chosen is None


def test_moving_to_where_it_is_keeps_what_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    model = settled(monkeypatch, Recorder(), 9.0, 3.0, 8.0, 2.0)
    model.to("cpu").eval()
    assert model._chosen is not None
    set_executions(model, dict.fromkeys(executions(model), "dense"))
    layer = model.trunks[0].stages[0][0].conv  # type: ignore[index,union-attr]
    with torch.no_grad():
        model.evaluated(torch.rand(1, 3))
        made = layer._kept["dense"]
        model.to("cpu").eval()
        assert layer._kept["dense"] is made
        model.double()
        assert not layer._kept


def test_a_plain_pass_that_is_fastest_needs_no_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    model = settled(monkeypatch, recorder, 1.0, 3.0, 2.0, 3.0)
    assert model._chosen is None and set(executions(model).values()) == {"dense"}
    assert isinstance(model, Replayable) and isinstance(model, nn.Module)


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: none is found here")


@cuda
def test_cuda_graph_equals_the_plain_pass() -> None:
    device = torch.device("cuda")
    model, one = generator().to(device), torch.rand(1, 3, device=device)
    with torch.no_grad():
        expected = model.evaluated(one)
        inputs = (torch.rand(1, 3, device=device),)
        recorded = RecordedPass(model.evaluated, inputs, partial(record_cuda, device=device))
        torch.testing.assert_close(recorded(one), expected, rtol=1e-3, atol=1e-3)  # TF32
        settle(model, patient=True)
        torch.testing.assert_close(model(one), expected, rtol=1e-3, atol=1e-3)
