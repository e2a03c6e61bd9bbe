"""The tensors of units: folded and weighted before a decomposition, unweighted and balanced after it.

A weighting by activations changes the tensor before and its first factors after, so that the error of the layer's
output is minimised in place of that of its weight, see `weighting`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from networks.compression.choice.ranks import Unit
from networks.compression.layer.base import CompressedLayer
from networks.compression.tensor import tensors as tt
from networks.compression.tensor.coupled import Minimisation
from networks.compression.tensor.weighting import unwhiten, whiten

Factor = TypeVar("Factor", Tensor, Tensor | None)


@dataclass(frozen=True)
class Options:
    """Settings of the decompositions beside the ranks.

    Attributes:
        minimisation: of the coupled ones; its seed is that of CP as well.
        alpha: weight of the shared part's distance to the references ([B] eq. 14).
        references: W_m of groups, by the name of their first layer, as torch weights.
        moments: second moment S (L1, L1) of the inputs of each layer; None weighs weights alike.
    """

    minimisation: Minimisation = Minimisation()
    alpha: float = 0.0
    references: Mapping[str, Tensor] | None = None
    moments: Mapping[str, Tensor] | None = None


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
    return [weighted_tensor(unit, m, folded(unit, m).double(), options) for m in range(len(unit.modules))]


def squared_errors(unit: Unit, layers: Sequence[CompressedLayer], options: Options) -> list[float]:
    """Squared relative errors that compressed layers leave, of the weights or, weighted, of each layer's output."""
    errors = []
    with torch.no_grad():
        for member, layer in enumerate(layers):
            weight: Tensor = unit.modules[member].weight  # type: ignore[union-attr,assignment]
            parts = [folded(unit, member), fold_as(unit, member, layer.kernel().reshape(weight.shape))]
            if options.moments is not None:
                parts = [whiten(part.double(), options.moments[unit.group.names[member]]) for part in parts]
            dense, approximation = (part.double() for part in parts)
            size = float(dense.square().sum())
            errors.append(float((approximation - dense).square().sum()) / size if size else 0.0)
    return errors


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


def weighted_tensor(unit: Unit, member: int, tensor: Tensor, options: Options) -> Tensor:
    """S^(1/2) x_1 W, or W itself."""
    moment = _moment(unit, member, options)
    return tensor if moment is None else whiten(tensor, moment)


def unweighted_first(unit: Unit, member: int, first: Tensor, options: Options) -> Tensor:
    """Undo the weighting in a first factor."""
    moment = _moment(unit, member, options)
    return first if moment is None else unwhiten(first, moment)


def unweighted(unit: Unit, member: int, train: tt.Train, options: Options) -> tt.Train:
    """A train in the dtype of the layers, without the weighting."""
    if options.moments is not None:
        train = balanced(tt.Train(unweighted_first(unit, member, train.first, options), train.core, train.last))
    return cast_train(unit, train)


def balanced(train: tt.Train) -> tt.Train:
    """The same train with orthonormal outer factors, as without weighting: fine-tuning steps are alike for all."""
    if train.core is None:
        return tt.tt_svd(train.tensor(), train.ranks)
    first, left = torch.linalg.qr(train.first)
    last, right = torch.linalg.qr(train.last.T)
    return tt.Train(first, tt.tt_product(tt.tt_product(left, train.core), right.T), last.T)


def cast_train(unit: Unit, train: tt.Train) -> tt.Train:
    return tt.Train(like(unit, train.first), like(unit, train.core), like(unit, train.last))


def orthonormal(firsts: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Matrices of one factor whose stack has orthonormal columns, and the factor."""
    stacked, left = torch.linalg.qr(torch.cat(firsts))
    return list(stacked.split([len(first) for first in firsts])), left


def absorbed(left: Tensor | None, core: Tensor | None, last: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Core and last factor with a matrix multiplied into the core, or into the last where there is none."""
    if left is None or last is None:
        return core, last
    return (None, left @ last) if core is None else (tt.tt_product(left, core), last)


def like(unit: Unit, tensor: Factor) -> Factor:
    """A factor in the dtype of the layers, where they are."""
    weight: Tensor = unit.modules[0].weight  # type: ignore[union-attr,assignment]
    return tensor if tensor is None else tensor.to(weight)  # type: ignore[return-value]


def unfolded(unit: Unit, tensor: Tensor) -> Tensor:
    """Undo `folded` for a unit of one layer."""
    if isinstance(unit.modules[0], nn.Linear):
        return tt.unfold_linear(tensor)
    return tt.unfold(tensor, unit.shapes[0].kernel)
