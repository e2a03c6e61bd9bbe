"""check finds what is missing, damaged, repeated or impossible, and passes what is whole."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_submodel_dataset import NUM, flip, toy_case, toy_geometry, values, write_dataset

from solvers.gamma.chart import gamma_arrays, gamma_from
from submodel.data.check import CheckReport, check
from submodel.data.dataset_file import write_master
from submodel.data.kinds import SampleManifest
from submodel.data.manifest import MANIFEST_FILE, Request, shards_folder
from submodel.data.shards import ShardWriter
from submodel.data.storage.checksum import dataset_name, seal, shard_name
from submodel.geometry.arrays import Geometry, MediumMap


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data.h5")
    return tmp_path / "data.h5"


def kinds(report: CheckReport) -> dict[str, str]:
    return {finding.where: finding.kind for finding in report.findings}


def rewrite(path: Path, **arguments: object) -> None:
    """Write a dataset whose manifest or geometry is not what a generation would make."""
    manifest = SampleManifest.draw(toy_case(), Request())
    if "parameters" in arguments:
        manifest = SampleManifest.from_json(json.dumps(json.loads(manifest.to_json()) | arguments))
    geometry = arguments.get("geometry", toy_geometry())
    assert isinstance(geometry, Geometry)
    writer = ShardWriter(shards_folder(path), manifest, geometry)
    for sample in manifest.tasks:
        writer.write(sample, values(sample, manifest.shapes(sample, geometry)))
    write_master(path, manifest, geometry)


def test_a_whole_dataset_passes(path: Path) -> None:
    report = check(path)
    assert report.ok
    assert report.to_json() == {
        "ok": True,
        "path": str(path),
        "num_samples": NUM,
        "findings": (),
        "unit": "samples",
    }
    assert list(report.lines()) == [f"{path}: 3 train, 2 test, 1 calibration samples, all whole, finite and different"]


def test_missing_and_damaged_samples_are_found(path: Path) -> None:
    flip(shards_folder(path) / "train-0001.h5", 5000)
    (shards_folder(path) / "test-0000.h5").unlink()
    report = check(path)
    assert not report.ok
    assert kinds(report) == {"test-0000": "missing", "train-0001": "damaged"}
    *_, faults, remedy = report.lines()
    assert faults == f"{path}: 2 faults in 3 train, 2 test, 1 calibration samples"
    assert remedy == "run the same `submodel generate` again: it redoes what is missing or damaged"
    assert json.loads(json.dumps(report.to_json()))["findings"][0]["kind"] == "missing"


def test_a_reader_is_not_flooded(tmp_path: Path) -> None:
    write_dataset(tmp_path / "many.h5", train=20)
    for shard in shards_folder(tmp_path / "many.h5").glob("train*"):
        shard.unlink()
    report = check(tmp_path / "many.h5")
    assert len(report.findings) == 20
    assert list(report.lines())[9:11] == ["train-0009: is missing", "... and 10 more"]


def test_an_unfinished_generation_is_found(path: Path) -> None:
    manifest = SampleManifest.draw(toy_case(), Request())
    (shards_folder(path) / MANIFEST_FILE).write_text(manifest.to_json())
    path.unlink()
    (shards_folder(path) / "test-0001.h5").unlink()
    report = check(path)
    assert kinds(report) == {str(path): "missing", "test-0001": "missing"}
    assert "the generation is unfinished" in next(report.lines())


def test_what_is_no_dataset_is_a_finding(tmp_path: Path, path: Path) -> None:
    for name in ("none.h5", "a" * 300):
        assert kinds(check(tmp_path / name)) == {str(tmp_path / name): "file"}
    flip(path, 5000)
    report = check(path)
    assert kinds(report) == {str(path): "file"}
    assert "does not match its checksum" in next(report.lines())
    assert list(report.lines())[1] == f"{path}: 1 faults in no samples"


def test_repeated_and_impossible_parameters_are_found(path: Path) -> None:
    same, other, third = [4.0, 0.5, 0.5], [4.0, 0.5, 0.6], [4.0, 0.6, 0.6]
    rewrite(path, parameters={"train": [same, other, same], "test": [other, [4.0, 0.0, 0.0]], "calibration": [third]})
    report = check(path)
    assert kinds(report) == {"train-0002": "duplicate", "test-0000": "duplicate", "test-0001": "parameters"}
    assert "train-0002: has the same parameters as train-0000" in report.lines()
    assert "test-0000: has the same parameters as train-0001" in report.lines()
    rewrite(
        path,
        parameters={
            "train": [same, other, third],
            "test": [[5.0, 0.5, 0.5], [6.0, 0.5, 0.5]],
            "calibration": [[7.0, 0.5, 0.5]],
        },
    )
    assert check(path).ok


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"times": np.linspace(0.0, 1.0, 11)}, "time has not the 12 rising levels of the case"),
        ({"times": np.zeros(12)}, "time has not the 12 rising levels of the case"),
        ({"arc": np.zeros(6)}, "the arrays under interface: not in order of loop and arc length"),
        ({"loop": np.array([0, 0, 1, 1, 0, 0])}, "the arrays under interface: not in order of loop and arc length"),
        ({"weights": np.zeros(5)}, "the arrays under interface: points, weights and normals differ in length"),
        ({"loop": np.zeros(5, np.int64)}, "the arrays under interface: points, loop, arc and joined differ in length"),
        ({"x": np.zeros(2)}, "medium is not a grid of rising x and y"),
        ({"y": np.arange(2.0)}, "medium is not a grid of rising x and y"),
        ({"speed": np.zeros((3, 2), np.float32)}, "medium has wave speeds that are not positive"),
        ({"speed": np.full((3, 2), np.nan, np.float32)}, "medium has wave speeds that are not positive"),
    ],
)
def test_a_geometry_that_cannot_be_is_found(path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    whole = toy_geometry()
    shared = {"times": whole.times, **gamma_arrays(whole.gamma), **vars(whole.medium)} | arrays
    medium = MediumMap(**{name: shared.pop(name) for name in vars(whole.medium)})
    times = shared.pop("times")
    rewrite(path, geometry=Geometry(times, gamma_from(shared), whole.zone_points, medium))
    assert message in [finding.message for finding in check(path).findings]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((12, 6), np.nan, np.float32), "load has values that are not finite"),
        (np.zeros((12, 5), np.float32), r"its load has the shape \(12, 5\), not \(12, 6\)"),
    ],
)
def test_a_sealed_sample_may_still_be_wrong(path: Path, array: np.ndarray, message: str) -> None:
    manifest = SampleManifest.draw(toy_case(), Request())
    shard = shards_folder(path) / "train-0000.h5"
    with h5py.File(shard, "a") as file:
        del file["load"]
        file["load"] = array
    content = np.fromfile(shard, np.uint8)
    with open(shard, "r+b") as file:
        seal(file, content, shard_name(manifest.key, manifest.tasks[0]))
    (finding,) = check(path).findings
    assert re.search(message, finding.message)


def test_a_joined_array_of_another_shape_is_found(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["test/load"]
        file["test/load"] = np.zeros((2, 12, 5), np.float32)
    content = np.fromfile(path, np.uint8)
    with open(path, "r+b") as file:
        seal(file, content, dataset_name())
    assert {finding.message for finding in check(path).findings} == {"load is float32 (12, 5), not float32 (12, 6)"}
