"""What is known of a response beforehand: rays from the source, or its images, each with the waveform of free space.

A ray that travels for a time tau brings ``G(t, tau) = H(t - tau) / (2 pi sqrt(t² - tau²))``, the response of the plane
to an impulse; sampled, low-passed and continued periodically it is a table of complex amplitudes over tau. The flux
that belongs to it is ``dG/dtau`` times the slowness along the normal. What a grid does to a ray, dispersion above all,
and damping where it ceases to carry waves, is a factor ``exp(sum theta phi(omega, tau, direction))`` with a few learnt
numbers theta.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from networks.operator_spec import OperatorSpec

NUM_DELAYS = 700
"""Rows of the table of waveforms; between them amplitudes without their phase are linear to 1e-4."""

EARLY = 0.03
"""Share of a run that a ray may come after its end: what a grid smears arrives before the ray."""

UNIT, HIGHEST = 0.7, 0.9
"""Frequency whose powers are 1, and the one above which powers grow no more, in highest frequencies."""

GROWTH = 1.0
"""Largest logarithm of what a factor may do to an amplitude."""

SUBSTEPS = 8
FLOOR = 0.02
"""Shortest travel time of the table, in durations."""


def outward_normals(points: NDArray[np.float64], loop: NDArray[np.int64]) -> NDArray[np.float64]:
    """Normals of Gamma integrated over the nodes' lengths, (arc, 2): half of either neighbouring side.

    Args:
        points: (arc, 2), each loop counter-clockwise.
        loop: (arc,).
    """
    normals = np.empty_like(points)
    for number in np.unique(loop):
        nodes = np.flatnonzero(loop == number)
        side = np.roll(points[nodes], -1, 0) - points[nodes]
        half = 0.5 * np.stack([side[:, 1], -side[:, 0]], 1)
        normals[nodes] = half + np.roll(half, 1, 0)
    return normals


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


@dataclass(frozen=True)
class Arrivals:
    """Rays of one image that arrive in time.

    Attributes:
        delay: (ray,) travel times.
        sign: of the wave after its reflections.
        size: of displacement and load, (ray,) each.
        features: of either, (ray, factor).
    """

    delay: Tensor
    sign: float
    size: tuple[Tensor, Tensor]
    features: tuple[Tensor, Tensor]


class Rays(nn.Module):
    """Amplitudes of all rays from sources to the nodes of Gamma.

    Args:
        spec: says which rays; its `travel` gives the shape of the table of travel times, empty until it is filled.
    """

    delays: Tensor
    table: Tensor
    omega: Tensor
    points: Tensor
    normals: Tensor
    lengths: Tensor
    powers: Tensor
    travel_x: Tensor
    travel_y: Tensor
    travel_time: Tensor

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.spec = spec
        points = np.array(spec.points)
        normals = outward_normals(points, np.array(spec.loop))
        delays, table = waveform_tables(spec)
        relative = np.minimum(spec.omega / spec.omega[-1], HIGHEST) / UNIT
        orders = spec.dispersion[1]
        exponents = [1 + 2 ** (n + 1) for n in range(orders)]  # of the delay, then of the damping on the way
        exponents += [2 ** (n + 2) for n in range(orders - 1)] + [0, 2, 4]
        powers = np.stack([relative**exponent for exponent in exponents])
        for name, values in (
            ("delays", delays),
            ("omega", spec.omega),
            ("points", points),
            ("normals", normals),
            ("lengths", 0.5 * (_sides(points, spec.loop) + _sides(points, spec.loop, before=True))),
            ("powers", powers),
        ):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32), persistent=False)
        self.register_buffer("table", torch.view_as_real(torch.from_numpy(table)).contiguous(), persistent=False)
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

    def forward(self, sources: Tensor) -> Tensor:
        """Amplitudes of the rays, (source, 2) to complex (source, 2, frequency, arc)."""
        out = self._zeros(len(sources))
        for where, ray in self._rays(sources):
            for field in (0, 1):
                exponent = ray.features[field] * self.factors[field]
                out[field].index_put_(where, self._ray(field, ray, exponent), accumulate=True)
        return torch.stack(out, 1).transpose(2, 3)

    def sensitivities(self, sources: Tensor, field: int) -> tuple[Tensor, Tensor]:
        """Amplitudes of one field and their derivatives by the factors.

        Returns:
            Complex (source, arc, frequency) and (factor, source, arc, frequency).
        """
        value = self._zeros(len(sources))[0]
        slopes = value.new_zeros((self.num_features(field), *value.shape))
        for where, ray in self._rays(sources):
            features = ray.features[field]
            y = self._ray(field, ray, features * self.factors[field])
            value.index_put_(where, y, accumulate=True)
            for slope, number, power in zip(slopes, features.T, self._frequency(field), strict=True):
                slope.index_put_(where, number[:, None] * power * y, accumulate=True)
        return value, slopes

    def _zeros(self, num: int) -> list[Tensor]:
        shape = (num, self.spec.num_arc, self.spec.num_frequencies)
        return [torch.zeros(shape, dtype=torch.complex64, device=self.points.device) for _ in (0, 1)]

    def _frequency(self, field: int) -> Tensor:
        """What multiplies each factor's feature, complex (factor, frequency)."""
        harmonics, orders = self.spec.dispersion
        delay, damping, size = self.powers.to(torch.complex64).split((orders, orders - 1, 3))
        parts = [1j * delay, damping] * harmonics + [size] * 3
        if field == 1:
            parts += [size] * 2
        return torch.cat(parts)

    def _ray(self, field: int, ray: Arrivals, exponent: Tensor) -> Tensor:
        """Complex (ray, frequency) from the exponents (ray, factor)."""
        total = exponent.to(torch.complex64) @ self._frequency(field)
        total = torch.complex(total.real.clamp(max=GROWTH), total.imag)
        total = total - 1j * ray.delay[:, None] * self.omega
        position = (ray.delay - self.delays[0]) / (self.delays[1] - self.delays[0])
        row = position.long().clamp(0, len(self.delays) - 2)
        share = (position - row).clamp(min=0.0)[:, None, None]
        wave = torch.view_as_complex(torch.lerp(self.table[field, row], self.table[field, row + 1], share))
        return wave * torch.exp(total) * (ray.sign * ray.size[field])[:, None]

    def _rays(self, sources: Tensor) -> list[tuple[tuple[Tensor, ...], Arrivals]]:
        """Of each image of the sources, those of its rays that arrive in time."""
        found = []
        spread = self._spread(sources)
        for image, flip, sign in self._images(sources):
            way = self.points - image[:, None]
            length = torch.linalg.vector_norm(way, dim=-1)
            delay = self.travel(sources) if self.spec.rays == "direct" else length / self.spec.speed
            where = torch.nonzero(delay <= (1 + EARLY) * self.spec.duration, as_tuple=True)
            if len(where[0]):
                direction = way[where] / length[where][:, None].clamp(min=1e-12)
                back = direction * flip
                share = (spread[where[0]] * torch.stack((back[:, 0] ** 2, back[:, 1] ** 2, back.prod(1)), 1)).sum(1)
                found.append((where, self._ray_features(where[1], direction, delay[where], share, sign)))
        return found

    def _spread(self, sources: Tensor) -> Tensor:
        """Second moments (source, 3) of a source over the corners of its triangle, less their mean, in squared steps:
        along x, along y, and twice the mixed one."""
        if self.spec.grid is None:
            return sources.new_zeros(len(sources), 3)
        origin, step = (sources.new_tensor(pair).double() for pair in self.spec.grid)
        position = (sources.double() - origin) / step
        x, y = (position - position.floor()).unbind(1)
        moments = (x * (1 - x) - 1 / 6, y * (1 - y) - 1 / 6, 2 * (torch.minimum(x, y) - x * y - 1 / 12))
        return 6 * torch.stack(moments, 1).to(sources)

    def _ray_features(self, node: Tensor, direction: Tensor, delay: Tensor, spread: Tensor, sign: float) -> Arrivals:
        normal, length = self.normals[node], self.lengths[node]
        along = (normal * direction).sum(1)
        size = torch.linalg.vector_norm(normal, dim=1).clamp(min=1e-12)
        facing = 2 * (along / size).square() - 1
        turn = 1 - (size / length).square()
        double = direction[:, 0].square() - direction[:, 1].square()
        quadruple = 2 * double.square() - 1  # cosine of four times the angle
        circle = [torch.ones_like(delay), quadruple]
        while len(circle) < self.spec.dispersion[0]:
            circle.append(2 * quadruple * circle[-1] - circle[-2])
        harmonics, orders = self.spec.dispersion
        late = delay / self.spec.duration * 40
        shared = [late * c for c in circle[:harmonics] for _ in range(2 * orders - 1)]
        shared += [c for c in (*circle[:2], spread) for _ in range(3)]
        extra = [facing] * 3 + [turn] * 3
        return Arrivals(
            delay,
            sign,
            (torch.ones_like(along), along / self.spec.speed),
            (torch.stack(shared, 1), torch.stack(shared + extra, 1)),
        )

    def _images(self, sources: Tensor) -> list[tuple[Tensor, Tensor, float]]:
        """Sources as the walls reflect them, what that does to directions, and the sign of the wave."""
        if self.spec.rays != "walls" or self.spec.walls is None:
            return [(sources, torch.ones(2).to(sources), 1.0)]
        lower, upper = (np.array(corner) for corner in self.spec.walls)
        reach = (1 + EARLY) * self.spec.duration * self.spec.speed
        middle, size = 0.5 * (lower + upper), upper - lower
        count = [int(np.ceil(reach / extent)) + 1 for extent in size]
        images = []
        for i in range(-count[0], count[0] + 1):
            for j in range(-count[1], count[1] + 1):
                number = torch.tensor([i, j], device=sources.device)
                flip = (1 - 2 * (number % 2)).to(sources)
                image = (sources - sources.new_tensor(middle)) * flip + sources.new_tensor(middle + size * [i, j])
                images.append((image, flip, 1.0 if (i + j) % 2 == 0 else -1.0))
        return images


def _sides(points: NDArray[np.float64], loop: tuple[int, ...], *, before: bool = False) -> NDArray[np.float64]:
    """Length of the side after, or before, each node."""
    lengths = np.empty(len(points))
    for number in set(loop):
        nodes = np.flatnonzero(np.array(loop) == number)
        side = np.linalg.norm(np.roll(points[nodes], -1, 0) - points[nodes], axis=1)
        lengths[nodes] = np.roll(side, 1) if before else side
    return lengths


def _place(along: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The interval of a regular grid that holds each value, and where therein it lies."""
    position = ((values - along[0]) / (along[1] - along[0])).clamp(0, len(along) - 1)
    index = position.long().clamp(max=len(along) - 2)
    return index, position - index
