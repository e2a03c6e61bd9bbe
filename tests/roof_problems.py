"""A toy case on disk, and the command line run in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import RegularGridInterpolator
from typer.testing import CliRunner

from submodel.cli.app import app
from submodel.geometry.travel_time import TravelTable

TOY = """
name = "toy"
[units]
length = "m"
time = "s"
[domain]
kind = "box"
lower = [-1.0, -1.0]
upper = [1.0, 1.0]
cells = [16, 16]
[zone]
lower = [-0.25, -0.25]
upper = [0.25, 0.25]
[medium]
speed = 1.0
[time]
final = 2.0
levels = 41
[discretization]
element = "p1"
stepper = "explicit"
[interface]
kind = "impedance"
[source]
signal = "sine"
[parameters]
omega = [2.0, 3.0]
source_lower = [0.45, 0.45]
source_upper = [0.85, 0.85]
train = 6
test = 2
seed = 1
[training]
model = "conv1.5d-boundary"
fields = ["displacement", "velocity", "load"]
variant = "bn-sl"
batch_size = 4
epochs = 2
validation = 0.2
"""


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit status."""

    status: int
    text: str


def toy(folder: Path, name: str = "toy.toml", **replaced: str) -> Path:
    """The toy case in a folder, lines of it replaced: ``levels="levels = 5"`` replaces the line that begins so."""
    return written(folder / name, TOY, replaced)


def written(path: Path, text: str, replaced: Mapping[str, str]) -> Path:
    """A case file with the lines of some keys replaced."""
    lines = text.splitlines()
    for key, line in replaced.items():
        at = next(i for i, old in enumerate(lines) if old.startswith(f"{key} ="))
        lines[at] = line
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def submodel(*arguments: object) -> Said:
    """Run a command; what it prints on either stream."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.output)


def done(*arguments: object) -> str:
    """Run a command that must succeed."""
    said = submodel(*arguments)
    assert said.status == 0, said.text
    return said.text


def refused(said: Said, *words: str) -> None:
    """One line that begins with error and holds the words; status 2."""
    assert said.status == 2, said.text
    lines = [line for line in said.text.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: "), said.text
    for word in words:
        assert word in lines[0], said.text


def errors_of(path: Path) -> dict[str, Any]:
    """The JSON of a validation."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def travel_times(table: TravelTable, places: ArrayLike) -> NDArray[np.float64]:
    """Times from places, (point, 2), by bilinear interpolation in a table: (point, arc)."""
    found = RegularGridInterpolator((table.y, table.x), table.time.astype(np.float64))(np.asarray(places)[:, ::-1])
    return np.asarray(found)
