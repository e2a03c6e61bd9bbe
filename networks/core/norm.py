"""Batch normalisation whose statistics are those of the whole batch, however many processes share it."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from networks.core.distributed import Group, sum_over_ranks


class BatchNorm(_BatchNorm):
    """Batch normalisation of (batch, channel, axes...) with any number of axes, none included.

    Torch's own version for several processes works on GPUs only; this one works wherever the processes are.
    """

    group: Group = Group()
    """Processes that share each batch; see `share_statistics`."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes will do."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise; collective over `group` while training."""
        if not self.training or self.group.size == 1:
            return super().forward(input)
        dims = [0, *range(2, input.ndim)]
        count = torch.full((1,), float(input.numel() // input.shape[1]), dtype=input.dtype, device=input.device)
        sums = sum_over_ranks(torch.cat((count, input.sum(dims))), self.group)
        mean = sums[1:] / sums[0]
        shape = (1, -1, *(1 for _ in range(2, input.ndim)))
        squares = (input - mean.view(shape)).square().sum(dims)
        variance = sum_over_ranks(squares, self.group) / sums[0]
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            cast(Tensor, self.running_mean).lerp_(mean, momentum)
            unbiased = variance * sums[0] / (sums[0] - 1).clamp(min=1.0)
            cast(Tensor, self.running_var).lerp_(unbiased, momentum)
            cast(Tensor, self.num_batches_tracked).add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (input - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)


def share_statistics(model: nn.Module, group: Group) -> None:
    """Let every batch normalisation of a model take its statistics over a group."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.group = group
