"""The operator generator: where a source is to what it does on Gamma, for any signal.

Its output is the low-passed impulse response of displacement and load at every node of Gamma, as amplitudes at K
frequencies: those of the rays that are known (`networks.operator.rays`) and, for what they leave, a network of
pointwise convolutions along Gamma, whose few outputs a learnt time basis turns into amplitudes. docs/generator.md
derives it.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.operator.rays import Rays
from networks.operator.spec import OperatorSpec
from networks.response.symmetry import Sector


class Pointwise(nn.Module):
    """Residual layers that act on each node of Gamma alone: convolutions along it of one tap.

    Args:
        num_in, num_out: features and outputs of a node.
        width, depth: channels and layers.
    """

    def __init__(self, num_in: int, num_out: int, width: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Linear(num_in, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.last = nn.Linear(width, num_out)
        for start in (self.last.weight, self.last.bias):  # it begins with nothing beside what rays bring
            nn.init.zeros_(start)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., num_in) to (..., num_out)."""
        x = functional.gelu(self.first(x))
        for layer in self.layers:
            x = x + functional.gelu(layer(x))
        return cast(Tensor, self.last(x))


class OperatorGenerator(nn.Module):
    """Sources to responses on Gamma.

    Args:
        spec: what to build.
    """

    basis: Tensor
    decoder: Tensor
    feature_mean: Tensor
    feature_scale: Tensor
    node_features: Tensor

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.rays, self.sector = Rays(spec), Sector(spec)
        t = spec.dt * np.arange(spec.num_levels + 1)[:, None]
        basis = np.concatenate((np.cos(t * spec.omega), np.sin(t * spec.omega[1:])), 1)
        for name, values in (
            ("basis", torch.tensor(basis, dtype=torch.float32)),
            ("node_features", torch.tensor(_node_features(spec), dtype=torch.float32)),
        ):
            self.register_buffer(name, values, persistent=False)
        num_features = 2 + self.node_features.shape[1] + (2 if spec.rays == "none" else 6)
        self.register_buffer("decoder", torch.zeros(2, spec.num_coefficients, spec.rank))
        self.register_buffer("feature_mean", torch.zeros(num_features))
        self.register_buffer("feature_scale", torch.ones(num_features))
        self.net = Pointwise(num_features, 2 * spec.rank, spec.width, spec.depth)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the predicted fields."""
        return self.spec.fields

    @property
    def num_parameters(self) -> int:
        """Numbers that were learnt from the data: weights, factors of the rays, the time basis."""
        return sum(p.numel() for p in self.parameters()) + self.decoder.numel()

    def fold(self, sources: Tensor) -> tuple[Tensor, Tensor]:
        """Replace sources by their images farthest right, then up: one sector stands for all.

        Returns:
            Images (source, 2), and for each source and node the node of Gamma that the map carries it to,
            (source, arc).
        """
        folded, arcs = self.sector.fold(sources.detach().cpu().numpy().astype(np.float64))
        return torch.as_tensor(folded).to(sources), torch.as_tensor(arcs, device=sources.device)

    def features(self, folded: Tensor) -> Tensor:
        """Inputs of the network for folded sources, (source, 2) to (source, arc, feature), before standardisation."""
        num_arc = self.spec.num_arc
        way = self.rays.points - folded[:, None]
        nodes = self.node_features.expand(len(folded), -1, -1)
        parts = [folded[:, None].expand(-1, num_arc, -1), nodes, way]
        if self.spec.rays != "none":
            delay = self.rays.travel(folded)[..., None]
            length = torch.linalg.vector_norm(way, dim=-1, keepdim=True)
            floor = 1e-3 * self.spec.duration
            parts += [delay, torch.log(delay.clamp(min=floor)), way / length.clamp(min=floor * self.spec.speed)]
        return torch.cat(parts, -1)

    def feature_units(self) -> Tensor:
        """Size of each feature in the problem's own lengths and times, (feature,)."""
        length, num_nodes = 0.5 * float(np.ptp(np.array(self.spec.points), axis=0).max()), self.node_features.shape[1]
        units = [length] * 2 + [1.0] * num_nodes + [length] * 2
        units += [] if self.spec.rays == "none" else [self.spec.duration, 1.0, 1.0, 1.0]
        return self.feature_scale.new_tensor(units)

    def learnt(self, features: Tensor) -> Tensor:
        """Outputs of the network, (..., feature) to (..., 2 rank): time functions of displacement, then load."""
        return cast(Tensor, self.net((features - self.feature_mean) / self.feature_scale))

    def known(self, sources: Tensor) -> Tensor | None:
        """Amplitudes of the rays, (source, 2) to (source, 2, coefficient, arc)."""
        if self.spec.rays == "none":
            return None
        cosines, sines = self.rays.coefficients(sources)
        return torch.cat((cosines, sines[..., 1:]), -1).permute(0, 2, 3, 1)

    def amplitudes(self, sources: Tensor) -> Tensor:
        """Responses to sources, (source, 2) to (source, 2, coefficient, arc): of displacement and load.

        ``basis @ amplitudes`` are the low-passed responses at the levels 0 .. num_levels.
        """
        folded, arcs = self.fold(sources)
        outputs = self.learnt(self.features(folded)).unflatten(-1, (2, self.spec.rank))
        outputs = torch.take_along_dim(outputs, arcs[:, :, None, None], 1)
        responses = torch.einsum("saqm,qcm->sqca", outputs, self.decoder)
        known = self.known(sources)
        return responses if known is None else responses + known

    def forward(self, sources: Tensor) -> Tensor:
        """Low-passed responses, (source, 2) to (source, 2, level, arc), one level past the end."""
        return self.basis @ self.amplitudes(sources)


def _node_features(spec: OperatorSpec) -> np.ndarray:
    """Features of each node, (arc, 5): place in units of the zone, unit normal, and the sign of a turn of Gamma."""
    points, normals = np.array(spec.points), np.array(spec.normals)
    size = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = normals / np.maximum(size, np.finfo(np.float64).tiny)
    middle, half = 0.5 * (points.max(0) + points.min(0)), 0.5 * max(np.ptp(points, axis=0))
    slant = unit[:, 0] * unit[:, 1]
    turn = np.abs(slant) > 0.1
    return np.concatenate(((points - middle) / half, unit, (turn * np.sign(slant))[:, None]), 1)
