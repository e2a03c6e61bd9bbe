"""The alternating minimisation behind the coupled trains: own parts, shared part, then all cores together.

One sweep, every step of which is an exact minimisation over some of the factors with orthonormal bases:
1. own parts: given the shared part, the best first factor for the present last one and the reverse (what [B] eq.
   11-13 do factor by factor, here with the core eliminated);
2. shared part: the same for what the own parts leave ([B] eq. 15-17), gathered into one tensor;
3. all cores at once, given all outer factors: a linear least-squares problem, by conjugate gradients.
Step 1 sees the shared part extrapolated from the last two sweeps (Nesterov's weights); a sweep that does not lower
the objective is undone and the extrapolation starts anew.

What was compared, on tensors with a common part and spectra between flat and falling fast (2 of 64 x 9 x 64, 5 of
128 x 9 x 128, 4 of 512 x 9 x 512), one core: updating factor by factor by QR has the cheaper sweep and needs more of
them, and is ahead at equal time on flat spectra only; without the extrapolation about twice the sweeps are needed, and
without step 3 about twice as many again where two tensors share large parts. All reach nearly the same objective.

Source: [B] eq. 9-17, 22-26; De Lathauwer, De Moor, Vandewalle 2000 (orthogonal iteration); Mitchell, Ye, De Sterck
2020, "Nesterov acceleration of alternating least squares for canonical tensor decomposition" (restarts).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from networks.compression.tensor.tensors import Train, improved, projected, tt_product

_ROUND_OFF = 1e-20  # of the tensors' energy: a relative error of 1e-10, below which sweeps move by round-off only


@dataclass(frozen=True)
class Sharing:
    """Tensors W_n (L1_n, F, L2) and how the shared part enters them.

    Attributes:
        tensors: W_n in float64.
        stacked: False where the shared part is the same in every W_n ([B] eq. 7); True where it is one part of all
            W_n stacked along mode 1 ([B] eq. 21-26).
        reference, alpha: W_m and its weight in eq. 14 (not stacked only).
    """

    tensors: list[Tensor]
    stacked: bool = False
    reference: Tensor | None = None
    alpha: float = 0.0

    @property
    def weight(self) -> float:
        """The curvature of the objective in the shared part."""
        return 1 / len(self.tensors) if self.stacked else 1 + self.alpha

    def gather(self, rests: list[Tensor]) -> Tensor:
        """The tensor whose best approximation is the best shared part for these rests."""
        if self.stacked:
            return torch.cat(rests)
        mean = sum(rests[1:], rests[0]) / len(rests)
        return mean if self.reference is None else (self.alpha * self.reference + mean) / (1 + self.alpha)

    def spread(self, shared: Tensor) -> list[Tensor]:
        """The shared part, or its first factor, in each tensor."""
        depths = [tensor.shape[0] for tensor in self.tensors]
        return list(shared.split(depths)) if self.stacked else [shared] * len(depths)


@dataclass
class State:
    """The parts, as trains with orthonormal outer factors and as full tensors, and the objective."""

    problem: Sharing
    shared: Train | None
    own: list[Train | None]
    shared_full: Tensor = field(init=False)
    own_full: list[Tensor] = field(init=False)
    value: float = field(init=False)

    def __post_init__(self) -> None:
        """Rebuild the full tensors, and the objective of [B] eq. 9 (lambda = 1) or 22 from them."""
        tensors = self.problem.tensors
        zero = tensors[0].new_zeros(())
        whole = self.problem.gather(tensors)
        self.shared_full = zero.expand(whole.shape) if self.shared is None else self.shared.tensor()
        self.own_full = [zero if part is None else part.tensor() for part in self.own]
        pieces = self.problem.spread(self.shared_full)
        errors = [(w - s - o).square().sum() for w, s, o in zip(tensors, pieces, self.own_full, strict=True)]
        self.value = sum(error.item() for error in errors) / len(tensors)
        if self.problem.reference is not None:
            distance = (self.problem.reference - self.shared_full).square().sum().item()
            self.value += self.problem.alpha * distance


def alternate(state: State, sweeps: int, tolerance: float) -> tuple[State, tuple[float, ...]]:
    """Sweep from a start until a sweep lowers the objective by less than `tolerance` of it.

    Returns:
        The last state, and the objective of the start and after each sweep that was kept: never increasing.
    """
    floor = _ROUND_OFF * sum(tensor.square().sum().item() for tensor in state.problem.tensors)
    objective, previous, momentum = [state.value], state, 1.0
    for _ in range(sweeps):
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        weight = (momentum - 1) / following
        candidate = _sweep(state, previous, weight)
        if candidate.value > state.value:
            if weight == 0:
                break
            momentum = 1.0
            continue
        previous, state, momentum = state, candidate, following
        objective.append(state.value)
        if objective[-2] - state.value <= tolerance * objective[-2] or state.value <= floor:
            break
    return state, tuple(objective)


def _sweep(state: State, previous: State, weight: float) -> State:
    problem = state.problem
    expected = state.shared_full
    if weight > 0:
        expected = expected + weight * (expected - previous.shared_full)
    pieces = problem.spread(expected)
    rests = [tensor - piece for tensor, piece in zip(problem.tensors, pieces, strict=True)]
    own = [None if part is None else improved(rest, part) for rest, part in zip(rests, state.own, strict=True)]
    if state.shared is None:
        return State(problem, None, own)
    rests = [w if part is None else w - part.tensor() for w, part in zip(problem.tensors, own, strict=True)]
    shared = improved(problem.gather(rests), state.shared)
    shared, own = best_cores(problem, shared, own, pieces)
    return State(problem, shared, own)


def best_cores(
    problem: Sharing, shared: Train, own: list[Train | None], seen: list[Tensor], iterations: int = 12
) -> tuple[Train, list[Train | None]]:
    """The best cores of all parts together for the present outer factors.

    Args:
        problem: the tensors and their sharing.
        shared, own: parts with orthonormal outer factors; the own cores are best given `seen`, the shared core is best
            given the own parts.
        seen: the shared part in each tensor that the own cores were computed with.
        iterations: of conjugate gradients at most.
    """
    terms = []
    for part, piece, rest in zip(own, problem.spread(shared.first), seen, strict=True):
        if part is not None:
            expected = _core(projected(rest, part.first, part.last))
            terms.append((piece.T @ part.first, part.last @ shared.last.T, expected))
    core = _core(shared)

    def coupling(matter: Tensor) -> Tensor:
        images = [_between(_between(matter, x.T, y.T), x, y) for x, y, _ in terms]
        return sum(images, torch.zeros_like(core)) / len(own)

    gradient = coupling(core) - sum((_between(e, x, y) for x, y, e in terms), torch.zeros_like(core)) / len(own)
    core = core + _conjugate_gradients(lambda d: problem.weight * d - coupling(d), gradient, iterations)
    left = iter(terms)
    renewed: list[Train | None] = []
    for part in own:
        if part is not None:
            x, y, expected = next(left)
            part = Train(part.first, _core(part) + expected - _between(core, x.T, y.T), part.last)
        renewed.append(part)
    return Train(shared.first, core, shared.last), renewed


def _conjugate_gradients(apply: Callable[[Tensor], Tensor], residual: Tensor, iterations: int) -> Tensor:
    """The solution of a symmetric semidefinite system, from zero; it stops where the system is singular."""
    solution, direction = torch.zeros_like(residual), residual
    start = energy = residual.square().sum()
    for _ in range(iterations):
        image = apply(direction)
        curvature = (direction * image).sum()
        if energy <= 1e-20 * start or curvature <= 1e-14 * direction.square().sum():
            break
        step = energy / curvature
        solution = solution + step * direction
        residual = residual - step * image
        before, energy = energy, residual.square().sum()
        direction = residual + (energy / before) * direction
    return solution


def _core(train: Train) -> Tensor:
    """The core, which every train has in here, also where F = 1."""
    if train.core is None:
        raise ValueError("a train without a core cannot be alternated: give it one of shape (r, 1, r)")
    return train.core


def _between(core: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """left * core * right for a core (r1, F, r2)."""
    return tt_product(tt_product(left, core), right)
