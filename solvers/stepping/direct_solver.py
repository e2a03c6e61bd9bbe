"""Direct solution of symmetric positive definite systems, once factorised and solved in every step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from petsc4py import PETSc

CHOLMOD_ROWS = 8192
"""Up to so many rows CHOLMOD's simplicial Cholesky solves faster than PETSc's own.

Time of a solve, PETSc's own Cholesky with nested dissection (the best of PETSc's) over CHOLMOD's: 1.3 at 33² and 65²
nodes, 0.6 at 129², 0.5 at 257² (0.8 at 127² nodes of degree 3). PETSc's LU over its Cholesky: 1.2 to 1.3 at all of
them. Source: benchmarks/zone.py. CHOLMOD's supernodal form, which it would choose itself from 65² on, takes twice the
time to solve with there.
"""

FORM = "mat_cholmod_factor"


def factorised(matrix: PETSc.Mat, *, package: str | None = None) -> PETSc.KSP:
    """A direct solver with its factorisation done. Collective on the matrix's comm.

    On several ranks each factorises the whole matrix. MUMPS would share the work, but adds up messages in the order of
    their arrival, and runs would not repeat bit for bit.

    Args:
        matrix: Symmetric and positive definite.
        package: ``"cholmod"`` or ``"petsc"``, in serial; the faster one for its size by default, and ``"petsc"`` where
            PETSc was built without CHOLMOD.
    """
    solver = PETSc.KSP().create(matrix.comm)
    solver.setOperators(matrix)
    solver.setType("preonly")
    preconditioner = solver.getPC()
    if matrix.comm.size > 1:
        preconditioner.setType("redundant")
        solver.setUp()
        return solver
    chosen = package or ("cholmod" if matrix.size[0] <= CHOLMOD_ROWS else "petsc")
    matrix.setOption(PETSc.Mat.Option.SPD, True)
    preconditioner.setType("cholesky")
    if chosen == "cholmod" and has_cholmod():
        preconditioner.setFactorSolverType("cholmod")
        with _simplicial():
            solver.setUp()
        return solver
    preconditioner.setFactorSolverType("petsc")
    preconditioner.setFactorOrdering("nd")
    solver.setUp()
    return solver


@contextmanager
def _simplicial() -> Iterator[None]:
    """CHOLMOD's simplicial form, unless an option asks for another; PETSc reads it without any prefix."""
    options = PETSc.Options()
    if options.hasName(FORM):
        yield
        return
    options[FORM] = "SIMPLICIAL"
    try:
        yield
    finally:
        options.delValue(FORM)


def has_cholmod() -> bool:
    """Ask PETSc for CHOLMOD. Local."""
    return bool(PETSc.Sys.hasExternalPackage("cholmod"))
