"""Training: it learns, repeats itself, resumes to the bit, and says what is wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from networks.checkpoint import CheckpointError, save
from networks.core.tensor_file import read_tensors, write_tensors
from networks.paper.generator import BoundaryGenerator
from networks.paper.losses import mean_absolute
from networks.paper.predict import predict
from networks.paper.spec import GeneratorSpec
from networks.paper.task import SampleTask, train
from networks.training.fit import TrainingError, split_samples
from networks.training.plan import Epoch, Progress, TrainingPlan
from networks.training.state import TRAINING

SMALL: dict[str, Any] = {"coarse": (4, 4), "widths": (16, 12), "stem": 16, "depth": 1}
SPEC = GeneratorSpec.named("conv1.5d-boundary", num_levels=24, num_arc=16, **SMALL)
PLAN = TrainingPlan(epochs=6, batch_size=3, device="cpu", threads=1, seed=5, checkpoint_every=0)


def waves(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth fields of parameters: u = sin(w t + phase along the arc), v = u_t."""
    p = np.random.default_rng(seed).uniform(1, 2, (num, 3))
    t = np.linspace(0, 3, SPEC.num_levels)[:, None]
    arc = 2 * np.pi * np.arange(SPEC.num_arc) / SPEC.num_arc
    phase = p[:, 0, None, None] * t + p[:, 1, None, None] * np.cos(arc - p[:, 2, None, None])
    return p, np.stack((np.sin(phase), p[:, 0, None, None] * np.cos(phase)), 1).astype(np.float32)


def same(a: BoundaryGenerator, b: BoundaryGenerator) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


class KilledError(Exception):
    pass


def test_overfits_one_batch() -> None:
    p, u = waves(4)
    plan = TrainingPlan(epochs=200, batch_size=4, validation=0, device="cpu", threads=1, learning_rate=5e-3)
    generator, history = train(SPEC, p, u, plan)
    error = np.linalg.norm(predict(generator, p) - u) / np.linalg.norm(u)
    assert error < 0.05, error
    assert history[-1].loss < 0.1 * history[0].loss


def test_learns_what_it_has_not_seen() -> None:
    p, u = waves(60)
    q, v = waves(20, seed=1)
    generator, _ = train(SPEC, p, u, TrainingPlan(epochs=30, batch_size=9, learning_rate=1e-2, device="cpu", threads=1))
    assert np.linalg.norm(predict(generator, q) - v) / np.linalg.norm(v) < 0.15  # the mean of the samples is off by 0.6


def test_repeats_itself_and_leaves_the_global_seed_alone() -> None:
    p, u = waves(12)
    torch.manual_seed(1)
    first, history = train(SPEC, p, u, PLAN)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    second, again = train(SPEC, p, u, PLAN)
    assert same(first, second)
    assert [e.validation for e in history] == [e.validation for e in again]
    other, _ = train(SPEC, p, u, dataclasses.replace(PLAN, seed=6))
    assert not same(first, other)


@pytest.mark.parametrize("kind", ["plain", "normalised", "sampled", "euler"])
@pytest.mark.parametrize("last", [2, 5])
def test_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, kind: str, last: int) -> None:
    p, u = waves(12)
    spec = dataclasses.replace(SPEC, batch_norm=kind == "normalised")
    if kind == "sampled":
        sizes = {**SMALL, "coarse": (4,), "time_features": 4}
        spec = GeneratorSpec.named("conv1d-t-boundary", num_levels=24, num_arc=16, **sizes)
    euler = {"euler": 0.1, "dt": 0.1} if kind == "euler" else {}
    plan = dataclasses.replace(PLAN, **euler)  # type: ignore[arg-type]
    whole, history = train(spec, p, u, plan)
    path = tmp_path / "state.safetensors"

    def kill(progress: Progress) -> None:
        if progress.epoch == last:
            raise KilledError

    with pytest.raises(KilledError):
        train(spec, p, u, plan, checkpoint=path, progress=kill)
    told: list[int] = []
    resumed, again = train(
        spec, p, u, plan, checkpoint=path, resume=True, progress=lambda progress: told.append(progress.epoch)
    )
    assert same(whole, resumed)
    assert told == list(range(last + 1, 7))  # every epoch was saved
    timeless = [dataclasses.replace(e, elapsed=0) for e in history]
    assert timeless == [dataclasses.replace(e, elapsed=0) for e in again]
    assert all(a.elapsed <= b.elapsed for a, b in zip(again, again[1:], strict=False))
    finished, _ = train(spec, p, u, plan, checkpoint=path, resume=True)  # nothing left to do
    assert same(whole, finished)


def test_best_weights_are_kept() -> None:
    p, u = waves(12)
    plan = dataclasses.replace(PLAN, epochs=8, learning_rate=0.5, final_learning_rate=0.5, batch_size=2)  # it jumps
    generator, history = train(SPEC, p, u, plan)
    _, held = split_samples(12, plan.validation, plan.seed)
    scores = generator.target_scaler(torch.as_tensor(u[held]))
    with torch.no_grad():
        error = mean_absolute(generator.standardised(torch.as_tensor(p[held], dtype=torch.float32)), scores)
    assert float(error) == pytest.approx(min(e.score for e in history), rel=1e-5)
    assert history[-1].score > min(e.score for e in history)


def test_early_stopping_stops_and_keeps_the_best(tmp_path: Path) -> None:
    p, u = waves(12)
    plan = dataclasses.replace(PLAN, epochs=200, patience=4, learning_rate=0.3, final_learning_rate=0.3)  # it jumps
    path = tmp_path / "state.safetensors"
    told: list[Progress] = []
    generator, history = train(SPEC, p, u, plan, checkpoint=path, progress=told.append)
    errors = [epoch.score for epoch in history]
    best = int(np.argmin(errors))
    assert len(history) == best + 1 + 4 < 200 and min(errors) < errors[-1]
    assert told[-1].fraction == 1 and told[-1].remaining == 0
    _, held = split_samples(12, plan.validation, plan.seed)
    scores = generator.target_scaler(torch.as_tensor(u[held]))
    with torch.no_grad():
        error = mean_absolute(generator.standardised(torch.as_tensor(p[held], dtype=torch.float32)), scores)
    assert float(error) == pytest.approx(min(errors), rel=1e-5)
    again, same_history = train(SPEC, p, u, plan, checkpoint=path, resume=True)  # it had stopped
    assert same_history == history and same(again, generator)


def test_schedules_of_the_paper() -> None:
    short = TrainingPlan.early_stopping(device="cpu")
    assert (short.epochs, short.learning_rate, short.final_learning_rate, short.patience) == (1000, 1e-3, 1e-3, 100)
    assert TrainingPlan.early_stopping(epochs=30, patience=None).patience is None
    long = TrainingPlan.long_decay(seed=3)
    assert (long.epochs, long.learning_rate, long.final_learning_rate) == (10000, 1e-3, 1e-4)
    assert long.patience is None and long.seed == 3
    p, u = waves(4)
    _, history = train(SPEC, p, u, TrainingPlan.early_stopping(epochs=3, device="cpu", threads=1))
    assert {epoch.learning_rate for epoch in history} == {1e-3}
    _, history = train(SPEC, p, u, TrainingPlan.long_decay(epochs=3, device="cpu", threads=1))
    assert [epoch.learning_rate for epoch in history] == pytest.approx([1e-3, 10**-3.5, 1e-4])


def test_statistics_come_from_the_training_split_only() -> None:
    p, u = waves(12)
    chosen, held = split_samples(12, 0.25, 5)
    plan = dataclasses.replace(PLAN, epochs=1, validation=0.25)
    reference, _ = train(SPEC, p, u, plan)
    q, v = p.copy(), u.copy()
    q[held] += 100
    v[held] *= 100
    spoilt, _ = train(SPEC, q, v, plan)
    for name, tensor in reference.state_dict().items():
        if "scaler" in name:
            assert torch.equal(tensor, spoilt.state_dict()[name]), name
    np.testing.assert_allclose(reference.input_scaler.mean.numpy(), p[chosen].mean(0), rtol=1e-6)
    np.testing.assert_allclose(reference.target_scaler.mean.numpy(), u[chosen].mean(0), atol=1e-6)


def test_threads_are_given_back() -> None:
    p, u = waves(6)
    before = torch.get_num_threads()
    seen: list[int] = []
    plan = dataclasses.replace(PLAN, epochs=1, threads=before + 1)
    train(SPEC, p, u, plan, progress=lambda _: seen.append(torch.get_num_threads()))
    assert seen == [before + 1] and torch.get_num_threads() == before


def test_split_of_the_samples() -> None:
    chosen, held = split_samples(40, 0.1, 0)
    assert len(held) == 4 and sorted([*chosen, *held]) == list(range(40))
    assert not np.array_equal(held, split_samples(40, 0.1, 1)[1])
    assert len(split_samples(5, 0.0, 0)[1]) == 0
    with pytest.raises(ValueError, match="1 samples cannot be split into training and validation; generate more"):
        split_samples(1, 0.1, 0)


def test_learning_rate_decays_and_progress_is_told() -> None:
    p, u = waves(12)
    told: list[Progress] = []
    _, history = train(SPEC, p, u, PLAN, progress=told.append)
    assert [t.last for t in told] == list(history) and [e.epoch for e in history] == [1, 2, 3, 4, 5, 6]
    ratios = np.diff(np.log([e.learning_rate for e in history]))
    np.testing.assert_allclose(ratios, np.log(0.1) / 5)
    assert history[0].learning_rate == 1e-3 and history[-1].learning_rate == pytest.approx(1e-4)
    assert [t.fraction for t in told] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert told[-1].remaining == 0 and told[0].remaining > 0
    assert told[-1].best == min(e.score for e in history)


class Clock:
    """Seconds that pass only where they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("seconds", "passes"), [(10.0, 2), (12.0, 3), (3.0, 1)])
def test_a_budget_of_seconds_is_kept_unless_one_pass_exceeds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, passes: int
) -> None:
    p, u = waves(12)
    clock, learn = Clock(), SampleTask.learn

    def slow(*given: Any) -> torch.Tensor:
        clock.now += 4.0
        return learn(*given)

    monkeypatch.setattr(SampleTask, "learn", slow)
    plan = TrainingPlan(seconds=seconds, device="cpu", threads=1, checkpoint_every=0)
    path = tmp_path / "state.safetensors"
    told: list[Progress] = []
    _, history = train(SPEC, p, u, plan, checkpoint=path, clock=clock, progress=told.append)
    assert [epoch.elapsed for epoch in history] == [4.0 * (n + 1) for n in range(passes)]
    rates = [epoch.learning_rate for epoch in history]
    assert rates == sorted(rates, reverse=True) and told[-1].fraction == 1
    _, again = train(SPEC, p, u, plan, checkpoint=path, resume=True, clock=clock)
    assert again == history  # its time is used up


def test_seconds_before_an_interruption_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p, u = waves(12)
    clock, learn = Clock(), SampleTask.learn

    def slow(*given: Any) -> torch.Tensor:
        clock.now += 4.0
        return learn(*given)

    def kill(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KilledError

    monkeypatch.setattr(SampleTask, "learn", slow)
    plan = TrainingPlan(seconds=14.0, device="cpu", threads=1, checkpoint_every=0)
    path = tmp_path / "state.safetensors"
    with pytest.raises(KilledError):
        train(SPEC, p, u, plan, checkpoint=path, clock=clock, progress=kill)
    clock.now += 1000.0  # of another day
    _, history = train(SPEC, p, u, plan, checkpoint=path, resume=True, clock=clock)
    assert [epoch.elapsed for epoch in history] == [4.0, 8.0, 12.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": None}, "give either epochs or seconds, got epochs=None and seconds=None"),
        ({"seconds": 3.0}, "give either epochs or seconds"),
        ({"epochs": 0}, "epochs or seconds must be positive, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"checkpoint_every": -1.0}, "checkpoint_every must not be negative, got -1.0"),
        ({"final_learning_rate": 1.0}, "learning rates must be positive and not grow, got 0.001 to 1.0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"validation": 1.0}, r"validation must be a fraction in \[0, 1\), got 1.0"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1.0"),
        ({"euler": -1.0}, "euler must not be negative, got -1.0"),
        ({"euler": 0.1}, "needs the time between two levels: give dt, got None"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"levels_per_sample": 0}, "levels_per_sample must be at least 1, got 0"),
    ],
)
def test_bad_plans(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAN, **options)


def test_bad_samples() -> None:
    p, u = waves(4)
    with pytest.raises(ValueError, match=r"targets must have shape \(sample, field, time, node\) = \(4, 2, 24, 16\)"):
        train(SPEC, p, u[:, :1], PLAN)
    with pytest.raises(ValueError, match="resume needs the checkpoint"):
        train(SPEC, p, u, PLAN, resume=True)
    u[:] = np.nan
    with pytest.raises(ValueError, match="targets hold values that are not finite"):
        train(SPEC, p, u, PLAN)


def test_a_loss_that_is_not_finite_stops() -> None:
    p, u = waves(8)
    plan = dataclasses.replace(PLAN, learning_rate=1e30, final_learning_rate=1e30, epochs=20)
    with pytest.raises(TrainingError, match=r"not finite in epoch \d+ .*; lower the learning rate or check the data"):
        train(SPEC, p, u, plan)


def test_another_training_is_not_continued(tmp_path: Path) -> None:
    p, u = waves(8)
    path = tmp_path / "state.safetensors"
    train(SPEC, p, u, PLAN, checkpoint=path)
    with pytest.raises(CheckpointError, match="belongs to a training with seed = 5, this one has 9"):
        train(SPEC, p, u, dataclasses.replace(PLAN, seed=9), checkpoint=path, resume=True)
    with pytest.raises(CheckpointError, match=r"with widths = \[16, 12\], this one has \[16, 16\]"):
        train(dataclasses.replace(SPEC, widths=(16, 16)), p, u, PLAN, checkpoint=path, resume=True)
    with pytest.raises(CheckpointError, match="belongs to a training with samples"):
        train(SPEC, p + 1, u, PLAN, checkpoint=path, resume=True)
    train(SPEC, p, u, dataclasses.replace(PLAN, checkpoint_every=5), checkpoint=path, resume=True)


def test_a_state_that_is_no_state(tmp_path: Path) -> None:
    p, u = waves(8)
    path = tmp_path / "state.safetensors"
    generator, _ = train(SPEC, p, u, PLAN, checkpoint=path)
    tensors, document = read_tensors(path, TRAINING)
    del tensors["batches"]
    write_tensors(path, TRAINING, tensors, document)
    with pytest.raises(CheckpointError, match="holds no complete training .*; delete it and train again"):
        train(SPEC, p, u, PLAN, checkpoint=path, resume=True)
    save(path, generator)
    with pytest.raises(CheckpointError, match="is no submodel-training but submodel-generator"):
        train(SPEC, p, u, PLAN, checkpoint=path, resume=True)


def test_losses() -> None:
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 1.0]])
    assert float(mean_absolute(a, b)) == 1.5
    assert dataclasses.astuple(Epoch(1, 2.0, 3.0, 4.0, 5.0)) == (1, 2.0, 3.0, 4.0, 5.0)
