"""Dense and a-priori decomposed convolutions with one padding rule, for 1 to 3 dimensions.

A d-way kernel becomes d successive one-way convolutions. Depthwise first, every factor but the last works on
each channel alone and the last one combines the channels, so that the layer is the dense one whose kernel is

    K[o, c, p_1 .. p_d] = sum_r a_cr(p_1) b_cr(p_2) .. w_ocr(p_d).

Tensors are (batch, channel, axes...), e.g. (batch, channel, time, arc); axes are counted from 0 after the
channel.

Source: Boukraichi, Akkari, Casenave, Ryckelynck, "A priori compression of convolutional neural networks for
wave simulators", [A] section 3.3 (eq. 9-12) and 3.4 (eq. 14-19).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from networks.core.padding import circular_axes, extents, pad_axis, per_axis
from networks.core.rebuildable import Rebuildable, is_plain, versions
from networks.layers import onednn as prepared
from networks.layers.convolving import dense_convolution, one_way, own_margin

_READY = prepared.available()


def _init_uniform(weight: Tensor, bias: Tensor | None, fan_in: int) -> None:
    """Variance 1/fan_in for the weights, torch's own bound for the bias."""
    nn.init.uniform_(weight, -math.sqrt(3 / fan_in), math.sqrt(3 / fan_in))
    if bias is not None:
        nn.init.uniform_(bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


class DenseConv(nn.Module):
    """Dense convolution, circular on chosen axes and zero-padded on the others.

    Args:
        in_channels, out_channels: channels.
        kernel_size: taps, one per axis; its length is the number of dimensions, 1 to 3.
        padding: "same", "valid", or points added on both sides of each axis.
        circular: axes that are closed.
        bias: whether to add one number per output channel.

    Raises:
        ValueError: an impossible size, padding or axis.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        *,
        padding: str | Sequence[int] = "same",
        circular: Sequence[int] = (),
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = _checked_kernel(kernel_size)
        self.widths = extents(padding, self.kernel_size)
        self.circular = circular_axes(circular, len(self.kernel_size))
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        _init_uniform(self.weight, self.bias, in_channels * math.prod(self.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, axes...) to (batch, out_channels, axes...)."""
        return dense_convolution(x, self.weight, self.bias, self.widths, self.circular)


@dataclass(frozen=True)
class Decomposition:
    """Form of the one-way factors of a convolution.

    Attributes:
        rank: terms. Depthwise first: one-way kernels per input channel, either one number (the first factor makes
            them all) or one multiplier for each factor but the last. Otherwise there are `rank * out_channels`
            channels between the factors.
        order: axes in the order in which they are convolved; None is the last axis first, as [A] does (space, then
            time).
        depthwise_first: every factor but the last works per channel, the last one combines ([A] eq. 15-17);
            otherwise every factor combines all channels.
        activation: applied after each factor but the last ([A] 3.4, last paragraph); None keeps it linear.
    """

    rank: int | Sequence[int] = 1
    order: Sequence[int] | None = None
    depthwise_first: bool = True
    activation: nn.Module | None = None


class DecomposedConv(Rebuildable):
    """Convolution by successive one-way factors ([A] eq. 17 and 19).

    Its `execution` may be "dense" where no activation stands between the factors.

    Args:
        in_channels, out_channels: channels.
        kernel_size: taps, one per axis; its length is the number of dimensions, 1 to 3.
        decomposition: rank, order and form of the factors.
        padding, circular, bias: as in `DenseConv`.

    Raises:
        ValueError: an impossible size, rank, order, padding or axis.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        decomposition: Decomposition | None = None,
        *,
        padding: str | Sequence[int] = "same",
        circular: Sequence[int] = (),
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = _checked_kernel(kernel_size)
        num_dims = len(self.kernel_size)
        chosen = Decomposition() if decomposition is None else decomposition
        order, depthwise_first = chosen.order, chosen.depthwise_first
        self.order = tuple(range(num_dims))[::-1] if order is None else tuple(int(a) for a in order)
        if sorted(self.order) != list(range(num_dims)):
            raise ValueError(f"order must hold each of the axes 0..{num_dims - 1} once, got {order!r}")
        self.rank = _checked_rank(chosen.rank, num_dims, depthwise_first)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.depthwise_first = depthwise_first
        self.activation = chosen.activation
        self.widths = extents(padding, self.kernel_size)
        self.circular = circular_axes(circular, num_dims)
        self.factors = nn.ParameterList()
        self.groups: list[int] = []
        channels = in_channels
        for step, axis in enumerate(self.order):
            last = step == num_dims - 1
            per_channel = depthwise_first and not last
            following = out_channels if last else (channels if depthwise_first else out_channels) * self.rank[step]
            fan_in = self.kernel_size[axis] * (1 if per_channel else channels)
            factor = torch.empty(following, 1 if per_channel else channels, self.kernel_size[axis])
            _init_uniform(factor, None, fan_in)
            self.factors.append(nn.Parameter(factor))
            self.groups.append(channels if per_channel else 1)
            channels = following
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, axes...) to (batch, out_channels, axes...).

        Raises:
            ValueError: `execution` is neither "factorised" nor "dense", or dense with an activation between.
        """
        if self.execution == "dense":
            weight = self.cached("dense", tuple(self.factors), self.dense_kernel)
            return dense_convolution(x, weight, self.bias, self.widths, self.circular)
        if self.execution != "factorised":
            raise self.unknown_execution()
        kernels = self._prepared(x)
        return self._convolved(x) if kernels is None else self._applied(x, kernels)

    @property
    def has_dense_form(self) -> bool:
        """True where no activation stands between the factors."""
        return self.activation is None

    def _prepared(self, x: Tensor) -> tuple[prepared.Kernel, ...] | None:
        """Kernels that are ready for such images; None where there are none: elsewhere than on a CPU, in other
        precision, with gradients, amid a transformation of functions."""
        if x.device.type != "cpu" or x.dtype != torch.float32 or x.ndim != 4 or len(self.order) != 2:
            return None
        if (torch.is_grad_enabled() and x.requires_grad) or torch.is_autocast_enabled("cpu"):
            return None
        factors = tuple(self.factors)
        if not _READY or versions(factors) is None or factors[0].dtype != x.dtype or not is_plain(x):
            return None
        return self.cached("ready", factors, lambda: self._make_ready(factors, x.shape), x.shape)

    def _make_ready(self, factors: tuple[Tensor, ...], image: Sequence[int]) -> tuple[prepared.Kernel, ...]:
        shape, kernels = list(image), []
        for axis, factor, groups in zip(self.order, factors, self.groups, strict=True):
            width, closed = self.widths[axis], axis in self.circular
            if prepared.comes_round(factor, groups, width, closed) and width[0] <= shape[axis + 2]:
                kernels.append(prepared.prepare(factor, shape, axis, width[0], groups, closed=True))
            else:
                margin = own_margin(width, closed)
                shape[axis + 2] += sum(width) if margin is None else 0
                kernels.append(prepared.prepare(factor, shape, axis, margin or 0, groups))
                shape[axis + 2] -= sum(width) if margin is None else 0
            shape[1] = len(factor)
            shape[axis + 2] += sum(width) + 1 - factor.shape[2]
        return tuple(kernels)

    def _applied(self, x: Tensor, kernels: tuple[prepared.Kernel, ...]) -> Tensor:
        """The factors as kernels that are ready."""
        last = len(self.order) - 1
        for step, (axis, kernel) in enumerate(zip(self.order, kernels, strict=True)):
            closed = axis in self.circular
            if not kernel.round[0] and own_margin(self.widths[axis], closed) is None:
                x = pad_axis(x, axis + 2, self.widths[axis], closed)
            x = prepared.apply(x, kernel, self.bias if step == last else None)
            if self.activation is not None and step != last:
                x = self.activation(x)
        return x

    def _convolved(self, x: Tensor) -> Tensor:
        """The factors as torch's convolutions."""
        last = len(self.order) - 1
        for step, (axis, factor) in enumerate(zip(self.order, self.factors, strict=True)):
            bias = self.bias if step == last else None
            x = one_way(x, factor, bias, axis, self.widths[axis], axis in self.circular, self.groups[step])
            if self.activation is not None and step != last:
                x = self.activation(x)
        return x

    def dense_kernel(self) -> Tensor:
        """The kernel (out_channels, in_channels, taps...) of the dense layer that this one equals.

        Raises:
            ValueError: an activation stands between the factors, so there is no such kernel.
        """
        if self.activation is not None:
            raise ValueError("a decomposed layer with an activation between its factors has no dense kernel")
        # rows: channels after the factor; columns: input channel and the taps convolved so far
        kernel: Tensor | None = None
        for factor, groups in zip(self.factors, self.groups, strict=True):
            full = factor
            if groups > 1:
                full = factor.new_zeros(factor.shape[0], groups, factor.shape[2])
                rows = torch.arange(factor.shape[0], device=factor.device)
                full[rows, rows // (factor.shape[0] // groups)] = factor[:, 0]
            kernel = full if kernel is None else torch.einsum("omp,mc...->oc...p", full, kernel)
        dims = [2 + self.order.index(axis) for axis in range(len(self.order))]
        return cast(Tensor, kernel).permute(0, 1, *dims)

    def to_dense(self) -> DenseConv:
        """The dense layer with the same numbers, for devices on which one dense kernel is faster.

        Raises:
            ValueError: see `dense_kernel`.
        """
        kernel = self.dense_kernel().detach()
        dense = DenseConv(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            circular=tuple(self.circular),
            bias=self.bias is not None,
        ).to(kernel)
        dense.widths = self.widths
        with torch.no_grad():
            dense.weight.copy_(kernel)
            if self.bias is not None and dense.bias is not None:
                dense.bias.copy_(self.bias)
        return dense


def _checked_kernel(kernel_size: Sequence[int]) -> tuple[int, ...]:
    if isinstance(kernel_size, int) or not 1 <= len(kernel_size) <= 3:
        raise ValueError(f"kernel_size must hold 1 to 3 integers, one per axis, got {kernel_size!r}")
    return per_axis(kernel_size, len(kernel_size), "kernel_size")


def _checked_rank(rank: int | Sequence[int], num_dims: int, depthwise_first: bool) -> tuple[int, ...]:
    if isinstance(rank, int):
        if rank < 1:
            raise ValueError(f"the rank of a decomposition must be at least 1, got {rank}")
        return (rank,) + (1 if depthwise_first else rank,) * (num_dims - 2) if num_dims > 1 else ()
    return per_axis(rank, num_dims - 1, "rank") if num_dims > 1 else ()
