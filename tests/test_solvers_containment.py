"""Points in a domain, in its holes, on its boundary and in its zone, at any length scale and on any number of ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from solver_problems import GLL2, P1, box, generate_plate, plate

from solvers.mesh.containment import containment
from solvers.mesh.domain import box_domain
from solvers.space.assembly import Discretization

HOLE = np.array([-0.55, 0.5, 0.15])  # of meshes/plate.geo: centre and radius


@pytest.mark.mpi
@pytest.mark.parametrize("discretization", [P1, GLL2], ids=["triangles", "quads"])
def test_a_box_and_its_zone(discretization: Discretization, comm: MPI.Comm) -> None:
    places = {
        (0.0, 0.0): (True, True),
        (0.25, 0.25): (True, True),  # a corner of Γ
        (0.25, 0.1): (True, True),  # on an edge
        (0.25 + 1e-6, 0.1): (True, False),
        (0.6, 0.7): (True, False),
        (1.0, 0.3): (False, False),  # on ∂Ω
        (-1.0, -1.0): (False, False),
        (1.2, 0.0): (False, False),
        (50.0, 0.0): (False, False),
    }
    inside, in_zone = containment(box(comm, discretization), np.array(list(places)))
    assert np.array_equal(np.stack([inside, in_zone], axis=1), list(places.values()))


@pytest.mark.parametrize("quads", [False, True], ids=["triangles", "quads"])
@pytest.mark.mpi
def test_a_plate_with_a_hole_and_a_tilted_zone(quads: bool, comm: MPI.Comm, shared_path: Path) -> None:
    domain = plate(comm, generate_plate(comm, shared_path, size=0.1, quads=quads))
    angle = np.linspace(0.0, 2.0 * np.pi, 12, endpoint=False)
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    hole = HOLE[:2] + 0.9 * HOLE[2] * ring
    beside = HOLE[:2] + 1.1 * HOLE[2] * ring
    inside, in_zone = containment(domain, np.vstack([hole, beside]))
    assert not inside[:12].any() and inside[12:].all() and not in_zone.any()
    nodes = domain.mesh.geometry.x[np.unique(domain.mesh.geometry.dofmap[domain.zone_cells])][:, :2]
    whole = np.concatenate(comm.allgather(nodes))
    inside, in_zone = containment(domain, whole)
    assert inside.all() and in_zone.all()


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**30])
def test_lengths_do_not_matter(scale: float) -> None:
    corners = [(scale * value, scale * value) for value in (-1.0, 1.0, -0.25, 0.25)]
    domain = box_domain(
        MPI.COMM_SELF, corners[0], corners[1], (16, 16), corners[2], corners[3], cell="triangle", speed=1.0
    )
    points = np.array([[0.2, 0.1], [0.25, 0.1], [0.26, 0.1], [0.99, 0.0], [1.01, 0.0]])
    inside, in_zone = containment(domain, scale * points)
    assert inside.tolist() == [True, True, True, True, False] and in_zone.tolist() == [True, True, False, False, False]

