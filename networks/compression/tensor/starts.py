"""Where the alternating minimisation of coupled trains begins.

"tt-svd" is that of [B] Algorithm 1: the shared part from the mean of the tensors (with the reference, where there is
one), the own parts from what it leaves. "subspaces" takes for the shared part the directions that the dominant
subspaces of all tensors have most in common, which is exact for coupled tensors that have the given ranks, where these
add up to less than the depths. "best" sweeps a few times from both and goes on with the lower one: on spectra that
fall fast "subspaces" ends up to a tenth lower, on flat ones "tt-svd" a little.
"""

import torch
from torch import Tensor

from networks.compression.tensor.alternating import Sharing, State, best_cores
from networks.compression.tensor.tensors import Train, principal, projected, tt_product

STARTS = ("best", "tt-svd", "subspaces", "random")
Pair = tuple[int, int]


def starts(problem: Sharing, shared: Pair, own: list[Pair], start: str, seed: int) -> list[State]:
    """The starts to try for parts of these ranks, (0, 0) for none.

    Raises:
        ValueError: an unknown start.
    """
    if start not in STARTS:
        raise ValueError(f"start must be one of {', '.join(STARTS)}, got {start!r}")
    if start == "random":
        return [_random(problem, shared, own, seed)]
    if start == "tt-svd" or shared == (0, 0) or (0, 0) in own:
        return [_tt_svd(problem, shared, own)]
    common = _stacked_subspaces if problem.stacked else _subspaces
    return [common(problem, shared, own)] + ([_tt_svd(problem, shared, own)] if start == "best" else [])


def _tt_svd(problem: Sharing, shared: Pair, own: list[Pair]) -> State:
    common = _truncated(problem.gather(problem.tensors), shared)
    rests = problem.tensors
    if common is not None:
        pieces = problem.spread(common.tensor())
        rests = [tensor - piece for tensor, piece in zip(problem.tensors, pieces, strict=True)]
    return State(problem, common, [_truncated(rest, ranks) for rest, ranks in zip(rests, own, strict=True)])


def _truncated(tensor: Tensor, ranks: Pair) -> Train | None:
    """TT-SVD with orthonormal outer factors, by Gram matrices."""
    if ranks == (0, 0):
        return None
    first = principal(tensor.reshape(tensor.shape[0], -1), ranks[0])
    last = principal(tt_product(first.T, tensor).reshape(-1, tensor.shape[2]).T, ranks[1]).T
    return projected(tensor, first, last)


def _stacked_subspaces(problem: Sharing, shared: Pair, own: list[Pair]) -> State:
    """As `_subspaces` where the first factors differ: the rows (F, L2) in common take their place."""
    taps, columns = problem.tensors[0].shape[1:]
    wide = [tensor.reshape(tensor.shape[0], -1) for tensor in problem.tensors]
    tall = [tensor.reshape(-1, columns).T for tensor in problem.tensors]
    spaces = []
    for matrix, ranks in zip(wide, own, strict=True):
        left = principal(matrix, min(shared[0] + ranks[0], matrix.shape[0]))
        spaces.append(torch.linalg.qr(matrix.T @ left)[0])
    rows = torch.linalg.svd(torch.cat(spaces, dim=1), full_matrices=False)[0][:, : shared[0]]
    last = principal(rows.T.reshape(-1, columns).T, shared[1])
    outer: list[tuple[Tensor, Tensor] | None] = []
    for across, along, ranks in zip(wide, tall, own, strict=True):
        first = principal(across - (across @ rows) @ rows.T, ranks[0])
        beyond = along - last @ (last.T @ along)
        outer.append((first, principal(beyond, ranks[1])))
    return _with_cores(problem, (principal(torch.cat(wide) @ rows, shared[0]), last), outer)


def _subspaces(problem: Sharing, shared: Pair, own: list[Pair]) -> State:
    rows, taps, columns = problem.tensors[0].shape
    wide = [tensor.reshape(rows, -1) for tensor in problem.tensors]
    tall = [tensor.reshape(-1, columns).T for tensor in problem.tensors]
    first = _common(wide, [shared[0] + ranks[0] for ranks in own], shared[0])
    last = _common(tall, [shared[1] + ranks[1] for ranks in own], shared[1])
    outer: list[tuple[Tensor, Tensor] | None] = []
    for across, along, ranks in zip(wide, tall, own, strict=True):
        beyond_first = (across - first @ (first.T @ across)).reshape(-1, columns).T
        beyond_last = (along - last @ (last.T @ along)).T.reshape(rows, -1)
        outer.append((principal(beyond_last, ranks[0]), principal(beyond_first, ranks[1])))
    return _with_cores(problem, (first, last), outer)


def _common(matrices: list[Tensor], ranks: list[int], number: int) -> Tensor:
    """The `number` directions that the leading left singular spaces of these ranks have most in common."""
    spaces = [principal(matrix, min(rank, matrix.shape[0])) for matrix, rank in zip(matrices, ranks, strict=True)]
    return principal(torch.cat(spaces, dim=1), number)


def _random(problem: Sharing, shared: Pair, own: list[Pair], seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)

    def outer(shape: torch.Size, ranks: Pair) -> tuple[Tensor, Tensor] | None:
        if ranks == (0, 0):
            return None
        noise = (torch.randn(shape[2 * i], ranks[i], generator=generator, dtype=torch.float64) for i in (0, 1))
        first, last = (torch.linalg.qr(matrix.to(problem.tensors[0].device))[0] for matrix in noise)
        return first, last

    common = outer(problem.gather(problem.tensors).shape, shared)
    return _with_cores(problem, common, [outer(w.shape, ranks) for w, ranks in zip(problem.tensors, own, strict=True)])


def _with_cores(
    problem: Sharing, shared: tuple[Tensor, Tensor] | None, own: list[tuple[Tensor, Tensor] | None]
) -> State:
    """The parts with these outer factors, (L1, r1) and (L2, r2) with orthonormal columns, and the best cores."""
    parts = [
        None if outer is None else projected(tensor, outer[0], outer[1].T)
        for tensor, outer in zip(problem.tensors, own, strict=True)
    ]
    if shared is None:
        return State(problem, None, parts)
    rests = [w if part is None else w - part.tensor() for w, part in zip(problem.tensors, parts, strict=True)]
    whole = problem.gather(rests)
    common = projected(whole, shared[0], shared[1].T)
    seen = [torch.zeros_like(tensor) for tensor in problem.tensors]
    return State(problem, *best_cores(problem, common, parts, seen, iterations=50))
