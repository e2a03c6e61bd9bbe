"""Bases over a source area: they hold what finite-element runs leave there, and are the same when made again."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray
from solver_problems import P1, box

from networks.response.signal_response import LowPass
from networks.table.bases.area import Area, Patch
from networks.table.bases.basis import Basis, Nodes
from networks.table.bases.catalogue import basis_from, default_description, priors
from networks.table.bases.components import Components
from networks.table.bases.helmholtz import Helmholtz
from networks.table.bases.waves import Waves, wave_number
from networks.table.compress import Table
from networks.table.data import PlainData, Times
from networks.table.fit import plain as plain_fit
from networks.table.fit.plain import fit_plain, fitted_amplitudes
from networks.table.solve import solve_plain
from solvers.problems.full import FullModel
from solvers.problems.reciprocal import Quantity, ReciprocalModel
from solvers.time.grid import TimeGrid

LEVELS, K, TOP = 151, 16, 8.0
LOW, HIGH = np.array((0.4, -0.4)), np.array((0.85, 0.4))
LOADS: list[tuple[Quantity, int]] = [("displacement", 0), ("displacement", 9), ("load", 3), ("load", 17)]


@cache
def problem() -> tuple[Area, NDArray[np.complex128], NDArray[np.float64]]:
    """Source area of a box of two materials, fields (S, load, K) of runs from Gamma over it, and weights (K,)."""
    domain = box(MPI.COMM_SELF, P1, 24)
    cells = domain.mesh.geometry.dofmap
    places = domain.mesh.geometry.x[:, :2]
    middle = places[cells].mean(1)
    domain = dataclasses.replace(domain, speed=np.where(middle[:, 0] > 0.6, 0.7, 1.0))
    period = round(1.25 * (LEVELS - 1))
    model = FullModel(domain, P1, TimeGrid(0.04 * period, period + 1))
    dofs, cells = model.V.tabulate_dof_coordinates()[:, :2], model.V.dofmap.list
    middle = dofs[cells].mean(1)
    speed = np.where(middle[:, 0] > 0.6, 0.7, 1.0)

    def within(margin: float) -> NDArray[np.bool_]:
        return ((middle > LOW - margin) & (middle < HIGH + margin)).all(1)

    inner = np.unique(cells[within(0.0)])
    around = cells[within(0.1)]
    order = np.concatenate((inner, np.setdiff1d(np.unique(around), inner)))
    number = np.full(len(dofs), -1)
    number[order] = np.arange(len(order))
    patch = Patch(dofs[order], number[around].astype(np.int64), speed[within(0.1)])
    low_pass = LowPass(0.8 * TOP, 0.04)
    histories = ReciprocalModel(model, dofs[inner]).responses(LOADS)
    assert histories is not None
    levels = np.arange(period)
    share = np.clip((levels - LEVELS + 1) / (period - LEVELS + 1), 0, 1)
    window = 0.5 * (1 + np.cos(np.pi * share))
    responses = np.stack([low_pass.apply(each[:, 1:], axis=1)[:, :period] for each in histories], 1)
    fields = np.fft.rfft(responses * window, axis=2)[:, :, :K] * 2 / period
    omega = 2 * np.pi / (period * 0.04) * np.arange(K, dtype=np.float64)
    scale = np.array([np.linalg.norm(fields[:, i]) for i in range(len(LOADS))])
    return Area(dofs[inner], omega, 0.04, LEVELS, patch), fields / scale[:, None], np.exp(-((omega / TOP) ** 2))


def missed(kind: str, tolerance: float) -> float:
    """Relative error that a basis leaves, of all loads and frequencies."""
    area, fields, weights = problem()
    basis = basis_from(default_description(kind, area, TOP, tolerance), area)
    left = size = 0.0
    for k in range(K):
        phi, z = basis.matrix(k), weights[k] * fields[:, :, k]
        if phi is None:
            return 0.0
        assert kind == "spline" or np.allclose(phi.T @ phi, np.eye(phi.shape[1]), atol=1e-4)
        left += float(np.linalg.norm(z - phi @ (phi.T @ z))) ** 2
        size += float(np.linalg.norm(z)) ** 2
    return float(np.sqrt(left / size))


def test_helmholtz_fields_hold_what_runs_leave_in_two_materials() -> None:
    assert missed("helmholtz", 0.01) < 0.004
    area, fields, _ = problem()
    assert area.patch is not None
    wrong = dataclasses.replace(area, patch=dataclasses.replace(area.patch, speed=0 * area.patch.speed + 2.0))
    left = []
    for each in (area, wrong):
        phi, z = Helmholtz(each).matrix(8)[:, :24], fields[:, :, 8]
        left.append(np.linalg.norm(z - phi @ (phi.T @ z)) / np.linalg.norm(z))
    assert left[0] < 0.3 * left[1]  # it is the medium that makes them fit


def test_splines_hold_what_runs_leave() -> None:
    assert missed("spline", 0.01) < 0.005
    assert missed("nodes", 0.01) == 0.0


def test_a_helmholtz_basis_is_the_same_when_made_again() -> None:
    area, _, _ = problem()
    assert area.patch is not None
    basis = Helmholtz(area)
    description = json.loads(json.dumps(basis.description()))
    moved = dataclasses.replace(area.patch, nodes=area.patch.nodes * (1 + 1e-13))  # as another machine would round
    again = basis_from(description, dataclasses.replace(area, patch=moved))
    coefficients = np.random.default_rng(0).normal(size=(300, 3))
    for k in reversed(range(K)):  # in any order
        one, other = basis.matrix(k), again.matrix(k)
        assert other is not None and one.shape == other.shape and one.dtype == np.float32
        falling = coefficients[: one.shape[1]] * 0.97 ** np.arange(one.shape[1])[:, None]
        assert np.linalg.norm(one @ falling - other @ falling) < 1e-3 * np.linalg.norm(one @ falling)


def test_the_stated_miss_of_a_basis_is_its_miss() -> None:
    area, fields, weights = problem()
    gains = np.repeat(weights[None], 2, 0)
    maps = np.repeat(np.eye(4, dtype=complex)[None], K, 0)
    basis = Helmholtz(area, smallest=0.05, reach=1)
    cut = Table(fields, maps, gains, basis).cut_to_error(1e-3)
    whole, there = (np.zeros((len(area.nodes), 4, K), complex) for _ in (0, 1))
    for k in range(K):
        whole[:, :, k] = weights[k] * fields[:, :, k]
        there[:, :, k] = weights[k] * (basis.matrix(k) @ cut.factors.amplitudes(k))
    error = np.linalg.norm(there - whole) / np.linalg.norm(whole)
    assert error == pytest.approx(cut.error, rel=0.02) and cut.basis_miss <= cut.error
    assert cut.basis_miss > 0.01
    assert cut.factors.lengths is not None
    assert any(
        (np.asarray(each) < one.shape[0]).any() for each, one in zip(cut.factors.lengths, cut.factors.left, strict=True)
    )
    exact = Table(fields, maps, gains, Nodes()).cut_to_error(1e-3)
    assert exact.basis_miss == 0.0 and exact.factors.numbers > cut.factors.numbers


def columns(basis: Basis, k: int) -> NDArray[np.inexact]:
    phi = basis.matrix(k)
    assert phi is not None
    return phi


class AtNodes:
    """Source nodes of an area; a place is a node."""

    def __init__(self, nodes: NDArray[np.float64]) -> None:
        self.nodes = nodes

    def rows(self, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        near = np.linalg.norm(self.nodes[None] - points[:, None], axis=2).argmin(1)
        return near[:, None], np.ones((len(points), 1))


def plain(num: int) -> tuple[PlainData, NDArray[np.complex128]]:
    """Plain samples at some nodes, and the fields at all."""
    area, fields, weights = problem()
    fields = weights * fields
    nodes = np.random.default_rng(0).permutation(len(area.nodes))[:num]
    signals = np.sin(np.outer([4.0, 6.0], area.dt * np.arange(LEVELS + 1)))
    times = Times(LEVELS, area.dt, 0.8 * TOP, area.omega, signals)
    return PlainData(times, area.nodes[nodes], fields[nodes], AtNodes(area.nodes), area.patch), fields


def test_plain_samples_make_a_table_whose_error_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = []
    for num in (12, 30):
        data, fields = plain(num)
        solved = solve_plain(data, priors=priors("helmholtz", data.area, TOP), tolerance=0.005)
        basis = basis_from(solved.basis, data.area)
        there = np.stack([columns(basis, k) @ solved.factors.amplitudes(k) for k in range(K)], 2)
        error = np.linalg.norm(there - fields) / np.linalg.norm(fields)
        assert 0.3 * error < solved.estimate[0] < 3 * error
        errors.append(error)
    assert errors[1] < 0.05 and errors[1] < 0.5 * errors[0]
    expected, rows = basis_from({"kind": "helmholtz"}, data.area), data.mesh.rows(data.places)
    assert isinstance(expected, Components)
    changed = data.direct * np.where(np.arange(30) == 4, 2.0, 1.0)[:, None, None]
    for most in (0.1, 1e-5):  # by another ridge, measured 0.012; by nothing where there is no choice of ridges
        first, second = (fit_plain(each, rows, expected).held_out for each in (data.direct, changed))
        assert np.linalg.norm(second[4] - first[4]) < most * np.linalg.norm(first[4])
        assert np.linalg.norm(second - first) > 0.1 * np.linalg.norm(first)
        monkeypatch.setattr(plain_fit, "RIDGES", np.array([1e-4]))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="four runs at least"):
        solve_plain(
            dataclasses.replace(data, places=data.places[:3], direct=data.direct[:3]), priors=[{"kind": "helmholtz"}]
        )
    with pytest.raises(ValueError, match="choose another prior"):
        solve_plain(data, priors=[{"kind": "nodes"}])
    with pytest.raises(ValueError, match="needs a prior"):
        solve_plain(data, priors=[])
    with pytest.raises(ValueError, match="choose waves or helmholtz"):
        priors("spline", data.area, TOP)
    with pytest.raises(ValueError, match="direct must have shape"):
        dataclasses.replace(data, places=data.places[:3])
    with pytest.raises(ValueError, match="must be finite"):
        dataclasses.replace(data, direct=data.direct * np.nan)


def test_waves_hold_waves_of_their_speed() -> None:
    area, _, _ = problem()
    k, dispersion = 9, (0.01, 0.02)
    number = wave_number(area.omega[k], 0.7, dispersion, area.omega[-1])
    wave = np.exp(1j * number * (area.nodes @ (0.6, 0.8)))
    left = []
    for speed in (0.7, 2.0):
        basis = Waves(area, speed, dispersion, reach=1)
        again = basis_from(json.loads(json.dumps(basis.description())), area)
        phi = again.matrix(k)
        assert phi is not None and np.array_equal(phi, basis.matrix(k))
        left.append(np.linalg.norm(wave - phi[:, :28] @ (phi[:, :28].T @ wave)) / np.linalg.norm(wave))
    assert left[0] < 0.1 * left[1]
    assert area.patch is not None
    one = dataclasses.replace(area, patch=dataclasses.replace(area.patch, speed=0 * area.patch.speed + 0.7))
    assert default_description("waves", one, TOP, 0.01)["speed"] == 0.7
    with pytest.raises(ValueError, match="choose helmholtz where it varies"):
        default_description("waves", area, TOP, 0.01)
    with pytest.raises(ValueError, match="positive speed"):
        Waves(area, 0.0)


def test_amplitudes_are_fitted_where_runs_end() -> None:
    omega = 2 * np.pi / (125 * 0.1) * np.arange(9, dtype=np.float64)
    g = np.random.default_rng(0)
    true = g.normal(size=(3, 2, 9)) + 1j * g.normal(size=(3, 2, 9))
    true[..., 0] = true[..., 0].real
    responses = np.einsum("rnk,tk->rtn", true, np.exp(1j * np.outer(0.1 * np.arange(100), omega))).real
    found = fitted_amplitudes(responses, omega, 0.1, ridge=1e-8)
    assert np.allclose(found, true, atol=1e-4)
    ridged = fitted_amplitudes(responses, omega, 0.1)
    again = np.einsum("rnk,tk->rtn", ridged, np.exp(1j * np.outer(0.1 * np.arange(100), omega))).real
    assert np.linalg.norm(again - responses) < 0.01 * np.linalg.norm(responses)


def test_faults_of_bases_are_named() -> None:
    area, _, _ = problem()
    assert area.patch is not None
    bare = dataclasses.replace(area, patch=None)
    with pytest.raises(ValueError, match="choose the basis spline or nodes"):
        Helmholtz(bare)
    with pytest.raises(ValueError, match="describe them with their speed"):
        default_description("spline", bare, TOP, 0.01)
    quads = dataclasses.replace(area.patch, cells=np.zeros((1, 4), np.int64), speed=np.ones(1))
    with pytest.raises(ValueError, match="on triangles"):
        Helmholtz(dataclasses.replace(area, patch=quads))
    with pytest.raises(ValueError, match="smallest must be"):
        Helmholtz(area, smallest=2.0)
    with pytest.raises(ValueError, match="choose one of nodes, spline, helmholtz, waves"):
        default_description("wavelets", area, TOP, 0.01)
