"""Convolution over (time, y, x) split over its axes, every factor combining all channels.

The decomposition of [A] section 3.4 with "more channels in the decomposed kernels" in place of more singular values:
a kernel of 5 x 3 x 3 taps becomes 3 x 3 taps in space and 5 in time (Conv2.5D), or three one-way factors (Conv2.5Db).
Measured on one core at the sizes of the family, forward and backward, this form is 1.7 to 3 times faster than
depthwise factors of the same number of weights, whose many channels are bound by memory.

Source: Boukraichi et al., "A priori compression of convolutional neural networks for wave simulators", [A]
section 3.4 (eq. 14, 19).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.core.rebuildable import Rebuildable

TIME, Y, X = 0, 1, 2
SPACE_THEN_TIME = ((Y, X), (TIME,))
ONE_BY_ONE = ((X,), (Y,), (TIME,))


class SplitConv(Rebuildable):
    """A 3D convolution as successive factors over groups of axes; zeros outside, sizes kept.

    Args:
        in_channels, out_channels: channels.
        kernel_size: odd taps along time, y and x.
        groups: axes of each factor, in their order: `SPACE_THEN_TIME` or `ONE_BY_ONE`.
        between: channels between the factors, per channel of the thinner side.
        bias: whether to add one number per output channel.

    Raises:
        ValueError: an even kernel, or groups that do not hold each axis once.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        groups: Sequence[Sequence[int]],
        *,
        between: float = 1.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if len(kernel_size) != 3 or any(k < 1 or k % 2 == 0 for k in kernel_size):
            raise ValueError(f"a split kernel needs three odd sizes (time, y, x), got {tuple(kernel_size)!r}")
        self.groups = tuple(tuple(group) for group in groups)
        if self.groups not in (SPACE_THEN_TIME, ONE_BY_ONE):
            raise ValueError(f"groups must be {SPACE_THEN_TIME} or {ONE_BY_ONE}, got {self.groups}")
        middle = max(1, round(between * min(in_channels, out_channels)))
        self.factors = nn.ParameterList()
        for step, group in enumerate(self.groups):
            channels = in_channels if step == 0 else middle
            following = out_channels if step == len(self.groups) - 1 else middle
            if group == (TIME,):
                taps = (kernel_size[TIME], 1)
            else:
                taps = (kernel_size[Y] if Y in group else 1, kernel_size[X] if X in group else 1)
            bound = math.sqrt(3 / (channels * math.prod(taps)))
            self.factors.append(nn.Parameter(torch.empty(following, channels, *taps).uniform_(-bound, bound)))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, time, y, x) to (batch, out_channels, time, y, x).

        Axes beside the convolved ones are folded into the batch or into each other, so that every factor is a 2D
        convolution on a channels_last tensor; or the dense kernel does it at once, where `execution` is "dense".

        Raises:
            ValueError: `execution` is neither "factorised" nor "dense".
        """
        if self.execution == "dense":
            weight = self.cached("dense", tuple(self.factors), self.dense_kernel)
            return functional.conv3d(x, weight, self.bias, padding="same")
        if self.execution != "factorised":
            raise self.unknown_execution()
        batch, _, num_time, num_y, num_x = x.shape
        x = x.permute(0, 2, 3, 4, 1)  # (batch, time, y, x, channel): contiguous when x is channels_last_3d
        for step, (group, factor) in enumerate(zip(self.groups, self.factors, strict=True)):
            channels, following = factor.shape[1], factor.shape[0]
            if group == (TIME,):
                folded = x.reshape(batch, num_time, num_y * num_x, channels)
            else:
                folded = x.reshape(batch * num_time, num_y, num_x, channels)
            bias = self.bias if step == len(self.groups) - 1 else None
            margin = (factor.shape[2] // 2, factor.shape[3] // 2)
            y = functional.conv2d(folded.permute(0, 3, 1, 2), factor, bias, padding=margin)
            x = y.permute(0, 2, 3, 1).reshape(batch, num_time, num_y, num_x, following)
        return x.permute(0, 4, 1, 2, 3)

    def dense_kernel(self) -> Tensor:
        """The kernel (out_channels, in_channels, time, y, x) of the dense layer that this one equals."""
        full = [
            factor.unsqueeze(4) if group == (TIME,) else factor.unsqueeze(2)
            for group, factor in zip(self.groups, self.factors, strict=True)
        ]
        kernel = full[0]
        for factor in full[1:]:  # each axis has its taps in one of the two, so broadcasting makes the product
            kernel = torch.einsum("omtyx,mctyx->octyx", *_spread(factor, kernel))
        return kernel


def _spread(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both kernels on the taps of either."""
    taps = [max(m, n) for m, n in zip(a.shape[2:], b.shape[2:], strict=True)]
    return a.expand(*a.shape[:2], *taps), b.expand(*b.shape[:2], *taps)
