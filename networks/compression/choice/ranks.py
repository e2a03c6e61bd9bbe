"""Ranks of every layer: as they were given, checked, and what they cost.

One number or pair may stand for all layers, a mapping names them, and a rule makes them from a layer's shape, as the
paper's r q with q = 1, 2, 4 for outputs of 128 q ([B] section V.B).
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from networks.compression.choice import counting
from networks.compression.choice.groups import Group, Shape
from networks.compression.tensor.tensors import max_ranks

Method = Literal["svd", "cp", "tucker", "tt", "ctd", "pctd"]
METHODS: tuple[str, ...] = ("svd", "cp", "tucker", "tt", "ctd", "pctd")
COUPLED: tuple[str, ...] = ("ctd", "pctd")
Pair = tuple[int, int]
RankChoice = Any
"""A number, a pair, for coupled methods a pair (r_c, r_i) of numbers or pairs, a mapping of such, or a rule."""


@dataclass(frozen=True)
class Unit:
    """Layers that are decomposed together, or one alone.

    Attributes:
        group: their names, and the sizes in which they agree.
        modules: the layers.
        shapes: their folded shapes.
    """

    group: Group
    modules: tuple[nn.Module, ...]
    shapes: tuple[Shape, ...]

    @property
    def shared(self) -> bool:
        """True where several layers share."""
        return self.group.kind != "alone"

    @property
    def numel(self) -> int:
        """Numbers of the dense weights."""
        return sum(shape.numel for shape in self.shapes)


@dataclass(frozen=True)
class Ranks:
    """Ranks of one unit; SVD and CP have r1 = r2 = r.

    Attributes:
        own: (r1, r2) of each layer; (0, 0) where all is shared.
        shared: (r1, r2) of what the layers share; (0, 0) where nothing is.
    """

    own: tuple[Pair, ...]
    shared: Pair = (0, 0)


def count(method: str, unit: Unit, ranks: Ranks) -> int:
    """Numbers that a decomposed unit stores, shared ones once ([B] eq. 19 and 27)."""
    if method == "svd":
        weights: list[Any] = [module.weight for module in unit.modules]
        return sum(counting.svd_count(w.shape, pair[0]) for w, pair in zip(weights, ranks.own, strict=True))
    shapes = [shape.folded for shape in unit.shapes]
    if method == "cp":
        return sum(counting.cp_count(shape, pair[0]) for shape, pair in zip(shapes, ranks.own, strict=True))
    if unit.group.kind == "equal":
        return counting.coupled_count(shapes, ranks.shared, ranks.own)
    if unit.shared:
        along = "in" if unit.group.kind == "input" else "out"
        return counting.partly_coupled_count(shapes, ranks.shared, ranks.own, along=along)
    return counting.tt_count(shapes[0], ranks.own[0])


def largest_own(method: str, unit: Unit, member: int) -> Pair:
    """The largest ranks (r1, r2) that a layer of a unit can have by itself."""
    shape = unit.shapes[member]
    if method == "svd":
        weight: Any = unit.modules[member].weight
        rows = weight.shape[1] * (weight.shape[2] if weight.ndim > 2 else 1)
        rank = min(rows, weight.numel() // rows)
        return rank, rank
    if method == "cp":
        rank = min(shape.first * shape.taps, shape.first * shape.last, shape.taps * shape.last)
        return rank, rank
    return max_ranks(shape.folded)


def largest_shared(unit: Unit) -> Pair:
    """The largest ranks (r1, r2) of what a group shares: of its layers joined along the depth that differs."""
    first, taps, last = unit.shapes[0].folded
    if unit.group.kind == "input":
        first = sum(shape.first for shape in unit.shapes)
    if unit.group.kind == "output":
        last = sum(shape.last for shape in unit.shapes)
    return max_ranks((first, taps, last)) if unit.shared else (0, 0)


def chosen_ranks(method: str, choice: RankChoice, units: Sequence[Unit]) -> list[Ranks | None]:
    """Ranks of each unit from a choice; None for a unit that a mapping leaves out.

    Args:
        method: one of `METHODS`.
        choice: one value for all layers; a mapping from names to values, in which any layer of a group speaks for it;
            or a rule ``(L1, F, L2) -> value``. A value is a rank or a pair (r1, r2); of a coupled method it is a pair
            (r_c, r_i), each a rank or a pair, of which a layer in no group takes the second.
        units: what is compressed.

    Raises:
        ValueError: a value of another form, a rank too large for its layer, a name that is not compressed, or two
            values for one group.
    """
    if not isinstance(choice, Mapping):
        return [_unit_ranks(method, [choice] * len(unit.shapes), unit) for unit in units]
    known = [name for unit in units for name in unit.group.names]
    for name in choice:
        if name not in known:
            close = difflib.get_close_matches(name, known, 3) or known
            raise ValueError(f"ranks are given for {name!r}, which is not compressed; there are {', '.join(close)}")
    ranks: list[Ranks | None] = []
    for unit in units:
        values = [choice[name] for name in unit.group.names if name in choice]
        if len(values) not in (0, 1, len(unit.shapes)):
            raise ValueError(f"ranks of the group of {unit.group.name!r} need one value, or one for each of its layers")
        ranks.append(_unit_ranks(method, values * (len(unit.shapes) // len(values)), unit) if values else None)
    return ranks


def _unit_ranks(method: str, values: Iterable[RankChoice], unit: Unit) -> Ranks:
    """Ranks of one unit from one value a layer."""
    shared: list[Pair] = []
    own: list[Pair] = []
    for value, shape, name in zip(values, unit.shapes, unit.group.names, strict=True):
        value = value(shape.folded) if isinstance(value, Callable) else value  # type: ignore[arg-type]
        try:
            one, other = _split(method, value, unit)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the ranks {value!r} of layer {name!r} do not serve: {error}") from error
        shared.append(_absorbed(one, shape))
        own.append(_absorbed(other, shape))
    if len(set(shared)) > 1 and unit.group.kind == "equal":
        raise ValueError(f"the group of {unit.group.name!r} has one shared rank, got {sorted(set(shared))}")
    ranks = Ranks(tuple(own), max(shared))
    _check(method, ranks, unit)
    return ranks


def _split(method: str, value: RankChoice, unit: Unit) -> tuple[Pair, Pair]:
    """Shared and own ranks of one value."""
    if method not in COUPLED:
        pair = _pair(value)
        if method in ("svd", "cp") and pair[0] != pair[1]:
            raise ValueError(f"{method} has one rank")
        return (0, 0), pair
    if isinstance(value, int):
        if unit.shared:
            raise ValueError("a coupled method needs a pair (shared rank, own rank)")
        return (0, 0), _pair(value)
    shared, own = value
    return (_pair(shared) if unit.shared else (0, 0)), _pair(own)


def _pair(value: RankChoice) -> Pair:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(rank, int) for rank in pair):
        raise ValueError("ranks are integers, one or a pair (r1, r2)")
    return pair[0], pair[1]


def _absorbed(pair: Pair, shape: Shape) -> Pair:
    """Where there is one tap, the core is absorbed and the smaller rank counts."""
    return (min(pair), min(pair)) if shape.taps == 1 else pair


def _check(method: str, ranks: Ranks, unit: Unit) -> None:
    """Raise where a rank is below 1 (0 of a group's parts) or above what its layer can have."""
    for member, (pair, name) in enumerate(zip(ranks.own, unit.group.names, strict=True)):
        _check_pair(pair, largest_own(method, unit, member), f"layer {name!r}", unit.shared)
    if unit.shared:
        _check_pair(ranks.shared, largest_shared(unit), f"what the group of {unit.group.name!r} shares", True)
        if ranks.shared == (0, 0) and (0, 0) in ranks.own:
            raise ValueError(f"the group of {unit.group.name!r} has rank 0 in both parts; give one of them more")


def _check_pair(pair: Pair, largest: Pair, what: str, zero: bool) -> None:
    if zero and pair == (0, 0):
        return
    if min(pair) < 1 or pair[0] > largest[0] or pair[1] > largest[1]:
        asked, most = (pair[0], largest[0]) if pair[0] == pair[1] and largest[0] == largest[1] else (pair, largest)
        raise ValueError(
            f"the rank {asked} of {what} is impossible: the largest is {most}; give less, or leave the layer out"
        )
