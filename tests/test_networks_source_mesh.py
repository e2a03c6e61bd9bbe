"""The mesh of a source area: cells found, shares of nodes, places outside refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from networks.table.factors import Factors, canonical
from networks.table.source_mesh import SourceMesh

Array = NDArray[np.float64]
CORNERS = np.array([[0.0, 0.0], [0.1, 1.1], [1.2, 0.05], [1.0, 0.9]])  # at (s, t) = (0, 0), (0, 1), (1, 0), (1, 1)


def triangles(num: int = 5, size: float = 1.0, seed: int = 0) -> SourceMesh:
    """A square of triangles whose inner nodes are moved at random."""
    x, y = np.meshgrid(np.arange(num + 1.0), np.arange(num + 1.0), indexing="ij")
    inner = (x > 0) & (x < num) & (y > 0) & (y < num)
    nodes = np.stack((x, y), -1)
    nodes[inner] += np.random.default_rng(seed).uniform(-0.2, 0.2, (inner.sum(), 2))
    i, j = np.meshgrid(np.arange(num), np.arange(num), indexing="ij")
    a = (i * (num + 1) + j).ravel()
    cells = np.concatenate((np.stack((a, a + num + 1, a + num + 2), 1), np.stack((a, a + num + 2, a + 1), 1)))
    return SourceMesh(size / num * nodes.reshape(-1, 2), cells)


def bilinear(s: Array, t: Array) -> Array:
    s, t = s[:, None], t[:, None]
    first, second, third, fourth = CORNERS
    return np.asarray(first * (1 - s) * (1 - t) + second * (1 - s) * t + third * s * (1 - t) + fourth * s * t)


@pytest.mark.parametrize("size", [1.0, 2.0**-40, 2.0**30])
def test_shares_put_a_place_back_together(size: float) -> None:
    mesh = triangles(size=size)
    points = np.random.default_rng(1).uniform(0, size, (200, 2))
    nodes, shares = mesh.rows(points)
    assert nodes.shape == shares.shape == (200, 3)
    np.testing.assert_allclose(np.einsum("pvi,pv->pi", mesh.nodes[nodes], shares), points, rtol=0, atol=1e-15 * size)
    np.testing.assert_allclose(shares.sum(1), 1.0, atol=1e-15)
    assert shares.min() >= -1e-12
    assert np.array_equal(shares, triangles().rows(points / size)[1]), "units matter"


def test_a_node_is_all_of_itself() -> None:
    mesh = triangles()
    nodes, shares = mesh.rows(mesh.nodes)
    rows = np.arange(len(mesh.nodes))
    assert np.array_equal(nodes[rows, shares.argmax(1)], rows)
    np.testing.assert_allclose(shares.max(1), 1.0, atol=1e-14)


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_a_quadrilateral_spreads_by_its_own_functions(degree: int) -> None:
    knots = SourceMesh(np.zeros(((degree + 1) ** 2, 2)), np.arange((degree + 1) ** 2)[None], "gll", degree)._knots
    assert np.allclose(knots, 1 - knots[::-1], atol=1e-15) and (degree != 2 or knots[1] == 0.5)
    s, t = (grid.ravel() for grid in np.meshgrid(knots, knots, indexing="ij"))
    mesh = SourceMesh(bilinear(s, t), np.arange(len(s))[None], "gll", degree)
    where = np.random.default_rng(2).uniform(0, 1, (50, 2))
    nodes, shares = mesh.rows(bilinear(*where.T))

    def field(s: Array, t: Array) -> Array:
        return np.asarray((s**degree - 2 * s) * (t**degree + t))

    expected = field(*where.T)
    np.testing.assert_allclose((field(s, t)[nodes] * shares).sum(1), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("place", [(1.1, 0.5), (-0.001, 0.5), (np.nan, 0.5), (0.5, np.inf)])
def test_a_place_outside_is_refused(place: tuple[float, float]) -> None:
    mesh = triangles()
    with pytest.raises(ValueError, match="lies outside the source area of this generator"):
        mesh.rows([(0.5, 0.5), place])


def test_a_hole_is_outside_and_the_message_is_in_the_users_coordinates() -> None:
    mesh = triangles()
    middles = mesh.nodes[mesh.cells].mean(1)
    rest = np.linalg.norm(middles - 0.5, axis=1) > 0.3
    holed = SourceMesh(mesh.nodes, mesh.cells[rest], origin=(100.0, 0.0))
    holed.rows(middles[rest])
    with pytest.raises(ValueError, match=r"the source at \(100\.5, 0\.5\) lies outside"):
        holed.rows([(0.5, 0.5)])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"cells": [[0, 1]]}, "have 3 nodes each"),
        ({"cells": [[0, 1, 9]]}, "outside 0 .. 3"),
        ({"nodes": [[0.0, np.nan]] * 4}, "finite points"),
        ({"element": "p2"}, "p1 elements or of gll ones"),
        ({"degree": 2}, "p1 elements or of gll ones"),
    ],
)
def test_no_such_mesh(changes: dict[str, object], text: str) -> None:
    whole = {"nodes": CORNERS, "cells": [[0, 1, 2]], "element": "p1", "degree": 1, **changes}
    with pytest.raises(ValueError, match=text):
        SourceMesh(**whole)  # type: ignore[arg-type]


def test_factors_multiply_and_are_counted() -> None:
    rng = np.random.default_rng(0)

    def some(*shape: int) -> NDArray[np.complex128]:
        return np.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))

    factors = Factors([some(5, 2), some(6, 3), some(4, 1)], [some(2, 4), some(3, 4), some(1, 2)],
                      [some(4, 8).real, some(2, 8).real], 2)  # fmt: skip
    assert factors.num_frequencies == 3 and factors.num_arc == 4
    right = (8 - 3) + (12 - 6) + (2 - 1)
    assert factors.numbers == 2 * (10 + 18 + 4 + right) + 4 * (8 - 4) + 2 * (8 - 2)
    form = canonical(factors)
    assert form.factors.numbers == factors.numbers
    for k in range(3):
        load = np.repeat((1.0, 2.0 ** form.ratios[k // 2]), 4)
        np.testing.assert_allclose(form.factors.amplitudes(k) * load, factors.amplitudes(k), rtol=1e-10, atol=1e-10)
        triangle = form.factors.right[k][:, form.rows[k]]
        np.testing.assert_allclose(np.tril(triangle), np.eye(len(triangle)), atol=1e-12)
        own = form.factors.gamma[k // 2][:, form.nodes[k // 2]]
        np.testing.assert_allclose(own, np.eye(len(own)), atol=1e-12)
    np.testing.assert_array_equal(factors.amplitudes(2), factors.left[2] @ factors.right[2] @ factors.gamma[1])
    with pytest.raises(ValueError, match="do not multiply"):
        Factors(factors.left, factors.right[::-1], factors.gamma, 2)
    with pytest.raises(ValueError, match="patterns for every 3 frequencies"):
        Factors(factors.left, factors.right, factors.gamma, 3)
