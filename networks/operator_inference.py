"""An operator generator made ready to predict: what depends on Gamma or the weights alone is worked out once.

- The decoder is multiplied with the network's last layer, standardisation and all that is known of the nodes with its
  first; then the network sees six numbers of a node.
- Frequencies are multiples of one, so a driven wave obeys ``x[n] = E x[n-1] + d[n]`` with ``E = exp(i omega dt)``:
  a running sum of ``d[n] E^-n``, turned by ``E^n``, in stretches. The same relation gives the levels before and after
  without a column of their own, ``x[n+1] = E x[n] + d[n+1]`` and ``x[n-1] = E^-1 (x[n] - d[n])``, so that
  velocities, averages and every sum of fields with weights of the nodes are one matrix product with two columns more,
  d[n+1] and d[n].
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from networks.compression.compressed import CompressedLayer
from networks.mixture import Weights, node_weights
from networks.operator import OperatorGenerator
from networks.operator_graph import CapturedHistory
from networks.response import LowPass

Array = NDArray[np.float64]

KEPT = 31 * 2**20
"""Bytes. glibc hands memory back to the system beyond twice the largest block that was ever freed, and faults it in
again a page at a time, which takes longer than a prediction. Freeing a block of this size, never touched, ends that."""


STRETCH = 64
"""Levels whose running sum is one of single precision; from stretch to stretch it goes on in double precision. So the
phasors are few enough for a core's cache, and errors do not add up."""

MOST_GRAPHS = 4
"""CUDA graphs that are kept, one for each number of sources and each combination."""


class OperatorInference:
    """What an operator generator predicts, quickly; its weights are those at the time of making.

    Args:
        generator: a trained one; it is moved to the device and left in evaluation mode.
        device: where to run.
    """

    def __init__(self, generator: OperatorGenerator, device: str | torch.device = "cpu") -> None:
        self.spec, self.device = generator.spec, torch.device(device)
        self._generator = generator.to(self.device).eval()
        self.low_pass = LowPass(self.spec.rate, self.spec.dt)
        torch.empty(KEPT, dtype=torch.uint8)
        with torch.inference_mode():
            self._exponents = generator.rays.exponents()
            self._nodes, self._first = _first_layer(generator)
            self._hidden = [(layer.weight.T.contiguous(), layer.bias) for layer in map(_linear, generator.net.layers)]
            self._last = _last_layer(generator)
            step = self.spec.omega * self.spec.dt
            # of the levels of a stretch; then of whole stretches, in double precision, from the first level of one on
            levels = np.exp(1j * step[:, None] * np.arange(STRETCH))
            stretches = np.exp(1j * step[:, None] * STRETCH * np.arange(-(-(self.spec.num_levels + 1) // STRETCH)))
            single = [torch.as_tensor(values, dtype=torch.complex64)[:, None] for values in (levels, levels.conj())]
            double = [torch.as_tensor(values) for values in (stretches, np.exp(1j * step[:, None] * STRETCH))]
            self._phasors = tuple(values.to(self.device) for values in single + double)
            self._turn = torch.as_tensor(np.stack((np.cos(step), np.sin(step)))).to(self.device)
        self._captured: dict[tuple[int, int | None], CapturedHistory] = {}

    def mixture(self, sources: Array, signals: Array) -> "DrivenWaves":
        """The factors of the fields.

        Args:
            sources: (set, source, 2).
            signals: (set, source, time + 1).
        """
        num_sources = signals.shape[1]
        parts = self.coefficients(sources.reshape(-1, 2))
        drives = self.low_pass.inverse(signals.reshape(-1, signals.shape[2]), -1)
        return self._waves(parts, torch.as_tensor(drives).to(self.device), num_sources)

    @torch.inference_mode()
    def coefficients(self, sources: Array) -> Tensor:
        """What multiplies cosines and sines, (source, 2) to (2, source, arc, 2, frequency); fields are last but one."""
        inputs, arcs = self._seen(sources)
        out = self._network(torch.as_tensor(inputs).to(self.device), torch.as_tensor(arcs).to(self.device))
        if self.spec.rays != "none":
            rays = self._generator.rays
            rays.coefficients(torch.as_tensor(sources).to(rays.powers), self._exponents, out)
        return out

    def history(self, sources: Array, signals: Array, weights: Weights | None = None) -> NDArray[np.float32]:
        """On a CUDA device, all levels of sources that add up, through a graph that is kept.

        Args:
            sources: (source, 2).
            signals: (source, time + 1).
            weights: of a combination that is wanted instead of the fields.

        Returns:
            (time, 3 arc), or (time, arc) of a combination.
        """
        key = (len(sources), None if weights is None else id(weights))
        if key not in self._captured:
            while len(self._captured) >= MOST_GRAPHS:
                self._captured.pop(next(iter(self._captured)))
            self._captured[key] = CapturedHistory(self, len(sources), weights)
        return self._captured[key](sources, signals).copy()

    def prepared(self, sources: Array, signals: Array, *, every: bool) -> list[NDArray[Any]]:
        """What the host works out for `mixed`: of the network, of the rays, and drives."""
        rays = self._generator.rays
        drives: Array = self.low_pass.inverse(signals, -1)
        found: list[NDArray[Any]] = [*self._seen(sources), drives]
        if self.spec.rays != "none":
            arrivals = rays.geometry.arrivals(sources, rays.curved_travel(sources), every=every)
            found += [arrivals.delay, arrivals.strength, arrivals.features]
        return found

    @torch.inference_mode()
    def mixed(self, given: list[Tensor], num_sources: int) -> "DrivenWaves":
        """The factors from what `prepared` gives with every image, on the device; nothing waits for the host."""
        inputs, arcs, drives, *arrivals = given
        out = self._network(inputs, arcs)
        if arrivals:
            delay, strength, features = arrivals
            both = self._generator.rays.waves(delay, strength, features, self._exponents)
            for total, waves in zip(out, both, strict=True):
                total += waves.view(len(drives), -1, *total.shape[1:]).sum(1)
        return self._waves(out, drives, num_sources)

    @torch.inference_mode()
    def _network(self, inputs: Tensor, arcs: Tensor) -> Tensor:
        x = functional.gelu(torch.addmm(self._nodes.index_select(0, arcs.view(-1)), inputs, self._first))
        for weight, bias in self._hidden:
            x += functional.gelu(torch.addmm(bias, x, weight))
        weights, biases = self._last
        out = torch.baddbmm(biases, x.expand(2, -1, -1), weights)
        return out.view(2, len(arcs), self.spec.num_arc, 2, self.spec.num_frequencies)

    @torch.inference_mode()
    def _waves(self, parts: Tensor, drives: Tensor, num_sources: int) -> "DrivenWaves":
        """With the functions of time, (set and source, 2 frequency + 2, time)."""
        num, num_levels = self.spec.num_frequencies, self.spec.num_levels
        times = torch.empty((len(drives), 2 * num + 2, num_levels), device=self.device)
        away, back, turns, step = self._phasors
        padded = functional.pad(drives, (0, -drives.shape[1] % STRETCH)).float().view(len(drives), 1, -1, STRETCH)
        waves = torch.empty((len(drives), num, *padded.shape[2:]), dtype=back.dtype, device=self.device)
        torch.mul(back, padded, out=waves).cumsum_(-1)  # (source, frequency, stretch, level)
        ends = waves[..., -1] * turns.conj()
        waves[:, :, 1:] += (ends.cumsum(-1) * turns * step)[:, :, :-1, None].to(waves)
        waves *= away
        both = torch.view_as_real(waves).view(len(drives), num, -1, 2)[:, :, :num_levels]
        times[:, :num], times[:, num : 2 * num] = both[..., 0], both[..., 1]
        times[:, -2], times[:, -1] = drives[:, 1:], drives[:, :-1]
        return DrivenWaves(parts, times, self._turn, self.spec.dt, num_sources)

    def _seen(self, sources: Array) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What the network sees of each source and node, (source and arc, input); the node that a map leads to."""
        generator, spec = self._generator, self.spec
        folded, arcs = generator.sector.fold(sources)
        out = np.empty((len(sources), spec.num_arc, self._first.shape[0]), np.float32)
        out[..., :2] = folded[:, None]
        if spec.rays != "none":
            right, up, length = generator.rays.geometry.way(folded, arcs)
            travel = generator.rays.curved_travel(folded)
            delay = length / spec.speed if travel is None else np.take_along_axis(travel, arcs, 1)
            floor = 1e-3 * spec.duration
            length = np.maximum(length, floor * spec.speed)
            out[..., 2], out[..., 3] = delay, np.log(np.maximum(delay, floor))
            out[..., 4], out[..., 5] = right / length, up / length
        return out.reshape(-1, out.shape[-1]), arcs


class DrivenWaves:
    """The factors of an operator generator's fields, in single precision.

    Args:
        parts: (2, set and source, arc, 2, frequency).
        times: (set and source, column, time).
        turn: (2, frequency) cosine and sine of the angle between levels.
        dt: time between levels.
        num_sources: of a set.
    """

    def __init__(self, parts: Tensor, times: Tensor, turn: Tensor, dt: float, num_sources: int) -> None:
        self.times = times.view(-1, num_sources * times.shape[1], times.shape[2])
        self._cosines, self._sines = parts
        self._turn, self._dt, self._num_sources = turn, dt, num_sources

    @torch.inference_mode()
    def fields(self) -> Tensor:
        """(set, 3 arc, column): of displacement, velocity and load."""
        (c_u, c_r), (s_u, s_r) = self._cosines.unbind(2), self._sines.unbind(2)
        num, (num_places, num_arc) = c_u.shape[-1], c_u.shape[:2]
        out = c_u.new_empty(num_places, 3, num_arc, 2 * num + 2)
        rate = (self._turn[1] / self._dt).to(c_u)
        now, before = self._ends()
        out[:, 0, :, :num], out[:, 0, :, num:-2] = c_u, s_u
        torch.mul(s_u, rate, out=out[:, 1, :, :num])
        torch.mul(c_u, -rate, out=out[:, 1, :, num:-2])
        out[:, 2, :, :num], out[:, 2, :, num:-2] = c_r, s_r
        out[..., -2:] = 0.0
        out[:, 1, :, -2], out[:, 1, :, -1] = now / (2 * self._dt), before / (2 * self._dt)
        return self._joined(out.flatten(1, 2))

    @torch.inference_mode()
    def combined(self, weights: Weights) -> Tensor:
        """(set, arc, column)."""
        (c_u, c_r), (s_u, s_r) = self._cosines.unbind(2), self._sines.unbind(2)
        num, (num_places, num_arc) = c_u.shape[-1], c_u.shape[:2]
        w_u, w_v, w_r = node_weights(weights, self._turn)
        cosine, sine = self._turn
        even = cosine if weights.lead else 1 + 2 * weights.theta * (cosine - 1)
        odd = w_v * (sine / self._dt) + (w_u * sine if weights.lead else 0.0)
        even, odd, plain = (w_u * even).to(c_u), odd.to(c_u), w_r.to(c_u)
        out = c_u.new_empty(num_places, num_arc, 2 * num + 2)
        torch.mul(c_r, plain, out=out[..., :num]).addcmul_(c_u, even).addcmul_(s_u, odd)
        torch.mul(s_r, plain, out=out[..., num:-2]).addcmul_(s_u, even).addcmul_(c_u, odd, value=-1)
        now, before = self._ends()
        rate, ahead = w_v[:, 0] / (2 * self._dt), w_u[:, 0] * (1.0 if weights.lead else weights.theta)
        out[..., -2] = now * (rate + ahead)
        out[..., -1] = before * (rate if weights.lead else rate - ahead)
        return self._joined(out)

    def _ends(self) -> tuple[Tensor, Tensor]:
        """The displacement's response at level 0 and at -1, a period before the last: what d[n+1] and d[n] meet."""
        c_u, s_u = self._cosines[:, :, 0].double(), self._sines[:, :, 0].double()
        return c_u.sum(-1), c_u @ self._turn[0] - s_u @ self._turn[1]

    def _joined(self, parts: Tensor) -> Tensor:
        """(set and source, place, column) to (set, place, source and column)."""
        if self._num_sources == 1:
            return parts
        return parts.view(-1, self._num_sources, *parts.shape[1:]).transpose(1, 2).flatten(2)


def _linear(layer: torch.nn.Module) -> torch.nn.Linear:
    """A layer of the network as it is folded with others: a compressed one in its dense form."""
    return cast(torch.nn.Linear, layer.to_dense() if isinstance(layer, CompressedLayer) else layer)


def _first_layer(generator: OperatorGenerator) -> tuple[Tensor, Tensor]:
    """The first layer's part that only a node determines, (arc, width), and what multiplies the rest, (input, width).

    Features are the source, the node's own, the way from one to the other, then travel time, its logarithm, direction.
    """
    layer = _linear(generator.net.first)
    weight = layer.weight.double() / generator.feature_scale.double()
    own = generator.node_features.double()
    source, node, way, rest = weight.split((2, own.shape[1], 2, weight.shape[1] - own.shape[1] - 4), 1)
    nodes = own @ node.T + generator.rays.points.double() @ way.T
    nodes += layer.bias.double() - weight @ generator.feature_mean.double()
    return nodes.float(), torch.cat((source - way, rest), 1).T.float().contiguous()


def _last_layer(generator: OperatorGenerator) -> tuple[Tensor, Tensor]:
    """The last layer times the decoder: weights (2, width, field and frequency) and biases (2, 1, ...)."""
    spec, layer = generator.spec, _linear(generator.net.last)
    num = spec.num_frequencies
    joined = torch.cat((layer.weight, layer.bias[:, None]), 1).double().view(2, spec.rank, -1)
    whole = generator.decoder.double() @ joined  # (field, coefficient, width + 1)
    cosines, sines = whole.split((num, num - 1), 1)
    planes = torch.stack((cosines, functional.pad(sines, (0, 0, 1, 0))))  # (2, field, frequency, width + 1)
    planes = planes.flatten(1, 2).transpose(1, 2).float()
    return planes[:, :-1].contiguous(), planes[:, -1:].contiguous()
