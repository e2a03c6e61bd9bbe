"""A dataset gives back what was written, or says which part of it is gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from test_submodel_case import reference

from solvers.gamma.chart import ClosedLoops, gamma_arrays
from solvers.gamma.gamma import Gamma
from submodel.case.case import Case
from submodel.case.sampling import SPLITS, Split
from submodel.data import shards as shards_module
from submodel.data.dataset import Dataset
from submodel.data.dataset_file import write_master
from submodel.data.kinds import SampleManifest
from submodel.data.manifest import DatasetError, Request, Task, shards_folder
from submodel.data.shards import ShardWriter
from submodel.data.storage.checksum import SEAL_SIZE, dataset_name, seal, shard_fault
from submodel.geometry.arrays import FIELDS, ZONE_FIELD, Geometry, MediumMap

NUM = {"train": 3, "test": 2, "calibration": 1}
DAMAGE_STRIDE = int(os.environ.get("SUBMODEL_DAMAGE_STRIDE", "61"))  # 1 damages every byte, and takes a minute


def toy_data() -> dict[str, Any]:
    """The reference case on 16 x 16 cells, with 12 levels, as its file says it."""
    data = reference()
    data["name"] = "toy"
    data["domain"]["cells"] = [16, 16]
    data["time"] = {"final": 0.55, "levels": 12}
    data["parameters"] |= {"omega": [3.0, 6.0], **NUM}
    return data


def toy_case() -> Case:
    return Case.from_dict(toy_data())


def toy_geometry() -> Geometry:
    arc = np.linspace(0.0, 1.25, 6, dtype=np.float64)
    points = np.column_stack([arc, -arc])
    chart = ClosedLoops(np.zeros(6, np.int64), arc, np.ones(6, bool))
    gamma = Gamma(points, np.full_like(arc, 0.25), np.ones((6, 2)), chart)
    return Geometry(
        np.linspace(0.0, 0.55, 12, dtype=np.float64),
        gamma,
        np.linspace(0.0, 1.0, 18, dtype=np.float64).reshape(9, 2),
        MediumMap(
            np.array([-1.0, 1.0]), np.array([-1.0, 0.0, 1.0]), np.array([[1, 2], [1, 1], [np.nan, 1]], np.float32)
        ),
    )


def values(sample: Task, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng([sample.index, SPLITS.index(sample.group)])
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def write_dataset(path: Path, *, fields: bool = True, train: int = NUM["train"]) -> SampleManifest:
    manifest = SampleManifest.draw(toy_case(), Request(train=train, fields=fields))
    shards_folder(path).mkdir()
    writer = ShardWriter(shards_folder(path), manifest, toy_geometry())
    for sample in manifest.tasks:
        writer.write(sample, values(sample, manifest.shapes(sample, toy_geometry())))
    write_master(path, manifest, toy_geometry())
    return manifest


def one_sample() -> SampleManifest:
    return SampleManifest.draw(toy_case(), Request(train=1, test=0, calibration=0, fields=False))


def flip(path: Path, place: int) -> None:
    """Damage one byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data.h5")
    return tmp_path / "data.h5"


def test_what_was_written_is_read(path: Path) -> None:
    geometry = toy_geometry()
    with Dataset.open(path) as dataset:
        assert dataset.case == toy_case()
        assert np.array_equal(dataset.times, geometry.times)
        assert np.array_equal(dataset.zone_points, geometry.zone_points)
        stored, written = gamma_arrays(dataset.gamma), gamma_arrays(geometry.gamma)
        assert dataset.gamma.chart.name == "closed-loops" and stored.keys() == written.keys()
        assert all(np.array_equal(stored[name], written[name]) for name in written)
        for name in MediumMap.__annotations__:
            assert np.array_equal(getattr(dataset.medium, name), getattr(geometry.medium, name), equal_nan=True)
        for split in SPLITS:
            assert dataset.num_samples(split) == NUM[split]
            assert np.array_equal(dataset.parameters(split), dataset.manifest.vectors(split))
            traces = dataset.traces(split)
            for index in range(NUM[split]):
                made = values(Task(split, index), dataset.manifest.shapes(Task(split, index), geometry))
                trace = dataset.trace(split, index)
                for name in FIELDS:
                    assert np.array_equal(trace[name], made[name].astype(np.float32))
                    assert np.array_equal(traces[name][index], trace[name])
                displacement, velocity = dataset.zone_fields(split, index)
                levels = made[ZONE_FIELD].astype(np.float32)
                assert np.array_equal(displacement, levels[1:-1])
                rate = np.float64(levels[2:] - levels[:-2].astype(np.float64)) / (2.0 * dataset.case.time.dt)
                np.testing.assert_allclose(velocity, rate, rtol=2.0**-23)  # rounded to float32


def test_any_hdf5_reader_finds_the_layout(path: Path) -> None:
    with h5py.File(path) as file:
        assert file.attrs["format"] == "submodel-dataset"
        assert Case.from_json(file.attrs["case"]) == toy_case()
        assert file["train/displacement"].shape == (3, 12, 6)
        assert file["test/zone_displacement"].shape == (2, 14, 9)
        assert file["test/zone_displacement"].attrs["axes"] == "sample,level,node"
        assert file["time"].attrs["unit"] == "s"
        assert file["train/displacement"].virtual_sources()[0].file_name == "data.shards/train-0000.h5"


def test_file_and_folder_move_together(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where" / "100%b"
    elsewhere.mkdir(parents=True)
    shutil.move(path, elsewhere / path.name)
    shutil.move(shards_folder(path), elsewhere)
    with Dataset.open(elsewhere / path.name) as dataset:
        assert len(dataset.traces("train")["load"]) == 3


def test_a_name_may_hold_a_percent_sign(tmp_path: Path) -> None:
    write_dataset(tmp_path / "50%b.h5")
    with Dataset.open(tmp_path / "50%b.h5") as dataset:
        assert len(dataset.traces("train")["load"]) == 3


def test_a_split_may_be_empty(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data.h5", train=0)
    with Dataset.open(tmp_path / "data.h5") as dataset:
        assert dataset.traces("train")["load"].shape == (0, 12, 6)
        assert dataset.parameters("train").shape == (0, 3)
        with pytest.raises(DatasetError, match="has no sample 0 in its split train: it holds none"):
            dataset.trace("train", 0)


def test_a_missing_sample_is_no_fill_value(path: Path) -> None:
    (shards_folder(path) / "train-0001.h5").unlink()
    with pytest.raises(
        DatasetError, match=r"lacks 1 of its samples, first data\.shards/train-0001\.h5: put the folder"
    ):
        Dataset.open(path)


def test_a_sample_that_goes_while_reading_is_no_fill_value(path: Path) -> None:
    with Dataset.open(path) as dataset:
        (shards_folder(path) / "train-0001.h5").unlink()
        assert len(dataset.traces("test")["load"]) == 2
        with pytest.raises(DatasetError, match="train-0001 is missing; run the same `submodel generate` again"):
            dataset.traces("train")


@pytest.mark.parametrize("split", SPLITS)
def test_a_damaged_sample_is_told_on_reading(path: Path, split: Split) -> None:
    last = NUM[split] - 1
    flip(shards_folder(path) / f"{split}-{last:04d}.h5", 5000)
    with Dataset.open(path) as dataset:
        if last:
            dataset.trace(split, 0)
        with pytest.raises(
            DatasetError, match=f"{split}-{last:04d} is damaged: it does not match its checksum; run the same"
        ):
            dataset.trace(split, last)


def test_there_is_no_such_sample(path: Path) -> None:
    with Dataset.open(path) as dataset:
        with pytest.raises(DatasetError, match="has no sample 3 in its split train: it holds 0 to 2"):
            dataset.trace("train", 3)
        with pytest.raises(DatasetError, match="has no sample -1 in its split test"):
            dataset.zone_fields("test", -1)


def test_without_fields_in_the_zone(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data.h5", fields=False)
    with Dataset.open(tmp_path / "data.h5") as dataset:
        assert len(dataset.traces("train")["load"]) == 3
        with pytest.raises(DatasetError, match="holds no fields in the zone: generate another dataset without"):
            dataset.zone_fields("train", 0)


def test_what_is_no_dataset_is_refused(tmp_path: Path, path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.h5 does not exist: make it with"):
        Dataset.open(tmp_path / "none.h5")
    shards_folder(tmp_path / "begun.h5").mkdir()
    with pytest.raises(DatasetError, match=r"begun\.h5 is unfinished: run the same"):
        Dataset.open(tmp_path / "begun.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(DatasetError, match="is not a dataset of submodel: make one with"):
        Dataset.open(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DatasetError, match="is not a dataset of submodel"):
        Dataset.open(tmp_path / "other.h5")
    with pytest.raises(DatasetError, match=r"cannot read .*Is a directory"):
        Dataset.open(tmp_path)
    with h5py.File(path, "a") as file:
        file.attrs["seed"] = 7
    with pytest.raises(DatasetError, match=r"data\.h5 is damaged: it does not match its checksum; run the same"):
        Dataset.open(path)
    path.write_bytes(path.read_bytes().replace(b"version 4", b"version 9", 1))
    with pytest.raises(DatasetError, match="has format version 9, this submodel reads 4: use the one that made it"):
        Dataset.open(path)


def test_a_sealed_file_whose_case_cannot_be_read_is_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["case"] = "{}"
    content = np.fromfile(path, np.uint8)
    with open(path, "r+b") as file:
        seal(file, content, dataset_name())
    with pytest.raises(DatasetError, match=r"data\.h5 cannot be used: the case in .*name is missing"):
        Dataset.open(path)


def test_no_byte_of_a_shard_changes_unseen(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data.h5", train=1)
    folder, sample = shards_folder(tmp_path / "data.h5"), manifest.tasks[0]
    shard = folder / f"{sample}.h5"
    whole = shard.read_bytes()
    assert shard_fault(folder, manifest.key, sample) is None
    for place in range(0, len(whole), DAMAGE_STRIDE):
        flip(shard, place)
        assert "is damaged" in str(shard_fault(folder, manifest.key, sample)), place
        shard.write_bytes(whole)
    for size in (0, 100, 512, len(whole) - 1):
        shard.write_bytes(whole[:size])
        assert "is damaged" in str(shard_fault(folder, manifest.key, sample)), size
    shard.unlink()
    shard.mkdir()
    assert "is damaged: it cannot be read" in str(shard_fault(folder, manifest.key, sample))
    shard.rmdir()
    assert shard_fault(folder, manifest.key, sample) == "is missing"


def test_no_byte_of_the_joining_file_changes_unseen(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(0, len(whole), DAMAGE_STRIDE):
        flip(path, place)
        with pytest.raises(DatasetError):
            Dataset.open(path)
        path.write_bytes(whole)
    Dataset.open(path).close()


def test_the_writer_refuses_what_float32_cannot_hold(tmp_path: Path) -> None:
    manifest, geometry = one_sample(), toy_geometry()
    sample = manifest.tasks[0]
    arrays = values(sample, manifest.shapes(sample, geometry))
    arrays["load"][3, 2] = 1e39
    with pytest.raises(DatasetError, match="train-0000: load has values that float32 cannot hold: scale the units"):
        ShardWriter(tmp_path, manifest, geometry).write(sample, arrays)
    assert not list(tmp_path.iterdir())


def test_the_writer_takes_what_float32_can_hold(tmp_path: Path) -> None:
    """Though the sum of the squares, which is looked at first, cannot."""
    manifest, geometry = one_sample(), toy_geometry()
    sample = manifest.tasks[0]
    arrays = values(sample, manifest.shapes(sample, geometry))
    arrays["load"][3, 2] = 3e38
    ShardWriter(tmp_path, manifest, geometry).write(sample, arrays)
    with h5py.File(tmp_path / "train-0000.h5") as file:
        assert file["load"][3, 2] == np.float32(3e38)


def test_the_writer_reads_back_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, geometry = one_sample(), toy_geometry()
    sample = manifest.tasks[0]
    writer = ShardWriter(tmp_path, manifest, geometry)

    class Damaging:
        """A file of which a byte has changed by the time that it is read."""

        def __init__(self, path: Path, mode: str) -> None:
            self._file = open(path, mode)  # noqa: SIM115

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            self._file.close()

        def seek(self, place: int) -> None:
            self._file.seek(-1, os.SEEK_END)
            self._file.write(b"\xff")
            self._file.seek(place)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    monkeypatch.setattr(shards_module, "open", Damaging, raising=False)
    with pytest.raises(DatasetError, match="what was read back is not what was written: check the disk"):
        writer.write(sample, values(sample, manifest.shapes(sample, geometry)))
    assert not (tmp_path / "train-0000.h5").exists()


def test_a_shard_is_what_hdf5_writes(tmp_path: Path) -> None:
    """Byte for byte, for every sample and split, though HDF5 itself writes the first one only."""
    manifest = write_dataset(tmp_path / "data.h5")
    for sample in manifest.tasks:
        with h5py.File(tmp_path / "plain.h5", "w", userblock_size=SEAL_SIZE) as file:
            for key, value in {**manifest.shard_attributes, **manifest.marks(sample)}.items():
                file.attrs[key] = value
            for name, array in values(sample, manifest.shapes(sample, toy_geometry())).items():
                file.create_dataset(name, data=array.astype(np.float32))
        shard = (shards_folder(tmp_path / "data.h5") / f"{sample}.h5").read_bytes()
        assert shard[SEAL_SIZE:] == (tmp_path / "plain.h5").read_bytes()[SEAL_SIZE:]


def test_attributes_that_hdf5_hides_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, geometry = one_sample(), toy_geometry()
    sample = manifest.tasks[0]
    monkeypatch.setattr(shards_module, "_place_holder", lambda name, number: np.zeros_like(number))
    with pytest.raises(DatasetError, match="HDF5 .* hides the attribute sample: use another release"):
        ShardWriter(tmp_path, manifest, geometry).write(sample, values(sample, manifest.shapes(sample, geometry)))


def test_a_shard_of_another_manifest_is_a_fault(path: Path) -> None:
    other = SampleManifest.draw(toy_case(), Request(seed=7))
    fault = shard_fault(shards_folder(path), other.key, Task("train", 0))
    assert fault is not None
    assert "of another dataset: its seal does not name this sample" in fault


def test_a_manifest_survives_json_and_names_differences() -> None:
    case = toy_case()

    def manifest(case: Case = case, **arguments: Any) -> SampleManifest:
        return SampleManifest.draw(case, Request(**{"seed": 1} | arguments))

    first = manifest()
    assert SampleManifest.from_json(first.to_json()) == first
    assert first.difference(manifest()) is None
    assert first.difference(manifest(seed=2)) == "was begun with --seed 1, you asked for --seed 2"
    assert "--ranks-per-sample 1" in str(first.difference(manifest(ranks_per_sample=2)))
    assert "with fields in the zone, you asked for one with --no-fields" in str(
        first.difference(manifest(fields=False))
    )
    faster = Case.from_json(case.to_json().replace('"speed":1.0', '"speed":0.5'))
    assert "a case with medium.speed = 1.0, yours has 0.5" in str(first.difference(manifest(faster)))
    for text in ("{}", "[]", "text"):
        with pytest.raises(ValueError, match="not the manifest of a dataset of samples|Expecting value|mapping"):
            SampleManifest.from_json(text)
