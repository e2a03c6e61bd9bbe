"""Standardisation of inputs and targets; its numbers are buffers of the model and travel with the weights."""

import torch
from torch import Tensor, nn

FLOOR = 0.05
"""Smallest scale of a level as a fraction of the field's own: before the wave arrives all is almost still."""


class InputScaler(nn.Module):
    """Standard scores of the parameters.

    Args:
        num_parameters: length of a parameter vector.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, num_parameters: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_parameters))
        self.register_buffer("scale", torch.ones(num_parameters))

    def fit(self, parameters: Tensor) -> None:
        """Take mean and standard deviation from the training split.

        Args:
            parameters: (sample, parameter).

        Raises:
            ValueError: another shape, or values that are not finite.
        """
        _check(parameters, (len(parameters), *self.mean.shape), "parameters")
        values = parameters.double()
        self.mean.copy_(values.mean(0))
        spread = values.std(0, correction=0)
        self.scale.copy_(torch.where(spread > 1e-6 * values.abs().amax(0), spread, 1.0))

    def forward(self, parameters: Tensor) -> Tensor:
        """Map physical parameters (batch, parameter) to scores."""
        return (parameters - self.mean) / self.scale


class TargetScaler(nn.Module):
    """Standard scores of the fields: the mean at every level and node, one deviation per field and level.

    A deviation per level makes early levels, where the wave is weak, count as much as late ones, as the error
    indicator of [A] eq. 22 does.

    Args:
        num_fields, num_levels, num_arc: shape of a target (field, time, arc).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, num_fields: int, num_levels: int, num_arc: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_fields, num_levels, num_arc))
        self.register_buffer("scale", torch.ones(num_fields, num_levels, 1))

    def fit(self, targets: Tensor) -> None:
        """Take the statistics from the training split.

        Args:
            targets: (sample, field, time, arc).

        Raises:
            ValueError: another shape, or values that are not finite.
        """
        _check(targets, (len(targets), *self.mean.shape), "targets")
        values = targets.double()
        mean = values.mean(0)
        variance = (values - mean).square().mean((0, 3))  # (field, time)
        field = variance.mean(1, keepdim=True)
        scale = (variance + FLOOR**2 * field).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(scale > 0, scale, 1.0)[..., None])

    def forward(self, fields: Tensor) -> Tensor:
        """Map physical fields (batch, field, time, arc) to scores."""
        return (fields - self.mean) / self.scale

    def inverse(self, scores: Tensor) -> Tensor:
        """Map scores (batch, field, time, arc) to physical fields."""
        return torch.addcmul(self.mean, scores, self.scale)


def _check(values: Tensor, shape: tuple[int, ...], name: str) -> None:
    if tuple(values.shape) != shape or len(values) == 0:
        raise ValueError(
            f"{name} must have shape (samples, {', '.join(map(str, shape[1:]))}), got {tuple(values.shape)}"
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} hold values that are not finite; check the dataset")
