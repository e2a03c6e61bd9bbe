"""The bound of a built generator's error, from the direct runs that its fits did not see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from networks.response.signal_response import LowPass, centred_rate
from networks.table.data import Times
from solvers.gamma.gamma import Gamma
from solvers.gamma.trace import Trace
from submodel.case.case import Case
from submodel.case.excitation import signals_of
from submodel.case.parameters import OMEGA, X, Y
from submodel.case.sampling import from_unit_cube
from submodel.predict.signal_error import ResidualSpectrum, RunPowers

Array = NDArray[np.float64]
Complex = NDArray[np.complexfloating]


@dataclass(frozen=True)
class HeldOut:
    """Runs that a generator has not seen.

    Args:
        places: Of their sources, (run, 2).
        true: Amplitudes of u, then r, on Γ, (run, 2A, K).
        predicted: The same as the generator, or a fit like its own without the run, predicts them.
        times: Levels and frequencies.
    """

    places: Array
    true: Complex
    predicted: Complex
    times: Times

    def residuals(self) -> ResidualSpectrum:
        """Spectrum of the held-out residuals of u."""
        half, times = self.true.shape[1] // 2, self.times
        low_pass = LowPass(times.rate, times.dt)
        predicted, true = (each[:, :half] for each in (self.predicted, self.true))
        return RunPowers.of_amplitudes(predicted, true, times.omega, low_pass).spectrum()

    def vectors(self, case: Case) -> Array:
        """A parameter vector for each run, (run, axis): its place, and a signal as the case draws them.

        The frequencies are one for each of as many equal slices of the range, in an order of their own.
        """
        num, axes = len(self.places), case.parameters
        rng = np.random.default_rng(num)
        unit = rng.random((num, axes.dimension))
        unit[:, axes.names.index(OMEGA)] = (rng.permutation(num) + rng.random(num)) / num
        drawn = from_unit_cube(unit, axes)
        columns = {name: axes.column(drawn, name) for name in axes.names}
        return axes.vectors(columns | {X: self.places[:, 0], Y: self.places[:, 1]})

    def pairs(self, case: Case, gamma: Gamma, vectors: Array) -> list[tuple[Trace, Trace]]:
        """Predicted and true trace of each run under the signal of its parameter vector."""
        signals = signals_of(case, vectors)
        runs: Iterator[tuple[Complex, Complex, Array]] = zip(self.predicted, self.true, signals, strict=True)
        return [
            (trace_of(self.times, gamma, hat, signal), trace_of(self.times, gamma, true, signal))
            for hat, true, signal in runs
        ]


def trace_of(times: Times, gamma: Gamma, amplitudes: Complex, signal: Array) -> Trace:
    """The trace that a source with a signal leaves on Γ.

    Args:
        times: Levels and frequencies.
        gamma: The nodes.
        amplitudes: Of u at the nodes, then r, (2A, K).
        signal: Samples at the levels and one past them.
    """
    levels = np.arange(times.num_levels + 1, dtype=np.float64) * times.dt
    response = (np.exp(1j * np.outer(levels, times.omega)) @ amplitudes.T).real
    drive = LowPass(times.rate, times.dt).inverse(signal)
    fields = fftconvolve(drive[:, None], response, axes=0)[: len(levels)]
    u, r = np.split(fields, 2, axis=1)
    return Trace(levels[:-1], gamma, u[:-1], centred_rate(u, times.dt), r[:-1])
