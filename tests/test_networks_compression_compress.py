"""Compressing whole models: exact where weights have the ranks, right in number, shared, stored, and never in place."""

import copy
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn import functional

from networks.compression.choice.weighted import Options, weighted
from networks.compression.compress import CompressionOptions, compress, units_of
from networks.compression.layer.base import CompressedLayer
from networks.compression.layer.structure import apply_recipe, recipe_of
from networks.core.sharing import unique_tensors
from networks.layers.decomposed import DecomposedConv, DenseConv

METHODS = ("svd", "cp", "tucker", "tt", "ctd", "pctd")
EXACT = 2e-5  # float32 outputs of order one after some ten layers


class Block(nn.Module):
    """Two convolutions; the first may halve the image."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = DenseConv(outputs, outputs, (3, 3), circular=(1,))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(functional.gelu(self.conv1(x)))


class Net(nn.Module):
    """Two stages of two blocks, then a matrix."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, padding=1)
        self.layer1 = nn.Sequential(Block(width, width), Block(width, width))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 2 * width))
        self.norm = nn.BatchNorm2d(2 * width)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.layer2(self.layer1(self.stem(x)))).mean((2, 3)))


INNER = ("layer*",)


@pytest.fixture
def sample() -> Tensor:
    return torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def made(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net().eval()


def low_rank(model: Net, rank: int) -> Net:
    """The model with weights that are sums of `rank` products of a vector for inputs, taps and outputs each."""
    for name, module in model.named_modules():
        if name.startswith("layer") and isinstance(module, nn.Conv2d | DenseConv):
            out, inputs, height, width = module.weight.shape
            parts = [torch.randn(size, rank) for size in (out, inputs, height, width)]
            module.weight.data = torch.einsum("or,ir,hr,wr->oihw", *parts) / math.sqrt(rank * inputs * 9)
    return model


@pytest.mark.parametrize("method", ["svd", "cp", "tucker", "tt"])
def test_weights_of_the_given_rank_are_recovered(method: str, sample: Tensor) -> None:
    model = low_rank(made(), 2)
    compressed, report = compress(model, method, ranks=2, sample=sample, options=CompressionOptions(layers=INNER))  # type: ignore[arg-type]
    assert torch.allclose(compressed(sample), model(sample), atol=EXACT)
    assert len(report.touched) == 8
    assert max(layer.weight_error for layer in report.touched) < 1e-4
    assert report.output_error is not None and report.output_error < 1e-4


def common(weights: list[Tensor], own: int, differ: str = "") -> None:
    """Give weights a common term of one product, whose `differ` vector is each one's own, and `own` terms more."""
    shared = {axis: torch.randn(size) for axis, size in zip("oihw", weights[0].shape, strict=True)}
    for weight in weights:
        vectors = dict(shared)
        if differ:
            vectors[differ] = torch.randn(weight.shape["oi".index(differ)])
        terms = torch.einsum("o,i,h,w->oihw", *vectors.values())
        for _ in range(own):
            terms = terms + torch.einsum("o,i,h,w->oihw", *(torch.randn(size) for size in weight.shape))
        weight.data = terms / 20


@pytest.mark.parametrize("weighting", ["weights", "activations"])
def test_coupled_weights_are_recovered(weighting: Any, sample: Tensor) -> None:
    model = made()
    for stage, layer in ((model.layer1, "conv1"), (model.layer1, "conv2"), (model.layer2, "conv2")):
        common([getattr(block, layer).weight for block in stage], 1)
    common([block.conv1.weight for block in model.layer2], 1, differ="i")
    compressed, report = compress(
        model, "pctd", ranks=(1, 1), sample=sample, options=CompressionOptions(layers=INNER, weighting=weighting)
    )
    assert {layer.group for layer in report.layers} == {f"layer{s}.0.conv{m}" for s in (1, 2) for m in (1, 2)}
    assert torch.allclose(compressed(sample), model(sample), atol=2e-4)  # the alternation stops at 1e-6 of its start
    partly, coupled = (compressed.get_submodule(name) for name in ("layer2.0.conv1", "layer2.1.conv2"))
    assert partly.outer is not None and coupled.outer is None and coupled.shared is not None


@pytest.mark.parametrize("method", ["svd", "tucker", "tt", "ctd", "pctd"])
def test_full_ranks_change_nothing(method: str, sample: Tensor) -> None:
    """Not so CP, whose largest rank an alternation does not reach."""
    model = made()

    def full(shape: tuple[int, int, int]) -> Any:
        first, taps, last = shape
        own = min(first, taps * last), min(last, taps * first)
        if method == "svd":
            return min(first * math.isqrt(taps), last * math.isqrt(taps))
        return own if method in ("tt", "tucker") else (1, own)

    compressed, report = compress(model, method, ranks=full, sample=sample)  # type: ignore[arg-type]
    assert torch.allclose(compressed(sample), model(sample), atol=1e-4)
    assert report.model_ratio < 1


@pytest.mark.parametrize("method", METHODS)
def test_the_model_given_stays_bit_for_bit(method: str, sample: Tensor) -> None:
    model = made().train()
    before, kinds = copy.deepcopy(model.state_dict()), [type(m) for m in model.modules()]
    compressed, _ = compress(model, method, ratio=3, sample=sample, options=CompressionOptions(weighting="activations"))  # type: ignore[arg-type]
    assert [type(m) for m in model.modules()] == kinds
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(m.training for m in model.modules()) and all(m.training for m in compressed.modules())
    assert all(p.grad is None for p in model.parameters())
    assert not any(a is b for a, b in itertools.product(model.parameters(), compressed.parameters()))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ratio", [2.0, 4.0])
def test_a_ratio_is_reached_and_hardly_passed(method: str, ratio: float, sample: Tensor) -> None:
    model = made()
    compressed, report = compress(model, method, ratio=ratio, sample=sample)  # type: ignore[arg-type]
    counted = sum(p.numel() for p in compressed.parameters())
    assert report.parameters_before == sum(p.numel() for p in model.parameters())
    assert report.parameters_after == counted
    assert ratio <= report.model_ratio <= 1.05 * ratio
    stored = sum(layer.after - layer.before for layer in report.layers)
    assert counted - report.parameters_before == stored
    for layer in report.layers:
        if layer.group is None and layer.method != "dense":
            assert layer.after < layer.before


def test_ratios_count_shared_numbers_once(sample: Tensor) -> None:
    """[B] eq. 20 by hand: rank 1 and F = 9 for two layers 8 -> 8, one set shared, two own."""
    _, report = compress(
        made(), "ctd", ranks=(1, 1), sample=sample, options=CompressionOptions(layers=["layer1.*.conv1"])
    )
    assert report.ratio == pytest.approx(2 * 8 * 8 * 9 / (3 * (8 + 9 + 8)))
    assert [layer.after for layer in report.layers] == [50, 25]


def test_an_error_is_kept_by_a_small_model(sample: Tensor) -> None:
    model = low_rank(made(), 3)
    compressed, report = compress(model, "tt", error=0.02, sample=sample)
    with torch.no_grad():
        wrong = (compressed(sample) - model(sample)).norm() / model(sample).norm()
    assert report.output_error == pytest.approx(float(wrong), rel=1e-3, abs=1e-6) and wrong <= 0.02
    assert report.model_ratio > 1.5  # of weights of rank 3 and 8 or 16 channels


def test_layers_of_a_group_count_alike_however_large_their_inputs_are() -> None:
    """A layer whose inputs are a thousand times those of its partner gives the shared factor no other metric."""
    model = made()
    pair = ["layer1.0.conv1", "layer1.1.conv1"]
    (unit,) = units_of(model, "pctd", CompressionOptions(layers=pair, groups=[pair]))
    first, second = unit.group.names
    noise = torch.randn(2, 50, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moments = {name: x.T @ x / 50 for name, x in zip((first, second), noise, strict=True)}
    louder = {**moments, first: 1e6 * moments[first]}
    same = zip(weighted(unit, Options(moments=moments)), weighted(unit, Options(moments=louder)), strict=True)
    for before, after in same:
        torch.testing.assert_close(after, before)
    alone = units_of(model, "tt", CompressionOptions(layers=[first]))
    (before,), (after,) = (weighted(alone[0], Options(moments=each)) for each in (moments, louder))
    torch.testing.assert_close(after, 1e3 * before)


def test_activations_weigh_what_passes() -> None:
    """Inputs that fill two directions only: a matrix of rank two is enough for the output, not for the weight."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12))
    inputs = torch.randn(200, 2) @ torch.randn(2, 12)
    names, errors = ["0"], {}
    for weighting in ("weights", "activations"):
        _, report = compress(
            model, "tt", ranks=2, sample=inputs, options=CompressionOptions(layers=names, weighting=weighting)
        )
        errors[weighting] = report.layers[0].output_error
    assert errors["activations"] is not None and errors["activations"] < 0.05
    assert errors["weights"] is not None and errors["weights"] > 0.2


def test_layers_that_would_grow_stay_dense() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 32, 3), nn.Conv2d(32, 32, 3))
    compressed, report = compress(model, "tt", ratio=2)
    assert [layer.method for layer in report.layers][0] == "dense"
    assert type(compressed[0]) is nn.Conv2d  # type: ignore[index]
    assert report.layers[0].after == 2


def test_gradients_of_all_layers_add_up_in_what_they_share(sample: Tensor) -> None:
    """The gradient of a shared factor is that of copies of it, one a layer, summed."""
    compressed, _ = compress(made(), "ctd", ranks=(2, 2), options=CompressionOptions(layers=["layer1.*"]))
    blocks: Any = compressed.layer1
    layers = [block.conv1 for block in blocks]
    assert layers[0].shared is layers[1].shared
    compressed(sample).square().sum().backward()
    together = layers[0].shared.core.grad.clone()
    apart = copy.deepcopy(compressed)
    apart.zero_grad()
    own: Any = apart.layer1
    second = own[1].conv1
    second.shared = copy.deepcopy(second.shared)
    apart(sample).square().sum().backward()
    parts = [block.conv1.shared.core.grad for block in own]
    assert all(part.abs().max() > 0 for part in parts)
    assert torch.allclose(parts[0] + parts[1], together, rtol=1e-4, atol=1e-6)


def through_a_file(compressed: nn.Module, fresh: nn.Module, path: Path) -> Any:
    """A copy of a fresh dense model with the recipe and the numbers that a file keeps of a compressed one."""
    save_model(compressed, str(path))
    model = apply_recipe(copy.deepcopy(fresh), json.loads(json.dumps(recipe_of(compressed))))
    load_model(model, path)
    return model


@pytest.mark.parametrize("method", METHODS)
def test_round_trip_through_a_file(method: str, sample: Tensor, tmp_path: Path) -> None:
    compressed, _ = compress(made(), method, ratio=3, sample=sample)  # type: ignore[arg-type]
    path = tmp_path / "model.safetensors"
    fresh = made(5)
    loaded = through_a_file(compressed, fresh, path)
    assert torch.equal(loaded(sample), compressed(sample))
    assert not any(isinstance(m, CompressedLayer) for m in fresh.modules())
    assert json.loads(json.dumps(compressed.compression)) == json.loads(json.dumps(loaded.compression))
    pairs = zip(loaded.named_parameters(), compressed.named_parameters(), strict=True)
    assert all(a == b and torch.equal(p, q) for (a, p), (b, q) in pairs)
    stored = sum(t.numel() for t in unique_tensors(compressed).values())
    assert stored == sum(t.numel() for t in (*compressed.parameters(), *compressed.buffers()))
    assert path.stat().st_size < 4 * stored + 30_000


def test_sharing_survives_the_file(tmp_path: Path, sample: Tensor) -> None:
    compressed, _ = compress(made(), "pctd", ranks=(2, 1), options=CompressionOptions(layers=INNER))
    loaded = through_a_file(compressed, made(5), tmp_path / "model.safetensors")
    for stage in (loaded.layer1, loaded.layer2):
        for layer in ("conv1", "conv2"):
            shared = [getattr(block, layer).shared for block in stage]  # type: ignore[union-attr]
            assert shared[0] is shared[1]
    for model in (compressed, loaded):
        model.zero_grad()
        model.eval()(sample).square().sum().backward()
    pairs = zip(compressed.parameters(), loaded.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in pairs)  # type: ignore[arg-type]


class Tied(nn.Module):
    """A layer used twice under two names, and two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.again = self.first
        self.one, self.two = nn.Linear(12, 12), nn.Linear(12, 12)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(self.again(torch.tanh(self.first(x)))))


def test_a_models_own_sharing_survives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Tied(), torch.randn(3, 12)
    compressed, report = compress(model, "tt", ranks=2, sample=x)
    assert [layer.name for layer in report.layers] == ["first"]
    assert compressed.first is compressed.again and isinstance(compressed.first, CompressedLayer)
    assert compressed.one.weight is compressed.two.weight  # type: ignore[union-attr]
    loaded = through_a_file(compressed, Tied(), tmp_path / "tied.safetensors")
    assert loaded.first is loaded.again and loaded.one.weight is loaded.two.weight  # type: ignore[union-attr]
    assert torch.equal(loaded(x), compressed(x))


def test_a_reference_draws_the_shared_part(sample: Tensor) -> None:
    model, reference = made(), made(7)
    with torch.no_grad():
        for stage in (reference.layer1, reference.layer2):
            for layer in ("conv1", "conv2"):
                pair = [getattr(block, layer).weight for block in stage]
                if pair[0].shape == pair[1].shape:
                    pair[1].copy_(pair[0])

    def distance(alpha: float, given: Any) -> float:
        compressed, _ = compress(
            model,
            "ctd",
            ranks=(8, 1),
            options=CompressionOptions(layers=["layer1.*.conv1"], reference=given, alpha=alpha),
        )
        layer: Any = compressed.get_submodule("layer1.0.conv1")
        layer.own = None
        return float((layer.kernel() - reference.layer1[0].conv1.weight).norm())

    by_name = {"layer1.0.conv1": reference.layer1[0].conv1.weight}
    assert distance(1e4, reference) < 0.01
    assert distance(1e4, by_name) < 0.01
    assert distance(0.0, reference) > 0.5
    with pytest.raises(ValueError, match="not that of the layer"):
        distance(1.0, {"layer1.0.conv1": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="'stem' is the first layer of no group"):
        distance(1.0, {"stem": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="give the reference"):
        compress(model, "ctd", ranks=(2, 1), options=CompressionOptions(layers=["layer1.*"], alpha=1.0))


@pytest.mark.parametrize("positions", [{"1": 4}, None])
def test_positions_give_a_linear_a_core(positions: dict[str, int] | None) -> None:
    """Outputs p * C + c of rank one in channels: the model may say itself that it makes an image."""

    class Imaging(nn.Sequential):
        def linear_positions(self) -> dict[str, int]:
            return {"1": 4}

    torch.manual_seed(0)
    model = Imaging(nn.Linear(3, 8), nn.Linear(8, 4 * 6))
    model[1].weight.data = torch.einsum("i,pi,c->pci", torch.randn(8), torch.randn(4, 1), torch.randn(6)).reshape(24, 8)
    x = torch.randn(5, 3)
    compressed, report = compress(
        model, "tt", ranks=1, sample=x, options=CompressionOptions(layers=["1"], positions=positions)
    )
    assert report.layers[0].shape == (8, 4, 6) and report.layers[0].after == 8 + 4 + 6
    assert torch.allclose(compressed(x), model(x), atol=EXACT)


@pytest.mark.parametrize(
    ("kernels", "inputs"),
    [((nn.Conv1d, 3), (2, 4, 9)), ((nn.Conv3d, 3), (2, 4, 5, 6, 7)), ((nn.Conv2d, 1), (2, 4, 5, 5))],
)
@pytest.mark.parametrize("method", ["svd", "tt", "ctd"])
def test_all_dimensions(kernels: Any, inputs: tuple[int, ...], method: Any) -> None:
    torch.manual_seed(0)
    kind, taps = kernels
    model = nn.Sequential(kind(4, 6, taps), kind(6, 6, taps), kind(6, 6, taps))
    x = torch.randn(*(s if n < 2 else s + 6 for n, s in enumerate(inputs)))
    compressed, report = compress(model, method, ratio=1.5, sample=x)
    assert compressed(x).shape == model(x).shape
    assert report.model_ratio >= 1.5


def test_the_report_reads_well(sample: Tensor) -> None:
    _, report = compress(made(), "pctd", ratio=3, sample=sample)
    lines = report.table().splitlines()
    assert len(lines) == 2 + len(report.layers) + 2
    assert len({line.count("|") for line in lines[:-2]}) == 1
    assert f"{report.model_ratio:.2f} times fewer" in lines[-1]
    values = json.loads(json.dumps(report.to_dict()))
    assert values["model_ratio"] == report.model_ratio and len(values["layers"]) == len(report.layers)
    assert report.measured and {layer.execution for layer in report.layers} <= {"factorised", "dense"}


def test_execution_is_as_asked(sample: Tensor) -> None:
    for execution in ("factorised", "dense"):
        compressed, report = compress(
            made(), "tt", ranks=2, sample=sample, options=CompressionOptions(execution=execution)
        )  # type: ignore
        layers = [m for m in compressed.modules() if isinstance(m, CompressedLayer)]
        assert {layer.execution for layer in layers} == {execution} and not report.measured


def test_rules_and_mappings_give_ranks() -> None:
    _, report = compress(made(), "tt", ranks=lambda shape: shape[2] // 4, options=CompressionOptions(layers=INNER))
    assert {layer.shape[2] // 4 for layer in report.layers} == {2, 4}
    assert all(layer.ranks == (layer.shape[2] // 4,) * 2 for layer in report.layers)
    _, report = compress(made(), "ctd", ranks={"layer1.1.conv1": ((1, 2), (2, 1)), "stem": 2})
    assert {(layer.name, layer.shared_ranks, layer.ranks) for layer in report.touched} == {
        ("stem", (0, 0), (2, 2)),
        ("layer1.0.conv1", (1, 2), (2, 1)),
        ("layer1.1.conv1", (1, 2), (2, 1)),
    }
    rule = {"layer2.0.conv1": lambda shape: (2, shape[0] // 4)}
    _, report = compress(made(), "pctd", ranks=rule)
    assert [layer.ranks for layer in report.touched] == [(2, 2), (4, 4)]


@pytest.mark.parametrize(
    ("method", "options", "match"),
    [
        ("tt", {"ranks": 9}, r"rank \(9, 9\) of layer 'stem' is impossible: the largest is \(2, 8\)"),
        (
            "tt",
            {"ranks": 9, "layers": ["layer1.*"]},
            "rank 9 of layer 'layer1.0.conv1' is impossible: the largest is 8",
        ),
        ("svd", {"ranks": 25, "layers": ["layer1.*"]}, "the largest is 24"),
        ("tt", {"ranks": 0}, "impossible"),
        ("ctd", {"ranks": (9, 1), "layers": ["layer1.*"]}, "what the group of 'layer1.0.conv1' shares"),
        ("ctd", {"ranks": (0, 0), "layers": ["layer1.*"]}, "rank 0 in both parts"),
        ("ctd", {"ranks": 2, "layers": ["layer1.*"]}, "pair"),
        ("svd", {"ranks": (2, 3)}, "one rank"),
        ("tt", {"ranks": 1.5}, "do not serve"),
        ("tt", {"ranks": {"stern": 2}}, "'stern', which is not compressed; there are stem"),
        ("tt", {"ranks": 2, "ratio": 3}, "one of ranks, ratio and error"),
        ("tt", {}, "one of ranks, ratio and error"),
        ("tt", {"ratio": 1000}, r"ratio 1000 is out of reach: with the smallest ranks it is \d"),
        ("tt", {"ratio": 1}, "above 1"),
        ("tt", {"error": 0.1}, "sample"),
        ("tt", {"error": -0.1}, "above 0"),
        ("tt", {"ranks": 2, "weighting": "activations"}, "sample"),
        ("tt", {"ranks": 2, "weighting": "inputs"}, "weighting must be"),
        ("tt", {"ranks": 2, "execution": "fast"}, "execution must be"),
        ("fft", {"ranks": 2}, "method must be one of svd, cp"),
        ("tt", {"ranks": 2, "groups": [["layer1.0.conv1", "layer1.1.conv1"]]}, "coupled methods"),
        ("ctd", {"ranks": (2, 2), "groups": [["layer2.0.conv1", "layer2.1.conv1"]]}, "pctd"),
        ("ctd", {"ranks": (2, 2), "groups": [["stem", "layer2.1.conv1"]]}, "cannot share"),
        ("tt", {"ranks": 2, "layers": ["norm"]}, "BatchNorm2d"),
    ],
)
def test_what_cannot_be_is_refused(method: Any, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        settings = {name: options[name] for name in ("layers", "groups", "weighting", "execution") if name in options}
        size = {name: value for name, value in options.items() if name not in settings}
        compress(made(), method, **size, options=CompressionOptions(**settings))


def test_an_error_too_small_is_refused(sample: Tensor) -> None:
    with pytest.raises(ValueError, match="no compressed model has an output error of 1e-12"):
        compress(made(), "tt", error=1e-12, sample=sample)


@pytest.mark.parametrize("method", METHODS)
def test_zero_weights_stay_zero(method: str, sample: Tensor) -> None:
    model = made()
    for block in model.layer1:
        nn.init.zeros_(block.conv1.weight)  # type: ignore[union-attr,arg-type]
    compressed, _ = compress(
        model,
        method,  # type: ignore[arg-type]
        ranks=(1, 1) if method in ("ctd", "pctd") else 2,
        options=CompressionOptions(layers=["layer1.*.conv1"]),
    )
    for block in compressed.layer1:  # type: ignore[union-attr]
        assert torch.equal(block.conv1.kernel(), torch.zeros(8, 8, 3, 3))
    assert torch.allclose(compressed(sample), model(sample), atol=EXACT)


def test_frozen_models_stay_frozen() -> None:
    compressed, report = compress(made().requires_grad_(False), "ctd", ratio=2)
    assert not any(p.requires_grad for p in compressed.parameters()) and report.model_ratio >= 2


def test_layers_of_equal_input_share_their_first_factors() -> None:
    """Kind "output", in float64 and weighted: own ranks that are full leave nothing."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Conv2d(6, 4, 3), "b": nn.Conv2d(6, 9, 3)}).double()

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {name: part(x) for name, part in self.parts.items()}

    x = torch.randn(3, 6, 8, 8, dtype=torch.float64)
    weighting: Any
    for weighting in ("weights", "activations"):
        options = CompressionOptions(groups=[["parts.a", "parts.b"]], weighting=weighting)
        compressed, report = compress(Both(), "pctd", ranks=lambda s: (2, (s[0], s[2])), sample=x, options=options)
        shared = [compressed.get_submodule(f"parts.{name}").shared for name in "ab"]
        assert shared[0] is shared[1] and shared[0].first is not None and shared[0].last is None  # type: ignore
        assert report.output_error is not None and report.output_error < 1e-6


def test_nothing_is_compressed_twice(sample: Tensor) -> None:
    compressed, _ = compress(made(), "tt", ranks=2)
    with pytest.raises(ValueError, match="compressed already"):
        compress(compressed, "tt", ranks=1)


def test_models_without_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="no layer that can be compressed"):
        compress(nn.Sequential(DecomposedConv(2, 2, (3, 3))), "tt", ranks=1)


def test_a_layer_the_sample_misses_is_refused(sample: Tensor) -> None:
    model = made()
    model.unused = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="does not reach unused"):
        compress(model, "tt", ratio=2, sample=sample, options=CompressionOptions(weighting="activations"))


def test_recipes_of_other_models_are_refused(tmp_path: Path) -> None:
    compressed, _ = compress(made(), "tt", ranks=2)
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="no layer"):
        through_a_file(compressed, nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match="version 99"):
        apply_recipe(made(), {**recipe_of(compressed), "version": 99})
