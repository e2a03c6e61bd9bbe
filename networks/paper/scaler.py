"""Standardisation of inputs and targets; its numbers are buffers of the model and travel with the weights."""

from collections.abc import Sequence

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
        num_fields, num_levels, num_nodes: shape of a target (field, time, node).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, num_fields: int, num_levels: int, num_nodes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_fields, num_levels, num_nodes))
        self.register_buffer("scale", torch.ones(num_fields, num_levels, 1))

    def fit(self, targets: Tensor) -> None:
        """Take the statistics from the training split.

        Args:
            targets: (sample, field, time, node).

        Raises:
            ValueError: another shape, or values that are not finite.
        """
        _check(targets, (len(targets), *self.mean.shape), "targets")
        for number in range(targets.shape[1]):  # one by one: float64 of all would be twice the data
            values = targets[:, number].double()
            mean = values.mean(0)
            variance = (values - mean).square_().mean((0, 2))  # (time,)
            scale = (variance + FLOOR**2 * variance.mean()).sqrt()
            self.mean[number].copy_(mean)
            self.scale[number].copy_(torch.where(scale > 0, scale, 1.0)[:, None])

    def forward(self, fields: Tensor) -> Tensor:
        """Map physical fields (batch, field, time, node) to scores."""
        return (fields - self.mean) / self.scale

    def inverse(self, scores: Tensor, levels: Tensor | None = None, fields: Sequence[int] | None = None) -> Tensor:
        """Map scores to physical fields.

        Args:
            scores: (batch, field, level, node).
            levels: integer (level,) or (batch, level), those of the scores; None for all.
            fields: numbers of the fields of the scores; None for all.
        """
        mean, scale = self.mean, self.scale
        if fields is not None:  # stacked views: an index of numbers would wait for the device
            mean, scale = torch.stack([mean[i] for i in fields]), torch.stack([scale[i] for i in fields])
        if levels is not None:
            mean, scale = mean[:, levels], scale[:, levels]
            if levels.ndim == 2:
                mean, scale = mean.transpose(0, 1), scale.transpose(0, 1)
        return torch.addcmul(mean, scores, scale)


def _check(values: Tensor, shape: tuple[int, ...], name: str) -> None:
    if tuple(values.shape) != shape or len(values) == 0:
        raise ValueError(
            f"{name} must have shape (samples, {', '.join(map(str, shape[1:]))}), got {tuple(values.shape)}"
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} hold values that are not finite; check the dataset")
