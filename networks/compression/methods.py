"""The decompositions of [B] and its baselines, applied to layers: from weights and ranks to compressed layers.

The decompositions work on folded weights; a weighting may change the tensor before and its first factors after, so
that the error of the layer's output is minimised in place of that of its weight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from networks.compression import tensors as tt
from networks.compression.coupled import PartlyCoupled, coupled_tt, partly_coupled_tt
from networks.compression.geometry import Geometry
from networks.compression.layers import (
    CanonicalLayer,
    CompressedLayer,
    CoupledLayer,
    PartlyCoupledLayer,
    SharedPart,
    SharedTrain,
    SplitLayer,
    TrainLayer,
)
from networks.compression.ranks import Ranks, Unit
from networks.compression.weighting import unwhiten, whiten

Kept = TypeVar("Kept", Tensor, Tensor | None)


@dataclass(frozen=True)
class Options:
    """What steers the decompositions beside the ranks.

    Attributes:
        start: "tt-svd" or "random", of the coupled ones.
        seed: of random starts and of CP.
        alpha: weight of the shared part's distance to the references ([B] eq. 14).
        references: W_m of groups, by the name of their first layer, as torch weights.
        moments: second moment S (L1, L1) of the inputs of each layer; None weighs weights alike.
        sweeps: of the coupled methods at most.
    """

    start: str = "tt-svd"
    seed: int = 0
    alpha: float = 0.0
    references: Mapping[str, Tensor] | None = None
    moments: Mapping[str, Tensor] | None = None
    sweeps: int = 100


def folded(unit: Unit, member: int) -> Tensor:
    """The folded weight (L1, F, L2) of one of a unit's layers."""
    return fold_as(unit, member, unit.modules[member].weight.detach())  # type: ignore[union-attr,operator]


def fold_as(unit: Unit, member: int, weight: Tensor) -> Tensor:
    """Fold a weight of the shape that one of a unit's layers has."""
    if isinstance(unit.modules[member], nn.Linear):
        return tt.fold_linear(weight, unit.shapes[member].taps)
    return tt.fold(weight)


def weighted(unit: Unit, options: Options) -> list[Tensor]:
    """The tensors that are decomposed: a unit's folded weights, W or S^(1/2) x_1 W, in float64."""
    return [_forth(unit, m, folded(unit, m).double(), options) for m in range(len(unit.modules))]


def squared_errors(unit: Unit, layers: Sequence[CompressedLayer], options: Options) -> list[float]:
    """Squared relative errors that compressed layers leave, of the weights or, weighted, of each layer's output."""
    found = []
    with torch.no_grad():
        for member, layer in enumerate(layers):
            weight: Tensor = unit.modules[member].weight  # type: ignore[union-attr,assignment]
            parts = [folded(unit, member), fold_as(unit, member, layer.kernel().reshape(weight.shape))]
            if options.moments is not None:
                parts = [whiten(part.double(), options.moments[unit.group.names[member]]) for part in parts]
            dense, kept = (part.double() for part in parts)
            size = float(dense.square().sum())
            found.append(float((kept - dense).square().sum()) / size if size else 0.0)
    return found


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
        first, last = tt.svd_factors(_unfolded(unit, work[0]), ranks.own[0][0])
        first = _back(unit, 0, first.movedim(1, 0), options).movedim(0, 1)
        return [SplitLayer.from_factors(_like(unit, first), _like(unit, last), geometry, bias)]
    if method == "cp":
        first, taps, last = tt.cp(work[0], ranks.own[0][0], options.seed)
        factors = _like(unit, _back(unit, 0, first, options)), _like(unit, taps), _like(unit, last)
        return [CanonicalLayer.from_factors(*factors, geometry, bias)]
    train = (tt.tucker2 if method == "tucker" else tt.tt_svd)(work[0], ranks.own[0])
    return [TrainLayer.from_train(_plain(unit, 0, train, options), geometry, bias)]


def _coupled(unit: Unit, work: Sequence[Tensor], ranks: Ranks, options: Options) -> list[CompressedLayer]:
    """The layers of a group of equal shapes ([B] Algorithm 1)."""
    weight = (options.references or {}).get(unit.group.name)
    reference = None
    if weight is not None:
        reference = _forth(unit, 0, fold_as(unit, 0, weight).double(), options)
    found = coupled_tt(
        work,
        ranks.shared,
        list(ranks.own),
        reference=reference,
        alpha=0.0 if reference is None else options.alpha,
        start=options.start,
        seed=options.seed,
        sweeps=options.sweeps,
    )
    places = [_place(unit, m) for m in range(len(work))]
    shared = None
    if found.shared is not None:
        shared = SharedTrain.from_train(_plain(unit, 0, found.shared, options), places[0][0])
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
        start=options.start,
        seed=options.seed,
        sweeps=options.sweeps,
    )
    places = [_place(unit, m) for m in range(len(work))]
    owns = [_own(unit, m, own, _shared_part(found, m), options) for m, own in enumerate(found.own)]
    if found.shared is None or found.outer is None:
        return [PartlyCoupledLayer.from_train(None, None, own, *p) for own, p in zip(owns, places, strict=True)]
    one, other = found.shared
    outer = list(found.outer)
    if along == "in":
        part = SharedPart.from_factors(None, _like(unit, one), _like(unit, other), places[0][0])
        outer = [_back(unit, m, p, options) for m, p in enumerate(outer)]
    else:
        first = None if one is None else _back(unit, 0, one, options)
        part = SharedPart.from_factors(_like(unit, first), _like(unit, other), None, places[0][0])
    return [
        PartlyCoupledLayer.from_train(_like(unit, p), part, own, *place)
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
        return _plain(unit, member, own, options)
    rest = folded(unit, member).double()
    if shared is not None:
        rest = rest - tt.Train(_back(unit, member, shared.first, options), shared.core, shared.last).tensor()
    moment = options.moments[unit.group.names[member]]
    train = tt.tucker2(whiten(rest, moment), own.ranks)
    first = unwhiten(train.first, moment)
    return tt.Train(_like(unit, first), _like(unit, train.core), _like(unit, train.last))


def _moment(unit: Unit, member: int, options: Options) -> Tensor | None:
    """The second moment by which a layer is decomposed: its own, or where the first factor is shared, the group's.

    That is the mean of the layers' moments, each divided by its output's energy: relative errors count alike.
    """
    if options.moments is None:
        return None
    if unit.group.kind in ("alone", "input"):
        return options.moments[unit.group.names[member]]
    total = torch.zeros((), dtype=torch.float64)
    for number, name in enumerate(unit.group.names):
        moment = options.moments[name]
        energy = whiten(folded(unit, number).double(), moment).square().sum()
        total = total.to(moment) + moment / energy.clamp(min=torch.finfo(torch.float64).tiny)
    return total


def _forth(unit: Unit, member: int, tensor: Tensor, options: Options) -> Tensor:
    """S^(1/2) x_1 W, or W itself."""
    moment = _moment(unit, member, options)
    return tensor if moment is None else whiten(tensor, moment)


def _back(unit: Unit, member: int, first: Tensor, options: Options) -> Tensor:
    """Undo the weighting in a first factor."""
    moment = _moment(unit, member, options)
    return first if moment is None else unwhiten(first, moment)


def _plain(unit: Unit, member: int, train: tt.Train, options: Options) -> tt.Train:
    """A train in the dtype of the layers, without the weighting."""
    first = _back(unit, member, train.first, options)
    return tt.Train(_like(unit, first), _like(unit, train.core), _like(unit, train.last))


def _like(unit: Unit, tensor: Kept) -> Kept:
    """A factor in the dtype of the layers, where they are."""
    weight: Tensor = unit.modules[0].weight  # type: ignore[union-attr,assignment]
    return tensor if tensor is None else tensor.to(weight)  # type: ignore[return-value]


def _unfolded(unit: Unit, tensor: Tensor) -> Tensor:
    """Undo `folded` for a unit of one layer."""
    if isinstance(unit.modules[0], nn.Linear):
        return tt.unfold_linear(tensor)
    return tt.unfold(tensor, unit.shapes[0].kernel)


def _place(unit: Unit, member: int) -> tuple[Geometry, Tensor | None]:
    """Geometry and bias of a layer."""
    bias: Tensor | None = unit.modules[member].bias  # type: ignore[union-attr,assignment]
    return _geometry(unit, member), None if bias is None else bias.detach()


def _geometry(unit: Unit, member: int) -> Geometry:
    module, shape = unit.modules[member], unit.shapes[member]
    return Geometry.of(module, shape.taps) if isinstance(module, nn.Linear) else Geometry.of(module)
