"""Direct solution of symmetric positive definite systems, once factorised and solved in every step."""

from __future__ import annotations

from petsc4py import PETSc

CHOLMOD_ROWS = 8192
"""Up to so many rows CHOLMOD's simplicial Cholesky solves faster than PETSc's own.

Time of a solve, PETSc's own Cholesky with nested dissection (the best of PETSc's) over CHOLMOD's: 1.3 at 33² P1 nodes
and 1.2 at 65²; 0.7 at 129² and 0.5 at 257². PETSc's LU over its Cholesky: 1.2 to 1.3 at all of them. CHOLMOD's
supernodal form is slower to solve with, by 1.2 to 2, from 65² nodes on. Elements of higher degree shift the limit
upwards (1.4 at 127² nodes of degree 3, where the P1 grid has 0.7). Source: benchmarks/zone.py.
"""

PREFIX = "submodel_step_"


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
        matrix.setOptionsPrefix(PREFIX)
        PETSc.Options(PREFIX)["mat_cholmod_factor"] = "SIMPLICIAL"
        preconditioner.setFactorSolverType("cholmod")
    else:
        preconditioner.setFactorSolverType("petsc")
        preconditioner.setFactorOrdering("nd")
    solver.setUp()
    return solver


def has_cholmod() -> bool:
    """Whether PETSc was built with CHOLMOD. Local."""
    return bool(PETSc.Sys.hasExternalPackage("suitesparse"))
