"""Numbers of weights of a compressed layer: integers only.

A shape is that of the folded kernel, (L1, F, L2): channels in, taps together, channels out ([B] eq. 3). Biases,
normalisations and the like are not counted. Where F = 1 (1x1 convolutions, linear layers) the core of a train is
absorbed into a neighbour: there are two factors, one rank, and the smaller of two given ranks counts. Rank 0 leaves
a branch out.

Source: [B] Sun, Chen, Huang, So, Xie, "Deep convolutional neural network compression via coupled tensor
decomposition", eq. 19 and 27.
"""

import math
from collections.abc import Sequence
from typing import Any

Shape = tuple[int, int, int]
Ranks = tuple[int, int]


def folded_shape(weight_shape: Sequence[int]) -> Shape:
    """(L1, F, L2) of a torch weight of shape (L2, L1, taps...)."""
    if len(weight_shape) < 2:
        raise ValueError(f"a weight needs at least (channels out, channels in), got the shape {tuple(weight_shape)}")
    return int(weight_shape[1]), math.prod(int(taps) for taps in weight_shape[2:]), int(weight_shape[0])


def tt_count(shape: Shape, ranks: Ranks) -> int:
    """Weights of a tensor train: L1 r1 + F r1 r2 + r2 L2, the core absorbed where F = 1 ([B] eq. 19)."""
    first, core, last = _parts(shape, ranks)
    return first + core + last


def svd_count(weight_shape: Sequence[int], rank: int) -> int:
    """Weights of the two layers F1 x 1 and 1 x F2 that an SVD makes of a torch weight (L2, L1, F1, F2...).

    Source: [B] section V, after Tai et al. [15]; taps beyond the first axis stay with the second layer.
    """
    inputs, _, outputs = folded_shape(weight_shape)
    taps = [int(t) for t in weight_shape[2:]] or [1]
    _check_ranks((rank, rank))
    return rank * (inputs * taps[0] + outputs * math.prod(taps[1:]))


def cp_count(shape: Shape, rank: int) -> int:
    """Weights of a canonical decomposition, rank (L1 + F + L2), without the taps where F = 1."""
    _check_ranks((rank, rank))
    inputs, taps, outputs = shape
    return rank * (inputs + outputs + (taps if taps > 1 else 0))


def coupled_count(shapes: Sequence[Shape], shared_ranks: Ranks, own_ranks: Ranks | Sequence[Ranks]) -> int:
    """Weights of a group of equal layers: one shared train, and one train for each layer ([B] eq. 19).

    Args:
        shapes: (L1, F, L2) of the layers, all equal.
        shared_ranks: (r1, r2) of the shared train.
        own_ranks: (r1, r2) of every layer's own train, or one such pair a layer.

    Raises:
        ValueError: unequal shapes, a negative rank, or another number of pairs than of layers.
    """
    if len(set(shapes)) != 1:
        raise ValueError(
            f"coupled layers have one shape, got {sorted(set(shapes))}; count layers that share only their input or "
            "output depth by partly_coupled_count"
        )
    own = _each(own_ranks, len(shapes))
    return tt_count(shapes[0], shared_ranks) + sum(tt_count(s, r) for s, r in zip(shapes, own, strict=True))


def partly_coupled_count(
    shapes: Sequence[Shape], shared_ranks: Ranks, own_ranks: Ranks | Sequence[Ranks], *, along: str = "in"
) -> int:
    """Weights of a group of layers that differ in one depth ([B] eq. 27).

    Args:
        shapes: (L1, F, L2) of the layers.
        shared_ranks: (r1, r2) of the shared branch; two of its three factors are shared, the third is each layer's.
        own_ranks: (r1, r2) of every layer's own train, or one such pair a layer.
        along: the depth that differs: "in" (first factors are each layer's, the case of the paper) or "out" (last
            factors are).

    Raises:
        ValueError: an unknown `along`, shapes that differ elsewhere, a negative rank, a wrong number of pairs.
    """
    if along not in ("in", "out"):
        raise ValueError(f'along must be "in" or "out", got {along!r}')
    equal = {shape[1:] if along == "in" else shape[:2] for shape in shapes}
    if len(equal) != 1:
        depth = "output" if along == "in" else "input"
        raise ValueError(f"along={along!r} needs equal taps and {depth} depths, got the shapes {sorted(set(shapes))}")
    parts = [_parts(shape, shared_ranks) for shape in shapes]
    outer = 0 if along == "in" else 2
    branches = sum(part[outer] for part in parts) + sum(parts[0]) - parts[0][outer]
    own = _each(own_ranks, len(shapes))
    return branches + sum(tt_count(s, r) for s, r in zip(shapes, own, strict=True))


def _parts(shape: Shape, ranks: Ranks) -> tuple[int, int, int]:
    """Weights of the first factor, the core and the last factor of a train."""
    _check_ranks(ranks)
    inputs, taps, outputs = shape
    if taps == 1:
        return inputs * min(ranks), 0, outputs * min(ranks)
    return inputs * ranks[0], taps * ranks[0] * ranks[1], outputs * ranks[1]


def _check_ranks(ranks: Ranks) -> None:
    if len(ranks) != 2 or min(ranks) < 0:
        raise ValueError(f"ranks are a pair (r1, r2) of counts from 0, got {tuple(ranks)}")


def _each(ranks: Ranks | Sequence[Ranks], number: int) -> list[Ranks]:
    """One pair of ranks a layer."""
    pairs: list[Any] = [ranks] * number if isinstance(ranks[0], int) else list(ranks)
    if len(pairs) != number:
        raise ValueError(f"own_ranks must be one pair, or one for each of the {number} layers, got {len(pairs)} pairs")
    return pairs
