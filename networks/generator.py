"""The boundary generators of [A], built from one specification.

A generator maps a parameter vector to fields on the closed curve Gamma over the whole history, as an image of
(field, time, arc). Its trunk is a small fully connected stem followed by convolutions on grids that double
from stage to stage; its heads, one a field, bring the last grid to the levels and nodes wanted.

Source: Boukraichi et al., "A priori compression of convolutional neural networks for wave simulators", [A]
section 4 (eq. 20: shared layers) and 6 (the grid of models).
"""

import dataclasses
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.layers import DecomposedConv, DenseConv
from networks.resample import Resample
from networks.scaler import InputScaler, TargetScaler

FIELDS = ("displacement", "velocity", "load")
ARC_AXIS = 1
"""Axes of the image are (time, arc); arc is closed."""


@dataclasses.dataclass(frozen=True)
class GeneratorSpec:
    """Everything that determines a generator but its numbers.

    Attributes:
        num_levels, num_arc: shape of the image: time levels, nodes of the one closed loop Gamma.
        fields: outputs, in this order; some of "displacement", "velocity", "load".
        num_parameters: length of a parameter vector, 3 for (omega, x_s, y_s).
        time, space, target, split: the point of the grid of [A] section 6; `split` says which kernel axes are
            decomposed. `named` fills them.
        shared: one trunk for all fields ([A] eq. 20), or one each.
        batch_norm: normalise after each convolution of the trunk.
        coarse: time levels and arc nodes of the first grid; each further stage doubles both.
        widths: channels of each stage.
        depth: convolutions of each stage.
        kernel_size: taps along time and arc.
        stem: width of the fully connected layer before the first grid.
    """

    num_levels: int
    num_arc: int
    fields: tuple[str, ...] = ("displacement", "velocity")
    num_parameters: int = 3
    time: Literal["sampled", "local", "global"] = "local"
    space: Literal["local", "global"] = "local"
    target: Literal["zone", "boundary"] = "boundary"
    split: Literal["none", "time", "all"] = "time"
    shared: bool = True
    batch_norm: bool = False
    coarse: tuple[int, int] = (16, 8)
    widths: tuple[int, ...] = (64, 64, 64)
    depth: int = 2
    kernel_size: tuple[int, int] = (3, 3)
    stem: int = 32

    def __post_init__(self) -> None:
        for name in ("fields", "coarse", "widths", "kernel_size"):  # JSON brings lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if (
            not self.fields
            or len(set(self.fields)) != len(self.fields)
            or not set(self.fields) <= set(FIELDS)
        ):
            raise ValueError(f"fields must be distinct and among {', '.join(FIELDS)}, got {self.fields!r}")
        counts = {
            "num_levels": (self.num_levels,),
            "num_arc": (self.num_arc,),
            "num_parameters": (self.num_parameters,),
            "coarse": self.coarse,
            "widths": self.widths,
            "depth": (self.depth,),
            "kernel_size": self.kernel_size,
            "stem": (self.stem,),
        }
        for name, values in counts.items():
            if not values or any(type(v) is not int or v < 1 for v in values):
                raise ValueError(f"{name} must be positive integers, got {getattr(self, name)!r}")
        for name in ("coarse", "kernel_size"):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"{name} must hold two integers (time, arc), got {getattr(self, name)!r}")
        if self.num_levels < 4 or self.num_arc < 4:
            raise ValueError(
                f"an image needs 4 levels and 4 nodes at least, got {self.num_levels} x {self.num_arc}"
            )

    @classmethod
    def named(cls, model: str, *, num_levels: int, num_arc: int, **options: Any) -> Self:
        """The specification of a model by its name.

        Args:
            model: "conv2d-boundary" (dense kernels) or "conv1.5d-boundary" (time split off).
            num_levels, num_arc, options: the other attributes.

        Raises:
            ValueError: an unknown model or a bad value.
        """
        if model not in MODELS:
            raise ValueError(f"unknown model {model!r}; there are {', '.join(MODELS)}")
        time, space, target, split = MODELS[model]
        return cls(num_levels, num_arc, time=time, space=space, target=target, split=split, **options)  # type: ignore[arg-type]

    @property
    def model(self) -> str:
        """The model's name.

        Raises:
            ValueError: no model stands at this point of the grid.
        """
        point = (self.time, self.space, self.target, self.split)
        for name, known in MODELS.items():
            if known == point:
                return name
        raise ValueError(
            f"no model is built for time={self.time!r}, space={self.space!r}, target={self.target!r}, "
            f"split={self.split!r}; there are {', '.join(MODELS)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            ValueError: an unknown or missing key, or a bad value.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown entries in a generator's specification: {', '.join(unknown)}")
        if missing := sorted({"num_levels", "num_arc"} - set(values)):
            raise ValueError(f"missing entries in a generator's specification: {', '.join(missing)}")
        return cls(**values)


MODELS: dict[str, tuple[str, str, str, str]] = {
    "conv2d-boundary": ("local", "local", "boundary", "none"),
    "conv1.5d-boundary": ("local", "local", "boundary", "time"),
}
"""Points (time, space, target, split) of the grid of [A] section 6 that are built."""


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


class Trunk(nn.Module):
    """From standardised parameters to features on the last grid ([A] eq. 20: N_s)."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.first = (spec.widths[0], *spec.coarse)
        self.stem = nn.Sequential(
            nn.Linear(spec.num_parameters, spec.stem), nn.Tanh(),
            nn.Linear(spec.stem, spec.stem), nn.Tanh(),
            nn.Linear(spec.stem, spec.widths[0] * spec.coarse[0] * spec.coarse[1]),
        )  # fmt: skip
        self.stages = nn.ModuleList()
        channels = spec.widths[0]
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
        return cast(Tensor, self.target_scaler.inverse(self.standardised(parameters)))


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
