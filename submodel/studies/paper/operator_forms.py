"""The forms of our own generator at the reference problem's sizes, for the list of models."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from networks.operator.network import OperatorGenerator
from networks.operator.spec import OperatorSpec
from solvers.gamma.chart import ClosedLoops
from submodel.learn.operator import nodes_of

Rays = Literal["none", "direct", "walls"]
SIDE, CELLS = 0.25, 32
"""Half the side of the reference problem's zone, and its cells along it."""
FORMS: dict[Rays, str] = {
    "none": "no ray: nothing is known of the response beforehand",
    "direct": "carried by the direct ray, for any domain and wave speed",
    "walls": "carried by the rays that the walls of a box reflect, for a box of one wave speed",
}
"""What each choice of `training.rays` means."""


def own_forms() -> list[tuple[str, int, tuple[str, ...], str]]:
    """Forms of the operator generator: name, numbers learnt, fields, what it is for."""
    forms = []
    for rays, about in FORMS.items():
        spec = _reference(rays)
        with torch.random.fork_rng(devices=()):
            forms.append((f"rays {rays}", OperatorGenerator(spec).num_parameters, spec.fields, about))
    return forms


def _reference(rays: Rays) -> OperatorSpec:
    """The specification for cases/paper2d.toml, sizes as they are by default."""
    along = np.linspace(-SIDE, SIDE, CELLS + 1)[:-1]
    one = np.full(CELLS, SIDE)
    sides = [(along, -one), (one, along), (-along, one), (-one, -along)]
    points = np.concatenate([np.stack(side, axis=1) for side in sides])
    spec = OperatorSpec(
        num_levels=256,
        dt=2 / 255,
        rate=15.0,
        band=(2 * np.pi, 6 * np.pi),
        **nodes_of(ClosedLoops.polygon(points)),
        speed=1.0,
    )
    return replace(spec, rays=rays, walls=((-1.0, -1.0), (1.0, 1.0)) if rays == "walls" else None)
