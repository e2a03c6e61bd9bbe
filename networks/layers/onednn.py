"""Factors of a layer over two axes on a CPU, without gradients: kernels kept in the format that oneDNN wants.

Torch brings a kernel into that format in each call, which on images of some hundred points takes about as long as the
convolution itself. Around a closed axis a factor per channel adds what comes round to a convolution that meets zeros
there: that spares the copy of the whole image that a continuation is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Kernel:
    """A one-way kernel, ready to be applied.

    Attributes:
        packed: in oneDNN's format.
        padding: zeros added on both sides of either axis.
        groups: of the convolution.
        dim: of the image along which it works, 2 or 3.
        round: taps (channel, 1, 1) that meet what comes round: those before the middle one, then those after it, each
            from the middle on; none where the axis is open or the image continued before.
    """

    packed: Tensor
    padding: tuple[int, int]
    groups: int
    dim: int
    round: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] = ((), ())


def available() -> bool:
    """True where this torch has the kernels."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")


def comes_round(kernel: Tensor, groups: int, width: tuple[int, int], closed: bool) -> bool:
    """True where `apply` continues the image around the axis: with a kernel a channel, where the size stays."""
    reach = (kernel.shape[2] - 1) / 2
    return closed and len(kernel) == groups and kernel.shape[1] == 1 and width == (reach, reach)


def prepare(
    kernel: Tensor, shape: Sequence[int], axis: int, margin: int, groups: int, *, closed: bool = False
) -> Kernel:
    """Make a kernel ready.

    Args:
        kernel: (out, in per group, tap).
        shape: of the images (batch, channel, two axes).
        axis: along which it works, 0 or 1.
        margin: zeros that the convolution itself adds on both sides of the axis.
        groups: channels that are convolved by themselves, or 1.
        closed: whether what comes round takes the place of the zeros; only where `comes_round` says so.
    """
    padding = (margin, 0) if axis == 0 else (0, margin)
    full = kernel.detach().unsqueeze(3 if axis == 0 else 2)
    packed = torch.ops.mkldnn._reorder_convolution_weight(full, padding, (1, 1), (1, 1), groups, list(shape))
    if not closed:
        return Kernel(packed, padding, groups, axis + 2)
    taps = kernel.detach()[:, 0].T.contiguous()[..., None, None].unbind(0)
    return Kernel(packed, padding, groups, axis + 2, (taps[:margin][::-1], taps[margin + 1 :]))


def apply(x: Tensor, kernel: Kernel, bias: Tensor | None) -> Tensor:
    """Map (batch, in, two axes) to (batch, out, two axes)."""
    out: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
        x, kernel.packed, bias, kernel.padding, (1, 1), (1, 1), kernel.groups, "none", [], ""
    )
    before, after = kernel.round
    dim, size = kernel.dim, x.shape[kernel.dim]
    for reach, (early, late) in enumerate(zip(before, after, strict=True), 1):
        out.narrow(dim, 0, reach).addcmul_(x.narrow(dim, size - reach, reach), early)
        out.narrow(dim, size - reach, reach).addcmul_(x.narrow(dim, 0, reach), late)
    return out
