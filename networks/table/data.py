"""Runs that tables are made of: with the source at a place, and with the load on a node of Gamma."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from networks.table.bases.area import Area, Patch


class SourceNodes(Protocol):
    """The source area's finite elements, as `networks.table.source_mesh.SourceMesh`."""

    @property
    def nodes(self) -> NDArray[np.float64]: ...

    def rows(self, points: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Corners (n, v) of the points' cells and their weights (n, v)."""
        ...


@dataclass(frozen=True)
class Times:
    """Levels, low-pass and frequencies of the amplitudes.

    Attributes:
        num_levels: T of a run.
        dt: time between levels.
        rate: of both poles of the low-pass, rad per unit of time.
        omega: (K,) angular frequencies of the amplitudes, from 0.
        signals: (n, T + 1) samples of signals like the case's own, at the levels 0 .. T, zero at the first.
    """

    num_levels: int
    dt: float
    rate: float
    omega: NDArray[np.float64]
    signals: NDArray[np.float64]

    def __post_init__(self) -> None:
        if np.ndim(self.signals) != 2 or self.signals.shape[1] != self.num_levels + 1 or not len(self.signals):
            raise ValueError(
                f"signals must have shape (number, {self.num_levels + 1}), a sample a level and one more, "
                f"got {np.shape(self.signals)}"
            )


@dataclass(frozen=True)
class CrossData:
    """Amplitudes of runs: ``y[n] = Re sum over k of Y_k exp(i omega_k n dt)``, u at the A nodes of Gamma, then r.

    Load i < A is u at node i, load A + i is r at node i: by reciprocity, the run that it starts gives what that node
    feels of sources everywhere.

    Attributes:
        times: levels and frequencies.
        places: (nd, 2) of the direct runs, unit of length.
        direct: (nd, 2A, K) what they left on Gamma.
        loads: (nr,) of the reciprocal runs, each once.
        reciprocal: (S, nr, K) what they left at the source nodes.
        mesh: the source nodes and their cells.
        patch: the medium around the source area; None where it is not known.
        made_up: (nm, 2A, K) what sources on a part of the domain around Gamma left there: further samples of the map
            between loads, by which no error is judged; None for none.
    """

    times: Times
    places: NDArray[np.float64]
    direct: NDArray[np.complexfloating]
    loads: NDArray[np.integer]
    reciprocal: NDArray[np.complexfloating]
    mesh: SourceNodes
    patch: Patch | None = None
    made_up: NDArray[np.complexfloating] | None = None

    def __post_init__(self) -> None:
        num, size = len(self.places), self.direct.shape[1]
        frequencies = len(self.times.omega)
        for name, expected in (
            ("direct", (num, size, frequencies)),
            ("reciprocal", (len(self.mesh.nodes), len(self.loads), frequencies)),
        ):
            if getattr(self, name).shape != expected:
                raise ValueError(f"{name} must have shape {expected}, got {getattr(self, name).shape}")
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} amplitudes must be finite; check the dataset")
        if self.made_up is not None:
            expected = (len(self.made_up), size, frequencies)
            if self.made_up.shape != expected or not np.isfinite(self.made_up).all():
                raise ValueError(f"made_up must be finite and of shape {expected}, got {self.made_up.shape}")
        if (
            size % 2
            or len(np.unique(self.loads)) != len(self.loads)
            or not np.isin(self.loads, np.arange(size)).all()
        ):
            raise ValueError(f"loads must be different numbers of 0 .. {size - 1}, got {self.loads}")

    @property
    def area(self) -> Area:
        """Nodes, frequencies and medium, for the bases."""
        times = self.times
        return Area(np.asarray(self.mesh.nodes), times.omega, times.dt, times.num_levels, self.patch)


@dataclass(frozen=True)
class PlainData:
    """Amplitudes of runs with the source at some places, and nothing else.

    Attributes:
        times: levels and frequencies.
        places: (n, 2), unit of length.
        direct: (n, 2A, K) what they left on Gamma.
        mesh: the source nodes and their cells.
        patch: the medium around the source area; None where it is not known.
    """

    times: Times
    places: NDArray[np.float64]
    direct: NDArray[np.complexfloating]
    mesh: SourceNodes
    patch: Patch | None = None

    def __post_init__(self) -> None:
        shape = self.direct.shape
        if len(shape) != 3 or shape[0] != len(self.places) or shape[1] % 2 or shape[2] != len(self.times.omega):
            raise ValueError(
                f"direct must have shape ({len(self.places)}, 2 nodes, {len(self.times.omega)}), got {shape}"
            )
        if not np.isfinite(self.direct).all():
            raise ValueError("direct amplitudes must be finite; check the dataset")

    @property
    def area(self) -> Area:
        """Nodes, frequencies and medium, for the bases."""
        times = self.times
        return Area(np.asarray(self.mesh.nodes), times.omega, times.dt, times.num_levels, self.patch)
