"""Factors of tensor trains applied one after the other, and multiplied out.

Source: [B] figure 1 (three successive convolutions) and figure 4 (a shared and an own branch).
"""

import torch
from torch import Tensor
from torch.nn import functional

from networks.compression.layer.geometry import CONVOLVE, Geometry, convolve

Factors = tuple[Tensor, Tensor | None, Tensor]
"""`first`, `core` (None where it is absorbed) and `last` of one train, as they are stored (`shared.Branch`)."""


def dense_weight(factors: Factors, geometry: Geometry) -> Tensor:
    """The dense weight (L2, L1, taps...) that factors stand for, (P * C, L1) of a fully connected layer."""
    first, core, last = factors
    if core is None:
        weight = last @ first
        return weight.view(*weight.shape, *geometry.kernel_size)
    if geometry.positions:
        return (last @ (core @ first).view(geometry.positions, last.shape[1], -1)).flatten(0, 1)
    inner = first.t() @ core.flatten(2)  # (r2, L1, F)
    return (last @ inner.flatten(1)).view(last.shape[0], first.shape[1], *geometry.kernel_size)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Combine the channels of (batch, channel, axes...) by a matrix (out, in); the memory format stays.

    A convolution of one tap: measured on one core it is as fast as the matrix product on the channels_last view for
    few points, up to 1.6 times faster for many, and it takes any memory format.
    """
    ones = (1,) * (x.ndim - 2)
    return CONVOLVE[x.ndim - 2](x, weight.view(*weight.shape, *ones), bias)


def apply_trains(x: Tensor, branches: tuple[Factors, ...], bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Apply the sum of one or two trains, and the bias.

    Two trains have their first factors joined to one matrix, and their last. Cores of equal ranks are one convolution
    in two groups; others are two convolutions.
    """
    firsts, cores, lasts = zip(*branches, strict=True)
    first, last = joined(firsts, 0), joined(lasts, 1)
    if not geometry.kernel_size:
        return _apply_to_vectors(x, first, cores, last, bias, geometry.positions)
    if cores[0] is None:
        return pointwise(convolve(x, first.view(*first.shape, *geometry.kernel_size), None, geometry), last, bias)
    x = pointwise(x, first)
    if all(core.shape == cores[0].shape for core in cores):
        return pointwise(convolve(x, joined(cores, 0), None, geometry, groups=len(cores)), last, bias)
    parts = x.split([core.shape[1] for core in cores], 1)
    outs = [convolve(part, core, None, geometry) for part, core in zip(parts, cores, strict=True)]
    return pointwise(joined(outs, 1), last, bias)


def _apply_to_vectors(
    x: Tensor,
    first: Tensor,
    cores: tuple[Tensor | None, ...],
    last: Tensor,
    bias: Tensor | None,
    positions: int,
) -> Tensor:
    """A fully connected layer: (..., inputs) to (..., positions * channel)."""
    x = functional.linear(x, first)
    if cores[0] is None:
        return functional.linear(x, last, bias)
    parts = x.split([core.shape[1] for core in cores if core is not None], -1)
    pairs = [(part, core) for part, core in zip(parts, cores, strict=True) if core is not None]
    outs = [functional.linear(part, core).unflatten(-1, (positions, -1)) for part, core in pairs]
    image = functional.linear(joined(outs, -1), last).flatten(-2)
    return image if bias is None else image + bias


def joined(tensors: "tuple[Tensor, ...] | list[Tensor]", dim: int) -> Tensor:
    """One tensor of one or several."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors), dim)
