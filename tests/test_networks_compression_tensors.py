"""Folding, decompositions of one tensor, and the metric of a layer's inputs."""

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from networks.compression.tensor.tensors import (
    Train,
    cp,
    fold,
    fold_linear,
    max_ranks,
    svd_factors,
    tt_product,
    tt_svd,
    tucker2,
    unfold,
    unfold_linear,
)
from networks.compression.tensor.weighting import second_moment, unwhiten, whiten


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _train(rows: int, taps: int, columns: int, r1: int, r2: int, seed: int = 0) -> Train:
    return Train(_noise(rows, r1, seed=seed), _noise(r1, taps, r2, seed=seed + 1), _noise(r2, columns, seed=seed + 2))


def _relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def test_the_tt_product_sums_over_the_axis_between() -> None:
    a, b = _noise(2, 3, 4), _noise(4, 5, 6, seed=1)
    assert torch.allclose(tt_product(a, b), torch.einsum("abc,cde->abde", a, b))


@pytest.mark.parametrize("kernel", [(), (3,), (3, 2), (2, 3, 4)])
def test_folding_keeps_the_convolution_and_is_undone(kernel: tuple[int, ...]) -> None:
    weight = _noise(5, 4, *kernel)
    folded = fold(weight)
    assert folded.shape == (4, math.prod(kernel), 5)
    assert torch.equal(unfold(folded, kernel), weight)
    taps = _noise(4, *kernel, seed=3)  # one patch: y_o = sum over channels and taps
    expected = (weight * taps).flatten(1).sum(1)
    assert torch.allclose(torch.einsum("cf,cfo->o", taps.reshape(4, -1), folded), expected)


def test_a_linear_that_makes_an_image_folds_by_position() -> None:
    weight = _noise(6, 4)
    folded = fold_linear(weight, positions=3)
    assert folded.shape == (4, 3, 2)
    assert folded[1, 2, 1] == weight[2 * 2 + 1, 1]
    assert torch.equal(unfold_linear(folded), weight)
    with pytest.raises(ValueError, match="give a divisor"):
        fold_linear(weight, positions=4)


@pytest.mark.parametrize("decompose", [tt_svd, tucker2])
@pytest.mark.parametrize(("shape", "ranks"), [((12, 9, 10), (3, 5)), ((10, 1, 12), (4, 4)), ((2, 9, 30), (2, 18))])
def test_tensors_of_the_given_ranks_are_recovered(decompose: Any, shape: Sequence[int], ranks: Any) -> None:
    tensor = _train(*shape, *ranks).tensor()
    train = decompose(tensor, ranks)
    assert train.ranks == ranks
    assert (train.core is None) == (shape[1] == 1)
    assert _relative(train.tensor(), tensor) < 1e-12
    assert train.size == shape[0] * ranks[0] + ranks[1] * shape[2] + (shape[1] > 1) * ranks[0] * shape[1] * ranks[1]


def test_the_dtype_of_the_input_is_kept() -> None:
    assert {factor.dtype for factor in vars(tt_svd(_noise(4, 3, 5).float(), 2)).values()} == {torch.float32}


def test_full_ranks_are_exact_and_largest() -> None:
    tensor = _noise(3, 2, 9)
    assert max_ranks(tensor.shape) == (3, 6)
    assert _relative(tt_svd(tensor, max_ranks(tensor.shape)).tensor(), tensor) < 1e-12
    with pytest.raises(ValueError, match=r"between \(1, 1\) and \(3, 6\)"):
        tt_svd(tensor, (3, 7))


def test_tucker_is_never_worse_than_the_train_and_mostly_better() -> None:
    gains = []
    for seed in range(6):
        tensor = _noise(12, 9, 10, seed=seed)
        errors = [(tensor - decompose(tensor, (4, 3)).tensor()).norm().item() for decompose in (tt_svd, tucker2)]
        gains.append(errors[0] - errors[1])
    assert min(gains) >= 0
    assert max(gains) > 0.1


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ((0, 2), "lie between"),
        ((-1, 2), "lie between"),
        ((2,), "two ranks"),
        ((1, 2, 3), "two ranks"),
        (5, "lie between"),
    ],
)
def test_bad_ranks_are_refused(ranks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tt_svd(_noise(4, 3, 5), ranks)


def test_unequal_ranks_without_a_core_and_unfolded_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="both ranks must be equal"):
        tt_svd(_noise(4, 1, 5), (2, 3))
    with pytest.raises(ValueError, match="fold it first"):
        tt_svd(_noise(4, 3, 3, 5), 2)
    with pytest.raises(ValueError, match="at least two axes"):
        fold(_noise(4))
    with pytest.raises(ValueError, match="has not the 3 taps"):
        unfold(_noise(4, 3, 5), (2,))


@pytest.mark.parametrize("kernel", [(), (3,), (3, 2), (2, 3, 2)])
def test_split_factors_reach_the_tail_of_the_spectrum(kernel: tuple[int, ...]) -> None:
    weight = _noise(6, 5, *kernel)
    first, last = svd_factors(weight, 3)
    convolve = {0: None, 1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[len(kernel)]
    if convolve is None:
        dense = last @ first
    else:  # the kernel is the response to a unit impulse, mirrored, one input channel at a time
        impulses = torch.zeros(5, 5, *(2 * k - 1 for k in kernel), dtype=torch.float64)
        for channel in range(5):
            impulses[(channel, channel, *(k - 1 for k in kernel))] = 1
        dense = convolve(convolve(impulses, first), last).flip(*range(2, 2 + len(kernel))).transpose(0, 1)
    matrix = (
        weight.reshape(6, 5, kernel[0] if kernel else 1, -1).permute(1, 2, 3, 0).reshape(5 * (kernel or (1,))[0], -1)
    )
    tail = torch.as_tensor(np.linalg.svd(matrix.numpy(), compute_uv=False)[3:]).norm()
    assert (weight - dense).norm().item() == pytest.approx(tail.item(), rel=1e-10)
    with pytest.raises(ValueError, match="lies between 1 and"):
        svd_factors(weight, 100)


def test_cp_recovers_a_sum_of_rank_one_terms() -> None:
    parts = [_noise(extent, 3, seed=extent) for extent in (8, 9, 7)]
    tensor = torch.einsum("ar,fr,br->afb", *parts)
    first, taps, last = cp(tensor, 3)
    assert (first.shape, taps.shape, last.shape) == ((8, 3), (9, 3), (3, 7))
    assert _relative(torch.einsum("ar,fr,rb->afb", first, taps, last), tensor) < 1e-3
    with pytest.raises(ValueError, match="at least 1"):
        cp(tensor, 0)


def test_cp_without_tensorly_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorly", None)
    with pytest.raises(ValueError, match="pip install tensorly"):
        cp(_noise(3, 3, 3), 1)


def _correlated(samples: int, channels: int, size: int, seed: int = 0) -> Tensor:
    """Inputs (samples, channels, size, size) whose channels are mixed with weights that fall fast."""
    mixing = _noise(channels, channels, seed=seed) * torch.arange(1, channels + 1, dtype=torch.float64) ** -1.5
    return torch.einsum("ij,njhw->nihw", mixing, _noise(samples, channels, size, size, seed=seed + 1))


def test_weighted_trains_have_a_smaller_output_error_at_equal_ranks() -> None:
    weight = _noise(12, 16, 3, 3, seed=5)
    x = _correlated(16, 16, 12)
    moment = second_moment([x[:4], x[4:8]])
    plain = tt_svd(fold(weight), 6)
    whitened = tt_svd(whiten(fold(weight), moment), 6)
    weighted = Train(unwhiten(whitened.first, moment), whitened.core, whitened.last)
    assert plain.ranks == weighted.ranks
    unseen = x[8:]
    exact = functional.conv2d(unseen, weight)
    errors = [
        _relative(functional.conv2d(unseen, unfold(train.tensor(), (3, 3))), exact) for train in (plain, weighted)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_weighted_trains_of_matrices_are_reduced_rank_regression() -> None:
    weight, x = _noise(10, 12, seed=5), _correlated(50, 12, 4).permute(0, 2, 3, 1).reshape(-1, 12)
    moment = second_moment([x], channel=-1)
    train = tt_svd(whiten(fold(weight), moment), 3)
    output = (x @ weight.T, x @ unwhiten(train.first, moment) @ train.last)
    u, s, vh = torch.linalg.svd(output[0], full_matrices=False)  # the outputs' own best rank 3, which is attainable
    best = (output[0] - (u[:, :3] * s[:3]) @ vh[:3]).norm()
    assert (output[0] - output[1]).norm().item() == pytest.approx(best.item(), rel=1e-3)  # 1e-4 of regularisation


def test_moments_are_means_over_samples_and_positions_and_whitening_is_undone() -> None:
    x = _correlated(6, 5, 3)
    rows = x.permute(0, 2, 3, 1).reshape(-1, 5)
    expected = torch.stack([torch.outer(row, row) for row in rows]).mean(0)
    moment = second_moment(iter(x.split(2)))
    assert torch.allclose(moment, expected)
    tensor = _noise(5, 9, 4)
    assert torch.allclose(unwhiten(whiten(tensor, moment), moment), tensor)
    dead = torch.zeros(5, 5, dtype=torch.float64)
    assert torch.allclose(unwhiten(whiten(tensor, dead), dead), tensor)


def test_bad_moments_are_refused() -> None:
    with pytest.raises(ValueError, match="no inputs"):
        second_moment([])
    with pytest.raises(ValueError, match="those of one layer"):
        second_moment([_noise(2, 3, 4), _noise(2, 4, 4)])
    with pytest.raises(ValueError, match="not all finite"):
        second_moment([torch.full((2, 3, 4), math.nan)])
    with pytest.raises(ValueError, match="needs a moment"):
        whiten(_noise(3, 3, 3), torch.eye(4))
