"""Base of all compressed layers: a geometry, a bias, and two ways to run with the same numbers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from networks.compression.layer.geometry import CONVOLUTIONS, Geometry, convolve
from networks.core.rebuildable import EXECUTIONS, Rebuildable
from networks.layers.decomposed import DenseConv

__all__ = ["EXECUTIONS", "CompressedLayer"]
Layer = TypeVar("Layer", bound="CompressedLayer")


class CompressedLayer(Rebuildable, ABC):
    """A layer whose weight is kept as factors, in place of a dense one.

    Args:
        geometry: taps, stride, dilation and padding of the layer that this one replaces.
        in_channels, out_channels: its depths, or the inputs and outputs of a fully connected layer.
        bias: whether to add one number per output channel.
    """

    stands_in = True

    def __init__(self, geometry: Geometry, in_channels: int, out_channels: int, bias: bool) -> None:
        super().__init__()
        self.geometry = geometry
        self.in_channels, self.out_channels = in_channels, out_channels
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    @abstractmethod
    def factors(self) -> tuple[Tensor, ...]:
        """All factors, own and shared, as they are stored."""

    @abstractmethod
    def kernel(self) -> Tensor:
        """The dense weight (out, in, taps...) that the factors stand for; gradients reach the factors."""

    @abstractmethod
    def factorised(self, x: Tensor) -> Tensor:
        """Apply the factors one after the other, then the bias."""

    @abstractmethod
    def structure(self) -> dict[str, Any]:
        """Plain values from which `layer_from_structure` makes a layer of the same shapes."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, axes...) to (batch, out_channels, axes...), or (..., inputs) to (..., outputs).

        Raises:
            ValueError: `execution` is neither "factorised" nor "dense".
        """
        if self.execution == "factorised":
            return self.factorised(x)
        if self.execution == "dense":
            return convolve(x, self.cached("dense", self.factors(), self.kernel), self.bias, self.geometry)
        raise self.unknown_execution()

    def num_weights(self) -> int:
        """Numbers in the factors, shared ones included, the bias not."""
        return sum(factor.numel() for factor in self.factors())

    def to_dense(self) -> nn.Module:
        """The plain layer with the same numbers: Linear, Conv1d to Conv3d, or DenseConv where axes differ.

        Raises:
            ValueError: axes that differ in their padding together with stride, dilation or reflection.
        """
        weight = self.kernel().detach()
        dense = _plain_layer(self.geometry, weight, self.bias is not None)
        dense.to(weight)
        with torch.no_grad():
            cast(Tensor, dense.weight).copy_(weight)
            if self.bias is not None:
                cast(Tensor, dense.bias).copy_(self.bias)
        return dense.train(self.training)

    def extra_repr(self) -> str:
        """Shapes of the factors, for print."""
        shapes = ", ".join("x".join(map(str, factor.shape)) for factor in self.factors())
        return f"{self.in_channels}, {self.out_channels}, factors {shapes}, {self.execution}"


def _plain_layer(geometry: Geometry, weight: Tensor, bias: bool) -> nn.Module:
    """An untrained dense layer of a geometry."""
    out_channels, in_channels = weight.shape[:2]
    if not geometry.kernel_size:
        return nn.Linear(in_channels, out_channels, bias=bias)
    plain = (1,) * len(geometry.kernel_size)
    if len(set(geometry.modes)) == 1 and (padding := _plain_padding(geometry)) is not None:
        layer: Any = CONVOLUTIONS[len(plain) - 1]
        return cast(
            nn.Module,
            layer(
                in_channels,
                out_channels,
                geometry.kernel_size,
                stride=geometry.stride,
                padding=padding,
                dilation=geometry.dilation,
                bias=bias,
                padding_mode=geometry.modes[0],
            ),
        )
    if geometry.stride != plain or geometry.dilation != plain or not set(geometry.modes) <= {"zeros", "circular"}:
        raise ValueError(
            f"no plain layer has the padding {geometry.widths}, {geometry.modes} with stride {geometry.stride} and "
            f'dilation {geometry.dilation}; set execution = "dense" instead'
        )
    closed = tuple(axis for axis, mode in enumerate(geometry.modes) if mode == "circular")
    dense = DenseConv(in_channels, out_channels, geometry.kernel_size, circular=closed, bias=bias)
    dense.widths = geometry.widths
    return dense


def _plain_padding(geometry: Geometry) -> str | tuple[int, ...] | None:
    """Padding as torch's layers take it; None where they cannot."""
    if all(before == after for before, after in geometry.widths):
        return tuple(before for before, _ in geometry.widths)
    spans = [d * (k - 1) for k, d in zip(geometry.kernel_size, geometry.dilation, strict=True)]
    same = tuple((span // 2, span - span // 2) for span in spans)
    return "same" if geometry.widths == same and set(geometry.stride) == {1} else None


def unique(tensors: Iterable[Tensor | None]) -> tuple[Tensor, ...]:
    """The tensors that are there, each once."""
    return tuple({id(tensor): tensor for tensor in tensors if tensor is not None}.values())


def per_position(out_channels: int, geometry: Geometry) -> int:
    """Channels of the image that a fully connected layer makes; of a convolution, its output channels."""
    return out_channels // (geometry.positions or 1)


def common_structure(layer: CompressedLayer, kind: str) -> dict[str, Any]:
    """The part of `structure()` that all layers have."""
    return {
        "kind": kind,
        "geometry": layer.geometry.to_dict(),
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "bias": layer.bias is not None,
    }


def with_bias(layer: Layer, bias: Tensor | None) -> Layer:
    """The layer in its factors' precision and place, with the values of a bias."""
    layer.to(layer.factors()[0])
    if bias is not None and layer.bias is not None:
        with torch.no_grad():
            layer.bias.copy_(bias)
    return layer
