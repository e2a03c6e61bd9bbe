"""Losses: differences in standard scores, and the residual of the Euler regularisation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from networks.paper.catalogue import NO_EULER_WITH_BATCH_NORM
from networks.paper.generator import BoundaryGenerator
from networks.paper.spec import GeneratorSpec


def mean_absolute(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of standardised fields (batch, field, time, node), a scalar.

    The numerator of the error indicator of [A] eq. 22.
    """
    return (predicted - target).abs().mean()


class EulerResidual:
    """Mean square of du/dt - v over the interior levels, in units of the velocity's own deviation.

    du/dt is the centred difference (u[n+1] - u[n-1]) / (2 dt), which is how the solver defines v, so the residual of
    an exact pair is zero. Predictions are taken back to physical units first: in standard scores, whose deviations
    differ from level to level, v is not the derivative of u. The result has no dimension, so its weight in a loss
    does not depend on units.

    Args:
        spec: of the generator; it predicts displacement and velocity and has no batch normalisation.
        dt: time between two levels.

    Raises:
        ValueError: batch normalisation, or a field is missing.

    Source: [A] section 5, eq. 21.
    """

    def __init__(self, spec: GeneratorSpec, dt: float) -> None:
        if spec.batch_norm:
            raise ValueError(NO_EULER_WITH_BATCH_NORM)
        if not {"displacement", "velocity"} <= set(spec.fields):
            raise ValueError(
                f"the Euler regularisation needs displacement and velocity among the fields, got {spec.fields!r}"
            )
        self.fields: Sequence[int] = (spec.fields.index("displacement"), spec.fields.index("velocity"))
        self.dt = dt

    def of_history(self, generator: BoundaryGenerator, scores: Tensor) -> Tensor:
        """The residual of whole histories in standard scores (batch, field, time, node), a scalar."""
        scaler = generator.target_scaler
        pair = torch.stack([scores[:, number] for number in self.fields], 1)
        u, v = scaler.inverse(pair, fields=self.fields).unbind(1)
        residual = (u[:, 2:] - u[:, :-2]) / (2 * self.dt) - v[:, 1:-1]
        return (residual / scaler.scale[self.fields[1], 1:-1]).square().mean()

    def at_levels(self, generator: BoundaryGenerator, parameters: Tensor, scores: Tensor, levels: Tensor) -> Tensor:
        """The residual of a model whose time is sampled; its displacement is evaluated at the neighbouring levels.

        Args:
            generator: the model.
            parameters: (batch, parameter), physical.
            scores: (batch, field, level, node), predicted at `levels`.
            levels: integer (batch, level); the first and the last of the history have one neighbour
                and count as zero.

        Returns:
            A scalar.
        """
        scaler, last = generator.target_scaler, generator.spec.num_levels - 1
        centre = levels.clamp(1, last - 1)
        neighbours = torch.cat((centre - 1, centre + 1), 1)
        around = generator.standardised(parameters, neighbours, self.fields[:1])
        before, after = scaler.inverse(around, neighbours, self.fields[:1])[:, 0].chunk(2, 1)
        v = scaler.inverse(scores[:, self.fields[1], None], levels, self.fields[1:])[:, 0]
        residual = ((after - before) / (2 * self.dt) - v) / scaler.scale[self.fields[1]][centre]
        inner = (levels == centre)[:, :, None]
        return (residual.square() * inner).mean()
