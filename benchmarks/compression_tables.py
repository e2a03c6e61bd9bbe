"""Compression ratios of [B] tables I, II, IV, V and VI: as printed, as counted here, and the difference.

    ./run python benchmarks/compression_tables.py

Tables I and II are [B] eq. 18-20 as they stand. For IV to VI two readings are counted: the text as it stands ("plain":
the ranks as printed, all that is not compressed on both sides), and the rule that makes the printed digits ("rule"),
which was inferred from them. The rules have in common:
* The printed r_i, and the r' of table IV, are rounded. Used was the real number x that gives the coupled layers as many
  weights as the tensor trains of the same group have, and in a sub-network the rank x q rounded down.
* What is not compressed counts on both sides, but not all of it, and not the same in each table.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from compression_paper import AS_PRINTED, COUPLED, ISTA_CTD, ISTA_TT, SVD, TT

from networks.compression.choice.counting import (
    Shape,
    coupled_count,
    partly_coupled_count,
    svd_count,
    tt_count,
)

Stage = Callable[[int, int, int, int], int]
"""Weights of a sub-network's compressed layers, from its number 0..2, q, own rank and shared rank."""

NUM_LAYERS = {"IV": (4, 4, 4), "V": (2, 2, 2), "VI": (8, 12, 6)}
"""Convolutions 3 x 3 of the sub-networks conv3_x to conv5_x."""
P_O = {"IV": 11_164_362, "V": 4_823_754, "VI": 21_780_648}
"""Weights of the networks without normalisations, printed as 11.164 m, 4.82 m and 21.78 m."""
SHORTCUTS, CONV1, FC = 21 * 64 * 128, 3 * 9 * 64, 512 * 10 + 10
NORMALISATIONS = 2 * (64 + 4 * 64 + 5 * (128 + 256 + 512))
"""Of ResNet-18."""


def dense_count(shape: Shape) -> int:
    """Weights of the dense kernel ([B] eq. 18)."""
    return math.prod(shape)


def ratio(before: int, after: int, untouched: int = 0) -> float:
    """Compression ratio ([B] eq. 20 and 28); `untouched` weights count on both sides."""
    if min(before, untouched) < 0 or after + untouched <= 0:
        raise ValueError(f"weights are counted from 1, got {before} before, {after} after, {untouched} untouched")
    return (before + untouched) / (after + untouched)


@dataclass(frozen=True)
class Line:
    """One printed ratio and ours: by the plain reading of the text, and by the rule."""

    table: str
    method: str
    ranks: str
    printed: str
    plain: float
    rule: float

    @property
    def exact(self) -> bool:
        """Whether the rule makes the printed digits."""
        return f"{self.rule:.2f}" == self.printed

    @property
    def plain_exact(self) -> bool:
        """Whether the plain reading does."""
        return f"{self.plain:.2f}" == self.printed


def first(q: int) -> Shape:
    """Folded shape of the first layer of a sub-network."""
    return 64 * q, 9, 128 * q


def later(q: int) -> Shape:
    """Folded shape of the others."""
    return 128 * q, 9, 128 * q


def weights(stage: Stage, own: float, shared: int = 0, scale: int = 1) -> float:
    """Weights of the three sub-networks, ranks rounded down; a scale makes the rounding finer by as much."""
    sizes = [(number, q * scale) for number, q in enumerate((1, 2, 4))]
    return sum(stage(n, q, math.floor(own * q), shared * q) for n, q in sizes) / scale**2


def solved(stage: Stage, target: float, shared: int = 0) -> float:
    """The real own rank with which the sub-networks have so many weights."""
    low, high = 0.0, 256.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if weights(stage, middle, shared, 1 << 16) <= target else (low, middle)
    return low


def ista_lines() -> list[Line]:
    """Tables I and II: tensor trains and NC-CTD; each block's first and last layer count on both sides."""
    found = []
    for table, blocks in (("I", 5), ("II", 7)):
        whole, untouched = 4 * blocks * 128 * 9 * 128, 2 * blocks * 128 * 9
        rounded = 1000 * round((whole + untouched) / 1000)
        rows = [("TT", 0, rank, printed) for rank, printed in ISTA_TT.items()]
        rows += [("NC-CTD", shared, own, printed) for (shared, own), printed in ISTA_CTD[blocks].items()]
        for method, shared, own, printed in rows:
            after = 4 * coupled_count([(128, 9, 128)] * blocks, (shared, shared), (own, own))
            plain = ratio(whole, after, untouched)
            # the two rows that need it, of N = 7, were computed from P_o = 4.145 m
            rule = plain if f"{plain:.2f}" == printed else ratio(rounded, after + untouched)
            found.append(Line(table, method, f"({shared}, {own})" if shared else str(own), printed, plain, rule))
    return found


def svd_iv(_: int, q: int, own: int, shared: int) -> int:
    return svd_count((128 * q, 64 * q, 3, 3), own) + 3 * svd_count((128 * q, 128 * q, 3, 3), own)


def tt_iv(_: int, q: int, own: int, shared: int) -> int:
    """The first layer has half the first rank."""
    return tt_count(first(q), (own // 2, own)) + 3 * tt_count(later(q), (own, own))


def coupled_iv(_: int, q: int, own: int, shared: int) -> int:
    """Layers 2 and 4 coupled; 1 and 3 add their P_n at half the shared rank, but neither core nor last factor."""
    outer = (first(q)[0] + later(q)[0]) * (shared // 2)
    pair = coupled_count([later(q)] * 2, (shared, shared), (own, own))
    return pair + outer + tt_count(first(q), (own // 2, own)) + tt_count(later(q), (own, own))


def plain_tt_iv(number: int, q: int, own: int, shared: int) -> int:
    """The first layer has half of both ranks."""
    return tt_v(number, q, own, shared) + 2 * tt_count(later(q), (own, own))


def plain_iv(number: int, q: int, own: int, shared: int) -> int:
    """Layers 1 and 3 partly coupled, the first one's own ranks halved, layers 2 and 4 coupled."""
    return plain_v(number, q, own, shared) + coupled_count([later(q)] * 2, (shared, shared), (own, own))


def tt_v(_: int, q: int, own: int, shared: int) -> int:
    """The first layer has half of both ranks."""
    return tt_count(first(q), (own // 2, own // 2)) + tt_count(later(q), (own, own))


def pctd_v(_: int, q: int, own: int, shared: int) -> int:
    """What is shared has half the rank, too, in both layers."""
    ranks = [(own // 2, own // 2), (own, own)]
    return partly_coupled_count([first(q), later(q)], (shared // 2, shared // 2), ranks)


def plain_v(_: int, q: int, own: int, shared: int) -> int:
    """The first layer's own ranks are halved."""
    return partly_coupled_count([first(q), later(q)], (shared, shared), [(own // 2, own // 2), (own, own)])


def tt_vi(number: int, q: int, own: int, shared: int) -> int:
    """Without the first layer of each sub-network."""
    return (NUM_LAYERS["VI"][number] - 1) * tt_count(later(q), (own, own))


def ctd_vi(rank: int) -> Stage:
    """Layers of blocks 2 and on coupled, first with first, second with second; block 1's second is a plain train."""

    def stage(number: int, q: int, own: int, shared: int) -> int:
        blocks = NUM_LAYERS["VI"][number] // 2 - 1
        alone = tt_count(later(q), (rank * q, rank * q))
        return alone + 2 * coupled_count([later(q)] * blocks, (shared, shared), (own, own))

    return stage


@dataclass(frozen=True)
class Reading:
    """How a table is counted.

    Attributes:
        train, coupled: sub-networks of tensor trains, and coupled ones by the rank of the group's tensor trains.
        untouched: weights that are not compressed, before and after.
        after_coupled: the same after coupled compression.
    """

    train: Stage
    coupled: Callable[[int], Stage]
    untouched: int
    after_coupled: int


def readings(table: str) -> tuple[int, Reading, Reading]:
    """Weights of the layers that are compressed, the plain reading, and the rule."""
    sizes = zip((1, 2, 4), NUM_LAYERS[table], strict=True)
    compressed = sum((n - 1) * dense_count(later(q)) for q, n in sizes)
    if table == "VI":  # the text leaves the layers that change depth as they are
        others = P_O[table] - compressed
        same = Reading(tt_vi, ctd_vi, others, others)
        return compressed, same, same
    compressed += sum(dense_count(first(q)) for q in (1, 2, 4))
    others = P_O[table] - compressed
    if table == "V":
        counted = SHORTCUTS + CONV1 + 64  # fc is left out; 64 are biases of conv1
        rule = Reading(tt_v, lambda _: pctd_v, counted, counted)
        return compressed, Reading(tt_v, lambda _: plain_v, others, others), rule
    counted = SHORTCUTS + CONV1 + FC + NORMALISATIONS  # conv2_x is left out; after coupled compression all of it is
    rule = Reading(tt_iv, lambda _: coupled_iv, counted, 0)
    return compressed, Reading(plain_tt_iv, lambda _: plain_iv, others, others), rule


def resnet_lines(table: str) -> list[Line]:
    """Table IV, V or VI."""
    compressed, plain, rule = readings(table)
    before, plain_before = compressed + rule.untouched, P_O[table]

    def line(method: str, ranks: str, printed: str, plain_after: float, after: float) -> Line:
        return Line(table, method, ranks, printed, plain_before / plain_after, before / after)

    found = []
    for rank, printed in TT[table].items():
        size = weights(rule.train, rank)
        plain_size = weights(plain.train, rank) + plain.untouched
        found.append(line("TT", f"{rank}q", printed, plain_size, size + rule.untouched))
        if table == "IV":
            shown, value = SVD[rank]
            after = weights(svd_iv, solved(svd_iv, size)) + rule.untouched
            found.append(line("SVD", f"{shown}q", value, weights(svd_iv, shown) + plain.untouched, after))
        for (shared, own), value in COUPLED[table][rank].items():
            stage = rule.coupled(rank)
            used = own if (table, shared, own) in AS_PRINTED else solved(stage, size, shared)
            after = weights(stage, used, shared) + rule.after_coupled
            plain_size = weights(plain.coupled(rank), own, shared) + plain.untouched
            found.append(line("coupled", f"({shared}q, {own}q)", value, plain_size, after))
    return found


def lines() -> list[Line]:
    """All ratios."""
    return [*ista_lines(), *(line for table in NUM_LAYERS for line in resnet_lines(table))]


def main() -> None:
    print("| table | method | ranks | printed | plain | plain - printed | rule | rule - printed |")
    print("|---|---|---|---|---|---|---|---|")
    for line in lines():
        ours = [f"{value:.2f} | {value - float(line.printed):+.3f}" for value in (line.plain, line.rule)]
        print(f"| {line.table} | {line.method} | {line.ranks} | {line.printed} | {ours[0]} | {ours[1]} |")
    print("\n| table | method | rows | exact, plain | largest distance | exact, rule | largest distance |")
    print("|---|---|---|---|---|---|---|")
    for key in dict.fromkeys((line.table, line.method) for line in lines()):
        rows = [line for line in lines() if (line.table, line.method) == key]
        far = [max(abs(v / float(r.printed) - 1) for v, r in zip(c, rows, strict=True)) for c in columns(rows)]
        plain, rule = sum(row.plain_exact for row in rows), sum(row.exact for row in rows)
        print(f"| {key[0]} | {key[1]} | {len(rows)} | {plain} | {far[0]:.2%} | {rule} | {far[1]:.2%} |")


def columns(rows: list[Line]) -> tuple[list[float], list[float]]:
    """Plain ratios, and those of the rule."""
    return [row.plain for row in rows], [row.rule for row in rows]


if __name__ == "__main__":
    main()
