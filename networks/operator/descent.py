"""Least squares by Levenberg and Marquardt's method, damped by the gain ratio.

Sources: Marquardt, SIAM J. Appl. Math. 11 (1963), steps scaled by the diagonal; Nielsen, *Damping parameter in
Marquardt's method* (1999), eq. 2.4, for the damping after a step.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

TRIALS = 12
"""Steps that are tried before a place is taken for the lowest that rounding shows; damping rises by 2, 4, 8, ..."""
CALMER = 1 / 3
"""Smallest factor of the damping after a step that went as foreseen."""


class LeastSquares(Protocol):
    """A sum of squares that depends on a few numbers."""

    def evaluate(self, numbers: Tensor) -> float:
        """Go to these numbers, (number,) in double precision; the cost there."""
        ...

    def equations(self) -> tuple[Tensor, Tensor]:
        """Normal matrix (number, number), and half the downward slope of the cost (number,), at the last place."""
        ...


@dataclass(frozen=True)
class Place:
    """A place on the way down.

    Attributes:
        numbers: (number,) in double precision.
        cost: of these numbers.
        damping: of the next step.
    """

    numbers: Tensor
    cost: float
    damping: float


@dataclass(frozen=True)
class Advance:
    """One iteration.

    Attributes:
        place: the next place, or the same where no step leads down.
        promised: fall of the cost, relative, that the linear model promises from the place before.
        moved: True where the cost fell.
    """

    place: Place
    promised: float
    moved: bool


def advance(problem: LeastSquares, place: Place, enough: float) -> Advance:
    """One iteration from a place that was evaluated last; none where less than enough is promised.

    Where no step leads down, the problem is left evaluated at the place.
    """
    normal, slope = problem.equations()
    cost, damping, rise = place.cost, place.damping, 2.0
    promised = float(slope @ _solve(normal, slope, 0.0)) / max(cost, 1e-300)
    if promised < enough:
        return Advance(place, promised, moved=False)
    for _ in range(TRIALS):
        step = _solve(normal, slope, damping)
        reached = problem.evaluate(place.numbers + step)
        if reached < cost:
            gain = (cost - reached) / float(step @ (2 * slope - normal @ step))
            damping *= max(CALMER, 1 - (2 * gain - 1) ** 3)
            return Advance(Place(place.numbers + step, reached, damping), promised, moved=True)
        damping, rise = damping * rise, 2 * rise
    problem.evaluate(place.numbers)
    return Advance(place, promised, moved=False)


def _solve(normal: Tensor, slope: Tensor, damping: float) -> Tensor:
    """The step of one damping; unknowns are scaled to equal diagonals first."""
    scale = normal.diagonal().clamp(min=1e-300).rsqrt()
    matrix = scale[:, None] * normal * scale + damping * torch.eye(len(normal), dtype=normal.dtype).to(normal.device)
    return scale * torch.linalg.solve(matrix, scale * slope)
