"""Padding of convolution inputs: circular on closed axes, zeros elsewhere, memory format kept.

Torch's own circular padding drops the channels_last format; `cat` keeps it.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

Extents = tuple[tuple[int, int], ...]


def per_axis(value: int | Sequence[int], num_dims: int, name: str) -> tuple[int, ...]:
    """One positive integer per axis, from a single one or a sequence.

    Raises:
        ValueError: the sequence has another length than the number of axes, or holds less than 1.
    """
    values = (int(value),) * num_dims if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != num_dims or any(v < 1 for v in values):
        raise ValueError(f"{name} must be one positive integer or {num_dims} of them, got {value!r}")
    return values


def extents(padding: str | Sequence[int], kernel_size: Sequence[int]) -> Extents:
    """Points added (before, after) on each axis.

    Args:
        padding: "same" keeps the size (torch's convention: the odd point of an even kernel goes after),
            "valid" adds nothing; else one number per axis, added on both sides.
        kernel_size: taps per axis.

    Raises:
        ValueError: anything else.
    """
    if padding == "same":
        return tuple(((k - 1) // 2, k - 1 - (k - 1) // 2) for k in kernel_size)
    if padding == "valid":
        return tuple((0, 0) for _ in kernel_size)
    if isinstance(padding, str) or len(padding) != len(kernel_size) or min(padding) < 0:
        raise ValueError(
            f'padding must be "same", "valid" or {len(kernel_size)} non-negative integers, got {padding!r}'
        )
    return tuple((int(p), int(p)) for p in padding)


def circular_axes(axes: Sequence[int], num_dims: int) -> frozenset[int]:
    """Check the closed axes, counted from 0 among the convolved ones.

    Raises:
        ValueError: an axis that does not exist, or given twice.
    """
    if len(set(axes)) != len(axes) or any(not 0 <= a < num_dims for a in axes):
        raise ValueError(f"circular axes must be distinct and within 0..{num_dims - 1}, got {tuple(axes)!r}")
    return frozenset(int(a) for a in axes)


class _Wrap(torch.autograd.Function):
    """Periodic continuation whose gradient folds the added points back, without a full-size zero for each slice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, before: int, after: int) -> Tensor:
        ctx.layout = (dim, before, after)
        size = x.shape[dim]
        return torch.cat((x.narrow(dim, size - before, before), x, x.narrow(dim, 0, after)), dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        dim, before, after = ctx.layout
        gradient = gradients[0]
        size = gradient.shape[dim] - before - after
        inner = gradient.narrow(dim, before, size).clone()
        inner.narrow(dim, size - before, before).add_(gradient.narrow(dim, 0, before))
        inner.narrow(dim, 0, after).add_(gradient.narrow(dim, before + size, after))
        return inner, None, None, None


def pad_circular(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Continue x periodically along one dimension.

    Raises:
        ValueError: more points are wanted than one turn holds.
    """
    if before == after == 0:
        return x
    size = x.shape[dim]
    if max(before, after) > size:
        raise ValueError(
            f"circular padding of ({before}, {after}) goes more than once around an axis of {size} points; "
            "use a smaller kernel or more points"
        )
    if not (torch.is_grad_enabled() and x.requires_grad):
        return torch.cat((x.narrow(dim, size - before, before), x, x.narrow(dim, 0, after)), dim)
    return cast(Tensor, _Wrap.apply(x, dim, before, after))


def pad_zeros(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Add zeros before and after along one dimension."""
    if before == after == 0:
        return x
    widths = [0, 0] * (x.ndim - 1 - dim) + [before, after]
    return functional.pad(x, widths)


def pad_axis(x: Tensor, dim: int, width: tuple[int, int], circular: bool) -> Tensor:
    """Pad one dimension, periodically or by zeros."""
    return (pad_circular if circular else pad_zeros)(x, dim, *width)
