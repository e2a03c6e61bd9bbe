"""The case cases/userplate.toml: a plate with a hole and a weld in SI units; and the meshes that cases name."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from roof_problems import done

from submodel.data.dataset import Dataset

ROOT = Path(__file__).parents[1]
GMSH_CASES = sorted(path.stem for path in (ROOT / "cases").glob("*.toml") if 'kind = "gmsh"' in path.read_text())


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The case beside its mesh, made by the command in its comment."""
    folder = tmp_path_factory.mktemp("userplate")
    (folder / "cases").mkdir()
    shutil.copytree(ROOT / "meshes", folder / "meshes", ignore=shutil.ignore_patterns("*.msh"))
    path = Path(shutil.copy(ROOT / "cases" / "userplate.toml", folder / "cases"))
    command = shlex.split(mesh_command("userplate"))
    subprocess.run([sys.executable, *command[2:]], check=True, timeout=60, cwd=folder)
    return path


@pytest.fixture(scope="module")
def dataset(case: Path) -> Path:
    path = case.parent / "plate.h5"
    done("generate", case, "-o", path, "--train", 0, "--test", 2, "--calibration", 0)
    return path


def mesh_command(name: str) -> str:
    """The command of a case's comment that makes its mesh."""
    found = re.search(r"Make the mesh first: +(\./run python3 meshes/generate\.py .*)", read(name))
    assert found, f"cases/{name}.toml does not tell how its mesh is made"
    return found[1]


def read(name: str) -> str:
    return (ROOT / "cases" / f"{name}.toml").read_text()


@pytest.mark.parametrize("name", GMSH_CASES)
def test_a_case_says_how_its_mesh_is_made(name: str) -> None:
    geometry, mesh = shlex.split(mesh_command(name))[3:5]
    assert (ROOT / geometry).is_file() and f'file = "../{mesh}"' in read(name)


def test_it_has_a_hole_and_a_weld_and_rings_to_the_end(dataset: Path) -> None:
    with Dataset.open(dataset) as data:
        medium, gamma, load = data.medium, data.gamma, data.traces("test")["load"][0]
        (omega, *_), time = data.parameters("test")[0], data.times
    x, y = np.meshgrid(medium.x, medium.y)
    assert np.isnan(medium.speed[np.hypot(x - 0.28, y - 0.22) < 0.014]).all()
    weld = (x > 0.201) & (x < 0.209)
    assert (medium.speed[weld] == 2800.0).all()
    assert (medium.speed[medium.inside & ((x < 0.199) | (x > 0.211))] == 3100.0).all()
    assert np.ptp(gamma.points, axis=0) == pytest.approx([0.04, 0.04]) and len(gamma.points) == 40
    assert abs(load[time > 0.8 * time[-1]]).max() > 0.2 * abs(load).max()
    assert 2.0e5 <= omega <= 4.5e5


def test_its_recorded_boundary_data_are_replayed(case: Path, dataset: Path) -> None:
    text = done("validate", case, "--dataset", dataset, "--boundary", "recorded")
    line = next(line for line in text.splitlines() if line.startswith("displacement in the zone"))
    assert "10⁻⁷ %" in line or "10⁻⁶ %" in line, line  # float32
