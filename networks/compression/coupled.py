"""Coupled and partly coupled tensor trains: several tensors with one shared part and a part of their own each.

Source: [B] section IV: Algorithm 1 (eq. 9-17) and Algorithm 2 (eq. 21-26).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from networks.compression.tensors import Ranks, Train, checked_ranks, hooi_sweep, tt_svd


@dataclass(frozen=True)
class Coupled:
    """W_n = shared + own_n ([B] eq. 7); None where a rank is 0. objective: eq. 9 after each half sweep."""

    shared: Train | None
    own: tuple[Train | None, ...]
    objective: tuple[float, ...]

    def tensors(self) -> tuple[Tensor, ...]:
        """The approximations of W_n."""
        return tuple(_sum(self.shared, own) for own in self.own)


@dataclass(frozen=True)
class PartlyCoupled:
    """W_n = P_n * core * last + own_n for along = "in" ([B] eq. 21), first * core * P_n + own_n for along = "out".

    shared is (core, last) or (first, core), its core None where F = 1; outer and shared are None where the rank is 0.
    P_n is (L1_n, r1) or (r2, L2_n).
    """

    along: str
    outer: tuple[Tensor, ...] | None
    shared: tuple[Tensor | None, Tensor | None] | None
    own: tuple[Train | None, ...]
    objective: tuple[float, ...]

    def tensors(self) -> tuple[Tensor, ...]:
        """The approximations of W_n."""
        return tuple(_sum(self._branch(n), own) for n, own in enumerate(self.own))

    def _branch(self, n: int) -> Train | None:
        if self.outer is None or self.shared is None:
            return None
        first, last = (self.outer[n], self.shared[1]) if self.along == "in" else (self.shared[0], self.outer[n])
        core = self.shared[0] if self.along == "in" else self.shared[1]
        assert first is not None and last is not None
        return Train(first, core, last)


def coupled_tt(
    tensors: Sequence[Tensor],
    shared_ranks: Ranks,
    own_ranks: Ranks,
    *,
    reference: Tensor | None = None,
    alpha: float = 0.0,
    start: str = "tt-svd",
    seed: int = 0,
    sweeps: int = 200,
    tolerance: float = 1e-7,
) -> Coupled:
    """Coupled TT of tensors of one shape ([B] Algorithm 1).

    Args:
        tensors: W_n, each (L1, F, L2).
        shared_ranks, own_ranks: (r1, r2) of the parts; 0 for none.
        reference: W_m, the weights trained as one set for all; needed where alpha > 0.
        alpha: weight of the shared part's distance to W_m ([B] eq. 14).
        start: "tt-svd" or "random".
        seed: of the random start.
        sweeps: at most this many.
        tolerance: stops when a sweep lowers the objective by less than this part of it.

    Raises:
        ValueError: unequal shapes, ranks out of range, or alpha without a reference.
    """
    work = _checked(tensors)
    shape = work[0].shape
    if any(tensor.shape != shape for tensor in work):
        shapes = [tuple(tensor.shape) for tensor in work]
        raise ValueError(f"coupled tensors have one shape, got {shapes}: partly_coupled_tt takes unequal depths")
    if alpha < 0 or (alpha > 0 and (reference is None or reference.shape != shape)):
        raise ValueError(f"alpha = {alpha} needs to be >= 0, and where > 0 a reference of shape {tuple(shape)}")
    target = None if reference is None or alpha == 0 else reference.detach().double()

    def gather(residuals: list[Tensor]) -> Tensor:
        mean = torch.stack(residuals).mean(0)
        return mean if target is None else (alpha * target + mean) / (1 + alpha)

    def spread(shared: Tensor) -> list[Tensor]:
        return [shared] * len(work)

    def penalty(shared: Tensor | None) -> float:
        if target is None:
            return 0.0
        return alpha * (target if shared is None else target - shared).square().sum().item()

    ranks = checked_ranks(shared_ranks, shape, zero=True)
    shared, own, objective = _alternate(work, gather, spread, penalty, ranks, own_ranks, start, seed, sweeps, tolerance)
    dtype = tensors[0].dtype
    return Coupled(_cast(shared, dtype), tuple(_cast(part, dtype) for part in own), objective)


def partly_coupled_tt(
    tensors: Sequence[Tensor],
    shared_ranks: Ranks,
    own_ranks: Ranks,
    *,
    along: str,
    start: str = "tt-svd",
    seed: int = 0,
    sweeps: int = 200,
    tolerance: float = 1e-7,
) -> PartlyCoupled:
    """Partly coupled TT of tensors that differ in one depth only ([B] Algorithm 2).

    Args:
        tensors: W_n, each (L1_n, F, L2) for along = "in", (L1, F, L2_n) for along = "out".
        shared_ranks, own_ranks: (r1, r2) of the parts; 0 for none.
        along: the depth that differs, "in" or "out".
        start, seed, sweeps, tolerance: as in `coupled_tt`.

    Raises:
        ValueError: shapes that differ elsewhere, ranks out of range, another `along`.
    """
    if along not in ("in", "out"):
        raise ValueError(f'along must be "in" or "out", got {along!r}')
    work = _checked(tensors)
    if along == "out":
        work = [tensor.permute(2, 1, 0).contiguous() for tensor in work]
        shared_ranks, own_ranks = _reversed(shared_ranks), _reversed(own_ranks)
    if any(tensor.shape[1:] != work[0].shape[1:] for tensor in work):
        shapes = [tuple(tensor.shape) for tensor in tensors]
        raise ValueError(f"tensors coupled along {along!r} differ in that depth only, got {shapes}: group others apart")
    depths = [tensor.shape[0] for tensor in work]
    ranks = checked_ranks(shared_ranks, (sum(depths), *work[0].shape[1:]), zero=True)
    shared, own, objective = _alternate(
        work,
        lambda residuals: torch.cat(residuals),
        lambda part: list(part.split(depths)),
        lambda part: 0.0,
        ranks,
        own_ranks,
        start,
        seed,
        sweeps,
        tolerance,
    )
    dtype = tensors[0].dtype
    parts = tuple(_cast(_flipped(part) if along == "out" else part, dtype) for part in own)
    shared = _cast(shared, dtype)
    if shared is None:
        return PartlyCoupled(along, None, None, parts, objective)
    if along == "in":
        return PartlyCoupled(along, tuple(shared.first.split(depths)), (shared.core, shared.last), parts, objective)
    outer = tuple(piece.T.contiguous() for piece in shared.first.split(depths))
    shared = _flipped(shared)
    assert shared is not None
    return PartlyCoupled(along, outer, (shared.first, shared.core), parts, objective)


def _alternate(
    work: list[Tensor],
    gather: Callable[[list[Tensor]], Tensor],
    spread: Callable[[Tensor], list[Tensor]],
    penalty: Callable[[Tensor | None], float],
    shared_ranks: tuple[int, int],
    own_ranks: Ranks,
    start: str,
    seed: int,
    sweeps: int,
    tolerance: float,
) -> tuple[Train | None, list[Train | None], tuple[float, ...]]:
    pairs = [checked_ranks(own_ranks, tensor.shape, zero=True) for tensor in work]
    generator = torch.Generator().manual_seed(seed)
    shared = _started(gather(work), shared_ranks, start, generator)
    own = [_started(r, pair, start, generator) for r, pair in zip(_less(work, shared, spread), pairs, strict=True)]
    objective = [_objective(work, shared, own, spread, penalty)]
    for _ in range(sweeps):
        before = objective[-1]
        rests = _less(work, shared, spread)
        own = [None if part is None else hooi_sweep(r, part) for r, part in zip(rests, own, strict=True)]
        objective.append(_objective(work, shared, own, spread, penalty))
        if shared is not None:
            rests = [w if part is None else w - part.tensor() for w, part in zip(work, own, strict=True)]
            shared = hooi_sweep(gather(rests), shared)
            objective.append(_objective(work, shared, own, spread, penalty))
        if before - objective[-1] <= tolerance * before:
            break
    return shared, own, tuple(objective)


def _objective(
    work: list[Tensor],
    shared: Train | None,
    own: list[Train | None],
    spread: Callable[[Tensor], list[Tensor]],
    penalty: Callable[[Tensor | None], float],
) -> float:
    rests = _less(work, shared, spread)
    total = sum((r if p is None else r - p.tensor()).square().sum().item() for r, p in zip(rests, own, strict=True))
    return penalty(None if shared is None else shared.tensor()) + total / len(work)


def _less(work: list[Tensor], shared: Train | None, spread: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
    if shared is None:
        return work
    return [tensor - part for tensor, part in zip(work, spread(shared.tensor()), strict=True)]


def _started(tensor: Tensor, ranks: tuple[int, int], start: str, generator: torch.Generator) -> Train | None:
    if ranks == (0, 0):
        return None
    if start == "tt-svd":
        return tt_svd(tensor, ranks)
    if start != "random":
        raise ValueError(f'start must be "tt-svd" or "random", got {start!r}')
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
    return tt_svd(noise * (tensor.norm() / noise.norm()), ranks)


def _checked(tensors: Sequence[Tensor]) -> list[Tensor]:
    if len(tensors) < 2:
        raise ValueError(f"coupling needs at least two tensors, got {len(tensors)}: use tt_svd for one")
    if any(tensor.dim() != 3 for tensor in tensors):
        raise ValueError("a folded weight has three axes (L1, F, L2): fold the weights first")
    return [tensor.detach().double() for tensor in tensors]


def _reversed(ranks: Ranks) -> Ranks:
    return ranks if isinstance(ranks, int) else tuple(ranks)[::-1]


def _flipped(train: Train | None) -> Train | None:
    if train is None:
        return None
    core = None if train.core is None else train.core.permute(2, 1, 0).contiguous()
    return Train(train.last.T.contiguous(), core, train.first.T.contiguous())


def _cast(train: Train | None, dtype: torch.dtype) -> Train | None:
    return None if train is None else train.to(dtype)


def _sum(shared: Train | None, own: Train | None) -> Tensor:
    parts = [part.tensor() for part in (shared, own) if part is not None]
    if not parts:
        raise ValueError("both ranks are 0, so nothing is left: give one of the parts a rank")
    return sum(parts[1:], parts[0])
