"""The numbers of a wave table: amplitudes at each frequency as a product of three factors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

Complex = NDArray[np.complexfloating[Any, Any]]


@dataclass(frozen=True)
class Factors:
    """Factors whose product, ``left[k] @ right[k] @ gamma[k // band]``, maps basis functions to amplitudes on Γ.

    Attributes:
        left: of each frequency, (n_k, p_k) complex: from functions of the source area's basis, or its nodes.
        right: of each frequency, (p_k, q_b) complex.
        gamma: of each band, (q_b, 2 arc) real: patterns on Γ of displacement, then load, unweighted.
        band: neighbouring frequencies that share patterns.
        lengths: of each frequency, (p_k,) rows of each column of `left`, the first ones, that are not zero; None where
            all are stored.

    Raises:
        ValueError: shapes that do not fit one another.
    """

    left: Sequence[Complex]
    right: Sequence[Complex]
    gamma: Sequence[NDArray[np.floating[Any]]]
    band: int = 8
    lengths: Sequence[NDArray[np.integer[Any]]] | None = None

    def __post_init__(self) -> None:
        num = len(self.left)
        if not num or len(self.right) != num or self.band < 1 or len(self.gamma) != -(-num // self.band):
            raise ValueError(
                f"{num} left factors need as many right ones and patterns for every {self.band} frequencies: "
                f"got {len(self.right)} and {len(self.gamma)}"
            )
        columns = {patterns.shape[1] for patterns in self.gamma}
        if len(columns) != 1 or columns.pop() % 2:
            raise ValueError("patterns on Γ must be of displacement and load at the same nodes")
        for k, (left, right) in enumerate(zip(self.left, self.right, strict=True)):
            if left.shape[1] != right.shape[0] or right.shape[1] != len(self.gamma[k // self.band]):
                raise ValueError(
                    f"factors of frequency {k} do not multiply: {left.shape}, {right.shape}, "
                    f"{self.gamma[k // self.band].shape}"
                )
            if self.lengths is not None and np.shape(self.lengths[k]) != left.shape[1:]:
                raise ValueError(f"each of the {left.shape[1]} columns of frequency {k} needs a length")

    @property
    def num_frequencies(self) -> int:
        """Frequencies K."""
        return len(self.left)

    @property
    def num_arc(self) -> int:
        """Nodes of Γ."""
        return self.gamma[0].shape[1] // 2

    @property
    def numbers(self) -> int:
        """Real numbers that tell all factors, two for a complex one, as `canonical` leaves them."""
        entries = 0
        for k, (left, right) in enumerate(zip(self.left, self.right, strict=True)):
            (rank, patterns), own = right.shape, None if self.lengths is None else self.lengths[k]
            entries += left.size if own is None else int(np.sum(own))
            entries += rank * patterns - rank * (rank + 1) // 2
        return 2 * entries + sum(each.size - len(each) ** 2 for each in self.gamma)

    def amplitudes(self, k: int) -> Complex:
        """Amplitudes at a frequency of the basis functions, (n_k, 2 arc)."""
        return np.asarray(self.left[k] @ self.right[k] @ self.gamma[k // self.band])


@dataclass(frozen=True)
class Canonical:
    """Factors of which no number follows from others.

    Between factors anything can be multiplied in and out again. Here the patterns on Γ are those that are 1 at one node
    of their own and 0 at the nodes of the others, and each right factor is a triangle of zeros with ones along it, in
    columns of its own: rank (rank + 1) and patterns² real numbers fewer a frequency and a band.

    Attributes:
        factors: the same product; the patterns of the load in units of `ratios`.
        rows: of each frequency, (p_k,) the columns of `right` that are 1 in row 0, 1 ... and 0 in rows after it.
        nodes: of each band, (q_b,) the columns of `gamma` that are 1 for pattern 0, 1 ... and 0 for the others.
        ratios: of each band, the power of 2 by which the load's columns are to be multiplied.
    """

    factors: Factors
    rows: list[NDArray[np.int64]]
    nodes: list[NDArray[np.int64]]
    ratios: list[int]


def canonical(factors: Factors) -> Canonical:
    """Factors of the same product without numbers that follow from others.

    Columns of left factors keep their lengths, as longer ones take up shorter ones only.

    Raises:
        ValueError: more patterns than numbers of a node and field, or more ranks than patterns.
    """
    half, gamma, nodes, ratios, turns = factors.num_arc, [], [], [], []
    for patterns in (np.asarray(each, np.float64) for each in factors.gamma):
        sizes = [float(np.linalg.norm(part)) for part in (patterns[:, :half], patterns[:, half:])]
        ratio = round(np.log2(sizes[1] / sizes[0])) if min(sizes) > 0 else 0
        scaled = patterns * np.repeat((1.0, 2.0**-ratio), half)
        own = qr(scaled, mode="r", pivoting=True)[1][: len(scaled)] if len(scaled) else np.zeros(0, np.int64)
        if len(own) < len(scaled):
            raise ValueError(f"{len(scaled)} patterns on Γ are more than its {2 * half} numbers")
        turn = scaled[:, own]
        gamma.append(np.linalg.solve(turn, scaled))
        nodes.append(np.asarray(own, np.int64))
        ratios.append(ratio)
        turns.append(turn)
    left, right, rows, lengths = [], [], [], []
    for k, (one, other) in enumerate(zip(factors.left, factors.right, strict=True)):
        ends = np.full(one.shape[1], len(one)) if factors.lengths is None else np.asarray(factors.lengths[k])
        order = np.argsort(-ends, kind="stable")
        turned = np.asarray(other, np.complex128) @ turns[k // factors.band]
        one, other, own = _triangular(np.asarray(one, np.complex128)[:, order], turned[order])
        left.append(one)
        right.append(other)
        rows.append(own)
        lengths.append(ends[order])
    return Canonical(Factors(left, right, gamma, factors.band, lengths), rows, nodes, ratios)


def _triangular(left: Complex, right: Complex) -> tuple[Complex, Complex, NDArray[np.int64]]:
    """The same product with a right factor whose columns of some numbers make a triangle; these numbers."""
    rank, patterns = right.shape
    if rank > patterns:
        raise ValueError(f"a right factor of rank {rank} has {patterns} patterns only: multiply it with the left one")
    free, own = np.ones(patterns, bool), np.zeros(rank, np.int64)
    for row in range(rank):
        column = own[row] = int(np.where(free, np.abs(right[row]), -1.0).argmax())
        free[column] = False
        pivot = right[row, column]
        if pivot == 0:
            raise ValueError("a right factor's rows depend on one another: truncate it to its rank")
        right[row] /= pivot
        left[:, row] *= pivot
        factors = right[row + 1 :, column].copy()
        right[row + 1 :] -= factors[:, None] * right[row]
        left[:, row] += left[:, row + 1 :] @ factors
        right[row, column], right[row + 1 :, column] = 1.0, 0.0
    return left, right, own
