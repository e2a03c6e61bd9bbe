"""The trace and its transfer to other nodes and levels: exact for cubics, corners, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from solvers.gamma.chart import ClosedLoops
from solvers.gamma.gamma import Gamma
from solvers.gamma.trace import Trace
from solvers.time.grid import TimeGrid


def square(num_on_side: int, *, side: float = 0.5) -> Gamma:
    """Γ of a square zone around the origin with equal spacing."""
    corners = 0.5 * side * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)])
    share = np.arange(num_on_side)[:, None] / num_on_side
    points = np.vstack([a + share * (b - a) for a, b in zip(corners[:-1], corners[1:], strict=True)])
    return ClosedLoops.polygon(points)


def circle(num_nodes: int, radius: float = 1.0, start: float = -0.5 * np.pi) -> Gamma:
    angle = start + 2.0 * np.pi * np.arange(num_nodes) / num_nodes
    return ClosedLoops.polygon(radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))


def cubic(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A polynomial of degree 3 in the plane, hence along every straight side."""
    x, y = 4.0 * points.T
    return np.asarray(x**3 - 2.0 * x * y**2 + y**3 + x - 0.3, dtype=np.float64)


def trace_of(gamma: Gamma, grid: TimeGrid, *, load: bool = True) -> Trace:
    """Data that are cubic in time and along each side; a load whose flux is another cubic on each side."""
    t = grid.times[:, None]
    u = (1.0 + t - t**3) * cubic(gamma.points)
    v = (1.0 - 3.0 * t**2) * cubic(gamma.points)
    flux = t**2 * cubic(gamma.points[:, ::-1])
    return Trace(grid.times, gamma, u, v, flux * gamma.weights if load else None)


@pytest.mark.parametrize("num_on_side", [16, 32, 11])
def test_transfer_is_exact_for_cubics_on_sides(num_on_side: int) -> None:
    """A cubic spline without imposed ends reproduces cubics; 1e-12: round-off of a small linear solve."""
    grid = TimeGrid(1.0, 9)
    fine = square(num_on_side)
    moved = trace_of(square(8), grid).on(fine)
    expected = trace_of(fine, grid)
    np.testing.assert_allclose(moved.displacement, expected.displacement, rtol=0.0, atol=1e-12)
    np.testing.assert_allclose(moved.velocity, expected.velocity, rtol=0.0, atol=1e-12)
    assert moved.load is not None and expected.load is not None
    np.testing.assert_allclose(moved.load, expected.load, rtol=0.0, atol=1e-12)


def test_a_kink_at_a_corner_is_kept() -> None:
    """Each side has its own spline: what is linear on each, with a kink between, comes through exactly."""
    coarse, fine = square(8), square(24)

    def tent(gamma: Gamma) -> NDArray[np.float64]:
        return np.abs(gamma.axis() - 1.0)  # corners at arc 0, 0.5, 1, 1.5

    moved = coarse.chart.interpolation(coarse, fine, one_sided=False) @ tent(coarse)
    np.testing.assert_allclose(moved, tent(fine), rtol=0.0, atol=1e-13)


def test_the_flux_at_a_corner_is_the_mean_of_its_sides() -> None:
    """A flux of 1 below and 3 on the other sides: corner nodes take part in no spline, and get the mean."""
    coarse, fine = square(8), square(16)

    def flux(gamma: Gamma) -> NDArray[np.float64]:
        value = np.where(gamma.points[:, 1] < -0.25 + 1e-9, 1.0, 3.0)
        at_corner = np.abs(np.abs(gamma.points).sum(axis=1) - 0.5) < 1e-9
        return np.where(at_corner & (gamma.points[:, 1] < 0.0), 2.0, value)

    grid = TimeGrid(1.0, 3)
    rest = np.zeros((3, coarse.num_nodes))
    load = np.tile(flux(coarse) * coarse.weights, (3, 1))
    moved = Trace(grid.times, coarse, rest, rest, load).on(fine)
    assert moved.load is not None
    np.testing.assert_allclose(moved.load[0], flux(fine) * fine.weights, rtol=0.0, atol=1e-14)
    # the load's sum, the total force, is kept
    assert moved.load[0].sum() == pytest.approx(load[0].sum(), rel=1e-12)


def test_transfer_converges_along_a_curve() -> None:
    """A round Γ has no corners: halving the spacing divides the error of cubic splines by 16; 10 allows for ends."""
    errors = []
    for num_nodes in (32, 64):
        coarse, fine = circle(num_nodes), circle(4 * num_nodes)
        # nodes of the refined polygon lie on the coarse one
        corners = np.vstack([coarse.points, coarse.points[:1]])
        share = np.arange(4)[:, None] / 4.0
        on_polygon = np.vstack([a + share * (b - a) for a, b in zip(corners[:-1], corners[1:], strict=True)])
        fine = replace(fine, points=on_polygon)
        arc = np.linspace(0.0, 2.0 * np.pi, 4 * num_nodes, endpoint=False)
        moved = coarse.chart.interpolation(coarse, fine, one_sided=False) @ np.sin(3.0 * arc[::4])
        errors.append(np.abs(moved - np.sin(3.0 * arc)).max())
    assert errors[0] / errors[1] > 10.0


def test_two_loops_do_not_mix() -> None:
    inner, outer = square(4, side=0.2), square(8)
    both = ClosedLoops.polygon(np.vstack([outer.points, inner.points]), np.repeat([0, 1], [32, 16]))
    matrix = both.chart.interpolation(both, square(16), one_sided=False)
    assert np.all(matrix[:, outer.num_nodes :] == 0.0)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-13)


def test_the_same_nodes_are_left_alone() -> None:
    trace = trace_of(square(8), TimeGrid(1.0, 9))
    assert trace.on(square(8)).displacement is trace.displacement


def test_a_foreign_curve_is_refused() -> None:
    trace = trace_of(square(8), TimeGrid(1.0, 9))
    with pytest.raises(ValueError, match=r"leaves the trace's curve at \(-0.3, -0.3\)"):
        trace.on(square(8, side=0.6))


def test_resampling_is_exact_for_cubics_in_time() -> None:
    trace = trace_of(square(4), TimeGrid(1.0, 9))
    finer = trace.resampled(3)
    expected = trace_of(square(4), TimeGrid(1.0, 25))
    for ours, theirs in (
        (finer.times, expected.times),
        (finer.displacement, expected.displacement),
        (finer.velocity, expected.velocity),
        (finer.load, expected.load),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-12)  # type: ignore[arg-type]
    np.testing.assert_array_equal(finer.times[::3], trace.times)
    assert trace.resampled(1) is trace
    assert trace_of(square(4), TimeGrid(1.0, 9), load=False).resampled(2).load is None


def test_levels_outside_follow_from_the_centred_velocity() -> None:
    grid = TimeGrid(1.0, 9)
    levels = np.sin(np.arange(-1, 10)[:, None] * grid.dt + np.arange(16))
    trace = Trace(grid.times, square(4), levels[1:-1], (levels[2:] - levels[:-2]) / (2.0 * grid.dt))
    np.testing.assert_allclose(trace.extended_displacement(), levels, rtol=0.0, atol=1e-15)
    averaged = 0.25 * (levels[2:] + 2.0 * levels[1:-1] + levels[:-2])
    np.testing.assert_allclose(trace.averaged_displacement(0.25), averaged, rtol=0.0, atol=1e-15)
    assert trace.averaged_displacement(0.0) is trace.displacement


@pytest.mark.parametrize("field", ["displacement", "velocity", "load"])
def test_a_trace_of_the_wrong_shape_is_refused(field: str) -> None:
    trace = trace_of(square(4), TimeGrid(1.0, 9))
    changed: dict[str, Any] = {field: np.zeros((9, 15))}
    with pytest.raises(ValueError, match=rf"the trace's {field} has shape \(9, 15\)"):
        replace(trace, **changed)


def test_time_grid() -> None:
    grid = TimeGrid(2.0, 256)
    assert grid.dt == pytest.approx(2.0 / 255.0)
    assert grid.times[-1] == pytest.approx(2.0, rel=1e-15) and len(grid.times) == 256
    assert grid.divided(3).times[::3] == pytest.approx(grid.times, rel=1e-14)
    with pytest.raises(ValueError, match="final time must be positive, got -1"):
        TimeGrid(-1.0, 10)
    with pytest.raises(ValueError, match="final time must be positive, got nan"):
        TimeGrid(float("nan"), 10)
    with pytest.raises(ValueError, match="at least 3 levels, got 2"):
        TimeGrid(1.0, 2)
