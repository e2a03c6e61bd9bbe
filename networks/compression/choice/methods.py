"""The decompositions of [B] and its baselines, applied to units: from weights and ranks to compressed layers."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

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
from networks.compression.layer.geometry import Geometry
from networks.compression.layer.trains import (
    CanonicalLayer,
    CompressedLayer,
    CoupledLayer,
    PartlyCoupledLayer,
    SharedPart,
    SharedTrain,
    SplitLayer,
    TrainLayer,
)
from networks.compression.tensor import tensors as tt
from networks.compression.tensor.coupled import PartlyCoupled, coupled_tt, partly_coupled_tt
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
        return (
            _partly(unit, work, ranks, options) if unit.group.kind != "equal" else _coupled(unit, work, ranks, options)
        )
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
    """The layers of a group of equal shapes ([B] Algorithm 1)."""
    weight = (options.references or {}).get(unit.group.name)
    reference = None
    if weight is not None:
        reference = weighted_tensor(unit, 0, fold_as(unit, 0, weight).double(), options)
    found = coupled_tt(
        work,
        ranks.shared,
        list(ranks.own),
        reference=reference,
        alpha=0.0 if reference is None else options.alpha,
        minimisation=options.minimisation,
    )
    places = [_place(unit, m) for m in range(len(work))]
    shared = None
    if found.shared is not None:
        shared = SharedTrain.from_train(unweighted(unit, 0, found.shared, options), places[0][0])
    owns = [_own(unit, m, own, found.shared, options) for m, own in enumerate(found.own)]
    return [CoupledLayer.from_train(shared, own, *place) for own, place in zip(owns, places, strict=True)]


def _partly(unit: Unit, work: Sequence[Tensor], ranks: Ranks, options: Options) -> list[CompressedLayer]:
    """The layers of a group that agrees in part ([B] Algorithm 2)."""
    along = "in" if unit.group.kind == "input" else "out"
    found = partly_coupled_tt(
        work,
        ranks.shared,
        list(ranks.own),
        along=along,
        minimisation=options.minimisation,
    )
    places = [_place(unit, m) for m in range(len(work))]
    owns = [_own(unit, m, own, _shared_part(found, m), options) for m, own in enumerate(found.own)]
    if found.shared is None or found.outer is None:
        return [PartlyCoupledLayer.from_train(None, None, own, *p) for own, p in zip(owns, places, strict=True)]
    trains = [_shared_part(found, m) for m in range(len(work))]
    firsts = [unweighted_first(unit, m, train.first, options) for m, train in enumerate(trains) if train is not None]
    one, other = found.shared
    if along == "in":
        # orthonormal as one matrix again, what is left goes into the next factor, which all share
        firsts, left = orthonormal(firsts) if options.moments is not None else (firsts, None)
        one, other = absorbed(left, one, other)
        part = SharedPart.from_factors(None, like(unit, one), like(unit, other), places[0][0])
        outer = firsts
    else:
        (first,), left = orthonormal(firsts[:1]) if options.moments is not None else (firsts[:1], None)
        core = other if other is None or left is None else tt.tt_product(left, other)
        part = SharedPart.from_factors(like(unit, first), like(unit, core), None, places[0][0])
        outer = [p if other is not None or left is None else left @ p for p in found.outer]
    return [
        PartlyCoupledLayer.from_train(like(unit, p), part, own, *place)
        for p, own, place in zip(outer, owns, places, strict=True)
    ]


def _shared_part(found: PartlyCoupled, member: int) -> tt.Train | None:
    """The train of which a layer shares two factors."""
    if found.shared is None or found.outer is None:
        return None
    one, other = found.shared
    parts = (found.outer[member], one, other) if found.along == "in" else (one, other, found.outer[member])
    return tt.Train(*cast(tuple[Tensor, Tensor | None, Tensor], parts))


def _own(unit: Unit, member: int, own: tt.Train | None, shared: tt.Train | None, options: Options) -> tt.Train | None:
    """A layer's own train; weighted, the best one for the layer's own inputs, given what it shares.

    What is shared has been found with one moment for the whole group where it holds the first factor.
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
    bias: Tensor | None = unit.modules[member].bias  # type: ignore[union-attr,assignment]
    return _geometry(unit, member), None if bias is None else bias.detach()


def _geometry(unit: Unit, member: int) -> Geometry:
    module, shape = unit.modules[member], unit.shapes[member]
    return Geometry.of(module, shape.taps) if isinstance(module, nn.Linear) else Geometry.of(module)
