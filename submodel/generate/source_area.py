"""The source area's finite elements: which cells of the mesh sources can stand in, and those around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from solvers.problems.gather import canonical_order
from solvers.space.cells import Cells
from submodel.case.case import Case, CaseError
from submodel.geometry.arrays import SourceArea
from submodel.geometry.symmetry import Symmetries

RINGS = 6
"""Rings of cells around the source area in which the medium is stored."""
SLACK = 1e-9
"""Of the mesh's size: cells that meet a box by less only touch it."""


def source_area(
    case: Case, cells: Cells, symmetries: Symmetries, degree: int
) -> SourceArea:
    """The elements in which a case's sources can stand, of one sector where the mesh is symmetric. Local.

    Args:
        case: Says where the sources are.
        cells: Of the mesh.
        symmetries: Of the mesh.
        degree: Of the elements.

    Raises:
        CaseError: No cell outside the zone meets the box of the sources.
    """
    slack = SLACK * float(np.ptp(cells.points, axis=0).max())
    wanted = _meets_sources(case, cells.corners, symmetries, slack) & ~cells.in_zone
    if len(symmetries.maps) > 1:
        wanted &= (symmetries.sector(cells.corners).max(axis=-1) > slack).all(axis=0)
    if not wanted.any():
        raise CaseError(
            "parameters: no cell outside the zone meets the box from source_lower to source_upper: correct its corners"
        )
    around = wanted | _rings(cells, wanted)
    dofs = _ordered(np.unique(cells.dofs[wanted]), cells.points)
    beyond = _ordered(np.setdiff1d(cells.dofs[around], dofs), cells.points)
    number = np.full(len(cells.points), -1, dtype=np.int64)
    number[np.concatenate((dofs, beyond))] = np.arange(len(dofs) + len(beyond))
    inner, inner_speed = _sorted_cells(number[cells.dofs[wanted]], cells.speed[wanted])
    rest, speed = _sorted_cells(number[cells.dofs[around & ~wanted]], cells.speed[around & ~wanted])
    return SourceArea(
        element=case.discretization.element,
        degree=degree,
        nodes=cells.points[dofs],
        cells=inner,
        patch_nodes=cells.points[np.concatenate((dofs, beyond))],
        patch_cells=np.concatenate((inner, rest)),
        patch_speed=np.concatenate((inner_speed, speed)),
    )


def nodes_at(points: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers of the points that lie at given places. Local.

    Raises:
        ValueError: There is none at one of them.
    """
    distance, nearest = cKDTree(points).query(wanted)
    if len(wanted) and distance.max() > 1e-9 * float(np.ptp(points, axis=0).max()):
        raise ValueError("the mesh lacks a node at the image of another: declare no symmetry that it does not have")
    return np.asarray(nearest, dtype=np.int64)


def _meets_sources(
    case: Case, corners: NDArray[np.float64], symmetries: Symmetries, slack: float
) -> NDArray[np.bool_]:
    """Cells that meet the box of the sources, and lie not all in the excluded one, after one of the maps."""
    ranges = case.parameters
    meets = np.zeros(len(corners), dtype=bool)
    for symmetry in symmetries.maps:
        image = corners @ symmetry.matrix.T + symmetry.shift
        low, high = image.min(axis=1), image.max(axis=1)
        inside = (high > np.array(ranges.source_lower) + slack).all(axis=1)
        inside &= (low < np.array(ranges.source_upper) - slack).all(axis=1)
        if ranges.hole is not None:
            lower, upper = ranges.hole
            inside &= ~((low >= np.array(lower) - slack) & (high <= np.array(upper) + slack)).all(axis=1)
        meets |= inside
    return meets


def _rings(cells: Cells, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells of some rings around those wanted."""
    barred = cells.in_zone | (cells.on_gamma | cells.on_edge)[cells.dofs].any(axis=1)
    grown = wanted.copy()
    for _ in range(RINGS):
        touched = np.zeros(len(cells.points), dtype=bool)
        touched[cells.dofs[grown]] = True
        grown |= touched[cells.dofs].any(axis=1) & ~barred
    return grown & ~wanted


def _ordered(dofs: NDArray[np.int64], points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Dofs in canonical order."""
    return np.asarray(dofs[canonical_order(points[dofs])])


def _sorted_cells(
    nodes: NDArray[np.int64], speed: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cells, their nodes in an order of their own, sorted by these; however they were numbered before."""
    if nodes.shape[1] == 3:
        turned = np.sort(nodes, axis=1)
    else:
        side = round(nodes.shape[1] ** 0.5)
        turned = _turned(nodes.reshape(-1, side, side)).reshape(len(nodes), -1)
    order = np.lexsort(turned.T[::-1])
    return turned[order], speed[order]


def _turned(grids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Quadrilaterals' nodes (cell, row, column) turned so that the least corner comes first, then the lesser one
    beside it."""
    out = grids.copy()
    for axis in (1, 2):
        corners = out[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        least = corners.argmin(axis=1)
        late = (least // 2 if axis == 1 else least % 2) == 1
        out[late] = np.flip(out[late], axis)
    swapped = out[:, 0, -1] > out[:, -1, 0]
    out[swapped] = out[swapped].transpose(0, 2, 1)
    return out


def image_dofs(cells: Cells, area: SourceArea, symmetries: Symmetries) -> NDArray[np.int64]:
    """Global dofs at the images of the area's nodes, map after map, shape ``(map, source node)``."""
    return np.stack([nodes_at(cells.points, symmetry.apply(area.nodes)) for symmetry in symmetries.maps])
