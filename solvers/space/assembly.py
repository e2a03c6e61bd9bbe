"""Mass, stiffness and damping matrices of an equation, rows owned by this rank as SciPy matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import basix
import basix.ufl
import numpy as np
import scipy.sparse as sp
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from dolfinx.la import InsertMode
from mpi4py import MPI
from numpy.typing import NDArray
from petsc4py import PETSc

from solvers.mesh.domain import Domain
from solvers.mesh.form_cache import compiled
from solvers.space.physics import WAVE, Physics

ELEMENTS = ("p1", "gll")
STEPPERS = ("explicit", "newmark")


@dataclass(frozen=True)
class Discretization:
    """Element and time stepper.

    Args:
        element: ``"p1"`` (triangles, vertex-lumped mass under the explicit stepper) or ``"gll"`` (quadrilaterals with
            nodes and quadrature at the Gauss-Lobatto-Legendre points, so that the mass is diagonal).
        degree: Polynomial degree; 1 for ``"p1"``.
        stepper: ``"explicit"`` (central differences) or ``"newmark"`` (beta = 1/4, gamma = 1/2).
    """

    element: str = "p1"
    degree: int = 1
    stepper: str = "explicit"

    def __post_init__(self) -> None:
        if self.element not in ELEMENTS:
            raise ValueError(f"the element must be one of {ELEMENTS}, got '{self.element}'")
        if self.stepper not in STEPPERS:
            raise ValueError(f"the stepper must be one of {STEPPERS}, got '{self.stepper}'")
        if not 1 <= self.degree <= (1 if self.element == "p1" else 8):
            raise ValueError(f"the element '{self.element}' cannot have degree {self.degree}: use gll, degree 1 to 8")

    @property
    def cell(self) -> str:
        """Cell type that the element lives on."""
        return "triangle" if self.element == "p1" else "quadrilateral"

    @property
    def theta(self) -> float:
        """Weight of the neighbouring levels in the averaged stiffness: Newmark's beta, 0 when explicit."""
        return 0.25 if self.stepper == "newmark" else 0.0

    @property
    def diagonal_mass(self) -> bool:
        """The mass matrix is diagonal."""
        return self.element == "gll" or self.stepper == "explicit"


@dataclass(frozen=True)
class Assembly:
    """``M u'' + C u' + (K + B) u = F``: the rows that this rank owns, their columns numbered globally.

    Args:
        comm: Communicator of the mesh.
        offset: Global number of this rank's first dof.
        mass: M, shape ``(num_owned, num_global)``.
        stiffness: K, the same shape.
        damping: C, the same shape, that of Γ included; diagonal where the mass is.
        robin: Diagonal of B on Γ, shape ``(num_owned,)``.
        fixed: Owned dofs where u = 0.
        held: Owned dofs of Γ in the order in which boundary data arrive; they are numbered last in the stepper.
    """

    comm: MPI.Comm
    offset: int
    mass: sp.csr_matrix
    stiffness: sp.csr_matrix
    damping: sp.csr_matrix
    robin: NDArray[np.float64]
    fixed: NDArray[np.int32]
    held: NDArray[np.int32]

    @cached_property
    def mass_diagonal(self) -> NDArray[np.float64]:
        """Diagonal of M, shape ``(num_owned,)``."""
        return np.asarray(self.mass.diagonal(k=self.offset))

    @cached_property
    def damping_diagonal(self) -> NDArray[np.float64]:
        """Diagonal of C, shape ``(num_owned,)``."""
        return np.asarray(self.damping.diagonal(k=self.offset))

    @property
    def num_owned(self) -> int:
        """Rows of this rank."""
        return int(self.mass.shape[0])

    def diagonal(self, values: NDArray[Any]) -> sp.csr_matrix:
        """A diagonal matrix in the shape of the others."""
        return diagonal_rows(values, self.offset, self.mass.shape[1])


@dataclass(frozen=True)
class OnGamma:
    """Diagonal terms that an interface condition adds to the equation of a zone.

    Args:
        dofs: Owned dofs of Γ in the order in which boundary data arrive.
        damping: Added to C, shape ``(num_dofs,)``.
        spring: Added to K, shape ``(num_dofs,)``.
    """

    dofs: NDArray[np.int32]
    damping: NDArray[np.float64]
    spring: NDArray[np.float64]


def diagonal_rows(values: NDArray[Any], offset: int, num_global: int) -> sp.csr_matrix:
    """Owned rows of a diagonal matrix. Local."""
    num_owned = len(values)
    columns = offset + np.arange(num_owned)
    return sp.csr_matrix((values, columns, np.arange(num_owned + 1)), shape=(num_owned, num_global))


def function_space(mesh: dmesh.Mesh, discretization: Discretization) -> fem.FunctionSpace:
    """Scalar Lagrange space of the discretisation. Collective on the mesh's comm.

    Raises:
        ValueError: If the mesh has the wrong cells for the element.
    """
    cell = mesh.topology.cell_name()
    if cell != discretization.cell:
        raise ValueError(
            f"the element '{discretization.element}' needs {discretization.cell} cells, the mesh has {cell}s: "
            "take the other element, or another mesh"
        )
    element = basix.ufl.element(
        basix.ElementFamily.P, cell, discretization.degree, lagrange_variant=basix.LagrangeVariant.gll_warped
    )
    return fem.functionspace(mesh, element)


def edge_dofs(V: fem.FunctionSpace, facets: NDArray[np.int32]) -> NDArray[np.int32]:
    """Owned dofs on facets, whichever rank owns these. Collective on the mesh's comm."""
    dofs = fem.locate_dofs_topological(V, V.mesh.topology.dim - 1, facets)
    return dofs[dofs < V.dofmap.index_map.size_local].astype(np.int32)


def assemble(
    V: fem.FunctionSpace,
    domain: Domain,
    discretization: Discretization,
    *,
    physics: Physics = WAVE,
    on_gamma: OnGamma | None = None,
) -> Assembly:
    """The equation's matrices, with u = 0 on the outer facets. Collective on the mesh's comm.

    Args:
        V: The space.
        domain: Mesh and medium.
        discretization: Element and stepper.
        physics: The equation.
        on_gamma: Terms of the interface condition of a zone.

    Raises:
        ValueError: If the equation has several components.
    """
    if physics.components != 1:
        raise ValueError(f"the physics '{physics.name}' has {physics.components} components, the solvers know one")
    index_map = V.dofmap.index_map
    damping = assemble_damping(V, domain, discretization, physics=physics)
    robin = np.zeros(index_map.size_local)
    held = np.empty(0, dtype=np.int32) if on_gamma is None else on_gamma.dofs
    if on_gamma is not None:
        robin[held] = on_gamma.spring
        added = np.zeros(index_map.size_local)
        added[held] = on_gamma.damping
        damping = (damping + diagonal_rows(added, index_map.local_range[0], index_map.size_global)).tocsr()
    return Assembly(
        V.mesh.comm,
        index_map.local_range[0],
        assemble_mass(V, domain, discretization, physics=physics),
        assemble_stiffness(V, domain, discretization, physics=physics),
        damping=damping,
        robin=robin,
        fixed=edge_dofs(V, domain.outer_facets),
        held=held,
    )


def assemble_mass(
    V: fem.FunctionSpace,
    domain: Domain,
    discretization: Discretization,
    *,
    physics: Physics = WAVE,
    zone: bool = False,
) -> sp.csr_matrix:
    """M, over Ω or the zone's cells alone. Collective on the mesh's comm.

    A diagonal mass is the row sum under a quadrature at the nodes: exact lumping, one vector assembly.
    """
    return _assemble_lumped(V, physics.mass, domain, discretization, zone)


def assemble_damping(
    V: fem.FunctionSpace,
    domain: Domain,
    discretization: Discretization,
    *,
    physics: Physics = WAVE,
    zone: bool = False,
) -> sp.csr_matrix:
    """C, over Ω or the zone's cells alone, diagonal where M is; no entries without damping. Collective on the comm."""
    if physics.damping(1, 1, domain) is None:
        index_map = V.dofmap.index_map
        return sp.csr_matrix((index_map.size_local, index_map.size_global))
    return _assemble_lumped(V, physics.damping, domain, discretization, zone)


def assemble_stiffness(
    V: fem.FunctionSpace,
    domain: Domain,
    discretization: Discretization,
    *,
    physics: Physics = WAVE,
    zone: bool = False,
) -> sp.csr_matrix:
    """K, over Ω or the zone's cells alone. Collective on the mesh's comm."""
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    dx = _dx(domain, discretization, zone, nodal=discretization.element == "gll")
    return _assemble_matrix(physics.stiffness(u, v, domain) * dx, domain.mesh.comm)


def assemble_admittance(
    V: fem.FunctionSpace,
    domain: Domain,
    discretization: Discretization,
    facets: NDArray[np.int32],
    *,
    physics: Physics = WAVE,
) -> NDArray[np.float64]:
    """Diagonal of C_Γ, lumped, over facets of a zone mesh's boundary, owned dofs. Collective on the mesh's comm."""
    mesh = domain.mesh
    tags = dmesh.meshtags(mesh, mesh.topology.dim - 1, facets, np.ones(len(facets), np.int32))
    ds = ufl.Measure("ds", domain=mesh, subdomain_data=tags, metadata=_nodal_metadata(discretization))(1)
    return _assemble_vector(physics.admittance(ufl.TestFunction(V), domain, ufl.FacetNormal(mesh)) * ds, mesh.comm)


def _assemble_lumped(
    V: fem.FunctionSpace,
    integrand: Callable[[Any, Any, Domain], Any],
    domain: Domain,
    discretization: Discretization,
    zone: bool,
) -> sp.csr_matrix:
    """A matrix like the mass: diagonal where the discretisation asks for it. Collective on the mesh's comm."""
    v = ufl.TestFunction(V)
    if discretization.diagonal_mass:
        form = integrand(1, v, domain) * _dx(domain, discretization, zone, nodal=True)
        index_map = V.dofmap.index_map
        return diagonal_rows(
            _assemble_vector(form, domain.mesh.comm), index_map.local_range[0], index_map.size_global
        )
    form = integrand(ufl.TrialFunction(V), v, domain) * _dx(domain, discretization, zone)
    return _assemble_matrix(form, domain.mesh.comm)


def _dx(domain: Domain, discretization: Discretization, zone: bool, *, nodal: bool = False) -> ufl.Measure:
    metadata = _nodal_metadata(discretization) if nodal else {}
    if not zone:
        return ufl.dx(domain=domain.mesh, metadata=metadata)
    mesh = domain.mesh
    tags = dmesh.meshtags(mesh, mesh.topology.dim, domain.zone_cells, np.ones(len(domain.zone_cells), np.int32))
    return ufl.Measure("dx", domain=mesh, subdomain_data=tags, metadata=metadata)(1)


def _nodal_metadata(discretization: Discretization) -> dict[str, Any]:
    """Quadrature whose points are the element's nodes."""
    if discretization.degree == 1:
        return {"quadrature_rule": "vertex", "quadrature_degree": 1}
    return {"quadrature_rule": "GLL", "quadrature_degree": 2 * discretization.degree - 2}


def _assemble_vector(form: ufl.Form, comm: MPI.Comm) -> NDArray[np.float64]:
    b = fem.assemble_vector(compiled(form, comm))
    b.scatter_reverse(InsertMode.add)
    return np.array(b.array[: b.index_map.size_local])


def _assemble_matrix(form: ufl.Form, comm: MPI.Comm) -> sp.csr_matrix:
    A = fem.assemble_matrix(compiled(form, comm))
    A.scatter_reverse()
    columns, num_owned = A.index_map(1), A.index_map(0).size_local
    end = A.indptr[num_owned]
    owned = sp.csr_matrix(
        (A.data[:end].copy(), columns.local_to_global(A.indices[:end]), A.indptr[: num_owned + 1]),
        shape=(num_owned, columns.size_global),
    )
    owned.sort_indices()
    # what cancelled between cells: 1e-14 of the largest entry is 50 times the round-off of a sum of a dozen terms
    tiny = 1e-14 * abs(owned.data).max(initial=0.0)
    owned.data[abs(owned.data) < tiny] = 0.0
    owned.eliminate_zeros()
    return owned


def petsc_matrix(assembly: Assembly, rows: sp.csr_matrix, order: NDArray[np.int32] | None = None) -> PETSc.Mat:
    """The matrix in PETSc, without stored zeros. Collective on the assembly's comm.

    Args:
        assembly: Give the communicator and the numbering.
        rows: Owned rows, global columns.
        order: The owned dof at each new position, if rows and columns shall be renumbered within each rank.
    """
    num_owned, num_global = rows.shape
    entries = rows.copy()
    entries.eliminate_zeros()
    entries.sort_indices()
    integer = PETSc.IntType
    matrix = PETSc.Mat().createAIJ(
        size=((num_owned, num_global), (num_owned, num_global)),
        csr=(entries.indptr.astype(integer), entries.indices.astype(integer), entries.data),
        comm=assembly.comm,
    )
    matrix.assemble()
    if order is None:
        return matrix
    numbers = PETSc.IS().createGeneral((assembly.offset + order).astype(integer), comm=assembly.comm)
    return matrix.permute(numbers, numbers)
