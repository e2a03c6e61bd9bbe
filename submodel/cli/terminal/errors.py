"""How commands end when something is wrong: one line for the user, and no MPI rank left waiting."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mpi4py import MPI


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what a user can mend into one line on standard error and exit status 2."""
    try:
        yield
    except Exception as error:
        if not _is_expected(error):
            raise
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def parallel() -> Iterator[MPI.Comm]:
    """The world communicator; a failure is told once, and no rank is left waiting."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    try:
        yield comm
    except Exception as error:
        agreed = _all_failed(comm)
        if not _is_expected(error):
            if agreed:
                raise
            sys.excepthook(type(error), error, error.__traceback__)
        elif comm.rank == 0 or not agreed:
            typer.echo(f"error: {error}", err=True)
        if not agreed:
            sys.stderr.flush()
            comm.Abort(2)
        raise typer.Exit(2) from error


def _all_failed(comm: MPI.Comm, patience: float = 5.0) -> bool:
    """Whether every rank comes here within a while. Collective only where all ranks fail."""
    if comm.size == 1:
        return True
    request = comm.Ibarrier()
    deadline = time.monotonic() + patience
    while not request.Test():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _is_expected(error: Exception) -> bool:
    """Errors whose message tells a user what to do; anything else keeps its traceback."""
    if os.environ.get("SUBMODEL_TRACEBACK"):
        return False
    names = {"CheckpointError", "DatasetError", "DemoError", "DivergenceError", "GenerationError", "TrainingError"}
    return isinstance(error, ValueError) or bool(names & {kind.__name__ for kind in type(error).__mro__})
