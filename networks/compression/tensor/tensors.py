"""Folding of weights into three-way tensors, and the decompositions of one tensor: TT, Tucker-2, CP, SVD.

A convolution's weight (L2, L1, *k) folds into W (L1, F, L2), F = prod(k) with the last axis of k fastest; a TT of W
is W = G1 * G2 * G3 with G1 (L1, r1), G2 (r1, F, r2), G3 (r2, L2), and is the Tucker-2 form as well ([B] below eq. 4).
Where F = 1 the core is absorbed: two factors, and r1 = r2. Everything is computed in float64 and given back in the
dtype of the input.

Source: Sun, Chen, Huang, So, Xie, "Deep convolutional neural network compression via coupled tensor decomposition",
[B] section II.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Ranks = int | Sequence[int]


def fold(weight: Tensor) -> Tensor:
    """Fold a weight (L2, L1, *k) into W (L1, F, L2) ([B] above eq. 3); a Linear's (L2, L1) into (L1, 1, L2)."""
    if weight.dim() < 2:
        raise ValueError(f"a weight has at least two axes (out, in), got shape {tuple(weight.shape)}: pass the weight")
    return weight.reshape(*weight.shape[:2], -1).permute(1, 2, 0).contiguous()


def unfold(tensor: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """Undo `fold`: W (L1, F, L2) into (L2, L1, *kernel_size), whose product is F."""
    if math.prod(kernel_size) != tensor.shape[1]:
        raise ValueError(f"kernel_size {tuple(kernel_size)} has not the {tensor.shape[1]} taps of the folded tensor")
    return tensor.permute(2, 0, 1).reshape(tensor.shape[2], tensor.shape[0], *kernel_size).contiguous()


def fold_linear(weight: Tensor, positions: int = 1) -> Tensor:
    """Fold a Linear's weight (P * C, in) into (in, P, C), the output counted as p * C + c."""
    if positions < 1 or weight.shape[0] % positions:
        raise ValueError(f"{weight.shape[0]} outputs are not a multiple of positions = {positions}: give a divisor")
    return weight.reshape(positions, -1, weight.shape[1]).permute(2, 0, 1).contiguous()


def unfold_linear(tensor: Tensor) -> Tensor:
    """Undo `fold_linear`: (in, P, C) into (P * C, in)."""
    return tensor.permute(1, 2, 0).reshape(-1, tensor.shape[0]).contiguous()


def tt_product(a: Tensor, b: Tensor) -> Tensor:
    """The TT product a * b: the last axis of a contracted with the first of b ([B] above eq. 2)."""
    return torch.tensordot(a, b, dims=1)


@dataclass(frozen=True)
class Train:
    """A three-way tensor train: first (L1, r1), core (r1, F, r2) or None where F = 1, last (r2, L2)."""

    first: Tensor
    core: Tensor | None
    last: Tensor

    def tensor(self) -> Tensor:
        """The tensor (L1, F, L2)."""
        if self.core is None:
            return (self.first @ self.last).unsqueeze(1)
        return tt_product(tt_product(self.first, self.core), self.last)

    @property
    def ranks(self) -> tuple[int, int]:
        """The TT ranks (r1, r2)."""
        return self.first.shape[1], self.last.shape[0]

    @property
    def size(self) -> int:
        """Numbers stored."""
        return self.first.numel() + (0 if self.core is None else self.core.numel()) + self.last.numel()

    def to(self, dtype: torch.dtype) -> "Train":
        """The same train in another precision, its factors contiguous."""
        core = None if self.core is None else self.core.to(dtype).contiguous()
        return Train(self.first.to(dtype).contiguous(), core, self.last.to(dtype).contiguous())


def max_ranks(shape: Sequence[int]) -> tuple[int, int]:
    """The largest TT ranks (r1, r2) that a tensor of shape (L1, F, L2) can have."""
    rows, taps, columns = shape
    return min(rows, taps * columns), min(columns, taps * rows)


def checked_ranks(ranks: Ranks, shape: Sequence[int], *, zero: bool = False) -> tuple[int, int]:
    """The ranks as a pair (one number stands for both), or ValueError with what is possible.

    Args:
        ranks: r or (r1, r2).
        shape: (L1, F, L2) of the tensor.
        zero: whether (0, 0), no such part, is allowed.
    """
    if len(shape) != 3:
        raise ValueError(f"a folded weight has three axes (L1, F, L2), got {tuple(shape)}: fold it first")
    pair = (ranks, ranks) if isinstance(ranks, int) else tuple(int(rank) for rank in ranks)
    if len(pair) != 2:
        raise ValueError(f"two ranks (r1, r2) are needed, got {ranks!r}")
    if zero and pair == (0, 0):
        return 0, 0
    largest = max_ranks(shape)
    if min(pair) < 1 or pair[0] > largest[0] or pair[1] > largest[1]:
        also = " or (0, 0)" if zero else ""
        raise ValueError(f"ranks of a tensor {tuple(shape)} lie between (1, 1) and {largest}{also}, got {ranks!r}")
    if shape[1] == 1 and pair[0] != pair[1]:
        raise ValueError(
            f"a tensor {tuple(shape)} with one tap has no core, so both ranks must be equal, got {ranks!r}"
        )
    return pair[0], pair[1]


def tt_svd(tensor: Tensor, ranks: Ranks) -> Train:
    """The TT of W (L1, F, L2) by two truncated SVDs (Oseledets 2011), first and last with orthonormal columns/rows.

    Raises:
        ValueError: ranks below one or above `max_ranks`, or unequal where F = 1.
    """
    r1, r2 = checked_ranks(ranks, tensor.shape)
    work = tensor.detach().double()
    rows, taps, columns = work.shape
    u, s, vh = torch.linalg.svd(work.reshape(rows, -1), full_matrices=False)
    first = u[:, :r1]
    if taps == 1:
        return Train(first * s[:r1].sqrt(), None, s[:r1, None].sqrt() * vh[:r1]).to(tensor.dtype)
    rest = (s[:r1, None] * vh[:r1]).reshape(r1 * taps, columns)
    last = leading(rest.T, r2).T
    return Train(first, (rest @ last.T).reshape(r1, taps, r2), last).to(tensor.dtype)


def leading(matrix: Tensor, rank: int) -> Tensor:
    """The `rank` leading left singular vectors, as orthonormal columns (completed where the matrix has fewer)."""
    u = torch.linalg.svd(matrix, full_matrices=rank > matrix.shape[1])[0]
    return u[:, :rank]


def tucker2(tensor: Tensor, ranks: Ranks, *, sweeps: int = 100, tolerance: float = 1e-6) -> Train:
    """The Tucker-2 form by higher-order orthogonal iteration from TT-SVD; never worse than TT-SVD.

    Args:
        tensor: W (L1, F, L2).
        ranks: (r1, r2).
        sweeps: at most this many.
        tolerance: stops when a sweep lowers the squared error by less than this part of it.

    Source: De Lathauwer, De Moor, Vandewalle 2000, "On the best rank-1 and rank-(R1, .., RN) approximation", section 4.
    """
    work = tensor.detach().double()
    train = tt_svd(work, ranks)
    error = (work - train.tensor()).square().sum().item()
    for _ in range(sweeps if train.core is not None else 0):
        better = improved(work, train)
        now = (work - better.tensor()).square().sum().item()
        if now >= error:
            break
        train, error, before = better, now, error
        if before - now <= tolerance * before:
            break
    return train.to(tensor.dtype)


def improved(tensor: Tensor, train: Train) -> Train:
    """The best first factor for the train's last one, then the best last one for it: never worse, core included.

    For F = 1, the truncated SVD. Outer factors come out orthonormal.
    """
    rows, taps, columns = tensor.shape
    seen = tensor if taps == 1 else tt_product(tensor, train.last.T)
    first = principal(seen.reshape(rows, -1), train.ranks[0])
    rest = (first.T @ tensor.reshape(rows, -1)).reshape(-1, columns)
    return projected(tensor, first, principal(rest.T, train.ranks[1]).T)


def projected(tensor: Tensor, first: Tensor, last: Tensor) -> Train:
    """The train with these outer factors (L1, r1), (r2, L2), orthonormal, and the best core for them."""
    rest = (first.T @ tensor.reshape(tensor.shape[0], -1)).reshape(-1, tensor.shape[2])
    return Train(first, (rest @ last.T).reshape(first.shape[1], -1, last.shape[0]), last)


def principal(matrix: Tensor, rank: int) -> Tensor:
    """The leading left singular vectors from the Gram matrix: several times faster than an SVD for wide matrices.

    It resolves singular values down to 1e-8 of the largest, below the rounding of weights in float32.
    """
    return torch.linalg.eigh(matrix @ matrix.T)[1][:, -rank:].flip(1).contiguous()


def svd_factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Split a weight (L2, L1, k1, k2..) into first (r, L1, k1, 1..) and last (L2, r, 1, k2..) by SVD ([B] section V).

    A Linear (L2, L1) gives (r, L1) and (L2, r). The singular values are shared out evenly.

    Raises:
        ValueError: a rank outside 1 .. min(L1 k1, L2 k2..).
    """
    kernel = weight.shape[2:]
    taps = kernel[0] if kernel else 1
    work = weight.detach().double().reshape(weight.shape[0], weight.shape[1], taps, -1)
    rest = work.shape[3]
    largest = min(weight.shape[1] * taps, weight.shape[0] * rest)
    if not 1 <= rank <= largest:
        raise ValueError(f"the rank of a weight {tuple(weight.shape)} lies between 1 and {largest}, got {rank}")
    u, s, vh = torch.linalg.svd(work.permute(1, 2, 3, 0).reshape(weight.shape[1] * taps, -1), full_matrices=False)
    first = (u[:, :rank] * s[:rank].sqrt()).T.reshape(rank, weight.shape[1], *kernel[:1], *(1 for _ in kernel[1:]))
    last = (s[:rank, None].sqrt() * vh[:rank]).reshape(rank, rest, -1).permute(2, 0, 1)
    last = last.reshape(weight.shape[0], rank, *(1 for _ in kernel[:1]), *kernel[1:])
    return first.to(weight.dtype).contiguous(), last.to(weight.dtype).contiguous()


def cp(tensor: Tensor, rank: int, seed: int = 0, *, sweeps: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    """The CP decomposition of W (L1, F, L2) by tensorly's ALS: first (L1, R), taps (F, R), last (R, L2).

    Raises:
        ValueError: a rank below one, or tensorly not installed.
    """
    if rank < 1:
        raise ValueError(f"the rank of a CP decomposition is at least 1, got {rank}")
    try:
        import tensorly
        from tensorly.decomposition import parafac
    except ImportError as error:
        raise ValueError("the CP decomposition needs tensorly: pip install tensorly") from error
    with tensorly.backend_context("numpy"):
        parts = parafac(tensor.detach().double().cpu().numpy(), rank, n_iter_max=sweeps, tol=1e-9, random_state=seed)
    first, taps, last = (torch.as_tensor(factor, dtype=torch.float64) for factor in parts.factors)
    scale = torch.as_tensor(parts.weights, dtype=torch.float64)
    return tuple(part.to(tensor) for part in (first * scale, taps, last.T.contiguous()))  # type: ignore[return-value]
