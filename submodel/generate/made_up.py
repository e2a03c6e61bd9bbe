"""Made-up runs: sources on an open patch around the zone, which give the map between loads on Γ its data cheaply.

That map depends on the medium near the zone alone. So the fields of sources near the zone are data of it, whatever the
rest of Ω is; switched on at times at which energy reaches the zone in real direct runs they look like those.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from solvers.gamma.trace import Trace
from solvers.mesh.containment import containment
from solvers.mesh.domain import cell_midpoints
from solvers.problems.full import FullModel
from solvers.problems.open_patch import OpenPatch, open_patch
from solvers.time.amplitudes import Amplitudes
from solvers.time.signals import Impulse, PointSource
from submodel.case.case import Case
from submodel.case.spectrum import amplitudes_of, band

GAP, WIDTH, LAYER = 0.2, 1.0, 1.5
"""Wavelengths of the case's middle frequency: from the zone to the nearest sources, to the farthest, thickness of the
damped layer beyond."""
LEAST_WIDTH = 0.5
"""Of the zone's extent, that the farthest sources are away at least."""
DRAWN = 64  # places that are tried at once
STREAM = 18  # of the random numbers, beside those of places of direct runs
STRONG = 0.03
"""Weight of made-up runs beside real ones where loads are chosen."""


class MadeUpRuns:
    """Runs on the patch. Methods are collective on the model's comm where they are not said to be local.

    Args:
        case: The case.
        model: Its full model, of which the patch is a part.
    """

    def __init__(self, case: Case, model: FullModel) -> None:
        self._case, self._whole = case, model
        self._about = amplitudes_of(case)
        comm, middles = model.domain.mesh.comm, cell_midpoints(model.domain.mesh)
        zone = model.domain.zone_cells
        self._zone: NDArray[np.float64] = np.concatenate(comm.allgather(middles[zone]))
        speed = max(comm.allgather(float(model.domain.speed[zone].max(initial=0.0))))
        self._wavelength = 2.0 * np.pi * speed / float(np.mean(case.parameters.omega))
        self._width = max(WIDTH * self._wavelength, LEAST_WIDTH * float(np.ptp(self._zone, axis=0).max()))

    @cached_property
    def model(self) -> FullModel:
        """The patch as a model of its own."""
        whole = self._whole
        patch: OpenPatch = open_patch(
            whole.domain, whole.physics, width=self._width, layer=LAYER * self._wavelength
        )
        return FullModel(patch.domain, whole.discretization, whole.time, physics=patch.physics)

    def prepare(self) -> None:
        """Build the model of the patch."""
        _ = self.model

    def places(self, num: int, seed: int) -> NDArray[np.float64]:
        """Places of sources (num, 2), one after the other from a seed; the first of more are the same."""
        rng, tree = np.random.default_rng([seed, STREAM]), cKDTree(self._zone)
        low, high = self._zone.min(axis=0) - self._width, self._zone.max(axis=0) + self._width
        chosen: list[NDArray[np.float64]] = []
        while sum(map(len, chosen)) < num:
            tried = low + (high - low) * rng.random((DRAWN, 2))
            away, _ = tree.query(tried)
            near = tried[(away > GAP * self._wavelength) & (away < self._width)]
            inside, in_zone = containment(self._whole.domain, near)
            chosen.append(near[inside & ~in_zone])
        return np.concatenate(chosen)[:num]

    def amplitudes(self, sources: list[list[float]]) -> list[NDArray[np.complex128]] | None:
        """Amplitudes of u and r on Γ, (2 A, K) of each source (x, y, level at which it goes off), on the root."""
        about, weights = self._about, self._about.weights()
        impulse = Impulse(self.model.time.dt, band(self._case)[1])
        runs = self.model.run_many([PointSource((x, y), impulse) for x, y, _ in sources], fields=False)
        if runs is None:
            return None
        made = []
        for (_, _, level), run in zip(sources, runs, strict=True):
            left = about.period_levels - int(level)
            response = impulse_response(run.trace)[:, :left]
            made.append(np.asarray(response @ weights[:, int(level) :].T))
        return made


def impulse_response(trace: Trace) -> NDArray[np.float64]:
    """Displacement and load (2 A, level) on Γ after an impulse at level 1, from that level on. Local.

    Args:
        trace: Of a full model's run, with its load.
    """
    assert trace.load is not None  # which a full model always records
    return np.concatenate((trace.displacement, trace.load), axis=1)[1:].T


def arrival(direct: NDArray[np.complexfloating], about: Amplitudes) -> NDArray[np.float64]:
    """Share of the energy on Γ that comes at each level in direct runs, smoothed; beyond the run as at its end. Local.

    Args:
        direct: Amplitudes, shape ``(num_direct, 2 A, K)``.
        about: Their frequencies.
    """
    num, half = about.num_levels, direct.shape[1] // 2
    energy = np.zeros(num - 1)
    for run in direct:
        power = (np.diff(about.fields(run[:half]), axis=1) ** 2).sum(axis=0)
        energy += power / power.sum()
    width = max(1, num // 20)
    smooth = np.convolve(energy, np.full(width, 1.0 / width), "same")
    beyond = np.full(about.period_levels - len(smooth), smooth[-max(1, num // 10) :].mean())
    levels = np.concatenate((smooth, beyond))[: int(0.98 * about.period_levels)]
    levels += 0.02 * levels.mean()
    return np.asarray(levels / levels.sum())


def onsets(num: int, seed: int, share: NDArray[np.float64]) -> list[int]:
    """Levels at which made-up sources go off, one after the other from a seed. Local."""
    rng = np.random.default_rng([seed, STREAM, STREAM])
    return [int(level) for level in np.searchsorted(np.cumsum(share)[:-1], rng.random(num), side="right")]


def beside(direct: NDArray[np.complexfloating], made_up: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    """Real runs, and made-up ones as strong as these at each frequency, then weakened: where loads are chosen. Local.

    Args:
        direct, made_up: Amplitudes, shape ``(num, 2 A, K)``.
    """
    size = np.sqrt((np.abs(direct) ** 2).mean(axis=(0, 1)) / (np.abs(made_up) ** 2).mean(axis=(0, 1)))
    return np.concatenate((direct, STRONG * size * made_up))
