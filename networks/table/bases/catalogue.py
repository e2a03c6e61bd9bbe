"""The bases by name, and each again from its description."""

from __future__ import annotations

from typing import Any

from networks.table.bases.area import Area
from networks.table.bases.basis import Basis, Nodes
from networks.table.bases.spline import Splines

KINDS = ("nodes", "spline")


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
    raise ValueError(f"there is no basis {description!r}: choose one of {', '.join(KINDS)}")
