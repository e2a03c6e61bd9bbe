"""The dataset file: the master that joins the shards, and reading.

The layout is specified in docs/dataset-format.md.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.chart import gamma_arrays, gamma_from
from solvers.gamma.gamma import Gamma
from solvers.time.grid import centred_rate
from submodel.case.case import Case, CaseError
from submodel.case.sampling import SPLITS, Split
from submodel.case.sections import Units
from submodel.data.checksum import (
    DATASET,
    RECIPROCAL,
    SEAL_SIZE,
    dataset_name,
    is_sealed,
    shard_fault,
)
from submodel.data.hdf5 import File, join, open_file, put, sealed_file
from submodel.data.manifest import Plan, SampleId, rows, shards_folder
from submodel.geometry.arrays import (
    FIELDS,
    FORMAT_VERSION,
    ZONE_FIELD,
    DatasetError,
    Geometry,
    MediumMap,
    master_attributes,
    names,
)

__all__ = [
    "Dataset",
    "DatasetError",
    "Geometry",
    "MediumMap",
    "write_master",
]

REDO = "run the same `submodel generate` again, which redoes what is missing or damaged"


def write_master(path: Path, plan: Plan, geometry: Geometry) -> None:
    """Join the shards as virtual datasets in one file, whole or not at all. Local; all shards must be there.

    Raises:
        OSError: the file cannot be written.
    """
    with sealed_file(path, DATASET) as file:
        file.attrs.update(master_attributes(plan))
        case = Case.from_json(plan.case)
        put_geometry(file, path, geometry, case.units)
        for split in SPLITS:
            put(file, f"{split}/parameters", plan.vectors(split), "sample", case.parameters.unit_words(case.units))
            samples = [sample for sample in plan.samples if sample.split == split]
            for name, shape in geometry.shapes(plan.fields).items():
                axes = "sample,level,node" if name == ZONE_FIELD else "sample,time,arc"
                pieces = [(f"{sample}.h5", name, shape, ...) for sample in samples]
                join(file, path, f"{split}/{name}", shape, pieces, axes)


def put_geometry(file: File, path: Path, geometry: Geometry, units: Units) -> None:
    """Write what all samples share, and where they lie."""
    file.attrs["shards"] = shards_folder(path).name
    put(file, "time", geometry.times, "time", units.time)
    for name, array in gamma_arrays(geometry.gamma).items():
        put(file, f"interface/{name}", array, "arc", units.length if array.dtype == np.float64 else "")
    file["interface"].attrs["chart"] = geometry.gamma.chart.name
    put(file, "zone/points", geometry.zone_points, "node", units.length)
    put(file, "medium/x", geometry.medium.x, "x", units.length)
    put(file, "medium/y", geometry.medium.y, "y", units.length)
    speed = geometry.medium.speed.astype(np.float32)
    file.create_dataset("medium/speed", data=speed).attrs.update(axes="y,x", unit=f"{units.length}/{units.time}")


class Dataset:
    """A finished dataset, open for reading; what it returns has been compared with the checksums.

    with Dataset.open("dataset.h5") as dataset:
        parameters, traces = dataset.parameters("train"), dataset.traces("train")
    """

    def __init__(self, path: Path, file: File) -> None:
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
    def gamma(self) -> Gamma:
        """The zone's boundary."""
        return self.geometry.gamma

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
        """(sample, axis)."""
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
        return levels[1:-1], centred_rate(levels, self.case.time.dt).astype(np.float32)

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
        with open_file(self.folder / f"{sample}.h5") as shard:
            for name, shape in shapes.items():
                stored = shard[name].shape if name in shard else None
                if stored != shape:
                    return f"is damaged: its {name} has the shape {stored}, not {shape}"
        return None


def stored_geometry(file: File) -> Geometry:
    """What `put_geometry` wrote."""
    gamma, medium = ({key: stored[()] for key, stored in file[name].items()} for name in ("interface", "medium"))
    gamma |= file["interface"].attrs  # the chart's name
    return Geometry(file["time"][()], gamma_from(gamma), file["zone/points"][()], MediumMap(**medium))


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


def open_sealed(path: Path, kind: str) -> File:
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
    return open_file(path)
