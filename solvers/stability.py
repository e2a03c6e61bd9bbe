"""The stability limit of the explicit scheme, and the resolution of a wavelength."""

from __future__ import annotations

import numpy as np
from dolfinx import mesh as dmesh
from mpi4py import MPI
from numpy.typing import NDArray
from scipy.linalg import eigvalsh_tridiagonal

from solvers.compat import geometry_dofs
from solvers.mesh import Domain
from solvers.operators import Operators, petsc_matrix

POINTS_PER_WAVELENGTH = 10.0


class ResolutionWarning(UserWarning):
    """A wavelength has too few points for the error to be small."""


def largest_eigenvalue(operators: Operators, *, max_iterations: int = 600) -> float:
    """Largest eigenvalue of M⁻¹(K + B), M diagonal, from slightly above. Collective on the operators' comm.

    Lanczos on M^(-1/2) (K + B) M^(-1/2), which needs far fewer products than a power iteration. Its Ritz value
    approaches from below, at least as fast as the inverse square of the number of iterations; what this law still
    leaves out is estimated from the last ten, brought below a thousandth, and added twice to err to the safe side.
    Fixed dofs are left out. Source: Golub, Van Loan, Matrix Computations, 10.1; Kuczynski, Wozniakowski 1992.
    """
    comm, num_owned = operators.comm, len(operators.damping)
    scale = 1.0 / np.sqrt(operators.mass_diagonal)
    scale[operators.fixed] = 0.0
    matrix = petsc_matrix(operators, operators.stiffness + operators.diagonal(operators.robin))
    x_scaled, image = matrix.createVecs()

    def product(x: NDArray[np.float64]) -> NDArray[np.float64]:
        x_scaled.array[:] = scale * x
        matrix.mult(x_scaled, image)
        return np.asarray(scale * image.array)

    def dot(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float(comm.allreduce(float(x @ y)))

    q: NDArray[np.float64] = np.random.default_rng(operators.offset).standard_normal(num_owned) * (scale > 0.0)
    q /= np.sqrt(dot(q, q))
    previous: NDArray[np.float64] = np.zeros(num_owned)
    alphas: list[float] = []
    betas = [0.0]
    ritz, missing = 0.0, np.inf
    for iteration in range(1, max_iterations + 1):
        w = product(q) - betas[-1] * previous
        alphas.append(dot(q, w))
        w -= alphas[-1] * q
        betas.append(float(np.sqrt(dot(w, w))))
        exhausted = betas[-1] < 1e-12 * max(alphas)
        if exhausted or iteration % 10 == 0:
            before, ritz = ritz, float(eigvalsh_tridiagonal(np.array(alphas), np.array(betas[1:-1]))[-1])
            missing = 0.0 if exhausted else iteration / 20.0 * (ritz - before)
        if missing < 1e-3 * ritz:
            break
        previous, q = q, np.asarray(w / betas[-1])
    return (ritz + 2.0 * missing) * (1.0 + 1e-4)


def stable_dt(operators: Operators) -> float:
    """Largest time step of central differences, ``2 / sqrt(lambda_max)``. Collective on the operators' comm."""
    return 2.0 / float(np.sqrt(largest_eigenvalue(operators)))


def require_stable(operators: Operators, dt: float) -> float:
    """The limit, if dt keeps it. Collective on the operators' comm.

    Raises:
        ValueError: If dt exceeds it; the message names the limit.
    """
    limit = stable_dt(operators)
    if dt > limit:
        raise ValueError(
            f"the time step {dt:.6g} exceeds the explicit stability limit {limit:.6g}: "
            "use more time levels, a coarser mesh, or the newmark stepper"
        )
    return limit


def points_per_wavelength(domain: Domain, degree: int, omega: float) -> float:
    """Nodes per wavelength 2πc/omega in the worst cell. Collective on the mesh's comm."""
    worst = float((domain.speed / node_spacing(domain.mesh)).min(initial=np.inf))
    return 2.0 * np.pi / omega * degree * float(domain.mesh.comm.allreduce(worst, op=MPI.MIN))


def node_spacing(mesh: dmesh.Mesh) -> NDArray[np.float64]:
    """Spacing of the vertices in each local cell: the side of the square of which it is all or half. Local."""
    corners = mesh.geometry.x[geometry_dofs(mesh)][:, :, :2]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray(np.sqrt(np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])))
