"""What a dataset costs beside the bare steps of its samples: recording, loads, writing, verifying, naming.

Under `mpirun -n 2` the reference dataset's samples are generated, and the same batches are stepped again with nothing
recorded, both ranks at once as in the generation; the two alternate, and the least time of each counts. How the time
grows with the samples is a fit through several sizes, memory the peak of processes of their own.

    ./run python3 benchmarks/generation.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import Claim, Report, Table, under_mpirun
from mpi4py import MPI

from solvers.batch.ensemble import Ensemble, Selection
from solvers.problems.loads import loads_of_runs
from solvers.stepping.schemes import CentralDifference
from submodel.case.case import Case
from submodel.data.kinds import SampleManifest
from submodel.data.manifest import Precision, Request
from submodel.generate.generate import batches_of, generate
from submodel.solve import from_case as build

CASE = Path(__file__).parent.parent / "cases" / "paper2d.toml"
COMMAND = "./run python3 benchmarks/generation.py"
RANKS = 2
TRAIN, TEST = 100, 25


def bare_seconds(case: Case, manifest: SampleManifest, comm: MPI.Comm, runs_at_once: int | None = None) -> float:
    """Seconds to step a manifest's samples with nothing recorded, shared by all ranks. Collective on comm."""
    model = build.full_model(case, MPI.COMM_SELF)
    stepper = model.stepper
    assert isinstance(stepper, CentralDifference)
    size = model.batch_size(manifest.dtype, fields=manifest.fields) if runs_at_once is None else runs_at_once
    ensemble = Ensemble(stepper, size, manifest.dtype)
    nothing = Selection(np.empty(0, np.int64), np.full(case.time.levels + 1, -1))
    batches = []
    for batch in batches_of(list(manifest.tasks), size, comm.size)[comm.rank :: comm.size]:
        sources = [build.point_source(case, manifest.vector(each)) for each in batch]
        batches.append(loads_of_runs(stepper, [model._loads(source) for source in sources]))
    comm.barrier()
    start = time.perf_counter()
    for loads in batches:
        ensemble.run(case.time.levels, loads=loads, selection=nothing)
    comm.barrier()
    return time.perf_counter() - start


def work(asked: argparse.Namespace) -> None:
    """What each rank does: generate, step bare, in turn; the root prints JSON."""
    comm = MPI.COMM_WORLD
    case = Case.load(CASE)
    precision: Precision = "single" if asked.single else "double"
    request = Request(train=asked.train, test=asked.test, calibration=0, fields=asked.fields, precision=precision)
    manifest = SampleManifest.draw(case, request)
    loops, bares, alone = [], [], []
    for _ in range(asked.repeats):
        with tempfile.TemporaryDirectory(dir=asked.folder) as own:
            folder = comm.bcast(own)
            loops.append(generate(case, Path(folder) / "data.h5", request, comm=comm).loop_seconds)
            comm.barrier()
        if asked.bare:
            bares.append(bare_seconds(case, manifest, comm))
            alone.append(bare_seconds(case, manifest, comm, 1))
    peak = max(comm.allgather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)) / 1024
    if comm.rank == 0:
        found = {"loop": min(loops), "megabytes": peak}
        if asked.bare:
            found |= {"bare": min(bares), "alone": min(alone)}
        print(json.dumps(found), flush=True)


def ask(*, train: int, test: int, repeats: int, bare: bool, fields: bool, single: bool, folder: str) -> dict[str, Any]:
    """Start the ranks and read what the root prints."""
    arguments = ["--worker", "--folder", folder, "--train", str(train), "--test", str(test), "--repeats", str(repeats)]
    arguments += [f"--{name}" for name, said in (("bare", bare), ("fields", fields), ("single", single)) if said]
    return under_mpirun(__file__, RANKS, arguments)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="JSON file; that of the repository by default")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--folder", default=None, help="where datasets go; the folder for temporary files by default")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--train", type=int, default=TRAIN, help=argparse.SUPPRESS)
    parser.add_argument("--test", type=int, default=TEST, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=5, help=argparse.SUPPRESS)
    for name in ("bare", "fields", "single"):
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked)
        return
    report = Report("generation", COMMAND)
    repeats = 2 if asked.quick else 5
    folder = asked.folder or tempfile.gettempdir()
    num = TRAIN + TEST
    rows: list[list[str | float | int]] = []
    for fields, single in ((True, False), (False, False), (True, True), (False, True)):
        found = ask(train=TRAIN, test=TEST, repeats=repeats, bare=True, fields=fields, single=single, folder=folder)
        words = f"{'fields in the zone' if fields else 'traces only'}, {'single' if single else 'double'} precision"
        ratio, alone = found["loop"] / found["bare"], found["loop"] / found["alone"]
        rows.append([words, *(1e3 * found[key] / num for key in ("alone", "bare", "loop")), ratio, alone])
        if not single:
            what = f"generation of {num} samples on {RANKS} ranks, {words}: time over bare steps"
            report.claim(Claim(f"{what} of batches", ratio, 1.3, at_least=False))
            report.claim(Claim(f"{what} of one run at a time", alone, 1.3, at_least=False))
    sizes = (40, 80, 160, 320) if not asked.quick else (40, 160)
    grown = []
    for size in sizes:
        found = ask(train=size, test=0, repeats=3, bare=False, fields=True, single=False, folder=folder)
        grown.append((size, found["loop"], found["megabytes"]))
    per_sample = [seconds / size for size, seconds, _ in grown]
    what = f"time of a sample among {sizes[-1]} against among {sizes[0]}"
    report.claim(Claim(what, per_sample[-1] / per_sample[0], 1.1, at_least=False))
    what = f"peak memory of a rank with {sizes[-1]} samples against {sizes[0]}"
    report.claim(Claim(what, grown[-1][2] / grown[0][2], 1.05, at_least=False))
    columns = ["what is kept", "one run at a time, bare", "batches, bare", "generation", "over batches", "over one run"]
    report.table(Table(f"Milliseconds a sample, {RANKS} ranks together, set-up apart", columns, rows))
    growth = [[size, 1e3 * seconds / size, megabytes] for size, seconds, megabytes in grown]
    report.table(Table("Growth with the samples", ["samples", "ms a sample", "MiB of a rank"], growth))
    report.write(asked.output)


if __name__ == "__main__":
    main()
