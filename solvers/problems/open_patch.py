"""A part of Ω around its zone with open edges: fields of sources on it are solutions near the zone, and cheap ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from solvers.mesh import compat
from solvers.mesh.domain import Domain, cell_midpoints
from solvers.mesh.inherited_facets import inherited_facets
from solvers.space.physics import Physics, cell_field

REFLECTED = 1e-3
"""Part of a wave along the normal that the layer lets come back."""


@dataclass(frozen=True)
class OpenPatch:
    """Cells of Ω around its zone; in the outermost of them waves are damped.

    Args:
        domain: The patch with the zone, edges of Ω where it meets them.
        distance: Of each local cell from the zone.
        physics: The equation, damped in the layer.
    """

    domain: Domain
    distance: NDArray[np.float64]
    physics: Physics


@dataclass(frozen=True)
class Layer(Physics):
    """An equation that is damped in some cells beside, ``rate`` times its mass.

    Args:
        base: The equation.
        rate: Of each local cell, per unit of time.
    """

    base: Physics
    rate: NDArray[np.float64]

    def mass(self, u: Any, v: Any, domain: Domain) -> Any:
        return self.base.mass(u, v, domain)

    def stiffness(self, u: Any, v: Any, domain: Domain) -> Any:
        return self.base.stiffness(u, v, domain)

    def damping(self, u: Any, v: Any, domain: Domain) -> Any:
        own = self.base.damping(u, v, domain)
        layer = cell_field(domain.mesh, self.rate) * self.base.mass(u, v, domain)
        return layer if own is None else own + layer

    def admittance(self, v: Any, domain: Domain, normal: Any) -> Any:
        return self.base.admittance(v, domain, normal)


def open_patch(domain: Domain, physics: Physics, *, width: float, layer: float) -> OpenPatch:
    """The cells up to a distance from the zone, and a layer around them. Collective on the mesh's comm.

    The damping rises with the square of the depth; a wave along the normal comes back with `REFLECTED` of its size.

    Args:
        domain: Ω with its zone.
        physics: The equation.
        width: Of the cells without damping, unit of length.
        layer: Thickness of those with damping.
    """
    mesh = domain.mesh
    far = _distances(domain)
    num_owned = mesh.topology.index_map(mesh.topology.dim).size_local
    cells = np.flatnonzero(far[:num_owned] <= width + layer).astype(np.int32)
    submesh, parents = compat.create_submesh(mesh, cells)
    outer, free = (inherited_facets(submesh, parents, mesh, each) for each in (domain.outer_facets, domain.free_facets))
    in_zone = np.flatnonzero(np.isin(parents, domain.zone_cells)).astype(np.int32)
    patch = Domain(submesh, domain.speed[parents], in_zone, outer, free)
    distance = far[parents]
    depth = np.clip((distance - width) / layer, 0.0, 1.0)
    rate = 3.0 * patch.speed * np.log(1.0 / REFLECTED) / (2.0 * layer) * depth**2
    return OpenPatch(patch, distance, Layer(physics, rate))


def _distances(domain: Domain) -> NDArray[np.float64]:
    """Distance of the middle of each local cell from the nearest of a zone's cell. Collective on the mesh's comm."""
    comm, middles = domain.mesh.comm, cell_midpoints(domain.mesh)
    zone = np.concatenate(comm.allgather(middles[domain.zone_cells]))
    distance, _ = cKDTree(zone).query(middles)
    return np.asarray(distance)
