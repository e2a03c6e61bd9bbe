"""Rays: the part of a response that is known beforehand, each with the waveform of free space.


A ray that travels for a time tau brings ``G(t, tau) = H(t - tau) / (2 pi sqrt(t² - tau²))``, the response of the plane
to an impulse; sampled, low-passed and continued periodically it is a table of complex amplitudes over tau. The flux
that belongs to it is ``dG/dtau`` times the slowness along the normal. What a grid does to a ray, dispersion above all,
and damping where it ceases to carry waves, is a factor ``exp(sum theta phi(omega, tau, direction))`` with a few learnt
numbers theta.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from networks.operator.image_sources import EARLY, Arrivals, RayGeometry
from networks.operator.spec import OperatorSpec

NUM_DELAYS = 700
"""Rows of the table of waveforms; between them amplitudes without their phase are linear to 1e-4."""

UNIT, HIGHEST = 0.7, 0.9
"""Frequency whose powers are 1, and the one above which powers grow no more, in highest frequencies."""

GROWTH = 1.0
"""Largest logarithm of what a factor may do to an amplitude."""

TURN = 2**32
"""Parts of a turn. Products of integers of 32 bits are kept without what exceeds that, so those with the number of a
frequency are phases without their whole turns, exactly."""

PAIRS = 4
"""Pairs of a source and an image of one pass: more would leave the caches."""

SUBSTEPS = 8
FLOOR = 0.02
"""Shortest travel time of the table, in durations."""


def free_waveforms(delays: NDArray[np.floating], dt: float, rate: float, num_levels: int) -> NDArray[np.float64]:
    """Low-passed response of the plane to a unit sample, (delay, level).

    The mean of G over a substep is exact; the low-pass is that of discrete time, cut off smoothly below the highest
    frequency that the levels show.
    """
    num = SUBSTEPS * 4 * num_levels
    h = dt / SUBSTEPS
    edges = (np.arange(num + 1) - 0.5) * h
    omega = 2 * np.pi * np.fft.rfftfreq(num, h)
    a = np.exp(-rate * dt)
    gain = ((1 - a) / (1 - a * np.exp(-1j * omega * dt))) ** 2
    share = np.clip(2 * omega * dt / np.pi - 1, 0, 1)
    gain = gain * np.cos(0.5 * np.pi * share) ** 2
    out = np.empty((len(delays), num_levels))
    for row, delay in zip(out, delays, strict=True):
        sampled = np.diff(np.arccosh(np.maximum(edges / delay, 1.0))) / (2 * np.pi) * SUBSTEPS
        sampled[3 * num_levels * SUBSTEPS :] = 0.0  # long after the run; the transform is periodic
        row[:] = np.fft.irfft(np.fft.rfft(sampled) * gain, num)[: num_levels * SUBSTEPS : SUBSTEPS]
    return out


def waveform_tables(spec: OperatorSpec) -> tuple[NDArray[np.floating], NDArray[np.complex64]]:
    """Delays (delay,) and amplitudes (2, delay, frequency) of displacement and flux, without the phase of the delay."""
    duration = spec.duration
    delays = np.linspace(FLOOR * duration, (1 + 2 * EARLY) * duration, NUM_DELAYS)
    num = spec.period_levels
    u = free_waveforms(delays, spec.dt, spec.rate, num)
    t = spec.dt * np.arange(num)
    begin, end = duration * (1 + 0.2 * (spec.period - 1) / 2), t[-1]
    fade = 0.5 * (1 + np.cos(np.pi * np.clip((t - begin) / (end - begin), 0, 1)))
    amplitudes = []
    for values in (u, np.gradient(u, delays, axis=0)):
        spectrum = np.fft.rfft(values * fade, axis=1)[:, : spec.num_frequencies] * (2 / num)
        spectrum[:, 0] /= 2
        amplitudes.append(spectrum * np.exp(1j * delays[:, None] * spec.omega))
    return delays, np.stack(amplitudes).astype(np.complex64)


class Rays(nn.Module):
    """Amplitudes of all rays from sources to the nodes of Gamma.

    Images and nodes go through passes together.

    Args:
        spec: says which rays; its `travel` gives the shape of the table of travel times, empty until it is filled.
            Sources lie within its `walls`.
    """

    table: Tensor
    points: Tensor
    powers: Tensor
    numbers: Tensor
    travel_x: Tensor
    travel_y: Tensor
    travel_time: Tensor

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.geometry = RayGeometry(spec)
        self.density = (NUM_DELAYS - 1) / ((1 + 2 * EARLY - FLOOR) * spec.duration)
        table = waveform_tables(spec)[1]
        relative = np.minimum(spec.omega / spec.omega[-1], HIGHEST) / UNIT
        orders = spec.dispersion[1]
        exponents = [1 + 2 ** (n + 1) for n in range(orders)]  # of the delay, then of the damping on the way
        exponents += [2 ** (n + 2) for n in range(orders - 1)] + [0, 2, 4]
        powers = np.stack([relative**exponent for exponent in exponents])
        parts = np.stack((table.real, table.imag)).transpose(2, 0, 1, 3)
        for name, values in (
            ("table", parts.reshape(NUM_DELAYS, -1)),  # (delay, real or imaginary and field and frequency)
            ("points", spec.points),
            ("powers", powers),
        ):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32), persistent=False)
        self.parts_of_turn = TURN / (spec.period_levels * spec.dt)  # of the first frequency, in a unit of time
        numbers = torch.arange(spec.num_frequencies, dtype=torch.int32)
        self.register_buffer("numbers", numbers, persistent=False)
        rows, columns = spec.travel or (0, 0)
        self.register_buffer("travel_x", torch.zeros(columns))
        self.register_buffer("travel_y", torch.zeros(rows))
        self.register_buffer("travel_time", torch.zeros(rows, columns, spec.num_arc))
        self.factors = nn.ParameterList(nn.Parameter(torch.zeros(self.num_features(q))) for q in (0, 1))

    def num_features(self, field: int) -> int:
        """Learnt numbers of a field's rays."""
        harmonics, orders = self.spec.dispersion
        return harmonics * (2 * orders - 1) + 3 * 3 + (0 if field == 0 else 6)

    def travel(self, sources: Tensor) -> Tensor:
        """Travel times of the direct ray, (source, 2) to (source, arc)."""
        if self.spec.travel is None:
            return torch.linalg.vector_norm(self.points - sources[:, None], dim=-1) / self.spec.speed
        column, right = _place(self.travel_x, sources[:, 0])
        row, up = _place(self.travel_y, sources[:, 1])
        right, up, table = right[:, None], up[:, None], self.travel_time
        low = torch.lerp(table[row, column], table[row, column + 1], right)
        high = torch.lerp(table[row + 1, column], table[row + 1, column + 1], right)
        return torch.lerp(low, high, up)

    def curved_travel(self, sources: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The same, in NumPy, where there is a table; (source, 2) to (source, arc)."""
        if self.spec.travel is None:
            return None
        return self.travel(torch.as_tensor(sources).to(self.travel_x)).cpu().numpy().astype(np.float64)

    def forward(self, sources: Tensor) -> Tensor:
        """Amplitudes of the rays, (source, 2) to complex (source, 2, frequency, arc)."""
        cosines, sines = self.coefficients(sources)
        return torch.complex(cosines, -sines).permute(0, 2, 3, 1)

    @torch.no_grad()
    def coefficients(
        self, sources: Tensor, exponents: tuple[Tensor, Tensor] | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Factors of the cosines and sines of the frequencies; no gradients, as `sensitivities` fits the factors.

        Args:
            sources: (source, 2).
            exponents: what `exponents` gives, where the factors have not changed since.
            out: what the waves are added to.

        Returns:
            (2, source, arc, 2, frequency): of cosines and sines, of displacement and load.
        """
        exponents = self.exponents() if exponents is None else exponents
        shape = (2, len(sources), self.spec.num_arc, 2, self.spec.num_frequencies)
        out = self.powers.new_zeros(shape) if out is None else out
        arrivals = self.arrivals(sources)
        rays, room = self.located(arrivals), self._room(PAIRS * shape[2])
        for start in range(0, len(arrivals.source), PAIRS):
            source = arrivals.source[start : start + PAIRS]
            part = slice(start * shape[2], (start + len(source)) * shape[2])
            both = self.waves([values[part] for values in rays], exponents, room)
            for total, waves in zip(out, both, strict=True):
                for number, wave in zip(source, waves.view(-1, *shape[2:]), strict=True):
                    total[number].add_(wave)  # many times faster than index_add_
        return out

    def arrivals(self, sources: Tensor) -> Arrivals:
        """The rays of some sources, on the host."""
        places = sources.detach().cpu().numpy().astype(np.float64)
        return self.geometry.arrivals(places, self.curved_travel(places) if self.spec.rays == "direct" else None)

    def located(self, arrivals: Arrivals) -> list[Tensor]:
        """Arrivals as `waves` takes them, on the device, first axis pair and arc: features, strengths, the phase of the
        first frequency in parts of a turn, row of the table and the next one's share."""
        return [torch.from_numpy(values).to(self.powers.device) for values in self.places(arrivals)]

    def places(self, arrivals: Arrivals) -> tuple[NDArray[Any], ...]:
        """The same on the host."""
        delay = arrivals.delay.reshape(-1)
        turns = np.rint(delay * self.parts_of_turn).astype(np.int64).astype(np.int32)
        position = np.maximum((delay - FLOOR * self.spec.duration) * self.density, 0.0)
        row = np.minimum(position.astype(np.int64), NUM_DELAYS - 2)
        share = (position - row).astype(np.float32)
        features = arrivals.features.reshape(len(arrivals.features), -1).T
        strength = arrivals.strength.reshape(2, -1).T
        return features, strength, turns[:, None], row, share[:, None]

    def exponents(self) -> tuple[Tensor, Tensor]:
        """Matrices that take features to exponents: growth and, negative, phase.

        Returns:
            (feature, field and frequency), twice.
        """
        harmonics, orders = self.spec.dispersion
        delays, dampings, sizes = self.powers.split((orders, orders - 1, 3))
        growth, phase = [], []
        for factor in self.factors:
            num_ways = harmonics * (2 * orders - 1)
            ways, size = factor[:num_ways].view(harmonics, -1), factor[num_ways:].view(-1, 3)
            grown = torch.cat((ways[:, orders:] @ dampings, size @ sizes))
            growth.append(functional.pad(grown, (0, 0, 0, harmonics + 5 - len(grown))))
            phase.append(functional.pad(-(ways[:, :orders] @ delays), (0, 0, 0, 5)))
        return torch.cat(growth, 1), torch.cat(phase, 1)

    @torch.no_grad()
    def sensitivities(self, sources: Tensor, field: int) -> tuple[Tensor, Tensor]:
        """Amplitudes of one field, and what their derivatives by its factors are made of, see `derivatives`.

        Returns:
            (source, arc, coefficient) and (part, source, arc, coefficient): coefficients of the cosines, then of the
            sines but the first, as the time basis has them.
        """
        spec, num, growing = self.spec, self.spec.num_frequencies, self.spec.dispersion[0] + (3 if field == 0 else 5)
        delays = spec.dispersion[0]
        value = self.powers.new_zeros((len(sources), spec.num_arc, spec.num_coefficients))
        parts = value.new_zeros((delays + growing, *value.shape))
        exponents = self.exponents()
        growth = exponents[0].unflatten(1, (2, num))[:, field]
        arrivals = self.arrivals(sources)
        rays, each = self.located(arrivals), PAIRS * spec.num_arc
        ends = [int(end) * spec.num_arc for end in np.searchsorted(arrivals.source, np.arange(len(sources) + 1))]
        for source, (first, last) in enumerate(pairwise(ends)):
            for start in range(first, last, each):
                arriving = [values[start : min(start + each, last)] for values in rays]
                features = arriving[0].unflatten(0, (-1, spec.num_arc)).permute(1, 2, 0)  # (arc, feature, pair)
                bounded = (arriving[0] @ growth >= GROWTH).unflatten(0, (-1, spec.num_arc))
                cosines, sines = (
                    wave[:, field].unflatten(0, (-1, spec.num_arc)) for wave in self.waves(arriving, exponents)
                )
                waves = torch.cat((cosines, sines[..., 1:]), -1).transpose(0, 1)  # (arc, pair, coefficient)
                turned = torch.cat((sines, -cosines[..., 1:]), -1).transpose(0, 1)
                value[source] += waves.sum(1)
                parts[:delays, source] += (features[:, :delays] @ turned).transpose(0, 1)
                grown = waves.masked_fill(torch.cat((bounded, bounded[..., 1:]), -1).transpose(0, 1), 0.0)
                parts[delays:, source] += (features[:, :growing] @ grown).transpose(0, 1)
        return value, parts

    def derivatives(self, field: int) -> tuple[list[int], Tensor]:
        """For each factor of a field, the part of `sensitivities` and its multiplier (factor, coefficient), whose
        product is the derivative by that factor."""
        harmonics, orders = self.spec.dispersion
        delay, damping, size = self.powers.split((orders, orders - 1, 3))
        numbers, multipliers = [], []
        for harmonic in range(harmonics):
            numbers += [harmonic] * orders + [harmonics + harmonic] * (orders - 1)
            multipliers += [delay, damping]
        for part in range(3 if field == 0 else 5):
            numbers += [2 * harmonics + part] * 3
            multipliers += [size]
        powers = torch.cat(multipliers)
        return numbers, torch.cat((powers, powers[:, 1:]), 1)

    def waves(
        self, rays: Sequence[Tensor], exponents: tuple[Tensor, Tensor], room: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Coefficients of some pairs.

        Args:
            rays: what `located` gives.
            exponents: as `exponents` gives.
            room: what `_room` gives for as many rays, or more; what is returned lies in it.

        Returns:
            Of cosines and of sines, (pair and arc, field, frequency) each.
        """
        num = self.spec.num_frequencies
        features, strength, turns, row, share = rays
        room = self._room(len(row)) if room is None else [values[: len(row)] for values in room]
        growth, phase, cosine, waveform, following = room
        torch.mm(features, exponents[0], out=growth).clamp_(max=GROWTH).exp_()
        growth.view(-1, 2, num).mul_(strength[:, :, None])
        torch.mm(features, exponents[1], out=phase)
        phase.view(-1, 2, num).add_((turns * self.numbers).float()[:, None], alpha=2 * np.pi / TURN)
        torch.cos(phase, out=cosine).mul_(growth)
        sine = phase.sin_().mul_(growth)
        torch.index_select(self.table, 0, row, out=waveform)
        torch.index_select(self.table, 0, row + 1, out=following)
        real, imaginary = waveform.lerp_(following, share).view(-1, 2, 2 * num).unbind(1)
        cosines, sines = torch.mul(real, cosine, out=growth), torch.mul(real, sine, out=following[:, : 2 * num])
        cosines.addcmul_(imaginary, sine)
        sines.addcmul_(imaginary, cosine, value=-1)
        return cosines.view(-1, 2, num), sines.view(-1, 2, num)

    def _room(self, num_rays: int) -> list[Tensor]:
        """Memory that `waves` writes to; used again by pass after pass, it stays in the caches."""
        num = self.spec.num_frequencies
        return [self.powers.new_empty(num_rays, columns * num) for columns in (2, 2, 2, 4, 4)]


def _place(along: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The interval of a regular grid that holds each value, and where therein it lies."""
    position = ((values - along[0]) / (along[1] - along[0])).clamp(0, len(along) - 1)
    index = position.long().clamp(max=len(along) - 2)
    return index, position - index
