"""Geometry of a layer beside its weights: taps, stride, dilation and padding, kept apart so that factors may share it.

Tensors are (batch, channel, axes...); axes are counted from 0 after the channel. A fully connected layer has no axes;
it may be read as one that makes an image, (batch, position, channel) with the channel last, and then its positions
take the place of the taps in the folded weight.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from networks.core.padding import Extents, pad_circular, pad_zeros
from networks.layers.decomposed import DenseConv

CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
SUPPORTED = "Conv1d, Conv2d, Conv3d and DenseConv with groups = 1, and Linear"
CONVOLVE: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_MODES = ("zeros", "circular", "reflect", "replicate")


@dataclass(frozen=True)
class Geometry:
    """Steps of a kernel over its input; equal for the dense layer and for what replaces it.

    Attributes:
        kernel_size, stride, dilation: one number per axis; empty for a fully connected layer.
        widths: points added (before, after) on each axis.
        modes: what is added on each axis: "zeros", "circular", "reflect" or "replicate".
        positions: of the image that a fully connected layer makes; 0 for convolutions.
    """

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    widths: Extents = ()
    modes: tuple[str, ...] = ()
    positions: int = 0

    def __post_init__(self) -> None:
        num_axes = len(self.kernel_size)
        if any(len(v) != num_axes for v in (self.stride, self.dilation, self.widths, self.modes)):
            raise ValueError(f"a geometry needs one value per axis, got {self!r}")
        if (num_axes == 0) != (self.positions > 0) or self.positions < 0:
            raise ValueError(f"a convolution has axes, a fully connected layer has positions, got {self!r}")
        if any(mode not in _MODES for mode in self.modes):
            raise ValueError(f"a padding mode must be one of {_MODES}, got {self.modes!r}")

    @classmethod
    def of(cls, module: nn.Module, positions: int = 1) -> "Geometry":
        """The geometry of a dense layer.

        Args:
            module: the layer.
            positions: for a fully connected layer, of the image that it makes.

        Raises:
            ValueError: a layer of another class, with groups, or whose outputs are no multiple of the positions.
        """
        if type(module) is nn.Linear:
            if positions < 1 or module.out_features % positions:
                raise ValueError(
                    f"a Linear layer of {module.out_features} outputs cannot make an image of {positions} positions; "
                    "give a divisor of its outputs"
                )
            return cls((), positions=positions)
        if type(module) is DenseConv:
            ones = (1,) * len(module.kernel_size)
            modes = tuple("circular" if a in module.circular else "zeros" for a in range(len(ones)))
            return cls(module.kernel_size, ones, ones, module.widths, modes)
        if type(module) not in CONVOLUTIONS:
            raise ValueError(f"a {type(module).__name__} layer cannot be compressed; supported are {SUPPORTED}")
        return cls._of_convolution(module)

    @classmethod
    def _of_convolution(cls, module: Any) -> "Geometry":
        if module.groups != 1:
            raise ValueError(
                f"a {type(module).__name__} layer with groups={module.groups} cannot be compressed; "
                f"supported are {SUPPORTED}"
            )
        if module.padding == "same":
            spans = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
            widths = tuple((span // 2, span - span // 2) for span in spans)
        elif module.padding == "valid":
            widths = tuple((0, 0) for _ in module.kernel_size)
        else:
            widths = tuple((int(p), int(p)) for p in module.padding)
        modes = (module.padding_mode,) * len(module.kernel_size)
        return cls(tuple(module.kernel_size), tuple(module.stride), tuple(module.dilation), widths, modes)

    @property
    def num_taps(self) -> int:
        """F of the folded weight ([B] eq. 3): taps of a convolution, positions of a fully connected layer."""
        return self.positions or math.prod(self.kernel_size)

    def along(self, axes: Sequence[int]) -> "Geometry":
        """The part of a convolution that acts along some axes: one tap, stride 1 and no padding on the others."""
        remaining = [axis in axes for axis in range(len(self.kernel_size))]
        return replace(
            self,
            kernel_size=tuple(k if keep else 1 for k, keep in zip(self.kernel_size, remaining, strict=True)),
            stride=tuple(s if keep else 1 for s, keep in zip(self.stride, remaining, strict=True)),
            dilation=tuple(d if keep else 1 for d, keep in zip(self.dilation, remaining, strict=True)),
            widths=tuple(w if keep else (0, 0) for w, keep in zip(self.widths, remaining, strict=True)),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Geometry":
        """The inverse of `to_dict`, also after JSON has made lists of tuples."""
        widths = tuple((int(before), int(after)) for before, after in values["widths"])
        rest = {name: tuple(values[name]) for name in ("kernel_size", "stride", "dilation", "modes")}
        return cls(widths=widths, positions=int(values["positions"]), **rest)

    @cached_property
    def _native(self) -> tuple[int, ...]:
        """Zeros that the convolution itself adds on both sides of each axis."""
        pairs = zip(self.widths, self.modes, strict=True)
        return tuple(w[0] if mode == "zeros" and w[0] == w[1] else 0 for w, mode in pairs)

    @cached_property
    def _explicit(self) -> tuple[tuple[int, tuple[int, int], str], ...]:
        """(dimension, (before, after), mode) of the axes that are padded before the convolution."""
        rows = zip(self.widths, self.modes, self._native, strict=True)
        return tuple((axis + 2, w, mode) for axis, (w, mode, native) in enumerate(rows) if any(w) and not native)

    def pad(self, x: Tensor) -> Tensor:
        """Add to (batch, channel, axes...) what the convolution cannot add itself; the memory format stays."""
        for dim, width, mode in self._explicit:
            if mode == "circular":
                x = pad_circular(x, dim, *width)
            elif mode == "zeros":
                x = pad_zeros(x, dim, *width)
            else:
                x = functional.pad(x, [0, 0] * (x.ndim - 1 - dim) + [*width] + [0, 0] * (dim - 2), mode=mode)
        return x


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, geometry: Geometry, groups: int = 1) -> Tensor:
    """Apply a dense kernel (out, in / groups, taps...), or (out, in) of a fully connected layer."""
    if not geometry.kernel_size:
        return functional.linear(x, kernel, bias)
    return CONVOLVE[len(geometry.kernel_size)](
        geometry.pad(x), kernel, bias, geometry.stride, geometry._native, geometry.dilation, groups
    )
