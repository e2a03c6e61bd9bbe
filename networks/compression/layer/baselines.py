"""Layers of the decompositions that coupled trains are compared with: canonical, and two convolutions.

Source: Lebedev et al. (2015) for the canonical form; [B] section V (its baseline "SVD") for F1 x 1 and 1 x F2.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from networks.compression.layer.base import CompressedLayer, common_structure, per_position, unique, with_bias
from networks.compression.layer.chain import apply_trains, dense_weight, pointwise
from networks.compression.layer.geometry import Geometry, convolve
from networks.compression.layer.shared import initialised


class CanonicalLayer(CompressedLayer):
    """A canonical decomposition: a matrix, taps for each of its rows, a matrix.

    Args:
        geometry, in_channels, out_channels, bias: as in `CompressedLayer`.
        rank: R, terms of the decomposition.
    """

    def __init__(self, geometry: Geometry, in_channels: int, out_channels: int, rank: int, bias: bool = True) -> None:
        super().__init__(geometry, in_channels, out_channels, bias)
        depth = per_position(out_channels, geometry)
        core = (geometry.positions, rank) if geometry.positions else (rank, 1, *geometry.kernel_size)
        self.first, self.last = initialised(rank, in_channels), initialised(depth, rank)
        self.core = None if geometry.num_taps == 1 else initialised(*core)

    @classmethod
    def from_factors(
        cls, first: Tensor, taps: Tensor, last: Tensor, geometry: Geometry, bias: Tensor | None
    ) -> "CanonicalLayer":
        """The layer of factors first (L1, R), taps (F, R), last (R, L2); a single tap goes into the first.

        Raises:
            ValueError: shapes that do not fit each other or the geometry.
        """
        rank = first.shape[1]
        if taps.shape != (geometry.num_taps, rank) or last.shape[0] != rank:
            shapes = [tuple(factor.shape) for factor in (first, taps, last)]
            raise ValueError(f"factors of shapes {shapes} do not make a decomposition of {geometry.num_taps} taps")
        out_channels = last.shape[1] * (geometry.positions or 1)
        layer = cls(geometry, first.shape[0], out_channels, rank, bias is not None).to(first)
        with torch.no_grad():
            layer.first.copy_((first * taps if layer.core is None else first).t())
            layer.last.copy_(last.t())
            if layer.core is not None:
                layer.core.copy_(taps if geometry.positions else taps.t().reshape(layer.core.shape))
        return with_bias(layer, bias)

    def factors(self) -> tuple[Tensor, ...]:
        return unique((self.first, self.core, self.last))

    def kernel(self) -> Tensor:
        if self.core is None:
            return dense_weight((self.first, None, self.last), self.geometry)
        if self.geometry.positions:
            return ((self.core[:, None, :] * self.last) @ self.first).flatten(0, 1)
        inner = self.first[:, :, None] * self.core.flatten(2)  # (R, L1, F)
        return (self.last @ inner.flatten(1)).view(-1, self.in_channels, *self.geometry.kernel_size)

    def factorised(self, x: Tensor) -> Tensor:
        if self.core is None:
            return apply_trains(x, ((self.first, None, self.last),), self.bias, self.geometry)
        if self.geometry.positions:
            image = functional.linear(functional.linear(x, self.first).unsqueeze(-2) * self.core, self.last).flatten(-2)
            return image if self.bias is None else image + self.bias
        x = convolve(pointwise(x, self.first), self.core, None, self.geometry, groups=self.core.shape[0])
        return pointwise(x, self.last, self.bias)

    def structure(self) -> dict[str, Any]:
        return {**common_structure(self, "canonical"), "rank": self.first.shape[0]}


class SplitLayer(CompressedLayer):
    """Two convolutions by singular values: taps of the first axis, then those of the others.

    A fully connected layer becomes two of them.

    Args:
        geometry, in_channels, out_channels, bias: as in `CompressedLayer`.
        rank: channels between the two.
    """

    def __init__(self, geometry: Geometry, in_channels: int, out_channels: int, rank: int, bias: bool = True) -> None:
        super().__init__(geometry, in_channels, out_channels, bias)
        axes = range(len(geometry.kernel_size))
        self._steps = (geometry.along(axes[:1]), geometry.along(axes[1:]))
        self.first = initialised(rank, in_channels, *self._steps[0].kernel_size)
        self.last = initialised(out_channels, rank, *self._steps[1].kernel_size)

    @classmethod
    def from_factors(cls, first: Tensor, last: Tensor, geometry: Geometry, bias: Tensor | None) -> "SplitLayer":
        """The layer of factors first (r, L1, k1, 1...), last (L2, r, 1, k2...), both as torch applies them.

        Raises:
            ValueError: shapes that do not fit each other or the geometry.
        """
        layer = cls(geometry, first.shape[1], last.shape[0], first.shape[0], bias is not None).to(first)
        if (layer.first.shape, layer.last.shape) != (first.shape, last.shape):
            raise ValueError(
                f"factors of shapes {tuple(first.shape)} and {tuple(last.shape)} do not make a kernel of "
                f"{geometry.kernel_size}"
            )
        with torch.no_grad():
            layer.first.copy_(first)
            layer.last.copy_(last)
        return with_bias(layer, bias)

    def factors(self) -> tuple[Tensor, ...]:
        return (self.first, self.last)

    def kernel(self) -> Tensor:
        if not self.geometry.kernel_size:
            return self.last @ self.first
        inner, outer = self.first.flatten(2), self.last.flatten(2)  # (r, L1, F1), (L2, r, F2)
        weight = torch.einsum("rcf,org->ocfg", inner, outer)
        return weight.reshape(self.out_channels, self.in_channels, *self.geometry.kernel_size)

    def factorised(self, x: Tensor) -> Tensor:
        return convolve(convolve(x, self.first, None, self._steps[0]), self.last, self.bias, self._steps[1])

    def structure(self) -> dict[str, Any]:
        return {**common_structure(self, "split"), "rank": self.first.shape[0]}
