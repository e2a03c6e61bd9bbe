"""Which factorisation a system gets, and that all of them solve it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from mpi4py import MPI
from petsc4py import PETSc

from solvers.stepping import direct_solver as factorisation
from solvers.stepping.direct_solver import CHOLMOD_ROWS, factorised, has_cholmod


def laplacian(num: int) -> sp.csr_matrix:
    """A grid's five-point matrix plus the identity, condition about nine, in sizes num by num."""
    line = sp.diags([-1.0, 2.0, -1.0], [-1, 0, 1], shape=(num, num))
    one = sp.identity(num)
    return (sp.kron(line, one) + sp.kron(one, line) + sp.identity(num * num)).tocsr()


def in_petsc(matrix: sp.csr_matrix) -> PETSc.Mat:
    integer = PETSc.IntType
    csr = (matrix.indptr.astype(integer), matrix.indices.astype(integer), matrix.data)
    made = PETSc.Mat().createAIJ(matrix.shape, csr=csr, comm=MPI.COMM_SELF)
    made.assemble()
    return made


@pytest.mark.parametrize("package", ["petsc", "cholmod", None])
def test_every_package_solves(package: str | None) -> None:
    matrix = laplacian(20)
    solver = factorised(in_petsc(matrix), package=package)
    wanted = np.random.default_rng(0).standard_normal(matrix.shape[0])
    solution, right = solver.getOperators()[0].createVecs()
    right.array[:] = matrix @ wanted
    solver.solve(right, solution)
    np.testing.assert_allclose(solution.array, wanted, rtol=0.0, atol=1e-13)  # the condition times rounding, generously


def test_the_size_decides() -> None:
    small, large = laplacian(10), laplacian(int(np.sqrt(CHOLMOD_ROWS)) + 1)
    chosen = [factorised(in_petsc(matrix)).getPC().getFactorSolverType() for matrix in (small, large)]
    assert chosen == ["cholmod" if has_cholmod() else "petsc", "petsc"]


def test_cholmod_is_found_where_petsc_is_linked_to_it() -> None:
    """What `has_cholmod` asks for is a name: a wrong one would be a slow solver that nobody notices."""
    libraries = Path("/proc/self/maps").read_text(encoding="utf-8")
    assert has_cholmod() == ("libcholmod" in libraries)


def test_petsc_serves_where_cholmod_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factorisation, "has_cholmod", lambda: False)
    for package in (None, "cholmod"):
        assert factorised(in_petsc(laplacian(5)), package=package).getPC().getFactorSolverType() == "petsc"
