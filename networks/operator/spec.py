"""Everything that determines an operator generator but its numbers."""

import dataclasses
import math
from typing import ClassVar, Literal

from networks.response.specification import ResponseSpecification
from networks.response.symmetry import Pair, SymmetryMap


@dataclasses.dataclass(frozen=True)
class OperatorSpec(ResponseSpecification):
    """An operator generator: problem first, sizes after.

    Attributes:
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
        self.settle()
        object.__setattr__(self, "normals", tuple((float(x), float(y)) for x, y in self.normals))
        object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
        object.__setattr__(self, "dispersion", tuple(self.dispersion))
        if self.walls is not None:
            object.__setattr__(self, "walls", tuple((float(x), float(y)) for x, y in self.walls))
        if self.grid is not None:
            object.__setattr__(self, "grid", tuple((float(x), float(y)) for x, y in self.grid))
        if self.travel is not None:
            object.__setattr__(self, "travel", tuple(self.travel))
        self._check()
        object.__setattr__(self, "num_frequencies", min(self.num_frequencies, self.period_levels // 2))

    def _check(self) -> None:
        self.check("rank", "width", "depth")
        if not (math.isfinite(self.speed) and self.speed > 0):
            raise ValueError(f"speed must be positive and finite, got {self.speed!r}")
        if {len(self.normals), len(self.weights)} != {len(self.points)} or not min(self.weights) > 0:
            raise ValueError(f"each of the {len(self.points)} nodes of Gamma needs a normal and a positive weight")
        if self.model != "operator":
            raise ValueError(f"an operator generator's model is 'operator', got {self.model!r}")
        if len(self.dispersion) != 2 or min(self.dispersion) < 1:
            raise ValueError(f"dispersion must be two positive integers, got {self.dispersion!r}")
        self._check_rays()
        if self.grid is not None and not min(self.grid[1]) > 0:
            raise ValueError(f"the grid's steps must be positive, got {self.grid[1]!r}")

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
    def num_coefficients(self) -> int:
        """Real numbers of one response: cosines of all frequencies, sines of all but the first."""
        return 2 * self.num_frequencies - 1
