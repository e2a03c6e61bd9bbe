"""Travel times: distance over speed, Snell's law between two layers, and the way around a corner."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from roof_problems import travel_times
from scipy.optimize import minimize_scalar

from submodel.geometry import travel_time as travel
from submodel.geometry.arrays import MediumMap
from submodel.geometry.travel_time import travel_table

NODES = np.array([[-0.43, -0.61], [-0.7, 0.3]])
PLACES = np.random.default_rng(0).uniform(-0.95, 0.95, (300, 2))


def medium(speed: object, num: int = 257) -> MediumMap:
    """A square whose speed is a function of x and y."""
    along = np.linspace(-1.0, 1.0, num, dtype=np.float64)
    x, y = np.meshgrid(along, along)
    assert callable(speed)
    return MediumMap(along, along, np.broadcast_to(np.float32(speed(x, y)), x.shape).copy())


def distances(places: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(places[:, None] - NODES[None], axis=2)


def test_a_box_with_one_speed_needs_no_table() -> None:
    assert travel_table(medium(lambda x, y: 2.0), NODES) is None


def test_paths_over_the_grid_are_within_one_per_cent() -> None:
    whole = medium(lambda x, y: 2.0, 65)
    places = np.stack(np.meshgrid(whole.x, whole.y), axis=-1).reshape(-1, 2)
    time = travel._shortest(whole, places, (65, 65), NODES)
    ratio = time.T / (distances(places) / 2.0)
    assert ratio.min() > 1 - 1e-9
    assert 1.005 < ratio.max() < 1.008  # 1 / cos(7.0 degrees), and what the start saves


def test_around_a_corner() -> None:
    """An L: what a node sees is exact, the rest goes by the corner at the origin."""
    table = travel_table(medium(lambda x, y: np.where((x > 0) & (y > 0), np.nan, 0.5)), NODES)
    assert table is not None
    places = PLACES[~((PLACES[:, 0] > -0.02) & (PLACES[:, 1] > -0.02))]
    time, direct = travel_times(table, places), distances(places) / 0.5
    around = (np.linalg.norm(places, axis=1)[:, None] + np.linalg.norm(NODES, axis=1)) / 0.5
    hidden = _crosses(places)
    assert hidden.sum() > 15
    assert (~hidden).sum() > 200
    clear = ~hidden & (direct > 0.1)
    error = abs(time / direct - 1)[clear]
    assert np.quantile(error, 0.9) < 1e-3
    assert error.max() < 0.01  # beside the corner's shadow: the grid does not tell it from the light
    assert abs(time / around - 1)[hidden].max() < 0.01


def _crosses(places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the straight line to each node passes through the first quadrant."""
    share = np.linspace(0, 1, 400)[:, None, None, None]
    way = places[None, :, None] + share * (NODES[None, None] - places[None, :, None])
    return np.asarray(((way > 0).all(axis=3)).any(axis=0))


def test_two_layers_follow_snell() -> None:
    """Between layers of speed 1 and 2: the least of all broken lines; also within the slow one (head waves)."""
    table = travel_table(medium(lambda x, y: np.where(y >= 0.0, 2.0, 1.0)), NODES[:1])
    assert table is not None
    (a, b), far = NODES[0], PLACES[PLACES[:, 1] > 0.05]

    def least(x: float, y: float) -> float:
        return float(
            minimize_scalar(
                lambda s: np.hypot(s - a, b) + np.hypot(x - s, y) / 2.0, bounds=(-1, 1), method="bounded"
            ).fun
        )

    snell = np.array([least(x, y) for x, y in far])
    assert abs(travel_times(table, far)[:, 0] / snell - 1).max() < 0.01


def test_a_table_covers_the_outside() -> None:
    table = travel_table(medium(lambda x, y: np.where(np.hypot(x, y) < 0.98, 1.0, np.nan), 65), NODES)
    assert table is not None
    assert table.time.shape == (65, 65, 2)
    assert table.time.dtype == np.float32
    assert np.isfinite(table.time).all()


def test_a_table_is_not_too_large() -> None:
    table = travel_table(medium(lambda x, y: np.where(x < 0, 1.0, 2.0)), NODES)
    assert table is not None
    assert table.time.shape == (129, 129, 2)


def test_a_node_outside_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no wave reaches the node \[0\.5, 0\.5\] of the zone's boundary"):
        travel_table(medium(lambda x, y: np.where((x > 0) & (y > 0), np.nan, 1.0)), np.array([[0.5, 0.5]]))


def test_a_node_on_a_wall_between_grid_points_is_reached_from_the_inside() -> None:
    """A notch in the zone: Γ ends on the wall, where the grid point next to its last node lies outside."""
    walled = medium(lambda x, y: np.where(x > 0.03, np.nan, 1.0), 65)
    nodes = np.array([[0.03, 0.2], [-0.3, 0.2]])
    table = travel_table(walled, nodes)
    assert table is not None
    places = PLACES[PLACES[:, 0] < -0.1]
    exact = np.linalg.norm(places[:, None] - nodes[None], axis=2)
    assert np.abs(travel_times(table, places) - exact).max() < 0.04, "a cell of the grid, 1/32 wide"
