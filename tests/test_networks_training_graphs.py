"""A recorded training step: chosen by a told clock, recorded by a stand-in for CUDA graphs on a CPU."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from networks.core.distributed import current_group
from networks.execution.graphs import Pass
from networks.execution.training_graphs import RecordedTraining, recorded_training
from networks.paper import task as fitting
from networks.paper.generator import BoundaryGenerator, build
from networks.paper.spec import GeneratorSpec
from networks.paper.task import SampleTask
from networks.training.fit import Fit
from networks.training.plan import TrainingPlan

SPEC = GeneratorSpec(12, 10, coarse=(4, 4), widths=(6, 4), kernel_size=(3, 3), stem=5)


class Maker:
    """Calls the function itself, with an error of choice, and counts."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.calls = factor, 0

    def __call__(self, model: nn.Module, function: Pass, inputs: tuple[Tensor, ...]) -> Pass:
        def recorded(*given: Tensor) -> Tensor:
            assert [x.shape for x in given] == [x.shape for x in inputs]
            self.calls += 1
            return function(*given) * self.factor

        return recorded


def told(*seconds: float) -> Callable[[Callable[[], object]], float]:
    turns = iter(seconds * 100)

    def timer(work: Callable[[], object]) -> float:
        work()
        return next(turns)

    return timer


def model() -> BoundaryGenerator:
    torch.manual_seed(4)
    return build(SPEC).train()


def test_the_recording_is_taken_where_it_is_faster() -> None:
    generator, maker, batch = model(), Maker(), (torch.rand(3, 3),)
    state = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    fast = recorded_training(generator, generator.standardised, batch, told(1.0, 2.0), make=maker)
    assert isinstance(fast, RecordedTraining)
    count = maker.calls
    fast(torch.rand(3, 3)).sum().backward()
    assert maker.calls == count + 1
    fast(torch.rand(2, 3))  # a smaller batch is no recording's
    assert maker.calls == count + 1
    assert all(torch.equal(tensor, state[name]) for name, tensor in generator.state_dict().items())


@pytest.mark.parametrize(("factor", "seconds"), [(1.0, (2.0, 1.0)), (1.0, (1.0, 1.02)), (1.01, (1.0, 2.0))])
def test_a_recording_that_is_slower_or_wrong_is_not_taken(factor: float, seconds: tuple[float, float]) -> None:
    generator = model()
    plain = generator.standardised
    assert recorded_training(generator, plain, (torch.rand(3, 3),), told(*seconds), make=Maker(factor)) is plain
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_what_cannot_be_recorded_stays_plain(caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: object) -> Pass:
        raise RuntimeError("operation not permitted when stream is capturing")

    generator = model()
    plain = generator.standardised
    assert recorded_training(generator, plain, (torch.rand(3, 3),), told(1.0), make=fails) is plain
    assert "not permitted" in caplog.text


def fit() -> Fit:
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((8, len(SPEC.fields), 12, 10)).astype(np.float32)
    plan = TrainingPlan(epochs=3, batch_size=3, device="cpu")
    group = current_group()
    return Fit(SampleTask(SPEC, (rng.random((8, 3)), targets), plan, group), plan, group)


def test_a_training_with_a_recorded_step_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, recorded, maker = fit(), fit(), Maker()
    monkeypatch.setattr(fitting, "recorded_training", partial(recorded_training, make=maker, margin=1e-9))
    task: Any = recorded.task
    task._record(task.train_split[0][:3])
    count = maker.calls
    for _ in range(3):
        plain.epoch()
        recorded.epoch()
    assert maker.calls == count + 3 * 2  # seven samples: two whole batches and the rest
    assert [epoch.loss for epoch in plain.history] == [epoch.loss for epoch in recorded.history]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: none is found here")
def test_cuda_graphs_train_as_plain_passes_do() -> None:
    generator = model().cuda()
    batch = (torch.rand(3, 3, device="cuda"),)
    fast = recorded_training(generator, generator.standardised, batch, told(1.0, 2.0))
    assert isinstance(fast, RecordedTraining)  # equal numbers and gradients were checked
