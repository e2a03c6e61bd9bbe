"""The generators of [A], built from one specification.

A generator maps a parameter vector to fields over time and nodes: those of the closed curve Gamma (boundary) or of
the whole zone. Its trunk or trunks make features, its heads, one a field, make the fields.

Source: Boukraichi et al., "A priori compression of convolutional neural networks for wave simulators", [A]
section 4 (eq. 20: shared layers) and 6 (the grid of models).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from networks.execution.graphs import Replayable
from networks.paper.scaler import InputScaler, TargetScaler
from networks.paper.spec import GeneratorSpec
from networks.paper.trunks import ConvHead, ConvTrunk, FullHead, FullTrunk, Monomials, SampledTime

CHUNK = 64
"""Levels of one pass of a model whose time is sampled, as a zone run asks for them."""


class BoundaryGenerator(Replayable):
    """Parameters to fields on the nodes of Gamma or of the zone, in physical units; scalers are buffers.

    Args:
        spec: what to build.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.model = spec.model
        self.spec = spec
        self.input_scaler = InputScaler(spec.num_parameters)
        self.target_scaler = TargetScaler(len(spec.fields), spec.num_levels, spec.num_arc)
        self.monomials = Monomials()
        self.sampled_time = SampledTime(spec.num_levels, spec.time_features) if spec.time == "sampled" else None
        trunk, head = (FullTrunk, FullHead) if spec.space == "global" else (ConvTrunk, ConvHead)
        self.trunks = nn.ModuleList(trunk(spec) for _ in (spec.fields[:1] if spec.shared else spec.fields))
        self.heads = nn.ModuleList(head(spec) for _ in spec.fields)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def linear_positions(self) -> dict[str, int]:
        """Points of the image that a fully connected layer makes, by the layer's name; channels come last in it.

        The last layer of a convolutional trunk's stem makes the first grid. A layer that is not named makes no image.
        """
        points = math.prod(self.spec.coarse)
        return {
            f"trunks.{number}.stem.{len(trunk.stem) - 1}": points
            for number, trunk in enumerate(self.trunks)
            if isinstance(trunk, ConvTrunk)
        }

    def standardised(
        self, parameters: Tensor, levels: Tensor | None = None, fields: Sequence[int] | None = None
    ) -> Tensor:
        """Standard scores of the fields.

        A model whose time is sampled evaluates the levels asked for only; any other makes the whole history first.

        Args:
            parameters: (batch, parameter), physical.
            levels: integer (level,), or (batch, level) for levels of each entry's own; None for all.
            fields: numbers of the fields wanted; None for all.

        Returns:
            (batch, field, level, node).
        """
        scores = self.monomials(self.input_scaler(parameters))
        wanted = range(len(self.heads)) if fields is None else fields
        if self.sampled_time is None:
            whole = self._fields(scores, wanted)
            return whole if levels is None else _at_levels(whole, levels)
        if levels is None:
            levels = torch.arange(self.spec.num_levels, device=parameters.device)
        num_entries, num_levels = len(parameters), levels.shape[-1]
        times = self.sampled_time(levels.reshape(-1))
        if levels.ndim == 1:
            times = times.repeat(num_entries, 1)
        found = self._fields(torch.cat((scores.repeat_interleave(num_levels, 0), times), 1), wanted)
        return found.view(num_entries, num_levels, len(wanted), self.spec.num_arc).transpose(1, 2)

    def example(self) -> tuple[Tensor, ...]:
        """Inputs for one source amid its training; with some levels, where time is sampled."""
        parameters = self.input_scaler.mean[None]
        if self.sampled_time is None:
            return (parameters,)
        return parameters, torch.arange(min(CHUNK, self.spec.num_levels), device=parameters.device)

    @torch.no_grad()
    def scale_trunks(self, factor: float) -> None:
        """Scale the weights that make and carry the trunks' grids, in place; biases and heads stay."""
        for name, parameter in self.trunks.named_parameters():
            if parameter.ndim > 1 and ("stages" in name or "stem.2" in name):
                parameter.mul_(factor)

    def forward(self, parameters: Tensor, levels: Tensor | None = None) -> Tensor:
        """Physical fields (batch, field, level, node) for physical parameters; arguments as of `standardised`."""
        found = self.replayed(parameters) if levels is None else self.replayed(parameters, levels)
        return self.evaluated(parameters, levels) if found is None else found

    def evaluated(self, parameters: Tensor, levels: Tensor | None = None) -> Tensor:
        """As `forward`, each operation launched by itself."""
        return self.target_scaler.inverse(self.standardised(parameters, levels), levels)

    def _fields(self, features: Tensor, wanted: Sequence[int]) -> Tensor:
        """Map features (batch, feature) to (batch, field, time, node)."""
        made: dict[int, Tensor] = {}
        outputs = []
        for number in wanted:
            source = 0 if self.spec.shared else number
            if source not in made:
                made[source] = self.trunks[source](features)
            outputs.append(self.heads[number](made[source]))
        return torch.stack(outputs, 1)


def build(spec: GeneratorSpec) -> BoundaryGenerator:
    """Build the model of a specification, its weights drawn from torch's current seed."""
    return BoundaryGenerator(spec)


def _at_levels(history: Tensor, levels: Tensor) -> Tensor:
    """Take levels (level,) or (batch, level) from (batch, field, time, node)."""
    if levels.ndim == 1:
        return history[:, :, levels]
    index = levels[:, None, :, None].expand(-1, history.shape[1], -1, history.shape[3])
    return history.gather(2, index)
