"""Γ, the zone's boundary inside Ω: its nodes and sizes, and the chart that knows how they hang together.

Needs NumPy only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Gamma:
    """Γ as its nodes in the canonical order of its chart.

    Args:
        points: Node coordinates, shape ``(num_nodes, d)``.
        weights: Lumped length or area of each node (the integral of its basis function), shape ``(num_nodes,)``.
        normals: Outward normal integrated with each node's basis function, shape ``(num_nodes, d)``: as long as the
            weight where Γ is straight, shorter where it turns.
        chart: Connectivity of the nodes.
    """

    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    normals: NDArray[np.float64]
    chart: Chart

    @property
    def num_nodes(self) -> int:
        """Number of nodes of Γ."""
        return len(self.points)

    @property
    def size(self) -> float:
        """Side of the square or cube as large as the bounding box of Γ."""
        extent = np.prod(np.ptp(self.points, axis=0))
        return float(np.sqrt(extent) if self.points.shape[1] == 2 else np.cbrt(extent))

    def matches(self, other: Gamma) -> bool:
        """Compare the nodes with those of another discretisation, to 1e-9 of their extent or the last bits of their
        coordinates."""
        if self.points.shape != other.points.shape:
            return False
        tolerance = 1e-9 * np.ptp(self.points, axis=0).max() + 4.0 * np.spacing(np.abs(self.points).max())
        return bool(np.allclose(self.points, other.points, rtol=0.0, atol=tolerance))

    def fault(self) -> str | None:
        """Why these arrays cannot be one Γ, in words; ``None`` where nothing is wrong."""
        num_nodes, shape = len(self.points), self.points.shape
        if len(shape) != 2 or self.normals.shape != shape or self.weights.shape != (num_nodes,):
            return "points, weights and normals differ in length"
        return self.chart.fault(self)

    def closed_loop_size(self) -> int:
        """Number of nodes of Γ, which must be one closed loop: convolutions along Γ ([A]) have no other size.

        Raises:
            ValueError: If it is not.
        """
        return self.chart.closed_loop_size(self)

    def outlines(self) -> tuple[NDArray[np.float64], ...]:
        """Γ as curves to draw, each of shape ``(num_points, d)``; none where its chart has no curves."""
        return self.chart.outlines(self)

    def axis(self) -> NDArray[np.float64]:
        """A rising coordinate of the nodes for pictures over Γ and time, shape ``(num_nodes,)``."""
        return self.chart.axis(self)


class Chart(ABC):
    """Connectivity of the nodes of Γ: their canonical order, the transfer between two discretisations, the drawing.

    A chart is a frozen dataclass whose fields are arrays over the nodes of Γ; files hold its name and these arrays.

    Attributes:
        name: Its name in files.
        dimension: Of the space that Γ lies in.
    """

    name: ClassVar[str]
    dimension: ClassVar[int]

    @classmethod
    @abstractmethod
    def order_facets(
        cls,
        keys: NDArray[np.int64],
        points: NDArray[np.float64],
        on_gamma: NDArray[np.bool_],
        shares: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], Gamma]:
        """Order the nodes of Γ: their keys in canonical order, and Γ. Local: pure geometry.

        Args:
            keys: Global dofs of each facet of the zone's whole boundary, corners first, shape
                ``(num_facets, num_dofs)``.
            points: Their coordinates, shape ``(num_facets, num_dofs, d)``.
            on_gamma: Facets that belong to Γ, shape ``(num_facets,)``; the others are edges of the zone's own.
            shares: Weight of each node of a facet in the unit's quadrature, in order along it, shape ``(num_dofs,)``.

        Raises:
            ValueError: If this chart cannot order them.
        """

    @abstractmethod
    def interpolation(self, source: Gamma, target: Gamma, *, one_sided: bool) -> NDArray[np.float64]:
        """Interpolation matrix from the source's nodes to the target's, shape ``(num_target, num_source)``.

        Args:
            source: Γ of this chart.
            target: Another discretisation of the same Γ.
            one_sided: Interpolate a flux, which jumps where Γ turns.

        Raises:
            ValueError: If a target node does not lie on the source's Γ.
        """

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The chart's own arrays over the nodes, by name."""
        return dict(vars(self))

    def fault(self, gamma: Gamma) -> str | None:
        """Why Γ is not in this chart's order, in words; ``None`` where it is."""
        return None

    def closed_loop_size(self, gamma: Gamma) -> int:
        """As `Gamma.closed_loop_size`."""
        raise ValueError(
            f"a boundary generator needs a zone whose boundary is one closed loop, got the chart '{self.name}': "
            "take the operator generator, whose model works node by node"
        )

    def outlines(self, gamma: Gamma) -> tuple[NDArray[np.float64], ...]:
        """As `Gamma.outlines`."""
        return ()

    def axis(self, gamma: Gamma) -> NDArray[np.float64]:
        """As `Gamma.axis`."""
        return np.arange(gamma.num_nodes, dtype=np.float64)
