"""Weak and strong scaling over the cores there are: samples farmed to ranks, or one batch shared by ranks.

Efficiency is the time of one rank over the time of several, with as much work a rank (weak) or with the same work and
times their number (strong). Between the ranks of a shared batch each step sends one message to each neighbour; what it
takes beside the steps is measured too, and feeds the model of docs/performance.md.

    ./run python3 benchmarks/scaling.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import Claim, Report, Table, under_mpirun
from mpi4py import MPI

from solvers.ensemble import Ensemble, Recorded
from solvers.full import FullModel
from solvers.mesh import box_domain
from solvers.operators import Discretization
from solvers.stepping import CentralDifference
from solvers.time import TimeGrid

COMMAND = "./run python3 benchmarks/scaling.py"
NUM_STEPS = 96
LANES = 8


def seconds_a_step(comm: MPI.Comm, cells: tuple[int, int], repeats: int, everyone: MPI.Comm) -> float:
    """Least seconds of a step of a batch whose nodes the ranks of a communicator share. Collective on everyone."""
    h = 2.0 / cells[1]
    width = h * cells[0]
    domain = box_domain(
        comm, (0.0, 0.0), (width, 2.0), cells, (0.25, 0.75), (0.75, 1.25), cell="triangle", speed=1.0
    )
    model = FullModel(domain, Discretization(), TimeGrid(0.5 * h * NUM_STEPS, NUM_STEPS + 1))
    assert isinstance(model.stepper, CentralDifference)
    ensemble = Ensemble(model.stepper, LANES, stencils=False)
    nothing = Recorded(np.empty(0, np.int64), np.full(NUM_STEPS + 1, -1))
    best = float("inf")
    for _ in range(repeats):
        everyone.barrier()
        start = time.perf_counter()
        ensemble.run(NUM_STEPS, recorded=nothing)
        everyone.barrier()
        best = min(best, time.perf_counter() - start)
    return everyone.bcast(best) / NUM_STEPS


def message_seconds(comm: MPI.Comm, num_bytes: int) -> float:
    """Least seconds for ranks to swap a message with a neighbour. Collective on comm."""
    other = comm.rank ^ 1
    if comm.size < 2 or other >= comm.size:
        return 0.0
    out, back = np.zeros(num_bytes, np.uint8), np.empty(num_bytes, np.uint8)
    best = float("inf")
    for _ in range(200):
        start = time.perf_counter()
        comm.Sendrecv(out, other, recvbuf=back, source=other)
        best = min(best, time.perf_counter() - start)
    return best


def work(repeats: int) -> None:
    """What each rank does; the root prints JSON."""
    world = MPI.COMM_WORLD
    found: dict[str, Any] = {}
    for cells in (128, 512):
        found[f"farm {cells}"] = seconds_a_step(MPI.COMM_SELF, (cells, cells), repeats, world)
        found[f"strong {cells}"] = seconds_a_step(world, (cells, cells), repeats, world)
        found[f"weak {cells}"] = seconds_a_step(world, (cells * world.size, cells), repeats, world)
        found[f"message {cells}"] = message_seconds(world, (cells + 1) * LANES * 8)
    found["message 1"] = message_seconds(world, 1)
    if world.rank == 0:
        print(json.dumps(found), flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="JSON file; that of the repository by default")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--ranks", type=int, default=os.cpu_count() or 1, help="the cores of this machine by default")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    repeats = 4 if asked.quick else 12
    if asked.worker:
        work(repeats)
        return
    report = Report("scaling", COMMAND)
    options = ["--worker"] + (["--quick"] if asked.quick else [])
    one, many = (under_mpirun(__file__, num, options) for num in (1, asked.ranks))
    rows: list[list[str | float | int]] = []
    for cells in (128, 512):
        nodes = f"{cells + 1} x {cells + 1} nodes"
        alone = one[f"farm {cells}"]
        cases = {
            "farm, a batch a rank": alone / many[f"farm {cells}"],
            "strong, one batch on all ranks": alone / (asked.ranks * many[f"strong {cells}"]),
            "weak, as many nodes a rank": alone / many[f"weak {cells}"],
        }
        for (words, efficiency), key in zip(cases.items(), ("farm", "strong", "weak"), strict=True):
            microseconds = 1e6 * many[f"{key} {cells}"]
            rows.append([nodes, words, 1e6 * alone, microseconds, f"{100 * efficiency:.0f} %"])
            report.claim(Claim(f"{nodes}, {words}: efficiency on {asked.ranks} ranks", 100 * efficiency, unit="%"))
        report.note(
            f"{nodes}: an edge's values of {LANES} runs go to a neighbour and back in "
            f"{1e6 * many[f'message {cells}']:.1f} us, a byte in {1e6 * many['message 1']:.1f} us."
        )
    columns = ["problem", "how", "1 rank, us a step", f"{asked.ranks} ranks, us a step", "efficiency"]
    report.table(Table(f"Steps of a batch of {LANES} runs, float64, assembled matrix", columns, rows))
    report.write(asked.output)


if __name__ == "__main__":
    main()
