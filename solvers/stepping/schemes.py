"""Time stepping: central differences and Newmark as one family of three-level schemes.

With the averaged state ``ū_n = u_n + theta (u_{n+1} - 2 u_n + u_{n-1})`` every step solves

    M (u⁺ - 2u + u⁻)/dt² + C (u⁺ - u⁻)/(2 dt) + (K + B) ū = F_n,

theta = 0 being central differences and theta = 1/4 Newmark's trapezoidal rule in its three-level form. Runs start from
rest: u_{-1} = u_0 = 0 by default. Source: Newmark 1959; Hughes, The Finite Element Method, 9.1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from petsc4py import PETSc

from solvers.errors import SolverError
from solvers.space.assembly import Assembly, petsc_matrix
from solvers.stepping.direct_solver import factorised
from solvers.stepping.fused_step import determined, fuse

LEVELS_BETWEEN_CHECKS = 32


class DivergenceError(SolverError, RuntimeError):
    """A run left the range that its input allows.

    Args:
        step: Time level at which it was noticed.
        time: Its time.
        norm: Energy norm of the motion there, ``|(u⁺ - u)/dt|_M``.
        run: Which of several runs that were stepped at once.
    """

    def __init__(self, step: int, time: float, norm: float, run: int = 0) -> None:
        super().__init__(
            f"the run diverged: at level {step} (t = {time:.6g}) the energy norm is {norm:.3g}; "
            "check the time step, the wave speeds and the boundary data"
        )
        self.step, self.time, self.norm, self.run = step, time, norm, run

    def __reduce__(self) -> tuple[type, tuple[int, float, float, int]]:
        return type(self), (self.step, self.time, self.norm, self.run)


class Drive(Protocol):
    """Input of a run: a load, or prescribed values of the held dofs."""

    def bound(self) -> float:
        """Largest energy norm that the input can cause, generously: all of it, or that applied so far where the rest is
        not known yet. Local; may differ between ranks."""
        ...

    def apply(self, out: NDArray[np.float64], n: int) -> None:
        """Add the load F_n of the step from level n to n + 1 to ``out``, or set the held dofs at level n + 1."""
        ...


class Stepper(ABC):
    """One step of a three-level scheme on the dofs that this rank owns.

    Two levels of the state are NumPy arrays with PETSc vectors on top, and swapped by name.

    Args:
        assembly: The matrices of the equation.
        dt: Time step.
        prescribed: The values of held dofs are prescribed, rather than loads on them.

    Attributes:
        explicit: A step is a product with a matrix, and dt has a limit.
        order: The owned dof at each place of the stepper's arrays: the held ones last, as boundary data arrive.
        load_weight: What a load is multiplied with before it is added: ``out += load_weight * F``.
    """

    explicit: ClassVar[bool]
    order: NDArray[np.int32]
    load_weight: NDArray[np.float64]

    def __init__(self, assembly: Assembly, dt: float, *, prescribed: bool = False) -> None:
        self.assembly, self.dt, self.prescribed = assembly, dt, prescribed
        rest = np.setdiff1d(np.arange(assembly.num_owned, dtype=np.int32), assembly.held)
        self.order = np.concatenate([rest, assembly.held]).astype(np.int32)
        self._current, self._previous = np.zeros(len(self.order)), np.zeros(len(self.order))
        self._current_vec = PETSc.Vec().createWithArray(self._current, comm=assembly.comm)
        self._previous_vec = PETSc.Vec().createWithArray(self._previous, comm=assembly.comm)

    @property
    def num_entries(self) -> int:
        """Entries of the matrix that an explicit step multiplies with; 0 of an implicit one, which solves."""
        return 0

    def state(self) -> NDArray[np.float64]:
        """The current level, a view."""
        return self._current

    def reset(self, previous: NDArray[np.float64] | None, current: NDArray[np.float64] | None) -> None:
        """Set the levels -1 and 0, in the space's order of owned dofs; zero where ``None``."""
        self._previous[:] = 0.0 if previous is None else previous[self.order]
        self._current[:] = 0.0 if current is None else current[self.order]

    @abstractmethod
    def step(self, drive: Drive, n: int) -> None:
        """From level n to n + 1. Collective on the assembly's comm."""

    def _swap(self) -> None:
        self._current, self._previous = self._previous, self._current
        self._current_vec, self._previous_vec = self._previous_vec, self._current_vec


def march(
    stepper: Stepper,
    drive: Drive,
    num_steps: int,
    *,
    previous: NDArray[np.float64] | None = None,
    current: NDArray[np.float64] | None = None,
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield ``(n, u_n)`` for the levels 0 .. num_steps. Collective on the assembly's comm.

    ``u_n`` is a view on the owned dofs in the stepper's order, valid until the next level is asked for.

    Args:
        stepper: The scheme.
        drive: The excitation.
        num_steps: Number of steps.
        previous: Level -1 on owned dofs, zero by default.
        current: Level 0 on owned dofs, zero by default.

    Raises:
        DivergenceError: On every rank, if the motion is not finite or exceeds what the input can cause.
    """
    stepper.reset(previous, current)
    watch = _Watch(stepper, drive, started_at_rest=previous is None and current is None)
    yield 0, stepper.state()
    for n in range(num_steps):
        checked = (n + 1) % LEVELS_BETWEEN_CHECKS == 0 or n + 1 == num_steps
        if checked:
            watch.before()
        stepper.step(drive, n)
        if checked:
            watch.after(n + 1)
        yield n + 1, stepper.state()


class _Watch:
    """Compares the energy norm with what the input allows."""

    def __init__(self, stepper: Stepper, drive: Drive, *, started_at_rest: bool) -> None:
        self._stepper = stepper
        self._mass = stepper.assembly.mass_diagonal[stepper.order]
        self._comm = stepper.assembly.comm
        # what a run that starts in motion may reach is not known: only values that are not finite stop it
        self._drive = drive if started_at_rest else None

    def before(self) -> None:
        self._before = self._stepper.state().copy()

    def after(self, level: int) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported below
            rate = (self._stepper.state() - self._before) / self._stepper.dt
            norm = float(np.sqrt(self._comm.allreduce(float(self._mass @ rate**2))))
        limit = np.inf if self._drive is None else self._comm.allreduce(self._drive.bound())
        if not np.isfinite(norm) or norm > limit:
            raise DivergenceError(level, level * self._stepper.dt, norm)


class CentralDifference(Stepper):
    """``u⁺ = A u - d u⁻ + w F``: one product with a fused matrix a step (theta = 0, M diagonal).

    The plain form, one run and one step at a time in PETSc; `solvers.batch.ensemble` is the fast one.

    Raises:
        ValueError: If dt exceeds the stability limit.
    """

    explicit = True

    def __init__(self, assembly: Assembly, dt: float, *, prescribed: bool = False) -> None:
        super().__init__(assembly, dt, prescribed=prescribed)
        self.fused = fuse(assembly, dt, prescribed=prescribed)
        self._matrix = petsc_matrix(assembly, self.fused.matrix, self.order)
        self.load_weight = self.fused.load_weight[self.order]
        self._minus_ratio = None if self.fused.ratio is None else -self.fused.ratio[self.order]

    @property
    def num_entries(self) -> int:
        return int(self.fused.matrix.nnz)

    def step(self, drive: Drive, n: int) -> None:
        out = self._previous
        if self._minus_ratio is None:
            np.negative(out, out=out)
        else:
            np.multiply(out, self._minus_ratio, out=out)
        self._matrix.multAdd(self._current_vec, self._previous_vec, self._previous_vec)
        drive.apply(out, n)
        self._swap()


class Newmark(Stepper):
    """Newmark's trapezoidal rule in three-level form, one factorisation for all steps and runs.

    The left-hand side is ``M/dt² + C/(2 dt) + (K + B)/4``. Rows and columns of dofs whose values are known are those of
    the identity, so that it stays symmetric; what the columns would bring goes to the right-hand side. The load passed
    by a drive is the averaged one, ``F_n + (F_{n+1} - 2 F_n + F_{n-1})/4``.
    """

    explicit = False

    def __init__(self, assembly: Assembly, dt: float, *, prescribed: bool = False) -> None:
        super().__init__(assembly, dt, prescribed=prescribed)
        free = determined(assembly, prescribed)
        mass = assembly.mass / dt**2
        damping = assembly.damping / (2.0 * dt)
        stiffness = assembly.stiffness + assembly.diagonal(assembly.robin)
        rows = sp.diags(free)
        left = rows @ (mass + damping + 0.25 * stiffness)
        columns = np.concatenate(assembly.comm.allgather(free))
        matrix = (left @ sp.diags(columns)).tocsr() + assembly.diagonal(1.0 - free)
        self._now = petsc_matrix(assembly, (rows @ (2.0 * mass - 0.5 * stiffness)).tocsr(), self.order)
        self._before = petsc_matrix(assembly, (rows @ (damping - mass - 0.25 * stiffness)).tocsr(), self.order)
        self.load_weight = free[self.order]
        self._rhs = np.zeros(len(self.order))
        self._rhs_vec = PETSc.Vec().createWithArray(self._rhs, comm=assembly.comm)
        self._known: PETSc.Mat | None = None  # what known values bring to the right-hand side; zeros bring nothing
        if prescribed:
            self._known = petsc_matrix(assembly, (left @ sp.diags(columns - 1.0)).tocsr(), self.order)
            self._sum_vec = self._rhs_vec.duplicate()
        self._solver = factorised(petsc_matrix(assembly, matrix.tocsr(), self.order))

    def step(self, drive: Drive, n: int) -> None:
        self._before.mult(self._previous_vec, self._rhs_vec)
        self._now.multAdd(self._current_vec, self._rhs_vec, self._rhs_vec)
        drive.apply(self._rhs, n)
        right = self._rhs_vec
        if self._known is not None:
            self._known.multAdd(right, right, self._sum_vec)
            right = self._sum_vec
        self._solver.solve(right, self._previous_vec)
        self._swap()


SCHEMES: dict[str, type[CentralDifference] | type[Newmark]] = {"explicit": CentralDifference, "newmark": Newmark}


def make_stepper(name: str, assembly: Assembly, dt: float, *, prescribed: bool = False) -> Stepper:
    """The scheme of a name, as a discretisation gives it. Collective on the assembly's comm.

    Raises:
        ValueError: If dt exceeds the stability limit of an explicit one.
    """
    return SCHEMES[name](assembly, dt, prescribed=prescribed)
