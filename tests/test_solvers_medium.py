"""The wave speed on a grid: the mesh's own, wherever the mesh is, on any number of ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from solver_problems import P1, box, generate_plate, plate

from solvers.mesh.medium import MOST_INTERVALS, grid, sampled_speed, spacing


@pytest.mark.mpi
def test_a_box_has_one_speed(comm: MPI.Comm) -> None:
    domain = box(comm, P1, 16)
    x, y, speed = sampled_speed(domain)
    assert spacing(domain) == pytest.approx(1 / 16)
    assert len(x) == len(y) == 33
    assert np.array_equal(x, np.linspace(-1, 1, 33))
    assert speed.dtype == np.float32
    assert (speed == 1.0).all()


@pytest.mark.mpi
def test_a_plate_has_its_inclusion_and_its_hole(comm: MPI.Comm, shared_path: Path) -> None:
    x, y, speed = sampled_speed(plate(comm, generate_plate(comm, shared_path, size=0.1, quads=False)))
    assert comm.bcast(speed.tobytes()) == speed.tobytes()
    at = np.stack(np.meshgrid(x, y), axis=-1)
    hole = np.linalg.norm(at - (-0.55, 0.5), axis=-1)
    inclusion = np.linalg.norm(at - (0.3, 0.1), axis=-1)
    assert np.isnan(speed[hole < 0.13]).all()
    assert np.isfinite(speed[hole > 0.15]).all()
    assert (speed[inclusion < 0.13] == 0.5).all()
    assert (speed[(inclusion > 0.15) & (hole > 0.15)] == 1.0).all()


def test_a_grid_includes_both_ends_and_is_not_too_fine() -> None:
    x, y = grid((0.0, 0.0), (2.0, 1.0), 1e-6)
    assert len(x) == MOST_INTERVALS + 1
    assert (x[0], x[-1], y[0], y[-1]) == (0.0, 2.0, 0.0, 1.0)
    assert np.diff(x)[0] == pytest.approx(np.diff(y)[0])
