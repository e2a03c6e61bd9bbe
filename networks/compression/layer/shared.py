"""Factors of a tensor train as they are applied, and those that several layers share.

A branch applies a train G1 * G2 * G3 as three convolutions ([B] figure 1): `first` (r1, L1) and `last` (L2, r2)
combine channels, `core` (r2, r1, taps...) is the convolution between them. Where there is one tap (convolutions of
one tap, fully connected layers) the core is absorbed and r1 = r2. A fully connected layer that makes an image of P
positions has the core (P * r2, r1).

A shared branch is one module that every layer of its group holds, so that its parameters are one set in the whole
model: they are copied, moved, trained and counted once ([B] figure 4).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from networks.compression.layer.chain import Factors
from networks.compression.layer.geometry import Geometry
from networks.compression.tensor.tensors import Train


class Branch(nn.Module):
    """The factors of one train; an outer one that each layer of a group has to itself is left out.

    Layers of equal shape share all three factors (NC-CTD, [B] algorithm 1). Layers of equal output depth share
    (core, last), layers of equal input depth (first, core) (NC-PCTD, algorithm 2).

    Args:
        geometry: gives the taps, or the positions of a fully connected layer.
        in_channels, out_channels: L1 and L2; None leaves that outer factor out.
        ranks: (r1, r2).

    Raises:
        ValueError: ranks below 1, or unequal where the core is absorbed.
    """

    first: nn.Parameter | None
    core: nn.Parameter | None
    last: nn.Parameter | None

    def __init__(
        self, geometry: Geometry, in_channels: int | None, out_channels: int | None, ranks: Sequence[int]
    ) -> None:
        super().__init__()
        r1, r2 = ranks
        if min(r1, r2) < 1:
            raise ValueError(f"the ranks of a branch must be at least 1, got {tuple(ranks)}; leave the branch out")
        absorbed = geometry.num_taps == 1
        if absorbed and r1 != r2:
            raise ValueError(f"a train of one tap has no core, so its ranks must be equal, got {tuple(ranks)}")
        self.kernel_size, self.positions = geometry.kernel_size, geometry.positions
        self.in_channels, self.out_channels, self.ranks = in_channels, out_channels, (r1, r2)
        core = (r2 * self.positions, r1) if self.positions else (r2, r1, *self.kernel_size)
        self.first = None if in_channels is None else initialised(r1, in_channels)
        self.core = None if absorbed else initialised(*core)
        self.last = None if out_channels is None else initialised(out_channels, r2)

    def tensors(self) -> Factors:
        """The three factors of a branch that has them all."""
        return cast(Tensor, self.first), self.core, cast(Tensor, self.last)

    def structure(self) -> dict[str, Any]:
        """Plain values from which `from_structure` makes another."""
        return {
            "kernel_size": list(self.kernel_size),
            "positions": self.positions,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "ranks": list(self.ranks),
        }

    @classmethod
    def from_structure(cls, structure: Mapping[str, Any]) -> Self:
        """A branch of those shapes with values to be loaded or trained."""
        geometry = plain_geometry(structure["kernel_size"], structure["positions"])
        return cls(geometry, structure["in_channels"], structure["out_channels"], structure["ranks"])

    @classmethod
    def from_factors(cls, first: Tensor | None, core: Tensor | None, last: Tensor | None, geometry: Geometry) -> Self:
        """A branch of given factors: first (L1, r1), core (r1, F, r2) or None, last (r2, L2).

        Raises:
            ValueError: shapes that do not fit each other or the geometry.
        """
        r1 = first.shape[1] if first is not None else core.shape[0] if core is not None else cast(Tensor, last).shape[0]
        r2 = last.shape[0] if last is not None else core.shape[2] if core is not None else r1
        expected = None if geometry.num_taps == 1 else (r1, geometry.num_taps, r2)
        if (None if core is None else tuple(core.shape)) != expected:
            shapes = [None if factor is None else tuple(factor.shape) for factor in (first, core, last)]
            raise ValueError(f"factors of shapes {shapes} do not make a train of {geometry.num_taps} taps")
        in_channels = None if first is None else first.shape[0]
        out_channels = None if last is None else last.shape[1]
        branch = cls(geometry, in_channels, out_channels, (r1, r2))
        branch.to(next(factor for factor in (first, core, last) if factor is not None))
        with torch.no_grad():
            if branch.first is not None and first is not None:
                branch.first.copy_(first.t())
            if branch.core is not None and core is not None:
                order = (1, 2, 0) if geometry.positions else (2, 0, 1)
                branch.core.copy_(core.permute(order).reshape(branch.core.shape))
            if branch.last is not None and last is not None:
                branch.last.copy_(last.t())
        return branch

    @classmethod
    def from_train(cls, train: Train, geometry: Geometry) -> Self:
        """A branch with the values of a train."""
        return cls.from_factors(train.first, train.core, train.last, geometry)


def initialised(*shape: int) -> nn.Parameter:
    """A factor with values of variance 1 / fan-in, which keep the size of what passes."""
    bound = math.sqrt(3 / math.prod(shape[1:]))
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def plain_geometry(kernel_size: Sequence[int], positions: int) -> Geometry:
    """The geometry of given taps with stride 1 and no padding: shared factors know no more of it."""
    num_axes = len(kernel_size)
    ones = (1,) * num_axes
    return Geometry(tuple(kernel_size), ones, ones, ((0, 0),) * num_axes, ("zeros",) * num_axes, positions)
