"""Layers made of tensor trains: alone, coupled and partly coupled.

A train is applied as three convolutions ([B] figure 1). A coupled layer is the sum of a shared and an own train
([B] figure 4): one matrix combines the input channels for both, each has its core, and one matrix combines what
both give into the output channels.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from networks.compression.layer.base import CompressedLayer, common_structure, per_position, unique, with_bias
from networks.compression.layer.baselines import CanonicalLayer, SplitLayer
from networks.compression.layer.chain import Factors, apply_trains, dense_weight
from networks.compression.layer.geometry import Geometry
from networks.compression.layer.shared import Branch, SharedPart, SharedTrain, initialised
from networks.compression.tensor.tensors import Train

__all__ = [
    "CanonicalLayer",
    "CompressedLayer",
    "CoupledLayer",
    "PartlyCoupledLayer",
    "SharedPart",
    "SharedTrain",
    "SplitLayer",
    "TrainLayer",
    "layer_from_structure",
]


class _SumOfTrains(CompressedLayer):
    """A layer whose folded weight is the sum of one or two trains."""

    @abstractmethod
    def branches(self) -> tuple[Factors, ...]:
        """The trains, shared before own."""

    def factors(self) -> tuple[Tensor, ...]:
        return unique(factor for branch in self.branches() for factor in branch)

    def kernel(self) -> Tensor:
        weights = [dense_weight(branch, self.geometry) for branch in self.branches()]
        return weights[0] if len(weights) == 1 else weights[0] + weights[1]

    def factorised(self, x: Tensor) -> Tensor:
        return apply_trains(x, self.branches(), self.bias, self.geometry)


class TrainLayer(_SumOfTrains):
    """One tensor train of its own; Tucker-2 has the same form.

    Args:
        geometry, in_channels, out_channels, bias: as in `CompressedLayer`.
        ranks: (r1, r2).
    """

    def __init__(
        self, geometry: Geometry, in_channels: int, out_channels: int, ranks: Sequence[int], bias: bool = True
    ) -> None:
        super().__init__(geometry, in_channels, out_channels, bias)
        self.own = Branch(geometry, in_channels, per_position(out_channels, geometry), ranks)

    @classmethod
    def from_train(cls, train: Train, geometry: Geometry, bias: Tensor | None) -> "TrainLayer":
        """The layer of a train first (L1, r1), core (r1, F, r2) or None, last (r2, L2)."""
        own = Branch.from_train(train, geometry)
        layer = cls(geometry, *_depths(own, geometry), own.ranks, bias is not None)
        layer.own = own
        return with_bias(layer, bias)

    def branches(self) -> tuple[Factors, ...]:
        return (self.own.tensors(),)

    def structure(self) -> dict[str, Any]:
        return {**common_structure(self, "train"), "ranks": list(self.own.ranks)}


class CoupledLayer(_SumOfTrains):
    """A shared train plus an own one ([B] eq. 7, figure 4); either may be absent (rank 0).

    Args:
        geometry, in_channels, out_channels, bias: as in `CompressedLayer`.
        shared: the train that the group shares, one module for all its layers.
        own_ranks: (r1, r2) of the own train; None leaves it out.

    Raises:
        ValueError: neither train is there, or the shared one has other depths or taps.
    """

    def __init__(
        self,
        geometry: Geometry,
        in_channels: int,
        out_channels: int,
        shared: SharedTrain | None,
        own_ranks: Sequence[int] | None,
        bias: bool = True,
    ) -> None:
        super().__init__(geometry, in_channels, out_channels, bias)
        depth = per_position(out_channels, geometry)
        self.shared = shared
        self.own = None if own_ranks is None else Branch(geometry, in_channels, depth, own_ranks)
        if shared is None and self.own is None:
            raise ValueError("a coupled layer needs a shared or an own train, both ranks are 0")
        if shared is not None:
            _check_shared(shared, geometry, in_channels, depth)

    @classmethod
    def from_train(
        cls, shared: SharedTrain | None, own: Train | None, geometry: Geometry, bias: Tensor | None
    ) -> "CoupledLayer":
        """The layer of a group's shared train and its own one."""
        branch = None if own is None else Branch.from_train(own, geometry)
        known = branch if branch is not None else shared
        if known is None:
            raise ValueError("a coupled layer needs a shared or an own train, both ranks are 0")
        ranks = None if branch is None else branch.ranks
        layer = cls(geometry, *_depths(known, geometry), shared, ranks, bias is not None)
        layer.own = branch
        return with_bias(layer, bias)

    def branches(self) -> tuple[Factors, ...]:
        return tuple(branch.tensors() for branch in (self.shared, self.own) if branch is not None)

    def structure(self) -> dict[str, Any]:
        return {
            **common_structure(self, "coupled"),
            "shared": None if self.shared is None else self.shared.structure(),
            "own_ranks": None if self.own is None else list(self.own.ranks),
        }


class PartlyCoupledLayer(_SumOfTrains):
    """A train of which core and one outer factor are shared, plus an own train ([B] eq. 21); either may be absent.

    Args:
        geometry, in_channels, out_channels, bias: as in `CompressedLayer`.
        shared: core and one outer factor that the group shares; the layer itself holds the other, P of eq. 21.
        own_ranks: (r1, r2) of the own train; None leaves it out.

    Raises:
        ValueError: neither train is there, or the shared part has another depth or other taps.
    """

    def __init__(
        self,
        geometry: Geometry,
        in_channels: int,
        out_channels: int,
        shared: SharedPart | None,
        own_ranks: Sequence[int] | None,
        bias: bool = True,
    ) -> None:
        super().__init__(geometry, in_channels, out_channels, bias)
        depth = per_position(out_channels, geometry)
        self.shared = shared
        self.outer: nn.Parameter | None = None
        self.own = None if own_ranks is None else Branch(geometry, in_channels, depth, own_ranks)
        if shared is None and self.own is None:
            raise ValueError("a partly coupled layer needs a shared or an own train, both ranks are 0")
        if shared is not None:
            _check_shared(shared, geometry, in_channels, depth)
            r1, r2 = shared.ranks
            self.outer = initialised(r1, in_channels) if shared.first is None else initialised(depth, r2)

    @classmethod
    def from_train(
        cls,
        outer: Tensor | None,
        shared: SharedPart | None,
        own: Train | None,
        geometry: Geometry,
        bias: Tensor | None,
    ) -> "PartlyCoupledLayer":
        """The layer of its outer factor P, (L1, r1) or (r2, L2), the group's shared part, and its own train."""
        branch = None if own is None else Branch.from_train(own, geometry)
        if shared is not None and outer is not None:
            depths = shared.in_channels or outer.shape[0], shared.out_channels or outer.shape[1]
            in_channels, out_channels = depths[0], depths[1] * (geometry.positions or 1)
        elif branch is not None and shared is None and outer is None:
            in_channels, out_channels = _depths(branch, geometry)
        else:
            raise ValueError("a partly coupled layer needs its outer factor together with the shared part, or neither")
        layer = cls(
            geometry, in_channels, out_channels, shared, None if branch is None else branch.ranks, bias is not None
        )
        layer.own = branch
        if outer is not None and layer.outer is not None:
            if outer.t().shape != layer.outer.shape:
                expected = tuple(layer.outer.t().shape)
                raise ValueError(f"an outer factor of shape {expected} fits the shared part, got {tuple(outer.shape)}")
            layer.to(outer)
            with torch.no_grad():
                layer.outer.copy_(outer.t())
        return with_bias(layer, bias)

    def branches(self) -> tuple[Factors, ...]:
        own = () if self.own is None else (self.own.tensors(),)
        if self.shared is None or self.outer is None:
            return own
        first, core, last = self.shared.first, self.shared.core, self.shared.last
        return ((self.outer if first is None else first, core, self.outer if last is None else last), *own)

    def structure(self) -> dict[str, Any]:
        return {
            **common_structure(self, "partly coupled"),
            "shared": None if self.shared is None else self.shared.structure(),
            "own_ranks": None if self.own is None else list(self.own.ranks),
        }


def layer_from_structure(structure: Mapping[str, Any], shared: Branch | None = None) -> CompressedLayer:
    """A layer of the shapes that `structure()` told, with values to be loaded or trained.

    Args:
        structure: what the layer's `structure()` gave, also after JSON.
        shared: the module that the layer's group shares; without it a coupled layer makes one of its own.

    Raises:
        ValueError: an unknown kind of layer.
    """
    kind = structure["kind"]
    geometry = Geometry.from_dict(structure["geometry"])
    start = (geometry, structure["in_channels"], structure["out_channels"])
    bias = bool(structure["bias"])
    if kind == "train":
        return TrainLayer(*start, structure["ranks"], bias)
    if kind == "canonical":
        return CanonicalLayer(*start, structure["rank"], bias)
    if kind == "split":
        return SplitLayer(*start, structure["rank"], bias)
    if kind not in _COUPLED:
        raise ValueError(f"unknown kind of compressed layer {kind!r}")
    layer, part = _COUPLED[kind]
    if structure["shared"] is None:
        shared = None
    elif shared is None:
        shared = part.from_structure(structure["shared"])
    elif not isinstance(shared, part):
        raise ValueError(f"a {kind} layer shares a {part.__name__}, got {type(shared).__name__}")
    return cast(CompressedLayer, layer(*start, shared, structure["own_ranks"], bias))


_COUPLED: dict[str, tuple[Any, type[Branch]]] = {
    "coupled": (CoupledLayer, SharedTrain),
    "partly coupled": (PartlyCoupledLayer, SharedPart),
}


def _depths(branch: Branch, geometry: Geometry) -> tuple[int, int]:
    """Inputs and outputs of the layer whose train has both outer factors."""
    return cast(int, branch.in_channels), cast(int, branch.out_channels) * (geometry.positions or 1)


def _check_shared(shared: Branch, geometry: Geometry, in_channels: int, out_channels: int) -> None:
    """Refuse a shared branch of other taps or depths than the layer's."""
    fits = (
        (shared.kernel_size, shared.positions) == (geometry.kernel_size, geometry.positions)
        and shared.in_channels in (None, in_channels)
        and shared.out_channels in (None, out_channels)
    )
    if not fits:
        raise ValueError(
            f"the shared factors are for {shared.in_channels} to {shared.out_channels} channels, taps "
            f"{shared.kernel_size or shared.positions}; the layer has {in_channels} to {out_channels}, taps "
            f"{geometry.kernel_size or geometry.positions}: only layers that agree in them can share"
        )
