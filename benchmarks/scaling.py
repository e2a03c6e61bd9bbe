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

from solvers.batch.ensemble import Ensemble, Selection
from solvers.mesh.domain import box_domain
from solvers.problems.full import FullModel
from solvers.space.assembly import Discretization
from solvers.stepping.schemes import CentralDifference
from solvers.time.grid import TimeGrid

COMMAND = "./run python3 benchmarks/scaling.py"
NUM_STEPS = 96
LANES = 8


def seconds_a_step(
    comm: MPI.Comm, cells: tuple[int, int], repeats: int, everyone: MPI.Comm, depth: int | None = None
) -> float:
    """Least seconds of a step of a batch whose nodes the ranks of a communicator share. Collective on everyone.

    Args:
        comm: whose ranks share the nodes.
        cells: of the domain.
        repeats: of which the fastest counts.
        everyone: all ranks, which step at once.
        depth: steps of a sweep, 1 for plain ones.
    """
    h = 2.0 / cells[1]
    width = h * cells[0]
    domain = box_domain(
        comm, (0.0, 0.0), (width, 2.0), cells, (0.25, 0.75), (0.75, 1.25), cell="triangle", speed=1.0
    )
    model = FullModel(domain, Discretization(), TimeGrid(0.5 * h * NUM_STEPS, NUM_STEPS + 1))
    assert isinstance(model.stepper, CentralDifference)
    ensemble = Ensemble(model.stepper, LANES, depth=depth, stencils=False)
    nothing = Selection(np.empty(0, np.int64), np.full(NUM_STEPS + 1, -1))
    best = float("inf")
    for _ in range(repeats):
        everyone.barrier()
        start = time.perf_counter()
        ensemble.run(NUM_STEPS, selection=nothing)
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
        found[f"plain {cells}"] = seconds_a_step(MPI.COMM_SELF, (cells, cells), repeats, world, 1)
        found[f"message {cells}"] = message_seconds(world, (cells + 1) * LANES * 8)
    found["message 1"] = message_seconds(world, 1)
    if world.rank == 0:
        print(json.dumps(found), flush=True)


def cluster(one: dict[str, Any], many: dict[str, Any], num_ranks: int) -> list[Table]:
    """What the figures say of a cluster, by a model: work of a rank's nodes, and messages along its edges.

    A rank of an inner block of n²/p nodes takes ``n²/p t + 4 (a + 8 B n/√p / b)`` a step, with the time t of a node in
    plain steps, the time a of a message and its rate b, and B runs of 8 bytes a node. One rank sweeps several steps at
    once, which sharing gives up. Farmed samples share the memory alone: the efficiency measured here is taken for all
    cores of a node.
    """
    t, swept = one["plain 512"] / 513**2, one["farm 512"] / 513**2
    latency = many["message 1"]
    rate = 513 * LANES * 8 / max(many["message 512"] - latency, 1e-9)
    shared: list[list[str | float | int]] = []
    for n in (513, 1025, 4097):
        for p in (4, 16, 64):
            edge = n / p**0.5
            work, messages = edge**2 * t, 4.0 * (latency + edge * LANES * 8 / rate)
            gain = n**2 * swept / (work + messages)
            shared.append([f"{n} x {n}", p, 1e6 * work, 1e6 * messages, gain, f"{100 * gain / p:.0f} %"])
    farmed: list[list[str | float | int]] = []
    for cells, num_steps, num_traced in ((128, 256, 128), (512, 511, 128)):
        efficiency = one[f"farm {cells}"] / many[f"farm {cells}"]
        seconds = one[f"farm {cells}"] / LANES * num_steps / efficiency
        traces, fields = 12 * num_steps * num_traced, 4 * (num_steps + 2) * 33**2
        a_node = 64 / seconds
        farmed.append(
            [
                f"{cells + 1} x {cells + 1}, {num_steps} steps",
                1e3 * seconds,
                3600.0 * a_node / 1e6,
                1e-9 * a_node * traces,
                1e-9 * a_node * (traces + fields),
            ]
        )
    columns = ["nodes", "ranks", "work, us a step", "messages, us a step", "faster than one rank", "efficiency"]
    per_node = ["problem", "ms a sample and core", "million samples a node-hour", "GB/s, traces", "GB/s, with fields"]
    words = f"efficiency of {num_ranks} ranks here, bare steps"
    return [
        Table(f"Model: one batch of {LANES} runs shared by ranks, messages as between these cores", columns, shared),
        Table(f"Model: samples farmed to a node of 64 cores ({words}), and what they would write", per_node, farmed),
    ]


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
    for table in cluster(one, many, asked.ranks):
        report.table(table)
    report.write(asked.output)


if __name__ == "__main__":
    main()
