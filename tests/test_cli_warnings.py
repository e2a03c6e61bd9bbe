"""Warnings reach the user of the command line: in processes of their own, as a user's are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from roof_problems import toy

COARSE = {"omega": "omega = [30.0, 60.0]", "levels": "levels = 65", "cells": "cells = [32, 32]"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coarse")


def lines(*arguments: object, ranks: int = 1) -> list[str]:
    """Lines of warning that a command writes to standard error."""
    command = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    command += [sys.executable, "-m", "submodel", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stdout
    return [line for line in done.stderr.splitlines() if "warning" in line.lower()]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_coarse_mesh_is_warned_of_once(folder: Path, ranks: int) -> None:
    case = toy(folder, **COARSE)
    said = lines("generate", case, "-o", folder / f"on{ranks}.h5", "--train", 2, "--test", 2, ranks=ranks)
    assert len(said) == 1 and said[0].startswith("warning: at omega = ") and "fewer than 10" in said[0], said


def test_zoomed_runs_are_looked_at_too(folder: Path) -> None:
    case, data = toy(folder, "fine.toml"), folder / "fine.h5"
    assert not lines("generate", case, "-o", data, "--train", 0, "--test", 1)
    recorded = ("--boundary", "recorded", "--dataset", data)
    assert not lines("validate", case, *recorded)
    (slow,) = lines("zoom", case, *recorded, "--sample", 0, "-o", folder / "slow", "--defect", 0, 0, 0.2, 0.1)
    assert slow.startswith("warning: at omega = ") and "in the zone" in slow and "--refine" in slow
    coarse, data = toy(folder, **COARSE), folder / "on1.h5"
    said = lines("validate", coarse, "--boundary", "recorded", "--dataset", data)
    assert len(said) == 2 and "in the zone" in said[0]  # the other is of the full run for the report's picture
