"""Symmetries of a problem: maps of the plane that carry Γ onto itself, and how they fold sources into one sector."""

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pair = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class SymmetryMap:
    """A map of the plane, ``x -> matrix x + shift``, after which the problem is the same.

    Attributes:
        matrix: rows of a 2 x 2 orthogonal matrix.
        shift: unit of length.
        images: node i of Gamma lies on node images[i] after the map.
    """

    matrix: tuple[Pair, Pair]
    shift: Pair
    images: tuple[int, ...]

    def __post_init__(self) -> None:
        rows = tuple((float(a), float(b)) for a, b in self.matrix)
        object.__setattr__(self, "matrix", rows)
        object.__setattr__(self, "shift", (float(self.shift[0]), float(self.shift[1])))
        object.__setattr__(self, "images", tuple(int(i) for i in self.images))
        if len(rows) != 2 or not np.allclose(np.array(rows) @ np.array(rows).T, np.eye(2)):
            raise ValueError(f"a symmetry needs an orthogonal 2 x 2 matrix, got {self.matrix!r}")
        if sorted(self.images) != list(range(len(self.images))):
            raise ValueError("a symmetry must carry the nodes of Gamma onto one another, one to one")


class SymmetricSpec(Protocol):
    """The part of a specification that says how a problem is symmetric.

    Attributes:
        points: nodes of Gamma, from the specification's origin.
        num_arc: their number.
        symmetries: the identity first, or none at all.
    """

    @property
    def points(self) -> tuple[Pair, ...]: ...

    @property
    def num_arc(self) -> int: ...

    @property
    def symmetries(self) -> tuple[SymmetryMap, ...]: ...


class Sector:
    """The symmetries of a problem as they fold sources into one sector, which stands for all.

    Args:
        spec: says the symmetries.
    """

    def __init__(self, spec: SymmetricSpec) -> None:
        maps = spec.symmetries
        self._matrices = np.array([m.matrix for m in maps]).reshape(-1, 2, 2).transpose(0, 2, 1)
        self._shifts = np.array([m.shift for m in maps]).reshape(-1, 1, 2)
        self._arcs = np.array([m.images for m in maps], np.int64).reshape(-1, spec.num_arc)
        self._scale = 1e6 / np.ptp(np.array(spec.points))
        self._all = np.arange(spec.num_arc)

    def fold(self, sources: Array) -> tuple[Array, NDArray[np.int64]]:
        """Replace sources by their images farthest right, then up.

        Args:
            sources: (source, 2).

        Returns:
            Images (source, 2), and for each source and node the node of Gamma that the map carries it to,
            (source, arc).
        """
        if len(self._matrices) < 2:
            return sources, np.tile(self._all, (len(sources), 1))
        images = sources @ self._matrices + self._shifts  # (map, source, 2)
        rounded = np.rint(images * self._scale)
        right = rounded[..., 0]
        chosen = np.where(right == right.max(0), rounded[..., 1], -np.inf).argmax(0)  # the first of equals
        return images[chosen, np.arange(len(sources))], self._arcs[chosen]
