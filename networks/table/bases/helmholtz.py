"""Fields over the source area that obey the discrete Helmholtz equation of its own mesh and wave speed.

At a frequency the amplitude on Gamma, as a function of the source's node, is by reciprocity a field that has no source
inside the source area: there ``(K - w^2 M) phi = 0``. Such fields are known by their values on a rim around: some
``P omega / (pi c) + few`` of them matter, P the length of the rim, where splines take the square of that. They are
driven here by random loads on the rim of a patch, which absorbs what comes back; principal components of them are the
basis. Amplitudes mix frequencies as far as the window of their transform does, and so does the basis.

Fields are real and imaginary parts apart: the conjugate of a solution is another. Signs and sizes are fixed, so that
the same description makes the same basis wherever it is read; only rounding differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

from networks.table.bases.area import Area, Patch

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

SPARE = 20
"""Functions beyond the number of modes that a rim of this length carries."""
SLOWEST = 0.3
"""Lowest frequency of a field, in distances of frequencies: at rest the equation says little."""


LOADS = 1.0
"""Loads for each of these modes; each gives two real fields."""
MIXTURES = 2
"""Sums over neighbouring frequencies, of each field with others of the neighbours."""


class Helmholtz:
    """Principal components of random discrete Helmholtz fields, orthonormal over the source nodes.

    Args:
        area: the source area with the patch around it.
        smallest: relative deviation below which a component is left out.
        reach: frequencies on each side whose fields are mixed in; few where the band holds many frequencies.
        sizes: number of functions at each frequency, for a basis that is made again; by `smallest` else.
        seed: of the loads.

    Raises:
        ValueError: no patch, one that is not of triangles, or numbers that make no basis.
    """

    kind: ClassVar[str] = "helmholtz"
    ordered: ClassVar[bool] = True

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
        if not 0 < smallest < 1 or reach < 0:
            raise ValueError(f"smallest must be between 0 and 1 and reach 0 or more, got {smallest} and {reach}")
        self._area, self._smallest, self._reach, self._seed = area, float(smallest), int(reach), int(seed)
        self._equation = _Equation(area.patch, len(area.nodes), area.dt)
        self._weights = _window(area, self._reach)
        self._given = None if sizes is None else [int(size) for size in sizes]
        self._fields: dict[int, Complex] = {}
        self._made: dict[int, NDArray[np.float32]] = {}

    def matrix(self, k: int) -> NDArray[np.float32]:
        """Orthonormal columns (S, n_k), real, by falling deviation."""
        if k not in self._made:
            self._made[k] = self._components(k)
        return self._made[k]

    def description(self) -> dict[str, Any]:
        """Numbers that make it again; all of its functions are made for it."""
        sizes = [self.matrix(k).shape[1] for k in range(len(self._area.omega))]
        return {
            "kind": self.kind,
            "smallest": self._smallest,
            "reach": self._reach,
            "sizes": sizes,
            "seed": self._seed,
        }

    def _components(self, k: int) -> NDArray[np.float32]:
        near = range(k - self._reach, k + self._reach + 1)
        fields = [self._field(j) for j in near]
        num = min(each.shape[1] for each in fields)
        weighted = [weight * each[:, :num] for weight, each in zip(self._weights, fields, strict=True)]
        mixed = [sum(np.roll(each, turn * i, 1) for i, each in enumerate(weighted)) for turn in range(MIXTURES)]
        values = np.concatenate([part for each in mixed for part in (each.real, each.imag)], 1)
        spectrum, vectors = np.linalg.eigh(values.T @ values)
        spectrum, vectors = spectrum[::-1], vectors[:, ::-1]
        size = int((spectrum > self._smallest**2 * spectrum[0]).sum()) if self._given is None else self._given[k]
        columns = values @ (vectors[:, :size] / np.sqrt(spectrum[:size]))
        reference = np.random.default_rng(self._seed).normal(size=len(columns))
        self._fields = {j: field for j, field in self._fields.items() if j > k - self._reach}
        return np.asarray(columns * np.sign(reference @ columns), np.float32)

    def _field(self, j: int) -> Complex:
        """Random fields (S, m) complex at frequency j, of which there may be one below 0 or past the last."""
        if j not in self._fields:
            omega = self._area.bin * max(abs(j), SLOWEST)
            self._fields[j] = self._equation.fields(omega, np.random.default_rng((self._seed, j % 2**31)))
        return self._fields[j]


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


def _window(area: Area, reach: int) -> Array:
    """Weights of frequencies o bins away: of the transform of the window that amplitudes are taken with."""
    levels = np.arange(area.period_levels)
    share = np.clip((levels - area.num_levels + 1) / (area.period_levels - area.num_levels + 1), 0, 1)
    with np.errstate(divide="ignore"):
        window = 1 / (1 + np.exp(np.clip(1 / (1 - share) - 1 / share, -50, 50)))
    window[share <= 0] = 1
    turns = np.exp(-2j * np.pi * np.outer(np.arange(-reach, reach + 1), levels) / area.period_levels)
    return np.asarray(np.abs(turns @ window) / area.period_levels)
