"""From a coarse (time, arc) image to the levels and nodes wanted, by one trainable matrix an axis."""

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
    """Interpolation from one (time, arc) grid to another, arc closed; the matrices are trained further.

    Args:
        coarse, fine: (time, arc) points of either grid.
    """

    def __init__(self, coarse: tuple[int, int], fine: tuple[int, int]) -> None:
        super().__init__()
        self.time = nn.Parameter(torch.as_tensor(cubic_matrix(coarse[0], fine[0], closed=False)).float())
        self.arc = nn.Parameter(torch.as_tensor(cubic_matrix(coarse[1], fine[1], closed=True)).float())

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, coarse time, coarse arc) to (batch, time, arc)."""
        return self.time @ image @ self.arc.T
