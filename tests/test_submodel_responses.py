"""Responses recovered from full runs with sines against full runs whose signal is a unit impulse. Needs FEniCS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from mpi4py import MPI
from network_problems import respond
from numpy.typing import ArrayLike, NDArray
from solver_problems import GLL2, METHODS, NEWMARK, P1, box, relative_l2, time_grid

from networks.response.signal_response import LowPass, centred_rate, extended, impulse_responses, sine_response
from solvers.gamma.trace import Trace
from solvers.problems.full import FullModel
from solvers.space.assembly import Discretization
from solvers.time.signals import PointSource, Ricker, Signal, Sine

POSITION = (0.613, 0.521)
EXACT = 1e-12


@dataclass(frozen=True)
class UnitImpulse:
    """1 at the first level after the start, 0 elsewhere."""

    dt: float
    highest_omega: float = 1.0

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        return np.where(np.rint(np.asarray(t) / self.dt) == 1, 1.0, 0.0)


def run(model: FullModel, signal: Signal) -> tuple[Trace, NDArray[np.float64]]:
    """A run's trace and its load."""
    out = model.run(PointSource(POSITION, signal), fields=False)
    assert out is not None and out.trace.load is not None
    return out.trace, out.trace.load


def model_of(discretization: Discretization) -> FullModel:
    return FullModel(box(MPI.COMM_SELF, discretization), discretization, time_grid(discretization, final=1.6))


@pytest.mark.parametrize("name", METHODS)
def test_sine_runs_hold_the_impulse_response(name: str) -> None:
    model = model_of(METHODS[name])
    dt = model.time.dt
    impulse, impulse_load = run(model, UnitImpulse(dt))
    sine, load = run(model, Sine(5.0))
    g_u = sine_response(extended(sine.displacement, sine.velocity, dt), 5.0, dt)
    g_r = sine_response(load, 5.0, dt)
    assert relative_l2(g_u, extended(impulse.displacement, impulse.velocity, dt)[1:]) < EXACT
    # the load holds second differences over dt squared: 16 digits less 4 at these steps, less those of the three taps
    assert relative_l2(g_r, impulse_load[1:]) < 50 * EXACT


@pytest.mark.parametrize("discretization, ahead", [(P1, 0.0), (GLL2, 0.0), (NEWMARK, 1e-2)])
def test_a_sine_run_foretells_others(discretization: Discretization, ahead: float) -> None:
    """u and v to round-off under any scheme; r too, but for the level that an implicit load looks ahead."""
    model = model_of(discretization)
    dt = model.time.dt
    low_pass = LowPass(15.0, dt)
    sine, load = run(model, Sine(5.0))
    (y_u,), (y_r,) = impulse_responses(
        sine.displacement[None], sine.velocity[None], load[None], None, dt, low_pass, omegas=[5.0]
    )
    levels = np.arange(model.time.num_levels + 1) * dt
    for signal in (Sine(3.0), Ricker(9.0)):
        true, true_load = run(model, signal)
        samples = signal(levels)
        samples[0] = 0.0  # a Ricker pulse begins with 1e-8, which y[N] and the held level of y_r would have to know
        drive = low_pass.inverse(samples)
        u = respond(np.vstack((y_u, np.zeros_like(y_u[:1]))), drive)
        begun = 0.0 if isinstance(signal, Sine) else 1e-7
        assert relative_l2(u[:-1], true.displacement) < max(EXACT, begun)
        assert relative_l2(centred_rate(u, dt), true.velocity) < max(EXACT, begun)
        assert relative_l2(respond(y_r, drive), true_load) < max(50 * EXACT, begun, ahead)
