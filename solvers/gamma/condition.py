"""Interface conditions: what Γ adds to the zone's equation, and the boundary data that it asks for. NumPy only.

On the zone's nodes of Γ the equation is M ü + C u̇ + (K + B) u = g with diagonal C and B, or u is prescribed there. A
trace that the full model recorded satisfies the zone's own equation with the load r of the outside, so that
g = r + C v + B ū replays it exactly, whatever C and B are (docs/numerics.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.datum import DatumWeights
from solvers.gamma.gamma import Gamma


@dataclass(frozen=True)
class GammaTerms:
    """Diagonal terms of the zone's equation at all nodes of Γ, each of shape ``(num_nodes,)``.

    Args:
        damping: C.
        spring: B.
    """

    damping: NDArray[np.float64]
    spring: NDArray[np.float64]


class InterfaceCondition(ABC):
    """A condition on Γ: a frozen dataclass whose fields are numbers that a case may give under ``[interface]``.

    Attributes:
        name: Its kind in a case and in the option ``--interface``.
        needs: Fields of a trace that its boundary data are made of.
        prescribes: The data are values of u, not a load.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("displacement", "velocity", "load")
    prescribes: ClassVar[bool] = False

    def fitted(self, gamma: Gamma) -> Self:
        """The condition with defaults that depend on Γ filled in."""
        return self

    @abstractmethod
    def terms(self, gamma: Gamma, admittance: NDArray[np.float64]) -> GammaTerms:
        """Terms on Γ.

        Args:
            gamma: The nodes.
            admittance: 1/c, integrated with each node's basis function over Γ, shape ``(num_nodes,)``.
        """

    def datum(self, terms: GammaTerms, theta: float) -> DatumWeights:
        """Weights of a trace's fields in the boundary data of an undivided step.

        Args:
            terms: Those on Γ.
            theta: Of the scheme's average ū of three levels.
        """
        return DatumWeights(terms.spring, terms.damping, np.ones_like(terms.spring), lead=0, theta=theta)

    def energy_bound(
        self, mass: NDArray[np.float64], mass_on_gamma: NDArray[np.float64], dt: float, duration: float
    ) -> float:
        """A generous bound of the energy norm on a rank, for boundary data of magnitude one: a hundred times what the
        load can add up to (the integral of ``|g|`` in M⁻¹ over the run).

        Args:
            mass: Diagonal of M of the rank's dofs.
            mass_on_gamma: Of those on Γ.
            dt: Time step.
            duration: Length of the run.
        """
        return 100.0 * duration * float(np.sqrt(np.sum(1.0 / mass_on_gamma)))

    def parameters(self) -> dict[str, Any]:
        """Its numbers by name."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    def require(self, available: Collection[str], owner: str) -> None:
        """See that the fields are there that the boundary data are made of.

        Args:
            available: Names of fields.
            owner: Where they come from, in words.

        Raises:
            ValueError: If one is not; the message names conditions that need no more than these.
        """
        if absent := missing(type(self), available):
            others = "".join(f", or use the {name} condition" for name in served(available))
            raise ValueError(
                f"the {self.name} condition needs the {absent} on Γ, which {owner} lacks: "
                f"train a generator with the field '{absent}'{others}"
            )


@dataclass(frozen=True)
class Dirichlet(InterfaceCondition):
    """u on Γ is prescribed ([A])."""

    name: ClassVar[str] = "dirichlet"
    needs: ClassVar[tuple[str, ...]] = ("displacement",)
    prescribes: ClassVar[bool] = True

    def terms(self, gamma: Gamma, admittance: NDArray[np.float64]) -> GammaTerms:
        """None: the equation's rows on Γ are not used."""
        return GammaTerms(np.zeros(gamma.num_nodes), np.zeros(gamma.num_nodes))

    def datum(self, terms: GammaTerms, theta: float) -> DatumWeights:
        """u itself, one level ahead: a step needs it at its end."""
        zero = np.zeros_like(terms.spring)
        return DatumWeights(np.ones_like(zero), zero, zero, lead=1, theta=0.0)

    def energy_bound(
        self, mass: NDArray[np.float64], mass_on_gamma: NDArray[np.float64], dt: float, duration: float
    ) -> float:
        """A thousand times the fastest prescribed motion, all of the zone moving with it."""
        return 1e3 * 2.0 / dt * float(np.sqrt(mass.sum()))


@dataclass(frozen=True)
class Impedance(InterfaceCondition):
    """∂u/∂n + u_t/c + α u = g on Γ, which lets waves leave that the boundary data do not know.

    Args:
        alpha: α, 1 / unit of length; the inverse of the zone's size by default.

    Raises:
        ValueError: If alpha is negative.
    """

    name: ClassVar[str] = "impedance"
    alpha: float | None = None

    def __post_init__(self) -> None:
        if self.alpha is not None and self.alpha < 0.0:
            raise ValueError(f"alpha must not be negative, got {self.alpha}: the zone would be unstable")

    def fitted(self, gamma: Gamma) -> Impedance:
        """With the default α of this Γ."""
        return self if self.alpha is not None else replace(self, alpha=1.0 / gamma.size)

    def terms(self, gamma: Gamma, admittance: NDArray[np.float64]) -> GammaTerms:
        """C_Γ = ∫ u v / c and α B_Γ, both lumped."""
        return GammaTerms(admittance, (self.fitted(gamma).alpha or 0.0) * gamma.weights)


CONDITIONS: dict[str, type[InterfaceCondition]] = {kind.name: kind for kind in (Dirichlet, Impedance)}
"""Interface conditions by name, those that a case and the option ``--interface`` may name."""


def condition_named(name: str, **parameters: Any) -> InterfaceCondition:
    """The condition of a name.

    Args:
        name: As in `CONDITIONS`.
        parameters: Its numbers; ``None`` stands for the default.

    Raises:
        ValueError: If there is none, or a parameter is not one of its own or out of range.
    """
    if name not in CONDITIONS:
        raise ValueError(f"the interface condition must be one of {tuple(CONDITIONS)}, got '{name}'")
    numbers = {parameter: value for parameter, value in parameters.items() if value is not None}
    for parameter, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise ValueError(f"interface.{parameter} should be a number, got {value!r}")
        if parameter not in parameters_of(CONDITIONS[name]):
            others = " or ".join(f'"{other}"' for other, kind in CONDITIONS.items() if parameter in parameters_of(kind))
            raise ValueError(
                f'interface.{parameter} = {value:g} has no meaning with kind = "{name}": leave it out'
                + (f", or write kind = {others}" if others else "")
            )
    return CONDITIONS[name](**numbers)


def parameters_of(kind: type[InterfaceCondition]) -> tuple[str, ...]:
    """Names of a condition's parameters."""
    return tuple(field.name for field in fields(kind))  # type: ignore[arg-type]


def missing(kind: type[InterfaceCondition], available: Collection[str]) -> str:
    """Fields that a condition needs beyond those available, in words; empty where it needs no other."""
    return " and ".join(name for name in kind.needs if name not in available)


def served(available: Collection[str]) -> list[str]:
    """Names of the conditions that need no other fields than these."""
    return [name for name, kind in CONDITIONS.items() if not missing(kind, available)]
