"""Ranks for a number of weights: which layer keeps how much, by what each weight more would gain.

Every unit has a curve of candidates: ranks, the weights they cost, and the squared error they leave, from singular
values alone. A price per weight picks one candidate of each; the price is raised until the model is small enough, and
what is left of the budget goes to the steps that gain most. So all layers end at the same gain per weight, the two
ranks of a train and the ranks of shared and own part included. A layer whose factors would save nothing stays dense.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from networks.compression.choice.ranks import Pair, Ranks, Unit, count, largest_own
from networks.compression.tensor.tensors import max_ranks, tt_product

NUM_SHARED = 12
"""Shared ranks of a group that are tried."""


@dataclass(frozen=True)
class Candidate:
    """One way to keep a unit.

    Attributes:
        ranks: None leaves it dense.
        size: weights it stores.
        error: squared error it leaves, relative to the unit's squared norm; an estimate.
    """

    ranks: Ranks | None
    size: int
    error: float


def candidates(method: str, unit: Unit, tensors: Sequence[Tensor]) -> list[Candidate]:
    """Ways to keep a unit in less than its dense weights.

    Args:
        method: one of `ranks.METHODS`.
        unit: the layers.
        tensors: their folded weights, weighted or not.
    """
    total = sum(float(t.double().square().sum()) for t in tensors)
    if method == "svd":
        tried = _of_one_rank(method, unit, [_tail(_matrix(unit, tensors[0]))])
    elif method == "cp":
        tried = _of_one_rank(method, unit, list(_tails(tensors)))
    elif unit.shared:
        tried = _of_group(method, unit, tensors)
    else:
        pairs = _of_train(unit.shapes[0].folded, _errors(tensors))
        tried = [Candidate(r := Ranks((pair,)), count(method, unit, r), error) for pair, error in pairs]
    return [Candidate(c.ranks, c.size, c.error / (total or 1.0)) for c in tried if c.size < unit.numel]


def front(tried: Sequence[Candidate], unit: Unit, share: float | None = None) -> list[Candidate]:
    """Candidates by growing size and falling error, none worse in both than another; the dense one last.

    Args:
        tried: of `candidates`.
        unit: the layers.
        share: of a group, the shared rank as a multiple of the own one; None leaves it open.
    """
    if unit.shared and share is not None:
        tried = [c for c in tried if c.ranks is not None and _near(c.ranks, share)]
    return _front([*tried, Candidate(None, unit.numel, 0.0)])


def choose(curves: Sequence[Sequence[Candidate]], budget: int, weights: Sequence[float]) -> list[Candidate] | None:
    """One candidate of each curve, of least weighted loss within a number of stored weights.

    Args:
        curves: of `candidates`.
        budget: numbers that may be stored.
        weights: of the units' errors.

    Returns:
        The choice; None where the smallest candidates together exceed the budget.
    """
    if sum(curve[0].size for curve in curves) > budget:
        return None
    hulls = [_hull(curve, weight) for curve, weight in zip(curves, weights, strict=True)]
    low, high = -60.0, 60.0  # logarithms of the price of a weight
    for _ in range(60):
        middle = 0.5 * (low + high)
        size = sum(curve[_cheapest(hull, math.exp(middle))].size for curve, hull in zip(curves, hulls, strict=True))
        low, high = (low, middle) if size <= budget else (middle, high)
    chosen = [_cheapest(hull, math.exp(high)) for hull in hulls]
    return [curve[number] for curve, number in zip(curves, _filled(curves, chosen, budget, weights), strict=True)]


def _filled(
    curves: Sequence[Sequence[Candidate]], chosen: list[int], budget: int, weights: Sequence[float]
) -> list[int]:
    """Spend what is left of the budget, each time on the step that gains most per weight."""
    left = budget - sum(curve[number].size for curve, number in zip(curves, chosen, strict=True))
    while True:
        best, step = 0.0, None
        for unit, (curve, weight) in enumerate(zip(curves, weights, strict=True)):
            now = curve[chosen[unit]]
            for number in range(chosen[unit] + 1, len(curve)):
                more = curve[number].size - now.size
                if more > left:
                    break
                gain = (weight * (loss(now.error) - loss(curve[number].error)) + 1e-300) / max(more, 1)
                if gain > best:
                    best, step = gain, (unit, number)
        if step is None:
            return chosen
        unit, number = step
        left -= curves[unit][number].size - curves[unit][chosen[unit]].size
        chosen[unit] = number


def loss(error: float) -> float:
    """Loss of a squared relative error: minus the logarithm of the share that is left of the weight."""
    return -math.log(max(1.0 - error, 1e-6))


def _hull(curve: Sequence[Candidate], weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and weighted losses of a curve."""
    return np.array([c.size for c in curve], float), weight * np.array([loss(c.error) for c in curve])


def _cheapest(hull: tuple[np.ndarray, np.ndarray], price: float) -> int:
    """Which candidate costs least, error and size together; the smaller of equals."""
    sizes, errors = hull
    return int(np.argmin(errors + price * sizes))


def _front(tried: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that no other beats in both size and error."""
    best: list[Candidate] = []
    for candidate in sorted(tried, key=lambda c: (c.size, c.error)):
        if not best or candidate.error < best[-1].error or (candidate.ranks is None and candidate.size > best[-1].size):
            best.append(candidate)
    return best


def _tail(matrix: Tensor) -> np.ndarray:
    """Squared error of the best approximation of each rank 0, 1, .. of a matrix, by its Gram matrix."""
    matrix = matrix.double()
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    values = torch.linalg.eigvalsh(gram).clamp(min=0.0).cpu().numpy()  # ascending
    return np.concatenate((np.cumsum(values)[::-1], [0.0]))


def _tails(tensors: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Tails of first and last mode, summed over tensors of one shape."""
    rows = [_tail(t.reshape(t.shape[0], -1)) for t in tensors]
    columns = [_tail(t.reshape(-1, t.shape[2])) for t in tensors]
    return _sum(rows), _sum(columns)


def _sum(tails: Sequence[np.ndarray]) -> np.ndarray:
    """Sum of tails, the shorter ones ending in zeros."""
    total = np.zeros(max(len(tail) for tail in tails))
    for tail in tails:
        total[: len(tail)] += tail
    return total


def _matrix(unit: Unit, tensor: Tensor) -> Tensor:
    """The matrix (L1 F1, F2 L2) that an SVD splits."""
    kernel = unit.shapes[0].kernel
    rows = tensor.shape[0] * (kernel[0] if unit.modules[0].weight.ndim > 2 else 1)  # type: ignore[union-attr,operator]
    return tensor.reshape(rows, -1)


def _of_one_rank(method: str, unit: Unit, tails: Sequence[np.ndarray]) -> list[Candidate]:
    """Candidates of methods with one rank.

    Of CP no singular values tell the error: those of the first and last mode stand in, drawn out over its ranks.
    """
    largest = largest_own(method, unit, 0)[0]
    tried = []
    for rank in range(1, largest + 1):
        ranks = Ranks(((rank, rank),))
        size = count(method, unit, ranks)
        if size >= unit.numel:
            break
        part = rank / largest
        error = sum(float(np.interp(part * (len(tail) - 1), np.arange(len(tail)), tail)) for tail in tails)
        tried.append(Candidate(ranks, size, error))
    return tried


def _errors(tensors: Sequence[Tensor]) -> np.ndarray:
    """Squared errors (r1, r2), from 0, of the truncated higher-order SVDs of tensors of one shape, summed.

    Exact: in the bases of its own singular vectors a tensor keeps the energy of its leading block.
    """
    total: np.ndarray | float = 0.0
    for tensor in tensors:
        first, last = _basis(tensor.reshape(len(tensor), -1)), _basis(tensor.reshape(-1, tensor.shape[2]).T)
        core = tt_product(tt_product(first.T, tensor.double()), last)
        energy = core.square().sum(1).cumsum(0).cumsum(1).cpu().numpy()
        total = total + np.pad(energy[-1, -1] - energy, ((1, 0), (1, 0)), constant_values=energy[-1, -1]).clip(min=0.0)
    return np.asarray(total)


def _basis(matrix: Tensor) -> Tensor:
    """All left singular vectors, the leading ones first."""
    matrix = matrix.double()
    return torch.linalg.eigh(matrix @ matrix.T)[1].flip(1)


def _of_train(shape: Sequence[int], errors: np.ndarray) -> list[tuple[Pair, float]]:
    """Ranks (r1, r2) of a train with their errors, those that none of less weights and error beats."""
    first, taps, last = shape
    largest = max_ranks(shape)
    if taps == 1:
        return [((r, r), float(errors[r, r])) for r in range(1, min(largest) + 1)]
    r1, r2 = np.meshgrid(np.arange(1, largest[0] + 1), np.arange(1, largest[1] + 1), indexing="ij")
    sizes = (first * r1 + taps * r1 * r2 + r2 * last).ravel()
    tried = errors[1 : largest[0] + 1, 1 : largest[1] + 1].ravel()
    possible = ((r1 <= taps * r2) & (r2 <= taps * r1)).ravel()  # more would be waste
    order = np.lexsort((tried, sizes))
    order = order[possible[order]]
    best = np.minimum.accumulate(tried[order])
    new = np.concatenate(([True], best[1:] < best[:-1]))
    return [((int(r1.ravel()[i]), int(r2.ravel()[i])), float(tried[i])) for i in order[new]]


def _of_group(method: str, unit: Unit, tensors: Sequence[Tensor]) -> list[Candidate]:
    """Candidates of a group: some shared trains, the best for what is common, and what they leave to the own ones."""
    axis = {"equal": None, "input": 0, "output": 2}[unit.group.kind]
    work = [t.double() for t in tensors]
    joined = torch.stack(work).mean(0) if axis is None else torch.cat(work, axis)
    depths = [t.shape[axis] for t in work] if axis is not None else []
    small = min(range(len(work)), key=lambda member: unit.shapes[member].numel)
    first, last = _basis(joined.reshape(len(joined), -1)), _basis(joined.reshape(-1, joined.shape[2]).T)
    tried = []
    for shared in _shared_pairs(joined):
        rest = work
        if shared != (0, 0):
            left, right = first[:, : shared[0]], last[:, : shared[1]]
            part = tt_product(left, tt_product(tt_product(left.T, joined), right)) @ right.T
            parts = [part] * len(work) if axis is None else list(part.split(depths, axis))
            rest = [t - p for t, p in zip(work, parts, strict=True)]
            ranks = Ranks(((0, 0),) * len(work), shared)
            tried.append(Candidate(ranks, count(method, unit, ranks), sum(float(t.square().sum()) for t in rest)))
        for own, error in _of_train(unit.shapes[small].folded, _joint_errors(rest)):
            ranks = Ranks((own,) * len(work), shared)
            tried.append(Candidate(ranks, count(method, unit, ranks), error))
    return tried


def _joint_errors(tensors: Sequence[Tensor]) -> np.ndarray:
    """As `_errors`, of tensors of several shapes, for the ranks that all of them can have."""
    tables = [_errors([tensor]) for tensor in tensors]
    rows, columns = (min(table.shape[axis] for table in tables) for axis in (0, 1))
    return np.sum([table[:rows, :columns] for table in tables], axis=0)


def _near(ranks: Ranks, share: float) -> bool:
    """True where the shared ranks are about so many times the own ones."""
    shared, own = sum(ranks.shared), sum(ranks.own[0])
    if share == 0.0 or shared == 0 or own == 0:
        return share == 0.0 and shared == 0
    return abs(math.log(shared / own / share)) <= 0.5 * math.log(2.0) + 1e-9


def _shared_pairs(joined: Tensor) -> list[Pair]:
    """Shared ranks to try: none, and pairs that serve the joined tensor best at sizes in geometric steps."""
    options = _of_train(joined.shape, _errors([joined]))
    sums = [sum(pair) for pair, _ in options]
    pairs: list[Pair] = [(0, 0)]
    for wanted in np.geomspace(2, max(sums), NUM_SHARED):
        near = [option for option, size in zip(options, sums, strict=True) if abs(size - wanted) <= 1 + 0.1 * wanted]
        if near:
            pairs.append(min(near, key=lambda option: (abs(sum(option[0]) - wanted), option[1]))[0])
    return list(dict.fromkeys(pairs))
