"""Symmetries of a problem: maps of the plane that leave domain, medium and zone as they are. No FEniCS needed.

They hold for the equation. For what a solver makes of it they hold as far as the mesh has them. On the reference
problem's triangles, all cut along one diagonal, transpose, antitranspose and rotate-180 hold to round-off. The mirrors
and quarter turns do not: a point source between the nodes spreads over a triangle that lies the other way round after
the map, and the zone's corners change their number of triangles. Over its test samples the displacement on the zone's
boundary is 0.29 % off (relative L2, mean; 0.8 % at most), the load 1.2 % (2.2 %). A mesh without structure has a
symmetry to its error of discretisation only. Where that matters name the maps in the case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from solvers.gamma.gamma import Gamma
from submodel.case.errors import CaseError
from submodel.geometry.arrays import MediumMap

Number = TypeVar("Number", np.float32, np.float64)

IDENTITY = "identity"
MATRICES: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    IDENTITY: ((1, 0), (0, 1)),
    "mirror-x": ((-1, 0), (0, 1)),
    "mirror-y": ((1, 0), (0, -1)),
    "transpose": ((0, 1), (1, 0)),
    "antitranspose": ((0, -1), (-1, 0)),
    "rotate-90": ((0, -1), (1, 0)),
    "rotate-180": ((-1, 0), (0, -1)),
    "rotate-270": ((0, 1), (-1, 0)),
}
TOLERANCE = 1e-6  # of the domain's size, for nodes; relative, for speeds and lengths
SHARE = 0.01  # of the grid's points where a declared map may fail: edges that a mesh without structure cuts unevenly


@dataclass(frozen=True)
class Symmetry:
    """A map of the plane, ``x -> matrix x + shift``, that the problem shares.

    Args:
        name: One of `MATRICES`.
        matrix: (2, 2) orthogonal.
        shift: (2,) length.
        images: (node,) integer; node i of Γ lies on node ``images[i]`` after the map.
    """

    name: str
    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    images: NDArray[np.int64]

    def apply(self, points: ArrayLike) -> NDArray[np.float64]:
        """The images of points, (point, 2)."""
        return np.asarray(np.asarray(points, dtype=np.float64) @ self.matrix.T + self.shift)


@dataclass(frozen=True)
class Symmetries:
    """A group of maps, the identity first."""

    maps: tuple[Symmetry, ...]

    def orbits(self) -> list[list[tuple[int, int]]]:
        """Nodes of Γ in groups that the maps carry onto one another.

        Returns:
            For each representative its orbit: pairs of a node and the number of a map that carries this node to the
            representative, which comes first itself, with the identity.
        """
        images = np.stack([symmetry.images for symmetry in self.maps])
        orbits = []
        for node in np.flatnonzero((images >= np.arange(images.shape[1])).all(axis=0)):
            members: dict[int, int] = {}
            for number, each in enumerate(images):
                members.setdefault(int(np.flatnonzero(each == node)[0]), number)
            orbits.append(list(members.items()))
        return orbits

    def fold(self, points: ArrayLike, size: float) -> NDArray[np.float64]:
        """The images of points, (point, 2), that lie farthest right, then up; in the sector that stands for all.

        Args:
            points: Places.
            size: Extent of Γ: what differs by less than a millionth of it counts as equal.
        """
        images = np.stack([symmetry.apply(points) for symmetry in self.maps])
        right, up = np.rint(np.moveaxis(images, -1, 0) * (1e6 / size))
        chosen = np.where(right == right.max(0), up, -np.inf).argmax(0)
        return np.asarray(images[chosen, np.arange(images.shape[1])])

    def sector(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distances inside the edges of the sector that `fold` folds into, (map - 1, ...) of points (..., 2).

        They are not negative where a point is its own image under `fold`.
        """
        inside = []
        for symmetry in self.maps[1:]:
            image = points @ symmetry.matrix.T + symmetry.shift
            axis = 0 if not np.allclose(symmetry.matrix[0], (1.0, 0.0)) else 1
            inside.append(points[..., axis] - image[..., axis])
        return np.array(inside).reshape(len(self.maps) - 1, *points.shape[:-1])


def find(
    gamma: Gamma, medium: MediumMap, requested: Literal["auto"] | Sequence[str] = "auto"
) -> list[Symmetry]:
    """The symmetries about the middle of the domain's bounding box.

    Args:
        gamma: Must have a node wherever a map carries one.
        medium: Must be the same after a map.
        requested: Names, which are completed to a group, or "auto" for all that hold.

    Returns:
        The maps, the identity first.

    Raises:
        CaseError: A map that was asked for does not hold; what differs is named.
    """
    names = [name for name in MATRICES if name != IDENTITY]
    maps = [_map(IDENTITY, medium, np.arange(len(gamma.points)))]
    for name in names if requested == "auto" else requested:
        images, fault = _check(name, gamma, medium, 0.0 if requested == "auto" else SHARE)
        if images is not None:
            maps.append(_map(name, medium, images))
        elif requested != "auto":
            raise CaseError(
                f'symmetry.maps names "{name}", which does not hold: {fault}; leave it out, or write maps = "auto"'
            )
    return _group(maps)


def _check(
    name: str, gamma: Gamma, medium: MediumMap, share: float
) -> tuple[NDArray[np.int64] | None, str]:
    """The images of the nodes, or None and the difference after a map, in words."""
    size = max(float(np.ptp(medium.x)), float(np.ptp(medium.y)))
    turned = np.array(MATRICES[name])[0, 0] == 0
    if turned and abs(np.ptp(medium.x) - np.ptp(medium.y)) > TOLERANCE * size:
        return None, f"the domain is {np.ptp(medium.x):g} wide and {np.ptp(medium.y):g} high"
    here, there = medium.speed, _mapped(name, medium.speed)
    different = np.isnan(here) != np.isnan(there)
    if np.count_nonzero(different) > share * different.size:
        return None, f"the domain's shape differs, near {_place(different, medium)} for example"
    with np.errstate(invalid="ignore"):
        different = abs(here - there) > TOLERANCE * abs(here)
    if np.count_nonzero(different) > share * different.size:
        return None, f"the wave speed differs, near {_place(different, medium)} for example"
    points = _map(name, medium, np.empty(0, np.int64)).apply(gamma.points)
    distance, images = cKDTree(gamma.points).query(points)
    if distance.max() > TOLERANCE * size or len(np.unique(images)) < len(images):
        worst = gamma.points[distance.argmax()]
        return None, f"the zone's boundary has no node at the image of its node at ({worst[0]:.6g}, {worst[1]:.6g})"
    return np.asarray(images, dtype=np.int64), ""


def _mapped(name: str, speed: NDArray[np.float32]) -> NDArray[np.float32]:
    """The speed at the images of the grid's points, (y, x)."""
    (xx, xy), (yx, yy) = MATRICES[name]
    if xx == 0:  # the image's x is +-y, its y is +-x
        return speed[::yx, ::xy].T
    return speed[::yy, ::xx]


def _place(different: NDArray[np.bool_], medium: MediumMap) -> str:
    row, column = np.argwhere(different)[0]
    return f"({medium.x[column]:g}, {medium.y[row]:g})"


def _map(name: str, medium: MediumMap, images: NDArray[np.int64]) -> Symmetry:
    middle = 0.5 * np.array([medium.x[0] + medium.x[-1], medium.y[0] + medium.y[-1]])
    matrix = np.array(MATRICES[name], dtype=np.float64)
    return Symmetry(name, matrix, middle - matrix @ middle, images)


def _group(maps: list[Symmetry]) -> list[Symmetry]:
    """All maps that follow from some by doing one after another, in the order of `MATRICES`."""
    group = {symmetry.name: symmetry for symmetry in maps}
    while True:
        new: dict[str, Symmetry] = {}
        for first in group.values():
            for second in group.values():
                matrix = second.matrix @ first.matrix
                name = next(name for name, known in MATRICES.items() if np.array_equal(known, matrix))
                if name not in group:
                    shift = second.matrix @ first.shift + second.shift
                    new[name] = Symmetry(name, matrix, shift, second.images[first.images])
        if not new:
            return [group[name] for name in MATRICES if name in group]
        group |= new
