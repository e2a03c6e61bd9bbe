"""Bytes of a step counted by hand, and the triad that they are held against."""

from __future__ import annotations

import numpy as np
import pytest

from solvers.batch.bandwidth import step_bytes, step_footprint, triad_bandwidth


def test_bytes_of_a_step_of_one_run() -> None:
    # 3 rows of a tridiagonal matrix: 7 values of 8 and columns of 4, 4 row starts of 4; u, u- and u+ of 3 numbers each
    assert step_bytes(3, 7, 1, 8) == 7 * 12 + 4 * 4 + 9 * 8 == 172


def test_the_matrix_is_read_once_for_all_runs() -> None:
    one, eight = step_bytes(5, 13, 1, 8), step_bytes(5, 13, 8, 8)
    assert eight - one == 7 * 3 * 5 * 8
    assert step_bytes(5, 13, 16, 4) == 13 * 8 + 6 * 4 + 3 * 5 * 16 * 4


def test_a_step_keeps_the_matrix_and_two_levels() -> None:
    assert step_footprint(3, 7, 1, 8) == 7 * 12 + 4 * 4 + 6 * 8


@pytest.mark.parametrize("footprint", [192, 10**6])
def test_the_triad_streams(footprint: int) -> None:
    found = triad_bandwidth(footprint, repeats=1, least_seconds=0.0)
    assert np.isfinite(found) and found > 0.0


def test_a_footprint_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="191 bytes holds no three arrays: give 192"):
        triad_bandwidth(191)
