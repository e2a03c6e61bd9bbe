"""Zoomed runs of many parameter sets: batches of them go through the network and the zone together."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.problems.zone import ZoneModel
from solvers.stepping.schemes import DivergenceError
from submodel import __version__
from submodel.case.case import Case, CaseError
from submodel.case.parameter_sets import ParameterTable
from submodel.data.outputs import require_folder
from submodel.data.zoom_file import ZoomedFile
from submodel.predict.generator import Generator
from submodel.solve.task_farm import agree
from submodel.zoom.batch import Spent, Zoomer
from submodel.zoom.setup import ZoneSetup
from submodel.zoom.summary import write_summary

SETS = 32
"""Parameter sets of a batch: more are not faster, and need memory."""


@dataclass(frozen=True)
class ZoomedMany:
    """Files and times of zoomed runs of many sets.

    Args:
        files: What was written, by what it is.
        num_sets: How many sets there are.
        num_found: How many of them an earlier run had finished.
        seconds: Of all this run's batches.
        spent: Where the root's time went.
    """

    files: dict[str, Path]
    num_sets: int
    num_found: int
    seconds: float
    spent: Spent


def zoom_many(
    case: Case,
    generated: Generator,
    table: ParameterTable,
    folder: Path,
    *,
    comm: MPI.Comm,
    setup: ZoneSetup,
    progress: Callable[[int, int], None] | None = None,
) -> ZoomedMany | None:
    """Run the zone for all sets of a table; sets that an earlier call of the same job finished are left as they are.

    Collective on comm: its ranks share the batches, each has a zone of its own.

    Args:
        case: The case.
        generated: Predicts the boundary data.
        table: The sets.
        folder: Where the files go; made if need be.
        comm: Communicator.
        setup: The zone.
        progress: Called on the root with the sets done and their number.

    Returns:
        On the root what was written, ``None`` elsewhere.

    Raises:
        CaseError: The folder cannot be written, a run diverged, or a source lies in the zone or outside the domain.
        DatasetError: The folder holds the runs of another job.
        ValueError: The zone cannot be built, or the boundary data do not fit it.
    """
    agree(comm, lambda: require_folder(folder))

    def built(mine: bool) -> list[ZoneModel]:
        highest = max(case.signal(values).highest_omega for values in table.values)
        return [setup.build(case, MPI.COMM_SELF, case.parameters.sources(table.values), highest)] if mine else []

    # first on the root, which fills the cache of compiled forms
    model = (agree(comm, lambda: built(comm.rank == 0)) + agree(comm, lambda: built(comm.rank > 0)))[0]
    zoomer = agree(comm, lambda: Zoomer(generated, model))
    settings = {"boundary": f"predicted by {generated.path.name}", **setup.record(model)}
    path = folder / "zoomed.h5"
    if comm.rank == 0:
        agree(comm, lambda: _prepared(path, case, generated, table, model, settings))
    else:
        agree(comm, lambda: None)
    file = agree(comm, lambda: ZoomedFile(path))
    pending = comm.bcast(file.pending() if comm.rank == 0 else None)
    start = time.perf_counter()
    with _own_threads(comm):
        agree(comm, lambda: _fill(file, pending, zoomer, table, comm, progress))
    seconds = time.perf_counter() - start
    if comm.rank > 0:
        return None
    files = {"fields": path} | write_summary(
        case, generated, table, file, model, settings, folder, plain=setup.defect is None
    )
    return ZoomedMany(files, len(table.values), len(table.values) - len(pending), seconds, zoomer.spent)


def _prepared(
    path: Path, case: Case, generated: Generator, table: ParameterTable, model: ZoneModel, settings: Mapping[str, Any]
) -> None:
    """Make the file, or see that it is of the same job. Root."""
    network = hashlib.sha256(generated.path.read_bytes()).hexdigest()
    attributes = {
        "case": case.to_json(),
        "case_fingerprint": case.fingerprint(),
        "generator": network,
        "settings": json.dumps(settings),
        "code_version": __version__,
    }
    key = hashlib.sha256(json.dumps(attributes, sort_keys=True).encode() + table.values.tobytes()).hexdigest()[:16]
    try:
        ZoomedFile.prepared(
            path, key, attributes, case, parameters=table.values, times=model.time.times, points=model.points
        )
    except OSError as error:
        raise CaseError(f"cannot write {path} ({error.strerror or error}): choose a place with more room") from error


@contextmanager
def _own_threads(comm: MPI.Comm) -> Iterator[None]:
    """Let the ranks of a machine share its cores instead of each taking all of them. Collective on comm."""
    from networks.training.fit import with_threads

    machine = comm.Split_type(MPI.COMM_TYPE_SHARED)
    num_ranks = machine.size
    machine.Free()
    with with_threads(None if num_ranks == 1 else max(1, len(os.sched_getaffinity(0)) // num_ranks)):
        yield


def _fill(
    file: ZoomedFile,
    pending: NDArray[np.int64],
    zoomer: Zoomer,
    table: ParameterTable,
    comm: MPI.Comm,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Run this rank's batches of what is not finished. Local; the root tells of its own share as if it were all."""
    size = max(1, min(SETS, -(-len(pending) // comm.size)))
    for start in range(comm.rank * size, len(pending), comm.size * size):
        sets = pending[start : start + size]
        try:
            displacement = zoomer.displacements(table.values[sets])
        except DivergenceError as error:
            raise CaseError(f"{table.where(int(sets[error.run]))}: {error}") from error
        begun = time.perf_counter()
        file.write(sets, displacement)
        zoomer.spent.writing += time.perf_counter() - begun
        if progress is not None and comm.rank == 0:
            progress(min(len(pending), start + comm.size * size), len(pending))
