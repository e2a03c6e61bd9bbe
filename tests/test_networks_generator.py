"""The specification, what it builds, and the parts it is built from."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from network_problems import toy

from networks.core.device import select_device
from networks.core.resample import Resample, cubic_matrix
from networks.layers.decomposed import DecomposedConv, DenseConv
from networks.paper.generator import build
from networks.paper.predict import predict
from networks.paper.scaler import FLOOR, InputScaler, TargetScaler
from networks.paper.spec import GeneratorSpec
from networks.paper.trunks import ConvTrunk, num_features

SMALL: dict[str, Any] = {"num_levels": 37, "num_arc": 22, "coarse": (4, 5), "widths": (6, 4), "stem": 8}


def small(model: str = "conv1.5d-boundary", **options: Any) -> GeneratorSpec:
    return GeneratorSpec.named(model, **{**SMALL, **options})


@pytest.mark.parametrize(("num_levels", "num_arc"), [(4, 4), (9, 128), (256, 7), (101, 33)])
def test_any_number_of_levels_and_nodes(num_levels: int, num_arc: int) -> None:
    spec = GeneratorSpec.named("conv1.5d-boundary", num_levels=num_levels, num_arc=num_arc)
    assert build(spec)(torch.rand(2, 3)).shape == (2, 2, num_levels, num_arc)


@pytest.mark.parametrize(("model", "kind"), [("conv2d-boundary", DenseConv), ("conv1.5d-boundary", DecomposedConv)])
def test_the_split_chooses_the_layers(model: str, kind: type) -> None:
    kinds = {type(m) for m in build(small(model)).modules() if isinstance(m, DenseConv | DecomposedConv)}
    assert kinds == {kind}


def test_shared_trunk_learns_from_every_field() -> None:
    """[A] eq. 20: a field moves its own head and the shared layers, never another field's head."""
    generator = build(small())
    generator.standardised(torch.rand(2, 3))[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in generator.trunks[0].parameters())
    assert all(not p.grad.any() for p in generator.heads[1].parameters() if p.grad is not None)


def test_outputs_are_physical() -> None:
    generator = build(small())
    with torch.no_grad():
        generator.target_scaler.mean.fill_(3.0)
        generator.target_scaler.scale.fill_(2.0)
        p = torch.rand(2, 3)
        torch.testing.assert_close(generator(p), 3 + 2 * generator.standardised(p))


def test_specification_survives_json() -> None:
    spec = small(fields=["displacement", "load"], batch_norm=True)
    assert (
        GeneratorSpec.from_dict({k: list(v) if isinstance(v, tuple) else v for k, v in spec.to_dict().items()}) == spec
    )
    assert spec.model == "conv1.5d-boundary"
    with pytest.raises(ValueError, match="unknown entries in a generator's specification: colour"):
        GeneratorSpec.from_dict({**spec.to_dict(), "colour": 1})
    with pytest.raises(ValueError, match="missing entries in a generator's specification: num_arc"):
        GeneratorSpec.from_dict({"num_levels": 8})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": ()}, "fields must be distinct and among displacement, velocity, load"),
        ({"fields": ("displacement", "displacement")}, "fields must be distinct"),
        ({"fields": ("pressure",)}, "fields must be distinct"),
        ({"widths": ()}, "widths must be positive integers"),
        ({"stem": 0}, "stem must be positive integers, got 0"),
        ({"coarse": (4, 0)}, r"coarse must be positive integers, got \(4, 0\)"),
        ({"between": 0.0}, "between must be positive, got 0.0"),
        ({"kernel_size": (3,)}, r"kernel_size must hold 2 integers \(time, arc\), got \(3,\)"),
        ({"num_levels": 3}, "4 levels and 4 nodes at least, got 3 x 22"),
    ],
)
def test_bad_specifications(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize(
    "point", [{"time": "global"}, {"space": "global"}, {"target": "zone", "time": "global"}, {"split": "all"}]
)
def test_points_of_the_grid_that_are_not_built(point: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no model is built for time="):
        build(GeneratorSpec(8, 8, **point))


def test_unknown_model() -> None:
    with pytest.raises(ValueError, match="unknown model 'conv9d'; there are fc-t, conv2d, .*, conv1.5d-boundary"):
        GeneratorSpec.named("conv9d", num_levels=8, num_arc=8)


@pytest.mark.parametrize("closed", [True, False])
def test_resampling_reproduces_cubics_and_constants(closed: bool) -> None:
    matrix = cubic_matrix(9, 40, closed=closed)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-13)
    assert np.array_equal(cubic_matrix(9, 9, closed=closed), np.eye(9))
    if closed:
        wave = np.cos(2 * np.pi * np.arange(64) / 64)
        fine = np.cos(2 * np.pi * np.arange(256) / 256)
        assert abs(cubic_matrix(64, 256, closed=True) @ wave - fine).max() < 1e-5  # h^4 3/128 of the fourth derivative
    else:
        coarse, fine = np.linspace(0, 1, 9), np.linspace(0, 1, 40)
        np.testing.assert_allclose(matrix @ coarse**3, fine**3, atol=1e-13)
    assert np.array_equal(cubic_matrix(1, 5, closed=closed), np.ones((5, 1)))
    assert Resample((4, 5), (9, 11), closed=(1,))(torch.ones(2, 4, 5)).shape == (2, 9, 11)


def test_scalers_by_their_definition() -> None:
    rng = np.random.default_rng(0)
    p = rng.normal(3, 2, (50, 3))
    p[:, 2] = 5  # a parameter that does not vary
    inputs = InputScaler(3)
    inputs.fit(torch.as_tensor(p))
    scores = inputs(torch.as_tensor(p, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(scores[:, :2].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scores[:, :2].std(0), 1, atol=1e-5)
    assert np.abs(scores[:, 2]).max() == 0
    t = rng.normal(size=(6, 2, 5, 4)) * np.array([0, 1e-9, 0.1, 1, 2])[:, None]
    target = TargetScaler(2, 5, 4)
    target.fit(torch.as_tensor(t))
    np.testing.assert_allclose(target.mean.numpy(), t.mean(0), atol=1e-6)
    variance = t.var(0).mean(2)
    expected = np.sqrt(variance + FLOOR**2 * variance.mean(1, keepdims=True))
    np.testing.assert_allclose(target.scale.numpy()[..., 0], expected, rtol=1e-5)
    fields = torch.as_tensor(t, dtype=torch.float32)
    torch.testing.assert_close(target.inverse(target(fields)), fields, rtol=1e-5, atol=1e-6)
    still = TargetScaler(1, 4, 4)
    still.fit(torch.zeros(3, 1, 4, 4))
    assert torch.equal(still.scale, torch.ones_like(still.scale))


def test_scalers_refuse() -> None:
    with pytest.raises(ValueError, match=r"parameters must have shape \(samples, 3\), got \(4, 2\)"):
        InputScaler(3).fit(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"targets must have shape \(samples, 1, 4, 4\)"):
        TargetScaler(1, 4, 4).fit(torch.zeros(0, 1, 4, 4))
    with pytest.raises(ValueError, match="parameters hold values that are not finite; check the dataset"):
        InputScaler(3).fit(torch.full((4, 3), torch.nan))


def test_prediction_does_not_depend_on_the_batch() -> None:
    generator = build(small(batch_norm=True))
    p = np.random.default_rng(1).random((7, 3))
    whole = predict(generator, p)
    assert whole.shape == (7, 2, 37, 22) and whole.dtype == np.float32
    np.testing.assert_allclose(predict(generator, p, batch_size=3), whole, atol=1e-5)
    assert not generator.training
    with pytest.raises(ValueError, match=r"parameters must have shape \(samples, 3\), got \(3,\)"):
        predict(generator, p[0])


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert select_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="finds no CUDA device here; use --device cpu or auto"):
        select_device("cuda")
    with pytest.raises(ValueError, match="device must be auto, cpu or cuda, got 'tpu'"):
        select_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert select_device("auto").type == "cuda"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_same_numbers_on_cuda() -> None:
    generator = build(small())
    p = np.random.default_rng(1).random((4, 3))
    np.testing.assert_allclose(predict(generator, p, "cuda"), predict(generator, p, "cpu"), atol=1e-3)


@pytest.mark.parametrize("model", ["conv2d-boundary", "conv1d-t-boundary", "fc-t-boundary"])
def test_the_last_layer_of_a_stem_makes_an_image(model: str) -> None:
    """Channels that are removed behind that layer are rows of its weight, every so many, at all points alike."""
    generator = build(toy(model, shared=False))
    positions = generator.linear_positions()
    if model == "fc-t-boundary":
        assert positions == {}
        return
    assert positions == dict.fromkeys(("trunks.0.stem.2", "trunks.1.stem.2"), 3 ** len(generator.spec.coarse))
    trunk = generator.trunks[0]
    assert isinstance(trunk, ConvTrunk)
    features = torch.rand(2, num_features(generator.spec))
    image = trunk.stem(features).view(2, -1, trunk.first[0]).movedim(-1, 1)
    weight = generator.get_parameter("trunks.0.stem.2.weight")
    with torch.no_grad():
        weight[4 :: trunk.first[0]] = 0
    changed = trunk.stem(features).view(2, -1, trunk.first[0]).movedim(-1, 1)
    bias = generator.get_parameter("trunks.0.stem.2.bias")[4 :: trunk.first[0]]
    torch.testing.assert_close(changed[:, 4], bias.expand(2, -1))
    assert torch.equal(changed[:, :4], image[:, :4])


@pytest.mark.parametrize("model", ["conv1d-boundary", "conv1.5d-boundary", "conv2d", "conv3d"])
def test_a_trunk_is_its_stem_and_stages_of_convolutions_with_residual_sums(model: str) -> None:
    """Written out: nearest neighbours double the grid, and a block whose channels agree adds to what came in."""
    torch.manual_seed(1)
    spec = toy(model, depth=3)
    trunk = ConvTrunk(spec)
    features = torch.randn(2, num_features(spec))
    channels, *axes = trunk.first
    x = trunk.stem(features).view(2, *axes, channels).movedim(-1, 1)
    sums = 0
    for number, stage in enumerate(trunk.stages):
        for axis in range(2, x.ndim) if number else ():
            x = x.repeat_interleave(2, axis)
        for block in cast(Any, stage):
            made = torch.nn.functional.gelu(block.conv(x))
            sums += made.shape == x.shape
            x = made + x if made.shape == x.shape else made
    assert sums == 2 * 3 - 1  # the first block of the narrower stage has nothing to add to
    torch.testing.assert_close(trunk(features), x)
