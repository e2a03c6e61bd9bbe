"""Layers that can be compressed, and which of them share: by their place in repeated structures, or by name.

Coupled decompositions need layers of equal shape ([B] section IV.A), partly coupled ones layers that agree in all but
the input depth, or all but the output depth (IV.B). Both speak of N blocks of M layers each: of one layer m, the
blocks' layers make a group. Here blocks are recognised by the numbers in the layers' names.
"""

import difflib
import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

from networks.compression.layer.geometry import Geometry
from networks.layers.decomposed import DenseConv

Kind = Literal["alone", "equal", "input", "output"]

SUPPORTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, DenseConv)


@dataclass(frozen=True)
class Shape:
    """The folded shape of a layer's weight, [B] eq. 3: inputs L1, taps F or positions, outputs L2.

    Attributes:
        first, taps, last: L1, F, L2.
        kernel: taps of each axis; of a Linear, its positions; both must agree among layers that share.
    """

    first: int
    taps: int
    last: int
    kernel: tuple[int, ...]

    @property
    def folded(self) -> tuple[int, int, int]:
        """(L1, F, L2)."""
        return self.first, self.taps, self.last

    @property
    def numel(self) -> int:
        """Numbers of the weight."""
        return self.first * self.taps * self.last

    @classmethod
    def of(cls, module: nn.Module, positions: int = 1) -> "Shape":
        """The shape of a supported layer; of a Linear, read as making an image of `positions` points.

        Raises:
            ValueError: outputs that do not divide among the positions.
        """
        geometry, weight = Geometry.of(module, positions), cast(Tensor, module.weight)
        depth = weight.shape[0] // (geometry.positions or 1)
        kernel = geometry.kernel_size or (geometry.positions,)
        return cls(weight.shape[1], geometry.num_taps, depth, kernel)


@dataclass(frozen=True)
class Group:
    """Layers that are decomposed together.

    Attributes:
        names: their names in the model.
        kind: "equal" shapes, the same up to the "input" or the "output" depth, or a layer "alone".
    """

    names: tuple[str, ...]
    kind: Kind

    @property
    def name(self) -> str:
        """Name of the group: that of its first layer."""
        return self.names[0]


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """Layers of a model that can be compressed, by name: dense convolutions and fully connected layers.

    Left out are grouped and transposed convolutions, layers that are decomposed already, subclasses with a forward of
    their own, and layers whose weight is also another module's.
    """
    tied = _tied(model)
    return {name: m for name, m in model.named_modules() if reason_against(m, tied) is None}


def reason_against(module: nn.Module, tied: frozenset[int] = frozenset()) -> str | None:
    """Why a module cannot be compressed, or None where it can.

    Args:
        module: any.
        tied: ids of the parameters that several modules of the model hold.
    """
    if type(module) not in SUPPORTED:
        names = ", ".join(kind.__name__ for kind in SUPPORTED)
        return f"it is a {type(module).__name__}; those that can be compressed are {names}"
    weight = module._parameters.get("weight")
    if weight is None:
        return "its weight is no parameter (a parametrisation, or never made)"
    if not weight.is_floating_point():
        return f"its weight is {weight.dtype}, not floating point"
    if getattr(module, "groups", 1) != 1:
        return f"it has groups = {module.groups}; only ungrouped convolutions can be compressed"
    if id(weight) in tied:
        return "its weight is tied to another module's"
    return None


def select(model: nn.Module, names: Iterable[str] | None = None) -> dict[str, nn.Module]:
    """Layers to compress: all that can be, or those named; a name may be a pattern such as ``blocks.*.conv1``.

    Raises:
        ValueError: a name that no layer has, or a layer that cannot be compressed.
    """
    matched = layers(model)
    if names is None:
        return matched
    modules, tied = dict(model.named_modules()), _tied(model)
    chosen: dict[str, nn.Module] = {}
    for name in [names] if isinstance(names, str) else names:
        if any(sign in name for sign in "*?["):
            matches = fnmatch.filter(matched, name)
            if not matches:
                raise ValueError(f"no layer that can be compressed matches {name!r}; there are {', '.join(matched)}")
            chosen.update((match, matched[match]) for match in matches)
            continue
        if name not in modules:
            close = difflib.get_close_matches(name, matched, 3) or list(matched)
            raise ValueError(f"the model has no layer {name!r}; did you mean {', '.join(close)}?")
        if (reason := reason_against(modules[name], tied)) is not None:
            raise ValueError(f"layer {name!r} cannot be compressed: {reason}; leave it out of the layers named")
        chosen[name] = modules[name]
    return {name: module for name, module in matched.items() if name in chosen}  # in the model's order


def shapes_of(matched: Mapping[str, nn.Module], positions: Mapping[str, int] | None = None) -> dict[str, Shape]:
    """Folded shapes of layers.

    Raises:
        ValueError: positions of a layer that is no Linear, or that do not divide its outputs.
    """
    shapes = {}
    for name, module in matched.items():
        wanted = (positions or {}).get(name, 1)
        if wanted != 1 and not isinstance(module, nn.Linear):
            raise ValueError(f"positions are for fully connected layers, but {name!r} is a {type(module).__name__}")
        try:
            shapes[name] = Shape.of(module, wanted)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from error
    return shapes


def find_groups(
    model: nn.Module,
    names: Iterable[str] | None = None,
    *,
    positions: Mapping[str, int] | None = None,
    partly: bool = False,
) -> list[Group]:
    """Find the layers that repeat: of two or more members each, in the model's order.

    First come layers whose names differ in one number alone, the outermost first: of ``trunks.0.stages.1.conv`` that
    is the twin ``trunks.1.stages.1.conv``, not the next stage. Numbers that stand alone between dots come before those
    that end a word, as in ``block1``. What is left is grouped by equal shape, wherever it stands.

    Args:
        model: the model.
        names: layers to look at, as in `select`; None for all.
        positions: of fully connected layers that make images.
        partly: also group layers that agree but for the input depth, or the output depth.

    Returns:
        Groups; a layer in none of them repeats nowhere.
    """
    shapes = shapes_of(select(model, names), positions)
    formed: list[Group] = []
    free = dict(shapes)

    def take(buckets: Iterable[Sequence[str]], kind: Kind) -> None:
        for bucket in buckets:
            if len(bucket) > 1:
                formed.append(Group(tuple(bucket), kind))
                for name in bucket:
                    del free[name]

    passes: list[Kind] = ["equal", "input", "output"] if partly else ["equal"]
    for kind in passes:
        for embedded in (False, True):
            for depth in range(max((len(_numbers(name, embedded)) for name in shapes), default=0)):
                take(_buckets(free, kind, embedded, depth), kind)
    take(_buckets(free, "equal", False, None), "equal")
    order = {name: number for number, name in enumerate(shapes)}
    return sorted(formed, key=lambda group: order[group.name])


def check_groups(
    model: nn.Module, groups: Iterable[Group | Sequence[str]], *, positions: Mapping[str, int] | None = None
) -> list[Group]:
    """Check groups that were given by name, and say of which kind each is.

    Raises:
        ValueError: a layer that is not there, stands in two groups or cannot be compressed; a group of one; shapes
            that agree neither fully nor partly.
    """
    checked: list[Group] = []
    seen: set[str] = set()
    for group in groups:
        names = group.names if isinstance(group, Group) else (group,) if isinstance(group, str) else tuple(group)
        matched = select(model, names)
        shapes = shapes_of(matched, positions)
        if len(shapes) < 2:
            raise ValueError(f"a group needs two layers at least, got {', '.join(names)}")
        if twice := seen.intersection(shapes):
            raise ValueError(f"layer {min(twice)!r} stands in two groups; a layer can share with one only")
        seen.update(shapes)
        checked.append(Group(tuple(shapes), _kind(shapes)))
    return checked


def _kind(shapes: Mapping[str, Shape]) -> Kind:
    """Kind of agreement between shapes."""
    for kind in ("equal", "input", "output"):
        if len({_agreeing(shape, kind) for shape in shapes.values()}) == 1:
            return kind
    text = ", ".join(f"{name} {shape.first} -> {shape.last} taps {shape.kernel}" for name, shape in shapes.items())
    raise ValueError(
        f"these layers cannot share: {text}; they must agree in taps and in input or output depth, "
        "so group only those that do"
    )


def _agreeing(shape: Shape, kind: Kind) -> tuple[object, ...]:
    """Sizes that must be equal for layers to share in this way."""
    if kind == "equal":
        return shape.kernel, shape.first, shape.last
    return shape.kernel, shape.last if kind == "input" else shape.first


def _buckets(free: Mapping[str, Shape], kind: Kind, embedded: bool, depth: int | None) -> list[list[str]]:
    """Names that agree in shape, and but for the number at `depth` also in words; largest first."""
    buckets: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, shape in free.items():
        pattern = "" if depth is None else _pattern(name, embedded, depth)
        if pattern is not None:
            buckets[pattern, *_agreeing(shape, kind)].append(name)
    return sorted(buckets.values(), key=len, reverse=True)


def _numbers(name: str, embedded: bool) -> list[re.Match[str]]:
    """Numbers in a name: those between dots, or those at the end of a word."""
    return list(re.finditer(r"(?<=[^.\d])\d+(?=\.|$)" if embedded else r"(?<![^.])\d+(?=\.|$)", name))


def _pattern(name: str, embedded: bool, depth: int) -> str | None:
    """The name with one of its numbers left open; None where it has not so many."""
    numbers = _numbers(name, embedded)
    if depth >= len(numbers):
        return None
    return name[: numbers[depth].start()] + "#" + name[numbers[depth].end() :]


def _tied(model: nn.Module) -> frozenset[int]:
    """Parameters that several modules hold."""
    holders = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    return frozenset(key for key, count in holders.items() if count > 1)
