"""Rows of a matrix that are alike: the same values at the same distances from the diagonal, row after row.

A uniform mesh gives long stretches of them, whatever the element and however the mesh was made; elsewhere there are
none, and nothing is lost by looking. The compiled steps read the matrix once for a stretch: they become a stencil.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

COUNTS = range(4, 10)
"""Entries of a row for which there is compiled code."""

LEAST = 8
"""Rows of a stretch from which on it pays."""


def like_rows(matrix: sp.csr_matrix, num_rows: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Stretches of the first rows of a matrix.

    Args:
        matrix: Its entries in order.
        num_rows: Rows that are looked at, from the first on.

    Returns:
        The end of each stretch, ascending, the last being ``num_rows``; and how many entries each of its rows has where
        all rows are alike, 0 where they are not.
    """
    counts = np.diff(matrix.indptr)[:num_rows].astype(np.int64)
    like = _like_the_row_before(matrix, counts)
    begins = np.flatnonzero(~like)  # of rows that are alike
    ends = np.append(begins[1:], num_rows)
    long = (ends - begins >= LEAST) & np.isin(counts[begins], np.array(COUNTS))
    kept = np.append(long[1:] | long[:-1], True) if len(long) else long  # neighbours that are not long become one
    numbers = np.where(long, counts[begins], 0)
    return ends[kept].astype(np.int32), numbers[kept].astype(np.int32)


def _like_the_row_before(matrix: sp.csr_matrix, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row has the values of the one before it, at the same distances."""
    num_rows = len(counts)
    like = np.zeros(num_rows, dtype=bool)
    like[1:] = counts[1:] == counts[:-1]
    row = np.repeat(np.arange(num_rows), counts)
    entry = np.flatnonzero(like[row])
    before = entry - counts[row[entry]]
    distance = matrix.indices[: len(row)].astype(np.int64) - row
    same = (matrix.data[entry] == matrix.data[before]) & (distance[entry] == distance[before])
    like[np.unique(row[entry[~same]])] = False
    return like
