"""The metric of amplitudes: errors of u, v and r in the runs of a case's own signals, relative, count alike.

The field of amplitudes Y under a signal s is ``q[n] = Re sum over k of Y_k c_k[n]`` with the drive d = LP^-1 s and
``c_k[n] = sum over m <= n of d[m] exp(i omega_k (n - m) dt)``; c holds the onset too, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from networks.response.signal_response import LowPass

Array = NDArray[np.float64]
Complex = NDArray[np.complexfloating]


@dataclass(frozen=True)
class Responses:
    """The fields that unit amplitudes make under each of some signals.

    Attributes:
        waves: (signal, T, K) complex, c of each signal.
        dt: time between levels.
    """

    waves: NDArray[np.complex128]
    dt: float

    @classmethod
    def of(cls, signals: Array, rate: float, dt: float, omega: Array) -> Responses:
        """Those of signals (signal, T + 1) at the levels 0 .. T."""
        low_pass = LowPass(rate, dt)
        levels = signals.shape[1] - 1
        turns = np.exp(1j * np.outer(dt * np.arange(levels), omega))
        waves = np.empty((len(signals), levels, len(omega)), complex)
        for wave, signal in zip(waves, signals, strict=True):
            drive = low_pass.inverse(signal)[:levels]
            wave[:] = turns * np.cumsum(drive[:, None] * turns.conj(), 0)
        return cls(waves, dt)

    def field(self, signal: int, amplitudes: Complex) -> Array:
        """(T, node) of amplitudes (node, K) under a signal."""
        return np.asarray((self.waves[signal] @ amplitudes.T).real)

    def errors(self, signal: int, true: Complex, predicted: Complex) -> Array:
        """Relative L2 errors over Gamma and time of u, v and r.

        Args:
            signal: its number.
            true, predicted: (2A, K) amplitudes of u, then r.
        """
        half = len(true) // 2
        wave = self.waves[signal]
        out = []
        for rows, rates in ((slice(half), (False, True)), (slice(half, None), (False,))):
            values = [(wave @ part[rows].T).real for part in (true, predicted - true)]
            for rate in rates:
                size, error = (np.linalg.norm(each[2:] - each[:-2] if rate else each) for each in values)
                out.append(error / max(float(size), np.finfo(float).tiny))
        return np.array(out)


def gains(responses: Responses, amplitudes: Complex) -> Array:
    """Weights (2, K) of amplitudes of u and of r, after which squares are costs.

    An error e_k of one amplitude of u costs the mean over the signals of its share of the energy of u plus that of v;
    of r, its share of the energy of r. Errors of neighbouring frequencies are taken as independent.

    Args:
        responses: to the case's own signals.
        amplitudes: (run, 2A, K), which say how strong the fields are.

    Raises:
        ValueError: the amplitudes of u or r are all zero.
    """
    half = amplitudes.shape[1] // 2
    halves = [
        np.asarray(part).reshape(-1, amplitudes.shape[2]) for part in (amplitudes[:, :half], amplitudes[:, half:])
    ]
    moments = [_moment(part) for part in halves]
    if not all(np.trace(moment) > 0 for moment in moments):
        raise ValueError("the amplitudes of u or r on Gamma are all zero; check the dataset")
    cost = np.zeros((2, amplitudes.shape[2]))
    for wave in responses.waves:
        plain = np.concatenate((wave.real, -wave.imag), 1)  # Re (Y c) = Re Y Re c - Im Y Im c
        rate = (plain[2:] - plain[:-2]) / (2 * responses.dt)
        for field, rows in ((0, plain), (0, rate), (1, plain)):
            form = rows.T @ rows
            each = np.diag(form).reshape(2, -1).mean(0)  # an error's phase is anything
            cost[field] += each / np.sum(form * moments[field])
    return np.sqrt(cost / len(responses.waves))


def _moment(amplitudes: Complex) -> Array:
    """Mean over the rows of the products of real and imaginary parts, (2K, 2K), summed over Gamma."""
    parts = np.concatenate((amplitudes.real, amplitudes.imag), 1).astype(np.float64)
    return np.asarray(parts.T @ parts / len(parts))
