"""Trainings that start from a model: its weights and scalers, parameters that layers share, resuming."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_problems import toy, waves
from torch import nn

from networks.checkpoint import CheckpointError
from networks.core.sharing import load_unique, unique_tensors
from networks.operator.network import OperatorGenerator
from networks.operator.spec import OperatorSpec
from networks.operator.task import operator_plan, train_operator
from networks.operator.training_data import ResponseData
from networks.paper.generator import BoundaryGenerator
from networks.paper.task import train
from networks.training.plan import COMPRESSIBLE, Progress, TrainingPlan

SPEC = toy("conv2d-boundary", depth=3)
PLAN = TrainingPlan(epochs=4, batch_size=3, device="cpu", threads=1, checkpoint_every=0)


class KilledError(Exception):
    pass


def same(a: nn.Module, b: nn.Module) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


def tied(model: BoundaryGenerator) -> BoundaryGenerator:
    """A copy in which the last two convolutions of the first stage have one kernel."""
    model = copy.deepcopy(model)
    trunk: Any = model.trunks[0]
    stage = trunk.stages[0]
    stage[2].conv.weight = stage[1].conv.weight
    return model


def is_tied(model: Any) -> bool:
    stage: Any = model.trunks[0].stages[0]
    return bool(stage[2].conv.weight is stage[1].conv.weight)


@pytest.fixture(scope="module")
def first() -> BoundaryGenerator:
    return train(SPEC, *waves(SPEC, 12), PLAN)[0]


def test_shared_numbers_are_told_once_and_stay_shared(first: BoundaryGenerator) -> None:
    model = tied(first)
    told, whole = unique_tensors(model), model.state_dict()
    assert set(whole) - set(told) == {"trunks.0.stages.0.2.conv.weight"}
    assert unique_tensors(first).keys() == first.state_dict().keys()
    other = tied(BoundaryGenerator(SPEC))
    load_unique(other, told)
    assert is_tied(other) and same(other, model)
    with pytest.raises(ValueError, match=r"left over \['trunks\.0\.stages\.0\.2\.conv\.weight'\]"):
        load_unique(other, whole)
    with pytest.raises(ValueError, match=r"missing \['trunks\.0\.stages\.0\.2\.conv\.weight'\]"):
        load_unique(first, told)
    with pytest.raises(ValueError, match=r"input_scaler\.mean has shape \(7,\), the model's has \(3,\)"):
        load_unique(other, told | {"input_scaler.mean": torch.zeros(7)})


def test_a_start_keeps_weights_and_scalers_and_is_left_alone(first: BoundaryGenerator) -> None:
    before = copy.deepcopy(first)
    p, u = waves(SPEC, 12, seed=1)
    rate = 1e-12
    found, _ = train(SPEC, p, u, dataclasses.replace(PLAN, learning_rate=rate, final_learning_rate=rate), initial=first)
    assert found is not first and same(first, before)
    torch.testing.assert_close(dict(found.named_parameters()), dict(first.named_parameters()), atol=1e-9, rtol=0)
    assert torch.equal(found.target_scaler.mean, first.target_scaler.mean)  # though the data are others
    better, history = train(SPEC, *waves(SPEC, 12), dataclasses.replace(PLAN, epochs=8), initial=first)
    _, fresh = train(SPEC, *waves(SPEC, 12), PLAN)
    assert history[0].loss < fresh[0].loss and not same(better, first)


def test_a_start_that_training_only_spoils_is_given_back(first: BoundaryGenerator) -> None:
    plan = dataclasses.replace(PLAN, learning_rate=1.0, final_learning_rate=1.0)
    found, history = train(SPEC, *waves(SPEC, 12), plan, initial=first)
    assert same(found, first) and len(history) == 4


@pytest.mark.parametrize("model", ["conv2d-boundary", "conv1d-t-boundary"])
def test_sharing_survives_training_and_resuming(tmp_path: Path, model: str) -> None:
    spec = toy(model, depth=3)
    p, u = waves(spec, 12)
    initial = tied(train(spec, p, u, PLAN)[0])
    whole, history = train(spec, p, u, PLAN, initial=initial)
    assert is_tied(whole) and not same(whole, initial)
    path = tmp_path / "state"

    def kill(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KilledError

    with pytest.raises(KilledError):
        train(spec, p, u, PLAN, initial=initial, checkpoint=path, progress=kill)
    resumed, again = train(spec, p, u, PLAN, initial=initial, checkpoint=path, resume=True)
    assert is_tied(resumed) and same(whole, resumed)
    assert [e.validation for e in history] == [e.validation for e in again]
    other = copy.deepcopy(initial)
    next(other.parameters()).data.mul_(1.5)
    with pytest.raises(CheckpointError, match="belongs to a training with initial = "):
        train(spec, p, u, PLAN, initial=other, checkpoint=path, resume=True)
    with pytest.raises(CheckpointError, match="this one has None"):
        train(spec, p, u, PLAN, checkpoint=path, resume=True)


def test_a_start_of_another_specification_is_refused(first: BoundaryGenerator) -> None:
    spec = dataclasses.replace(SPEC, stem=11)
    with pytest.raises(ValueError, match="starts from a generator of another specification: stem is 10, here 11"):
        train(spec, *waves(spec, 6), PLAN, initial=first)
    operator, _ = operator_problem()
    with pytest.raises(ValueError, match="model conv2d-boundary, this training builds operator"):
        train_operator(operator, operator_problem()[1], operator_plan(epochs=1), initial=first)  # type: ignore[arg-type]


def operator_problem() -> tuple[OperatorSpec, ResponseData]:
    """Eight nodes around the origin, sources beside them, responses with a common shape in time."""
    spec = OperatorSpec(
        num_levels=16,
        dt=0.1,
        rate=8.0,
        band=(2.0, 3.0),
        points=tuple((float(x), float(y)) for x, y in square()),
        normals=((0.0, 0.1),) * 8,
        weights=(0.1,) * 8,
        speed=1.0,
        num_frequencies=6,
        rank=3,
        width=12,
        depth=4,
    )
    rng = np.random.default_rng(0)
    sources = rng.uniform(0.6, 0.9, (10, 2))
    t = spec.dt * np.arange(16)[:, None]
    delay = np.linalg.norm(sources[:, None] - square(), axis=-1)[:, None]
    u = np.sin(3 * t - delay) * (1 - np.exp(-t))
    return spec, ResponseData(sources, u, 2 * np.cos(3 * t - delay) * (1 - np.exp(-t)))


def square() -> np.ndarray:
    return 0.25 * np.array([[-1, -1], [0, -1], [1, -1], [1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0]], dtype=float)


def test_the_operator_generator_starts_from_a_model_too(tmp_path: Path) -> None:
    spec, data = operator_problem()
    plan = operator_plan(epochs=6, batch_size=16, validation=0.2, checkpoint_every=0.0, device="cpu")
    first, before = train_operator(spec, data, plan)
    layers: Any = first.net.layers
    layers[2].weight = layers[1].weight
    kept = copy.deepcopy(first)
    whole, history = train_operator(spec, data, plan, initial=first)
    assert same(kept, first) and isinstance(whole, OperatorGenerator) and not same(whole, first)
    assert whole.net.layers[2].weight is whole.net.layers[1].weight  # type: ignore[union-attr]
    for name in ("decoder", "feature_mean", "feature_scale"):
        assert torch.equal(getattr(whole, name), getattr(first, name))
    assert history[-1].loss < before[-1].loss < before[0].loss
    path = tmp_path / "state"

    def kill(progress: Progress) -> None:
        if progress.epoch == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train_operator(spec, data, plan, initial=first, checkpoint=path, progress=kill)
    resumed, _ = train_operator(spec, data, plan, initial=first, checkpoint=path, resume=True)
    assert same(whole, resumed)
    with pytest.raises(CheckpointError, match="with initial = "):
        train_operator(spec, data, plan, checkpoint=path, resume=True)


def test_the_time_basis_of_a_start_serves_other_data() -> None:
    spec, data = operator_problem()
    plan = operator_plan(epochs=30, batch_size=16, device="cpu", validation=0.0)
    first, _ = train_operator(spec, data, plan)
    other = dataclasses.replace(data, displacement=data.displacement**2)
    _, history = train_operator(spec, other, plan, initial=first)
    assert history[-1].loss < 0.5 * history[0].loss


def test_a_compressible_training_leaves_kernels_of_lower_rank() -> None:
    """Small initial weights and decay: at equal steps fewer singular values carry the kernels' energy."""
    spec = toy("conv2d-boundary", depth=3, widths=(16, 8))
    plan = dataclasses.replace(PLAN, epochs=60, validation=0.0)
    samples = waves(spec, 12)
    plain, _ = train(spec, *samples, plan)
    low, _ = train(spec, *samples, dataclasses.replace(plan, **COMPRESSIBLE))

    def spread(model: BoundaryGenerator) -> float:
        """Mean over kernels of the number of singular values that would carry their energy evenly."""
        trunk: Any = model.trunks[0]
        kernels = [block.conv.weight.detach().flatten(1) for stage in trunk.stages for block in stage]
        squares = [torch.linalg.svdvals(kernel).square() for kernel in kernels]
        return float(np.mean([float(s.sum() ** 2 / s.square().sum()) for s in squares]))

    assert spread(low) < 0.7 * spread(plain)
