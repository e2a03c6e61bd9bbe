"""Symmetries are found where they are, refused where they are not, and hold for what the solver makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray
from solver_problems import GLL2, P1, box, relative_l2

from solvers.gamma.chart import ClosedLoops
from solvers.gamma.gamma import Gamma
from solvers.problems.full import FullModel
from solvers.space.assembly import Discretization
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource, Sine
from submodel.case.errors import CaseError
from submodel.geometry.arrays import MediumMap
from submodel.geometry.symmetry import IDENTITY, MATRICES, Symmetries, find


def rectangle(width: float, height: float, num: int = 4, middle: tuple[float, float] = (0.0, 0.0)) -> Gamma:
    """Nodes of a rectangle about the middle, num on a side, counter-clockwise."""
    along = np.arange(num) / num
    unit = np.concatenate(
        [
            np.column_stack([along, 0 * along]),
            np.column_stack([0 * along + 1, along]),
            np.column_stack([1 - along, 0 * along + 1]),
            np.column_stack([0 * along, 1 - along]),
        ]
    )
    points = (unit - 0.5) * (width, height) + middle
    return ClosedLoops.polygon(points)


def medium(width: float = 2.0, height: float = 2.0, num: int = 9) -> MediumMap:
    x, y = (np.linspace(-0.5 * size, 0.5 * size, num, dtype=np.float64) for size in (width, height))
    return MediumMap(x, y, np.ones((num, num), np.float32))


def names(gamma: Gamma, medium: MediumMap, requested: object = "auto") -> list[str]:
    return [symmetry.name for symmetry in find(gamma, medium, requested)]  # type: ignore[arg-type]


def with_speed(mask: NDArray[np.bool_], value: float) -> MediumMap:
    whole = medium()
    return MediumMap(whole.x, whole.y, np.where(mask, np.float32(value), whole.speed))


def test_a_square_has_eight_and_a_rectangle_four() -> None:
    assert names(rectangle(1.0, 1.0), medium()) == list(MATRICES)
    four = [IDENTITY, "mirror-x", "mirror-y", "rotate-180"]
    assert names(rectangle(1.0, 0.5), medium()) == four
    assert names(rectangle(1.0, 1.0), medium(3.0, 2.0)) == four


def test_an_l_has_its_diagonal() -> None:
    x, y = np.meshgrid(medium().x, medium().y)
    assert names(rectangle(0.5, 0.5), with_speed((x > 0) & (y > 0), np.nan)) == [IDENTITY, "transpose"]
    assert names(rectangle(0.5, 0.5, middle=(-0.5, -0.4)), with_speed((x > 0) & (y > 0), np.nan)) == [IDENTITY]
    assert names(rectangle(0.5, 0.5, middle=(0.5, -0.5)), with_speed((x > 0) & (y < 0), 2.0)) == [
        IDENTITY,
        "antitranspose",
    ]


def test_nodes_without_images_leave_the_identity() -> None:
    gamma = rectangle(1.0, 1.0)
    gamma.points[1] += 1e-3
    assert names(gamma, medium()) == [IDENTITY]
    with pytest.raises(CaseError, match=r'"mirror-y", which does not hold: the zone\'s boundary has no node at the im'):
        find(gamma, medium(), ["mirror-y"])


def test_none_may_be_wanted_and_some_are_completed_to_a_group() -> None:
    assert names(rectangle(1.0, 1.0), medium(), []) == [IDENTITY]
    assert names(rectangle(1.0, 1.0), medium(), ["rotate-180"]) == [IDENTITY, "rotate-180"]
    assert names(rectangle(1.0, 1.0), medium(), ["mirror-x", "mirror-y"])[-1] == "rotate-180"
    assert names(rectangle(1.0, 1.0), medium(), ["rotate-90"]) == [IDENTITY, "rotate-90", "rotate-180", "rotate-270"]
    assert names(rectangle(1.0, 1.0), medium(), ["mirror-x", "transpose"]) == list(MATRICES)


def test_a_false_declaration_is_refused_with_what_differs() -> None:
    x, y = np.meshgrid(medium().x, medium().y)
    square = rectangle(1.0, 1.0)
    with pytest.raises(CaseError, match=r'names "transpose", .* the domain is 3 wide and 2 high; leave it out, or'):
        find(square, medium(3.0, 2.0), ["transpose"])
    with pytest.raises(CaseError, match=r"the wave speed differs, near \(-1, -1\) for example"):
        find(square, with_speed(y < 0, 2.0), ["mirror-y"])
    with pytest.raises(CaseError, match=r"the domain's shape differs, near \(-1, -1\) for example"):
        find(square, with_speed((x > 0) & (y > 0), np.nan), ["rotate-180"])
    with pytest.raises(CaseError, match="the zone's boundary has no node at the image of its node at"):
        find(rectangle(1.0, 1.0, middle=(0.1, 0.0)), medium(), ["mirror-x"])


def test_a_declaration_outlives_an_uneven_edge() -> None:
    """One of 81 * 2 points beside an edge may differ where a mesh without structure cuts it; found it is not."""
    whole = medium(num=21)
    whole.speed[3, 4] = 1.5
    assert names(rectangle(1.0, 1.0), whole) == [IDENTITY]
    assert names(rectangle(1.0, 1.0), whole, ["transpose"]) == [IDENTITY, "transpose"]


def test_images_of_nodes_are_nodes() -> None:
    gamma = rectangle(1.0, 1.0, middle=(0.0, 0.0))
    for symmetry in find(gamma, medium()):
        assert symmetry.apply(gamma.points) == pytest.approx(gamma.points[symmetry.images])
        assert np.array_equal(np.sort(symmetry.images), np.arange(16))


@pytest.mark.parametrize(("requested", "num"), [("auto", 3), ([], 16), (["rotate-90"], 4), (["mirror-x"], 9)])
def test_orbits_hold_every_node_once(requested: object, num: int) -> None:
    group = Symmetries(tuple(find(rectangle(1.0, 1.0), medium(), requested)))  # type: ignore[arg-type]
    orbits = group.orbits()
    assert len(orbits) == num
    assert sorted(node for orbit in orbits for node, _ in orbit) == list(range(16))
    for orbit in orbits:
        assert orbit[0][1] == 0
        assert all(group.maps[number].images[node] == orbit[0][0] for node, number in orbit)


EXACT = ("transpose", "antitranspose", "rotate-180")


@pytest.mark.parametrize(
    ("discretization", "num_cells", "time"),
    [(P1, 128, TimeGrid(2.0, 256)), (GLL2, 32, TimeGrid(0.8, 97))],
    ids=["p1", "gll2"],
)
def test_a_run_from_the_image_is_the_image_of_the_run(
    discretization: Discretization, num_cells: int, time: TimeGrid
) -> None:
    """To round-off where the mesh has the map; on the reference problem's triangles the mirrors are off by 0.4 %."""
    model = FullModel(box(MPI.COMM_SELF, discretization, num_cells), discretization, time)
    gamma = model.gamma
    position = (0.413, 0.621)

    def displacement(at: tuple[float, float]) -> NDArray[np.float64]:
        run = model.run(PointSource(at, Sine(4.0 * np.pi)), fields=False)
        assert run is not None
        return run.trace.displacement

    found = find(gamma, medium())
    assert len(found) == 8
    straight = displacement(position)
    for symmetry in found:
        x, y = symmetry.apply([position])[0]
        error = relative_l2(displacement((float(x), float(y)))[..., symmetry.images], straight)
        if discretization is P1 and symmetry.name not in (IDENTITY, *EXACT):
            assert 1e-3 < error < 5e-3, symmetry.name
        else:
            assert error < 1e-12, symmetry.name
