"""The decompositions of [B] and its baselines, applied to layers: from weights and ranks to compressed layers.

The decompositions work on folded weights; a weighting may change the tensor before and its first factors after, so
that the error of the layer's output is minimised in place of that of its weight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from networks.compression.ranks import Ranks, Unit


@dataclass(frozen=True)
class Options:
    """What steers the decompositions beside the ranks.

    Attributes:
        start: "tt-svd" or "random", of the coupled ones.
        seed: of random starts and of CP.
        alpha: weight of the shared part's distance to the references ([B] eq. 14).
        references: W_m of groups, by the name of their first layer, as torch weights.
    """

    start: str = "tt-svd"
    seed: int = 0
    alpha: float = 0.0
    references: Mapping[str, Tensor] | None = None


def folded(unit: Unit, member: int) -> Tensor:
    """The folded weight (L1, F, L2) of one of a unit's layers."""
    return fold_as(unit, member, unit.modules[member].weight.detach())  # type: ignore[union-attr,operator]


def fold_as(unit: Unit, member: int, weight: Tensor) -> Tensor:
    """Fold a weight of the shape that one of a unit's layers has."""
    if isinstance(unit.modules[member], nn.Linear):
        return tt.fold_linear(weight, unit.shapes[member].taps)
    return tt.fold(weight)


def decompose(method: str, unit: Unit, ranks: Ranks, options: Options) -> list[CompressedLayer]:
    """Compressed layers in place of a unit's.

    Args:
        method: one of `ranks.METHODS`.
        unit: the layers.
        ranks: theirs, checked.
        options: see there.
    """
    parts = [_geometry(unit, member) for member in range(len(unit.modules))]
    biases: list[Tensor | None] = [None if m.bias is None else m.bias.detach() for m in unit.modules]  # type: ignore
    if method == "svd":
        weight: Tensor = unit.modules[0].weight.detach()  # type: ignore[union-attr,operator,assignment]
        return [SplitLayer.from_factors(*tt.svd_factors(weight, ranks.own[0][0]), parts[0], biases[0])]
    work = [folded(unit, member) for member in range(len(unit.modules))]
    if unit.shared:
        return _coupled(unit, work, ranks, options, parts, biases)
    if method == "cp":
        factors = tt.cp(work[0], ranks.own[0][0], options.seed)
        return [CanonicalLayer.from_factors(*factors, parts[0], biases[0])]
    train = (tt.tucker2 if method == "tucker" else tt.tt_svd)(work[0], ranks.own[0])
    return [TrainLayer.from_train(train, parts[0], biases[0])]


def _coupled(
    unit: Unit,
    work: Sequence[Tensor],
    ranks: Ranks,
    options: Options,
    geometries: Sequence[Geometry],
    biases: Sequence[Tensor | None],
) -> list[CompressedLayer]:
    """The layers of a group."""
    rows = list(zip(geometries, biases, strict=True))
    if unit.group.kind == "equal":
        weight = (options.references or {}).get(unit.group.name)
        found = coupled_tt(
            work,
            ranks.shared,
            ranks.own[0],
            reference=None if weight is None else fold_as(unit, 0, weight),
            alpha=0.0 if weight is None else options.alpha,
            start=options.start,
            seed=options.seed,
        )
        shared = None if found.shared is None else SharedTrain.from_train(found.shared, geometries[0])
        return [CoupledLayer.from_train(shared, own, *row) for own, row in zip(found.own, rows, strict=True)]
    along = "in" if unit.group.kind == "input" else "out"
    partly = partly_coupled_tt(work, ranks.shared, ranks.own[0], along=along, start=options.start, seed=options.seed)
    part = None
    if partly.shared is not None:
        one, other = partly.shared
        first, core, last = (None, one, other) if along == "in" else (one, other, None)
        part = SharedPart.from_factors(first, core, last, geometries[0])
    outer = partly.outer or (None,) * len(rows)
    return [
        PartlyCoupledLayer.from_train(p, part, own, *row) for p, own, row in zip(outer, partly.own, rows, strict=True)
    ]


def _geometry(unit: Unit, member: int) -> Geometry:
    module, shape = unit.modules[member], unit.shapes[member]
    return Geometry.of(module, shape.taps) if isinstance(module, nn.Linear) else Geometry.of(module)
