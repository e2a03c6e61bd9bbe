"""Where rays come from and how they meet Gamma: images of the sources, travel times, directions.

Few numbers, each of little work: NumPy on the host does them in a fraction of what tensors cost, on any device.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from networks.operator.spec import OperatorSpec

Array = NDArray[np.float64]

TINY = float(np.finfo(np.float64).tiny)
"""Instead of a length of 0, which is divided by."""
EARLY = 0.03
"""Share of a run that a ray may come after its end: what a grid smears arrives before the ray."""


@dataclass(frozen=True)
class Arrivals:
    """Rays from images of the sources to every node of Gamma.

    Attributes:
        source: (pair,) whose image it is.
        delay: (pair, arc) travel times.
        strength: (2, pair, arc) sign and size, of displacement and load; 0 where a ray does not arrive in time.
        features: (feature, pair, arc) what the factors act on, those that only the load has last.
    """

    source: NDArray[np.int64]
    delay: Array
    strength: NDArray[np.float32]
    features: NDArray[np.float32]


class RayGeometry:
    """Rays of any sources.

    Args:
        spec: says which rays. Sources lie within its `walls`.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        self.spec = spec
        points, normals = np.array(spec.points), np.array(spec.normals)
        sizes = np.maximum(np.linalg.norm(normals, axis=1), TINY)
        self._points = np.ascontiguousarray(points.T)
        self._slopes = np.ascontiguousarray((normals / sizes[:, None]).T)
        self._slowness = sizes / spec.speed  # times the lumped length
        self._turns = 1 - (sizes / np.array(spec.weights)) ** 2
        self._middle, self._flips, self._offsets, self._signs = image_maps(spec)
        self._mixed = self._flips.prod(1)
        self._center, self._half = 0.5 * (points.max(0) + points.min(0)), 0.5 * np.ptp(points, axis=0)

    def arrivals(self, sources: Array, travel: Array | None = None, *, every: bool = False) -> Arrivals:
        """The rays of some sources.

        Args:
            sources: (source, 2).
            travel: (source, arc) travel times, where they are not those of straight rays.
            every: whether images are kept from which no ray can arrive in time, so that there are as many pairs for
                whatever sources.
        """
        spec, num_images = self.spec, len(self._signs)
        images: Array = ((sources[:, None] - self._middle) * self._flips + self._offsets).reshape(-1, 2)
        pair: NDArray[np.int64] = np.arange(len(images))
        latest = (1 + EARLY) * spec.duration
        if not every and num_images > 1:
            gap = np.maximum(np.abs(images - self._center) - self._half, 0.0)  # from the box around Gamma
            pair = np.flatnonzero(np.hypot(gap[:, 0], gap[:, 1]) <= latest * spec.speed)
            images = images[pair]
        source, image = pair // num_images, pair % num_images
        right, up = self._points[0] - images[:, :1], self._points[1] - images[:, 1:]
        length = np.hypot(right, up)
        delay = length / spec.speed if travel is None else travel
        np.maximum(length, TINY, out=length)
        right /= length
        up /= length
        along = right * self._slopes[0] + up * self._slopes[1]
        strength = np.empty((2, *delay.shape), np.float32)
        np.multiply(delay <= latest, self._signs[image, None], out=strength[0], casting="same_kind")
        np.multiply(strength[0], along * self._slowness, out=strength[1], casting="same_kind")
        return Arrivals(source, delay, strength, self._features(sources, source, image, right, up, along, delay))

    def way(self, sources: Array, arcs: NDArray[np.int64]) -> tuple[Array, Array, Array]:
        """From each source to some nodes (source, arc): along x, along y, and its length, the same shape."""
        right, up = self._points[0][arcs] - sources[:, :1], self._points[1][arcs] - sources[:, 1:]
        return right, up, np.hypot(right, up)

    def _features(
        self,
        sources: Array,
        source: NDArray[np.int64],
        image: NDArray[np.int64],
        right: Array,
        up: Array,
        along: Array,
        delay: Array,
    ) -> NDArray[np.float32]:
        harmonics = self.spec.dispersion[0]
        out = np.empty((harmonics + 5, *delay.shape))
        square = right * right
        double = 2 * square - 1  # cosine of twice the angle, of which that of four times the angle follows
        quadruple = 2 * (double * double) - 1
        np.multiply(delay, 40 / self.spec.duration, out=out[0])
        if harmonics > 1:
            np.multiply(out[0], quadruple, out=out[1])
            twice = quadruple + quadruple
            for number in range(2, harmonics):
                np.multiply(twice, out[number - 1], out=out[number])
                out[number] -= out[number - 2]
        out[harmonics], out[harmonics + 1] = 1.0, quadruple
        out[harmonics + 2] = self._spread(sources, source, image, square, right * up)
        np.multiply(2 * along, along, out=out[harmonics + 3])
        out[harmonics + 3] -= 1
        out[harmonics + 4] = self._turns
        return out.astype(np.float32)

    def _spread(
        self, sources: Array, source: NDArray[np.int64], image: NDArray[np.int64], square: Array, both: Array
    ) -> Array | float:
        """Second moment along the way, (pair, arc), of a source over the corners of its triangle, less its mean, in
        squared steps."""
        if self.spec.grid is None:
            return 0.0
        origin, step = self.spec.grid
        share = (sources - origin) / step
        share -= np.floor(share)
        along = 6 * (share * (1 - share)) - 1
        mixed = 12 * (share.min(1) - share.prod(1)) - 1  # twice the mixed moment
        x, y = along[source, :1], along[source, 1:]
        return np.asarray((x - y) * square + y + (mixed[source] * self._mixed[image])[:, None] * both)


def image_maps(spec: OperatorSpec) -> tuple[Array, Array, Array, Array]:
    """Reflections of sources by the walls: ``image = (source - middle) * flip + offset``.

    Returns:
        The middle (2,), and for each image flip (image, 2), offset (image, 2) and the sign (image,) of its wave; images
        from which no source within the walls reaches Gamma in time are left out.
    """
    if spec.rays != "walls" or spec.walls is None:
        return np.zeros(2), np.ones((1, 2)), np.zeros((1, 2)), np.ones(1)
    lower, upper = (np.array(corner) for corner in spec.walls)
    farthest = (1 + EARLY) * spec.duration * spec.speed
    middle, size = 0.5 * (lower + upper), upper - lower
    along, across = (np.arange(-count, count + 1) for count in np.ceil(farthest / size).astype(int) + 1)
    numbers = np.stack(np.meshgrid(along, across, indexing="ij"), -1).reshape(-1, 2)
    points = np.array(spec.points)
    gap = np.maximum(lower + size * numbers - points.max(0), points.min(0) - (upper + size * numbers)).clip(min=0)
    numbers = numbers[np.linalg.norm(gap, axis=1) <= farthest * (1 + 1e-6)]
    odd = numbers % 2
    return middle, 1.0 - 2 * odd, middle + size * numbers, 1.0 - 2 * (odd.sum(1) % 2)
