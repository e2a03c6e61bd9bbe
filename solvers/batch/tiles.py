"""Several time steps over rows that stay in the cache: skewed tiles of a matrix of small bandwidth.

A tile is a range of rows. Within it step k stops short of step k - 1 by as many rows as its products reach ahead, so
that all they need is there, and nothing that another row still needs has been overwritten; the next tile goes on from
there. The matrix and both levels are then read from memory once for all steps of a sweep. Numbers are those of plain
steps, bit for bit.

Source: Wonnacott 2000, Using time skewing to eliminate idle time due to memory bandwidth, IPDPS; Wellein, Hager,
Zeiser, Wittmann, Fehske 2009, Efficient temporal blocking for stencil computations, COMPSAC.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

DEPTH = 16
"""Steps of a sweep, where the bandwidth allows it."""

ROWS = 2048
"""Rows of a tile in its first step."""

STENCIL_WIDTH = 16384
"""Rows beside a tile that a sweep may keep at hand: one and a half megabytes of a line's two levels and its entries."""


def last_coupled(matrix: sp.csr_matrix) -> NDArray[np.int64]:
    """For each row the last row that it, or a row before it, is coupled to, shape ``(num_rows,)``; rising.

    Args:
        matrix: Square; an entry couples its row and its column both ways.
    """
    num_rows = matrix.shape[0]
    entries = matrix.tocoo()
    last = np.arange(num_rows, dtype=np.int64)
    np.maximum.at(last, entries.row, entries.col)
    np.maximum.at(last, entries.col, entries.row)
    return np.maximum.accumulate(last)


def skewed_tiles(ahead: NDArray[np.int64], *, rows: int = ROWS, depth: int | None = None) -> NDArray[np.int32]:
    """Ends of the tiles in each step of a sweep, shape ``(num_tiles, depth)``.

    Args:
        ahead: As `last_coupled` gives it.
        rows: Rows of a tile in its first step.
        depth: Steps of a sweep; as many as keep its rows within `STENCIL_WIDTH` by default, `DEPTH` at most, and one
            where that is less than two.
    """
    num_rows = len(ahead)
    if depth is None:
        width = max(1, int((ahead - np.arange(num_rows)).max(initial=0)))
        depth = min(DEPTH, max(1, STENCIL_WIDTH // width))
    if depth < 2:
        return np.array([[num_rows]], dtype=np.int32)
    ends = np.empty((max(1, -(-num_rows // rows)), depth), dtype=np.int32)
    ends[:, 0] = np.minimum((1 + np.arange(len(ends))) * rows, num_rows)
    for step in range(1, depth):
        ends[:, step] = np.searchsorted(ahead, ends[:, step - 1])  # rows before it reach less far
    ends[-1] = num_rows
    return ends
