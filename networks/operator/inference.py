"""An operator generator made ready to predict: what depends on Gamma or the weights alone is worked out once.

- The decoder is multiplied with the network's last layer, standardisation and all that is known of the nodes with its
  first; then the network sees six numbers of a node.
- What network and rays give stands where the matrix product of `DrivenWaves` reads it.
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from networks.core.rebuildable import Rebuildable
from networks.operator.network import OperatorGenerator
from networks.operator.rays import GROWTH, TURN
from networks.operator.spec import OperatorSpec
from networks.response.compiled import CompiledRays, library
from networks.response.inference import ResponseInference
from networks.response.waves import DrivenWaves

Array = NDArray[np.float64]

ROWS = 512
"""Pairs of a source and a node that go through the network at once: more would leave the caches."""


class OperatorInference(ResponseInference):
    """An operator generator made ready to predict quickly, with the weights that it has when this is made.

    Args:
        generator: a trained one; it is moved to the device and left in evaluation mode.
        device: where to run.
    """

    def __init__(self, generator: OperatorGenerator, device: str | torch.device = "cpu") -> None:
        super().__init__(generator.spec, device)
        self._generator = generator.to(self.device).eval()
        with torch.inference_mode():
            self._exponents = generator.rays.exponents()
            self._nodes, self._first = _first_layer(generator)
            self._hidden = [(layer.weight.T.contiguous(), layer.bias) for layer in map(_linear, generator.net.layers)]
            self._last = _last_layer(generator)
        self._rays = self._compiled_rays()

    @property
    def spec(self) -> OperatorSpec:
        """Specification of the generator."""
        return self._generator.spec

    @torch.inference_mode()
    def coefficients(self, sources: Array) -> Tensor:
        """Factors of cosines, then sines, of u and r: (source, 2) to (source, arc, 2, 2 frequency)."""
        inputs, arcs = self._seen(sources)
        out = self._network(torch.as_tensor(inputs).to(self.device), torch.as_tensor(arcs).to(self.device))
        if self.spec.rays != "none":
            rays, places = self._generator.rays, torch.as_tensor(sources).to(self._generator.rays.powers)
            if self._rays is None:
                rays.coefficients(places, self._exponents, _planes(out))
            else:
                arrivals = rays.arrivals(places)
                self._rays.add(arrivals.source, [values.T for values in rays.places(arrivals)], out.numpy())
        return out

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
        return self.waves(out, drives, num_sources)

    def _compiled_rays(self) -> CompiledRays | None:
        """The loop over rays in C, where it runs on this device and there is a compiler."""
        built = library() if self.device.type == "cpu" else None
        if built is None or self.spec.rays == "none":
            return None
        tables = [table.numpy() for table in (*self._exponents, self._generator.rays.table)]
        return CompiledRays(built, tables, self.spec.dispersion[0], self.spec.num_arc, (GROWTH, 2 * np.pi / TURN))

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
