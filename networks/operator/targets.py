"""From responses to what the network learns: coordinates in which all errors of a run count alike.

An error of the response costs ``e Q e`` in the runs of the band
(`networks.operator.signal_response.band_weight`). In the span of the basis, Q has a factor; the coordinates of a
response are its product with that factor, and the loss is a plain square.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.operator.network import OperatorGenerator
from networks.operator.signal_response import LowPass, band_weight, toeplitz
from networks.operator.spec import OperatorSpec

NUM_SIGNALS = 17
"""Frequencies of the band whose mean is the weight."""

VELOCITY = 1.0
"""Weight of the velocity's relative error, squared, to that of the displacement."""

LASTING = 0.5
"""Share of the load's weight that goes to what an impedance zone makes of its error: there a load acts on for as long
as a wave takes to cross the zone, so that slow errors count for more than quick ones."""

SMALLEST = 1e-4
"""Directions of the basis that matter less, relative to the one that matters most, are left out."""

RIDGE = 3e-6
"""Cost of a factor's square, relative to the responses' own: what the data do not show stays next to zero."""

NUM_PAIRS = 2048
"""Pairs of source and node that the rays' factors are fitted to."""

STAGES = (1.0, 3.0, 9.0, None)
"""Low-pass of each stage of that fit, in rates of the spec's own; None: what a signal amid the band makes of it, of
displacement and velocity together."""

SEEN = 0.15
"""How long after its arrival the direct ray is compared, in durations: before echoes of it come."""


@dataclass(frozen=True)
class Coordinates:
    """Of one field: responses and amplitudes in coordinates whose squares are costs.

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
    kept = size > SMALLEST * size[0]
    left, size, right = left[:, kept], size[kept], right[kept]
    return Coordinates(left.T @ factor, size[:, None] * right, right.T / size)


def band_weights(
    spec: OperatorSpec, displacement: NDArray[np.floating], load: NDArray[np.floating]
) -> list[NDArray[np.float64]]:
    """What errors of either response cost, (level, level) each: mean relative squared errors over sines of the band.

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


def fit_rays(
    generator: OperatorGenerator,
    sources: NDArray[np.float64],
    responses: tuple[NDArray[np.floating], NDArray[np.floating]],
    *,
    iterations: int = 6,
) -> None:
    """Fit the factors of the rays by Levenberg and Marquardt's method, low frequencies first.

    The delay that a grid adds grows with the cube of the frequency: high ones would be off by whole turns at first,
    and the fit be lost among them.

    Args:
        generator: its rays are changed.
        sources: (source, 2).
        responses: displacement and load, (source, level, arc).
        iterations: of each stage, at most.
    """
    spec = generator.spec
    count = min(len(sources), max(4, NUM_PAIRS // spec.num_arc))
    chosen = np.unique(np.linspace(0, len(sources) - 1, count).round().astype(int))
    device = generator.basis.device
    places = torch.as_tensor(sources[chosen], dtype=generator.basis.dtype, device=device)
    seen = _window(generator, places)
    for field in (0, 1):
        if field == 1:
            shared = generator.rays.factors[0].detach()
            generator.rays.factors[1].data[: len(shared)] = shared
        for stage in STAGES:
            smooth = _smoothing(spec, stage, field)
            target = np.einsum("ct,sta->sac", smooth, responses[field][chosen], optimize=True)
            project = torch.as_tensor(smooth, dtype=torch.float32, device=device) @ generator.basis[:-1]
            scores = torch.as_tensor(target, dtype=torch.float32, device=device) * seen
            _descend(generator, places, field, scores, project, seen, iterations)


def _window(generator: OperatorGenerator, places: Tensor) -> Tensor:
    """1 at the levels (source, arc, level) where rays are all that there is."""
    spec = generator.spec
    times = spec.dt * torch.arange(spec.num_levels, device=places.device)
    if spec.rays == "walls":
        return torch.ones_like(times)
    late = generator.rays.travel(places)[..., None] + SEEN * spec.duration
    return (times < late).to(places)


def _smoothing(spec: OperatorSpec, stage: float | None, field: int) -> NDArray[np.float64]:
    """What responses are compared through, a causal filter as a matrix (level, level)."""
    if stage is None:
        phase = np.mean(spec.band) * spec.dt * np.arange(spec.num_levels)
        signal = np.sin(phase) if field == 1 else np.cos(phase) + np.sin(phase) / np.sqrt(VELOCITY)
        return toeplitz(LowPass(spec.rate, spec.dt).inverse(signal))
    pulse = np.zeros(spec.num_levels)
    pulse[0] = 1.0
    low_pass = LowPass(stage * spec.rate, spec.dt)
    return toeplitz(low_pass.apply(low_pass.apply(pulse)))


@torch.no_grad()
def _descend(
    generator: OperatorGenerator,
    places: Tensor,
    field: int,
    target: Tensor,
    project: Tensor,
    seen: Tensor,
    iterations: int,
) -> None:
    factor = generator.rays.factors[field]
    damping = 1e-3
    ridge = RIDGE * float(target.double().square().sum())
    value, slopes = generator.rays.sensitivities(places, field)
    miss = target - seen * (_real(value) @ project.T)
    loss = float(miss.double().square().sum() + ridge * factor.double().square().sum())
    for _ in range(iterations):
        jacobian = (seen * (_real(slopes) @ project.T)).flatten(1)
        normal = (jacobian @ jacobian.T).double() + ridge * torch.eye(len(factor), dtype=torch.float64).to(miss.device)
        slope = (jacobian @ miss.flatten()).double() - ridge * factor.double()
        before = factor.detach().clone()
        for _ in range(4):
            scale = torch.diag(normal.diagonal())
            factor.copy_(before + torch.linalg.solve(normal + damping * scale, slope).to(before))
            value, slopes = generator.rays.sensitivities(places, field)
            trial = target - seen * (_real(value) @ project.T)
            lower = float(trial.double().square().sum() + ridge * factor.double().square().sum())
            if lower < loss:
                break
            damping *= 10
        else:
            factor.copy_(before)
            return
        done = lower > (1 - 1e-3) * loss
        miss, loss, damping = trial, lower, damping / 5
        if done:
            return


def _real(amplitudes: Tensor) -> Tensor:
    """Complex (..., frequency) to the basis's coefficients."""
    return torch.cat((amplitudes.real, -amplitudes.imag[..., 1:]), -1)
