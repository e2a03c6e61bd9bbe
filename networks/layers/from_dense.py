"""One-way kernels of a dense kernel by singular values: [A] section 3.3, eq. 9-12."""

from collections.abc import Sequence

import torch
from torch import Tensor


def one_way_kernels(weight: Tensor, axes: Sequence[int], rank: int) -> list[Tensor]:
    """One-way kernels (out, in per group, taps) of each factor, by eq. 9-12, in the order of `axes`."""
    num_out, num_in = weight.shape[:2]
    taps = [weight.shape[2 + a] for a in axes]
    # (in, taps in order..., out): a term's channel counts (in, slices..., pair), as depthwise factors do
    kernel = weight.permute(1, *(2 + a for a in axes), 0)
    if len(axes) == 1:
        return [kernel.permute(2, 0, 1)]
    matrix = kernel.reshape(-1, taps[-2], taps[-1] * num_out).double()
    left, sigma, right = torch.linalg.svd(matrix, full_matrices=False)
    terms = min(rank, sigma.shape[-1])
    root = sigma[:, :terms].sqrt()
    first = (left[:, :, :terms] * root[:, None]).permute(0, 2, 1).reshape(-1, 1, taps[-2])
    combine = (right[:, :terms] * root[..., None]).reshape(-1, taps[-1], num_out).permute(2, 0, 1)
    factors, channels = [], num_in
    for size in taps[:-2]:  # eq. 11: the slices' kernels are the rows of the identity
        factors.append(torch.eye(size, dtype=matrix.dtype, device=weight.device).repeat(channels, 1)[:, None])
        channels *= size
    return [f.to(weight) for f in (*factors, first, combine)]
