"""The equation that is solved: integrands of its mass, stiffness and damping, and what Γ needs to know of it.

A further equation is one frozen dataclass like `Wave`, entered in `PHYSICS` (docs/extending.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from numpy.typing import NDArray

from solvers.mesh.domain import Domain


class Physics(ABC):
    """A linear equation ``M ü + C u̇ + K u = F``, a frozen dataclass whose fields are numbers of the whole domain.

    The integrands are UFL expressions, linear in u and v. M and C are diagonal wherever the discretisation asks for a
    diagonal mass: both are then lumped by a quadrature at the nodes.

    Attributes:
        name: Its kind in a case.
        symmetric: M, C and K are symmetric, so that a source and a receiver may change places.
        components: Numbers at a node; the solvers know one.
    """

    name: ClassVar[str]
    symmetric: ClassVar[bool] = True
    components: ClassVar[int] = 1

    @abstractmethod
    def mass(self, u: Any, v: Any, domain: Domain) -> Any:
        """Integrand of M over cells."""

    @abstractmethod
    def stiffness(self, u: Any, v: Any, domain: Domain) -> Any:
        """Integrand of K over cells."""

    def damping(self, u: Any, v: Any, domain: Domain) -> Any | None:
        """Integrand of C over cells; ``None`` where nothing is damped."""
        return None

    @abstractmethod
    def admittance(self, v: Any, domain: Domain, normal: Any) -> Any:
        """Integrand over Γ of what the impedance condition multiplies with u̇: a plane wave along the normal leaves."""


@dataclass(frozen=True)
class Wave(Physics):
    """``u_tt / c² − Δu = f`` ([A] eq. 1)."""

    name: ClassVar[str] = "wave"

    def mass(self, u: Any, v: Any, domain: Domain) -> Any:
        return cell_field(domain.mesh, 1.0 / domain.speed**2) * u * v

    def stiffness(self, u: Any, v: Any, domain: Domain) -> Any:
        return ufl.inner(ufl.grad(u), ufl.grad(v))

    def admittance(self, v: Any, domain: Domain, normal: Any) -> Any:
        return cell_field(domain.mesh, 1.0 / domain.speed) * v


WAVE = Wave()

PHYSICS: dict[str, type[Physics]] = {Wave.name: Wave}
"""Equations by name, those that a case may name."""


def physics_named(name: str, **parameters: float) -> Physics:
    """The equation of a name.

    Args:
        name: As in `PHYSICS`.
        parameters: Its numbers.

    Raises:
        ValueError: If there is none, or its numbers are others.
    """
    if name not in PHYSICS:
        raise ValueError(f"the physics must be one of {tuple(PHYSICS)}, got '{name}'")
    own = {field.name for field in fields(PHYSICS[name])}  # type: ignore[arg-type]
    if wrong := sorted(set(parameters) - own):
        raise ValueError(f"the physics '{name}' has no {wrong[0]} (it has {sorted(own)}): leave it out")
    return PHYSICS[name](**parameters)


def cell_field(mesh: dmesh.Mesh, values: NDArray[Any]) -> fem.Function:
    """Piecewise constant function from values of the local cells, ghosts included. Local."""
    field = fem.Function(fem.functionspace(mesh, ("DG", 0)))
    field.x.array[:] = np.asarray(values)
    return field
