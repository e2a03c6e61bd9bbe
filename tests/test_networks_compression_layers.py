"""Compressed layers against torch's dense layers with kernels summed from outer products, and how they share."""

import copy
import itertools
import json
import math
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from networks.compression.layer.base import CompressedLayer
from networks.compression.layer.baselines import CanonicalLayer, SplitLayer
from networks.compression.layer.geometry import Geometry
from networks.compression.layer.shared import Branch
from networks.compression.layer.trains import TrainLayer, layer_from_structure
from networks.compression.tensor.tensors import Train
from networks.layers.decomposed import DenseConv

L1, L2 = 6, 8
CLOSE = 1e-5  # float32, relative to the largest value


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(11)


DENSE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "1d": (lambda: nn.Conv1d(L1, L2, 3), (2, L1, 11), 1),
    "1d same reflect dilated": (
        lambda: nn.Conv1d(L1, L2, 4, dilation=2, padding="same", padding_mode="reflect"),
        (2, L1, 19),
        1,
    ),
    "1d closed": (lambda: DenseConv(L1, L2, (4,), circular=(0,)), (2, L1, 9), 1),
    "2d stride": (lambda: nn.Conv2d(L1, L2, 3, stride=(2, 1), padding=(1, 2), bias=False), (2, L1, 9, 11), 1),
    "2d circular": (lambda: nn.Conv2d(L1, L2, (3, 5), padding=(1, 2), padding_mode="circular"), (2, L1, 7, 6), 1),
    "2d reflect stride": (
        lambda: nn.Conv2d(L1, L2, 3, stride=2, padding=(1, 2), padding_mode="reflect"),
        (2, L1, 8, 9),
        1,
    ),
    "2d replicate": (lambda: nn.Conv2d(L1, L2, 3, padding=1, padding_mode="replicate"), (1, L1, 8, 9), 1),
    "2d one tap": (lambda: nn.Conv2d(L1, L2, 1, stride=2, padding=1), (2, L1, 9, 10), 1),
    "2d closed arc, even": (lambda: DenseConv(L1, L2, (3, 4), circular=(1,)), (2, L1, 6, 9), 1),
    "3d circular": (
        lambda: nn.Conv3d(L1, L2, (3, 1, 2), padding=(1, 0, 1), padding_mode="circular", bias=False),
        (2, L1, 5, 6, 4),
        1,
    ),
    "3d dilated": (lambda: nn.Conv3d(L1, L2, (2, 3, 3), dilation=(1, 2, 1), padding=(0, 2, 1)), (1, L1, 5, 6, 7), 1),
    "3d closed": (lambda: DenseConv(L1, L2, (3, 3, 2), circular=(0, 2)), (1, L1, 5, 6, 4), 1),
    "full": (lambda: nn.Linear(L1, L2), (5, L1), 1),
    "full, a batch of sequences": (lambda: nn.Linear(L1, L2, bias=False), (2, 3, L1), 1),
    "full with positions": (lambda: nn.Linear(L1, 5 * L2), (3, L1), 5),
    "full with positions, sequences": (lambda: nn.Linear(L1, 5 * L2, bias=False), (2, 3, L1), 5),
}
KINDS = ("train", "coupled", "coupled, own ranks", "shared only", "own only", "in", "out", "canonical", "split")
CASES = [(dense, kind) for dense, kind in itertools.product(DENSE, KINDS)]


def train(taps: int, r1: int, r2: int, depth_in: int = L1, depth_out: int = L2) -> Train:
    """Random factors; equal ranks where there is one tap."""
    core = None if taps == 1 else torch.randn(r1, taps, r2) / taps
    r2 = r1 if taps == 1 else r2
    return Train(torch.randn(depth_in, r1), core, torch.randn(r2, depth_out))


def folded(first: Tensor, core: Tensor | None, last: Tensor) -> Tensor:
    """W (L1, F, L2) of [B] eq. 4, element by element, in double precision."""
    full = torch.eye(first.shape[1]).unsqueeze(1) if core is None else core
    shape = (first.shape[0], full.shape[1], last.shape[1])
    weight = torch.zeros(shape, dtype=torch.float64)
    for a, b in itertools.product(range(full.shape[0]), range(full.shape[2])):
        outer = torch.einsum("i,f,o->ifo", first[:, a].double(), full[a, :, b].double(), last[b].double())
        weight += outer
    return weight


def compressed(dense: nn.Module, kind: str, positions: int) -> tuple[CompressedLayer, Tensor]:
    """A layer of random factors in place of a dense one, and its weight by outer products in torch's shape."""
    geometry, bias = Geometry.of(dense, positions), cast(Tensor | None, dense.bias)
    taps = geometry.num_taps
    args = (geometry, None if bias is None else bias.detach())
    layer: CompressedLayer
    shared, own = train(taps, 3, 2), train(taps, 3, 2)
    if kind == "train":
        layer, weight = TrainLayer.from_train(own, *args), folded(own.first, own.core, own.last)
    elif kind in ("coupled", "coupled, own ranks", "shared only", "own only"):
        own = train(taps, 2, 4) if kind == "coupled, own ranks" else own
        module = None if kind == "own only" else Branch.from_train(shared, geometry)
        layer = TrainLayer.from_train(None if kind == "shared only" else own, *args, shared=module)
        parts = [shared] * (kind != "own only") + [own] * (kind != "shared only")
        weight = torch.stack([folded(t.first, t.core, t.last) for t in parts]).sum(0)
    elif kind in ("in", "out"):
        outer = shared.first if kind == "in" else shared.last
        first, last = (None, shared.last) if kind == "in" else (shared.first, None)
        part = Branch.from_factors(first, shared.core, last, geometry)
        layer = TrainLayer.from_train(own, *args, shared=part, outer=outer)
        weight = folded(shared.first, shared.core, shared.last) + folded(own.first, own.core, own.last)
    elif kind == "canonical":
        factors = torch.randn(L1, 4), torch.randn(taps, 4), torch.randn(4, L2)
        layer = CanonicalLayer.from_factors(*factors, *args)
        weight = torch.einsum("ir,fr,ro->ifo", *(f.double() for f in factors))
    else:
        return split(dense, args)
    folded_weight = weight.permute(1, 2, 0).flatten(0, 1) if positions > 1 else weight.permute(2, 0, 1)
    return layer, folded_weight.reshape(dense.weight.shape)  # type: ignore[arg-type]


def split(dense: nn.Module, args: tuple[Geometry, Tensor | None]) -> tuple[CompressedLayer, Tensor]:
    """Two convolutions, and their kernel as the sum over the channels between them."""
    taps, outputs = args[0].kernel_size, cast(Tensor, dense.weight).shape[0]
    ones = (1,) * (len(taps) - 1)
    first = torch.randn(4, L1, *taps[:1], *ones)
    last = torch.randn(outputs, 4, *(1,) * len(taps[:1]), *taps[1:])
    terms = [last[:, r].double().reshape(outputs, 1, *last.shape[2:]) * first[r].double()[None] for r in range(4)]
    return SplitLayer.from_factors(first, last, *args), torch.stack(terms).sum(0)


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_layer_equals_the_dense_one_of_its_weight(name: str, kind: str) -> None:
    make, shape, positions = DENSE[name]
    dense, x = make(), torch.randn(shape)
    layer, weight = compressed(dense, kind, positions)
    with torch.no_grad():
        dense.weight.copy_(weight)  # type: ignore[union-attr,operator]
    expected = dense(x)
    for execution in ("factorised", "dense"):
        layer.execution = execution
        found = layer(x)
        assert found.shape == expected.shape
        assert distance(found, expected) < CLOSE
        with torch.no_grad():
            assert distance(layer(x), expected) < CLOSE
    assert distance(layer.kernel(), weight) < CLOSE
    plain = layer.to_dense()
    assert plain.weight.shape == dense.weight.shape
    assert distance(plain(x), expected) < CLOSE
    assert type(plain) is type(dense) or (type(dense) is DenseConv and not isinstance(plain, CompressedLayer))


@pytest.mark.parametrize(("name", "kind"), CASES[::5] + [("2d stride", kind) for kind in KINDS])
def test_gradients_of_both_executions_agree_with_the_dense_layers(name: str, kind: str) -> None:
    make, shape, positions = DENSE[name]
    layer, _ = compressed(make(), kind, positions)
    layer, x = layer.double(), torch.randn(shape, dtype=torch.float64, requires_grad=True)
    plain = layer.to_dense()
    target = torch.randn_like(plain(x))
    by_weight = torch.autograd.grad(plain(x), plain.weight, target)[0]  # type: ignore[arg-type]
    # the chain rule by hand: a factor's gradient is that of the kernel, contracted with how the kernel moves
    expected = torch.autograd.grad(layer.kernel(), list(layer.factors()), by_weight)
    gradient_x = torch.autograd.grad(plain(x), x, target)[0]
    for execution in ("factorised", "dense"):
        layer.execution = execution
        y = layer(x)
        found_x, *found = torch.autograd.grad(y, [x, *layer.factors()], target)
        assert distance(found_x, gradient_x) < 1e-12
        for one, other in zip(found, expected, strict=True):
            assert distance(one, other) < 1e-12


def test_factorised_gradients_are_right_by_finite_differences() -> None:
    make, shape, _ = DENSE["2d closed arc, even"]
    layer, _ = compressed(make(), "coupled, own ranks", 1)
    layer = layer.double()
    x = torch.randn((1, L1, 4, 5), dtype=torch.float64)
    names, values = zip(*layer.named_parameters(), strict=True)
    assert len(names) == 7

    def run(*parameters: Tensor) -> Tensor:
        found = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))
        return found  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(run, values, fast_mode=True)


class Twins(nn.Module):
    """Layers of one group: coupled ones that share a train, and partly coupled ones that share core and last."""

    def __init__(self) -> None:
        super().__init__()
        geometry = Geometry.of(nn.Conv2d(L1, L1, 3, padding=1))
        shared = Branch.from_train(train(9, 3, 2, L1, L1), geometry)
        part = Branch.from_factors(None, torch.randn(3, 9, 2), torch.randn(2, L1), geometry)
        self.layers = nn.ModuleList(
            TrainLayer.from_train(train(9, 3, 2, L1, L1), geometry, torch.zeros(L1), shared=shared) for _ in range(3)
        )
        self.layers.extend(
            TrainLayer.from_train(train(9, 2, 2, L1, L1), geometry, None, shared=part, outer=torch.randn(L1, 3))
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, L1, axes...) to the same."""
        for layer in self.layers:
            x = torch.tanh(layer(x) / 10)
        return x


def sharing(model: nn.Module) -> list[set[str]]:
    """Names of each tensor that has several."""
    names: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), set()).add(name)
    return sorted((group for group in names.values() if len(group) > 1), key=sorted)


GROUPS = [
    {f"layers.{i}.shared.{factor}" for i in layers}
    for layers, factors in (((0, 1, 2), ("core", "first", "last")), ((3, 4), ("core", "last")))
    for factor in factors
]


def test_shared_factors_are_one_set_in_the_model() -> None:
    model = Twins()
    assert sharing(model) == GROUPS
    own = 3 * (L1 * 3 + 3 * 9 * 2 + 2 * L1 + L1) + 2 * (L1 * 3 + L1 * 2 + 2 * 9 * 2 + 2 * L1)
    shared = (L1 * 3 + 3 * 9 * 2 + 2 * L1) + (3 * 9 * 2 + 2 * L1)
    assert sum(p.numel() for p in model.parameters()) == own + shared
    assert model.layers[0].num_weights() == 2 * (L1 * 3 + 3 * 9 * 2 + 2 * L1)  # type: ignore[operator]


@pytest.mark.parametrize("execution", ["factorised", "dense"])
def test_shared_factors_get_gradients_from_every_layer(execution: str) -> None:
    model = Twins().double()
    x = torch.randn(1, L1, 5, 6, dtype=torch.float64)
    for layer in model.layers:
        layer.execution = execution  # type: ignore[assignment]
    for members in ((0, 1, 2), (3, 4)):
        shared = model.layers[members[0]].shared.core  # type: ignore[union-attr]
        alone = []
        for member in members:
            gradient = torch.autograd.grad(model.layers[member](x).square().sum(), shared)[0]  # type: ignore[arg-type]
            assert gradient.abs().max() > 0
            alone.append(gradient)
        model.zero_grad()
        sum(model.layers[member](x).square().sum() for member in members).backward()  # type: ignore[union-attr]
        assert distance(shared.grad, torch.stack(alone).sum(0)) < 1e-12  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize(
    "change",
    [
        copy.deepcopy,
        lambda m: m.double().float(),
        lambda m: m.to(torch.device("cpu"), torch.float32),
        lambda m: copy.deepcopy(m).half().float(),
        lambda m: m.to(memory_format=torch.channels_last),
    ],
)
def test_copies_and_moves_keep_the_sharing(change: Callable[[nn.Module], nn.Module]) -> None:
    model = Twins()
    x = torch.randn(1, L1, 5, 6)
    expected = model(x)
    changed = change(model)
    assert sharing(changed) == GROUPS
    assert distance(changed(x), expected) < 2e-2  # half precision in one of the cases


@pytest.mark.parametrize("assign", [False, True])
def test_a_state_dict_fills_a_model_of_the_same_structure(assign: bool) -> None:
    model, other = Twins(), Twins()
    other.load_state_dict(copy.deepcopy(model.state_dict()), assign=assign)
    x = torch.randn(1, L1, 5, 6)
    assert sharing(other) == GROUPS
    assert torch.equal(other(x), model(x))


def test_a_copy_does_not_follow_its_original() -> None:
    model = Twins()
    other = copy.deepcopy(model)
    with torch.no_grad():
        model.layers[0].shared.core.zero_()  # type: ignore[union-attr,operator]
    assert other.layers[0].shared.core.abs().max() > 0  # type: ignore[union-attr,operator]


@pytest.mark.parametrize(
    ("name", "kind"), [(n, k) for n in ("2d stride", "full with positions", "full") for k in KINDS]
)
def test_structures_make_layers_to_be_loaded(name: str, kind: str) -> None:
    make, shape, positions = DENSE[name]
    layer, _ = compressed(make(), kind, positions)
    structure = json.loads(json.dumps(layer.structure()))
    empty = layer_from_structure(structure)
    assert type(empty) is type(layer) and empty.structure() == layer.structure()
    empty.load_state_dict(layer.state_dict())
    x = torch.randn(shape)
    assert torch.equal(empty(x), layer(x))
    if structure.get("shared"):
        part = Branch.from_structure(structure["shared"])
        assert layer_from_structure(structure, part).shared is part


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_other_precisions(kind: str, dtype: torch.dtype) -> None:
    layer, _ = compressed(nn.Conv2d(L1, L2, 3, padding=1), kind, 1)
    x = torch.randn(2, L1, 6, 7)
    expected = layer(x)
    layer = layer.to(dtype)
    for execution in ("factorised", "dense"):
        layer.execution = execution
        found = layer(x.to(dtype))
        assert found.dtype == dtype
        assert distance(found, expected) < (1e-5 if dtype == torch.float64 else 20 * torch.finfo(dtype).eps)


def test_autocast_does_not_lower_the_precision_of_the_rebuilt_weight() -> None:
    layer, _ = compressed(nn.Conv2d(L1, L2, 3), "coupled", 1)
    x = torch.randn(1, L1, 6, 7)
    for execution in ("factorised", "dense"):
        layer.execution = execution
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
            with torch.no_grad():
                layer(x)
        with torch.no_grad():
            assert distance(layer(x), layer.to_dense()(x)) < CLOSE


@pytest.mark.parametrize("kind", ["train", "coupled", "coupled, own ranks", "in", "canonical", "split"])
def test_memory_format_is_that_of_the_input(kind: str) -> None:
    layer, _ = compressed(nn.Conv2d(L1, L2, 3, padding=1), kind, 1)
    for memory in (torch.channels_last, torch.contiguous_format):
        x = torch.randn(2, L1, 6, 7).contiguous(memory_format=memory)
        for execution in ("factorised", "dense"):
            layer.execution = execution
            assert layer(x).is_contiguous(memory_format=memory)


# ---- the dense weight that is kept


def rebuilds(layer: CompressedLayer) -> list[int]:
    """Counts calls of `kernel` from now on."""
    calls: list[int] = []
    kernel = layer.kernel

    def counted() -> Tensor:
        calls.append(1)
        return kernel()

    layer.kernel = counted  # type: ignore[method-assign]
    return calls


def dense_pair() -> tuple[CompressedLayer, Tensor]:
    layer, _ = compressed(nn.Conv2d(L1, L2, 3, padding=1), "coupled", 1)
    layer.execution = "dense"
    return layer, torch.randn(1, L1, 6, 7)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_dense_weight_is_rebuilt_only_when_a_factor_changes(mode: Any) -> None:
    layer, x = dense_pair()
    calls = rebuilds(layer)
    with mode():
        first = layer(x)
        assert torch.equal(layer(x), first) and len(calls) == 1
    layer(x).sum().backward()
    assert len(calls) == 2  # gradients are needed: a fresh one
    torch.optim.SGD(layer.parameters(), 0.1).step()
    for _ in range(2):
        with mode():
            moved = layer(x)
    assert len(calls) == 3
    layer.execution = "factorised"
    with mode():
        assert distance(moved, layer(x)) < CLOSE
    assert distance(moved, first) > 1e-3


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("assign", [False, True])
def test_loading_a_state_replaces_the_dense_weight(mode: Any, assign: bool) -> None:
    layer, x = dense_pair()
    other, _ = dense_pair()
    with mode():
        layer(x)
        expected = other(x)
    layer.load_state_dict(other.state_dict(), assign=assign)
    with mode():
        assert torch.equal(layer(x), expected)


def test_a_change_of_the_shared_factors_reaches_every_layer() -> None:
    model = Twins().eval()
    x = torch.randn(1, L1, 5, 6)
    for layer in model.layers:
        layer.execution = "dense"  # type: ignore[assignment]
    with torch.no_grad():
        model(x)
        model.layers[1].shared.last.mul_(2)  # type: ignore[union-attr,operator]
        found = model(x)
        for layer in model.layers:
            layer.execution = "factorised"  # type: ignore[assignment]
        assert distance(found, model(x)) < CLOSE


def test_inference_tensors_have_no_version_and_are_never_trusted() -> None:
    with torch.inference_mode():
        layer, x = dense_pair()
        assert layer.own.first.is_inference()  # type: ignore[union-attr,operator]
        before = layer(x)
        for factor in layer.factors():
            factor.mul_(2)
        after = layer(x)
        layer.execution = "factorised"
        assert distance(after, layer(x)) < CLOSE
        assert distance(after, before) > 0.1


def test_a_weight_kept_in_inference_mode_serves_gradients_of_the_input_later() -> None:
    layer, x = dense_pair()
    layer.requires_grad_(False)
    with torch.inference_mode():
        layer(x)
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None


def test_moves_modes_and_data_drop_the_dense_weight() -> None:
    layer, x = dense_pair()
    with torch.no_grad():
        before = layer(x)
        assert not copy.deepcopy(layer)._kept
        layer.own.first.data.mul_(3)  # type: ignore[union-attr,operator]  # torch tells nobody of this
        layer.eval()
        once = layer(x)
        assert distance(once, before) > 0.1
        layer.own.first.data.mul_(3)  # type: ignore[union-attr,operator]
        layer.forget()
        assert distance(layer(x), once) > 0.1
        assert layer.double()(x.double()).dtype == torch.float64


def test_the_layers_can_be_mapped_over_inputs_and_over_factors() -> None:
    layer, x = dense_pair()
    factors = {name: torch.stack((p, 2 * p)).detach() for name, p in layer.named_parameters()}
    with torch.no_grad():
        run = torch.func.vmap(lambda values: torch.func.functional_call(layer, values, (x,)))
        found = run(factors)
        assert distance(found[0], layer(x)) < CLOSE
        assert distance(found[0], found[1]) > 0.1
    assert distance(torch.func.vmap(layer)(x[None])[0], layer(x)) < CLOSE
    layer.execution = "factorised"
    assert distance(torch.func.vmap(layer)(x[None])[0], layer(x)) < CLOSE


# ---- errors


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), "Conv2d layer with groups=2"),
        (nn.ConvTranspose2d(4, 4, 3), "a ConvTranspose2d layer cannot be compressed; supported are Conv1d"),
        (nn.BatchNorm2d(4), "a BatchNorm2d layer cannot be compressed"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), "a ParametrizedLinear layer cannot be compressed"),
    ],
)
def test_unsupported_layers(module: nn.Module, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Geometry.of(module)


def test_bad_geometries_and_positions() -> None:
    with pytest.raises(ValueError, match="cannot make an image of 3 positions; give a divisor"):
        Geometry.of(nn.Linear(4, 8), 3)
    with pytest.raises(ValueError, match="one value per axis"):
        Geometry((3,), (1, 1), (1,), ((0, 0),), ("zeros",))
    with pytest.raises(ValueError, match="fully connected layer has positions"):
        Geometry(())
    with pytest.raises(ValueError, match="padding mode"):
        Geometry((3,), (1,), (1,), ((0, 0),), ("ones",))


def test_factors_that_do_not_fit() -> None:
    geometry, one_tap = Geometry.of(nn.Conv2d(L1, L2, 3)), Geometry.of(nn.Linear(L1, L2))
    with pytest.raises(ValueError, match="do not make a train of 9 taps"):
        TrainLayer.from_train(train(8, 3, 2), geometry, None)
    with pytest.raises(ValueError, match="do not make a train of 1 taps"):
        TrainLayer.from_train(Train(torch.randn(L1, 3), torch.randn(3, 1, 2), torch.randn(2, L2)), one_tap, None)
    with pytest.raises(ValueError, match="do not make a decomposition of 9 taps"):
        CanonicalLayer.from_factors(torch.randn(L1, 3), torch.randn(8, 3), torch.randn(3, L2), geometry, None)
    with pytest.raises(ValueError, match="do not make a kernel"):
        SplitLayer.from_factors(torch.randn(4, L1, 1, 3), torch.randn(L2, 4, 3, 1), geometry, None)
    with pytest.raises(ValueError, match="at least 1"):
        TrainLayer(geometry, L1, L2, (0, 2))
    with pytest.raises(ValueError, match="ranks must be equal"):
        TrainLayer(one_tap, L1, L2, (3, 2))


def test_layers_that_do_not_agree_cannot_share() -> None:
    geometry = Geometry.of(nn.Conv2d(L1, L2, 3))
    shared = Branch.from_train(train(9, 2, 2), geometry)
    part = Branch.from_factors(None, torch.randn(2, 9, 2), torch.randn(2, L2), geometry)
    with pytest.raises(ValueError, match="only layers that agree in them can share"):
        TrainLayer(geometry, L1 + 1, L2, (2, 2), shared)
    with pytest.raises(ValueError, match="only layers that agree in them can share"):
        TrainLayer(geometry, L1, L2 + 1, None, part)
    with pytest.raises(ValueError, match="only layers that agree in them can share"):
        TrainLayer(Geometry.of(nn.Conv2d(L1, L2, 5)), L1, L2, None, shared)
    with pytest.raises(ValueError, match="needs a shared or an own train"):
        TrainLayer(geometry, L1, L2, None)
    with pytest.raises(ValueError, match="needs a shared or an own train"):
        TrainLayer.from_train(None, geometry, None)
    with pytest.raises(ValueError, match="outer factor together with a shared part"):
        TrainLayer.from_train(None, geometry, None, shared=part)
    with pytest.raises(ValueError, match=r"outer factor of shape \(6, 2\) fits the shared part"):
        TrainLayer.from_train(None, geometry, None, shared=part, outer=torch.randn(L1, 3))
    with pytest.raises(ValueError, match="another group's"):
        layer_from_structure(TrainLayer(geometry, L1, L2, None, shared).structure(), part)
    with pytest.raises(ValueError, match="unknown kind"):
        layer_from_structure({**TrainLayer(geometry, L1, L2, (2, 2)).structure(), "kind": "wavelet"})


def test_structures_of_earlier_versions_make_the_same_layers() -> None:
    geometry = Geometry.of(nn.Conv2d(L1, L2, 3))
    part = Branch.from_factors(None, torch.randn(2, 9, 2), torch.randn(2, L2), geometry)
    for kind, layer in (
        ("train", TrainLayer(geometry, L1, L2, (2, 2))),
        ("coupled", TrainLayer.from_train(None, geometry, None, shared=Branch.from_train(train(9, 2, 2), geometry))),
        ("partly coupled", TrainLayer(geometry, L1, L2, (3, 2), part)),
    ):
        earlier = {**layer.structure(), "kind": kind}
        if kind == "train":
            earlier["ranks"] = earlier.pop("own_ranks")
            del earlier["shared"]
        again = layer_from_structure(json.loads(json.dumps(earlier)))
        assert again.structure() == layer.structure()
        again.load_state_dict(layer.state_dict())


def test_an_unknown_execution() -> None:
    layer, x = dense_pair()
    layer.execution = "fast"
    with pytest.raises(ValueError, match="execution must be one of"):
        layer(x)


def test_a_padding_that_no_plain_layer_has() -> None:
    geometry = Geometry((3, 3), (2, 2), (1, 1), ((1, 1), (1, 1)), ("zeros", "circular"))
    layer = TrainLayer(geometry, L1, L2, (2, 2))
    with pytest.raises(ValueError, match="no plain layer has the padding"):
        layer.to_dense()
    layer.execution = "dense"
    assert layer(torch.randn(1, L1, 6, 8)).shape == (1, L2, 3, 4)


def test_new_layers_keep_the_size_of_what_passes() -> None:
    geometry = Geometry.of(nn.Conv2d(64, 64, 3, padding=1))
    y = TrainLayer(geometry, 64, 64, (32, 32))(torch.randn(4, 64, 16, 16))
    assert 0.7 < math.sqrt(float(y.square().mean())) < 1.3
