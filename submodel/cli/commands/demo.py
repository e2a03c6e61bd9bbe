"""The whole product as the commands that a user would type: his own plate, or the job of the papers."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from submodel.case.errors import CaseError, SubmodelError
from submodel.data.outputs import require_folder

NUM_RANKS = 2
FRESH = ("--train", "0", "--calibration", "0", "--test", "20", "--seed", "7")
ZOOM = {
    "plate": ("--omega", "3e5", "--source", "0.08", "0.2", "--refine", "2", "--defect", "0.28", "0.1", "0.006", "1500"),
    "paper": ("--omega", "5", "--source", "0.6", "0.7", "--refine", "2", "--defect", "0", "0", "0.1", "0.5"),
}
"""Source, refinement and defect of the run that each demonstration zooms."""
TRAINING, TUNING, RATIO = "70", "20", "2"
"""Seconds of the network's training and of what follows its compression, and by how much it is compressed."""
CASES = {"plate": "userplate", "paper": "corner"}
Kind = Literal["plate", "paper"]
Step = tuple[str, list[str]]


class DemoError(SubmodelError, RuntimeError):
    """A step of the demonstration failed; its own message stands above."""


@dataclass(frozen=True)
class Finished:
    """A demonstration that is over.

    Args:
        seconds: All of it took.
        epsilon, relative_l2: Errors of displacement in the zone, means over the fresh runs.
    """

    seconds: float
    epsilon: float
    relative_l2: float


def case_file(kind: Kind) -> Path:
    """A case of the checkout, as a user in the present folder would name it.

    Raises:
        CaseError: The package does not lie in a checkout.
    """
    path = Path(__file__).resolve().parents[3] / "cases" / f"{CASES[kind]}.toml"
    if not path.is_file():
        raise CaseError(f"there is no {path}: run the demo from a checkout of the repository")
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def steps(kind: Kind, case: Path, folder: Path) -> list[Step]:
    """Words and command line of each step, in order."""
    generator, fresh = str(folder / "generator.safetensors"), str(folder / "fresh.h5")
    made = _plate(case, folder, generator) if kind == "plate" else _paper(case, folder, generator)
    return [
        *made,
        (
            "Run the zone alone with what the generator predicts: refined, and with a slow spot that it never saw",
            ["submodel", "zoom", str(case), "--generator", generator, *ZOOM[kind], "-o", str(folder / "zoomed")],
        ),
        (
            "Solve the full domain for fresh sources",
            [*_parallel(), "submodel", "generate", str(case), "-o", fresh, *FRESH],
        ),
        (
            "Compare zoomed runs of these sources with full FE",
            ["submodel", "validate", str(case), "--dataset", fresh, "--generator", generator]
            + ["--json", str(folder / "validation.json"), "--report", str(folder)],
        ),
    ]


def run(kind: Kind, folder: Path, say: Callable[[str], None]) -> Finished:
    """Run every step.

    Raises:
        CaseError: There is no case to run, or the folder cannot be written.
        DemoError: A step failed.
    """
    start = time.perf_counter()
    plan = steps(kind, case_file(kind), folder)
    require_folder(folder)
    for number, (words, command) in enumerate(plan, 1):
        say(f"\n[{number}/{len(plan)}] {words}\n      {shlex.join(command)}")
        if subprocess.run(_runnable(command), check=False).returncode != 0:
            raise DemoError(f"step {number} failed: {shlex.join(command)}")
    errors = json.loads((folder / "validation.json").read_text(encoding="utf-8"))["after"]["displacement"]
    return Finished(time.perf_counter() - start, errors["epsilon"], errors["relative_l2"])


def _plate(case: Path, folder: Path, generator: str) -> list[Step]:
    """A generator of a plate, to a tolerance."""
    meshes = case.parent.parent / "meshes"
    geometry, mesh = str(meshes / f"{case.stem}.geo"), str(meshes / f"{case.stem}.msh")
    build = ["submodel", "build", str(case), "--tolerance", "1%", "-o", generator]
    return [
        ("Mesh the plate with gmsh", ["python3", str(meshes / "generate.py"), geometry, mesh]),
        (
            "Build a generator that is right to 1 %: as few runs of the full model as it takes, and their wave table",
            [*_parallel(), *build],
        ),
    ]


def _paper(case: Path, folder: Path, generator: str) -> list[Step]:
    """A convolutional network on the zone's boundary, decomposed, then compressed once more."""
    dataset, whole = str(folder / "dataset.h5"), str(folder / "decomposed.safetensors")
    return [
        (
            "Solve the full domain for the training samples",
            [*_parallel(), "submodel", "generate", str(case), "-o", dataset],
        ),
        (
            "Train the boundary generator of [A]: decomposed convolutions along Γ and time",
            ["submodel", "train", str(case), "--dataset", dataset, "-o", whole, "--seconds", TRAINING],
        ),
        (
            "Compress it by the coupled tensor trains of [B], and tune what is left",
            ["submodel", "compress", whole, "--method", "ctd", "--ratio", RATIO, "--fine-tune", TUNING]
            + ["--dataset", dataset, "-o", generator],
        ),
    ]


def _parallel() -> list[str]:
    return ["mpirun", "-n", str(NUM_RANKS)]


def _runnable(command: list[str]) -> list[str]:
    """The command with this interpreter in place of the console script, or of any Python."""
    if command[0] == "python3":
        return [sys.executable, *command[1:]]
    at = command.index("submodel")
    return [*command[:at], sys.executable, "-m", "submodel", *command[at + 1 :]]
