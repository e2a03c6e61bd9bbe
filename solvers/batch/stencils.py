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

DIFFERENT, DAMPED = 0, -1
"""Kinds of stretches whose rows are not alike: those without damping need not read a factor of the level before."""


def like_rows(
    matrix: sp.csr_matrix, ratio: NDArray[np.float64], *, stencils: bool = True
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Stretches of the rows of ``u⁺ = A u − d u⁻`` that are stepped in one way.

    Args:
        matrix: A, its entries in order.
        ratio: d, shape ``(num_rows,)``.
        stencils: Look for rows that are alike; otherwise only those with and without damping are told apart.

    Returns:
        The end of each stretch, ascending, the last being the number of rows; and the number of entries of each of its
        rows where all rows are alike, elsewhere `DIFFERENT` or, where some d is not 1, `DAMPED`.
    """
    num_rows = matrix.shape[0]
    counts = np.diff(matrix.indptr).astype(np.int64)
    kinds = np.where(ratio == 1.0, DIFFERENT, DAMPED)
    if stencils:
        begins = np.flatnonzero(~_like_the_row_before(matrix, counts, ratio))
        lengths = np.diff(np.append(begins, num_rows))
        pays = (lengths >= LEAST) & np.isin(counts[begins], np.array(COUNTS))
        kinds = np.where(np.repeat(pays, lengths), counts, kinds)
        parts = np.repeat(np.cumsum(pays), lengths)  # stretches side by side with as many entries stay apart
    else:
        parts = np.zeros(num_rows, dtype=np.int64)
    ends = np.append(np.flatnonzero((np.diff(kinds) != 0) | (np.diff(parts) != 0)) + 1, num_rows)
    ends = ends[ends > 0]
    return ends.astype(np.int32), kinds[ends - 1].astype(np.int32)


def _like_the_row_before(
    matrix: sp.csr_matrix, counts: NDArray[np.int64], ratio: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Mark the rows with the values of the one before, at the same distances, and with its damping."""
    num_rows = len(counts)
    like = np.zeros(num_rows, dtype=bool)
    like[1:] = (counts[1:] == counts[:-1]) & (ratio[1:] == ratio[:-1])
    row = np.repeat(np.arange(num_rows), counts)
    entry = np.flatnonzero(like[row])
    before = entry - counts[row[entry]]
    distance = matrix.indices.astype(np.int64) - row
    same = (matrix.data[entry] == matrix.data[before]) & (distance[entry] == distance[before])
    like[np.unique(row[entry[~same]])] = False
    return like
