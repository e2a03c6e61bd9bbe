"""Fields over the source area that obey the discrete Helmholtz equation of its own mesh and wave speed.

At a frequency the amplitude on Gamma, as a function of the source's node, is by reciprocity a field that has no source
inside the source area: there ``(K - w^2 M) phi = 0``. Such fields are known by their values on a rim around: some
``P omega / (pi c) + few`` of them matter, P the length of the rim, where splines take the square of that. They are
driven here by random loads on the rim of a patch, which absorbs what comes back; principal components of them are the
basis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from networks.table.bases.area import Area, Patch
from networks.table.bases.components import Components

Complex = NDArray[np.complex128]

SPARE = 20
"""Functions beyond the number of modes that a rim of this length carries."""


LOADS = 1.0
"""Loads for each of these modes; each gives two real fields."""


class Helmholtz(Components):
    """Principal components of random discrete Helmholtz fields, orthonormal over the source nodes.

    Args:
        area: the source area with the patch around it.
        smallest, reach, sizes, seed: as of `networks.table.bases.components.Components`.

    Raises:
        ValueError: no patch, one that is not of triangles, or numbers that make no basis.
    """

    kind: ClassVar[str] = "helmholtz"

    def __init__(
        self,
        area: Area,
        smallest: float = 0.001,
        reach: int = 3,
        sizes: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        if area.patch is None:
            raise ValueError(
                "a helmholtz basis needs the wave speed around the source area, and these runs do not say it: "
                "choose the basis spline or nodes"
            )
        if area.patch.cells.shape[1] != 3:
            raise ValueError("a helmholtz basis is made on triangles: choose the basis spline or nodes instead")
        super().__init__(area, _Equation(area.patch, len(area.nodes), area.dt), smallest, reach, sizes, seed)


class _Equation:
    """The discrete equation on a patch with a rim that absorbs."""

    def __init__(self, patch: Patch, num: int, dt: float) -> None:
        cells, speed, size = patch.cells, patch.speed, len(patch.nodes)
        corners = patch.nodes[cells]
        opposite = np.stack([corners[:, (i + 1) % 3] - corners[:, (i + 2) % 3] for i in range(3)], 1)
        area = np.abs(opposite[:, 0, 0] * opposite[:, 1, 1] - opposite[:, 0, 1] * opposite[:, 1, 0]) / 2
        local = np.einsum("cid,cjd->cij", opposite, opposite) / (4 * area)[:, None, None]
        rows, columns = np.repeat(cells, 3, 1).ravel(), np.tile(cells, (1, 3)).ravel()
        self.stiffness = sp.csc_matrix((local.ravel(), (rows, columns)), (size, size))
        self.mass = np.bincount(cells.ravel(), np.repeat(area / speed**2 / 3, 3), size)
        edges, owner = (
            np.sort(cells[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1),
            np.repeat(np.arange(len(cells)), 3),
        )
        _, first, count = np.unique(edges, axis=0, return_index=True, return_counts=True)
        outer, beside = edges[first[count == 1]], speed[owner[first[count == 1]]]
        length = np.linalg.norm(patch.nodes[outer[:, 0]] - patch.nodes[outer[:, 1]], axis=1)
        self.damping = np.bincount(outer.ravel(), np.repeat(length / beside / 2, 2), size)
        self.rim = np.flatnonzero(self.damping)
        self.num, self.dt = num, dt
        self.crossings = float((length / beside).sum())  # a wave's time around the rim

    def fields(self, omega: float, random: np.random.Generator) -> Complex:
        """Fields (S, m) complex of random loads on the rim, enough of them for the modes of this frequency."""
        modes = self.crossings * omega / np.pi + SPARE
        loads = np.zeros((len(self.mass), int(np.ceil(LOADS * modes))), complex)
        shape = (len(self.rim), loads.shape[1])
        loads[self.rim] = random.normal(size=shape) + 1j * random.normal(size=shape)
        discrete = 2 / self.dt * np.sin(omega * self.dt / 2)
        matrix = self.stiffness - sp.diags(discrete**2 * self.mass) + 1j * sp.diags(omega * self.damping)
        factors = splu(
            matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.1, options={"SymmetricMode": True}
        )
        return np.asarray(factors.solve(loads)[: self.num], np.complex128)
