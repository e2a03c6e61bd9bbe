"""What training makes small, in standard scores."""

from torch import Tensor


def mean_square(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean square difference of standardised fields (batch, field, time, arc), a scalar."""
    return (predicted - target).square().mean()


def mean_absolute(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of standardised fields (batch, field, time, arc), a scalar.

    The numerator of the error indicator of [A] eq. 22.
    """
    return (predicted - target).abs().mean()


LOSSES = {"mean_square": mean_square, "mean_absolute": mean_absolute}
