"""What generation costs beside bare stepping: running, recording, writing, verifying and renaming each sample.

After each sample the same one is stepped again with nothing recorded, and that time is taken out of the loop's, so
that both are measured in one run on the same state of the machine. The target is a ratio of 1.5 for the loop.

    ./run python3 benchmarks/generate.py [--samples N] [--case FILE] [--no-fields] [--folder DIR]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from mpi4py import MPI

from submodel import build
from submodel.case import Case
from submodel.generate import generate
from submodel.plan import Plan

CASE = Path(__file__).parent.parent / "cases" / "paper2d.toml"


def measure(case: Case, num: int, fields: bool, folder: str) -> tuple[float, float, float]:
    """Seconds of the sample loop, of everything generate does, and of bare stepping."""
    model = build.full_model(case, MPI.COMM_SELF)
    plan = Plan.draw(case, train=num, test=0, seed=None, fields=fields, ranks_per_sample=1)
    bare: list[float] = []
    aside = 0.0

    def step_again(done: int, total: int) -> None:
        nonlocal aside
        if done == 0:
            return
        start = time.perf_counter()
        omega, x, y = plan.parameters["train"][done - 1]
        source = build.point_source(case, omega, x, y)
        begun = time.perf_counter()
        model.snapshot(source, case.time.levels)
        bare.append(time.perf_counter() - begun)
        aside += time.perf_counter() - start

    with tempfile.TemporaryDirectory(dir=folder) as place:
        start = time.perf_counter()
        done = generate(
            case, Path(place) / "data.h5", train=num, test=0, fields=fields, comm=MPI.COMM_SELF, progress=step_again
        )
        total = time.perf_counter() - start
    return done.loop_seconds - aside, total - aside, sum(bare)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--case", type=Path, default=CASE)
    parser.add_argument("--no-fields", dest="fields", action="store_false")
    parser.add_argument("--folder", help="where to write; the system's folder for temporary files by default")
    asked = parser.parse_args()
    loop, everything, bare = measure(Case.load(asked.case), asked.samples, asked.fields, asked.folder)
    print(f"{asked.case.stem}, {asked.samples} samples, {'with' if asked.fields else 'without'} fields in the zone")
    print(f"bare stepping       {bare / asked.samples * 1e3:8.2f} ms a sample")
    print(f"sample loop         {loop / asked.samples * 1e3:8.2f} ms a sample   ratio {loop / bare:.2f}  (target 1.5)")
    print(f"with set-up         {everything / asked.samples * 1e3:8.2f} ms a sample   ratio {everything / bare:.2f}")


if __name__ == "__main__":
    main()
