"""Coupled and partly coupled tensor trains: recovery, objective, references, and what they are worth."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from networks.compression.tensor.coupled import Minimisation, coupled_tt, partly_coupled_tt
from networks.compression.tensor.tensors import Train, tt_svd, tucker2


def _noise(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _train(generator: torch.Generator, shape: Sequence[int], ranks: Any) -> Tensor:
    rows, taps, columns = shape
    r1, r2 = ranks
    core = _noise(generator, r1, taps, r2)
    return Train(_noise(generator, rows, r1), core, _noise(generator, r2, columns)).tensor()


def _family(count: int, shape: Sequence[int], shared: Any, own: Any, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    common = _train(generator, shape, shared)
    return [common + _train(generator, shape, own) for _ in range(count)]


def _partly(depths: Sequence[int], taps: int, columns: int, shared: Any, own: Any, along: str, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    core, last = _noise(generator, shared[0], taps, shared[1]), _noise(generator, shared[1], columns)
    tensors = [
        Train(_noise(generator, depth, shared[0]), core, last).tensor() + _train(generator, (depth, taps, columns), own)
        for depth in depths
    ]
    return tensors if along == "in" else [tensor.permute(2, 1, 0) for tensor in tensors]


def _worst(tensors: Sequence[Tensor], found: Any) -> float:
    pairs = zip(tensors, found.tensors(), strict=True)
    return max(((tensor - near).norm() / tensor.norm()).item() for tensor, near in pairs)


def _error(tensors: Sequence[Tensor], found: Any) -> float:
    pairs = zip(tensors, found, strict=True)
    return sum((tensor - near).square().sum().item() for tensor, near in pairs) / len(tensors)


RANKS: tuple[Any, ...] = ((3, (3, 4), (2, 3)), (5, (4, 4), (7, 6)), (2, (6, 5), (6, 6)))


def _decreases(objective: Sequence[float]) -> bool:
    return all(after <= before for before, after in zip(objective, objective[1:], strict=False))


@pytest.mark.parametrize(
    ("count", "shared", "own", "start"),
    [
        *((*ranks, start) for ranks in RANKS for start in ("best", "tt-svd", "subspaces", "random")),
        (2, (9, 9), (8, 8), "best"),  # 9 + 8 directions do not fit into 16: a single start may end in a valley
    ],
)
def test_coupled_tensors_of_the_given_ranks_are_recovered(count: int, shared: Any, own: Any, start: str) -> None:
    tensors = _family(count, (18, 9, 16), shared, own)
    found: Any = coupled_tt(tensors, shared, own, minimisation=Minimisation(start=start))
    assert _worst(tensors, found) < 1e-6
    assert _decreases(found.objective)
    assert found.shared_train(0).ranks == shared
    assert {part.ranks for part in found.own} == {own}


def test_coupled_matrices_are_recovered_without_a_core() -> None:
    tensors = _family(3, (18, 1, 16), (5, 5), (4, 4))
    found: Any = coupled_tt(tensors, 5, 4)
    assert _worst(tensors, found) < 1e-6
    assert found.shared[1] is None
    assert found.own[0].core is None
    assert found.own[0].ranks == (4, 4)


@pytest.mark.parametrize("along", ["in", "out"])
@pytest.mark.parametrize(
    ("depths", "taps", "shared", "own"),
    [((10, 20, 20), 9, (3, 4), (2, 3)), ((12, 24), 9, (4, 5), (6, 5)), ((18, 20, 25), 1, (5, 5), (4, 4))],
)
def test_partly_coupled_tensors_of_the_given_ranks_are_recovered(
    depths: Sequence[int], taps: int, shared: Any, own: Any, along: str
) -> None:
    tensors = _partly(depths, taps, 16, shared, own, along)
    ranks = (shared, own) if along == "in" else (shared[::-1], own[::-1])
    found: Any = partly_coupled_tt(tensors, *ranks, along=along)
    assert _worst(tensors, found) < 1e-6
    assert _decreases(found.objective)
    assert (found.shared[1] is None) == (taps == 1)
    axis = 0 if along == "in" else 1
    assert tuple(outer.shape[axis] for outer in found.outer) == depths
    storages = {outer.untyped_storage().data_ptr() for outer in found.outer}
    assert len(storages) == len(depths)  # each may be saved on its own


@pytest.mark.parametrize("start", ["best", "tt-svd", "subspaces", "random"])
def test_the_objective_never_rises_and_is_the_error_that_is_left(start: str) -> None:
    generator = torch.Generator().manual_seed(3)
    tensors = [_noise(generator, 14, 9, 12) for _ in range(3)]
    found: Any = coupled_tt(tensors, 4, 3, minimisation=Minimisation(start=start))
    assert len(found.objective) > 5
    assert _decreases(found.objective)
    assert found.objective[-1] == pytest.approx(_error(tensors, found.tensors()), rel=1e-12)
    partly: Any = partly_coupled_tt(
        [tensors[0][:7], *tensors[1:]], 4, 3, along="in", minimisation=Minimisation(start=start)
    )
    assert _decreases(partly.objective)
    left = _error([tensors[0][:7], *tensors[1:]], partly.tensors())
    assert partly.objective[-1] == pytest.approx(left, rel=1e-12)


def test_a_minimum_is_stationary_in_every_factor() -> None:
    generator = torch.Generator().manual_seed(4)
    tensors, reference = [_noise(generator, 8, 4, 7) for _ in range(3)], _noise(generator, 8, 4, 7)
    found: Any = coupled_tt(
        tensors, 2, 2, reference=reference, alpha=0.7, minimisation=Minimisation(sweeps=2000, tolerance=1e-14)
    )
    parts = [found.shared_train(0), *found.own]
    factors = [[part.first, part.core, part.last] for part in parts]
    leaves = [factor.requires_grad_() for triple in factors for factor in triple]
    common, *own = (Train(*triple).tensor() for triple in factors)
    value = 0.7 * (reference - common).square().sum()
    value = value + sum((w - common - part).square().sum() for w, part in zip(tensors, own, strict=True)) / 3
    assert value.item() == pytest.approx(found.objective[-1], rel=1e-12)
    value.backward()
    assert max(leaf.grad.abs().max().item() for leaf in leaves) < 1e-4 * value.item()


def test_alpha_pulls_the_shared_part_to_the_reference() -> None:
    generator = torch.Generator().manual_seed(5)
    tensors, reference = [_noise(generator, 10, 9, 8) for _ in range(3)], _noise(generator, 10, 9, 8)
    distances = []
    for alpha in (0.0, 1.0, 10.0, 1e6):
        found: Any = coupled_tt(tensors, 3, 2, reference=reference, alpha=alpha)
        distances.append((reference - found.shared_train(0).tensor()).norm().item())
        assert _decreases(found.objective)
    assert distances == sorted(distances, reverse=True)
    best = (reference - tucker2(reference, 3).tensor()).norm().item()
    assert distances[-1] == pytest.approx(best, rel=1e-3)
    assert distances[-1] <= (reference - tt_svd(reference, 3).tensor()).norm().item() * (1 + 1e-6)


def test_without_a_part_it_is_the_decomposition_of_the_other() -> None:
    tensors = _family(3, (10, 9, 8), (3, 3), (4, 4))
    own: Any = coupled_tt(tensors, 0, (3, 2))
    assert own.shared is None
    expected = _error(tensors, [tucker2(tensor, (3, 2)).tensor() for tensor in tensors])
    assert own.objective[-1] == pytest.approx(expected, rel=1e-4)
    common: Any = coupled_tt(tensors, (3, 2), 0)
    assert common.own == (None, None, None)
    mean = tucker2(sum(tensors) / 3, (3, 2)).tensor()
    assert common.objective[-1] == pytest.approx(_error(tensors, [mean] * 3), rel=1e-4)
    partly: Any = partly_coupled_tt(tensors, (3, 2), 0, along="out")
    stacked = tucker2(torch.cat(tensors, dim=2), (3, 2)).tensor().split(8, dim=2)
    assert partly.objective[-1] == pytest.approx(_error(tensors, stacked), rel=1e-4)
    assert partly_coupled_tt(tensors, 0, (3, 2), along="in").shared is None


def test_coupling_beats_independent_trains_of_as_many_numbers_where_there_is_a_common_part() -> None:
    shape, count = (24, 9, 24), 4
    generator = torch.Generator().manual_seed(6)
    common = _train(generator, shape, (5, 5))
    tensors = [common + 0.5 * _train(generator, shape, (4, 4)) for _ in range(count)]
    tensors = [tensor + _noise(generator, *shape) for tensor in tensors]
    found: Any = coupled_tt(tensors, 5, 4)
    size = found.shared_train(0).size + sum(part.size for part in found.own)
    independent = [tucker2(tensor, 5) for tensor in tensors]
    assert sum(train.size for train in independent) >= size
    assert found.objective[-1] < 0.8 * _error(tensors, [train.tensor() for train in independent])


def test_parts_that_are_more_than_the_tensors_can_hold_stay_finite() -> None:
    tensors = [torch.zeros(6, 4, 5), torch.zeros(6, 4, 5)]
    found: Any = coupled_tt(tensors, 5, 5)
    assert all(torch.equal(near, tensor) for near, tensor in zip(found.tensors(), tensors, strict=True))
    same = [torch.ones(6, 4, 5)] * 3  # rank one and no own part at all
    for start in ("best", "tt-svd", "subspaces", "random"):
        found = coupled_tt(same, 3, 2, minimisation=Minimisation(start=start))
        assert _worst(same, found) < 1e-6
        assert all(torch.isfinite(part.core).all() for part in (found.shared_train(0), *found.own))


def test_the_dtype_is_kept_and_ranks_may_differ_from_tensor_to_tensor() -> None:
    tensors = [tensor.float() for tensor in _family(2, (10, 9, 8), (3, 3), (2, 2))]
    found: Any = coupled_tt(tensors, 3, [(2, 2), (3, 1)])
    assert [part.ranks for part in found.own] == [(2, 2), (3, 1)]
    assert {found.shared[0].dtype, found.own[1].core.dtype} == {torch.float32}
    partly: Any = partly_coupled_tt([tensors[0][:2], tensors[1]], 2, [(2, 2), 0], along="in")
    assert partly.own[1] is None
    assert partly.outer[0].dtype == torch.float32


def test_the_seed_of_a_random_start_decides() -> None:
    tensors = _family(2, (10, 9, 8), (3, 3), (2, 2))
    runs = [
        coupled_tt(tensors, 3, 2, minimisation=Minimisation(start="random", seed=seed, sweeps=1)).objective
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_what_cannot_be_coupled_is_refused_with_the_remedy() -> None:
    a, b = torch.ones(6, 4, 5), torch.ones(7, 4, 5)
    cases = [
        (lambda: coupled_tt([a], 1, 1), "use tt_svd for one"),
        (lambda: coupled_tt([a, b], 1, 1), "partly_coupled_tt takes unequal depths"),
        (lambda: coupled_tt([a[0], a[0]], 1, 1), "fold the weights first"),
        (lambda: coupled_tt([a, a], 0, 0), "give one of them a rank"),
        (lambda: coupled_tt([a, a], (0, 1), 1), "lie between"),
        (lambda: coupled_tt([a, a], 7, 1), "lie between"),
        (lambda: coupled_tt([a, a], 1, (1, 6)), "lie between"),
        (lambda: coupled_tt([a, a], (1, 1, 1), 1), "two ranks"),
        (lambda: coupled_tt([a, a], 1, [1, 1, 1]), "one for each of the 2 tensors"),
        (lambda: coupled_tt([a, a], 1, 1, alpha=1.0), "a reference of shape"),
        (lambda: coupled_tt([a, a], 1, 1, alpha=1.0, reference=b), "a reference of shape"),
        (lambda: coupled_tt([a, a], 1, 1, alpha=-1.0, reference=a), ">= 0"),
        (lambda: coupled_tt([a, a], 1, 1, minimisation=Minimisation(start="zeros")), "start must be one of"),
        (lambda: partly_coupled_tt([a, b], 1, 1, along="out"), "differ in that depth only"),
        (lambda: partly_coupled_tt([a, a[:, :2]], 1, 1, along="in"), "differ in that depth only"),
        (lambda: partly_coupled_tt([a, b], 1, 1, along="depth"), 'must be "in" or "out"'),
        (lambda: partly_coupled_tt([a, b], 1, (7, 1), along="in"), "lie between"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
