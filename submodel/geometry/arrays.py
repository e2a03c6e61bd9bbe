"""What stands in a dataset, apart from how it is written: names, shapes and attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.gamma import Gamma
from submodel.case.case import Case
from submodel.case.errors import SubmodelError
from submodel.data.manifest import Plan

FORMAT_VERSION = 4
MASTER, SHARD = "submodel-dataset", "submodel-shard"
FIELDS = ("displacement", "velocity", "load")  # on the zone's boundary, (time, arc)
ZONE_FIELD = "zone_displacement"  # in the zone, (level, node): a level before the first and one after the last beside


def names(fields: bool) -> tuple[str, ...]:
    """The arrays of a sample, with or without those in the zone."""
    return FIELDS + ((ZONE_FIELD,) if fields else ())


class DatasetError(SubmodelError, ValueError):
    """A dataset that cannot be read, or not be written as asked; the message names the remedy."""


@dataclass(frozen=True)
class MediumMap:
    """The wave speed on a grid over the bounding box of the domain, the box's edges included.

    Args:
        x: (x,) rising, length.
        y: (y,) rising, length.
        speed: (y, x) float32, length / time; NaN outside the domain, the faster one on an edge between two.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    speed: NDArray[np.float32]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(y, x) whether a point belongs to the domain."""
        return np.isfinite(self.speed)

    @property
    def fills_box(self) -> bool:
        """Whether the domain is all of its bounding box."""
        return bool(self.inside.all())

    @property
    def uniform(self) -> float | None:
        """The wave speed, where it is the same everywhere in the domain; to float32."""
        speeds = self.speed[self.inside]
        return float(speeds[0]) if len(speeds) and (speeds == speeds[0]).all() else None


@dataclass(frozen=True)
class Geometry:
    """What all samples of a dataset share.

    Args:
        times: (time,) the levels.
        gamma: the zone's boundary.
        zone_points: (node, 2), the zone's nodes by y, then x.
        medium: the wave speed in the domain.
    """

    times: NDArray[np.float64]
    gamma: Gamma
    zone_points: NDArray[np.float64]
    medium: MediumMap

    def shapes(self, fields: bool) -> dict[str, tuple[int, int]]:
        """The shape of each array of one sample."""
        num_times, num_arc = len(self.times), self.gamma.num_nodes
        shapes = dict.fromkeys(FIELDS, (num_times, num_arc))
        if fields:
            shapes[ZONE_FIELD] = (num_times + 2, len(self.zone_points))
        return shapes


def shard_marks(key: str) -> dict[str, Any]:
    """The attributes that every shard has; key is that of the plan."""
    return {"format": SHARD, "format_version": FORMAT_VERSION, "plan": key}


def master_attributes(plan: Plan) -> dict[str, Any]:
    """The root attributes of a dataset."""
    return {
        "format": MASTER,
        "format_version": FORMAT_VERSION,
        "plan": plan.key,
        "case": plan.case,
        "case_fingerprint": Case.from_json(plan.case).fingerprint(),
        "code_version": plan.code_version,
        "seed": plan.seed,
        "train": plan.train,
        "test": plan.test,
        "calibration": plan.calibration,
        "fields": plan.fields,
        "ranks_per_sample": plan.ranks_per_sample,
        "precision": plan.precision,
    }
