"""The stability limit of the explicit scheme, and the resolution of a wavelength."""

from __future__ import annotations

import warnings

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray
from scipy.linalg import eigvalsh_tridiagonal

from solvers.mesh.domain import Domain, node_spacing
from solvers.space.assembly import Assembly, petsc_matrix

POINTS_PER_WAVELENGTH = 10.0
SHORTFALL, FAILURE = 1e-3, 1e-6  # of the largest eigenvalue, and the probability of more


class ResolutionWarning(UserWarning):
    """A wavelength has too few points for the error to be small."""


def largest_eigenvalue(assembly: Assembly) -> float:
    """Largest eigenvalue of M⁻¹(K + B), M diagonal, from at most a thousandth above. Collective on the assembly's comm.

    Lanczos on M^(-1/2) (K + B) M^(-1/2), which needs far fewer products than a power iteration. From a random start
    the Ritz value after k iterations is more than a share e below the eigenvalue of a matrix with n rows with a
    probability of at most 1.648 sqrt(n) exp(-sqrt(e) (2k - 1)); k is chosen for e = 1e-3 and a probability of 1e-6.
    Fixed dofs are left out. Source: Kuczynski, Wozniakowski 1992, SIAM J. Matrix Anal. Appl. 13, theorem 4.2.
    """
    comm, num_owned = assembly.comm, assembly.num_owned
    scale = 1.0 / np.sqrt(assembly.mass_diagonal)
    scale[assembly.fixed] = 0.0
    matrix = petsc_matrix(assembly, assembly.stiffness + assembly.diagonal(assembly.robin))
    x_scaled, image = matrix.createVecs()

    def product(x: NDArray[np.float64]) -> NDArray[np.float64]:
        x_scaled.array[:] = scale * x
        matrix.mult(x_scaled, image)
        return np.asarray(scale * image.array)

    def dot(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float(comm.allreduce(float(x @ y)))

    q: NDArray[np.float64] = np.random.default_rng(assembly.offset).standard_normal(num_owned) * (scale > 0.0)
    q /= np.sqrt(dot(q, q))
    previous: NDArray[np.float64] = np.zeros(num_owned)
    alphas: list[float] = []
    betas = [0.0]
    chance = 1.648 * np.sqrt(assembly.mass.shape[1]) / FAILURE
    for _ in range(int(np.ceil(0.5 * (np.log(chance) / np.sqrt(SHORTFALL) + 1.0)))):
        w = product(q) - betas[-1] * previous
        alphas.append(dot(q, w))
        w -= alphas[-1] * q
        betas.append(float(np.sqrt(dot(w, w))))
        if betas[-1] < 1e-12 * max(alphas):
            break
        previous, q = q, np.asarray(w / betas[-1])
    ritz = eigvalsh_tridiagonal(np.array(alphas), np.array(betas[1:-1]))[-1]
    return float(ritz / (1.0 - SHORTFALL))


def stable_dt(assembly: Assembly) -> float:
    """Largest time step of central differences, ``2 / sqrt(lambda_max)``. Collective on the assembly's comm."""
    return 2.0 / float(np.sqrt(largest_eigenvalue(assembly)))


def require_stable(assembly: Assembly, dt: float) -> float:
    """The limit, if dt keeps it. Collective on the assembly's comm.

    Raises:
        ValueError: If dt exceeds it; the message names the limit.
    """
    limit = stable_dt(assembly)
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


def warn_if_coarse(points: float, omega: float, *, place: str = "", remedy: str = "refine the mesh") -> bool:
    """Warn where a wavelength has too few points, and return whether it has. Local.

    Args:
        points: nodes a wavelength, as of `points_per_wavelength`.
        omega: angular frequency of the wave.
        place: words for where the wave is.
        remedy: words for what the user can do beside lowering omega.
    """
    if points >= POINTS_PER_WAVELENGTH:
        return False
    warnings.warn(
        f"at omega = {omega:.4g} a wavelength{place} has {points:.1f} points, fewer than {POINTS_PER_WAVELENGTH:.0f}: "
        f"expect several per cent of dispersion error; {remedy} or lower omega",
        ResolutionWarning,
        stacklevel=3,
    )
    return True
