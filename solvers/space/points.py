"""Evaluation of finite-element functions at points, without compiling anything per location."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from dolfinx import fem
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray

from solvers.mesh.cell_search import CellSearch
from solvers.mesh.compat import coordinate_map, geometry_dofs


class PointEvaluator:
    """Basis functions of a scalar space at points; the search tree is built once. Collective on the space's comm.

    Args:
        V: Scalar Lagrange space on a planar mesh.
    """

    def __init__(self, V: fem.FunctionSpace) -> None:
        self._V = V
        self._mesh = V.mesh
        tdim = self._mesh.topology.dim
        self._num_cells_owned = self._mesh.topology.index_map(tdim).size_local
        self._search = CellSearch(self._mesh)

    def matrix(self, points: ArrayLike) -> sp.csr_matrix:
        """Rows of the evaluation: ``values = matrix @ u``, columns numbered globally. Collective on the space's comm.

        Each point's row is filled on one rank only (the lowest that owns a cell around it).

        Args:
            points: Shape ``(num_points, 2)``, the same on every rank.

        Returns:
            Shape ``(num_points, num_dofs_global)``.

        Raises:
            ValueError: On every rank, if a point lies outside the mesh.
        """
        xy = np.atleast_2d(np.asarray(points, dtype=np.float64))
        mine, columns, values = self._locate(xy)
        rows = np.repeat(mine, columns.shape[1])
        shape = (len(xy), self._V.dofmap.index_map.size_global)
        return sp.csr_matrix((values.ravel(), (rows, columns.ravel())), shape=shape)

    def load(self, point: tuple[float, float]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Consistent load of a unit point source: owned dofs and their weights. Collective on the space's comm.

        The one rank that holds the point's cell adds the basis values; every rank then keeps those of its own dofs,
        so that nothing is lost or doubled.

        Raises:
            ValueError: On every rank, if the point lies outside the mesh.
        """
        _, columns, values = self._locate(np.array([point], dtype=np.float64))
        shares = self._mesh.comm.allgather((columns.ravel(), values.ravel()))
        dofs = np.concatenate([d for d, _ in shares])
        weights = np.concatenate([w for _, w in shares])
        first, last = self._V.dofmap.index_map.local_range
        mine = (dofs >= first) & (dofs < last) & (np.abs(weights) > 1e-14)
        return (dofs[mine] - first).astype(np.int32), weights[mine]

    def _locate(
        self, xy: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """The points that this rank evaluates, and the global dofs and basis values of each. Collective."""
        cells, misses = self._owned_cells(xy)
        comm = self._mesh.comm
        least = misses.copy()
        comm.Allreduce(MPI.IN_PLACE, least, op=MPI.MIN)
        owner = np.where((cells >= 0) & (misses == least), comm.rank, comm.size).astype(np.int32)
        comm.Allreduce(MPI.IN_PLACE, owner, op=MPI.MIN)
        outside = np.flatnonzero(owner == comm.size)
        if len(outside):
            raise ValueError(
                f"{len(outside)} point(s) lie outside the mesh, the first at {tuple(xy[outside[0]].tolist())}"
            )
        mine = np.flatnonzero(owner == comm.rank)
        dofs, values = self._basis(xy[mine], cells[mine])
        columns = self._V.dofmap.index_map.local_to_global(dofs.ravel())
        return mine, np.asarray(columns, dtype=np.int64).reshape(dofs.shape), values

    def _owned_cells(self, xy: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """The nearest owned cell of each point and its distance in cell sizes; -1 and infinity without one. Local."""
        rows, around, distances = self._search.around(xy)
        order = np.lexsort((distances, rows))
        order = order[around[order] < self._num_cells_owned]
        points, first = np.unique(rows[order], return_index=True)
        cells = np.full(len(xy), -1, dtype=np.int32)
        misses = np.full(len(xy), np.inf)
        cells[points], misses[points] = around[order[first]], distances[order[first]]
        return cells, misses

    def _basis(
        self, xy: NDArray[np.float64], cells: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Local dofs and basis values at points in known cells, each ``(num_points, num_basis)``. Local."""
        num_basis = self._V.dofmap.dof_layout.num_dofs
        if not len(cells):
            return np.empty((0, num_basis), np.int32), np.empty((0, num_basis))
        nodes, coordinates = geometry_dofs(self._mesh), self._mesh.geometry.x[:, :2]
        cmap = coordinate_map(self._mesh)
        reference = np.vstack(
            [cmap.pull_back(xy[i : i + 1].copy(), coordinates[nodes[c]]) for i, c in enumerate(cells)]
        )
        table = self._V.element.basix_element.tabulate(0, reference)
        return self._V.dofmap.list[cells], np.asarray(table[0, :, :, 0])
