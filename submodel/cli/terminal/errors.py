"""The end of a command when something is wrong: one line for the user, and no MPI rank left waiting."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from networks.core.errors import NetworkError
from solvers.errors import SolverError
from submodel.case.errors import SubmodelError

if TYPE_CHECKING:
    from mpi4py import MPI

# what to install where a package is absent, by package
EXTRAS = {
    "conda (environment.yml)": {"basix", "dolfinx", "ffcx", "mpi4py", "petsc4py", "ufl"},
    "pip install 'submodel[fe]'": {"cffi", "gmsh", "h5py"},
    "pip install 'submodel[nn]'": {"safetensors", "torch"},
    "pip install 'submodel[compression]'": {"tensorly"},
    "pip install 'submodel[report]'": {"PIL", "jinja2", "matplotlib"},
}
# the rank of this process as its launcher tells it: Open MPI, MPICH and Slurm, torchrun
RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "RANK")


def leads() -> bool:
    """True on the process that speaks to the user: the root of a job, or the only one. Local, needs no MPI."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what a user can mend into one line on standard error and exit status 2."""
    try:
        yield
    except Exception as error:
        words = _remedy(error)
        if words is None:
            raise
        if leads():
            typer.echo(f"error: {words}", err=True)
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
        words = _remedy(error)
        if words is None:
            if agreed:
                raise
            sys.excepthook(type(error), error, error.__traceback__)
        elif comm.rank == 0 or not agreed:
            typer.echo(f"error: {words}", err=True)
        if not agreed:
            sys.stderr.flush()
            comm.Abort(2)
        raise typer.Exit(2) from error


def _all_failed(comm: MPI.Comm, patience: float = 5.0) -> bool:
    """Wait a while until every rank comes here; False if one does not. Collective only where all ranks fail."""
    if comm.size == 1:
        return True
    request = comm.Ibarrier()
    deadline = time.monotonic() + patience
    while not request.Test():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _remedy(error: Exception) -> str | None:
    """The sentence of an error that a user can mend; None for all others, which keep their traceback."""
    if os.environ.get("SUBMODEL_TRACEBACK") or isinstance(error, BrokenPipeError):
        return None
    if isinstance(error, SubmodelError | SolverError | NetworkError | ValueError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        extra = next((name for name, packages in EXTRAS.items() if package in packages), None)
        return extra and f"this command needs {package}, which is not installed here: use ./run, or {extra}"
    if isinstance(error, OSError):
        named = error.filename is not None and error.strerror
        return f"{error.filename}: {error.strerror}" if named else error.strerror or str(error)
    cffi = sys.modules.get("cffi")  # which compiles DOLFINx's forms
    if cffi is not None and isinstance(error, cffi.VerificationError):
        return (
            f"forms cannot be compiled ({error}): install a C compiler and Python's headers (Debian: gcc, python3-dev)"
        )
    return None
