"""From responses to what the network learns: coordinates in which all errors of a run count alike.

An error of the response costs ``e Q e`` in the runs of the band
(`networks.response.signal_response.band_weight`). In the span of the basis, Q has a factor; the coordinates of a
response are its product with that factor, and the loss is a plain square.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from networks.operator.spec import OperatorSpec
from networks.response.signal_response import LowPass, band_weight, toeplitz

NUM_SIGNALS = 17
"""Frequencies of the band whose mean is the weight."""

VELOCITY = 1.0
"""Weight of the velocity's relative error, squared, to that of the displacement."""

LASTING = 0.5
"""Share of the load's weight that goes to what an impedance zone makes of its error: there a load acts on for as long
as a wave takes to cross the zone, so that slow errors count for more than quick ones."""

SMALLEST = 1e-4
"""Directions of the basis that matter less, relative to the one that matters most, are left out."""


@dataclass(frozen=True)
class Coordinates:
    """Coordinates of one field's responses and amplitudes whose squares are costs.

    Attributes:
        encode: (coordinate, level).
        project: (coordinate, coefficient), the same for what the basis makes of amplitudes.
        lift: (coefficient, coordinate), its inverse on the coordinates.
    """

    encode: NDArray[np.float64]
    project: NDArray[np.float64]
    lift: NDArray[np.float64]

    def of(self, responses: NDArray[np.floating]) -> NDArray[np.float64]:
        """Responses (source, level, arc) to (source, arc, coordinate)."""
        return np.asarray(np.einsum("ct,sta->sac", self.encode, responses, optimize=True))


def coordinates(weight: NDArray[np.float64], basis: NDArray[np.float64]) -> Coordinates:
    """Factor a weight (level, level) in the span of a basis (level, coefficient)."""
    ridge = 1e-9 * np.trace(weight) / len(weight) * np.eye(len(weight))
    factor = np.linalg.cholesky(weight + ridge).T
    left, size, right = np.linalg.svd(factor @ basis, full_matrices=False)
    large = size > SMALLEST * size[0]
    left, size, right = left[:, large], size[large], right[large]
    return Coordinates(left.T @ factor, size[:, None] * right, right.T / size)


def band_weights(
    spec: OperatorSpec, displacement: NDArray[np.floating], load: NDArray[np.floating]
) -> list[NDArray[np.float64]]:
    """Costs of errors of either response, (level, level) each: mean relative squared errors over sines of the band.

    Args:
        spec: the band and the low-pass.
        displacement, load: (source, level, arc), low-passed responses that say how strong the fields are.
    """
    low_pass = LowPass(spec.rate, spec.dt)
    n = spec.num_levels
    lasting = _lasting(spec)
    weights: list[NDArray[np.float64]] = [np.zeros((n, n)) for _ in (0, 1)]
    moments = [np.einsum("sta,sua->tu", y, y, optimize=True) / len(y) for y in (displacement, load)]
    for omega in np.linspace(*spec.band, NUM_SIGNALS):
        signal = np.sin(omega * spec.dt * np.arange(n + 1))[None]
        plain = band_weight(signal, low_pass)[:n, :n]
        rate = band_weight(signal, low_pass, rate=True)[:n, :n]
        share = 1 / NUM_SIGNALS
        weights[0] += share * (plain / np.sum(plain * moments[0]) + VELOCITY * rate / np.sum(rate * moments[0]))
        felt = lasting.T @ plain @ lasting
        for part, weight in ((1 - LASTING, plain), (LASTING, felt)):
            weights[1] += share * part * weight / np.sum(weight * moments[1])
    return weights


def _lasting(spec: OperatorSpec) -> NDArray[np.float64]:
    """Causal exponential with the zone's crossing time, (level, level): 1 / alpha c of the impedance condition."""
    extent = np.sqrt(np.prod(np.ptp(np.array(spec.points), axis=0)))
    return toeplitz(np.exp(-spec.speed / extent * spec.dt * np.arange(spec.num_levels)))
