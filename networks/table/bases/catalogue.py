"""The bases by name, and each again from its description."""

from __future__ import annotations

from typing import Any

import numpy as np

from networks.table.bases.area import Area
from networks.table.bases.basis import Basis, Nodes
from networks.table.bases.helmholtz import Helmholtz
from networks.table.bases.spline import Splines
from networks.table.bases.waves import Waves

KINDS = ("nodes", "spline", "helmholtz", "waves")
MANY = 20
"""Frequencies below the top of the band, from which on a field mixes with few neighbours."""


def basis_from(description: dict[str, Any], area: Area) -> Basis:
    """The basis that a description and the source area make.

    Raises:
        ValueError: a kind that there is none of, or numbers that it does not take.
    """
    numbers = {name: value for name, value in description.items() if name != "kind"}
    kind = description.get("kind")
    if kind == Nodes.kind and not numbers:
        return Nodes()
    if kind == Splines.kind:
        return Splines(area, **numbers)
    if kind == Helmholtz.kind:
        return Helmholtz(area, **numbers)
    if kind == Waves.kind:
        return Waves(area, **numbers)
    raise ValueError(f"there is no basis {description!r}: choose one of {', '.join(KINDS)}")


def default_description(kind: str, area: Area, highest: float, tolerance: float) -> dict[str, Any]:
    """Description of a basis of some kind that is fine enough for a tolerance.

    Args:
        kind: one of `KINDS`.
        area: the source area.
        highest: top of the case's band, rad per unit of time.
        tolerance: relative error that compression may make.

    Raises:
        ValueError: splines without a patch, which says the slowest wave speed, or a kind that there is none of.
    """
    if kind == Nodes.kind:
        return {"kind": kind}
    if kind == Splines.kind:
        if area.patch is None:
            raise ValueError("splines need the slowest wave speed of the source area: describe them with their speed")
        knots = float(np.interp(np.log(tolerance), np.log([0.003, 0.01, 0.03, 0.1]), [4.0, 3.3, 2.8, 2.3]))
        return {"kind": kind, "speed": float(area.patch.speed.min()), "knots": round(knots, 2)}
    reach = 3 if highest >= MANY * area.bin else 6
    if kind == Helmholtz.kind:
        return {"kind": kind, "reach": reach}
    if kind == Waves.kind:
        speeds = np.empty(0) if area.patch is None else np.unique(area.patch.speed)
        if len(speeds) != 1:
            raise ValueError("waves need one wave speed around the source area: choose helmholtz where it varies")
        return {"kind": kind, "speed": float(speeds[0]), "reach": reach}
    raise ValueError(f"there is no basis {kind!r}: choose one of {', '.join(KINDS)}")


def priors(kind: str, area: Area, highest: float) -> list[dict[str, Any]]:
    """Descriptions of bases that say what fields are likely, of which held-out runs choose one.

    The fewer runs there are, the fewer neighbours of a frequency and functions can be told apart.

    Args:
        kind: "waves" or "helmholtz".
        area, highest: as of `default_description`.

    Raises:
        ValueError: another kind, or an area that does not have it.
    """
    plain = default_description(kind, area, highest, 0.01)
    if "reach" not in plain:
        raise ValueError(f"a basis of {kind} does not say what fields are likely: choose waves or helmholtz")
    reach = plain["reach"]
    narrow, wide = {**plain, "reach": reach - 1}, {**plain, "reach": reach + 2, "smallest": 1e-4}
    return [narrow, plain, wide]
