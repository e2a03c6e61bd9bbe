"""The dataset file: shards, the master that joins them, and reading. The only module that imports h5py.

The layout is specified in docs/dataset-format.md.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from submodel.case import Case, CaseError
from submodel.layout import (
    FIELDS,
    FORMAT_VERSION,
    ZONE_FIELD,
    DatasetError,
    Geometry,
    InterfaceArrays,
    MediumMap,
    master_attributes,
    names,
    shard_marks,
)
from submodel.plan import Plan, SampleId, rows, shards_folder
from submodel.sampling import SPLITS, Split
from submodel.seal import (
    DATASET,
    RECIPROCAL,
    SEAL_SIZE,
    dataset_name,
    is_sealed,
    seal,
    seal_line,
    shard_fault,
    shard_name,
)
from submodel.sections import Units

__all__ = [
    "Dataset",
    "DatasetError",
    "Geometry",
    "InterfaceArrays",
    "MediumMap",
    "ShardWriter",
    "write_master",
]

REDO = "run the same `submodel generate` again, which redoes what is missing or damaged"
UNFINISHED = ".part"
METADATA_SIZE = 2**16  # bytes, generously, of what HDF5 writes beside the arrays of a shard

Floats = NDArray[np.floating[Any]]


def unfinished_name(path: Path) -> Path:
    """What a file is called until it is whole; no other process calls it so."""
    return path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")


class Recorded(Protocol):
    """A plan whose samples, or runs, are written."""

    @property
    def key(self) -> str: ...

    def marks(self, sample: Any) -> dict[str, Any]:
        """What a shard says of its sample."""
        ...


class ShardWriter:
    """Writes one file a sample, whole or not at all. Local.

    All shards of a dataset have one layout. HDF5 makes it once; then a shard is a copy of it with its numbers in their
    places, byte for byte what HDF5 writes, at a small part of its time.

    Args:
        folder: where the shards lie.
        plan: what they belong to.
        shapes: of each array of a sample.
    """

    def __init__(self, folder: Path, plan: Recorded, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._folder = folder
        self._plan = plan
        self._key = plan.key
        self._shapes = dict(shapes)
        self._layouts: dict[str, _Layout] = {}
        self._read: NDArray[np.uint8] = np.empty(0, np.uint8)  # a shard as it is read back; all are of one size

    def write(self, sample: object, arrays: Mapping[str, Floats]) -> None:
        """Write a sample to a temporary name, read it back, compare, and give it its name.

        Args:
            sample: which one.
            arrays: those of `Geometry.shapes`; stored as float32.

        Raises:
            DatasetError: a value is not finite in float32, or what was read back differs.
            OSError: the file cannot be written.
        """
        path = self._folder / f"{sample}.h5"
        unfinished = unfinished_name(path)
        marks = self._plan.marks(sample)
        words = repr({name: mark for name, mark in marks.items() if isinstance(mark, str)})
        if words not in self._layouts:
            self._layouts[words] = _layout(unfinished, shard_marks(self._key), marks, self._shapes)
        layout = self._layouts[words]
        for name, place in layout.arrays.items():
            with np.errstate(over="ignore"):  # an overflow is told below
                np.copyto(place, arrays[name], casting="same_kind")
            if not _is_finite(place):
                raise DatasetError(f"{sample}: {name} has values that float32 cannot hold: scale the units of the case")
        for name, number in layout.marks.items():
            number[...] = marks[name]
        content = layout.content
        content[:SEAL_SIZE] = np.frombuffer(seal_line(content, shard_name(self._key, sample)), np.uint8)
        self._put(unfinished, content)
        os.replace(unfinished, path)

    def _put(self, path: Path, content: NDArray[np.uint8]) -> None:
        """Write a file and see that it can be read."""
        if len(self._read) != len(content):
            self._read = np.empty_like(content)
        with open(path, "w+b") as file:
            num_written = file.write(content.data)
            file.seek(0)
            num_read = file.readinto(self._read.data)
        if not num_written == num_read == len(content) or not _same(self._read, content):
            raise DatasetError(f"{path}: what was read back is not what was written: check the disk")


def _is_finite(values: NDArray[np.float32]) -> bool:
    """Whether all values are finite; the sum of their squares tells it in a tenth of the time, unless it overflows."""
    flat = values.reshape(-1)
    return bool(np.isfinite(np.dot(flat, flat)) or np.isfinite(flat).all())


def _same(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    """Whether two contents are equal, eight bytes at a time."""
    whole = len(a) - len(a) % 8
    return np.array_equal(a[:whole].view(np.uint64), b[:whole].view(np.uint64)) and np.array_equal(a[whole:], b[whole:])


@dataclass(frozen=True)
class _Layout:
    """The bytes of a shard, with the places of what differs between shards.

    Args:
        content: all bytes; the others are views of it.
        arrays: float32, of their shapes.
        marks: attributes that are numbers.
    """

    content: NDArray[np.uint8]
    arrays: dict[str, NDArray[np.float32]]
    marks: dict[str, NDArray[Any]]


def _layout(
    path: Path, common: Mapping[str, Any], marks: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> _Layout:
    """Let HDF5 write a shard whose numbers are place holders, and find those.

    Raises:
        DatasetError: HDF5 keeps attributes in a way in which they are not found.
        OSError: the file cannot be written.
    """
    numbers = {name: np.asarray(mark) for name, mark in marks.items() if not isinstance(mark, str)}
    holders = {name: _place_holder(name, number) for name, number in numbers.items()}
    _require_space(path, 4 * sum(math.prod(shape) for shape in shapes.values()) + METADATA_SIZE)
    starts = {}
    with h5py.File(path, "w", userblock_size=SEAL_SIZE) as file:
        for key, value in {**common, **marks, **holders}.items():
            file.attrs[key] = value
        for name, shape in shapes.items():
            starts[name] = file.create_dataset(name, data=np.zeros(shape, np.float32)).id.get_offset()
    content = np.fromfile(path, np.uint8)
    path.unlink()
    whole = content.tobytes()
    places = {}
    for name, holder in holders.items():
        sought = holder.tobytes()
        if whole.count(sought) != 1:
            raise DatasetError(f"HDF5 {h5py.version.hdf5_version} hides the attribute {name}: use another release")
        start = whole.index(sought)
        places[name] = content[start : start + holder.nbytes].view(holder.dtype).reshape(holder.shape)
    arrays = {
        name: content[start : start + 4 * math.prod(shapes[name])].view(np.float32).reshape(shapes[name])
        for name, start in starts.items()
    }
    return _Layout(content, arrays, places)


def _place_holder(name: str, number: NDArray[Any]) -> NDArray[Any]:
    """A number of the same type and shape whose bytes stand nowhere else."""
    digits = hashlib.shake_256(name.encode()).digest(number.nbytes)
    return np.frombuffer(digits, number.dtype).reshape(number.shape)


def _require_space(path: Path, num_bytes: int) -> None:
    """See that a file of this size can be written, by writing it: on a full disk HDF5 2 crashes instead of failing.

    Raises:
        OSError: the disk is full, or the file would be larger than allowed.
    """
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, num_bytes)


def write_master(path: Path, plan: Plan, geometry: Geometry) -> None:
    """Join the shards as virtual datasets in one file, whole or not at all. Local; all shards must be there.

    Raises:
        OSError: the file cannot be written.
    """
    with sealed_file(path, DATASET) as file:
        file.attrs.update(master_attributes(plan))
        put_geometry(file, path, geometry, Case.from_json(plan.case).units)
        for split in SPLITS:
            _put(file, f"{split}/parameters", plan.vectors(split), "sample", "omega: rad/time; x, y: length")
            samples = [sample for sample in plan.samples if sample.split == split]
            for name, shape in geometry.shapes(plan.fields).items():
                axes = "sample,level,node" if name == ZONE_FIELD else "sample,time,arc"
                pieces = [(f"{sample}.h5", name, shape, ...) for sample in samples]
                join(file, path, f"{split}/{name}", shape, pieces, axes)


@contextmanager
def sealed_file(path: Path, kind: str) -> Iterator[h5py.File]:
    """An HDF5 file to fill, which is sealed and gets its name when it is whole. Local."""
    unfinished = unfinished_name(path)
    with h5py.File(unfinished, "w", userblock_size=SEAL_SIZE) as file:
        yield file
    content = np.fromfile(unfinished, np.uint8)
    with open(unfinished, "r+b") as sealed:
        seal(sealed, content, dataset_name(kind))
    os.replace(unfinished, path)


def put_geometry(file: h5py.File, path: Path, geometry: Geometry, units: Units) -> None:
    """Write what all samples share, and where they lie."""
    file.attrs["shards"] = shards_folder(path).name
    _put(file, "time", geometry.times, "time", units.time)
    for name, unit in (
        ("points", units.length),
        ("arc", units.length),
        ("loop", ""),
        ("weights", units.length),
    ):
        _put(file, f"interface/{name}", getattr(geometry.interface, name), "arc", unit)
    _put(file, "zone/points", geometry.zone_points, "node", units.length)
    _put(file, "medium/x", geometry.medium.x, "x", units.length)
    _put(file, "medium/y", geometry.medium.y, "y", units.length)
    speed = geometry.medium.speed.astype(np.float32)
    file.create_dataset("medium/speed", data=speed).attrs.update(axes="y,x", unit=f"{units.length}/{units.time}")


def join(
    file: h5py.File,
    path: Path,
    name: str,
    shape: tuple[int, ...],
    pieces: Sequence[tuple[str, str, tuple[int, ...], Any]],
    axes: str,
) -> None:
    """Add a virtual dataset, joined from the shards along a first axis.

    Args:
        file: The file.
        path: What it will be called.
        name: Of the dataset.
        shape: Of one piece.
        pieces: Of each a shard's file name, the array therein, this array's shape, and which part of it is taken.
        axes: Names of the axes.
    """
    if not pieces:
        file.create_dataset(name, (0, *shape), np.float32).attrs["axes"] = axes
        return
    layout = h5py.VirtualLayout((len(pieces), *shape), np.float32)
    layout.dcpl.set_obj_track_times(False)  # the same arguments give the same bytes
    for place, (shard, array, whole, part) in enumerate(pieces):
        # relative, so that file and folder move together; HDF5 takes a lone % for a pattern
        source = f"{shards_folder(path).name}/{shard}".replace("%", "%%")
        layout[place] = h5py.VirtualSource(source, array, whole)[part]
    file.create_virtual_dataset(name, layout, fillvalue=np.nan).attrs["axes"] = axes


def _put(file: h5py.File, name: str, array: NDArray[Any], axes: str, unit: str) -> None:
    stored = file.create_dataset(name, data=array)
    stored.attrs["axes"] = axes if array.ndim == 1 else f"{axes},component"
    if unit:
        stored.attrs["unit"] = unit


class Dataset:
    """A finished dataset, open for reading; what it returns has been compared with the checksums.

    with Dataset.open("dataset.h5") as dataset:
        parameters, traces = dataset.parameters("train"), dataset.traces("train")
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file
        self._whole: set[SampleId] = set()  # samples whose shards have been compared with their seals
        self.plan = self._read_plan()
        self.folder = path.parent / file.attrs["shards"]
        self.case = Case.from_json(self.plan.case, label=f"the case in {path}")

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a dataset and see that all its shards are there.

        Raises:
            DatasetError: there is no dataset, it is of another make, unfinished, or lacks shards.
        """
        path = Path(path)
        dataset = cls.open_master(path)
        try:
            dataset._require_shards()
        except DatasetError:
            dataset.close()
            raise
        return dataset

    @classmethod
    def open_master(cls, path: Path) -> Self:
        """Open a dataset whose shards may be missing.

        Raises:
            DatasetError: there is no dataset, it is of another make or unfinished.
        """
        file = open_sealed(path, DATASET)
        try:
            return cls(path, file)
        except ValueError as error:
            file.close()
            raise DatasetError(f"{path} cannot be used: {error}") from error

    def require_case(self, case: Case) -> None:
        """See that the dataset was generated for a case.

        Raises:
            CaseError: it was not; the first difference is named.
        """
        require_same(self.path, self.case, case)

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
        return self.geometry.interface

    @property
    def zone_points(self) -> NDArray[np.float64]:
        """(node, 2) the zone's nodes, by y, then x."""
        return self._stored("zone/points")

    @property
    def medium(self) -> MediumMap:
        """The wave speed in the domain."""
        return self.geometry.medium

    @property
    def geometry(self) -> Geometry:
        """What all samples share."""
        return stored_geometry(self._file)

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
        """Displacement and velocity in the zone, each (time, node); the velocity is the centred rate, as of Γ.

        Raises:
            DatasetError: they were not stored, there is no such sample, or it is damaged.
        """
        if not self.plan.fields:
            raise DatasetError(f"{self.path} holds no fields in the zone: generate another dataset without --no-fields")
        levels = self._sample(split, ZONE_FIELD, index)
        rate = (levels[2:].astype(np.float64) - levels[:-2]) * (0.5 / self.case.time.dt)
        return levels[1:-1], rate.astype(np.float32)

    def _require_shards(self) -> None:
        absent = [sample for sample in self.plan.samples if not (self.folder / f"{sample}.h5").exists()]
        if absent:
            raise DatasetError(
                f"{self.path} lacks {len(absent)} of its samples, first {self.folder.name}/{absent[0]}.h5: put the "
                f"folder {self.folder.name} back beside it, or {REDO}"
            )

    def sample_fault(self, sample: SampleId) -> str | None:
        """What is wrong with a sample as it is joined here, or None: another shard than was joined, say."""
        shapes = self.geometry.shapes(self.plan.fields)
        try:
            for name in names(self.plan.fields):
                values = self._sample(sample.split, name, sample.index)
                if values.dtype != np.float32 or values.shape != shapes[name]:
                    return f"{name} is {values.dtype} {values.shape}, not float32 {shapes[name]}"
                if not np.isfinite(values).all():
                    return f"{name} has values that are not finite"
        except DatasetError as error:
            return str(error)
        return None

    def _read_plan(self) -> Plan:
        attributes = self._file.attrs
        return Plan(
            case=attributes["case"],
            seed=int(attributes["seed"]),
            train=int(attributes["train"]),
            test=int(attributes["test"]),
            calibration=int(attributes["calibration"]),
            fields=bool(attributes["fields"]),
            ranks_per_sample=int(attributes["ranks_per_sample"]),
            precision=attributes["precision"],
            code_version=attributes["code_version"],
            parameters={split: rows(self._stored(f"{split}/parameters")) for split in SPLITS},
        )

    def _stored(self, name: str) -> NDArray[Any]:
        """An array of the file itself."""
        array: NDArray[Any] = self._file[name][()]
        return array

    def _samples(self, split: Split, name: str) -> NDArray[np.float32]:
        """All samples of a field."""
        return self._joined(split, name, 0, self.num_samples(split))

    def _sample(self, split: Split, name: str, index: int) -> NDArray[np.float32]:
        num = self.num_samples(split)
        if not 0 <= index < num:
            held = f"0 to {num - 1}" if num else "none"
            raise DatasetError(f"{self.path} has no sample {index} in its split {split}: it holds {held}")
        values: NDArray[np.float32] = self._joined(split, name, index, index + 1)[0]
        return values

    def _joined(self, split: Split, name: str, start: int, stop: int) -> NDArray[np.float32]:
        for index in range(start, stop):
            self._require_whole(SampleId(split, index))
        try:
            array: NDArray[np.float32] = self._file[f"{split}/{name}"][start:stop]
        except OSError as error:
            raise DatasetError(
                f"{self.path}: {split}/{name} cannot be read ({error}): delete it with {self.folder} and generate anew"
            ) from error
        return array

    def _require_whole(self, sample: SampleId) -> None:
        """Compare a sample's file with its seal, once, before HDF5 reads it."""
        if sample in self._whole:
            return
        fault = shard_fault(self.folder, self.plan, sample) or self._shape_fault(sample)
        if fault:
            raise DatasetError(f"{self.path}: {sample} {fault}; {REDO}")
        self._whole.add(sample)

    def _shape_fault(self, sample: SampleId) -> str | None:
        """Whether the arrays of a shard are those that are joined here: HDF5 2 aborts where a joined one is smaller."""
        shapes = self.geometry.shapes(self.plan.fields)
        with h5py.File(self.folder / f"{sample}.h5", "r") as shard:
            for name, shape in shapes.items():
                stored = shard[name].shape if name in shard else None
                if stored != shape:
                    return f"is damaged: its {name} has the shape {stored}, not {shape}"
        return None


def stored_geometry(file: h5py.File) -> Geometry:
    """What `put_geometry` wrote."""

    def group(name: str, made: type[Any]) -> Any:
        return made(**{key: file[f"{name}/{key}"][()] for key in made.__annotations__})

    return Geometry(
        file["time"][()], group("interface", InterfaceArrays), file["zone/points"][()], group("medium", MediumMap)
    )


def require_same(path: Path, theirs: Case, ours: Case) -> None:
    """See that the dataset at path was generated for a case.

    Raises:
        CaseError: it was not; the first difference is named.
    """
    if theirs.fingerprint() != ours.fingerprint():
        key, has, wanted = next(theirs.differences(ours))
        raise CaseError(
            f"{path} was generated for another case ('{theirs.name}': {key} is {has}, here {wanted}): "
            "use that case, or generate a dataset for this one"
        )


def open_sealed(path: Path, kind: str) -> h5py.File:
    """Open a file once it is known to be what was written. Local.

    Args:
        path: The file.
        kind: `seal.DATASET` or `seal.RECIPROCAL`.

    Raises:
        DatasetError: there is none, or another kind of dataset, or of another version, or it has changed.
    """
    if not path.exists():
        begun = shards_folder(path).is_dir()
        remedy = "run the same `submodel generate` again" if begun else "make it with `submodel generate`"
        raise DatasetError(f"{path} {'is unfinished' if begun else 'does not exist'}: {remedy}")
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DatasetError(f"cannot read {path} ({error.strerror}): name a dataset") from error
    said = content[:SEAL_SIZE].tobytes().decode(errors="replace")
    if kind == DATASET and said.startswith(RECIPROCAL):
        raise DatasetError(f"{path} holds reciprocal runs, which can only be trained on: name a dataset with samples")
    if kind == RECIPROCAL and said.startswith(DATASET):
        raise DatasetError(f"{path} holds samples: name a dataset made with `submodel generate --reciprocal`")
    if not said.startswith(kind):
        raise DatasetError(f"{path} is not a dataset of submodel: make one with `submodel generate`")
    version = said.removeprefix(kind).partition(",")[0]
    if version != str(FORMAT_VERSION):
        raise DatasetError(
            f"{path} has format version {version}, this submodel reads {FORMAT_VERSION}: use the one that made it"
        )
    if not is_sealed(content, dataset_name(kind)):
        raise DatasetError(f"{path} is damaged: it does not match its checksum; {REDO}")
    return h5py.File(path, "r")


@dataclass(frozen=True)
class LaidOut:
    """A file whose arrays lie in one piece each, to be filled where they lie, by any number of processes.

    Args:
        attributes: of the root.
        arrays: of each array its first byte, its shape and its type.
    """

    attributes: dict[str, Any]
    arrays: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]]


def lay_out(
    path: Path,
    attributes: Mapping[str, Any],
    arrays: Mapping[str, tuple[NDArray[Any] | tuple[tuple[int, ...], str], str, str]],
) -> None:
    """Make an HDF5 file with room for its arrays, whole or not at all. Local.

    Args:
        path: the file.
        attributes: of the root.
        arrays: of each its values, or shape and type of zeros to be; its axes; its unit or an empty string.

    Raises:
        OSError: the file cannot be written, or there is no room for it.
    """
    unfinished = unfinished_name(path)
    unfinished.unlink(missing_ok=True)
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # a new file's bytes are zeros
    early.set_obj_track_times(False)
    try:
        with h5py.File(unfinished, "w") as file:
            file.attrs.update(attributes)
            for name, (given, axes, unit) in arrays.items():
                if isinstance(given, np.ndarray):
                    _put(file, name, given, axes, unit)
                    continue
                shape, kind = given
                space, stored = h5py.h5s.create_simple(shape), h5py.h5t.py_create(np.dtype(kind))
                made = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), stored, space, early))
                made.attrs.update({"axes": axes} | ({"unit": unit} if unit else {}))
        with open(unfinished, "r+b") as made_file:
            os.posix_fallocate(made_file.fileno(), 0, os.fstat(made_file.fileno()).st_size)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def laid_out(path: Path) -> LaidOut:
    """Attributes and places of a file that `lay_out` made. Local.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: (array.id.get_offset(), array.shape, array.dtype) for name, array in file.items()}
            return LaidOut(dict(file.attrs), arrays)
    except (OSError, AttributeError) as error:
        raise DatasetError(f"{path} cannot be read as a file of this program ({error}): remove it") from error
