"""Truncation of a table to a tolerance or to a number of numbers, in the metric of the loss.

Of the table ``X_k B_k`` (fields of the loads run, and the map to all loads) three things are cut: directions on Gamma,
one real basis for some neighbouring frequencies, of u and r together; directions of each frequency, by its singular
values; of each left vector the trailing functions of the basis. One price per number decides all three cuts: what
stays lowers the squared error by more than the price of its numbers, so that neither kind is paid too much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from networks.table.bases.basis import Basis
from networks.table.factors import Factors

Array = NDArray[np.float64]
Complex = NDArray[np.complexfloating]
_Part = tuple[Complex, Complex, NDArray[np.intp]]

STEPS = 40
"""Halvings of the price's logarithm, at most."""
CLOSE = 0.01
"""Relative distance from the target at which the search ends."""
LEFT = 0.5
"""Share of the tolerance that truncation may take although the basis alone misses more."""
DEAREST = 1e-16
"""Lowest price, relative to the squared amplitudes."""


@dataclass(frozen=True)
class Compressed:
    """Factors and what was lost on the way.

    Attributes:
        factors: of the unweighted amplitudes.
        error: relative root mean square in the metric, basis included.
        basis_miss: the part of it that the basis cannot hold.
    """

    factors: Factors
    error: float
    basis_miss: float


@dataclass(frozen=True)
class _Frequency:
    """A frequency's table in its basis, weighted: ``left core right`` with orthonormal columns of `left`.

    `left` is None where the nodes are the basis: it is large and wanted only at the end.
    """

    size: int
    left: Complex | None
    core: Complex
    right: Complex
    values: Array


class Table:
    """The table of fields and maps at hand, in a basis, ready to be cut.

    Args:
        fields: (S, nr, K), of the loads run or others.
        maps: (K, nr, 2A) from these fields to the amplitudes of all loads.
        gains: (2, K) weights of u and of r.
        basis: over the source nodes.
        band: frequencies that share a basis of Gamma.
    """

    def __init__(
        self,
        fields: NDArray[np.inexact],
        maps: Complex,
        gains: Array,
        basis: Basis,
        band: int = 8,
    ) -> None:
        self._fields, self._basis, self._band = fields, basis, band
        self._half = maps.shape[2] // 2
        self._bands = [range(b, min(b + band, len(maps))) for b in range(0, len(maps), band)]
        energy = np.array([np.linalg.norm(fields[:, :, k]) ** 2 for k in range(len(maps))])
        self._ratio = [_mean_ratio(gains[:, each], energy[each]) for each in self._bands]
        self._common = np.sqrt(gains[0] * gains[1] / np.repeat(self._ratio, [len(each) for each in self._bands]))
        self._frequencies: list[_Frequency] = []
        self._spectra: list[tuple[Array, Array]] = []
        self._size = self._missed = 0.0
        for each, ratio in zip(self._bands, self._ratio, strict=True):
            moment = np.zeros((2 * self._half,) * 2)
            for k in each:
                scale = self._common[k] * np.repeat((1.0, ratio), self._half)
                here = self._frequency(np.asarray(maps[k] * scale, complex), k)
                self._frequencies.append(here)
                table = here.core @ here.right
                moment += (table.conj().T @ table).real
            values, vectors = np.linalg.eigh(moment)
            self._spectra.append((values[::-1].clip(0), vectors[:, ::-1]))

    def _frequency(self, right: Complex, k: int) -> _Frequency:
        fields = np.asarray(self._fields[:, :, k], complex)
        phi = self._basis.matrix(k)
        if phi is None:
            left, size, core = None, len(fields), np.asarray(np.linalg.qr(fields, mode="r"))
        else:
            inside = phi.conj().T @ fields
            size = len(inside)
            left, core = np.linalg.qr(inside) if size > inside.shape[1] else (np.eye(size), inside)
        table = core @ right
        gram = fields.conj().T @ fields
        total = float(np.einsum("ra,rs,sa->", right.conj(), gram, right, optimize=True).real)
        self._size += total
        self._missed += 0.0 if phi is None else max(total - float(np.linalg.norm(table) ** 2), 0.0)
        return _Frequency(size, left, core, right, np.asarray(np.linalg.svd(table, compute_uv=False), float))

    def cut_to_error(self, tolerance: float) -> Compressed:
        """The fewest numbers whose relative error in the metric is about `tolerance`, as near as the basis allows."""
        budget = max(tolerance**2 * self._size - self._missed, (LEFT * tolerance) ** 2 * self._size)
        fits, dearest = self._searched(budget, lambda cut: float(cut.lost), rising=True)
        return self._finished(fits or dearest)

    def cut_to_numbers(self, numbers: int) -> Compressed:
        """The smallest error with at most so many numbers.

        Raises:
            ValueError: a table of so few numbers says nothing.
        """
        best, _ = self._searched(numbers, lambda cut: float(cut.numbers), rising=False)
        if best is None or not best.numbers:
            raise ValueError(f"no table of this problem has {numbers} numbers or fewer: ask for more numbers")
        return self._finished(best)

    def _searched(
        self, limit: float, measure: Callable[[_Cut], float], *, rising: bool
    ) -> tuple[_Cut | None, _Cut]:
        """The cut whose measure comes nearest to a limit from below, by halving the range of prices.

        Args:
            limit: largest measure.
            measure: what a cut is judged by.
            rising: it rises with the price of a number; else it falls.

        Returns:
            That cut, None where none was met; and the one of the lowest price that was looked at last.
        """
        low, high, best = np.log(DEAREST * self._size), np.log(self._size), None
        for _ in range(STEPS):
            middle = (low + high) / 2
            cut = self._cut(float(np.exp(middle)))
            fits = bool(measure(cut) <= limit)
            best = cut if fits else best
            low, high = (middle, high) if fits == rising else (low, middle)
            if (1 - CLOSE) * limit <= measure(cut) <= limit or high - low < CLOSE:
                break
        return best, best or self._cut(float(np.exp(low)))

    def _cut(self, price: float) -> _Cut:
        """The factors that stay at a price, the squared error that a real number must be worth."""
        cut = _Cut([], [], 0.0, 0)
        for each, (values, vectors) in zip(self._bands, self._spectra, strict=True):
            here = [self._frequencies[k] for k in each]
            ranks = sum(int((f.values**2 > price * (f.size + len(f.values))).sum()) for f in here)
            num = int((values > price * 2 * (self._half + ranks)).sum())
            cut.lost += float(values[num:].sum())
            parts = [self._cut_frequency(cut, frequency, vectors[:, :num], price) for frequency in here]
            if not any(part[0].size for part in parts):  # then nobody needs the directions
                num, parts = 0, [(left, right[:, :0], length) for left, right, length in parts]
            cut.parts.extend(parts)
            cut.gamma.append(vectors[:, :num])
            cut.numbers += num * (2 * self._half - num)  # as `networks.table.factors.canonical` leaves them
        return cut

    def _cut_frequency(self, cut: _Cut, here: _Frequency, turn: Array, price: float) -> _Part:
        """A frequency's directions and the lengths of their left vectors."""
        num = turn.shape[1]
        u, values, v = np.linalg.svd(here.core @ (here.right @ turn), full_matrices=False)
        whole = values**2
        if here.left is None or not self._basis.ordered:
            length = np.full(len(values), here.size)
            rest = np.zeros(len(values))
        else:
            vectors = (here.left @ u) * values
            tail = np.concatenate((np.cumsum((np.abs(vectors) ** 2)[::-1], 0)[::-1], np.zeros((1, len(values)))))
            length = (tail + 2 * price * np.arange(here.size + 1)[:, None]).argmin(0)
            rest = tail[length, np.arange(len(values))]
        stays = whole - rest > 2 * price * (length + num)
        cut.lost += float(np.where(stays, rest, whole).sum())
        rank = int(stays.sum())
        cut.numbers += 2 * int((length[stays] + num).sum()) - rank * (rank + 1)
        return u[:, stays] * values[stays], v[stays], length[stays]

    def _finished(self, cut: _Cut) -> Compressed:
        """The cut as factors of unweighted amplitudes."""
        left, right, lengths = [], [], []
        for k, (here, (vectors, rest, length)) in enumerate(zip(self._frequencies, cut.parts, strict=True)):
            whole = here.left
            if whole is None:
                whole = np.linalg.qr(np.asarray(self._fields[:, :, k], complex))[0]
            inside = np.arange(here.size)[:, None] < length
            left.append(np.asarray((whole @ vectors) * inside / self._common[k], np.complex64))
            right.append(np.asarray(rest, np.complex64))
            lengths.append(np.asarray(length, np.int64))
        gamma = [
            np.asarray(turn.T / np.repeat((1.0, ratio), self._half), np.float32)
            for turn, ratio in zip(cut.gamma, self._ratio, strict=True)
        ]
        error, miss = np.sqrt((cut.lost + self._missed) / self._size), np.sqrt(self._missed / self._size)
        return Compressed(Factors(left, right, gamma, self._band, lengths), float(error), float(miss))


@dataclass
class _Cut:
    """Factors that stay: bases of Gamma, and of each frequency the coefficients of the left ones and the right ones."""

    gamma: list[Array]
    parts: list[_Part]
    lost: float
    numbers: int


def _mean_ratio(gains: Array, energy: Array) -> float:
    """Mean ratio of the gains of r to those of u in a band, where the energy is."""
    return float(np.exp(np.average(np.log(gains[1] / gains[0]), weights=energy + 1e-9 * energy.max() + 1e-300)))
