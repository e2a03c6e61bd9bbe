"""The family of [A]: every model in every variant, its size against Table 1, and what the parts promise."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from network_problems import DT, GRID, NUM_ARC, NUM_LEVELS, is_zone, toy, waves

from networks.core.distributed import Group
from networks.core.norm import BatchNorm
from networks.layers.split import ONE_BY_ONE, SPACE_THEN_TIME, SplitConv
from networks.paper.catalogue import MODELS, SIZES, TITLES, VARIANTS, variant
from networks.paper.generator import BoundaryGenerator, build
from networks.paper.losses import EulerResidual
from networks.paper.predict import predict
from networks.paper.printed_tables import MODEL_TITLES, TABLES
from networks.paper.spec import GeneratorSpec
from networks.paper.task import SampleTask, train
from networks.training.fit import Fit
from networks.training.plan import TrainingPlan

SAMPLED = [model for model, point in MODELS.items() if point[0] == "sampled"]
CIRCULAR = ["conv1d-boundary", "conv1d-t-boundary", "conv2d-boundary", "conv1.5d-boundary"]
REFERENCE: dict[str, dict[str, Any]] = {"zone": {"grid": (33, 33)}, "boundary": {"num_arc": 128}}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_predicts_and_every_number_learns(model: str, name: str) -> None:
    spec = toy(model, variant=name)
    generator = build(spec)
    assert spec.model == model and (spec.shared, spec.batch_norm) == (VARIANTS[name].shared, VARIANTS[name].batch_norm)
    p, u = waves(spec, 5)
    generator.target_scaler.fit(torch.as_tensor(u))
    found = generator(torch.as_tensor(p, dtype=torch.float32))
    assert found.shape == (5, 2, NUM_LEVELS, 30 if is_zone(model) else NUM_ARC)
    loss = (found - torch.as_tensor(u)).square().sum()
    if VARIANTS[name].euler:
        residual = EulerResidual(spec, DT)
        assert float(residual.of_history(generator, generator.standardised(torch.rand(2, 3)))) > 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weights.grad is not None and weights.grad.any() for weights in generator.parameters())
    assert len(generator.trunks) == (1 if spec.shared else 2)
    assert any(isinstance(module, BatchNorm) for module in generator.modules()) == spec.batch_norm


@pytest.mark.parametrize("model", MODELS)
def test_a_third_field_and_a_plain_one(model: str) -> None:
    for fields in (("displacement", "velocity", "load"), ("load",)):
        spec = toy(model, fields=fields)
        assert build(spec)(torch.rand(2, 3)).shape[:2] == (2, len(fields))


@pytest.mark.parametrize("model", ["conv2d", "conv3d", "conv2.5db", "fc-t-boundary", "conv1d-t-boundary"])
def test_overfits_one_batch(model: str) -> None:
    """A quarter is left at most of what the samples differ from their mean by."""
    spec = toy(model, widths=(32, 32) if model.startswith("fc") else (16, 12))
    p, u = waves(spec, 3)
    plan = TrainingPlan(epochs=200, batch_size=3, validation=0, device="cpu", threads=1, learning_rate=1e-2)
    generator, _ = train(spec, p, u, plan)
    assert np.linalg.norm(predict(generator, p) - u) / np.linalg.norm(u - u.mean(0)) < 0.25


def counts() -> dict[tuple[str, str], float]:
    """Million parameters at the reference sizes."""
    found = {}
    with torch.device("meta"):
        for model, name in itertools.product(MODELS, VARIANTS):
            spec = GeneratorSpec.named(model, num_levels=256, variant=name, **REFERENCE[MODELS[model][2]])
            found[model, name] = build(spec).num_parameters / 1e6
    return found


def test_parameters_follow_table_1() -> None:
    """Any two counts have the paper's ratio within 15 %: decomposed to dense, shared to separate, all others."""
    relative = {key: count / TABLES[1].value(*key) for key, count in counts().items()}
    assert max(relative.values()) / min(relative.values()) < 1.15
    assert min(relative.values()) > 0.9 and max(relative.values()) < 1.1


def test_catalogue_is_complete() -> None:
    assert list(MODELS) == list(TITLES) == list(SIZES) == list(MODEL_TITLES)
    assert len(MODELS) == 11 and len(set(MODELS.values())) == 11
    assert list(VARIANTS) == ["basic", "bn", "e", "sl", "bn-sl", "e-sl"]
    assert VARIANTS["e-sl"].euler and variant("bn") is VARIANTS["bn"]
    with pytest.raises(ValueError, match="unknown variant 'dropout'; there are basic, bn, e, sl, bn-sl, e-sl"):
        variant("dropout")


@pytest.mark.parametrize("name", ["bn-e", "e-bn-sl"])
def test_euler_refuses_batch_normalisation(name: str) -> None:
    with pytest.raises(ValueError, match="makes the derivative in the regularisation erroneous"):
        variant(name)
    with pytest.raises(ValueError, match="cannot be combined with batch normalisation"):
        toy("conv1d-boundary", variant=name)
    spec = toy("conv1d-boundary", variant="bn")
    plan = TrainingPlan(epochs=1, euler=0.1, dt=DT, device="cpu")
    with pytest.raises(ValueError, match="cannot be combined with batch normalisation"):
        train(spec, *waves(spec, 4), plan)
    with pytest.raises(ValueError, match=r"needs displacement and velocity among the fields, got \('displacement',\)"):
        EulerResidual(toy("conv1d-boundary", fields=("displacement",)), DT)


@pytest.mark.parametrize("model", CIRCULAR)
def test_convolutions_turn_with_the_arc(model: str) -> None:
    """Everything between the first grid and the nodes is the same all around the closed curve."""
    spec = toy(model, num_arc=18, batch_norm=True)  # the last grid has 6 nodes, each followed by two between
    generator = build(spec).eval()
    trunk, head = generator.trunks[0], generator.heads[0]
    features = torch.randn(2, 10, *(3,) * len(spec.axes))

    def run(first: torch.Tensor) -> torch.Tensor:
        x = first
        for number, stage in enumerate(trunk.stages):  # type: ignore[arg-type]
            x = stage(torch.nn.functional.interpolate(x, scale_factor=2.0) if number else x)
        return head(x)  # type: ignore[no-any-return]

    torch.testing.assert_close(run(features.roll(1, -1)), run(features).roll(6, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_levels_are_those_of_the_history(model: str) -> None:
    """Block by block and level by level are the numbers of one pass, apart from the rounding of other sizes."""
    generator = build(toy(model, batch_norm=True))
    p, u = waves(generator.spec, 5)
    generator.target_scaler.fit(torch.as_tensor(u))
    whole = predict(generator, p)
    assert whole.dtype == np.float32
    blocks = [predict(generator, p, levels=(start, min(start + 5, NUM_LEVELS))) for start in range(0, NUM_LEVELS, 5)]
    np.testing.assert_allclose(np.concatenate(blocks, 2), whole, atol=1e-5)
    own = torch.tensor([[3, 11], [0, 4]])
    found = generator(torch.as_tensor(p[:2], dtype=torch.float32), own).detach().numpy()
    expected = np.stack([whole[i][:, own[i].numpy()] for i in range(2)])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    one = generator.standardised(torch.as_tensor(p, dtype=torch.float32), torch.tensor([2]), [1]).detach()
    np.testing.assert_allclose(
        generator.target_scaler.inverse(one, torch.tensor([2]), [1]).numpy()[:, 0], whole[:, 1, 2:3], atol=1e-5
    )
    for start, stop in ((0, NUM_LEVELS + 1), (-1, 3), (3, 3)):
        with pytest.raises(ValueError, match="are not among the 12 that there are"):
            predict(generator, p, levels=(start, stop))


def test_sampled_models_are_evaluated_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = build(toy("conv1d-t-boundary"))
    p, _ = waves(generator.spec, 5)
    whole = predict(generator, p)
    seen: list[int] = []
    generator.trunks[0].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr("networks.paper.predict.PAIRS", 7)
    np.testing.assert_allclose(predict(generator, p), whole, atol=1e-5)
    assert max(seen) == 7 and sum(seen) == 5 * NUM_LEVELS


def test_a_zone_is_numbered_along_x_first() -> None:
    generator = build(toy("conv3d"))
    head = generator.heads[0]
    with torch.no_grad():  # fields that know their row and column only
        for matrix in head.resample.matrices:  # type: ignore[union-attr]
            matrix.fill_(0)
        head.resample.matrices[0][:] = 1  # type: ignore[index,union-attr]
        head.resample.matrices[1][2, :] = 1  # type: ignore[index,union-attr]
        head.resample.matrices[2][4, :] = 1  # type: ignore[index,union-attr]
    (nodes,) = generator.standardised(torch.rand(1, 3))[0, 0, 3].nonzero(as_tuple=True)
    assert nodes.tolist() == [2 * GRID[1] + 4]


def test_zone_grids() -> None:
    with pytest.raises(ValueError, match="conv2d convolves over the zone, .*give grid=.*choose fc-t or a boundary"):
        toy("conv2d", grid=None)
    with pytest.raises(ValueError, match=r"grid must hold the rows and columns of 30 nodes, got \(4, 6\)"):
        toy("conv2d", grid=(4, 6))
    with pytest.raises(ValueError, match="number of nodes of fc-t is not known: give num_arc or grid"):
        GeneratorSpec.named("fc-t", num_levels=12)
    assert toy("fc-t", num_arc=31, grid=None).image == ()
    assert GeneratorSpec.named("conv3d", num_levels=12, grid=[4, 6]).image == (12, 4, 6)
    assert GeneratorSpec.from_dict(toy("conv2.5d").to_dict()) == toy("conv2.5d")


def exact(model: str) -> tuple[BoundaryGenerator, torch.Tensor]:
    """A generator whose scaler is fitted, and the standard scores of exact pairs."""
    generator = build(toy(model))
    _, u = waves(generator.spec, 4)
    generator.target_scaler.fit(torch.as_tensor(u))
    return generator, generator.target_scaler(torch.as_tensor(u))


def test_euler_residual_of_an_exact_pair_is_zero() -> None:
    generator, scores = exact("conv2d-boundary")
    assert float(EulerResidual(generator.spec, DT).of_history(generator, scores)) < 1e-10  # float32
    assert float(EulerResidual(generator.spec, 2 * DT).of_history(generator, scores)) > 0.1
    swapped = build(toy("conv2d-boundary", fields=("velocity", "displacement")))
    _, u = waves(swapped.spec, 4)
    swapped.target_scaler.fit(torch.as_tensor(u))
    scores = swapped.target_scaler(torch.as_tensor(u))
    assert float(EulerResidual(swapped.spec, DT).of_history(swapped, scores)) < 1e-10


def test_euler_residual_has_no_dimension() -> None:
    """Other units of length and of time leave it alone."""
    generator, scores = exact("conv2d-boundary")
    disturbed = scores + 0.1 * torch.randn(scores.shape, generator=torch.Generator().manual_seed(0))
    before = float(EulerResidual(generator.spec, DT).of_history(generator, disturbed))
    generator.target_scaler.mean *= torch.tensor([1e3, 1e3 / 60])[:, None, None]
    generator.target_scaler.scale *= torch.tensor([1e3, 1e3 / 60])[:, None, None]
    after = float(EulerResidual(generator.spec, 60 * DT).of_history(generator, disturbed))
    assert before > 1e-3 and after == pytest.approx(before, rel=1e-3)


def test_euler_residual_falls_with_the_square_of_the_step() -> None:
    """With the true derivative in place of the centred difference: residual^(1/2) of order dt^2."""
    roots = []
    for num_levels in (16, 32, 64):
        dt = 2.0 / num_levels
        generator = build(toy("conv2d-boundary", num_levels=num_levels))
        t = dt * torch.arange(num_levels, dtype=torch.float64)[:, None] + torch.zeros(NUM_ARC)
        pair = torch.stack((torch.sin(3 * t), 3 * torch.cos(3 * t)))[None].float()
        residual = EulerResidual(generator.spec, dt).of_history(
            generator, pair
        )  # a scaler that is not fitted: identity
        roots.append(float(residual) ** 0.5)
    order = np.polyfit(np.log([16, 32, 64]), np.log(roots), 1)[0]
    assert -2.1 < order < -1.9


@pytest.mark.parametrize("shared", [True, False])
def test_euler_residual_of_sampled_models_is_that_of_their_history(shared: bool) -> None:
    generator = build(toy("conv1d-t-boundary", shared=shared))
    p, u = waves(generator.spec, 3)
    generator.target_scaler.fit(torch.as_tensor(u))
    parameters = torch.as_tensor(p, dtype=torch.float32)
    residual = EulerResidual(generator.spec, DT)
    whole = residual.of_history(generator, generator.standardised(parameters))
    levels = torch.arange(NUM_LEVELS).expand(3, -1)
    found = residual.at_levels(generator, parameters, generator.standardised(parameters, levels), levels)
    assert float(found) == pytest.approx(float(whole) * (NUM_LEVELS - 2) / NUM_LEVELS, rel=1e-4)


@pytest.mark.parametrize("model", ["conv1.5d-boundary", "conv1d-t-boundary"])
def test_euler_regularisation_makes_the_pair_consistent(model: str) -> None:
    spec = toy(model, variant="e")
    p, u = waves(spec, 8)
    residuals = []
    for weight in (0.0, 1.0):
        plan = TrainingPlan(epochs=40, batch_size=4, learning_rate=1e-2, device="cpu", threads=1, euler=weight, dt=DT)
        generator, _ = train(spec, p, u, plan)
        with torch.no_grad():
            scores = generator.standardised(torch.as_tensor(p, dtype=torch.float32))
            residuals.append(float(EulerResidual(spec, DT).of_history(generator, scores)))
    assert residuals[1] < 0.7 * residuals[0]


@pytest.mark.parametrize("groups", [SPACE_THEN_TIME, ONE_BY_ONE])
def test_a_split_convolution_is_the_dense_one_of_its_kernel(groups: Any) -> None:
    torch.manual_seed(0)
    layer = SplitConv(4, 6, (5, 3, 3), groups, between=1.5)
    assert [tuple(f.shape[:2]) for f in layer.factors][0] == (6, 4)
    torch.nn.init.normal_(layer.bias)  # type: ignore[arg-type]
    x = torch.randn(2, 4, 7, 5, 6)
    # inner factors see zeros outside where the dense layer's own product would see values: compare away from the rim
    dense = torch.nn.functional.conv3d(x, layer.dense_kernel(), layer.bias)
    torch.testing.assert_close(layer(x)[:, :, 2:-2, 1:-1, 1:-1], dense, rtol=0, atol=1e-5)
    assert layer(x).shape == (2, 6, 7, 5, 6)


def test_bad_split_convolutions() -> None:
    with pytest.raises(ValueError, match=r"three odd sizes \(time, y, x\), got \(4, 3, 3\)"):
        SplitConv(2, 2, (4, 3, 3), SPACE_THEN_TIME)
    with pytest.raises(ValueError, match="groups must be"):
        SplitConv(2, 2, (3, 3, 3), ((0,), (1, 2)))


def test_batch_normalisation_is_torchs_own() -> None:
    torch.manual_seed(0)
    for axes in ((), (4,), (4, 5), (3, 4, 5)):
        x = torch.randn(6, 3, *axes)
        own, theirs = BatchNorm(3), torch.nn.BatchNorm1d(3)
        torch.testing.assert_close(own(x), theirs(x.reshape(6, 3, -1) if axes else x).view(x.shape))
        torch.testing.assert_close(own.running_var, theirs.running_var)


@pytest.mark.parametrize("model", SAMPLED)
def test_sampled_models_draw_levels_of_their_own(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = toy(model)
    p, u = waves(spec, 6)
    seen: list[torch.Tensor] = []
    plan = TrainingPlan(epochs=2, batch_size=4, levels_per_sample=5, device="cpu", validation=0.2)
    task = SampleTask(spec, (p, u), plan, Group())
    original = task.model.standardised

    def spy(*arguments: Any) -> torch.Tensor:
        seen.append(arguments[1])
        return original(*arguments)

    monkeypatch.setattr(task.model, "standardised", spy)
    Fit(task, plan, Group()).epoch()
    assert [tuple(levels.shape) for levels in seen] == [(4, 5), (1, 5), (NUM_LEVELS,)]  # validation sees them all
    assert len({tuple(row) for levels in seen[:2] for row in levels.tolist()}) == 5
