"""Toy problems that the solver tests share: a box, an unstructured plate, and how far a replay is off."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.gamma.datum import BoundarySource
from solvers.gamma.trace import Trace
from solvers.mesh.domain import Domain, box_domain, gmsh_domain
from solvers.problems.full import FullModel, FullRun
from solvers.problems.zone import ZoneModel
from solvers.space.assembly import Assembly, Discretization, assemble, function_space
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource, Sine

MESHES = Path(__file__).parents[1] / "meshes"
PLATE_SPEED = {"plate": 1.0, "inclusion": 0.5, "zone": 1.0, "zone-inclusion": 0.5}
PLATE_ZONE = ("zone", "zone-inclusion")
SOURCE = PointSource((0.413, 0.321), Sine(5.0))

P1 = Discretization()
GLL2 = Discretization("gll", 2)
GLL3 = Discretization("gll", 3)
NEWMARK = Discretization(stepper="newmark")
NEWMARK_GLL2 = Discretization("gll", 2, "newmark")
METHODS = {"p1": P1, "gll2": GLL2, "gll3": GLL3, "newmark": NEWMARK, "newmark-gll2": NEWMARK_GLL2}


def box(
    comm: MPI.Comm,
    discretization: Discretization,
    num_cells: int = 16,
    zone: tuple[tuple[float, float], tuple[float, float]] = ((-0.25, -0.25), (0.25, 0.25)),
) -> Domain:
    """The reference problem's box on a coarse grid. Collective on comm."""
    return box_domain(
        comm, (-1.0, -1.0), (1.0, 1.0), (num_cells, num_cells), *zone, cell=discretization.cell, speed=1.0
    )


def generate_plate(comm: MPI.Comm, folder: Path, *, size: float, quads: bool) -> Path:
    """A mesh of meshes/plate.geo. Collective on comm; the folder is the same on every rank."""
    path = folder / f"plate-{size:g}-{'quads' if quads else 'triangles'}.msh"
    if comm.rank == 0:
        runpy.run_path(str(MESHES / "generate.py"))["generate"](
            MESHES / "plate.geo", path, size=size, quads=quads
        )
    comm.Barrier()
    return path


def plate(comm: MPI.Comm, path: Path) -> Domain:
    """The plate with its slow inclusion, which reaches into the zone. Collective on comm."""
    return gmsh_domain(comm, path, speed=PLATE_SPEED, zone=PLATE_ZONE)


def time_grid(discretization: Discretization, *, final: float = 0.8) -> TimeGrid:
    """Levels that keep the stability limit of the toy meshes."""
    return TimeGrid(
        final, {1: 41, 2: 97, 3: 193}[discretization.degree] if discretization.stepper == "explicit" else 41
    )


def run_full(
    model: FullModel, source: PointSource = SOURCE, *, fields: bool = True
) -> tuple[Trace, FullRun | None]:
    """A full run: its trace on every rank, all of it on the root. Collective."""
    run = model.run(source, fields=fields)
    comm = model.domain.mesh.comm
    trace = comm.bcast(None if run is None else run.trace, root=0)
    return trace, run


def zone_errors(
    zone: ZoneModel, data: Trace | BoundarySource, points: NDArray[np.float64], truth: FullRun | None
) -> tuple[float, float]:
    """Relative L2 errors of u and v over the zone's nodes and all levels, on every rank. Collective."""
    out = zone.run(data)
    u, v = zone.at(out.displacement, points), zone.at(out.velocity, points)
    errors = None
    if truth is not None and u is not None and v is not None:
        assert truth.displacement is not None and truth.velocity is not None
        errors = (relative_l2(u, truth.displacement), relative_l2(v, truth.velocity))
    shared: tuple[float, float] = zone.zone.mesh.comm.bcast(errors, root=0)
    return shared


def relative_l2(value: NDArray[np.inexact], truth: NDArray[np.inexact]) -> float:
    """Norm of the difference over the norm of the truth."""
    return float(np.linalg.norm(value - truth) / np.linalg.norm(truth))


def rounded(trace: Trace) -> Trace:
    """The trace as a dataset stores it: float32."""

    def single(field: NDArray[np.float64]) -> NDArray[np.float64]:
        return field.astype(np.float32).astype(np.float64)

    assert trace.load is not None
    return Trace(
        trace.times,
        trace.gamma,
        single(trace.displacement),
        single(trace.velocity),
        single(trace.load),
    )


class NoLoad:
    """Drives nothing: free motion from given initial levels."""

    def bound(self) -> float:
        return 0.0

    def apply(self, out: NDArray[np.float64], n: int) -> None:
        pass


def free_assembly(domain: Domain, discretization: Discretization) -> tuple[Any, Assembly]:
    """The space on Ω and its matrices with u = 0 on ∂Ω. Collective on the mesh's comm."""
    V = function_space(domain.mesh, discretization)
    return V, assemble(V, domain, discretization)


@cache
def reference_run(
    num_cells: int, final: float, num_levels: int, omega: float = 5.0
) -> tuple[FullModel, FullRun]:
    """A serial P1 run on the box, kept: several tests need the same. Local."""
    model = FullModel(box(MPI.COMM_SELF, P1, num_cells), P1, TimeGrid(final, num_levels))
    run = model.run(PointSource(SOURCE.position, Sine(omega)))
    assert run is not None
    return model, run
