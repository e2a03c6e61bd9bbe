"""A decomposed layer on a small image: shifted sums and one matrix product.

On an image of some hundred points a convolution of torch takes longer to set up than to do. Here a factor per channel
is a sum of shifted images, and the last factor, which combines the channels, is one product of a matrix of windows.

Images are (batch, axes..., channel), contiguous.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST = 2**15
"""Numbers of the largest image that is worth it where an axis is closed: on one core, with 64 to 128 channels, forward
is 1.1 to 1.7 times faster than by convolutions. Beyond it, or with open axes alone, the copies cost what is won."""


@dataclass(frozen=True)
class Way:
    """How one factor works; sizes stay.

    Attributes:
        dim: of the image (batch, axes..., channel).
        width: points added before and after; their sum is the number of taps less one.
        closed: whether the axis is periodic, or continued by zeros.
    """

    dim: int
    width: tuple[int, int]
    closed: bool


def layer(x: Tensor, ways: Sequence[Way], factors: Sequence[Tensor], bias: Tensor | None) -> Tensor:
    """The whole layer.

    Args:
        x: (batch, channel, axes...).
        ways: one a factor, in their order.
        factors: as `prepared` gives them.
        bias: (out,) or None.

    Returns:
        (batch, out, axes...), channels_last.
    """
    image = x.movedim(1, -1).contiguous()
    for way, kernel in zip(ways[:-1], factors[:-1], strict=True):
        seen = _windows(image, way)
        image = seen[0] * kernel[0]
        for tap in range(1, len(kernel)):
            image = torch.addcmul(image, seen[tap], kernel[tap])
    combine = factors[-1]
    rows = _windows(image, ways[-1]).movedim(0, -2).reshape(-1, combine.shape[0])  # (point, tap x channel)
    out = rows @ combine if bias is None else torch.addmm(bias, rows, combine)
    return out.view(*image.shape[:-1], -1).movedim(-1, 1)


def prepared(factors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Factors (out, in per group, tap) as `layer` wants them: (tap, channel), and the last (tap x channel, out)."""
    *channelwise, combine = factors
    flat = combine.permute(2, 1, 0).reshape(-1, combine.shape[0])
    return (*(factor[:, 0].T.contiguous() for factor in channelwise), flat.contiguous())


def _windows(image: Tensor, way: Way) -> Tensor:
    """What each tap meets: a view (tap, batch, axes..., channel) of the continued image."""
    dim, (before, after) = way.dim, way.width
    size = image.shape[dim]
    if way.closed:
        ends = image.narrow(dim, size - before, before), image.narrow(dim, 0, after)
    else:
        zeros = image.new_zeros(*image.shape[:dim], after, *image.shape[dim + 1 :])  # never fewer than before
        ends = zeros.narrow(dim, 0, before), zeros
    continued = torch.cat((ends[0], image, ends[1]), dim)
    strides = continued.stride()
    return continued.as_strided((before + after + 1, *image.shape), (strides[dim], *strides))
