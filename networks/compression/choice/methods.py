"""The decompositions of [B] and its baselines, applied to units: from weights and ranks to compressed layers."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from networks.compression.choice.ranks import Ranks, Unit
from networks.compression.choice.weighted import (
    Options,
    absorbed,
    balanced,
    cast_train,
    fold_as,
    folded,
    like,
    orthonormal,
    unfolded,
    unweighted,
    unweighted_first,
    weighted,
    weighted_tensor,
)
from networks.compression.layer.base import CompressedLayer
from networks.compression.layer.baselines import CanonicalLayer, SplitLayer
from networks.compression.layer.geometry import Geometry
from networks.compression.layer.shared import Branch
from networks.compression.layer.trains import TrainLayer
from networks.compression.tensor import tensors as tt
from networks.compression.tensor.coupled import Coupled, coupled_tt, partly_coupled_tt
from networks.compression.tensor.weighting import unwhiten, whiten


def decompose(method: str, unit: Unit, ranks: Ranks, options: Options) -> list[CompressedLayer]:
    """Compressed layers in place of a unit's.

    Args:
        method: one of `ranks.METHODS`.
        unit: the layers.
        ranks: theirs, checked.
        options: see there.
    """
    work = weighted(unit, options)
    if unit.shared:
        return _coupled(unit, work, ranks, options)
    geometry, bias = _place(unit, 0)
    if method == "svd":
        first, last = tt.svd_factors(unfolded(unit, work[0]), ranks.own[0][0])
        first = unweighted_first(unit, 0, first.movedim(1, 0), options).movedim(0, 1)
        return [SplitLayer.from_factors(like(unit, first), like(unit, last), geometry, bias)]
    if method == "cp":
        first, taps, last = _canonical(work[0], ranks.own[0][0], options.minimisation.seed)
        factors = like(unit, unweighted_first(unit, 0, first, options)), like(unit, taps), like(unit, last)
        return [CanonicalLayer.from_factors(*factors, geometry, bias)]
    train = (tt.tucker2 if method == "tucker" else tt.tt_svd)(work[0], ranks.own[0])
    return [TrainLayer.from_train(unweighted(unit, 0, train, options), geometry, bias)]


def _canonical(tensor: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """`tensors.cp`, which no zero tensor has: its last factor is zero, and the others what training can start from."""
    if tensor.any():
        return tt.cp(tensor, rank, seed)
    rows, taps, columns = tensor.shape
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(size, rank, generator=generator, dtype=tensor.dtype).to(tensor) for size in (rows, taps)]
    return drawn[0] / rows**0.5, drawn[1] / taps**0.5, tensor.new_zeros(rank, columns)


def _coupled(unit: Unit, work: Sequence[Tensor], ranks: Ranks, options: Options) -> list[CompressedLayer]:
    """The layers of a group: of equal shapes ([B] Algorithm 1), or that agree in part (Algorithm 2)."""
    trains = _minimised(unit, work, ranks, options)
    members = range(len(work))
    owns = [_own(unit, member, trains.own[member], trains.shared_train(member), options) for member in members]
    branch, outer = _shared(unit, trains, options)
    return [
        TrainLayer.from_train(owns[member], *_place(unit, member), shared=branch, outer=outer[member])
        for member in members
    ]


def _minimised(unit: Unit, work: Sequence[Tensor], ranks: Ranks, options: Options) -> Coupled:
    """Shared and own trains of a group's weighted tensors."""
    own = list(ranks.own)
    if unit.group.kind != "equal":
        along = "in" if unit.group.kind == "input" else "out"
        return partly_coupled_tt(work, ranks.shared, own, along=along, minimisation=options.minimisation)
    weight = (options.references or {}).get(unit.group.name)
    reference = None
    if weight is not None:
        reference = weighted_tensor(unit, 0, fold_as(unit, 0, weight).double(), options)
    alpha = 0.0 if reference is None else options.alpha
    return coupled_tt(work, ranks.shared, own, reference=reference, alpha=alpha, minimisation=options.minimisation)


def _shared(unit: Unit, trains: Coupled, options: Options) -> tuple[Branch | None, list[Tensor | None]]:
    """The branch that a group shares, without the weighting, and the outer factor that each layer has to itself."""
    none: list[Tensor | None] = [None] * len(unit.modules)
    geometry = _place(unit, 0)[0]
    if trains.shared is None:
        return None, none
    first, core, last = trains.shared
    if trains.outer is None:
        train = tt.Train(cast(Tensor, first), core, cast(Tensor, last))
        return Branch.from_train(unweighted(unit, 0, train, options), geometry), none
    weighted_by_moments = options.moments is not None
    outer: Sequence[Tensor]
    if first is None:
        # orthonormal as one matrix again, what is left goes into the next factor, which all share
        outer = [unweighted_first(unit, member, piece, options) for member, piece in enumerate(trains.outer)]
        outer, left = orthonormal(outer) if weighted_by_moments else (outer, None)
        core, last = absorbed(left, core, last)
    else:
        first, outer = unweighted_first(unit, 0, first, options), trains.outer
        if weighted_by_moments:
            (first,), left = orthonormal([first])
            if core is None:
                outer = [left @ piece for piece in outer]
            else:
                core = tt.tt_product(left, core)
    branch = Branch.from_factors(like(unit, first), like(unit, core), like(unit, last), geometry)
    return branch, [like(unit, piece) for piece in outer]


def _own(unit: Unit, member: int, own: tt.Train | None, shared: tt.Train | None, options: Options) -> tt.Train | None:
    """A layer's own train; weighted, the best one for the layer's own inputs, given what it shares.

    Where the shared part holds the first factor, one moment for the whole group served to find it.
    """
    if own is None:
        return None
    if options.moments is None or unit.group.kind == "input":
        return unweighted(unit, member, own, options)
    rest = folded(unit, member).double()
    if shared is not None:
        rest = rest - tt.Train(unweighted_first(unit, member, shared.first, options), shared.core, shared.last).tensor()
    moment = options.moments[unit.group.names[member]]
    train = tt.tucker2(whiten(rest, moment), own.ranks, sweeps=options.minimisation.sweeps)
    return cast_train(unit, balanced(tt.Train(unwhiten(train.first, moment), train.core, train.last)))


def _place(unit: Unit, member: int) -> tuple[Geometry, Tensor | None]:
    """Geometry and bias of a layer."""
    module = unit.modules[member]
    bias = cast(Tensor | None, module.bias)
    return Geometry.of(module, unit.shapes[member].taps), None if bias is None else bias.detach()
