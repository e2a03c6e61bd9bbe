"""Compiled forms, also where an earlier process was stopped while it compiled.

FFCx claims a form by an empty C file and marks it once its library is there. Who is stopped in between leaves a claim
for which all later processes wait in vain, and a full disk leaves a library that cannot be loaded. Processes of this
package hold a lock while they compile, so that what is unfinished while nobody holds it can be removed.
"""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import ufl
from dolfinx import fem
from mpi4py import MPI

from solvers.mesh.compat import form_cache_folder

LOCK = "submodel.lock"
MODULE = re.compile(r"libffcx_[a-z]+_[0-9a-f]+")
LOST = "Unable to find JIT module"  # where a mark has no library
PATIENCE = 60.0  # seconds to wait for others that compile


def compiled(form: ufl.Form, comm: MPI.Comm) -> fem.Form:
    """Compile a form, or load it where it is compiled already. Collective on comm.

    Args:
        form: The form.
        comm: Communicator of its mesh.
    """
    folder = form_cache_folder()
    if comm.rank == 0:
        _mend_once(folder)
    try:
        with _compiling(folder) if comm.rank == 0 else nullcontext():  # the others load, and wait for the root
            return fem.form(form)
    except (ImportError, OSError, RuntimeError) as error:  # DOLFINx raises on all ranks
        damaged = MODULE.search(str(error))
        if not comm.bcast(damaged is not None or LOST in str(error)):
            raise
    if comm.rank == 0:
        _mend(folder, None if damaged is None else damaged.group(), patience=PATIENCE)
    comm.Barrier()
    return fem.form(form)


@contextmanager
def _compiling(folder: Path) -> Iterator[None]:
    """Hold a share of the lock, which keeps others from removing what is unfinished. Local."""
    with _open(folder) as held:
        if held is not None:
            fcntl.flock(held, fcntl.LOCK_SH)
        yield


@cache
def _mend_once(folder: Path) -> None:
    _mend(folder)


def _mend(folder: Path, damaged: str | None = None, *, patience: float = 0.0) -> None:
    """Remove forms that are unfinished, unless a process may be at them. Local.

    Args:
        folder: The cache.
        damaged: A form that could not be loaded, removed too.
        patience: Seconds to wait for others that compile; then nothing is removed.
    """
    end = time.monotonic() + patience
    with _open(folder) as held:
        while held is not None:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= end:
                    return
                time.sleep(0.1)
        forms: dict[str, list[Path]] = {}
        for path in folder.glob("libffcx_*"):
            forms.setdefault(path.name.partition(".")[0], []).append(path)
        for name, paths in forms.items():
            if name == damaged or not _is_whole(paths):
                for path in paths:
                    path.unlink(missing_ok=True)


def _is_whole(paths: list[Path]) -> bool:
    """Check the files of a form: its claim and its mark, and a library where there is a mark."""
    suffixes = {path.name.partition(".")[2] for path in paths}
    if not {"c", "c.cached"} & suffixes:
        return True
    libraries = [path for path in paths if path.suffix == ".so"]
    return {"c", "c.cached"} <= suffixes and any(path.stat().st_size for path in libraries)


@contextmanager
def _open(folder: Path) -> Iterator[int | None]:
    """The lock's file, or ``None`` where none can be had: then nothing is guarded."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a")
    except OSError:
        yield None
        return
    with file:
        yield file.fileno()
