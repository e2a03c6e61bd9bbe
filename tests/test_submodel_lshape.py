"""The case cases/lshape.toml: an L of two materials on a mesh without structure, from mesh to validation."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from roof_problems import done, refused, submodel, travel_times

from submodel.case.case import Case
from submodel.data.dataset import Dataset, ReciprocalDataset
from submodel.geometry.symmetry import IDENTITY, find
from submodel.geometry.travel_time import travel_table
from submodel.solve import from_case as build

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The case beside its mesh, made as its comment says."""
    folder = tmp_path_factory.mktemp("lshape")
    for name in ("cases", "meshes"):
        (folder / name).mkdir()
    made = [ROOT / "meshes" / "generate.py", ROOT / "meshes" / "lshape.geo", folder / "meshes" / "lshape.msh"]
    subprocess.run([sys.executable, *map(str, made)], check=True, timeout=60)  # gmsh keeps the options of other tests
    return Path(shutil.copy(ROOT / "cases" / "lshape.toml", folder / "cases"))


@pytest.fixture(scope="module")
def dataset(case: Path) -> Path:
    path = case.parent / "l.h5"
    done("generate", case, "-o", path, "--train", 1, "--test", 2, "--calibration", 0)
    return path


def test_the_mesh_resolves_the_waves(case: Path) -> None:
    said = Case.load(case)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build.full_model(said, MPI.COMM_SELF)
        assert model._points_at_unit_omega / said.parameters.omega[1] >= 12
        assert model.run(build.point_source(said, (said.parameters.omega[1], 0.8, -0.8))) is not None


def test_it_has_no_symmetry_and_waves_bend_around_its_corner(dataset: Path) -> None:
    with Dataset.open(dataset) as data:
        gamma, medium = data.gamma, data.medium
        parameters = data.parameters("test")
        load = data.traces("test")["load"]
        times = data.times
    assert [symmetry.name for symmetry in find(gamma, medium)] == [IDENTITY]
    x, y = np.meshgrid(medium.x, medium.y)
    assert np.isnan(medium.speed[(x > 0.01) & (y > 0.01)]).all()
    assert np.array_equal(np.unique(medium.speed[medium.inside]), np.array([0.8, 1.0], np.float32))
    table = travel_table(medium, gamma.points)
    assert table is not None
    arrivals = travel_times(table, parameters[:, 1:])
    for index, history in enumerate(abs(load)):
        # to 5 % of its maximum: the fastest numerical waves are a few cells ahead of the first arrival
        first = times[(history > 0.05 * history.max()).argmax(axis=0)]
        heard = (history > 0.05 * history.max()).any(axis=0)
        assert (first[heard] > arrivals[index, heard] - 0.1).all()
        assert np.median(first[heard] - arrivals[index, heard]) < 0.6


def test_recorded_boundary_data_are_replayed(case: Path, dataset: Path) -> None:
    said = done("validate", case, "--dataset", dataset, "--boundary", "recorded")
    line = next(line for line in said.splitlines() if line.startswith("displacement in the zone"))
    assert "10⁻⁷ %" in line  # float32


def test_it_is_covered_by_reciprocal_runs(case: Path, dataset: Path, tmp_path: Path) -> None:
    said = done("generate", case, "-o", tmp_path / "r.h5", "--reciprocal", "--train", 1)
    assert "112 runs, two for each of 56 nodes of the zone's boundary: they cover every source in" in said
    with Dataset.open(dataset) as data, ReciprocalDataset.open(tmp_path / "r.h5") as runs:
        omega, *place = data.parameters("train")[0]
        assert place == runs.manifest.sources[0]
        signal = np.sin(omega * data.times)
        for g, name in zip(runs.responses(), ("displacement", "load"), strict=True):
            truth = data.traces("train")[name][0]
            mine = np.stack([np.convolve(one, signal)[: len(signal)] for one in g[0].T.astype(float)], axis=1)
            assert np.linalg.norm(mine - truth) < 1e-6 * np.linalg.norm(truth)


def test_sources_over_the_zone_are_refused_whatever_the_seed(case: Path, tmp_path: Path) -> None:
    text = case.read_text().replace("source_lower = [0.15, -0.85]", "source_lower = [-0.95, -0.95]")
    text = text.replace("source_upper = [0.85, -0.15]", "source_upper = [-0.05, 0.95]")
    over = case.with_name("over.toml")
    over.write_text(text)
    one = ("--train", 1, "--test", 0, "--calibration", 0)
    for seed in (1, 2, 3):
        words = ("may fall inside the zone", "exclude_lower = [-0.", "exclude_upper = [-0.")
        refused(submodel("generate", over, "-o", tmp_path / "d.h5", *one, "--seed", seed), *words)
