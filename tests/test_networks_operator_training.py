"""Training of the operator generator: the fit of its rays, budgets, what is held out, and resumption."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from test_networks_operator import ALL, SOURCES, make_spec, square_map

from networks.checkpoint import CheckpointError
from networks.core.distributed import Group
from networks.operator import ray_fit
from networks.operator.network import OperatorGenerator
from networks.operator.ray_fit import LAST, STAGES, RayStep, fit_rays
from networks.operator.rays import Rays
from networks.operator.task import LOAD, RAYS_SHARE, ResponseTask, operator_plan, train_operator
from networks.operator.training_data import ResponseData
from networks.training.fit import Fit, split_samples
from networks.training.plan import Progress

DELAY = -0.05  # of the teacher's rays, what a fit finds again


def responses(spec: Any, sources: Any = SOURCES, seed: Any = 1, *, delay: float = 0.0, rest: float = 0.3) -> Any:
    """Responses of a generator with some weights: what another of its kind can learn.

    Args:
        spec: of the teacher.
        sources: (source, 2).
        seed: of its weights.
        delay: learnt delay of its rays.
        rest: size of what its network adds to the rays, relative to them.
    """
    torch.manual_seed(seed)
    teacher = OperatorGenerator(spec)
    torch.nn.init.normal_(teacher.net.last.weight)
    decoder = torch.linalg.qr(torch.randn(2, spec.num_coefficients, spec.rank))[0]
    places = torch.as_tensor(sources, dtype=torch.float32)
    with torch.no_grad():
        for factor in teacher.rays.factors:
            factor[0] = delay
        y = teacher(places)
        teacher.decoder.copy_(decoder)
        added = teacher(places) - y
        size = (y if spec.rays != "none" else added).square().mean((0, 2, 3), keepdim=True).sqrt()
        y = (y + rest * size * added / added.square().mean((0, 2, 3), keepdim=True).sqrt()).numpy()[:, :, :-1]
    return ResponseData(sources, y[:, 0], y[:, 1])


def test_fit_of_the_rays_finds_their_delay_again() -> None:
    spec = make_spec(rays="walls", walls=((-1, -1), (1, 1)), num_frequencies=24)
    data = responses(spec, delay=DELAY, rest=0.0)
    y = np.stack((data.displacement, data.load), 1)
    student = OperatorGenerator(spec)
    student.rays.factors.requires_grad_(False)
    places = torch.as_tensor(SOURCES, dtype=torch.float32)
    with torch.no_grad():
        before = np.linalg.norm(student(places).numpy()[:, :, :-1] - y)
    seen: list[RayStep] = []

    def watch(step: RayStep) -> bool:
        seen.append(step)
        return True

    end = fit_rays(student, SOURCES, (y[:, 0], y[:, 1]), watch=watch)
    for factor in student.rays.factors:
        assert float(factor[0]) == pytest.approx(DELAY, abs=0.005)
    with torch.no_grad():
        after = np.linalg.norm(student(places).numpy()[:, :, :-1] - y)
    assert after < 0.03 * np.linalg.norm(y) < 0.1 * before  # high frequencies weigh little
    assert end.field == 2 and end.cut_short == 0 and seen[-1].misfit < 1e-3 * seen[0].misfit
    assert end.converged == len(STAGES) and end.remark == f"the fit of the rays converged in {len(seen)} iterations"


def scattered(factors: Any, seed: int = 5) -> None:
    """Factors of every kind that high frequencies feel most."""
    draw = torch.Generator().manual_seed(seed)
    for factor in factors:
        ways = factor[: 4 * 7].view(4, 7)
        size = torch.tensor([0.3, 0.2, 0.1, 0.0, 0.15, 0.1, 0.05]) * torch.tensor([[1.0], [0.4], [0.2], [0.1]])
        ways.copy_(-size * (1 + 0.2 * torch.randn(4, 7, generator=draw)))


def test_the_fit_of_the_rays_goes_on_until_it_has_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its end ten times as much work gains nothing; a fit that stops early says so."""
    spec = make_spec(rays="walls", walls=((-1, -1), (1, 1)), num_frequencies=20)
    teacher = OperatorGenerator(spec)
    with torch.no_grad():
        scattered(teacher.rays.factors)
        y = teacher(torch.as_tensor(SOURCES, dtype=torch.float32)).numpy()[:, :, :-1]
        noise = np.random.default_rng(0).standard_normal(y.shape)
        y += 0.01 * np.sqrt(np.square(y).mean()) * np.cumsum(noise, axis=2)
    student = OperatorGenerator(spec)
    student.rays.factors.requires_grad_(False)
    misfits: list[list[float]] = [[], []]

    def watch(step: RayStep) -> bool:
        misfits[step.field].append(step.misfit)
        return True

    end = fit_rays(student, SOURCES, (y[:, 0], y[:, 1]), watch=watch)
    assert end.converged == 2 and "converged in" in end.remark
    reached = [each[-1] for each in misfits]
    monkeypatch.setattr(ray_fit, "STAGES", ((dataclasses.replace(LAST, enough=1e-9),),) * 2)
    fit_rays(student, SOURCES, (y[:, 0], y[:, 1]), watch=watch)
    for first, (*_, last) in zip(reached, misfits, strict=True):
        assert first == pytest.approx(last, rel=1e-2)


def test_a_fit_that_has_not_converged_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_fit, "ITERATIONS", 1)
    spec = make_spec(rays="walls", walls=((-1, -1), (1, 1)), num_frequencies=24)
    _, history = train_operator(spec, responses(spec, delay=DELAY, rest=0.0), operator_plan(epochs=1))
    assert history.remarks == ("the fit of the rays has not converged after 4 iterations",)


def test_training_fits_the_rays_of_displacement_and_load() -> None:
    """The network has one output and no time: what is explained, the rays explain."""
    spec = make_spec(rays="walls", walls=((-1, -1), (1, 1)), num_frequencies=24, rank=1, width=1, depth=1)
    model, history = train_operator(spec, responses(spec, delay=DELAY, rest=0.0), operator_plan(epochs=1))
    for factor in model.rays.factors:
        assert float(factor[0]) == pytest.approx(DELAY, abs=0.005)
    assert history[0].loss < 0.02  # 1.5 is that of a prediction of nothing


@pytest.mark.parametrize("rays", ["none", "direct"])
def test_training_lowers_the_loss_and_learns_both_responses(rays: Any) -> None:
    spec = make_spec(rays=rays, width=32)
    data = responses(make_spec(rays=rays, num_frequencies=16))
    model, history = train_operator(spec, data, operator_plan(epochs=150, batch_size=48))
    assert history[-1].loss < 0.3 * history[0].loss and history[-1].validation is None
    with torch.no_grad():
        y = model(torch.as_tensor(SOURCES, dtype=torch.float32)).numpy()[:, :, :-1]
    for found, wanted in ((y[:, 0], data.displacement), (y[:, 1], data.load)):
        assert np.linalg.norm(found - wanted) < 0.3 * np.linalg.norm(wanted)


def test_load_and_displacement_have_their_weights_in_the_loss() -> None:
    """Of an untrained network, the loss is 1 for the displacement and half of it for the load."""
    spec = make_spec(rays="none")
    data = responses(spec)
    plan = operator_plan(epochs=1, learning_rate=1e-12, final_learning_rate=1e-13)
    _, history = train_operator(spec, data, plan)
    assert history[0].loss == pytest.approx(1 + LOAD, rel=1e-3) and LOAD == 0.5
    task = ResponseTask(spec, data, plan, Group())
    task.begin(Fit(task, plan, Group()), resumed=False)
    assert task.share.tolist() == [1.0] * spec.rank + [LOAD] * spec.rank


def test_a_share_of_the_sources_is_held_out_where_the_plan_says_so() -> None:
    """Twins of the training sources have the error of the training, strangers their own."""
    spec = make_spec(rays="direct", width=32)
    plan = operator_plan(epochs=60, batch_size=48, validation=0.34, seed=3)
    data = responses(make_spec())
    chosen, held = split_samples(len(SOURCES), plan.validation, plan.seed)
    _, history = train_operator(spec, data, plan)
    spoilt = data.displacement.copy()
    spoilt[held] *= 3.0
    _, other = train_operator(spec, dataclasses.replace(data, displacement=spoilt), plan)
    assert [e.loss for e in history] == [e.loss for e in other]  # nothing was learnt from those that are held out
    assert all(a.score < b.score for a, b in zip(history, other, strict=True)) and len(chosen) + len(held) == 6
    assert history.weights_epoch == len(history)


class StopError(Exception):
    pass


@pytest.mark.parametrize(("rays", "last"), [("direct", 3), ("walls", 0), ("none", 5)])
def test_training_is_repeatable_and_resumes_to_the_bit(tmp_path: Any, rays: Any, last: int) -> None:
    """Interrupted after some passes, or amid the fit of the rays."""
    spec = make_spec(symmetries=tuple(square_map(m) for m in ALL), rays=rays, walls=((-1, -1), (1, 1)))
    data = responses(make_spec(rays=rays, walls=((-1, -1), (1, 1))), delay=DELAY)
    plan = operator_plan(epochs=8, batch_size=16, validation=0.2, checkpoint_every=0.0)
    every: list[Progress] = []
    whole, history = train_operator(spec, data, plan, progress=every.append)
    assert float(whole.net.last.weight.abs().max()) > 0 and history[-1].loss < history[0].loss
    path = tmp_path / "state"
    told: list[Progress] = []

    def stop(progress: Any) -> None:
        told.append(progress)
        if progress.epoch == last and (last or len(told) == 7):
            raise StopError

    with pytest.raises(StopError):
        train_operator(spec, data, plan, checkpoint=path, progress=stop)
    assert (told[-1].last is None) == (last == 0)
    again: list[Progress] = []
    resumed, passes = train_operator(spec, data, plan, checkpoint=path, resume=True, progress=again.append)
    assert again[0].epoch == last + (last > 0) and len(again) <= len(every) - len(told) + 1
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert [(e.loss, e.validation) for e in history] == [(e.loss, e.validation) for e in passes]
    assert history.remarks == passes.remarks
    with pytest.raises(CheckpointError, match="seed = 0, this one has 1"):
        train_operator(spec, data, dataclasses.replace(plan, seed=1), checkpoint=path, resume=True)


class Clock:
    """Seconds that pass only where they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, of_rays: float, of_passes: float) -> None:
        self.now = 50.0
        for owner, name, seconds in ((Rays, "sensitivities", of_rays), (ResponseTask, "learn", of_passes)):
            monkeypatch.setattr(owner, name, self._slowly(getattr(owner, name), seconds))

    def _slowly(self, work: Any, seconds: float) -> Any:
        def slow(*given: Any) -> Any:
            self.now += seconds
            return work(*given)

        return slow

    def __call__(self) -> float:
        return self.now


def test_the_fit_of_the_rays_keeps_to_its_share_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(rays="walls", walls=((-1, -1), (1, 1)))
    clock = Clock(monkeypatch, of_rays=2.0, of_passes=5.0)
    told: list[Progress] = []
    plan = operator_plan(seconds=60.0)
    _, history = train_operator(spec, responses(spec, delay=DELAY), plan, clock=clock, progress=told.append)
    stages = [each for each in told if each.last is None]
    assert len(stages) > 5 and {"displacement" in each.words for each in stages} == {True, False}
    assert stages[-1].fraction * 60 <= RAYS_SHARE * 60 + 4 * 2.0  # an iteration tries four times at most
    assert history[0].elapsed > 0.5 * RAYS_SHARE * 60 and 55 < history[-1].elapsed <= 60
    assert len(history.remarks) == 1 and "was cut short" in history.remarks[0]
    assert "epoch 1, loss" in told[len(stages)].words and "validation" not in told[-1].words
    quick = Clock(monkeypatch, of_rays=0.0, of_passes=5.0)
    _, history = train_operator(spec, responses(spec, delay=DELAY), plan, clock=quick)
    assert not any("cut short" in remark for remark in history.remarks) and len(history) == 12


def test_seconds_of_an_interrupted_fit_of_the_rays_count(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(rays="walls", walls=((-1, -1), (1, 1)))
    data, plan = responses(spec, delay=DELAY), operator_plan(seconds=60.0, checkpoint_every=0.0)
    clock = Clock(monkeypatch, of_rays=2.0, of_passes=5.0)

    def stop(progress: Any) -> None:
        if clock.now > 50.0 + 15.0:
            raise StopError

    with pytest.raises(StopError):
        train_operator(spec, data, plan, clock=clock, checkpoint=tmp_path / "state", progress=stop)
    clock.now += 1000.0  # of another day
    start, told = clock.now, list[Progress]()
    options: dict[str, Any] = {"checkpoint": tmp_path / "state", "resume": True, "progress": told.append}
    _, history = train_operator(spec, data, plan, clock=clock, **options)
    assert told[0].fraction >= 15.0 / 60 and history[-1].elapsed <= 60
    assert clock.now - start <= 60 - 15
