"""The dataset file: shards, the master that joins them, and reading. The only module that imports h5py.

The layout is specified in docs/dataset-format.md.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from submodel.case import Case
from submodel.layout import (
    FIELDS,
    FORMAT_VERSION,
    MASTER,
    ZONE_FIELDS,
    DatasetError,
    Geometry,
    InterfaceArrays,
    master_attributes,
    names,
    shard_attributes,
)
from submodel.plan import Plan, SampleId, shards_folder
from submodel.sampling import SPLITS, Split

__all__ = [
    "Dataset",
    "DatasetError",
    "Geometry",
    "InterfaceArrays",
    "ShardWriter",
    "shard_fault",
    "write_master",
]

REDO = "run the same `submodel generate` again, which redoes what is damaged"
UNFINISHED = ".part"  # what a file is called until it is whole

# What the library raises on a file that is damaged or of another make.
_UNREADABLE = (OSError, KeyError, RuntimeError, ValueError, TypeError)

Floats = NDArray[np.floating[Any]]


class ShardWriter:
    """Writes one file a sample, whole or not at all. Local.

    Args:
        folder: where the shards lie.
        plan: what they belong to.
        shapes: of each array of a sample.
    """

    def __init__(self, folder: Path, plan: Plan, shapes: Mapping[str, tuple[int, int]]) -> None:
        self._folder = folder
        self._plan = plan
        self._key = plan.key
        self._arrays = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        self._reread = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}

    def write(self, sample: SampleId, arrays: Mapping[str, Floats]) -> None:
        """Write a sample to a temporary name, read it back, compare, and give it its name.

        Args:
            sample: which one.
            arrays: those of `Geometry.shapes`; stored as float32.

        Raises:
            DatasetError: a value is not finite in float32, or what was read back differs.
            OSError: the file cannot be written.
        """
        for name, stored in self._arrays.items():
            with np.errstate(over="ignore"):  # an overflow is told below
                np.copyto(stored, arrays[name], casting="same_kind")
            if not np.isfinite(stored).all():
                raise DatasetError(f"{sample}: {name} has values that float32 cannot hold: scale the units of the case")
        path = self._folder / f"{sample}.h5"
        unfinished = path.with_name(path.name + UNFINISHED)
        self._store(unfinished, sample)
        self._compare(unfinished)
        os.replace(unfinished, path)

    def _store(self, path: Path, sample: SampleId) -> None:
        with h5py.File(path, "w") as file:
            for key, value in shard_attributes(self._key, self._plan, sample).items():
                file.attrs[key] = value
            for name, array in self._arrays.items():
                file.create_dataset(name, data=array).attrs["crc32"] = _crc32(array)

    def _compare(self, path: Path) -> None:
        with h5py.File(path, "r") as file:
            for name, array in self._arrays.items():
                file[name].read_direct(self._reread[name])
                if not np.array_equal(self._reread[name].view(np.int32), array.view(np.int32)):
                    raise DatasetError(f"{path}: what was read back is not what was written: check the disk")


def shard_fault(folder: Path, plan: Plan, sample: SampleId, shapes: Mapping[str, tuple[int, int]] | None) -> str | None:
    """What is wrong with a shard, or None. Reads all of it. Local.

    Args:
        folder: where the shards lie.
        plan: what it must belong to.
        sample: which one.
        shapes: its arrays, where they are known.
    """
    path = folder / f"{sample}.h5"
    if not path.exists():
        return "is missing"
    try:
        with h5py.File(path, "r") as file:
            for key, value in shard_attributes(plan.key, plan, sample).items():
                if not np.array_equal(file.attrs[key], value):
                    return f"is damaged or of another dataset: its {key} is not {value}"
            if set(file) != set(names(plan.fields)):
                return f"is damaged: it holds {', '.join(sorted(file))}"
            for name in names(plan.fields):
                if fault := _array_fault(file[name], None if shapes is None else shapes[name]):
                    return f"is damaged: {name} {fault}"
    except _UNREADABLE as error:
        return f"is damaged: {error}"
    return None


def _array_fault(stored: h5py.Dataset, shape: tuple[int, int] | None) -> str | None:
    if stored.dtype != np.float32 or stored.ndim != 2 or (shape is not None and stored.shape != shape):
        return f"is {stored.dtype} {stored.shape}, not float32 {shape}"
    array = stored[()]
    if _crc32(array) != stored.attrs["crc32"]:
        return "does not match its checksum"
    if not np.isfinite(array).all():
        return "has values that are not finite"
    return None


def write_master(path: Path, plan: Plan, geometry: Geometry) -> None:
    """Join the shards as virtual datasets in one file, whole or not at all. Local; all shards must be there.

    Raises:
        OSError: the file cannot be written.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    with h5py.File(unfinished, "w", libver=("v110", "v110")) as file:  # checksums its own metadata
        for key, value in master_attributes(plan).items():
            file.attrs[key] = value
        units = Case.from_json(plan.case).units
        _put(file, "time", geometry.times, "time", units.time)
        for name, unit in (
            ("points", units.length),
            ("arc", units.length),
            ("loop", ""),
            ("weights", units.length),
        ):
            _put(file, f"interface/{name}", getattr(geometry.interface, name), "arc", unit)
        _put(file, "zone/points", geometry.zone_points, "node", units.length)
        for split in SPLITS:
            _put(file, f"{split}/parameters", plan.vectors(split), "sample", "omega: rad/time; x, y: length")
            for name, shape in geometry.shapes(plan.fields).items():
                _join(file, path, plan, split, name, shape)
    os.replace(unfinished, path)


def _join(file: h5py.File, path: Path, plan: Plan, split: Split, name: str, shape: tuple[int, int]) -> None:
    """Add one field of one split, and its checksums, from the shards."""
    samples = [sample for sample in plan.samples if sample.split == split]
    layout = h5py.VirtualLayout((len(samples), *shape), np.float32)
    checksums = np.empty(len(samples), np.uint32)
    folder = shards_folder(path)
    for place, sample in enumerate(samples):
        # relative, so that file and folder move together; HDF5 takes a lone % for a pattern
        source = f"{folder.name}/{sample}.h5".replace("%", "%%")
        layout[place] = h5py.VirtualSource(source, name, shape)
        with h5py.File(folder / f"{sample}.h5", "r") as shard:
            checksums[place] = shard[name].attrs["crc32"]
    if samples:
        joined = file.create_virtual_dataset(f"{split}/{name}", layout, fillvalue=np.nan)
    else:
        joined = file.create_dataset(f"{split}/{name}", (0, *shape), np.float32)
    joined.attrs["axes"] = "sample,time,node" if name in ZONE_FIELDS else "sample,time,arc"
    _put(file, f"{split}/checksum/{name}", checksums, "sample", "")


def _put(file: h5py.File, name: str, array: NDArray[Any], axes: str, unit: str) -> None:
    array = np.ascontiguousarray(array)
    stored = file.create_dataset(name, data=array)
    stored.attrs["axes"] = axes if array.ndim == 1 else f"{axes},component"
    stored.attrs["crc32"] = _crc32(array)
    if unit:
        stored.attrs["unit"] = unit


def _crc32(array: NDArray[Any]) -> np.uint32:
    return np.uint32(zlib.crc32(array.reshape(-1).view(np.uint8)))


class Dataset:
    """A finished dataset, open for reading; what it returns has been compared with its checksums.

    with Dataset.open("dataset.h5") as dataset:
        parameters, traces = dataset.parameters("train"), dataset.traces("train")
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file
        self.plan = self._read_plan()
        self.case = Case.from_json(self.plan.case, label=f"the case in {path}")

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a dataset and see that all its shards are there.

        Raises:
            DatasetError: there is no dataset, it is of another make, unfinished, or lacks shards.
        """
        path = Path(path)
        dataset = cls.open_master(path)
        absent = [name for name in dataset.shards() if not (path.parent / name).exists()]
        if absent:
            dataset.close()
            raise DatasetError(
                f"{path} lacks {len(absent)} of its samples, first {absent[0]}: put the folder "
                f"{Path(absent[0]).parent} back beside it, or run the same `submodel generate` again"
            )
        return dataset

    @classmethod
    def open_master(cls, path: Path) -> Self:
        """Open a dataset whose shards may be missing.

        Raises:
            DatasetError: there is no dataset, it is of another make or unfinished.
        """
        if not path.exists():
            begun = shards_folder(path).is_dir()
            remedy = "run the same `submodel generate` again" if begun else "make it with `submodel generate`"
            raise DatasetError(f"{path} {'is unfinished' if begun else 'does not exist'}: {remedy}")
        try:
            file = h5py.File(path, "r")
        except OSError as error:
            raise DatasetError(f"{path} is not an HDF5 file ({error}): name a dataset") from error
        try:
            return cls(path, file)
        except DatasetError:
            file.close()
            raise
        except _UNREADABLE as error:
            file.close()
            raise DatasetError(f"{path} is damaged ({error}): {REDO}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def times(self) -> NDArray[np.float64]:
        """(time,) the levels, in units of time."""
        return self._stored("time")

    @property
    def interface(self) -> InterfaceArrays:
        """The zone's boundary."""
        return InterfaceArrays(**{name: self._stored(f"interface/{name}") for name in InterfaceArrays.__annotations__})

    @property
    def zone_points(self) -> NDArray[np.float64]:
        """(node, 2) the zone's nodes, by y, then x."""
        return self._stored("zone/points")

    @property
    def geometry(self) -> Geometry:
        """What all samples share."""
        return Geometry(self.times, self.interface, self.zone_points)

    def num_samples(self, split: Split) -> int:
        """Number of samples of a split."""
        return self.plan.num(split)

    def parameters(self, split: Split) -> NDArray[np.float64]:
        """(sample, 3): omega, x_s, y_s."""
        return self._stored(f"{split}/parameters")

    def traces(self, split: Split) -> dict[str, NDArray[np.float32]]:
        """Displacement, velocity and load on the zone's boundary, each (sample, time, arc).

        Raises:
            DatasetError: a sample is damaged.
        """
        return {name: self._samples(split, name) for name in FIELDS}

    def trace(self, split: Split, index: int) -> dict[str, NDArray[np.float32]]:
        """One sample of `traces`, each (time, arc).

        Raises:
            DatasetError: there is no such sample, or it is damaged.
        """
        return {name: self._sample(split, name, index) for name in FIELDS}

    def zone_fields(self, split: Split, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Displacement and velocity in the zone, each (time, node).

        Raises:
            DatasetError: they were not stored, there is no such sample, or it is damaged.
        """
        if not self.plan.fields:
            raise DatasetError(f"{self.path} holds no fields in the zone: generate another dataset without --no-fields")
        displacement, velocity = (self._sample(split, name, index) for name in ZONE_FIELDS)
        return displacement, velocity

    def shards(self) -> list[str]:
        """Paths of the samples' files, relative to the dataset; none where it holds the arrays itself."""
        joined = [self._file[f"{split}/{name}"] for split in SPLITS for name in names(self.plan.fields)]
        sources = (source for array in joined if array.is_virtual for source in array.virtual_sources())
        return list(dict.fromkeys(source.file_name.replace("%%", "%") for source in sources))

    def stored_faults(self) -> Iterator[str]:
        """What is wrong with the arrays of the file itself."""
        stored = ["time", "zone/points", *(f"interface/{name}" for name in InterfaceArrays.__annotations__)]
        for split in SPLITS:
            stored += [
                f"{split}/parameters",
                *(f"{split}/checksum/{name}" for name in names(self.plan.fields)),
            ]
        for name in stored:
            try:
                self._stored(name)
            except DatasetError as error:
                yield str(error)

    def sample_fault(self, sample: SampleId) -> str | None:
        """What is wrong with a sample as it is joined here, or None: another shard than was joined, say."""
        try:
            for name in names(self.plan.fields):
                self._sample(sample.split, name, sample.index)
        except DatasetError as error:
            return str(error)
        return None

    def _read_plan(self) -> Plan:
        attributes = self._file.attrs
        if attributes.get("format") != MASTER:
            raise DatasetError(f"{self.path} is not a dataset of submodel: make one with `submodel generate`")
        if attributes["format_version"] != FORMAT_VERSION:
            raise DatasetError(
                f"{self.path} has format version {attributes['format_version']}, this submodel reads "
                f"{FORMAT_VERSION}: use the submodel that made it, {attributes['code_version']}"
            )
        plan = Plan(
            case=attributes["case"],
            seed=int(attributes["seed"]),
            train=int(attributes["train"]),
            test=int(attributes["test"]),
            fields=bool(attributes["fields"]),
            ranks_per_sample=int(attributes["ranks_per_sample"]),
            code_version=attributes["code_version"],
            parameters={split: self._stored(f"{split}/parameters").tolist() for split in SPLITS},
        )
        if plan.key != attributes["plan"]:
            raise DatasetError(f"{self.path}: its attributes are damaged: {REDO}")
        return plan

    def _stored(self, name: str) -> NDArray[Any]:
        """An array of the file itself, compared with its checksum."""
        try:
            array = self._file[name][()]
            whole = _crc32(np.ascontiguousarray(array)) == self._file[name].attrs["crc32"]
        except _UNREADABLE as error:
            raise DatasetError(f"{self.path}: {name} cannot be read ({error}): {REDO}") from error
        if not whole:
            raise DatasetError(f"{self.path}: {name} does not match its checksum: run `submodel generate` again")
        return array

    def _samples(self, split: Split, name: str) -> NDArray[np.float32]:
        """All samples of a field, each compared with its checksum."""
        return self._joined(split, name, 0, self.num_samples(split))

    def _sample(self, split: Split, name: str, index: int) -> NDArray[np.float32]:
        num = self.num_samples(split)
        if not 0 <= index < num:
            held = f"0 to {num - 1}" if num else "none"
            raise DatasetError(f"{self.path} has no sample {index} in its split {split}: it holds {held}")
        return self._joined(split, name, index, index + 1)[0]

    def _joined(self, split: Split, name: str, start: int, stop: int) -> NDArray[np.float32]:
        checksums = self._stored(f"{split}/checksum/{name}")
        try:
            array = self._file[f"{split}/{name}"][start:stop]
        except _UNREADABLE as error:
            raise DatasetError(f"{self.path}: {split}/{name} cannot be read ({error}): {REDO}") from error
        for index, values in enumerate(array, start):
            if _crc32(values) != checksums[index]:
                raise DatasetError(
                    f"{self.path}: {name} of {SampleId(split, index)} does not match its checksum: {REDO}"
                )
        return array
