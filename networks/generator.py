"""The boundary generators of [A], built from one specification.

A generator maps a parameter vector to fields on the closed curve Gamma over the whole history, as an image of
(field, time, arc). Its trunk is a small fully connected stem followed by convolutions on grids that double
from stage to stage; its heads, one a field, bring the last grid to the levels and nodes wanted.

Source: Boukraichi et al., "A priori compression of convolutional neural networks for wave simulators", [A]
section 4 (eq. 20: shared layers) and 6 (the grid of models).
"""

import math
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.layers import DecomposedConv, DenseConv
from networks.resample import Resample
from networks.scaler import InputScaler, TargetScaler
from networks.spec import GeneratorSpec

ARC_AXIS = 1
"""Axes of the image are (time, arc); arc is closed."""


def closed_loop_size(loop: np.ndarray) -> int:
    """Number of nodes of Gamma, which must be one closed loop.

    Args:
        loop: (node,) integer, the loop that each node belongs to.

    Raises:
        ValueError: several loops, or none.
    """
    num_loops = len(np.unique(loop))
    if num_loops != 1:
        raise ValueError(
            f"a boundary generator needs a zone whose boundary is one closed loop, got {num_loops}; "
            "choose a zone without holes that does not touch the domain's boundary"
        )
    return len(loop)


class Block(nn.Module):
    """Convolution, batch normalisation if wanted, activation; a residual sum where channels agree."""

    def __init__(self, spec: GeneratorSpec, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = _convolution(spec, in_channels, out_channels, bias=not spec.batch_norm)
        self.norm = nn.BatchNorm2d(out_channels) if spec.batch_norm else nn.Identity()
        self.residual = in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, time, arc) to (batch, out_channels, time, arc)."""
        y = functional.gelu(self.norm(self.conv(x)))
        return x + y if self.residual else y


class Monomials(nn.Module):
    """The parameters and their products of two: fields bend with the parameters, and few samples show how."""

    def forward(self, scores: Tensor) -> Tensor:
        """Map (batch, n) to (batch, n + n (n + 1) / 2)."""
        rows, columns = torch.triu_indices(scores.shape[1], scores.shape[1], device=scores.device)
        return torch.cat((scores, scores[:, rows] * scores[:, columns] / 2), 1)


class Trunk(nn.Module):
    """From standardised parameters to features on the last grid ([A] eq. 20: N_s)."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.first = (spec.widths[0], *spec.coarse)
        num_features = spec.num_parameters * (spec.num_parameters + 3) // 2
        self.stem = nn.Sequential(
            Monomials(),
            nn.Linear(num_features, spec.stem),
            nn.Tanh(),
            nn.Linear(spec.stem, math.prod(self.first)),
        )
        self.stages = nn.ModuleList()
        channels = self.first[0]
        for width in spec.widths:
            blocks = [Block(spec, channels if i == 0 else width, width) for i in range(spec.depth)]
            self.stages.append(nn.Sequential(*blocks))
            channels = width

    def forward(self, scores: Tensor) -> Tensor:
        """Map (batch, parameter) to (batch, channel, time, arc) on the last grid."""
        channels, num_time, num_arc = self.first
        x = self.stem(scores).view(-1, num_time, num_arc, channels).permute(0, 3, 1, 2)  # channels_last
        for number, stage in enumerate(self.stages):
            x = stage(functional.interpolate(x, scale_factor=2.0, mode="nearest") if number else x)
        return cast(Tensor, x)


class Head(nn.Module):
    """From features to one field on Gamma ([A] eq. 20: N_d, N_v)."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.conv = _convolution(spec, spec.widths[-1], 1, bias=True)
        factor = 2 ** (len(spec.widths) - 1)
        grid = (spec.coarse[0] * factor, spec.coarse[1] * factor)
        self.resample = Resample(grid, (spec.num_levels, spec.num_arc))

    def forward(self, features: Tensor) -> Tensor:
        """Map (batch, channel, coarse time, coarse arc) to (batch, time, arc)."""
        return cast(Tensor, self.resample(self.conv(features)[:, 0]))


class BoundaryGenerator(nn.Module):
    """Parameters to fields on Gamma, in physical units; scalers are buffers.

    Args:
        spec: what to build.

    Raises:
        ValueError: a point of the grid that is not built.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.model = spec.model  # raises where no model stands
        self.spec = spec
        self.input_scaler = InputScaler(spec.num_parameters)
        self.target_scaler = TargetScaler(len(spec.fields), spec.num_levels, spec.num_arc)
        self.trunks = nn.ModuleList(Trunk(spec) for _ in (spec.fields[:1] if spec.shared else spec.fields))
        self.heads = nn.ModuleList(Head(spec) for _ in spec.fields)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def standardised(self, parameters: Tensor) -> Tensor:
        """Map physical parameters (batch, parameter) to standard scores (batch, field, time, arc)."""
        scores = self.input_scaler(parameters)
        features = [trunk(scores) for trunk in self.trunks]
        fields = [head(features[0 if self.spec.shared else i]) for i, head in enumerate(self.heads)]
        return torch.stack(fields, 1)

    def forward(self, parameters: Tensor) -> Tensor:
        """Map physical parameters (batch, parameter) to physical fields (batch, field, time, arc)."""
        return self.target_scaler.inverse(self.standardised(parameters))


def build(spec: GeneratorSpec) -> BoundaryGenerator:
    """Build the model of a specification, its weights drawn from torch's current seed.

    Raises:
        ValueError: a point of the grid that is not built.
    """
    return BoundaryGenerator(spec)


def _convolution(spec: GeneratorSpec, in_channels: int, out_channels: int, *, bias: bool) -> nn.Module:
    """The convolution of a specification's grid point, circular along the arc."""
    if spec.split == "none":
        return DenseConv(in_channels, out_channels, spec.kernel_size, circular=(ARC_AXIS,), bias=bias)
    return DecomposedConv(in_channels, out_channels, spec.kernel_size, circular=(ARC_AXIS,), bias=bias)
