"""The decompositions of [B] and its baselines, applied to layers: from weights and ranks to compressed layers.

The decompositions work on folded weights; a weighting may change the tensor before and its first factors after, so
that the error of the layer's output is minimised in place of that of its weight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from networks.compression import tensors as tt
from networks.compression.coupled import coupled_tt, partly_coupled_tt
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
from networks.compression.measure import Sample, roots, second_moments
from networks.compression.ranks import Ranks, Unit


@dataclass(frozen=True)
class Options:
    """What steers the decompositions beside the ranks.

    Attributes:
        start: "tt-svd" or "random", of the coupled ones.
        seed: of random starts and of CP.
        alpha: weight of the shared part's distance to the references ([B] eq. 14).
        references: W_m of groups, by the name of their first layer, as torch weights.
        roots: S^(1/2) and its inverse for each layer, S the second moment (L1, L1) of its inputs; None weighs weights
            alike.
        sweeps: of the coupled methods at most.
    """

    start: str = "tt-svd"
    seed: int = 0
    alpha: float = 0.0
    references: Mapping[str, Tensor] | None = None
    roots: Mapping[str, tuple[Tensor, Tensor]] | None = None
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


def squared_error(unit: Unit, layers: Sequence[CompressedLayer], options: Options) -> float:
    """Squared error that compressed layers leave of the tensors that were decomposed, relative to those."""
    wrong = size = 0.0
    with torch.no_grad():
        for member, (tensor, layer) in enumerate(zip(weighted(unit, options), layers, strict=True)):
            weight: Tensor = unit.modules[member].weight  # type: ignore[union-attr,assignment]
            found = fold_as(unit, member, layer.kernel().reshape(weight.shape)).double()
            wrong += float((_forth(unit, member, found, options) - tensor).square().sum())
            size += float(tensor.square().sum())
    return wrong / size if size else 0.0


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
    (geometry, bias), back = _place(unit, 0), _back(unit, 0, options)
    if method == "svd":
        first, last = tt.svd_factors(_unfolded(unit, work[0]), ranks.own[0][0])
        if back is not None:
            first = torch.tensordot(first, back, dims=([1], [0])).movedim(-1, 1)
        return [SplitLayer.from_factors(_like(unit, first), _like(unit, last), geometry, bias)]
    if method == "cp":
        first, taps, last = tt.cp(work[0], ranks.own[0][0], options.seed)
        first = first if back is None else back @ first
        factors = _like(unit, first), _like(unit, taps), _like(unit, last)
        return [CanonicalLayer.from_factors(*factors, geometry, bias)]
    train = (tt.tucker2 if method == "tucker" else tt.tt_svd)(work[0], ranks.own[0])
    return [TrainLayer.from_train(_plain(unit, train, back), geometry, bias)]


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
    places, back = [_place(unit, m) for m in range(len(work))], _back(unit, 0, options)
    shared = None
    if found.shared is not None:
        shared = SharedTrain.from_train(_plain(unit, found.shared, back), places[0][0])
    owns = [None if own is None else _plain(unit, own, back) for own in found.own]
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
    members = range(len(work))
    places, backs = [_place(unit, m) for m in members], [_back(unit, m, options) for m in members]
    owns = [None if own is None else _plain(unit, own, back) for own, back in zip(found.own, backs, strict=True)]
    if found.shared is None or found.outer is None:
        return [PartlyCoupledLayer.from_train(None, None, own, *p) for own, p in zip(owns, places, strict=True)]
    one, other = (None if factor is None else _like(unit, factor) for factor in found.shared)
    outer = list(found.outer)
    if along == "in":
        part = SharedPart.from_factors(None, one, other, places[0][0])
        outer = [p if back is None else back @ p for p, back in zip(outer, backs, strict=True)]
    else:
        first = one if one is None or backs[0] is None else _like(unit, backs[0] @ one.double())
        part = SharedPart.from_factors(first, other, None, places[0][0])
    return [
        PartlyCoupledLayer.from_train(_like(unit, p), part, own, *place)
        for p, own, place in zip(outer, owns, places, strict=True)
    ]


def activation_roots(model: nn.Module, units: Sequence[Unit], sample: Sample) -> dict[str, tuple[Tensor, Tensor]]:
    """S^(1/2) and its inverse for each layer, from its inputs on the sample.

    Layers that share their first factors have one S, the mean of theirs.
    """
    moments = second_moments(model, [name for unit in units for name in unit.group.names], sample)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for unit in units:
        own = [moments[name] for name in unit.group.names]
        if unit.group.kind in ("equal", "output"):
            own = [sum(own[1:], own[0]) / len(own)] * len(own)
        found.update(zip(unit.group.names, map(roots, own), strict=True))
    return found


def _forth(unit: Unit, member: int, tensor: Tensor, options: Options) -> Tensor:
    """S^(1/2) x_1 W, or W itself."""
    if options.roots is None:
        return tensor
    return torch.tensordot(options.roots[unit.group.names[member]][0], tensor, dims=1)


def _back(unit: Unit, member: int, options: Options) -> Tensor | None:
    """S^(-1/2), symmetric, by which a first factor is multiplied."""
    return None if options.roots is None else options.roots[unit.group.names[member]][1]


def _plain(unit: Unit, train: tt.Train, back: Tensor | None) -> tt.Train:
    """A train in the dtype of the layers, without the weighting."""
    first = train.first if back is None else back @ train.first
    core = None if train.core is None else _like(unit, train.core)
    return tt.Train(_like(unit, first), core, _like(unit, train.last))


def _like(unit: Unit, tensor: Tensor) -> Tensor:
    weight: Tensor = unit.modules[0].weight  # type: ignore[union-attr,assignment]
    return tensor.to(weight)


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
