"""Everything that determines an operator generator but its numbers."""

import dataclasses
import math
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from networks.core.fields import FIELDS
from networks.core.specification import Specification

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


@dataclasses.dataclass(frozen=True)
class OperatorSpec(Specification):
    """An operator generator: problem first, sizes after.

    Attributes:
        num_levels: time levels N of a run.
        dt: time between levels.
        rate: of both poles of the low-pass that makes the response learnable, rad per unit of time.
        band: lowest and highest angular frequency that the loss counts, rad per unit of time.
        points: nodes of Gamma in canonical order, unit of length.
        normals: outward normal of each node, integrated with its basis function, unit of length.
        weights: lumped length of each node, unit of length.
        speed: the one wave speed; where it varies, that of the medium at large, and `travel` says more.
        rays: what is known of the response beforehand: nothing, the direct ray, or all rays that the walls of a box
            reflect within the time of a run.
        walls: lower and upper corner of the box whose walls are meant, which must hold u = 0.
        travel: rows and columns of the table of travel times of the direct ray; None where the ray is straight.
        grid: a node and the steps of a grid of squares cut along the rising diagonal, over whose corners a linear
            element spreads a source; None where there is no such grid.
        symmetries: the problem's; the identity first, or none at all.
        num_frequencies: K, of the amplitudes; no more than the levels show.
        period: of the slowest of them, in durations of a run.
        rank: learnt time functions, of displacement and load each.
        width, depth: channels and layers of the network.
        dispersion: harmonics of the angle and powers of the frequency of the rays' learnt delay.
        origin: point near Gamma that `points`, `walls`, `grid` and `symmetries` are counted from, in double precision:
            far from the user's own origin, single precision holds differences only.
        model: "operator".
    """

    family: ClassVar[str] = "operator"

    num_levels: int
    dt: float
    rate: float
    band: Pair
    points: tuple[Pair, ...]
    normals: tuple[Pair, ...]
    weights: tuple[float, ...]
    speed: float
    rays: Literal["none", "direct", "walls"] = "direct"
    walls: tuple[Pair, Pair] | None = None
    travel: tuple[int, int] | None = None
    grid: tuple[Pair, Pair] | None = None
    symmetries: tuple[SymmetryMap, ...] = ()
    num_frequencies: int = 80
    period: float = 1.25
    rank: int = 96
    width: int = 96
    depth: int = 6
    dispersion: tuple[int, int] = (4, 4)
    origin: Pair = (0.0, 0.0)
    model: str = "operator"

    def __post_init__(self) -> None:
        for name in ("points", "normals"):
            object.__setattr__(self, name, tuple((float(x), float(y)) for x, y in getattr(self, name)))
        object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
        object.__setattr__(self, "band", tuple(self.band))
        object.__setattr__(self, "origin", (float(self.origin[0]), float(self.origin[1])))
        object.__setattr__(self, "dispersion", tuple(self.dispersion))
        maps = tuple(m if isinstance(m, SymmetryMap) else SymmetryMap(**m) for m in self.symmetries)
        object.__setattr__(self, "symmetries", maps)
        if self.walls is not None:
            object.__setattr__(self, "walls", tuple((float(x), float(y)) for x, y in self.walls))
        if self.grid is not None:
            object.__setattr__(self, "grid", tuple((float(x), float(y)) for x, y in self.grid))
        if self.travel is not None:
            object.__setattr__(self, "travel", tuple(self.travel))
        self._check()
        object.__setattr__(self, "num_frequencies", min(self.num_frequencies, self.period_levels // 2))

    def _check(self) -> None:
        for name in ("num_levels", "num_frequencies", "rank", "width", "depth"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        for name in ("dt", "rate", "speed"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, got {value!r}")
        if self.num_levels < 4 or len(self.points) < 4:
            raise ValueError(
                f"a response needs 4 levels and 4 nodes at least, got {self.num_levels} and {len(self.points)}"
            )
        if {len(self.normals), len(self.weights)} != {len(self.points)} or not min(self.weights) > 0:
            raise ValueError(f"each of the {len(self.points)} nodes of Gamma needs a normal and a positive weight")
        if len(self.band) != 2 or not 0 < self.band[0] <= self.band[1]:
            raise ValueError(f"band must be a lowest and a highest positive frequency, got {self.band!r}")
        if not self.period > 1:
            raise ValueError(f"period must be above 1, longer than a run, got {self.period!r}")
        if self.model != "operator":
            raise ValueError(f"an operator generator's model is 'operator', got {self.model!r}")
        if len(self.dispersion) != 2 or min(self.dispersion) < 1:
            raise ValueError(f"dispersion must be two positive integers, got {self.dispersion!r}")
        self._check_rays()
        if self.grid is not None and not min(self.grid[1]) > 0:
            raise ValueError(f"the grid's steps must be positive, got {self.grid[1]!r}")
        if any(len(m.images) != len(self.points) for m in self.symmetries):
            raise ValueError(f"a symmetry must say where each of the {len(self.points)} nodes goes")

    def _check_rays(self) -> None:
        if self.rays not in ("none", "direct", "walls"):
            raise ValueError(f"rays must be none, direct or walls, got {self.rays!r}")
        if self.rays == "walls":
            if self.walls is None or self.travel is not None:
                raise ValueError("rays = 'walls' needs the corners of a box, and one speed: use 'direct'")
            (x0, y0), (x1, y1) = self.walls
            inside = all(x0 < x < x1 and y0 < y < y1 for x, y in self.points)
            if not inside:
                raise ValueError(f"the walls {self.walls} must enclose every node of Gamma")

    @property
    def fields(self) -> tuple[str, ...]:
        """Predicted fields: all; velocity follows from displacement, so two of them are learnt."""
        return FIELDS

    def relative(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Positions in the user's coordinates, (..., 2), as they are counted from the origin."""
        return np.asarray(positions, np.float64) - np.array(self.origin)

    def images(self, positions: ArrayLike) -> list[NDArray[np.float64]]:
        """Positions in the user's coordinates, (source, 2), after each of the symmetries."""
        return [
            self.relative(positions) @ np.array(each.matrix).T + np.array(each.shift) + np.array(self.origin)
            for each in self.symmetries
        ]

    @property
    def num_arc(self) -> int:
        """Nodes of Gamma."""
        return len(self.points)

    @property
    def duration(self) -> float:
        """From the first level to the last."""
        return (self.num_levels - 1) * self.dt

    @property
    def omega(self) -> np.ndarray:
        """(frequency,) the angular frequencies of the amplitudes, from 0."""
        return 2 * np.pi / (self.period_levels * self.dt) * np.arange(self.num_frequencies)

    @property
    def period_levels(self) -> int:
        """The period in levels."""
        return max(round(self.period * (self.num_levels - 1)), self.num_levels + 1)

    @property
    def num_coefficients(self) -> int:
        """Real numbers of one response: cosines of all frequencies, sines of all but the first."""
        return 2 * self.num_frequencies - 1
