"""An operator generator made ready to predict: what depends on Gamma or the weights alone is worked out once.

- The decoder is multiplied with the network's last layer, standardisation and all that is known of the nodes with its
  first; then the network sees six numbers of a node.
- Frequencies are multiples of one, so a driven wave obeys ``x[n] = E x[n-1] + d[n]`` with ``E = exp(i omega dt)``:
  a running sum of ``d[n] E^-n``, turned by ``E^n``. The same relation gives the levels before and after without a
  column of their own, ``x[n+1] = E x[n] + d[n+1]`` and ``x[n-1] = E^-1 (x[n] - d[n])``, so that velocities, averages
  and every sum of fields with weights of the nodes are one matrix product with two columns more, d[n+1] and d[n].
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from networks.mixture import Weights, node_weights
from networks.operator import OperatorGenerator
from networks.response import LowPass

Array = NDArray[np.float64]

KEPT = 31 * 2**20
"""Bytes. glibc hands memory back to the system beyond twice the largest block that was ever freed, and faults it in
again a page at a time, which takes longer than a prediction. Freeing a block of this size, never touched, ends that."""


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
            self._hidden = [(layer.weight.T.contiguous(), layer.bias) for layer in _linear(generator)]
            self._last = _last_layer(generator)
            turn = np.outer(self.spec.omega, self.spec.dt * np.arange(self.spec.num_levels + 1))
            self._phasors = torch.as_tensor(np.exp(-1j * turn)).to(self.device)  # (frequency, time + 1)
            self._step = self.spec.omega * self.spec.dt

    def mixture(self, sources: Array, signals: Array) -> "DrivenWaves":
        """The factors of the fields.

        Args:
            sources: (set, source, 2).
            signals: (set, source, time + 1).
        """
        num_sets, num_sources = sources.shape[:2]
        parts = self.coefficients(sources.reshape(-1, 2))
        times = self.times(signals.reshape(num_sets * num_sources, -1))
        return DrivenWaves(parts, times, self._step, self.spec.dt, num_sources)

    @torch.inference_mode()
    def coefficients(self, sources: Array) -> Tensor:
        """What multiplies cosines and sines, (source, 2) to (2, source, arc, 2, frequency); fields are last but one."""
        inputs, arcs = self._inputs(sources)
        x = torch.addmm(self._nodes[arcs.view(-1)], inputs, self._first)
        x = functional.gelu(x)
        for weight, bias in self._hidden:
            x += functional.gelu(torch.addmm(bias, x, weight))
        weights, biases = self._last
        out = torch.baddbmm(biases, x.expand(2, -1, -1), weights)
        out = out.view(2, len(sources), self.spec.num_arc, 2, self.spec.num_frequencies)
        if self.spec.rays != "none":
            rays = self._generator.rays
            rays.coefficients(torch.as_tensor(sources).to(rays.powers), self._exponents, out)
        return out

    @torch.inference_mode()
    def times(self, signals: Array) -> Tensor:
        """Functions of time, (source, time + 1) to (source, 2 frequency + 2, time)."""
        num, num_levels = self.spec.num_frequencies, self.spec.num_levels
        drive = torch.as_tensor(self.low_pass.inverse(signals, -1)).to(self.device)
        # the conjugate of the driven wave: its imaginary part is the sine's, negative
        waves = (self._phasors.conj() * drive[:, None]).cumsum_(-1).mul_(self._phasors)
        out = torch.empty((len(drive), 2 * num + 2, num_levels), device=self.device)
        parts = torch.view_as_real(waves)[:, :, :num_levels]
        out[:, :num], out[:, num : 2 * num] = parts[..., 0], torch.neg(parts[..., 1])
        out[:, -2], out[:, -1] = drive[:, 1:], drive[:, :-1]
        return out

    def _inputs(self, sources: Array) -> tuple[Tensor, Tensor]:
        """What the network sees of each source and node, (source and arc, input); the node that a map leads to."""
        generator, spec = self._generator, self.spec
        folded, arcs = generator.sector.fold(sources)
        right, up, length = generator.rays.geometry.way(folded)
        out = np.empty((len(sources), spec.num_arc, self._first.shape[0]), np.float32)
        out[..., :2] = folded[:, None]
        if spec.rays != "none":
            delay = length / spec.speed
            if spec.travel is not None:
                where = torch.as_tensor(folded).to(generator.rays.powers)
                delay = generator.rays.travel(where).cpu().numpy().astype(np.float64)
            floor = 1e-3 * spec.duration
            length = np.maximum(length, floor * spec.speed)
            columns = (delay, np.log(np.maximum(delay, floor)), right / length, up / length)
            for number, column in enumerate(columns, 2):
                out[..., number] = column
            out[..., 2:] = np.take_along_axis(out[..., 2:], arcs[..., None], 1)
        return torch.as_tensor(out.reshape(-1, out.shape[-1])).to(self.device), torch.as_tensor(arcs).to(self.device)


class DrivenWaves:
    """The factors of an operator generator's fields, in single precision.

    Args:
        parts: (2, set and source, arc, 2, frequency).
        times: (set and source, column, time).
        step: (frequency,) radians between levels.
        dt: time between levels.
        num_sources: of a set.
    """

    def __init__(self, parts: Tensor, times: Tensor, step: Array, dt: float, num_sources: int) -> None:
        self.times = times.view(-1, num_sources * times.shape[1], times.shape[2])
        self._cosines, self._sines = parts
        self._dt, self._num_sources = dt, num_sources
        self._turn = torch.as_tensor(np.stack((np.cos(step), np.sin(step))), dtype=torch.float64).to(parts.device)

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


def _linear(generator: OperatorGenerator) -> list[torch.nn.Linear]:
    return [layer for layer in generator.net.layers if isinstance(layer, torch.nn.Linear)]


def _first_layer(generator: OperatorGenerator) -> tuple[Tensor, Tensor]:
    """The first layer's part that only a node determines, (arc, width), and what multiplies the rest, (input, width).

    Features are the source, the node's own, the way from one to the other, then travel time, its logarithm, direction.
    """
    layer = generator.net.first
    weight = layer.weight.double() / generator.feature_scale.double()
    own = generator.node_features.double()
    source, node, way, rest = weight.split((2, own.shape[1], 2, weight.shape[1] - own.shape[1] - 4), 1)
    nodes = own @ node.T + generator.rays.points.double() @ way.T
    nodes += layer.bias.double() - weight @ generator.feature_mean.double()
    return nodes.float(), torch.cat((source - way, rest), 1).T.float().contiguous()


def _last_layer(generator: OperatorGenerator) -> tuple[Tensor, Tensor]:
    """The last layer times the decoder: weights (2, width, field and frequency) and biases (2, 1, ...)."""
    spec, layer = generator.spec, generator.net.last
    num = spec.num_frequencies
    joined = torch.cat((layer.weight, layer.bias[:, None]), 1).double().view(2, spec.rank, -1)
    whole = generator.decoder.double() @ joined  # (field, coefficient, width + 1)
    cosines, sines = whole.split((num, num - 1), 1)
    planes = torch.stack((cosines, functional.pad(sines, (0, 0, 1, 0))))  # (2, field, frequency, width + 1)
    planes = planes.flatten(1, 2).transpose(1, 2).float()
    return planes[:, :-1].contiguous(), planes[:, -1:].contiguous()
