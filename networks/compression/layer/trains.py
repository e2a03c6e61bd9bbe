"""Layers made of tensor trains: alone, coupled and partly coupled.

A train is applied as three convolutions ([B] figure 1). A coupled layer is the sum of a shared and an own train
([B] figure 4): one matrix combines the input channels for both, each has its core, and one matrix combines what
both give into the output channels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from networks.compression.layer.base import CompressedLayer, common_structure, per_position, unique, with_bias
from networks.compression.layer.baselines import CanonicalLayer, SplitLayer
from networks.compression.layer.chain import Factors, apply_trains, dense_weight
from networks.compression.layer.geometry import Geometry
from networks.compression.layer.shared import Branch, initialised
from networks.compression.tensor.tensors import Train

_TRAINS = ("train", "coupled", "partly coupled")
"""Kinds of a `TrainLayer` in files; the latter two were written by earlier versions."""


class TrainLayer(CompressedLayer):
    """A layer whose folded weight is an own train, plus one that its group shares ([B] eq. 7 and 21).

    Either may be absent (rank 0). Of a shared train with one outer factor left out, the layer holds that factor
    itself, P of eq. 21. Tucker-2 has the form of an own train alone.

    Args:
        geometry, in_channels, out_channels, bias: as in `CompressedLayer`.
        own_ranks: (r1, r2) of the own train; None leaves it out.
        shared: the train that the group shares, one module for all its layers; None where nothing is shared.

    Raises:
        ValueError: neither train is there, or the shared one has other depths or taps.
    """

    def __init__(
        self,
        geometry: Geometry,
        in_channels: int,
        out_channels: int,
        own_ranks: Sequence[int] | None,
        shared: Branch | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(geometry, in_channels, out_channels, bias)
        depth = per_position(out_channels, geometry)
        self.shared = shared
        self.outer: nn.Parameter | None = None
        self.own = None if own_ranks is None else Branch(geometry, in_channels, depth, own_ranks)
        if shared is None and self.own is None:
            raise ValueError("a layer of trains needs a shared or an own train, both ranks are 0")
        if shared is not None:
            _check_shared(shared, geometry, in_channels, depth)
            r1, r2 = shared.ranks
            if shared.first is None:
                self.outer = initialised(r1, in_channels)
            elif shared.last is None:
                self.outer = initialised(depth, r2)

    @classmethod
    def from_train(
        cls,
        own: Train | None,
        geometry: Geometry,
        bias: Tensor | None,
        *,
        shared: Branch | None = None,
        outer: Tensor | None = None,
    ) -> "TrainLayer":
        """The layer of its own train first (L1, r1), core (r1, F, r2) or None, last (r2, L2), and its group's.

        Args:
            own: None where there is none.
            geometry, bias: of the dense layer.
            shared: the group's branch.
            outer: the factor that the branch leaves out, (L1, r1) or (r2, L2).

        Raises:
            ValueError: no train at all, an outer factor that is missing, too many or of another shape.
        """
        branch = None if own is None else Branch.from_train(own, geometry)
        lacks_outer = shared is not None and (shared.first is None or shared.last is None)
        if lacks_outer != (outer is not None):
            raise ValueError("a layer needs its outer factor together with a shared part that lacks it, or neither")
        holder = branch if shared is None else shared
        if holder is None:
            raise ValueError("a layer of trains needs a shared or an own train, both ranks are 0")
        in_channels = holder.in_channels or cast(Tensor, outer).shape[0]
        depth = holder.out_channels or cast(Tensor, outer).shape[1]
        ranks = None if branch is None else branch.ranks
        outputs = depth * (geometry.positions or 1)
        layer = cls(geometry, in_channels, outputs, ranks, shared, bias=bias is not None)
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
        """The trains, shared before own."""
        own = () if self.own is None else (self.own.tensors(),)
        if self.shared is None:
            return own
        first, core, last = self.shared.first, self.shared.core, self.shared.last
        outer = cast(Tensor, self.outer)
        return ((outer if first is None else first, core, outer if last is None else last), *own)

    def factors(self) -> tuple[Tensor, ...]:
        return unique(factor for branch in self.branches() for factor in branch)

    def kernel(self) -> Tensor:
        weights = [dense_weight(branch, self.geometry) for branch in self.branches()]
        return weights[0] if len(weights) == 1 else weights[0] + weights[1]

    def factorised(self, x: Tensor) -> Tensor:
        return apply_trains(x, self.branches(), self.bias, self.geometry)

    def structure(self) -> dict[str, Any]:
        return {
            **common_structure(self, "train"),
            "shared": None if self.shared is None else self.shared.structure(),
            "own_ranks": None if self.own is None else list(self.own.ranks),
        }


def layer_from_structure(structure: Mapping[str, Any], shared: Branch | None = None) -> CompressedLayer:
    """A layer of the shapes that `structure()` gave, with values to be loaded or trained.

    Args:
        structure: what the layer's `structure()` gave, also after JSON.
        shared: the module that the layer's group shares; without it a coupled layer makes one of its own.

    Raises:
        ValueError: an unknown kind of layer, or shared factors of other shapes.
    """
    kind = structure["kind"]
    geometry = Geometry.from_dict(structure["geometry"])
    start = (geometry, structure["in_channels"], structure["out_channels"])
    bias = bool(structure["bias"])
    if kind == "canonical":
        return CanonicalLayer(*start, structure["rank"], bias)
    if kind == "split":
        return SplitLayer(*start, structure["rank"], bias)
    if kind not in _TRAINS:
        raise ValueError(f"unknown kind of compressed layer {kind!r}")
    own_ranks = structure["own_ranks"] if "own_ranks" in structure else structure["ranks"]
    expected = structure.get("shared")
    if expected is None:
        shared = None
    elif shared is None:
        shared = Branch.from_structure(expected)
    elif shared.structure() != expected:
        raise ValueError(f"the layer shares factors {expected}, got {shared.structure()}: another group's")
    return TrainLayer(*start, own_ranks, shared, bias=bias)


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
