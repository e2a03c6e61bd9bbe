"""Lets pytest run under mpirun: ranks stay in step, a failure on one is a failure of all, none waits for ever.

After each test the ranks tell each other whether it failed, on a communicator of their own and without blocking, so
that a rank that failed in the middle of a collective call finds out that the others are stuck and ends the job.
"""

from __future__ import annotations

import faulthandler
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mpi4py import MPI

NUM_RANKS = int(os.environ.get("OMPI_COMM_WORLD_SIZE", os.environ.get("PMI_SIZE", "1")))
# Seconds: a test that takes longer ends the job with a traceback; how long a rank waits for the others after a failure.
TEST_LIMIT = float(os.environ.get("SUBMODEL_TEST_LIMIT", "300"))
GRACE = float(os.environ.get("SUBMODEL_TEST_GRACE", "20"))


def pytest_configure(config: pytest.Config) -> None:
    if NUM_RANKS > 1:
        config.pluginmanager.register(InStep(config), "in_step")


class InStep:
    """Keeps the ranks of one pytest run in step. Collective on COMM_WORLD."""

    def __init__(self, config: pytest.Config) -> None:
        from mpi4py import MPI

        self.config = config
        self.comm = MPI.COMM_WORLD.Dup()
        self.rank = self.comm.rank
        self.stderr = os.fdopen(os.dup(2), "w")  # pytest captures descriptor 2 while a test runs
        self.failed_here = False
        self.failed_ranks: set[int] = set()

    def exchange(self, failed: bool, limit: float, what: str) -> set[int]:
        """The ranks that say they failed; ends the job where one does not answer within the limit (seconds)."""
        import numpy as np

        flags = np.zeros(self.comm.size, dtype=np.int32)
        request = self.comm.Iallgather(np.array([failed], dtype=np.int32), flags)
        give_up = time.monotonic() + (min(limit, GRACE) if failed else limit)
        while not request.Test():
            if time.monotonic() > give_up:
                self.say(f"{what}: this rank is done and the others do not follow; ending the job")
                self.comm.Abort(1)
            time.sleep(0.0005)
        return {int(rank) for rank in np.flatnonzero(flags)}

    def say(self, text: str) -> None:
        self.stderr.write("".join(f"[rank {self.rank}] {line}\n" for line in text.splitlines()))
        self.stderr.flush()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self) -> None:
        if self.rank > 0:
            reporter: Any = self.config.pluginmanager.get_plugin("terminalreporter")
            reporter._tw._file = open(os.devnull, "w")  # noqa: SIM115  (open until the process ends)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        names = "\n".join(item.nodeid for item in session.items)
        digest = int(hashlib.sha256(names.encode()).hexdigest()[:8], 16)
        failed = self.exchange(session.testsfailed > 0, TEST_LIMIT, "collection")
        if failed:
            self.failed_ranks |= failed
            session.shouldfail = f"collection failed on rank {sorted(failed)}"
        elif len(set(self.comm.allgather(digest))) > 1:
            self.failed_ranks |= set(range(self.comm.size))
            session.shouldfail = "the ranks collected different tests"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        faulthandler.dump_traceback_later(TEST_LIMIT, exit=True, file=self.stderr)
        self.failed_here = False
        try:
            result = yield
        finally:
            faulthandler.cancel_dump_traceback_later()
        failed = self.exchange(self.failed_here, TEST_LIMIT, item.nodeid)
        if failed and self.rank == 0 and not self.failed_here:
            self.say(f"{item.nodeid} failed on rank {sorted(failed)}")
        self.failed_ranks |= failed
        if failed and self.config.getoption("maxfail"):
            item.session.shouldfail = f"failed on rank {sorted(failed)}"
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed_here = True
            if self.rank > 0:
                self.say(f"{report.nodeid} failed in {report.when}\n{report.longreprtext}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and self.rank > 0:
            self.say(f"{report.nodeid} failed in collection\n{report.longreprtext}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.failed_ranks and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.failed_ranks:
            terminalreporter.section(f"failed on rank {sorted(self.failed_ranks)} of {self.comm.size}", red=True)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        sys.stdout.flush()
        self.exchange(False, GRACE, "end")  # a rank that leaves early with a failure takes the others' words with it


@pytest.fixture
def comm() -> MPI.Comm:
    """The communicator of a test that is marked mpi: all ranks of the run, one in a serial run."""
    from mpi4py import MPI

    return MPI.COMM_WORLD


@pytest.fixture
def shared_path(comm: MPI.Comm, tmp_path: Path) -> Path:
    """A folder that is the same on every rank (tmp_path is one a rank). Collective on COMM_WORLD."""
    return Path(comm.bcast(str(tmp_path)))
