"""A linear, time-invariant model seen from its source: impulse responses out of runs, and runs out of responses.

What a source at rest until t = 0 does to any recorded quantity q is, in discrete time and exactly,
``q[n] = sum_m g[n - m] s[m]`` with the source's samples s at the levels n dt. The response g comes back from runs with
a known signal; what is learnt is its low-passed form ``y = LP g``, and ``q = y * d`` with the drive ``d = LP⁻¹ s``,
a filter of three taps. Nothing is lost on the way: both filters are exact inverses of each other.

Levels: a run has N, 0 .. N - 1; signals are given at the levels 0 .. N with s[0] = 0; u is known at level N too, from
the centred velocity at N - 1. Then g is known at the levels that matter: g[N] would meet s[0].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

SINGLE = 2.0**-24
"""Relative rounding error of what a dataset stores, float32."""


@dataclass(frozen=True)
class LowPass:
    """Two equal real poles, ``LP(z) = ((1 - a) / (1 - a / z))²`` with ``a = exp(-rate dt)``; gain 1 at rest.

    Attributes:
        rate: of both poles, rad per unit of time.
        dt: time between levels.
    """

    rate: float
    dt: float

    def __post_init__(self) -> None:
        for name in ("rate", "dt"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"the low-pass's {name} must be positive and finite, got {getattr(self, name)}")

    @property
    def pole(self) -> float:
        """a, where both poles stand in the z plane."""
        return float(np.exp(-self.rate * self.dt))

    def apply(self, x: ArrayLike, axis: int = 0) -> Array:
        """LP x along the time axis, from rest."""
        a = self.pole
        source = np.moveaxis(np.asarray(x, np.float64), axis, 0)
        out = np.empty_like(source)
        for n, value in enumerate(source):
            out[n] = (1.0 - a) ** 2 * value
            if n > 0:
                out[n] += 2.0 * a * out[n - 1]
            if n > 1:
                out[n] -= a**2 * out[n - 2]
        return np.moveaxis(out, 0, axis)

    def inverse(self, x: ArrayLike, axis: int = 0) -> Array:
        """LP⁻¹ x along the time axis, from rest: three taps."""
        a = self.pole
        source = np.asarray(x, np.float64).swapaxes(axis, 0)
        gain = 1.0 / (1.0 - a) ** 2
        out = source * gain
        out[1:] -= (2.0 * a * gain) * source[:-1]
        out[2:] += (a**2 * gain) * source[:-2]
        return out.swapaxes(axis, 0)


def toeplitz(drive: ArrayLike) -> Array:
    """Causal convolution with a drive as a matrix: (..., time) to lower triangular (..., time, time)."""
    d = np.asarray(drive, np.float64)
    num = d.shape[-1]
    padded = np.concatenate((np.zeros((*d.shape[:-1], num - 1)), d), -1)
    lag = np.arange(num)[:, None] - np.arange(num) + num - 1
    return np.asarray(padded[..., lag])


def extended(displacement: ArrayLike, velocity: ArrayLike, dt: float) -> Array:
    """u at the levels 0 .. N, the last one from the centred velocity: ``u[N] = u[N-2] + 2 dt v[N-1]``.

    Args:
        displacement, velocity: (..., time, arc), N levels.
        dt: time between levels.

    Returns:
        (..., time + 1, arc).
    """
    u, v = np.asarray(displacement, np.float64), np.asarray(velocity, np.float64)
    return np.concatenate((u, u[..., -2:-1, :] + 2.0 * dt * v[..., -1:, :]), -2)


def centred_rate(displacement: ArrayLike, dt: float) -> Array:
    """v at the levels 0 .. N - 1 from u at 0 .. N, at rest before: ``v[n] = (u[n+1] - u[n-1]) / (2 dt)``.

    Args:
        displacement: (..., time + 1, arc).
        dt: time between levels.

    Returns:
        (..., time, arc).
    """
    u = np.asarray(displacement, np.float64)
    rate = u[..., 1:, :].copy()
    rate[..., 1:, :] -= u[..., :-2, :]
    rate /= 2.0 * dt
    return np.asarray(rate)


def sine_response(values: ArrayLike, omega: float, dt: float, axis: int = 0, before: ArrayLike = 0.0) -> Array:
    """Impulse response out of one run with the signal sin(omega t).

    The signal obeys ``s[n+1] - 2 cos(omega dt) s[n] + s[n-1] = 0`` but for the onset, where it is sin(omega dt); so the
    same three taps take the run to ``sin(omega dt) g``.

    Args:
        values: the recorded quantity, time along `axis`, L levels.
        omega: rad per unit of time.
        dt: time between levels.
        axis: of the time.
        before: the quantity at level -1; 0 for a run from rest with s[0] = 0, whatever the scheme. (A quantity that
            looks one level ahead, the load under an implicit scheme, has ``g[-1] = values[0] / sin(omega dt)`` beside:
            on the reference mesh 3e-7 of the load, for a source as near to the zone as there is.)

    Returns:
        g at the levels 0 .. L - 2.

    Raises:
        ValueError: the levels cannot tell the signal from nothing, sin(omega dt) being 0, or are fewer than two.
    """
    sine = np.sin(omega * dt)
    if abs(sine) < 1e-9:
        raise ValueError(f"sin(omega dt) is {sine:.1e} at omega = {omega}, dt = {dt}: these levels miss the signal")
    q = np.moveaxis(np.asarray(values, np.float64), axis, 0)
    if len(q) < 2:
        raise ValueError(f"an impulse response needs two levels at least, got {len(q)}")
    g = q[1:] - 2.0 * np.cos(omega * dt) * q[:-1]
    g[0] += before
    g[1:] += q[:-2]
    g /= sine
    return np.moveaxis(g, 0, axis)


def deconvolve(values: ArrayLike, signal: ArrayLike, low_pass: LowPass, noise: float = 4.0 * SINGLE) -> Array:
    """Low-passed response out of one run with any signal: Tikhonov's solution of ``y * LP⁻¹ s = q``.

    Where the signal has no energy, and at the end of the run by as much as it starts late, nothing is known and the
    response is next to zero: weigh errors of it with the `band_weight` of this run's own signal.

    Args:
        values: (time, arc), L levels.
        signal: (time,) samples at the same levels, or more.
        low_pass: the filter.
        noise: relative to the strongest direction, what in the values is rounding.

    Returns:
        (time, arc), L levels.

    Raises:
        ValueError: a signal of fewer levels than the values, one that is zero, or a noise that is not positive.
    """
    q = np.asarray(values, np.float64)
    s = np.asarray(signal, np.float64)
    if s.ndim != 1 or len(s) < len(q):
        raise ValueError(f"the signal has {s.shape} samples for {len(q)} levels: give one a level")
    if not s[: len(q)].any():
        raise ValueError("the signal is zero at every level: nothing can be learnt from its run")
    if not noise > 0:
        raise ValueError(f"noise must be positive, got {noise}")
    left, gain, right = np.linalg.svd(toeplitz(low_pass.inverse(s[: len(q)])))
    damped = gain / (gain**2 + (noise * gain[0]) ** 2)
    return np.asarray(right.T @ (damped[:, None] * (left.T @ q)))


def impulse_responses(
    displacement: NDArray[Any],
    velocity: NDArray[Any],
    load: NDArray[Any],
    signals: ArrayLike | None,
    dt: float,
    low_pass: LowPass,
    omegas: ArrayLike | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Low-passed responses of displacement and load out of runs, one source each.

    Args:
        displacement, velocity, load: (sample, time, arc), N levels.
        signals: (sample, time + 1) samples at the levels 0 .. N; not needed where `omegas` is given.
        dt: time between levels.
        low_pass: the filter.
        omegas: (sample,) where the signals are sin(omega t): then the responses are exact.

    Returns:
        Those of displacement and load, (sample, time, arc), of the displacement's type. The load's last level, which
        no run of N levels can show or need, goes on as the one before.

    Raises:
        ValueError: neither signals nor omegas, or of another number than the runs.
    """
    excitations = signals if omegas is None else omegas
    if excitations is None:
        raise ValueError("give the signals of the runs, or omegas where they are sines")
    each = np.asarray(excitations, np.float64)
    if len(each) != len(displacement):
        raise ValueError(f"{len(displacement)} runs need a signal each, got {len(each)}")
    y_u, y_r = np.empty_like(displacement), np.empty_like(displacement)
    for i, about in enumerate(each):
        u = extended(displacement[i], velocity[i], dt)
        if omegas is not None:
            g_r = sine_response(load[i], float(about), dt)
            y_u[i] = low_pass.apply(sine_response(u, float(about), dt))
            y_r[i] = low_pass.apply(np.concatenate((g_r, g_r[-1:])))
        else:
            y_u[i] = deconvolve(u, about, low_pass)[:-1]
            y_r[i] = deconvolve(load[i], about, low_pass)
    return y_u, y_r


def band_weight(signals: ArrayLike, low_pass: LowPass, *, rate: bool = False) -> Array:
    """Cost of an error of the response in the runs of some signals: ``Q = mean of T_sᵀ T_s``, (time + 1, time + 1).

    With e the error of y at the levels 0 .. N, ``e Q e`` is the mean over the signals of the squared error, summed over
    the levels 0 .. N - 1, of the displacement or load that y stands for; with `rate`, of the centred velocity.

    Args:
        signals: (signal, time + 1) samples at the levels 0 .. N.
        low_pass: the filter.
        rate: whether velocities are meant.

    Returns:
        (time + 1, time + 1), symmetric, positive semi-definite; row and column N are 0, as y[N] meets s[0] = 0.

    Raises:
        ValueError: the signals are no matrix.
    """
    samples = np.asarray(signals, np.float64)
    if samples.ndim != 2 or not len(samples):
        raise ValueError(f"signals must have shape (signals, levels), got {samples.shape}")
    total = np.zeros((samples.shape[1],) * 2)
    for sample in samples:
        T = toeplitz(low_pass.inverse(sample))
        rows = centred_rate(T, low_pass.dt) if rate else T[:-1]
        total += rows.T @ rows
    return total / len(samples)
