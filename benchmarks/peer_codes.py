"""How each code that benchmarks/peers.py compares with steps the same problem, each in its fastest form that we found.

The problem: u_tt - Δu = δ(x - x_s) sin ωt on [-1, 1]² from rest, u = 0 on the boundary, N x N nodes, c = 1, central
differences. On right triangles P1 with lumped mass is the five-point stencil of a grid, so that codes of order 2 agree
to round-off. Each function imports its code when it is called.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

FIVE_POINTS, NINE_POINTS = "five points", "nine points"
OMEGA = 4.0 * np.pi
MAX_STEPS = 8192
FLOAT64_AT_ONCE = {"ngsolve": 4, "scikit-fem": 16}  # samples of the fastest batch, among 2, 4, 8, 16, 32


@dataclass(frozen=True)
class Problem:
    """The square with its sources.

    Args:
        num_nodes: nodes a side, N.
    """

    num_nodes: int

    @property
    def num_cells(self) -> int:
        """Cells a side."""
        return self.num_nodes - 1

    @property
    def h(self) -> float:
        """Distance of neighbouring nodes."""
        return 2.0 / self.num_cells

    @property
    def dt(self) -> float:
        """Time step: deepwave halves steps above 0.6 of the stability limit h/√2, that is above 0.42 h."""
        return 0.4 * self.h

    @property
    def coordinates(self) -> NDArray[np.float64]:
        """Of the nodes along one side."""
        return np.asarray(np.linspace(-1.0, 1.0, self.num_nodes), dtype=np.float64)

    def source(self, sample: int) -> tuple[int, int]:
        """The node (along x, along y) of a sample's source, one of 16."""
        n = self.num_cells
        return n // 4 + sample * (n // 64), 5 * n // 8

    def signal(self, num_steps: int = MAX_STEPS) -> NDArray[np.float64]:
        """s(n dt), shape ``(num_steps,)``."""
        return np.asarray(np.sin(OMEGA * self.dt * np.arange(num_steps)), dtype=np.float64)

    def index(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """The flat number ``i N + j`` of mesh nodes, shape ``(num_points,)``, from points ``(num_points, 2)``."""
        i, j = np.rint((points + 1.0) / self.h).astype(np.int64).T
        return np.asarray(i * self.num_nodes + j)

    def nodal(self, points: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Nodal values ``(num_points, num_samples)`` of a mesh on the grid, shape ``(num_samples, N, N)``."""
        grid = np.empty((self.num_nodes**2, values.shape[1]))
        grid[self.index(points)] = values
        return grid.T.reshape(-1, self.num_nodes, self.num_nodes)


@dataclass(frozen=True)
class Code:
    """A code set up for a problem.

    Args:
        library: its name on the package index, or "ours".
        what: the formulation.
        dtype: "float64" or "float32".
        num_samples: samples that it steps at once.
        march: takes that many steps from rest and returns the state.
        on_grid: the state as u on the grid, shape ``(num_samples, N, N)``.
        scheme: the stencil on the grid; only equal ones are held against each other.
    """

    library: str
    what: str
    dtype: str
    num_samples: int
    march: Callable[[int], Any]
    on_grid: Callable[[Any], NDArray[Any]]
    scheme: str = FIVE_POINTS

    @property
    def name(self) -> str:
        """Library and formulation."""
        return f"{self.library}: {self.what}"


def ngsolve(problem: Problem) -> list[Code]:
    """NGSolve: the fused matrix times vectors, and times several vectors at once."""
    ng = importlib.import_module("ngsolve")
    meshes = importlib.import_module("ngsolve.meshes")
    n = problem.num_cells
    mesh = meshes.MakeStructured2DMesh(quads=False, nx=n, ny=n, mapping=lambda x, y: (2.0 * x - 1.0, 2.0 * y - 1.0))
    V = ng.H1(mesh, order=1, dirichlet=".*")
    u, v = V.TnT()
    K = ng.BilinearForm(ng.grad(u) * ng.grad(v) * ng.dx).Assemble().mat
    mass = ng.LinearForm(v * ng.dx).Assemble().vec.FV().NumPy().copy()
    rows, columns, values = map(np.array, K.COO())
    free = np.array(list(V.FreeDofs()), dtype=np.float64)
    fused = _fused(problem, sp.csr_matrix((values, (rows, columns)), shape=(V.ndof, V.ndof)), mass, free).tocoo()
    A = ng.la.SparseMatrixd.CreateFromCOO(
        fused.row.tolist(), fused.col.tolist(), fused.data.tolist(), V.ndof, V.ndof
    )
    points = np.array(mesh.ngmesh.Coordinates())[:, :2]
    number = np.argsort(problem.index(points))
    amplitude = problem.dt**2 / problem.h**2 * problem.signal()
    dofs = [int(number[i * problem.num_nodes + j]) for i, j in map(problem.source, range(16))]

    def one(num_steps: int) -> NDArray[np.float64]:
        u, previous = K.CreateColVector(), K.CreateColVector()
        u[:] = 0.0
        previous[:] = 0.0
        for n in range(num_steps):
            previous *= -1.0
            previous.data += A * u
            previous[dofs[0]] += amplitude[n]
            u, previous = previous, u
        return np.array(u.FV().NumPy())[:, None]

    def several(num_steps: int, num_samples: int) -> NDArray[np.float64]:
        u, previous = (ng.la.MultiVector(K.CreateColVector(), num_samples) for _ in range(2))
        for vectors in (u, previous):
            for vector in vectors:
                vector[:] = 0.0
        for n in range(num_steps):
            previous.data = -1.0 * previous + A * u
            for k in range(num_samples):
                previous[k][dofs[k]] += amplitude[n]
            u, previous = previous, u
        return np.stack([vector.FV().NumPy() for vector in u], axis=1)

    at_once = FLOAT64_AT_ONCE["ngsolve"]
    on_grid = partial(problem.nodal, points)
    return [
        Code("ngsolve", "fused matrix, BaseVector", "float64", 1, one, on_grid),
        Code(
            "ngsolve", "fused matrix, MultiVector", "float64", at_once, partial(several, num_samples=at_once), on_grid
        ),
    ]


def scikit_fem(problem: Problem) -> list[Code]:
    """scikit-fem: the fused SciPy matrix times one vector, and times several as a dense block."""
    skfem = importlib.import_module("skfem")
    poisson = importlib.import_module("skfem.models.poisson")
    basis = skfem.Basis(skfem.MeshTri.init_tensor(*2 * (problem.coordinates,)), skfem.ElementTriP1())
    free = np.ones(basis.N)
    free[basis.get_dofs().all()] = 0.0
    A = _fused(problem, poisson.laplace.assemble(basis), poisson.unit_load.assemble(basis), free)
    points = basis.doflocs.T
    number = np.argsort(problem.index(points))
    amplitude = problem.dt**2 / problem.h**2 * problem.signal()

    def several(num_steps: int, num_samples: int) -> NDArray[np.float64]:
        dofs = np.array([number[i * problem.num_nodes + j] for i, j in map(problem.source, range(num_samples))])
        shape, at = ((basis.N,), dofs) if num_samples == 1 else ((basis.N, num_samples), (dofs, range(num_samples)))
        u, previous = np.zeros(shape), np.zeros(shape)
        for n in range(num_steps):
            np.subtract(A @ u, previous, out=previous)
            previous[at] += amplitude[n]
            u, previous = previous, u
        return u.reshape(basis.N, num_samples)

    on_grid = partial(problem.nodal, points)
    return [
        Code(
            "scikit-fem", f"fused CSR matrix, {words}", "float64", num, partial(several, num_samples=num), on_grid
        )
        for num, words in ((1, "vector"), (FLOAT64_AT_ONCE["scikit-fem"], "block of vectors"))
    ]


def devito(problem: Problem) -> list[Code]:
    """devito: a generated stencil in C on the inner nodes, whose halo of zeros is the boundary."""
    dv = importlib.import_module("devito")
    dv.configuration["log-level"] = "ERROR"
    dv.configuration["language"] = "C"
    inner = problem.num_nodes - 2
    i, j = problem.source(0)

    def code(what: str, order: int, speed_is_field: bool) -> Code:
        extent = (inner - 1) * problem.h
        grid = dv.Grid((inner, inner), extent=(extent, extent), dtype=np.float32)
        u = dv.TimeFunction(name="u", grid=grid, time_order=2, space_order=order)
        slowness: Any = 1
        if speed_is_field:
            slowness = dv.Function(name="m", grid=grid)
            slowness.data[:] = 1.0
        source = dv.SparseTimeFunction(name="s", grid=grid, npoint=1, nt=MAX_STEPS)
        source.coordinates.data[:] = ((i - 1) * problem.h, (j - 1) * problem.h)
        source.data[:, 0] = problem.signal()
        step = dv.Eq(u.forward, dv.solve(slowness * u.dt2 - u.laplace, u.forward))
        injection = source.inject(field=u.forward, expr=source * problem.dt**2 / problem.h**2)
        operator = dv.Operator([step, injection])

        def march(num_steps: int) -> NDArray[np.float32]:
            u.data.fill(0.0)
            operator.apply(time_m=0, time_M=num_steps - 1, dt=problem.dt)
            return np.asarray(u.data[num_steps % 3])[None]

        return Code("devito", what, "float32", 1, march, partial(_with_boundary, problem), _scheme(order))

    return [
        code("order 2, c a number", 2, False),
        code("order 2, c a field", 2, True),
        code("order 4, c a field", 4, True),
    ]


def deepwave(problem: Problem) -> list[Code]:
    """deepwave: its compiled propagator on the inner nodes without absorbing layers, without gradients."""
    torch, dw = importlib.import_module("torch"), importlib.import_module("deepwave")
    torch.set_num_threads(1)
    inner = problem.num_nodes - 2
    speed = torch.ones(inner, inner)
    amplitude = torch.as_tensor(-problem.signal() / problem.h**2, dtype=torch.float32)

    def march(num_steps: int, num_samples: int, order: int) -> NDArray[np.float32]:
        places = torch.tensor([[[i - 1, j - 1]] for i, j in map(problem.source, range(num_samples))])
        amplitudes = amplitude[:num_steps].expand(num_samples, 1, num_steps).contiguous()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that walls without a layer reflect is what is wanted
            state = dw.scalar(
                speed,
                problem.h,
                problem.dt,
                source_amplitudes=amplitudes,
                source_locations=places,
                accuracy=order,
                pml_width=0,
                pml_freq=OMEGA / (2.0 * np.pi),
                max_vel=1.0,
            )[0]
        return np.asarray(state.numpy())

    return [
        Code(
            "deepwave",
            f"accuracy {order}, {num} shot{'s' if num > 1 else ''}",
            "float32",
            num,
            partial(march, num_samples=num, order=order),
            partial(_with_boundary, problem),
            _scheme(order),
        )
        for num, order in ((1, 2), (8, 2), (1, 4))
    ]


def _scheme(order: int) -> str:
    return FIVE_POINTS if order == 2 else NINE_POINTS


def _fused(problem: Problem, K: sp.spmatrix, mass: NDArray[Any], free: NDArray[Any]) -> sp.csr_matrix:
    """``2I - dt² M⁻¹K`` with empty rows and columns of fixed dofs and without the zeros that K stores."""
    A = sp.diags(free) @ (2.0 * sp.identity(len(mass)) - problem.dt**2 * sp.diags(1.0 / mass) @ K) @ sp.diags(free)
    A = A.tocsr()
    A.data[np.abs(A.data) < 1e-12] = 0.0  # couplings across right angles: round-off of 2
    A.eliminate_zeros()
    A.sort_indices()
    return A


def _with_boundary(problem: Problem, inner: NDArray[Any]) -> NDArray[Any]:
    """Values on the inner nodes, with the zeros around them."""
    return np.pad(inner, ((0, 0), (1, 1), (1, 1)))
