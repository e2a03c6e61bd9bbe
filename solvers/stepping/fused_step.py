"""The explicit step as one matrix: ``u⁺ = A u − d u⁻ + w F``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from solvers.space.assembly import Assembly
from solvers.space.stability import require_stable


@dataclass(frozen=True)
class FusedStep:
    """Central differences with a diagonal mass: the rows that this rank owns, in the order of its dofs.

    Args:
        matrix: A, shape ``(num_owned, num_global)``, without stored zeros; rows that the equation does not determine
            (fixed dofs, and held ones where their values are prescribed) are empty.
        ratio: d, shape ``(num_owned,)``; ``None`` where it is 1 everywhere, without damping.
        load_weight: w, shape ``(num_owned,)``.
    """

    matrix: sp.csr_matrix
    ratio: NDArray[np.float64] | None
    load_weight: NDArray[np.float64]


def fuse(assembly: Assembly, dt: float, *, prescribed: bool = False) -> FusedStep:
    """``A = (M/dt² + C/(2 dt))⁻¹ (2M/dt² − K − B)`` and what belongs to it. Collective on the assembly's comm.

    Args:
        assembly: The matrices of the equation, M diagonal.
        dt: Time step.
        prescribed: Whether the values of held dofs are prescribed.

    Raises:
        ValueError: If dt exceeds the stability limit.
    """
    require_stable(assembly, dt)
    mass = assembly.mass_diagonal / dt**2
    damping = assembly.damping_diagonal / (2.0 * dt)
    inverse = determined(assembly, prescribed) / (mass + damping)
    matrix = (sp.diags(inverse) @ (assembly.diagonal(2.0 * mass - assembly.robin) - assembly.stiffness)).tocsr()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    ratio = (mass - damping) / (mass + damping) if np.any(damping) else None
    return FusedStep(matrix, ratio, inverse)


def determined(assembly: Assembly, prescribed: bool) -> NDArray[np.float64]:
    """1 on the dofs that the equation determines, 0 on fixed and prescribed ones."""
    free = np.ones(assembly.num_owned)
    free[assembly.fixed] = 0.0
    if prescribed:
        free[assembly.held] = 0.0
    return free
