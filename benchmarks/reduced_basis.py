"""Reduced basis of the full operator: POD of full runs in the mass norm, Galerkin projection, the scheme's own steps.

With ``w = sqrt(M) u`` the explicit scheme is ``w⁺ = 2 w - w⁻ + dt² (f s - A w)`` with a symmetric A; its projection on
an orthonormal basis is of the same form and as stable. A source at a new place enters by its projected load, any signal
as it is, and u, v and r on Γ are read off the basis. Serial; NumPy and SciPy beside the matrices of `solvers`.

Source: Herkt, Hinze, Pinnau 2013, Electron. Trans. Numer. Anal. 40, 321 (POD-Galerkin for the wave equation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.problems.recording import load_rows
from solvers.space.assembly import assemble
from submodel.case.case import Case
from submodel.case.excitation import signals_of
from submodel.solve import from_case as build

Array = NDArray[np.float64]


class FullOperator:
    """Matrices of the explicit scheme on the free dofs, and what it takes to read Γ.

    Args:
        case: With central differences.
    """

    def __init__(self, case: Case) -> None:
        if case.discretization.stepper != "explicit":
            raise ValueError("this baseline steps explicitly: give a case with stepper = explicit")
        self.case, model = case, build.full_model(case, MPI.COMM_SELF)
        assembly = assemble(model.V, model.domain, model.discretization, physics=model.physics)
        rows = load_rows(model.V, model.domain, model.discretization, model.physics, model.gamma_dofs)
        num_dofs = len(assembly.mass_diagonal)
        self.free = np.setdiff1d(np.arange(num_dofs), assembly.fixed)
        self.root = np.sqrt(assembly.mass_diagonal[self.free])
        inverse = sp.diags(1.0 / self.root)
        stiffness = sp.csr_matrix(assembly.stiffness)[self.free][:, self.free]
        self.matrix = sp.csr_matrix(inverse @ stiffness @ inverse)
        if rows is None:
            raise RuntimeError("the rows of a serial run are on its only rank")
        gamma = sp.identity(num_dofs, format="csr")[model.gamma_dofs.dofs[np.argsort(model.gamma_dofs.positions)]]
        self.trace, self.mass, self.stiffness = (
            sp.csr_matrix(each[:, self.free] @ inverse) for each in (gamma, rows[0], rows[2])
        )
        self.evaluator, self.dt = model.evaluator, case.time.dt
        self.places: Array = model.V.tabulate_dof_coordinates()[self.free, :2]
        self._num_dofs = num_dofs

    def loads(self, sources: Array) -> sp.csr_matrix:
        """Scaled loads of point sources, (dof, source)."""
        columns = []
        for x, y in sources:
            dofs, weights = self.evaluator.load((float(x), float(y)))
            whole = np.zeros(self._num_dofs)
            np.add.at(whole, dofs, weights)
            columns.append(whole[self.free] / self.root)
        return sp.csr_matrix(np.array(columns).T)


def steps(matrix: Any, loads: Any, signals: Array, dt: float, record: Any) -> list[Any]:
    """What `record` makes of w at the levels -1 .. N, from rest: (dof, run) with signals (run, N + 1)."""
    dense = loads.toarray() if sp.issparse(loads) else loads
    before, now = np.zeros_like(dense), np.zeros_like(dense)
    out = [record(before), record(now)]
    for n in range(signals.shape[1] - 1):
        before, now = now, 2.0 * now - before + dt**2 * (dense * signals[:, n] - matrix @ now)
        out.append(record(now))
    return out


def fields(displacement: Array, mass: Array, stiffness: Array, dt: float) -> Array:
    """u, v and r, (run, field, level, node), from histories at the levels -1 .. N, (level, node, run)."""
    u = displacement.transpose(2, 0, 1)
    accelerated = (mass[2:] - 2.0 * mass[1:-1] + mass[:-2]) / dt**2
    load = (accelerated + stiffness[1:-1]).transpose(2, 0, 1)
    return np.stack([u[:, 1:-1], (u[:, 2:] - u[:, :-2]) / (2.0 * dt), load], axis=1)


@dataclass(frozen=True)
class ReducedOperator:
    """The projected scheme.

    Args:
        full: What it was projected from.
        basis: Orthonormal columns, (dof, mode).
    """

    full: FullOperator
    basis: Array

    @classmethod
    def of(cls, full: FullOperator, parameters: Array, *, stride: int, tail: float, most: int) -> ReducedOperator:
        """POD of full runs, every so many levels; modes below `tail` of the norm together are left out."""
        signals = signals_of(full.case, parameters)
        kept: list[NDArray[np.float32]] = []
        count = iter(range(signals.shape[1] + 1))

        def record(w: Array) -> None:
            if next(count) % stride == 0:
                kept.append(w.astype(np.float32))

        steps(full.matrix, full.loads(full.case.parameters.sources(parameters)), signals, full.dt, record)
        snapshots = np.concatenate(kept, axis=1)
        snapshots[np.abs(snapshots) < 1e-9 * np.abs(snapshots).max()] = 0.0  # before the wave; small numbers are slow
        size = np.sqrt((snapshots**2).sum(axis=0))
        snapshots = snapshots[:, size > 1e-6 * size.max()]
        energy, vectors = np.linalg.eigh((snapshots.T @ snapshots).astype(np.float64))
        energy, vectors = np.maximum(energy[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1])
        num = min(most, int(np.searchsorted(np.cumsum(energy), (1.0 - tail**2) * energy.sum())) + 1)
        basis, _ = np.linalg.qr(snapshots.astype(np.float64) @ vectors[:, :num])
        return cls(full, np.asarray(basis, dtype=np.float64))

    @property
    def num_numbers(self) -> int:
        """Numbers that are kept: the matrix, the rows of Γ for u and twice for r, and the loads of the source nodes."""
        full, modes = self.full, self.basis.shape[1]
        rows = 3 * full.trace.shape[0] * modes
        case = full.case.parameters
        lower, upper = np.array(case.source_lower), np.array(case.source_upper)
        inside = ((full.places >= lower) & (full.places <= upper)).all(axis=1)
        return modes * modes + rows + int(inside.sum()) * modes

    def predict(self, parameters: Array) -> Array:
        """u, v and r on Γ, (run, field, level, node)."""
        full, V = self.full, self.basis
        matrix = V.T @ (full.matrix @ V)
        matrix = 0.5 * (matrix + matrix.T)
        rows = [each @ V for each in (full.trace, full.mass, full.stiffness)]
        loads = V.T @ full.loads(full.case.parameters.sources(parameters)).toarray()
        histories = steps(
            matrix, loads, signals_of(full.case, parameters), full.dt, lambda w: [each @ w for each in rows]
        )
        displacement, mass, stiffness = (np.array([level[i] for level in histories]) for i in range(3))
        return fields(displacement, mass, stiffness, full.dt)
