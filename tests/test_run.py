"""The front door without a build, and the test runner under MPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MPI_VARIABLES = re.compile("OMPI_COMM|OMPI_MCA_(?!btl|mpi_yield)|PMIX|PRTE_(?!MCA_rmaps|MCA_hwloc)")


def environment(**changes: str) -> dict[str, str]:
    """This process's environment less what mpirun or a singleton MPI_Init left in it."""
    return {key: value for key, value in os.environ.items() if not MPI_VARIABLES.match(key)} | changes


def pytest_under_mpi(folder: Path, source: str, *args: str, num_ranks: int = 2) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = mpi\n")
    (folder / "test_generated.py").write_text(f"import pytest\nfrom mpi4py import MPI\ncomm = MPI.COMM_WORLD\n{source}")
    return subprocess.run(
        ["mpirun", "-n", str(num_ranks), sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args],
        cwd=folder,
        env=environment(SUBMODEL_TEST_GRACE="1", SUBMODEL_TEST_LIMIT="5"),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_all_ranks_passing_is_success_and_only_one_speaks(tmp_path: Path) -> None:
    done = pytest_under_mpi(tmp_path, "def test_sum(): assert comm.allreduce(1) == 3", num_ranks=3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("1 passed") == 1


def test_failure_on_one_rank_fails_the_run_and_the_others_go_on(tmp_path: Path) -> None:
    source = "def test_one(): assert comm.rank != 1, 'only here'\ndef test_two(): assert comm.allreduce(1) == 2\n"
    done = pytest_under_mpi(tmp_path, source)
    assert done.returncode != 0
    assert "[rank 1]" in done.stderr and "only here" in done.stderr
    assert "2 passed" in done.stdout and "failed on rank [1] of 2" in done.stdout


def test_first_failure_on_one_rank_stops_all_on_request(tmp_path: Path) -> None:
    source = "def test_one(): assert comm.rank != 1\ndef test_two(): assert comm.allreduce(1) == 2\n"
    done = pytest_under_mpi(tmp_path, source, "-x")
    assert done.returncode != 0
    assert "2 passed" not in done.stdout and "1 passed" in done.stdout


def test_failure_before_a_collective_call_ends_the_job(tmp_path: Path) -> None:
    done = pytest_under_mpi(tmp_path, "def test_stuck():\n    assert comm.rank != 1, 'left'\n    comm.barrier()\n")
    assert done.returncode != 0
    assert "left" in done.stderr and "the others do not follow" in done.stderr


def test_a_test_that_never_ends_shows_where_it_hangs(tmp_path: Path) -> None:
    done = pytest_under_mpi(tmp_path, "def test_stuck(): comm.recv(source=1 - comm.rank)")
    assert done.returncode != 0
    assert "in test_stuck" in done.stderr


def test_ranks_that_collect_different_tests_are_refused(tmp_path: Path) -> None:
    done = pytest_under_mpi(tmp_path, "if comm.rank == 0:\n    def test_extra(): pass\ndef test_one(): pass\n")
    assert done.returncode != 0
    assert "collected different tests" in done.stdout


def test_broken_module_on_one_rank_fails_the_run(tmp_path: Path) -> None:
    done = pytest_under_mpi(tmp_path, "assert comm.rank == 0\ndef test_one(): pass\n")
    assert done.returncode != 0
    assert "failed in collection" in done.stderr
