"""Convolutions with one padding rule, for 1 to 3 dimensions: by a dense kernel, or along one axis.

Images are (batch, channel, axes...); axes are counted from 0 after the channel.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from networks.core.padding import Extents, pad_axis

_CONV: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def dense_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, widths: Extents, circular: frozenset[int]
) -> Tensor:
    """Convolve by a dense kernel (out, in, taps...), circular on some axes and zero-padded on the others."""
    padding = []
    for axis, width in enumerate(widths):
        margin = own_margin(width, axis in circular)
        padding.append(margin or 0)
        x = pad_axis(x, axis + 2, width, axis in circular) if margin is None else x
    return _CONV[len(widths)](x, weight, bias, padding=tuple(padding))


def own_margin(width: tuple[int, int], circular: bool) -> int | None:
    """Zeros that a convolution itself adds on both sides; None where the image has to be padded before."""
    return None if circular or width[0] != width[1] else width[0]


def one_way(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    axis: int,
    width: tuple[int, int],
    circular: bool,
    groups: int,
) -> Tensor:
    """Convolve along one axis by a kernel (out, in per group, taps).

    Three dimensions are folded into two, which are views of a channels_last tensor and cheaper than conv3d.
    """
    num_dims = x.ndim - 2
    margin = own_margin(width, circular)
    if margin is None:
        x, margin = pad_axis(x, axis + 2, width, circular), 0
    if num_dims == 1:
        return functional.conv1d(x, kernel, bias, padding=margin, groups=groups)
    if num_dims == 3:
        return _one_way_folded(x, kernel, bias, axis, margin, groups)
    if axis == 0:
        return functional.conv2d(x, kernel.unsqueeze(3), bias, padding=(margin, 0), groups=groups)
    return functional.conv2d(x, kernel.unsqueeze(2), bias, padding=(0, margin), groups=groups)


def _one_way_folded(x: Tensor, kernel: Tensor, bias: Tensor | None, axis: int, margin: int, groups: int) -> Tensor:
    """`one_way` for three axes: the axes beside the convolved one are joined, or folded into the batch."""
    batch, channels, n0, n1, n2 = x.shape
    last = x.permute(0, 2, 3, 4, 1)  # (batch, axes..., channel): contiguous when x is channels_last_3d
    shape: tuple[int, ...]
    if axis == 0:
        folded, shape, along = last.reshape(batch, n0, n1 * n2, channels), (batch, -1, n1, n2), 0
    elif axis == 1:
        folded, shape, along = last.reshape(batch * n0, n1, n2, channels), (batch, n0, -1, n2), 0
    else:
        folded, shape, along = last.reshape(batch, n0 * n1, n2, channels), (batch, n0, n1, -1), 1
    out = one_way(folded.permute(0, 3, 1, 2), kernel, bias, along, (margin, margin), False, groups)
    out = out.permute(0, 2, 3, 1)
    return out.reshape(*shape, out.shape[-1]).permute(0, 4, 1, 2, 3)
