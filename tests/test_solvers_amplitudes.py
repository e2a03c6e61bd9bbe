"""Amplitudes summed up while runs are stepped are those of a stored history, by a plain transform."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from solver_problems import METHODS, box, relative_l2

from networks.response.signal_response import LowPass
from solvers.problems.full import FullModel
from solvers.problems.reciprocal import Quantity, ReciprocalModel
from solvers.time.amplitudes import Amplitudes
from solvers.time.grid import TimeGrid

ABOUT = Amplitudes(41, 0.02, 15, 12.0)


def transformed(response: np.ndarray, about: Amplitudes) -> np.ndarray:
    """Amplitudes of a response (..., level) by filtering it, tapering it and an FFT."""
    num = about.period_levels
    smooth = LowPass(about.rate, about.dt).apply(response[..., :num], axis=-1) * about.window
    found = 2.0 / num * np.fft.rfft(smooth, axis=-1)[..., : about.num_frequencies]
    found[..., 0] *= 0.5
    return np.asarray(found)


def test_weights_are_low_pass_taper_and_transform() -> None:
    response = np.random.default_rng(0).standard_normal((3, ABOUT.period_levels))
    assert ABOUT.period_levels == 50
    assert relative_l2(response @ ABOUT.weights().T, transformed(response, ABOUT)) < 1e-13


def test_enough_frequencies_give_the_response_back() -> None:
    about = Amplitudes(101, 0.01, 62, 12.0)
    response = np.exp(-0.5 * ((np.arange(125) * 0.01 - 0.4) / 0.03) ** 2)
    smooth = LowPass(about.rate, about.dt).apply(response)
    assert relative_l2(about.fields(about.weights() @ response), smooth[:101]) < 1e-8


def test_window_is_one_in_the_run_and_falls_to_zero() -> None:
    window = ABOUT.window
    assert (window[:41] == 1.0).all() and (np.diff(window[40:]) < 0).all() and 0 < window[-1] < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 0.0}, "dt must be positive and finite, got 0"),
        ({"rate": np.inf}, "rate must be positive and finite"),
        ({"period": 1.0}, "period must be above 1"),
        ({"num_frequencies": 26}, "26 frequencies are more than 50 levels show: ask for 25 at most"),
    ],
)
def test_numbers_that_make_no_amplitudes_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Amplitudes(**{"num_levels": 41, "dt": 0.02, "num_frequencies": 15, "rate": 12.0} | changes)  # type: ignore[arg-type]


@pytest.mark.mpi
@pytest.mark.parametrize("method", ["p1", "gll2", "newmark"])
def test_sums_taken_while_stepping_are_those_of_the_history(method: str, comm: MPI.Comm) -> None:
    discretization = METHODS[method]
    num = 97 if method == "gll2" else 41
    about = Amplitudes(num, 0.8 / (num - 1), 15, 12.0)
    levels = about.period_levels + 1
    model = FullModel(
        box(comm, discretization, 16), discretization, TimeGrid(about.dt * (levels - 1), levels)
    )
    reciprocal = ReciprocalModel(model, np.array([[0.413, 0.621], [-0.75, 0.11]]))
    wanted: list[tuple[Quantity, int]] = [("displacement", 0), ("load", 3), ("load", 7)]
    histories = reciprocal.responses(wanted)
    sums = reciprocal.amplitudes(wanted, about.weights())
    alone = reciprocal.amplitudes(wanted[1:2], about.weights())
    assert (sums is None) == (histories is None) == (comm.rank > 0)
    for found, history in zip(sums or (), histories or (), strict=True):
        assert relative_l2(found, transformed(history[:, 1:], about)) < 1e-12
    if sums is not None and alone is not None:
        assert np.array_equal(alone[0], sums[1])  # whatever runs are beside
    with pytest.raises(ValueError, match=f"the model has {levels} levels, the weights are of {levels + 1}"):
        reciprocal.amplitudes(wanted, np.zeros((2, levels + 1), complex))
