"""How good the zoom is that benchmarks/whole.py times: dataset, generator and validation of cases/large2d.toml.

Takes about four minutes on two cores; what lies in the folder already is used again, and the generator stays there:

    OMP_NUM_THREADS=1 ./run python3 benchmarks/large2d.py --folder FOLDER
    OMP_NUM_THREADS=1 ./run python3 benchmarks/whole.py --generator FOLDER/large2d.safetensors
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measure import Claim, Report, Table

CASE = Path(__file__).parents[1] / "cases" / "large2d.toml"


def submodel(*words: object, ranks: int = 1) -> float:
    """Run a command of the product; its seconds."""
    start = time.monotonic()
    front = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    subprocess.run([*front, sys.executable, "-m", "submodel", *map(str, words)], check=True)
    return time.monotonic() - start


def present(errors: dict[str, Any], report: Report) -> None:
    """Claims and table of what `submodel validate --json` wrote."""
    after, num = errors["after"], errors["samples"]
    what = f"epsilon of the displacement after the zoom, mean of {num} unseen samples of large2d"
    report.claim(Claim(what, 100 * after["displacement"]["epsilon"], 2.0, "%", at_least=False))
    report.claim(Claim("the same of the worst sample", 100 * errors["worst"]["epsilon"], 2.0, "%", at_least=False))
    rows = [
        [name, stage, *(100 * errors[stage][name][measure] for measure in ("epsilon", "relative_l2"))]
        for name in ("displacement", "velocity")
        for stage in ("before", "after")
    ]
    report.table(Table(f"Errors of {num} samples", ("field", "zoom", "epsilon, %", "relative L2, %"), rows))
    report.note(f"the generator has {errors['parameters']} numbers; interface condition {errors['interface']}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where dataset, generator and errors go")
    parser.add_argument("--ranks", type=int, default=2, help="that generate the dataset")
    parser.add_argument("--seconds", type=float, help="of training; the case's by default")
    parser.add_argument("--output", type=Path, help="where the figures go; beside the other scripts' by default")
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    dataset, generator, errors = (folder / f"large2d.{end}" for end in ("h5", "safetensors", "json"))
    report = Report("large2d_validation", "./run python3 benchmarks/large2d.py --folder FOLDER")
    if not dataset.exists():
        seconds = submodel("generate", CASE, "-o", dataset, ranks=options.ranks)
        report.note(f"the dataset took {seconds:.0f} s on {options.ranks} ranks, mesh and files included")
    if not generator.exists():
        length = () if options.seconds is None else ("--seconds", options.seconds)
        seconds = submodel("train", CASE, "--dataset", dataset, "-o", generator, *length)
        report.note(f"training took {seconds:.0f} s on one core, reading included")
    submodel("validate", CASE, "--dataset", dataset, "--generator", generator, "--json", errors)
    present(json.loads(errors.read_text(encoding="utf-8")), report)
    report.write(options.output)


if __name__ == "__main__":
    main()
