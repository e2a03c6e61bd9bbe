"""Decomposed convolutions against explicit dense kernels made of outer products."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from networks.core.padding import circular_axes, extents, pad_axis, pad_circular, per_axis
from networks.layers import onednn as prepared
from networks.layers.decomposed import DecomposedConv, Decomposition, DenseConv
from networks.layers.split import ONE_BY_ONE, SPACE_THEN_TIME, SplitConv

TAPS = (3, 5, 2)
SHAPE = (6, 7, 8)
EXACT = 1e-12  # float64 sums of at most some hundred terms of order one


def decomposed(num_in: int, num_out: int, taps: Any, **options: Any) -> DecomposedConv:
    """A layer whose options are those of its decomposition and its own."""
    form = {name: options.pop(name) for name in ("rank", "order", "depthwise_first", "activation") if name in options}
    return DecomposedConv(num_in, num_out, taps, Decomposition(**form), **options)


@pytest.fixture(autouse=True)
def _double() -> object:
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def by_hand(x: Tensor, kernel: Tensor, widths: Sequence[tuple[int, int]], circular: Sequence[int]) -> Tensor:
    """Convolution as its definition ([A] eq. 13): shifted copies of an input that is padded by indices."""
    num_dims = kernel.ndim - 2
    for axis, (before, after) in enumerate(widths):
        size = x.shape[axis + 2]
        index = torch.arange(-before, size + after)
        inside = (index >= 0) & (index < size)
        x = x.index_select(axis + 2, index % size)
        if axis not in circular:
            x = x * inside.view(*(-1 if a == axis else 1 for a in range(num_dims)))
    sizes = [x.shape[a + 2] - kernel.shape[a + 2] + 1 for a in range(num_dims)]
    terms: list[Tensor] = []
    for tap in itertools.product(*(range(k) for k in kernel.shape[2:])):
        window = x
        for axis, (start, size) in enumerate(zip(tap, sizes, strict=True)):
            window = window.narrow(axis + 2, start, size)
        terms.append(torch.einsum("oc,bc...->bo...", kernel.flatten(2)[:, :, len(terms)], window))
    return torch.stack(terms).sum(0)


def outer_kernel(layer: DecomposedConv) -> Tensor:
    """Sum over terms of outer products of a depthwise-first layer's one-way kernels ([A] eq. 10 and 19)."""
    num_dims, num_in = len(layer.kernel_size), layer.in_channels
    *channelwise, combine = [f.detach() for f in layer.factors]
    kernel = torch.zeros(layer.out_channels, num_in, *layer.kernel_size)
    num_terms = combine.shape[1] // num_in
    for o, c, term in itertools.product(range(layer.out_channels), range(num_in), range(num_terms)):
        channel = c * num_terms + term
        vectors = [torch.empty(0)] * num_dims
        vectors[layer.order[-1]] = combine[o, channel]
        for step, factor in enumerate(channelwise):
            per_channel = combine.shape[1] // factor.shape[0]
            vectors[layer.order[step]] = factor[channel // per_channel, 0]
        letters = "xyz"[:num_dims]
        kernel[o, c] += torch.einsum(f"{','.join(letters)}->{letters}", *vectors)
    return kernel


CASES = [
    (order, circular)
    for num_dims in (1, 2, 3)
    for order in itertools.permutations(range(num_dims))
    for circular in ((), (num_dims - 1,), tuple(range(num_dims)))
]


@pytest.mark.parametrize(("order", "circular"), CASES)
@pytest.mark.parametrize("rank", [1, 2])
def test_depthwise_first_equals_outer_products(order: tuple[int, ...], circular: tuple[int, ...], rank: int) -> None:
    num_dims = len(order)
    for padding in ("same", "valid", [1] * num_dims):
        layer = decomposed(
            3, 4, TAPS[:num_dims], rank=rank, order=order, circular=circular, padding=padding, bias=False
        )
        x = torch.randn(2, 3, *SHAPE[:num_dims])
        expected = by_hand(x, outer_kernel(layer), layer.widths, circular)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=EXACT)
        torch.testing.assert_close(layer.dense_kernel(), outer_kernel(layer), rtol=0, atol=EXACT)


@pytest.mark.parametrize(("order", "circular"), CASES)
def test_full_channels_equal_their_dense_kernel(order: tuple[int, ...], circular: tuple[int, ...]) -> None:
    num_dims = len(order)
    layer = decomposed(3, 4, TAPS[:num_dims], rank=2, order=order, circular=circular, depthwise_first=False)
    x = torch.randn(2, 3, *SHAPE[:num_dims])
    with torch.no_grad():
        assert layer.bias is not None
        layer.bias.normal_()
    expected = by_hand(x, layer.dense_kernel(), layer.widths, circular) + layer.bias.view(-1, *(1,) * num_dims)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=EXACT)
    torch.testing.assert_close(layer.to_dense()(x), expected, rtol=0, atol=EXACT)


def test_two_full_factors_by_hand() -> None:
    layer = decomposed(3, 4, (3, 5), depthwise_first=False, bias=False)  # arc, then time
    first, second = (f.detach() for f in layer.factors)
    torch.testing.assert_close(layer.dense_kernel(), torch.einsum("omt,mcx->octx", second, first), rtol=0, atol=EXACT)


@pytest.mark.parametrize("circular", [(), (0,), (1,), (0, 1)])
def test_dense_layer_by_hand(circular: tuple[int, ...]) -> None:
    layer = DenseConv(3, 4, (3, 4), circular=circular, bias=False)
    x = torch.randn(2, 3, 6, 7)
    torch.testing.assert_close(layer(x), by_hand(x, layer.weight, layer.widths, circular), rtol=0, atol=EXACT)


def test_activation_between_the_factors() -> None:
    layer = decomposed(3, 4, (3, 3), activation=nn.Tanh(), circular=(0, 1))
    linear = decomposed(3, 4, (3, 3), circular=(0, 1))
    linear.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 6, 7)
    one_way = nn.functional.conv2d(pad_circular(x, 3, 1, 1), layer.factors[0].unsqueeze(2), groups=3)
    expected = nn.functional.conv2d(pad_circular(one_way.tanh(), 2, 1, 1), layer.factors[1].unsqueeze(3), layer.bias)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=EXACT)
    assert not torch.allclose(layer(x), linear(x))
    with pytest.raises(ValueError, match="has no dense kernel"):
        layer.dense_kernel()


@pytest.mark.parametrize("kind", [DenseConv, DecomposedConv])
def test_shift_along_the_arc_commutes(kind: type[DenseConv] | type[DecomposedConv]) -> None:
    layer = kind(3, 4, (3, 5), circular=(1,))
    x = torch.randn(2, 3, 6, 9)
    for shift in (1, 4):
        torch.testing.assert_close(layer(x.roll(shift, 3)), layer(x).roll(shift, 3), rtol=0, atol=EXACT)
    assert not torch.allclose(layer(x.roll(1, 2)), layer(x).roll(1, 2))  # time is open


def test_channels_last_is_kept() -> None:
    x = torch.randn(2, 8, 6, 9).contiguous(memory_format=torch.channels_last)
    for layer in (DenseConv(8, 8, (3, 3), circular=(1,)), decomposed(8, 8, (3, 3), circular=(1,))):
        assert layer(x).is_contiguous(memory_format=torch.channels_last)
    y = torch.randn(2, 8, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    assert decomposed(8, 8, (3, 3, 3), circular=(1,))(y).is_contiguous(memory_format=torch.channels_last_3d)


READY = [
    {},
    {"circular": (1,)},
    {"circular": (0, 1), "bias": False},
    {"circular": (1,), "rank": 2},
    {"circular": (1,), "depthwise_first": False},
    {"circular": (1,), "order": (0, 1), "padding": (1, 2)},
    {"circular": (0,), "order": (0, 1), "activation": nn.Tanh()},
    {"circular": (1,), "padding": "valid"},
]


@pytest.mark.skipif(not prepared.available(), reason="this torch has no oneDNN")
@pytest.mark.parametrize("taps", [(3, 3), (5, 5), (4, 3), (2, 5), (3, 2)])
@pytest.mark.parametrize("options", READY)
def test_kernels_that_are_ready_equal_torchs_own(taps: tuple[int, ...], options: dict[str, Any]) -> None:
    layer = decomposed(3, 4, taps, **options).float()
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    for shape in ((2, 3, 6, 7), (1, 3, 12, 9)):
        plain = torch.randn(shape, dtype=torch.float32)
        for x in (plain, plain.contiguous(memory_format=torch.channels_last)):
            expected = layer(x).detach()  # with gradients, so by torch's own
            for mode in (torch.no_grad, torch.inference_mode):
                with mode():
                    found = layer(x)
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)  # float32, at most 100 terms
    assert set(layer._kept) == {"ready"}


@pytest.mark.skipif(not prepared.available(), reason="this torch has no oneDNN")
def test_kernels_are_ready_for_what_they_can_do_only() -> None:
    layer, x = decomposed(4, 4, (3, 3), circular=(1,)).float(), torch.randn(1, 4, 6, 7, dtype=torch.float32)
    layer(x)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    layer.requires_grad_(False)
    leaf = x.clone().requires_grad_()
    layer(leaf).sum().backward()
    assert leaf.grad is not None and not layer._kept
    with torch.no_grad():
        decomposed(4, 4, (3, 3))(x.double())
        mapped = torch.func.vmap(layer)(torch.stack((x, 2 * x)))
        assert not layer._kept
        torch.testing.assert_close(mapped, torch.stack((layer(x), layer(2 * x))), rtol=0, atol=1e-5)
        assert layer(x.contiguous(memory_format=torch.channels_last)).is_contiguous(memory_format=torch.channels_last)
        narrow = decomposed(2, 2, (3, 7), circular=(1,)).float()
        with pytest.raises(ValueError, match="more than once around an axis of 2 points"):
            narrow(torch.randn(1, 2, 8, 2, dtype=torch.float32))


@pytest.mark.skipif(not prepared.available(), reason="this torch has no oneDNN")
def test_kernels_that_are_ready_follow_a_factor_that_changes() -> None:
    layer, x = decomposed(3, 4, (3, 3), circular=(1,)).float(), torch.randn(1, 3, 6, 7, dtype=torch.float32)
    with torch.no_grad():
        before = layer(x)
        ready = layer._kept["ready"][1]
        assert layer(x).equal(before) and layer._kept["ready"][1] is ready  # made once
        layer.factors[0].mul_(2)  # the bias is zero
        torch.testing.assert_close(layer(x), 2 * before, rtol=0, atol=1e-5)
        layer(x[:, :, :5])  # images of another shape
        torch.testing.assert_close(layer(x), 2 * before, rtol=0, atol=1e-5)
        layer.execution = "dense"
        torch.testing.assert_close(layer(x), 2 * before, rtol=0, atol=1e-5)
    assert not copy.deepcopy(layer)._kept


@pytest.mark.parametrize("options", [{}, {"circular": (1,)}, {"depthwise_first": False}, {"rank": 2, "bias": False}])
def test_a_layer_may_run_dense(options: dict[str, Any]) -> None:
    layer, x = decomposed(3, 4, (3, 5), **options), torch.randn(2, 3, 6, 7, requires_grad=True)
    inputs = (x, *layer.parameters())
    found = {}
    for layer.execution in ("factorised", "dense"):
        y = layer(x)
        slopes = torch.autograd.grad(y, inputs, y.detach())
        with torch.no_grad():
            found[layer.execution] = (y, layer(x), *slopes)
    for ours, dense in zip(found["factorised"], found["dense"], strict=True):
        torch.testing.assert_close(ours, dense, rtol=0, atol=100 * EXACT)  # gradients sum over all points
    layer.execution = "sparse"
    with pytest.raises(ValueError, match="execution must be one of"):
        layer(x)


def test_an_activation_between_leaves_no_dense_form() -> None:
    layer = decomposed(3, 4, (3, 3), activation=nn.Tanh())
    assert not layer.has_dense_form
    assert decomposed(3, 4, (3, 3)).has_dense_form
    layer.execution = "dense"
    with pytest.raises(ValueError, match="has no dense kernel"):
        layer(torch.randn(1, 3, 4, 4))


@pytest.mark.parametrize("groups", [SPACE_THEN_TIME, ONE_BY_ONE])
def test_a_split_layer_may_run_dense(groups: Sequence[Sequence[int]]) -> None:
    layer, x = SplitConv(3, 4, (5, 3, 3), groups), torch.randn(2, 3, 6, 5, 4)
    y = layer(x)
    layer.execution = "dense"
    torch.testing.assert_close(layer(x), y, rtol=0, atol=EXACT)
    layer.execution = "sparse"
    with pytest.raises(ValueError, match="execution must be one of"):
        layer(x)


def test_gradients() -> None:
    layer = decomposed(2, 2, (3, 2), rank=2, circular=(1,))
    x = torch.randn(1, 2, 4, 5, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *_: layer(x), (x, *layer.parameters()))
    assert torch.autograd.gradcheck(lambda x: pad_circular(x, 3, 2, 1).square(), (x,))
    assert torch.autograd.gradgradcheck(lambda x: pad_circular(x, 3, 2, 1).square(), (x,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taps": (3, 3, 3, 3)}, "1 to 3 integers"),
        ({"taps": (3, 0)}, "kernel_size must be one positive integer"),
        ({"rank": 0}, "rank of a decomposition must be at least 1, got 0"),
        ({"rank": (1, 2)}, "rank must be one positive integer or 1 of them"),
        ({"order": (0, 0)}, "each of the axes 0..1 once"),
        ({"circular": (2,)}, "within 0..1"),
        ({"circular": (1, 1)}, "distinct"),
        ({"padding": "reflect"}, 'padding must be "same", "valid"'),
        ({"padding": (1,)}, "2 non-negative integers"),
    ],
)
def test_impossible_layers(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decomposed(2, 2, **{"taps": (3, 3), **options})  # type: ignore[arg-type]


def test_other_bad_arguments() -> None:
    with pytest.raises(ValueError, match="more than once around an axis of 2 points"):
        decomposed(2, 2, (7, 7), circular=(1,))(torch.randn(1, 2, 8, 2))


def test_padding_words() -> None:
    assert extents("same", (3, 4)) == ((1, 1), (1, 2))
    assert extents("valid", (3, 4)) == ((0, 0), (0, 0))
    assert extents((2, 0), (3, 4)) == ((2, 2), (0, 0))
    assert circular_axes([1], 2) == frozenset({1})
    assert per_axis(3, 2, "kernel_size") == (3, 3)
    x = torch.arange(4.0).view(1, 1, 4)
    assert pad_axis(x, 2, (1, 2), True).flatten().tolist() == [3, 0, 1, 2, 3, 0, 1]
    assert pad_axis(x, 2, (1, 2), False).flatten().tolist() == [0, 0, 1, 2, 3, 0, 0]
