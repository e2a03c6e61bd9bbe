"""The parts of a generator: features of the parameters, trunks that all fields may share, heads of one field each.

A convolutional trunk is a small fully connected stem followed by stages of convolutions on grids that double from
stage to stage; its head brings the last grid to the levels and nodes wanted. A trunk without convolutions is a chain
of fully connected layers, its head another one.

Source: Boukraichi et al., "A priori compression of convolutional neural networks for wave simulators", [A]
section 4 (eq. 20: N_s is a trunk, N_d and N_v are heads) and 6.
"""

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.core.norm import BatchNorm
from networks.core.resample import Resample
from networks.layers.decomposed import DecomposedConv, DenseConv
from networks.layers.split import ONE_BY_ONE, SPACE_THEN_TIME, SplitConv
from networks.paper.spec import GeneratorSpec


class Monomials(nn.Module):
    """Parameters and their pairwise products: inputs of a trunk that make fields of second order easy to learn."""

    def forward(self, scores: Tensor) -> Tensor:
        """Map (batch, n) to (batch, n + n (n + 1) / 2)."""
        rows, columns = torch.triu_indices(scores.shape[1], scores.shape[1], device=scores.device)
        return torch.cat((scores, scores[:, rows] * scores[:, columns] / 2), 1)


class SampledTime(nn.Module):
    """Time of a level with its sines and cosines: inputs of a trunk, of which time alone would give slow changes only.

    Args:
        num_levels: of the history, which is scaled to [0, 1].
        num_frequencies: half waves over the history, 1 to this.
    """

    factors: Tensor

    def __init__(self, num_levels: int, num_frequencies: int) -> None:
        super().__init__()
        self.num_levels = num_levels
        factors = math.pi * torch.arange(1, num_frequencies + 1, dtype=torch.float32)
        self.register_buffer("factors", factors, persistent=False)

    def forward(self, levels: Tensor) -> Tensor:
        """Map levels (batch,) to features (batch, 1 + 2 num_frequencies)."""
        t = levels.to(self.factors.dtype)[:, None] / (self.num_levels - 1)
        angles = t * self.factors
        return torch.cat((2 * t - 1, angles.sin(), angles.cos()), 1)


class Block(nn.Module):
    """Convolution, batch normalisation if wanted, activation; a residual sum where channels agree."""

    def __init__(self, spec: GeneratorSpec, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = convolution(spec, in_channels, out_channels, bias=not spec.batch_norm)
        self.norm = BatchNorm(out_channels) if spec.batch_norm else nn.Identity()
        self.residual = in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, axes...) to (batch, out_channels, axes...)."""
        y = functional.gelu(self.norm(self.conv(x)))
        return x + y if self.residual else y


class ConvTrunk(nn.Module):
    """From features of the parameters to channels on the last grid."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.first = (spec.widths[0], *spec.coarse)
        self.stem = nn.Sequential(
            nn.Linear(num_features(spec), spec.stem), nn.Tanh(), nn.Linear(spec.stem, math.prod(self.first))
        )
        self.stages = nn.ModuleList()
        channels = self.first[0]
        for width in spec.widths:
            blocks = [Block(spec, channels if i == 0 else width, width) for i in range(spec.depth)]
            self.stages.append(nn.Sequential(*blocks))
            channels = width

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, feature) to (batch, channel, axes...) on the last grid."""
        channels, *axes = self.first
        x = self.stem(features).view(features.shape[0], *axes, channels)
        x = x.movedim(-1, 1)  # a view, and channels_last
        for number, stage in enumerate(self.stages):
            x = stage(functional.interpolate(x, scale_factor=2.0, mode="nearest") if number else x)
        return cast(Tensor, x)


class ConvHead(nn.Module):
    """From the last grid to one field: a convolution, then interpolation with trained weights."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.shape = (1 if spec.time == "sampled" else spec.num_levels, spec.num_arc)
        self.conv = convolution(spec, spec.widths[-1], spec.num_levels if spec.time == "global" else 1, bias=True)
        grid = [points * 2 ** (len(spec.widths) - 1) for points in spec.coarse]
        self.resample = Resample(grid, spec.image, closed=closed_axes(spec))

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, channel, axes...) to (batch, time, node); time has one level where it is sampled."""
        image = self.resample(self.conv(features))
        return cast(Tensor, image.reshape(features.shape[0], *self.shape))


class FullTrunk(nn.Sequential):
    """Fully connected layers: (batch, feature) to (batch, widths[-1])."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(*_layers(spec, (num_features(spec), *spec.widths)))


class FullHead(nn.Module):
    """Fully connected layers from the trunk's output to all nodes."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        widths = (spec.widths[-1], *spec.head_widths)
        self.hidden = nn.Sequential(*_layers(spec, widths))
        self.last = nn.Linear(widths[-1], spec.num_arc)

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, channel) to (batch, 1, node)."""
        return cast(Tensor, self.last(self.hidden(features)))[:, None]


def num_features(spec: GeneratorSpec) -> int:
    """Inputs of a trunk: monomials of the parameters, and those of a sampled time."""
    monomials = spec.num_parameters * (spec.num_parameters + 3) // 2
    return monomials + (1 + 2 * spec.time_features if spec.time == "sampled" else 0)


def closed_axes(spec: GeneratorSpec) -> tuple[int, ...]:
    """Axes of the image that are periodic: the arc."""
    return tuple(axis for axis, name in enumerate(spec.axes) if name == "arc")


def convolution(spec: GeneratorSpec, in_channels: int, out_channels: int, *, bias: bool) -> nn.Module:
    """The convolution of a specification's grid point, circular along the arc."""
    size, closed = spec.kernel_size, closed_axes(spec)
    if spec.split == "none":
        return DenseConv(in_channels, out_channels, size, circular=closed, bias=bias)
    if len(size) == 3:
        groups: Sequence[Sequence[int]] = SPACE_THEN_TIME if spec.split == "time" else ONE_BY_ONE
        return SplitConv(in_channels, out_channels, size, groups, between=spec.between, bias=bias)
    return DecomposedConv(in_channels, out_channels, size, circular=closed, bias=bias)


def _layers(spec: GeneratorSpec, widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers.append(nn.Linear(before, after, bias=not spec.batch_norm))
        layers += [BatchNorm(after)] if spec.batch_norm else []
        layers.append(nn.GELU())
    return layers
