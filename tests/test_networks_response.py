"""Responses against independent runs of a chain of masses, and the filters against each other."""

from typing import Any

import numpy as np
import pytest
from network_problems import respond
from numpy.typing import NDArray

from networks.response.signal_response import (
    SINGLE,
    LowPass,
    band_weight,
    centred_rate,
    deconvolve,
    extended,
    impulse_responses,
    sine_response,
    toeplitz,
)

Array = NDArray[np.float64]
N, DT = 120, 0.2
LP = LowPass(15.0, 1.0 / 128.0)
SLOW = LowPass(2.0, DT)
LEVELS = np.arange(N + 1) * DT
EXACT = 1e-12
"""Round-off of a few hundred additions, times the gain of the inverse filter."""


def chain(signal: Array, theta: float, place: int = 2, num: int = 12) -> tuple[Array, Array, Array]:
    """u, v and the force on the right half from the left, of a chain of masses at three of them; N levels.

    ``u⁺ - 2u + u⁻ + dt² K ū = dt² F̄`` with bars averaging over three levels by theta, stepped with a dense solve.
    """
    K = 2.0 * np.eye(num) - np.eye(num, k=1) - np.eye(num, k=-1)
    K *= np.linspace(1.0, 3.0, num)[:, None] ** 0.5
    seen = np.array([7, 8, 9])
    part = np.diag([1.0, 1.0, 0.5]) - 0.3 * np.eye(3, k=1)
    samples = np.concatenate(([0.0], signal, [0.0]))  # level -1 and N + 1; the last is not met
    averaged = samples[1:-1] + theta * np.diff(samples, 2)
    left = np.eye(num) + theta * DT**2 * K
    u = np.zeros((N + 2, num))  # levels -1 .. N
    for n in range(N):
        force = np.zeros(num)
        force[place] = averaged[n]
        second = np.linalg.solve(left, DT**2 * (force - K @ u[n + 1]))
        u[n + 2] = 2.0 * u[n + 1] - u[n] + second
    second = np.diff(u, 2, axis=0)[:, seen]
    load = second / DT**2 + (u[1:-1][:, seen] + theta * second) @ part.T
    velocity = np.asarray((u[2:] - u[:-2])[:, seen] / (2.0 * DT))
    return u[1:-1][:, seen], velocity, np.asarray(load)


def impulse(theta: float, place: int = 2) -> tuple[Array, Array, Array]:
    """g_u at the levels 0 .. N - 1, g_r at 0 .. N - 2 and at -1: a run whose signal is 1 at level 1."""
    unit = np.zeros(N + 1)
    unit[1] = 1.0
    u, v, load = chain(unit, theta, place)
    return extended(u, v, DT)[1:], load[1:], load[0]


def pulse(t: NDArray[Any]) -> Array:
    """A smooth signal with s(0) = 0."""
    return np.asarray(np.sin(3.0 * t) ** 2 * np.exp(-0.4 * t) * np.cos(2.0 * t))


def off(found: NDArray[Any], true: NDArray[Any]) -> float:
    return float(np.abs(found - true).max() / np.abs(true).max())


@pytest.mark.parametrize("shape, axis", [((40,), 0), ((40, 3), 0), ((2, 40, 3), 1)])
def test_filters_are_exact_inverses(shape: tuple[int, ...], axis: int) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    assert off(LP.inverse(LP.apply(x, axis), axis), x) < EXACT
    assert off(LP.apply(LP.inverse(x, axis), axis), x) < EXACT


def test_low_pass_is_what_its_poles_say() -> None:
    unit = np.zeros(400)
    unit[0] = 1.0
    n = np.arange(400)
    assert off(LP.apply(unit), (1 - LP.pole) ** 2 * (n + 1) * LP.pole**n) < EXACT
    assert LP.apply(np.ones(400))[-1] == pytest.approx(1.0, abs=1e-9)  # gain 1 at rest
    assert np.count_nonzero(LP.inverse(unit)) == 3


@pytest.mark.parametrize("rate, dt", [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (np.nan, 1.0), (1.0, np.inf)])
def test_low_pass_refuses(rate: float, dt: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        LowPass(rate, dt)


@pytest.mark.parametrize("theta", [0.0, 0.25])
@pytest.mark.parametrize("omega", [2.0, 7.3])
def test_sine_run_gives_the_impulse_response(theta: float, omega: float) -> None:
    u, v, load = chain(np.sin(omega * LEVELS), theta)
    g_u, g_r, g_ahead = impulse(theta)
    assert off(sine_response(extended(u, v, DT), omega, DT), g_u) < EXACT
    found = sine_response(load, omega, DT)
    assert found.shape == (N - 1, 3) and off(found, g_r) < EXACT
    assert np.allclose(load[0] / np.sin(omega * DT), g_ahead, rtol=0, atol=EXACT * np.abs(g_r).max())
    if theta:  # an implicit scheme answers in the same level, and its load one level ahead
        assert np.abs(g_u[0]).max() > 0 and np.abs(g_ahead).max() > 0


@pytest.mark.parametrize("theta", [0.0, 0.25])
def test_any_signal_from_the_low_passed_response(theta: float) -> None:
    u, v, load = chain(np.sin(5.0 * LEVELS), theta)
    (y_u,), (y_r,) = impulse_responses(u[None], v[None], load[None], None, DT, SLOW, omegas=[5.0])
    s = pulse(LEVELS)
    true_u, true_v, true_r = chain(s, theta)
    drive = SLOW.inverse(s)
    ahead = np.outer(s[1:], load[0] / np.sin(5.0 * DT))
    assert off(respond(y_u, drive), true_u) < EXACT
    assert off(respond(y_r, drive) + ahead, true_r) < EXACT
    if theta == 0.0:
        assert not ahead.any()
    whole = respond(np.vstack((y_u, np.zeros((1, 3)))), drive)  # y[N] meets s[0] = 0
    assert off(centred_rate(whole, DT), true_v) < EXACT
    assert off(whole, extended(true_u, true_v, DT)) < EXACT


def test_sources_add_up() -> None:
    signals = [pulse(LEVELS), np.sin(2.0 * LEVELS)]
    responses, runs = [], []
    for place, s in zip((1, 4), signals, strict=True):
        u, v, load = chain(np.sin(5.0 * LEVELS), 0.0, place)
        responses.append(impulse_responses(u[None], v[None], load[None], None, DT, SLOW, omegas=[5.0])[0][0])
        runs.append(chain(s, 0.0, place)[0])
    added = sum(respond(y, SLOW.inverse(s)) for y, s in zip(responses, signals, strict=True))
    assert off(np.asarray(added), runs[0] + runs[1]) < EXACT


def test_respond_is_a_causal_convolution() -> None:
    rng = np.random.default_rng(1)
    y, d = rng.standard_normal((2, 30, 4)), rng.standard_normal((2, 31))
    found = respond(y, d)
    for i in range(2):
        for j in range(4):
            assert np.allclose(found[i, :, j], np.convolve(y[i, :, j], d[i])[:30], rtol=0, atol=1e-13)
    assert np.allclose(respond(y[0, :, 0], d[0]), found[0, :, 0], rtol=0, atol=1e-13)
    assert np.array_equal(toeplitz([1.0, 2.0, 3.0]), [[1, 0, 0], [2, 1, 0], [3, 2, 1]])


def test_single_precision_in_and_out() -> None:
    u, v, load = (x.astype(np.float32)[None] for x in chain(np.sin(5.0 * LEVELS), 0.0))
    y_u, y_r = impulse_responses(u, v, load, None, DT, SLOW, omegas=np.array([5.0]))
    assert y_u.dtype == y_r.dtype == np.float32 and y_u.shape == y_r.shape == u.shape
    assert off(respond(y_u, SLOW.inverse(np.sin(5.0 * LEVELS))[None]), u) < 100 * SINGLE


def ricker(omega: float) -> Array:
    a = (0.5 * (omega * LEVELS - 3.0 * np.pi)) ** 2
    return np.asarray((1.0 - 2.0 * a) * np.exp(-a))


def test_deconvolution_of_a_pulse() -> None:
    """The run itself to the noise, a slower pulse within its band to a few per mille of its peak."""
    s = ricker(2.0)
    u, v, load = (x.astype(np.float32)[None] for x in chain(s, 0.0))
    (y_u,), (y_r,) = impulse_responses(u, v, load, s[None], DT, SLOW)
    drive = SLOW.inverse(s)
    assert off(respond(y_u, drive), u[0]) < 1e-5
    assert off(respond(y_r, drive), load[0]) < 1e-5
    other = ricker(1.6)
    true = chain(other, 0.0)
    assert off(respond(y_u, SLOW.inverse(other)), true[0]) < 5e-3
    assert off(respond(y_r, SLOW.inverse(other)), true[2]) < 5e-3


def test_what_cannot_be_recovered() -> None:
    q = np.zeros((5, 2))
    with pytest.raises(ValueError, match="miss the signal"):
        sine_response(q, np.pi / DT, DT)
    with pytest.raises(ValueError, match="two levels at least"):
        sine_response(q[:1], 1.0, DT)
    with pytest.raises(ValueError, match="samples for 5 levels"):
        deconvolve(q, np.ones(4), SLOW)
    with pytest.raises(ValueError, match="zero at every level"):
        deconvolve(q, np.zeros(5), SLOW)
    with pytest.raises(ValueError, match="noise must be positive"):
        deconvolve(q, np.ones(5), SLOW, noise=0.0)
    with pytest.raises(ValueError, match="give the signals"):
        impulse_responses(q[None], q[None], q[None], None, DT, SLOW)
    with pytest.raises(ValueError, match="1 runs need a signal each, got 2"):
        impulse_responses(q[None], q[None], q[None], None, DT, SLOW, omegas=[1.0, 2.0])


@pytest.mark.parametrize("rate", [False, True])
def test_weight_is_the_error_of_the_runs(rate: bool) -> None:
    signals = np.stack([np.sin(w * LEVELS) for w in (2.0, 3.0, 5.0)])
    error = np.random.default_rng(2).standard_normal((N + 1, 2))
    Q = band_weight(signals, SLOW, rate=rate)
    caused = [respond(error, SLOW.inverse(s)) for s in signals]
    errors = [centred_rate(e, DT) if rate else e[:-1] for e in caused]
    expected = np.mean([(e**2).sum(0) for e in errors], axis=0)
    assert off(np.einsum("ia,ij,ja->a", error, Q, error), expected) < EXACT
    assert np.abs(Q[N]).max() < EXACT * np.abs(Q).max() and off(Q, Q.T) < EXACT


def test_weight_wants_a_matrix() -> None:
    with pytest.raises(ValueError, match="shape"):
        band_weight(np.zeros(5), SLOW)
