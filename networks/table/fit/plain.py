"""Amplitudes at all source nodes from plain samples: runs with the source at some places, nothing else.

Regression at each frequency with the prior of a basis, whose functions are expected with known deviations: waves where
the speed is constant, discrete Helmholtz fields where it varies and is known. The ridge is chosen by generalised
cross-validation (Golub, Heath and Wahba 1979) over neighbouring frequencies; what each run leaves when it is left out
follows without a second fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Complex = NDArray[np.complexfloating]

RIDGES = 10.0 ** np.arange(-12.0, 0.5, 0.5)
"""Relative to the largest eigenvalue of the samples' prior covariance."""
NEIGHBOURS = 4
"""Frequencies on each side that choose a ridge together: alone, one in some hundred chooses far too small a one."""


class Prior(Protocol):
    """A basis with the deviations of its coefficients."""

    def matrix(self, k: int) -> NDArray[np.floating]: ...

    def deviations(self, k: int) -> Array: ...


@dataclass(frozen=True)
class PlainFit:
    """A regression at every frequency.

    Attributes:
        fields: (S, r, K) real functions over the source nodes, r the number of runs or of functions.
        matrices: (K, r, 2A) from them to the amplitudes of all loads.
        held_out: (n, 2A, K) each run as the others predict it.
    """

    fields: NDArray[np.float32]
    matrices: Complex
    held_out: Complex


def fit_plain(amplitudes: Complex, rows: tuple[NDArray[np.integer], Array], prior: Prior) -> PlainFit:
    """Fit runs with the source at some places.

    Args:
        amplitudes: (n, 2A, K) of the runs.
        rows: source nodes around each place and their shares, (n, corner) each.
        prior: over the source nodes.

    Raises:
        ValueError: fewer than four runs: they choose no ridge.
    """
    num, size, frequencies = amplitudes.shape
    if num < 4:
        raise ValueError(f"a table from plain samples needs four runs at least, got {num}: ask for more")
    held_out = np.empty((num, size, frequencies), np.complex64)
    fields = np.zeros((len(prior.matrix(0)), num, frequencies), np.float32)
    matrices = np.zeros((frequencies, num, size), np.complex64)
    parts, scores = [], np.empty((frequencies, len(RIDGES)))
    for k in range(frequencies):
        functions = prior.matrix(k) * (prior.deviations(k) / prior.deviations(k)[0])
        samples = np.einsum("pv,pvn->pn", rows[1], functions[rows[0]])
        left, values, right = np.linalg.svd(samples, full_matrices=False)
        turned = left.T @ amplitudes[:, :, k]
        parts.append((left, values, right, turned))
        scores[k] = _scores(values, turned, np.asarray(amplitudes[:, :, k]))
    near = np.abs(np.subtract.outer(np.arange(frequencies), np.arange(frequencies))) <= NEIGHBOURS
    ridges = RIDGES[(near @ np.log(scores)).argmin(1)]
    for k, (left, values, right, turned) in enumerate(parts):
        functions = prior.matrix(k) * (prior.deviations(k) / prior.deviations(k)[0])
        true, ridge = np.asarray(amplitudes[:, :, k], complex), ridges[k] * values[0] ** 2
        share = values**2 / (values**2 + ridge)
        residual = true - left @ (share[:, None] * turned)
        kept = 1 - (left**2) @ share
        held_out[:, :, k] = true - residual / np.maximum(kept, 1e-9)[:, None]
        fields[:, : len(values), k] = functions @ right.T
        matrices[k, : len(values)] = (values / (values**2 + ridge))[:, None] * turned
    return PlainFit(fields, matrices, held_out)


def _scores(values: Array, turned: Complex, true: Complex) -> Array:
    """Generalised cross-validation's estimate of the error for each ridge."""
    power = (np.abs(turned) ** 2).sum(1)
    size = float((np.abs(true) ** 2).sum())
    left = RIDGES[:, None] / ((values / values[0]) ** 2 + RIDGES[:, None])
    freedom = left.sum(1) + len(true) - len(values)
    return np.asarray((left**2 @ power + max(size - float(power.sum()), 1e-14 * size)) / np.maximum(freedom, 1e-9) ** 2)


def fitted_amplitudes(responses: Array, omega: Array, dt: float, ridge: float = 3e-4) -> NDArray[np.complex64]:
    """Amplitudes of low-passed responses that end with the run: old datasets hold no levels past T.

    The least-squares fit on [0, T] mixes frequencies: a little ridge keeps amplitudes small, at 0.1 to 1 % of error.
    Amplitudes from runs of 1.25 T are better.

    Args:
        responses: (run, T, node) low-passed.
        omega: (K,) angular frequencies, from 0.
        dt: time between levels.
        ridge: relative to the largest singular value of the waves.

    Returns:
        (run, node, K).
    """
    turns = np.outer(dt * np.arange(responses.shape[1]), omega)
    waves = np.concatenate((np.cos(turns), -np.sin(turns[:, 1:])), 1)
    left, values, right = np.linalg.svd(waves, full_matrices=False)
    inverse = right.T @ ((values / (values**2 + (ridge * values[0]) ** 2))[:, None] * left.T)
    parts = np.einsum("ct,rtn->rnc", inverse, responses, optimize=True)
    count = len(omega)
    out = parts[..., :count].astype(np.complex64)
    out[..., 1:] += 1j * parts[..., count:]
    return out
