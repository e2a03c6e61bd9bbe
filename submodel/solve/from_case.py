"""Solvers made from a case: where the case file's sections become meshes, operators and sources."""

from __future__ import annotations

import numpy as np
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray

from solvers.mesh.containment import containment
from solvers.mesh.domain import Defect, Domain, box_domain, gmsh_domain, refined, refined_zone_box, zone_submesh
from solvers.mesh.medium import grid, sampled_speed, spacing
from solvers.mesh.speed import Speed
from solvers.problems.full import FullModel
from solvers.problems.zone import ZoneModel
from solvers.space.assembly import Discretization
from solvers.space.physics import Physics, physics_named
from solvers.space.stability import points_per_wavelength, warn_if_coarse
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource
from submodel.case.case import Case, CaseError
from submodel.case.sections import BoxDomain, Zone
from submodel.case.speed import Formula, Tabulated
from submodel.geometry.arrays import MediumMap
from submodel.geometry.source_region import in_the_zone, outside_the_domain

DIGITS = 1e4
"""Steps of the coordinates' last bit that a cell must be wide: an error of 1e-4 of a cell is 1e-4 of a run."""


def full_model(case: Case, comm: MPI.Comm, time: TimeGrid | None = None) -> FullModel:
    """The full model of a case. Collective on comm.

    Args:
        case: The case.
        comm: Communicator that shares the mesh.
        time: Levels of its runs, those of the case by default.

    Raises:
        ValueError: The solver cannot take the case: an unstable time step, groups missing from the mesh.
    """
    equation = physics(case)  # before the mesh: mpi4py hangs where an error takes a mesh down with it
    return FullModel(domain(case, comm), discretization(case), time or case.time.grid, physics=equation)


def zone_model(
    case: Case,
    comm: MPI.Comm,
    *,
    condition: str | None = None,
    refine: int = 1,
    defect: Defect | None = None,
    sources: NDArray[np.float64] | None = None,
    omega: float | None = None,
) -> ZoneModel:
    """The zone model of a case; warns where the waves to come have too few nodes. Collective on comm.

    Args:
        case: The case.
        comm: Communicator that shares the zone.
        condition: Kind of interface condition, the case's by default.
        refine: How many cells each cell's edge is divided into.
        defect: A disc with another wave speed.
        sources: Places from which it is going to be excited, shape ``(num_sources, 2)``, the same on every rank.
        omega: The highest angular frequency of the runs to come.

    Raises:
        CaseError: A source lies in the zone, on its boundary, or outside the domain.
        ValueError: The solver cannot take it: a defect outside the zone, a factor that is no power of two.
    """
    chosen, equation = case.interface.condition(condition), physics(case)
    zone = _zone(case, comm, refine, np.empty((0, 2)) if sources is None else sources)
    model = ZoneModel(zone, discretization(case), case.time.grid, physics=equation, condition=chosen, defect=defect)
    if omega:
        points = points_per_wavelength(model.zone, case.discretization.degree, omega)
        if comm.rank == 0:
            warn_if_coarse(points, omega, place=" in the zone", remedy="give a larger --refine")
    return model


def require_sources(case: Case, domain: Domain | None, points: NDArray[np.float64]) -> None:
    """See that sources stand in the domain and outside the zone. Collective on the domain's comm.

    Args:
        case: The case.
        domain: Its mesh; a box is known without.
        points: Shape ``(num_sources, 2)``, the same on every rank.

    Raises:
        CaseError: One does not; the first is named.
    """
    for x, y in points:
        case.require_source(float(x), float(y))
    if domain is None or not len(points):
        return
    inside, in_zone = containment(domain, points)
    if in_zone.any():
        raise in_the_zone(points[in_zone.argmax()])
    if not inside.all():
        raise outside_the_domain(points[inside.argmin()])


def domain(case: Case, comm: MPI.Comm) -> Domain:
    """The mesh of Ω with its zone. Collective on comm.

    Raises:
        CaseError: It lies so far from the origin that its coordinates cannot tell its nodes apart well enough.
        ValueError: The mesh cannot be used.
    """
    whole = _mesh(case, comm)
    far = comm.allreduce(float(np.abs(whole.mesh.geometry.x[:, :2]).max(initial=0.0)), op=MPI.MAX)
    size = 2.0 * spacing(whole)
    if size < DIGITS * np.spacing(far):
        raise CaseError(
            f"the domain has cells of {size:.3g} at coordinates up to {far:.6g}, which double precision holds to "
            f"{np.spacing(far):.1g}: count coordinates from a place near the domain"
        )
    return whole


def _mesh(case: Case, comm: MPI.Comm) -> Domain:
    section = case.domain
    if not isinstance(section, BoxDomain):
        return gmsh_domain(comm, case.mesh_file(), speed=speed(case), outer=section.outer, zone=section.zone)
    zone, one = _zone_and_speed(case)
    return box_domain(
        comm,
        section.lower,
        section.upper,
        section.cells,
        zone.lower,
        zone.upper,
        cell=discretization(case).cell,
        speed=one,
    )


def speed(case: Case) -> Speed | dict[str, Speed]:
    """The wave speed of a case as the solvers take it: numbers and functions of the place.

    Raises:
        CaseError: The file of a medium is not there.
        ValueError: It holds something else than wave speeds.
    """
    medium = case.medium
    if medium.speed is None:
        return Tabulated.read(case.speed_file())
    if isinstance(medium.speed, dict):
        return {name: Formula(each) if isinstance(each, str) else each for name, each in medium.speed.items()}
    return Formula(medium.speed) if isinstance(medium.speed, str) else medium.speed


def _zone_and_speed(case: Case) -> tuple[Zone, Speed]:
    """Zone and wave speed of a box."""
    one = speed(case)
    if case.zone is None or isinstance(one, dict):
        raise CaseError("a box domain needs [zone] and one number or formula for medium.speed: add them to the case")
    return case.zone, one


def medium_map(case: Case, domain: Domain) -> MediumMap:
    """The wave speed on a grid. Collective on the domain's comm."""
    box, one = case.domain.box, case.medium.speed
    if box is not None and isinstance(one, float):  # known without a search
        x, y = grid(*box, spacing(domain))
        return MediumMap(x, y, np.full((len(y), len(x)), one, np.float32))
    return MediumMap(*sampled_speed(domain))


def physics(case: Case) -> Physics:
    """The equation of a case.

    Raises:
        CaseError: There is none of its kind, or its numbers are others.
    """
    try:
        return physics_named(case.equation.kind, **(case.equation.model_extra or {}))
    except ValueError as error:
        raise CaseError(f"equation: {error}") from error


def discretization(case: Case) -> Discretization:
    """Element and stepper of a case."""
    section = case.discretization
    return Discretization(section.element, section.degree, section.stepper)


def point_source(case: Case, vector: ArrayLike) -> PointSource:
    """The source of one parameter vector."""
    return PointSource(case.parameters.source(vector), case.signal(vector))


def _zone(case: Case, comm: MPI.Comm, refine: int, sources: NDArray[np.float64]) -> Domain:
    """The zone's mesh; that of a box has the nodes of Ω's mesh when it is not refined."""
    if refine < 1:
        raise ValueError(f"--refine divides each cell's edge into that many: give 1 or more, got {refine}")
    section = case.domain
    if not isinstance(section, BoxDomain):
        whole = domain(case, comm)
        require_sources(case, whole, sources)
        return refined(zone_submesh(whole), refine)
    require_sources(case, None, sources)
    zone, one = _zone_and_speed(case)
    lower, upper = zone.lower, zone.upper
    sizes = [(section.upper[axis] - section.lower[axis]) / section.cells[axis] for axis in (0, 1)]
    cells = [round((upper[axis] - lower[axis]) / sizes[axis]) * refine for axis in (0, 1)]
    return refined_zone_box(
        comm,
        lower,
        upper,
        (cells[0], cells[1]),
        cell=discretization(case).cell,
        speed=one,
    )
