"""The whole product on the reference problem, as the commands that a user would type."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from submodel.case.errors import CaseError, SubmodelError
from submodel.data.outputs import require_folder

NUM_RANKS = 2


class DemoError(SubmodelError, RuntimeError):
    """A step of the demonstration failed; its own message stands above."""


def case_file() -> Path:
    """cases/paper2d.toml of the checkout, as a user in the present folder would name it.

    Raises:
        CaseError: The package does not lie in a checkout.
    """
    path = Path(__file__).resolve().parents[3] / "cases" / "paper2d.toml"
    if not path.is_file():
        raise CaseError(f"there is no {path}: run the demo from a checkout of the repository")
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def steps(case: Path, folder: Path) -> list[tuple[str, list[str]]]:
    """Words and command line of each step, in order."""
    dataset, generator = str(folder / "dataset.h5"), str(folder / "generator.safetensors")
    name = str(case)
    return [
        (
            f"Solve the full domain for training and test samples with DOLFINx on {NUM_RANKS} MPI ranks",
            ["mpirun", "-n", str(NUM_RANKS), "submodel", "generate", name, "-o", dataset],
        ),
        ("Check what was written", ["submodel", "check", dataset]),
        (
            "Train a boundary generator, and calibrate the bound of its error",
            ["submodel", "train", name, "--dataset", dataset, "-o", generator],
        ),
        (
            "Zoom with predicted boundary data for parameters it has never seen, and compare with full FE",
            ["submodel", "validate", name, "--dataset", dataset, "--generator", generator]
            + ["--json", str(folder / "validation.json"), "--report", str(folder)],
        ),
    ]


def run(folder: Path, say: Callable[[str], None]) -> dict[str, float]:
    """Run every step; the errors of displacement after the zoom.

    Raises:
        CaseError: There is no case to run, or the folder cannot be written.
        DemoError: A step failed.
    """
    start = time.perf_counter()
    plan = steps(case_file(), folder)
    require_folder(folder)
    for number, (words, command) in enumerate(plan, 1):
        say(f"\n[{number}/{len(plan)}] {words}\n      {shlex.join(command)}")
        if subprocess.run(_runnable(command), check=False).returncode != 0:
            raise DemoError(f"step {number} failed: {shlex.join(command)}")
    result = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
    return {"seconds": time.perf_counter() - start, **result["after"]["displacement"]}


def _runnable(command: list[str]) -> list[str]:
    """The command with this interpreter in place of the console script."""
    at = command.index("submodel")
    return [*command[:at], sys.executable, "-m", "submodel", *command[at + 1 :]]
