"""An operator generator made ready to predict: what depends on Gamma or the weights alone is worked out once.

- The decoder is multiplied with the network's last layer, standardisation and all that is known of the nodes with its
  first; then the network sees six numbers of a node.
- A driven wave obeys ``x[n] = E x[n-1] + d[n]`` with ``E = exp(i omega dt)``: a recurrence in C or, without a compiler
  and on a GPU, a running sum of ``d[n] E^-n``, turned by ``E^n``, in stretches.
- What network and rays give stands where the matrix product of `DrivenWaves` reads it.
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from networks.core.prediction import Weights
from networks.core.rebuildable import Rebuildable
from networks.operator.network import OperatorGenerator
from networks.operator.rays import GROWTH, TURN
from networks.response.compiled import CompiledWaves, library
from networks.response.cuda_graph import CapturedHistory
from networks.response.signal_response import LowPass
from networks.response.waves import Combination, DrivenWaves, Turns

Array = NDArray[np.float64]

HEAP_BLOCK = 31 * 2**20
"""Bytes of a block that is allocated and freed once. glibc keeps up to twice the largest block that was ever freed; the
rest goes back to the system and is faulted in again a page at a time, which takes longer than a prediction."""


STRETCH = 64
"""Levels whose running sum is one of single precision; from stretch to stretch it goes on in double precision. So the
phasors are few enough for a core's cache, and errors do not add up."""

MOST_KEPT = 4
"""Combinations that are kept, and CUDA graphs, one for each number of sources and each combination."""

ROWS = 512
"""Pairs of a source and a node that go through the network at once: more would leave the caches."""


class OperatorInference:
    """An operator generator made ready to predict quickly, with the weights that it has when this is made.

    Args:
        generator: a trained one; it is moved to the device and left in evaluation mode.
        device: where to run.
    """

    def __init__(self, generator: OperatorGenerator, device: str | torch.device = "cpu") -> None:
        self.spec, self.device = generator.spec, torch.device(device)
        self._generator = generator.to(self.device).eval()
        self.low_pass = LowPass(self.spec.rate, self.spec.dt)
        torch.empty(HEAP_BLOCK, dtype=torch.uint8)
        with torch.inference_mode():
            self._exponents = generator.rays.exponents()
            self._nodes, self._first = _first_layer(generator)
            self._hidden = [(layer.weight.T.contiguous(), layer.bias) for layer in map(_linear, generator.net.layers)]
            self._last = _last_layer(generator)
            step = self.spec.omega * self.spec.dt
            # of the levels of a stretch; then of whole stretches, in double precision, from the first level of one on
            levels = np.exp(1j * step[:, None] * np.arange(STRETCH))
            stretches = np.exp(1j * step[:, None] * STRETCH * np.arange(-(-self.spec.num_levels // STRETCH)))
            single = [torch.as_tensor(values, dtype=torch.complex64)[:, None] for values in (levels, levels.conj())]
            double = [torch.as_tensor(values) for values in (stretches, np.exp(1j * step[:, None] * STRETCH))]
            self._phasors = tuple(values.to(self.device) for values in single + double)
            self._turns = Turns(torch.as_tensor(np.stack((np.cos(step), np.sin(step)))).to(self.device), self.spec.dt)
        self._compiled = self._loops()
        self._combinations: dict[int, Combination] = {}
        self._captured: dict[tuple[int, int | None], CapturedHistory] = {}

    def mixture(self, sources: Array, signals: Array) -> DrivenWaves:
        """The factors of the fields.

        Args:
            sources: (set, source, 2); what several of them share, as in a sweep over frequencies, is predicted once.
            signals: (set, source, time + 1).
        """
        num_sources, places = signals.shape[1], sources.reshape(-1, 2)
        once, which = np.unique(places, axis=0, return_inverse=True) if len(places) > 1 else (places, None)
        if which is not None and len(once) < len(places):
            parts = self.coefficients(once).index_select(0, torch.as_tensor(which.reshape(-1)).to(self.device))
        else:
            parts = self.coefficients(places)
        drives = self.low_pass.inverse(signals.reshape(-1, signals.shape[2]), -1)
        if self._compiled is not None:
            times = torch.from_numpy(self._compiled.drive(drives)).transpose(1, 2)
            return DrivenWaves(parts, times, self._turns, num_sources, self.combination)
        return self._waves(parts, torch.as_tensor(drives).to(self.device), num_sources)

    @torch.inference_mode()
    def coefficients(self, sources: Array) -> Tensor:
        """Factors of cosines, then sines, of u and r: (source, 2) to (source, arc, 2, 2 frequency)."""
        inputs, arcs = self._seen(sources)
        out = self._network(torch.as_tensor(inputs).to(self.device), torch.as_tensor(arcs).to(self.device))
        if self.spec.rays != "none":
            rays, places = self._generator.rays, torch.as_tensor(sources).to(self._generator.rays.powers)
            if self._compiled is None:
                rays.coefficients(places, self._exponents, _planes(out))
            else:
                arrivals = rays.arrivals(places)
                self._compiled.add(arrivals.source, [values.T for values in rays.places(arrivals)], out.numpy())
        return out

    def combination(self, weights: Weights) -> Combination:
        """Factors of a combination; they are kept, as a zone asks for the same one again and again."""
        combination = self._combinations.get(id(weights))
        if combination is None:
            while len(self._combinations) >= MOST_KEPT:
                self._combinations.pop(next(iter(self._combinations)))
            combination = self._combinations[id(weights)] = Combination(weights, self._turns)
        return combination

    def history(self, sources: Array, signals: Array, weights: Weights | None = None) -> NDArray[np.float32]:
        """On a CUDA device, all levels of sources that add up, through a graph that is kept.

        Args:
            sources: (source, 2).
            signals: (source, time + 1).
            weights: of a combination that is wanted instead of the fields.

        Returns:
            (3, time, arc), or (time, arc) of a combination.
        """
        key = (len(sources), None if weights is None else id(weights))
        if key not in self._captured:
            while len(self._captured) >= MOST_KEPT:
                self._captured.pop(next(iter(self._captured)))
            self._captured[key] = CapturedHistory(self, len(sources), weights)
        return self._captured[key](sources, signals).copy()

    def prepared(self, sources: Array, signals: Array, *, every: bool) -> list[NDArray[Any]]:
        """Inputs of `mixed` that the host works out: of the network, of the rays, and drives."""
        rays = self._generator.rays
        drives: Array = self.low_pass.inverse(signals, -1)
        inputs: list[NDArray[Any]] = [*self._seen(sources), drives]
        if self.spec.rays != "none":
            arrivals = rays.geometry.arrivals(sources, rays.curved_travel(sources), every=every)
            inputs += rays.places(arrivals)
        return inputs

    @torch.inference_mode()
    def mixed(self, inputs: list[Tensor], num_sources: int) -> DrivenWaves:
        """The factors from what `prepared` gives with every image, on the device; nothing waits for the host."""
        features, arcs, drives, *rays = inputs
        out = self._network(features, arcs)
        if rays:
            both = self._generator.rays.waves(rays, self._exponents)
            for total, waves in zip(_planes(out), both, strict=True):
                total += waves.view(len(drives), -1, *total.shape[1:]).sum(1)
        return self._waves(out, drives, num_sources)

    def _loops(self) -> CompiledWaves | None:
        """The loops in C, where they run on this device and there is a compiler."""
        built = library() if self.device.type == "cpu" else None
        if built is None:
            return None
        rays = self._generator.rays
        tables = [] if self.spec.rays == "none" else [table.numpy() for table in (*self._exponents, rays.table)]
        limits = (GROWTH, 2 * np.pi / TURN)
        turn = self._turns.turn.numpy()
        return CompiledWaves(built, turn, tables, self.spec.dispersion[0], self.spec.num_arc, limits)

    @torch.inference_mode()
    def _network(self, inputs: Tensor, arcs: Tensor) -> Tensor:
        weight, bias = self._last
        out = torch.empty((len(inputs), weight.shape[1]), device=self.device)
        nodes = arcs.view(-1)
        for start in range(0, len(inputs), ROWS):
            part = slice(start, start + ROWS)
            x = functional.gelu(torch.addmm(self._nodes.index_select(0, nodes[part]), inputs[part], self._first))
            for hidden, shift in self._hidden:
                x += functional.gelu(torch.addmm(shift, x, hidden))
            torch.addmm(bias, x, weight, out=out[part])
        return out.view(len(arcs), self.spec.num_arc, 2, -1)

    @torch.inference_mode()
    def _waves(self, parts: Tensor, drives: Tensor, num_sources: int) -> DrivenWaves:
        """With the functions of time, (set and source, 2 frequency + 2, time)."""
        num, num_levels = self.spec.num_frequencies, self.spec.num_levels
        times = torch.empty((len(drives), 2 * num + 2, num_levels), device=self.device)
        times[:, -2], times[:, -1] = drives[:, 1:], drives[:, :-1]
        away, back, turns, step = self._phasors
        padded = functional.pad(times[:, -1], (0, -num_levels % STRETCH)).view(len(drives), 1, -1, STRETCH)
        waves = torch.mul(back, padded).cumsum_(-1)  # (source, frequency, stretch, level)
        ends = waves[..., :-1, -1] * turns[:, :-1].conj()
        waves[:, :, 1:] += (ends.cumsum_(-1) * turns[:, :-1] * step).to(waves)[..., None]
        waves *= away
        both = torch.view_as_real(waves).view(len(drives), num, -1, 2)[:, :, :num_levels]
        times[:, :-2].view(len(drives), 2, num, num_levels).copy_(both.permute(0, 3, 1, 2))
        return DrivenWaves(parts, times, self._turns, num_sources, self.combination)

    def _seen(self, sources: Array) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Inputs of the network for each source and node, (source and arc, input); the node that a map leads to."""
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


def _planes(parts: Tensor) -> Tensor:
    """(source, arc, 2, 2 frequency) seen as what multiplies cosines and sines, (2, source, arc, 2, frequency)."""
    return parts.unflatten(3, (2, -1)).permute(3, 0, 1, 2, 4)


def _linear(layer: torch.nn.Module) -> torch.nn.Linear:
    """A layer of the network as it is folded with others: a compressed one in its dense form."""
    return cast(torch.nn.Linear, layer.to_dense() if isinstance(layer, Rebuildable) else layer)


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
    """The last layer times the decoder: weights (width, number) and biases (number,), the numbers those of a node."""
    spec, layer = generator.spec, _linear(generator.net.last)
    num = spec.num_frequencies
    joined = torch.cat((layer.weight, layer.bias[:, None]), 1).double().view(2, spec.rank, -1)
    whole = generator.decoder.double() @ joined  # (field, coefficient, width + 1)
    cosines, sines = whole.split((num, num - 1), 1)
    planes = torch.cat((cosines, functional.pad(sines, (0, 0, 1, 0))), 1)  # (field, 2 frequency, width + 1)
    planes = planes.flatten(0, 1).T.float()
    return planes[:-1].contiguous(), planes[-1].contiguous()
