"""Small generators and fields that the tests of the networks share."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from networks.paper.catalogue import MODELS
from networks.paper.spec import GeneratorSpec
from networks.response.signal_response import toeplitz

NUM_LEVELS, NUM_ARC, GRID = 12, 8, (5, 6)
DT = 0.25
Pairs = tuple[tuple[float, float], ...]
SQUARE = 0.25 * np.array([[-1, -1], [0, -1], [1, -1], [1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0]])


def _square_nodes() -> tuple[Pairs, Pairs, tuple[float, ...]]:
    """Nodes, integrated outward normals and lumped lengths of SQUARE, as a specification takes them."""
    side = np.roll(SQUARE, -1, axis=0) - SQUARE
    half = 0.5 * np.stack((side[:, 1], -side[:, 0]), axis=1)
    normals, lengths = half + np.roll(half, 1, axis=0), np.linalg.norm(side, axis=1)
    points, outward = (tuple((float(x), float(y)) for x, y in values) for values in (SQUARE, normals))
    return points, outward, tuple(map(float, 0.5 * (lengths + np.roll(lengths, 1))))


SQUARE_NODES = _square_nodes()


def is_zone(model: str) -> bool:
    return MODELS[model][2] == "zone"


def toy(model: str, **options: Any) -> GeneratorSpec:
    """A model of the family with few numbers."""
    time, space, _, _ = MODELS[model]
    num_axes = 0 if space == "global" else (1 if not is_zone(model) else 2) + (time == "local")
    sizes: dict[str, Any] = {"stem": 10, "depth": 1, "time_features": 3}
    if num_axes:
        sizes |= {"coarse": (3,) * num_axes, "widths": (10, 8), "kernel_size": (3,) * num_axes}
    else:
        sizes |= {"widths": (24,), "head_widths": (24,)}
    nodes = {"num_arc": 30, "grid": GRID} if is_zone(model) else {"num_arc": NUM_ARC}
    return GeneratorSpec.named(model, **{"num_levels": NUM_LEVELS, **nodes, **sizes, **options})


def waves(spec: GeneratorSpec, num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth fields of parameters: u = sin(w t + phase of the node), v the centred difference of u in time.

    Returns:
        Parameters (sample, 3) and targets (sample, field, time, node), float32.
    """
    p = np.random.default_rng(seed).uniform(1, 2, (num, 3))
    t = DT * np.arange(-1, spec.num_levels + 1)[:, None]
    angle = 2 * np.pi * np.arange(spec.num_arc) / spec.num_arc
    u = np.sin(p[:, 0, None, None] * t + p[:, 1, None, None] * np.cos(angle - p[:, 2, None, None]))
    fields = {"displacement": u[:, 1:-1], "velocity": (u[:, 2:] - u[:, :-2]) / (2 * DT), "load": u[:, 1:-1] ** 2}
    return p, np.stack([fields[name] for name in spec.fields], 1).astype(np.float32)


def respond(response: ArrayLike, drive: ArrayLike) -> NDArray[np.float64]:
    """Fields that a drive (..., time) causes by a response (..., time, arc), or (time,)."""
    y, d = np.asarray(response, np.float64), np.asarray(drive, np.float64)
    return np.asarray(toeplitz(d[..., : y.shape[0] if y.ndim == 1 else y.shape[-2]]) @ y)
