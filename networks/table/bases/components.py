"""Principal components of random fields over a source area, mixed over neighbouring frequencies.

Amplitudes mix frequencies as far as the window of their transform does, and so does the basis. Fields are real and
imaginary parts apart: the conjugate of a solution is another. Signs and sizes are fixed, so that the same description
makes the same basis wherever it is read; only rounding differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from networks.table.bases.area import Area

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

SLOWEST = 0.3
"""Lowest frequency of a field, in distances of frequencies: at rest the equation says little."""
MIXTURES = 2
"""Sums over neighbouring frequencies, of each field with others of the neighbours."""


class RandomFields(Protocol):
    """Solutions of a wave equation at one frequency."""

    def fields(self, omega: float, random: np.random.Generator) -> Complex:
        """Some (S, m) at the source nodes, enough for all modes of this frequency."""
        ...


class Components:
    """Principal components of random fields, orthonormal over the source nodes.

    Args:
        area: the source area.
        source: of the fields.
        smallest: relative deviation below which a component is left out.
        reach: frequencies on each side whose fields are mixed in; few where the band holds many frequencies.
        sizes: number of functions at each frequency, for a basis that is made again; by `smallest` else.
        seed: of the fields.

    Raises:
        ValueError: numbers that make no basis.
    """

    kind: ClassVar[str]
    ordered: ClassVar[bool] = True

    def __init__(
        self, area: Area, source: RandomFields, smallest: float, reach: int, sizes: Sequence[int] | None, seed: int
    ) -> None:
        if not 0 < smallest < 1 or reach < 0:
            raise ValueError(f"smallest must be between 0 and 1 and reach 0 or more, got {smallest} and {reach}")
        self._area, self._source = area, source
        self._smallest, self._reach, self._seed = float(smallest), int(reach), int(seed)
        self._weights = _window(area, self._reach)
        self._sizes = None if sizes is None else [int(size) for size in sizes]
        self._fields: dict[int, Complex] = {}
        self._made: dict[int, tuple[NDArray[np.float32], Array]] = {}

    def matrix(self, k: int) -> NDArray[np.float32]:
        """Orthonormal columns (S, n_k), real, by falling deviation."""
        return self._components(k)[0]

    def deviations(self, k: int) -> Array:
        """Deviations (n_k,) of the coefficients of random fields, falling."""
        return self._components(k)[1]

    def description(self) -> dict[str, Any]:
        """Numbers that make it again; all of its functions are made for it."""
        sizes = [self.matrix(k).shape[1] for k in range(len(self._area.omega))]
        numbers = {"smallest": self._smallest, "reach": self._reach, "sizes": sizes, "seed": self._seed}
        return {"kind": self.kind, **numbers}

    def _components(self, k: int) -> tuple[NDArray[np.float32], Array]:
        if k in self._made:
            return self._made[k]
        fields = [self._field(j) for j in range(k - self._reach, k + self._reach + 1)]
        num = min(each.shape[1] for each in fields)
        weighted = [weight * each[:, :num] for weight, each in zip(self._weights, fields, strict=True)]
        mixed = [sum(np.roll(each, turn * i, 1) for i, each in enumerate(weighted)) for turn in range(MIXTURES)]
        values = np.concatenate([part for each in mixed for part in (each.real, each.imag)], 1)
        spectrum, vectors = np.linalg.eigh(values.T @ values)
        spectrum, vectors = spectrum[::-1], vectors[:, ::-1]
        size = int((spectrum > self._smallest**2 * spectrum[0]).sum()) if self._sizes is None else self._sizes[k]
        columns = values @ (vectors[:, :size] / np.sqrt(spectrum[:size]))
        reference = np.random.default_rng(self._seed).normal(size=len(columns))
        self._fields = {j: field for j, field in self._fields.items() if j > k - self._reach}
        signed = np.asarray(columns * np.sign(reference @ columns), np.float32)
        self._made[k] = signed, np.sqrt(spectrum[:size])
        return self._made[k]

    def _field(self, j: int) -> Complex:
        """Random fields (S, m) at frequency j, of which there may be one below 0 or past the last."""
        if j not in self._fields:
            omega = self._area.bin * max(abs(j), SLOWEST)
            self._fields[j] = self._source.fields(omega, np.random.default_rng((self._seed, j % 2**31)))
        return self._fields[j]


def _window(area: Area, reach: int) -> Array:
    """Weights of frequencies o bins away: of the transform of the window that amplitudes are taken with."""
    levels = np.arange(area.period_levels)
    share = np.clip((levels - area.num_levels + 1) / (area.period_levels - area.num_levels + 1), 0, 1)
    with np.errstate(divide="ignore"):
        window = 1 / (1 + np.exp(np.clip(1 / (1 - share) - 1 / share, -50, 50)))
    window[share <= 0] = 1
    turns = np.exp(-2j * np.pi * np.outer(np.arange(-reach, reach + 1), levels) / area.period_levels)
    return np.asarray(np.abs(turns @ window) / area.period_levels)
