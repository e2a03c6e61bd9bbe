"""Maps between loads, the metric and the compression of wave tables, against dense algebra and exact problems."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from networks.response.signal_response import LowPass, toeplitz
from networks.table.bases.basis import Nodes
from networks.table.bases.catalogue import basis_from
from networks.table.compress import Table
from networks.table.data import CrossData, Times
from networks.table.fit.maps import MADE_UP, DirectRuns, Pooling, choose, fit_map
from networks.table.fit.metric import Responses, gains
from networks.table.growth import next_runs
from networks.table.solve import held_out, solve_table

A, K, LEVELS, DT = 4, 11, 40, 0.1
RATE = 6.0


class Corners:
    """Source nodes on a grid of squares; a place is a node."""

    def __init__(self, num: int = 15) -> None:
        x = np.linspace(0.0, 1.0, num)
        self.nodes = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)

    def rows(self, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        near = np.linalg.norm(self.nodes[None] - points[:, None], axis=2).argmin(1)
        return near[:, None], np.ones((len(points), 1))


def signals() -> NDArray[np.float64]:
    return np.sin(np.outer([2.0, 3.0, 4.0], DT * np.arange(LEVELS + 1)))


def problem(
    num_direct: int = 6, rank: int = 3, num_loads: int = 4, seed: int = 0
) -> tuple[CrossData, NDArray[np.complex128]]:
    """Cross data of a table of exact low rank whose map between loads is the same at all frequencies, and the table."""
    g = np.random.default_rng(seed)
    mesh = Corners()

    def draw(*shape: int) -> NDArray[np.complex128]:
        return g.normal(size=shape) + 1j * g.normal(size=shape)

    table = np.einsum("srk,ra->sak", draw(len(mesh.nodes), rank, K), draw(rank, 2 * A))
    places = g.permutation(len(mesh.nodes))[:num_direct]
    loads = np.arange(2 * A)[:: 2 * A // num_loads][:num_loads]
    omega = 2 * np.pi / (50 * DT) * np.arange(K, dtype=np.float64)
    times = Times(LEVELS, DT, RATE, omega, signals())
    return CrossData(times, mesh.nodes[places], table[places], loads, table[:, loads], mesh), table


@pytest.mark.parametrize("pooling", [Pooling(0), Pooling(2), Pooling(3, 0.3), Pooling(8, 0.3, 0.05)])
@pytest.mark.parametrize("num_direct", [3, 20])
def test_a_map_is_the_ridge_regression_of_the_stacked_samples(pooling: Pooling, num_direct: int) -> None:
    data, _ = problem(num_direct, rank=6)
    fitted = fit_map(DirectRuns(data.direct, data.loads), (pooling,))
    others = np.setdiff1d(np.arange(2 * A), data.loads)
    assert fitted.matrices.shape == (K, 4, 2 * A)
    for k in (0, 5, K - 1):
        rows, values = [], []
        for o in range(-pooling.reach, pooling.reach + 1):
            if 0 <= k + o < K:
                weight = (0.8 if pooling.slope else 0.5) ** abs(o)
                x = data.direct[:, data.loads, k + o]
                rows.append(weight * np.concatenate((x, pooling.slope * o * x, pooling.curve * o**2 * x), 1))
                values.append(weight * data.direct[:, others, k + o])
        W, Y = np.concatenate(rows), np.concatenate(values)
        ridge = fitted.ridge * np.linalg.norm(W, 2) ** 2
        stacked = np.concatenate((W, np.sqrt(ridge) * np.eye(W.shape[1])))
        padded = np.concatenate((Y, np.zeros((W.shape[1], Y.shape[1]))))
        B = np.linalg.lstsq(stacked, padded, rcond=None)[0][:4]
        assert np.allclose(fitted.matrices[k][:, others], B, rtol=1e-5, atol=1e-6 * np.abs(B).max())
        assert np.array_equal(fitted.matrices[k][:, data.loads], np.eye(4))


def test_predictions_are_held_out() -> None:
    data, _ = problem(8, rank=6)
    pooling = (Pooling(2, 0.3),)
    runs = DirectRuns(data.direct, data.loads)
    before = fit_map(runs, pooling)
    others = np.setdiff1d(np.arange(2 * A), data.loads)
    changed = data.direct.copy()
    changed[0][others] *= 3.0  # what is not known of the run beforehand
    after = fit_map(DirectRuns(changed, data.loads), pooling)
    assert after.ridge == before.ridge
    same = np.flatnonzero(runs.fold == runs.fold[0])
    rest = np.flatnonzero(runs.fold != runs.fold[0])
    assert np.allclose(after.held_out[same], before.held_out[same], rtol=1e-6)
    assert not np.allclose(after.held_out[rest], before.held_out[rest], rtol=1e-3)


def test_held_out_residuals_are_those_of_fits_without_the_run() -> None:
    data, _ = problem(7, rank=6)
    for pooling in (Pooling(0), Pooling(3, 0.3)):
        runs = DirectRuns(data.direct, data.loads)
        fitted = fit_map(runs, (pooling,))
        for fold in range(int(runs.fold.max()) + 1):
            part = DirectRuns(data.direct[runs.fold != fold], data.loads)
            W, Y, _, _ = part.system(4, pooling)
            ridge = fitted.ridge * np.linalg.norm(runs.system(4, pooling)[0], 2) ** 2
            B = np.linalg.solve(W.conj().T @ W + ridge * np.eye(W.shape[1]), W.conj().T @ Y)[:4]
            out = np.flatnonzero(runs.fold == fold)
            expected = data.direct[out][:, data.loads, 4] @ B
            assert np.allclose(fitted.held_out[out][:, runs.others, 4], expected, rtol=1e-4, atol=1e-5)


def test_a_table_of_low_rank_is_recovered() -> None:
    data, table = problem(6, rank=3)
    solved = solve_table(data, tolerance=1e-4)
    there = np.stack([solved.factors.amplitudes(k) for k in range(K)], 2)
    assert np.linalg.norm(there - table) < 2e-4 * np.linalg.norm(table)
    assert solved.estimate[0] < 1.1e-4
    assert max(each.shape[1] for each in solved.factors.left) == 3
    maps, predicted, errors = held_out(data)
    assert maps.cross.relative_miss < 1e-5 and errors.max() < 1e-5
    assert np.allclose(predicted, data.direct, atol=1e-4)
    assert np.allclose(maps.predict(data.reciprocal), table, atol=1e-4 * np.abs(table).max())


def test_a_table_of_all_loads_needs_no_direct_run() -> None:
    data, table = problem(6, rank=8, num_loads=2 * A)
    alone = dataclasses.replace(data, places=data.places[:0], direct=data.direct[:0])
    for runs in (data, alone):
        solved = solve_table(runs, tolerance=0.01)
        there = np.stack([solved.factors.amplitudes(k) for k in range(K)], 2)
        errors = held_out(data)[0].errors(table, there)
        assert errors[:, 0].mean() < 0.011 and errors.mean() < 0.03
        assert 0 < solved.estimate[0] <= 0.01 and solved.map_errors.max() < 1e-6


def test_the_choice_prefers_the_larger_ridge_of_equal_ones() -> None:
    data, _ = problem(20, rank=3)
    g = np.random.default_rng(5)
    noisy = data.direct + 0.3 * (g.normal(size=data.direct.shape) + 1j * g.normal(size=data.direct.shape))
    pooling, ridge, _ = choose(DirectRuns(noisy, data.loads))
    clean_pooling, clean_ridge, left = choose(DirectRuns(data.direct, data.loads))
    assert ridge > 100 * clean_ridge and left < 1e-6
    assert pooling.reach >= clean_pooling.reach


def samples_of(table: NDArray[np.complex128], num: int, seed: int = 7) -> NDArray[np.complex128]:
    """Other samples of the map that a table of exact low rank obeys: combinations of its rows, of another size."""
    g = np.random.default_rng(seed)
    shares = g.normal(size=(num, len(table))) + 1j * g.normal(size=(num, len(table)))
    return np.asarray(1e-3 * np.einsum("ms,sak->mak", shares, table))


def bent(data: CrossData, table: NDArray[np.complex128], by: float) -> tuple[CrossData, NDArray[np.complex128]]:
    """The problem with maps that differ from one frequency to the next, so that direct runs cannot be pooled."""
    g = np.random.default_rng(3)
    turn = 1 + by * (g.normal(size=(2 * A, K)) + 1j * g.normal(size=(2 * A, K)))
    table = table * turn
    return dataclasses.replace(data, direct=data.direct * turn, reciprocal=table[:, data.loads]), table


def test_made_up_runs_repair_a_map_that_three_direct_runs_do_not_determine() -> None:
    data, table = bent(*problem(3, rank=4), by=1.0)
    before, _, errors = held_out(data)
    made_up = dataclasses.replace(data, made_up=samples_of(table, 12))
    after, _, repaired = held_out(made_up)
    truth = before.errors(table[:20], before.predict(data.reciprocal[:20]))[:, 0].mean()
    assert errors[:, 0].mean() > 0.1 and truth > 0.1
    assert repaired.max() < 1e-4
    assert after.errors(table[:20], after.predict(data.reciprocal[:20])).max() < 1e-4
    assert after.cross.pooling.made_up > 0
    report = solve_table(made_up, tolerance=0.01).lines
    assert any(line.startswith("12 made-up runs taken: left of direct runs left out") for line in report)
    assert not any("made-up" in line for line in solve_table(data, tolerance=0.01).lines)
    assert next_runs(made_up).halved.whole < 1e-4 < 0.1 < next_runs(data).halved.whole


def test_wrong_made_up_runs_lose() -> None:
    data, table = problem(6, rank=3)
    before, predicted, _ = held_out(data)
    wrong = samples_of(table[:, ::-1], 40)  # of another map
    after, again, _ = held_out(dataclasses.replace(data, made_up=wrong))
    assert after.cross.pooling == before.cross.pooling and after.cross.pooling.made_up == 0
    assert np.array_equal(again, predicted) and np.array_equal(after.matrices, before.matrices)
    assert [choice.pooling.made_up for choice in after.cross.weighed] == [0.0, *MADE_UP]
    assert all(choice.left > after.cross.weighed[0].left for choice in after.cross.weighed[1:])
    lines = solve_table(dataclasses.replace(data, made_up=wrong), tolerance=0.01).lines
    assert any("40 made-up runs not taken" in line for line in lines)


@pytest.mark.parametrize("pooling", [Pooling(0, made_up=0.3), Pooling(3, 0.3, made_up=1.0)])
def test_direct_runs_are_left_out_beside_made_up_ones(pooling: Pooling) -> None:
    """Against stacked samples; made-up runs are as strong as direct ones at the loads, and stay in every fit."""
    data, table = bent(*problem(4, rank=6), by=0.3)
    made_up = samples_of(table, 9)
    runs = DirectRuns(data.direct, data.loads, made_up=made_up)
    assert len(runs.fold) == 4
    k, ridge = 4, 1e-3
    fit, run, offset = runs.fit(k, pooling)
    W, Y, _, _ = runs.system(k, pooling)
    power = [(np.abs(each[:, data.loads, k]) ** 2).mean() for each in (data.direct, made_up)]
    scale = pooling.made_up * np.sqrt(power[0] / power[1])
    extra = np.zeros((9, W.shape[1]), complex)
    extra[:, :4] = scale * made_up[:, data.loads, k]
    everything = np.concatenate((W, extra))
    stacked = np.concatenate((Y, scale * made_up[:, runs.others, k]))
    damping = ridge * np.linalg.norm(everything, 2) ** 2 * np.eye(W.shape[1])

    def solved(rows: NDArray[np.bool_]) -> NDArray[np.complex128]:
        part = everything[rows]
        return np.linalg.solve(part.conj().T @ part + damping, part.conj().T @ stacked[rows])

    assert np.allclose(fit.matrix(ridge), solved(np.ones(len(everything), bool)), rtol=1e-8, atol=1e-8)
    folds = [(run == each, (run == each) & (offset == 0)) for each in range(4)]
    for (rows, wanted), residual in zip(folds, fit.left_out(np.array([ridge]), folds), strict=True):
        B = solved(np.concatenate((~rows, np.ones(9, bool))))
        assert np.allclose(residual[0], Y[wanted] - W[wanted] @ B, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("tolerance", [0.3, 0.1, 0.02])
def test_compression_keeps_its_tolerance(tolerance: float) -> None:
    data, _ = problem(12, rank=8, num_loads=8)
    maps, _, _ = held_out(data)
    table = Table(data.reciprocal, maps.matrices, maps.gains, Nodes())
    whole = maps.predict(data.reciprocal)
    cut = table.cut_to_error(tolerance)
    there = np.stack([cut.factors.amplitudes(k) for k in range(K)], 2)
    weights = maps.weights
    error = np.linalg.norm((there - whole) * weights) / np.linalg.norm(whole * weights)
    assert error == pytest.approx(cut.error, rel=0.15, abs=1e-6)
    assert 0.6 * tolerance < cut.error <= tolerance
    right = sum(2 * f.size - len(f) * (len(f) + 1) for f in cut.factors.right)
    gamma = sum(f.size - len(f) ** 2 for f in cut.factors.gamma)
    assert cut.factors.numbers == sum(2 * f.size for f in cut.factors.left) + right + gamma
    fewer = table.cut_to_numbers(cut.factors.numbers // 2)
    assert 0 < fewer.factors.numbers <= cut.factors.numbers // 2 and fewer.error > cut.error
    with pytest.raises(ValueError, match="ask for more numbers"):
        table.cut_to_numbers(10)


def test_the_metric_counts_errors_of_runs() -> None:
    data, _ = problem()
    times = data.times
    responses = Responses.of(times.signals, RATE, DT, times.omega)
    one = data.direct[0]
    half, low_pass = A, LowPass(RATE, DT)
    levels = DT * np.arange(LEVELS)
    for s, signal in enumerate(times.signals):
        y = np.einsum("ak,nk->na", one, np.exp(1j * np.outer(levels, times.omega))).real
        fields = toeplitz(low_pass.inverse(signal)[:LEVELS]) @ y
        assert np.allclose(responses.field(s, one), fields, rtol=1e-10, atol=1e-10 * np.abs(fields).max())
    worse = one.copy()
    worse[:half] *= 1.1
    assert np.allclose(responses.errors(1, one, worse), [0.1, 0.1, 0.0])
    g = np.random.default_rng(1)
    weights = gains(responses, data.direct)
    means, costs = [], []
    for _ in range(200):
        error = 0.01 * (g.normal(size=one.shape) + 1j * g.normal(size=one.shape)) / np.repeat(weights, half, 0)
        costs.append((np.abs(error * np.repeat(weights, half, 0)) ** 2).sum() / half)
        total = 0.0
        for s in range(len(times.signals)):
            parts = [np.array([responses.field(s, each) for each in group]) for group in (data.direct, error[None])]
            for rows, rates in ((slice(half), (False, True)), (slice(half, None), (False,))):
                for rate in rates:
                    size, miss = (
                        np.mean(((p[:, 2:] - p[:, :-2]) if rate else p)[..., rows] ** 2, 0).sum() for p in parts
                    )
                    total += miss / size / len(times.signals)
        means.append(total)
    assert np.mean(means) == pytest.approx(np.mean(costs), rel=0.1)


def test_splines_hold_smooth_fields() -> None:
    data, _ = problem()
    basis = basis_from({"kind": "spline", "speed": 1.0, "knots": 3.3}, data.area)
    phi = basis.matrix(K - 1)
    assert phi is not None
    sizes = np.linalg.svd(phi, compute_uv=False)
    assert sizes[0] < 1.001 and np.median(sizes) > 0.999  # but for splines that hardly reach the nodes
    wave = np.cos(data.area.nodes @ (3.0, 4.0))
    assert np.linalg.norm(wave - phi @ (phi.T @ wave)) < 2e-3 * np.linalg.norm(wave)
    again = basis_from(basis.description(), data.area).matrix(K - 1)
    assert again is not None and np.array_equal(again, phi)


def test_faults_are_named() -> None:
    data, _ = problem()
    with pytest.raises(ValueError, match="choose one of nodes, spline, helmholtz, waves"):
        basis_from({"kind": "wavelets"}, data.area)
    with pytest.raises(ValueError, match="positive speed"):
        basis_from({"kind": "spline", "speed": 0.0}, data.area)
    with pytest.raises(ValueError, match="reciprocal must have shape"):
        dataclasses.replace(data, loads=data.loads[:2])
    with pytest.raises(ValueError, match="different numbers"):
        dataclasses.replace(data, loads=data.loads[[0, 0, 1, 2]])
    with pytest.raises(ValueError, match="made_up must be finite and of shape"):
        dataclasses.replace(data, made_up=data.direct[:, 1:])
    with pytest.raises(ValueError, match="must be finite"):
        dataclasses.replace(data, direct=data.direct * np.nan)
    with pytest.raises(ValueError, match="two direct runs"):
        held_out(dataclasses.replace(data, places=data.places[:1], direct=data.direct[:1]))
    with pytest.raises(ValueError, match="all zero"):
        held_out(dataclasses.replace(data, direct=0 * data.direct))
    with pytest.raises(ValueError, match="signals must have shape"):
        dataclasses.replace(data.times, signals=data.times.signals[:, 1:])


def test_growth_asks_for_the_kind_that_hurts_when_halved() -> None:
    data, _ = problem(12, rank=6, num_loads=4)  # four loads cannot span six
    growth = next_runs(data)
    assert (growth.direct, growth.reciprocal) == (0, 4)  # as many as there are left
    assert growth.halved.reciprocal > growth.halved.whole > 0.1
    data, _ = problem(3, rank=6, num_loads=8)
    assert next_runs(data, steps=(7, 2)).direct == 7
    g = np.random.default_rng(0)
    few, _ = problem(8, rank=4, num_loads=4)
    noise = g.normal(size=few.direct.shape) + 1j * g.normal(size=few.direct.shape)
    growth = next_runs(dataclasses.replace(few, direct=few.direct + 0.02 * noise))
    assert growth.halved.direct is not None and "half of the direct runs" in growth.reason
