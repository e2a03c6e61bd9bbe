"""Loads of point sources, for several runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.batch.ensemble import Loads
from solvers.stepping.schemes import Stepper
from solvers.time.grid import TimeGrid
from solvers.time.signals import PointSource


@dataclass(frozen=True)
class NodalLoad:
    """A load on few dofs: ``weights * samples[n]`` in the step from level n.

    Args:
        dofs: Owned dofs.
        weights: Shape ``(num_dofs,)``.
        samples: Shape ``(num_steps,)``.
    """

    dofs: NDArray[np.int32]
    weights: NDArray[np.float64]
    samples: NDArray[np.float64]

    def bound(self, stepper: Stepper) -> float:
        """A hundred times the energy norm that an undamped system can take up: ``sum of dt |F_n| in M⁻¹``. Local."""
        inverse_mass = 1.0 / stepper.assembly.mass_diagonal[self.dofs]
        size = float(np.sqrt(np.sum(inverse_mass * self.weights**2)))
        return 100.0 * stepper.dt * float(np.abs(self.samples).sum()) * size


def loads_of_runs(stepper: Stepper, loads: Sequence[Sequence[NodalLoad]]) -> Loads:
    """Loads of several runs in one. Local.

    Args:
        stepper: The scheme.
        loads: Of each run its loads, all with samples for the same steps.
    """
    flat = [(run, load) for run, each in enumerate(loads) for load in each]
    bounds = np.zeros(len(loads))
    for run, load in flat:
        bounds[run] += load.bound(stepper)
    return Loads(
        np.concatenate([load.dofs for _, load in flat]),
        np.concatenate([np.full(len(load.dofs), run) for run, load in flat]).astype(np.int32),
        np.repeat(np.arange(len(flat)), [len(load.dofs) for _, load in flat]).astype(np.int32),
        np.concatenate([load.weights for _, load in flat]),
        np.stack([load.samples for _, load in flat], axis=1),
        bounds,
    )


def averaged_signal(source: PointSource, time: TimeGrid, theta: float) -> NDArray[np.float64]:
    """The signal at every level, averaged over three levels as the scheme asks; zero before t = 0."""
    samples = source.signal(np.arange(-1, time.num_levels + 1) * time.dt)
    samples[0] = 0.0
    return np.asarray(samples[1:-1] + theta * (samples[2:] - 2.0 * samples[1:-1] + samples[:-2]))
