"""From a coarse image to the levels and nodes wanted, by one trainable matrix an axis."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


def cubic_matrix(num_coarse: int, num_fine: int, *, closed: bool) -> np.ndarray:
    """Matrix (num_fine, num_coarse) of four-point Lagrange interpolation, exact for cubics.

    Args:
        num_coarse, num_fine: points of uniform grids; on an open axis both hold the two ends, on a closed one
            both start at 0 and the last point is followed by the first.
        closed: whether the axis is periodic.
    """
    position = np.arange(num_fine) * (num_coarse / num_fine if closed else (num_coarse - 1) / max(num_fine - 1, 1))
    width = min(4, num_coarse)
    first = np.floor(position).astype(int) - (width - 1) // 2
    if not closed:
        first = np.clip(first, 0, num_coarse - width)
    nodes = first[:, None] + np.arange(width)  # (num_fine, width)
    matrix = np.zeros((num_fine, num_coarse))
    for i in range(width):
        others = [j for j in range(width) if j != i]
        weight = np.prod([(position - nodes[:, j]) / (nodes[:, i] - nodes[:, j]) for j in others], axis=0)
        matrix[np.arange(num_fine), nodes[:, i] % num_coarse] += weight
    return matrix


class Resample(nn.Module):
    """Interpolation from one grid to another, axis by axis; the matrices are trained further.

    Args:
        coarse, fine: points of either grid, one number an axis.
        closed: axes that are periodic.

    Raises:
        ValueError: grids with different numbers of axes.
    """

    def __init__(self, coarse: Sequence[int], fine: Sequence[int], closed: Sequence[int] = ()) -> None:
        super().__init__()
        if len(coarse) != len(fine):
            raise ValueError(f"both grids need the same number of axes, got {tuple(coarse)} and {tuple(fine)}")
        self.matrices = nn.ParameterList(
            nn.Parameter(torch.as_tensor(cubic_matrix(few, many, closed=axis in closed)).float())
            for axis, (few, many) in enumerate(zip(coarse, fine, strict=True))
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map (..., coarse axes) to (..., axes)."""
        num_axes = len(self.matrices)
        for axis, matrix in enumerate(self.matrices):
            before, after = image.shape[: image.ndim - num_axes + axis], image.shape[image.ndim - num_axes + axis + 1 :]
            if after:  # the axes behind it as one
                folded = image.reshape(*before, matrix.shape[1], math.prod(after))
                image = (matrix @ folded).view(*before, matrix.shape[0], *after)
            else:
                image = image @ matrix.T
        return image
