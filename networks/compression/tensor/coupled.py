"""Coupled and partly coupled tensor trains: several tensors with one shared part and a part of their own each.

The minimisation is in networks.compression.tensor.alternating. Computed in float64, given back in the input's dtype.

Source: [B] section IV: Algorithm 1 (eq. 9-17) and Algorithm 2 (eq. 21-26).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from networks.compression.tensor.alternating import Sharing, alternate
from networks.compression.tensor.starts import starts
from networks.compression.tensor.tensors import Ranks, Train, checked_ranks

_TRIAL_SWEEPS = 3  # from each of two starts, before the lower one goes on


@dataclass(frozen=True)
class Minimisation:
    """Settings of the alternating minimisation of coupled tensors.

    Attributes:
        start: "best", "tt-svd", "subspaces" or "random", see `networks.compression.tensor.starts`.
        seed: of the random start.
        sweeps: at most this many.
        tolerance: stops when a sweep lowers the objective by less than this part of it.
    """

    start: str = "best"
    seed: int = 0
    sweeps: int = 100
    tolerance: float = 1e-5


@dataclass(frozen=True)
class Coupled:
    """Tensors W_n = shared_n + own_n ([B] eq. 7 and 21).

    Attributes:
        shared: first, core and last factor of the shared trains; first or last is None where each tensor has its own,
            core where F = 1. None where the rank is 0.
        outer: P_n, (L1_n, r1) or (r2, L2_n), the factor that each tensor has to itself; None where there is none.
        own: own_n; None where the rank is 0.
        objective: eq. 9 or 22, at the start and after each sweep.
    """

    shared: tuple[Tensor | None, Tensor | None, Tensor | None] | None
    outer: tuple[Tensor, ...] | None
    own: tuple[Train | None, ...]
    objective: tuple[float, ...]

    def shared_train(self, n: int) -> Train | None:
        """The train of which W_n shares all factors, or two."""
        if self.shared is None:
            return None
        first, core, last = self.shared
        if self.outer is not None:
            first, last = (self.outer[n] if factor is None else factor for factor in (first, last))
        return Train(cast(Tensor, first), core, cast(Tensor, last))

    def tensors(self) -> tuple[Tensor, ...]:
        """The approximations of W_n."""
        return tuple(_sum(self.shared_train(n), own) for n, own in enumerate(self.own))


def coupled_tt(
    tensors: Sequence[Tensor],
    shared_ranks: Ranks,
    own_ranks: Ranks | Sequence[Ranks],
    *,
    reference: Tensor | None = None,
    alpha: float = 0.0,
    minimisation: Minimisation = Minimisation(),
) -> Coupled:
    """Coupled TT of tensors of one shape ([B] Algorithm 1).

    Args:
        tensors: W_n, each (L1, F, L2).
        shared_ranks, own_ranks: (r1, r2) of the parts; 0 for none. own_ranks may be a list, one pair a tensor.
        reference: W_m, the weights trained as one set for all; needed where alpha > 0.
        alpha: weight of the shared part's distance to W_m ([B] eq. 14).
        minimisation: its start, and when it stops.

    Raises:
        ValueError: unequal shapes, ranks out of range or both 0, alpha without a reference, an unknown start.
    """
    work = _checked(tensors)
    shape = work[0].shape
    if any(tensor.shape != shape for tensor in work):
        shapes = [tuple(tensor.shape) for tensor in work]
        raise ValueError(f"coupled tensors have one shape, got {shapes}: partly_coupled_tt takes unequal depths")
    if alpha < 0 or (alpha > 0 and (reference is None or reference.shape != shape)):
        raise ValueError(f"alpha = {alpha} needs to be >= 0, and where > 0 a reference of shape {tuple(shape)}")
    target = None if reference is None or alpha == 0 else reference.detach().double()

    problem = Sharing(work, reference=target, alpha=alpha)
    shared, own, objective = _decomposed(problem, shared_ranks, own_ranks, minimisation)
    dtype = tensors[0].dtype
    parts = tuple(_cast(part, dtype) for part in own)
    if shared is None:
        return Coupled(None, None, parts, objective)
    shared = shared.to(dtype)
    return Coupled((shared.first, shared.core, shared.last), None, parts, objective)


def partly_coupled_tt(
    tensors: Sequence[Tensor],
    shared_ranks: Ranks,
    own_ranks: Ranks | Sequence[Ranks],
    *,
    along: str,
    minimisation: Minimisation = Minimisation(),
) -> Coupled:
    """Partly coupled TT of tensors that differ in one depth only ([B] Algorithm 2).

    Args:
        tensors: W_n, each (L1_n, F, L2) for along = "in", (L1, F, L2_n) for along = "out".
        shared_ranks, own_ranks: (r1, r2) of the parts; 0 for none. own_ranks may be a list, one pair a tensor.
        along: the depth that differs, "in" or "out".
        minimisation: its start, and when it stops.

    Raises:
        ValueError: shapes that differ elsewhere, ranks out of range, another `along`.
    """
    if along not in ("in", "out"):
        raise ValueError(f'along must be "in" or "out", got {along!r}')
    work = _checked(tensors)
    if along == "out":
        work = [tensor.permute(2, 1, 0).contiguous() for tensor in work]
        shared_ranks, own_ranks = _reversed(shared_ranks), [_reversed(pair) for pair in _each(own_ranks, len(work))]
    if any(tensor.shape[1:] != work[0].shape[1:] for tensor in work):
        shapes = [tuple(tensor.shape) for tensor in tensors]
        raise ValueError(f"tensors coupled along {along!r} differ in that depth only, got {shapes}: group others apart")
    depths = [tensor.shape[0] for tensor in work]
    problem = Sharing(work, stacked=True)
    shared, own, objective = _decomposed(problem, shared_ranks, own_ranks, minimisation)
    dtype = tensors[0].dtype
    parts = tuple(_cast(part if part is None or along == "in" else _flipped(part), dtype) for part in own)
    if shared is None:
        return Coupled(None, None, parts, objective)
    outer = tuple(piece.to(dtype).clone() for piece in shared.first.split(depths))
    if along == "in":
        shared = shared.to(dtype)
        return Coupled((None, shared.core, shared.last), outer, parts, objective)
    shared = _flipped(shared).to(dtype)
    return Coupled((shared.first, shared.core, None), tuple(p.T.contiguous() for p in outer), parts, objective)


def _decomposed(
    problem: Sharing,
    shared_ranks: Ranks,
    own_ranks: Ranks | Sequence[Ranks],
    minimisation: Minimisation,
) -> tuple[Train | None, list[Train | None], tuple[float, ...]]:
    """Start, alternate, and give the parts back as trains: (shared, own, objective)."""
    whole = problem.gather(problem.tensors)
    shared = checked_ranks(shared_ranks, whole.shape, zero=True)
    each_ranks = _each(own_ranks, len(problem.tensors))
    pairs = [checked_ranks(pair, w.shape, zero=True) for pair, w in zip(each_ranks, problem.tensors, strict=True)]
    if shared == (0, 0) and (0, 0) in pairs:
        raise ValueError("shared_ranks and own_ranks are both 0, so nothing would be left: give one of them a rank")
    sweeps, tolerance = minimisation.sweeps, minimisation.tolerance
    tried = starts(problem, shared, pairs, minimisation.start, minimisation.seed)
    few = min(_TRIAL_SWEEPS, sweeps) if len(tried) > 1 else 0
    state, begun = min((alternate(each, few, tolerance) for each in tried), key=lambda run: run[0].value)
    state, rest = alternate(state, sweeps - few, tolerance)
    objective = begun + rest[1:]
    return _plain(state.shared), [_plain(part) for part in state.own], objective


def _plain(train: Train | None) -> Train | None:
    """The train with its core absorbed where F = 1."""
    if train is None or train.core is None or train.core.shape[1] > 1:
        return train
    u, s, vh = torch.linalg.svd(train.core[:, 0])
    return Train(train.first @ (u * s.sqrt()), None, s.sqrt()[:, None] * (vh @ train.last))


def _checked(tensors: Sequence[Tensor]) -> list[Tensor]:
    if len(tensors) < 2:
        raise ValueError(f"coupling needs at least two tensors, got {len(tensors)}: use tt_svd for one")
    if any(tensor.dim() != 3 for tensor in tensors):
        raise ValueError("a folded weight has three axes (L1, F, L2): fold the weights first")
    return [tensor.detach().double() for tensor in tensors]


def _each(ranks: Ranks | Sequence[Ranks], number: int) -> list[Ranks]:
    """One pair of ranks a tensor."""
    if not isinstance(ranks, list):
        return [cast(Ranks, ranks)] * number
    if len(ranks) != number:
        raise ValueError(f"own_ranks must be one pair or one for each of the {number} tensors, got {len(ranks)} pairs")
    return ranks


def _reversed(ranks: Ranks) -> Ranks:
    return ranks if isinstance(ranks, int) else tuple(ranks)[::-1]


def _flipped(train: Train) -> Train:
    """The train of the tensor with its first and last axis exchanged."""
    core = None if train.core is None else train.core.permute(2, 1, 0).contiguous()
    return Train(train.last.T.contiguous(), core, train.first.T.contiguous())


def _cast(train: Train | None, dtype: torch.dtype) -> Train | None:
    return None if train is None else train.to(dtype)


def _sum(shared: Train | None, own: Train | None) -> Tensor:
    parts = [part.tensor() for part in (shared, own) if part is not None]
    if not parts:
        raise ValueError("both ranks are 0, so nothing is left: give one of the parts a rank")
    return sum(parts[1:], parts[0])
