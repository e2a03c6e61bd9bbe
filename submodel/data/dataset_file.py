"""The joining file of a dataset of any kind: written whole, read once its checksum and its shards' are compared.

The layout is specified in docs/dataset-format.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.chart import gamma_arrays, gamma_from
from solvers.gamma.gamma import Gamma
from submodel.case.case import Case, CaseError
from submodel.data.hdf5 import File, join, open_file, put, sealed_file
from submodel.data.manifest import REFUSALS, DatasetError, Joined, Manifest, Task, shards_folder
from submodel.data.storage.checksum import FORMAT_VERSION, SEAL_SIZE, dataset_name, is_sealed, shard_fault
from submodel.geometry.arrays import Geometry, MediumMap

REDO = "run the same `submodel generate` again, which redoes what is missing or damaged"
AnyManifest = TypeVar("AnyManifest", bound=Manifest)


def write_master(path: Path, manifest: Manifest, geometry: Geometry) -> None:
    """Join the shards as virtual datasets in one file, whole or not at all. Local; all shards must be there.

    Raises:
        OSError: the file cannot be written.
    """
    with sealed_file(path, manifest.SEAL) as file:
        file.attrs.update(manifest.attributes())
        _put_geometry(file, path, geometry, Case.from_json(manifest.case))
        for content in manifest.contents(geometry):
            if isinstance(content, Joined):
                join(file, path, content)
            else:
                put(file, content.name, content.values, content.axes, content.unit)


def _put_geometry(file: File, path: Path, geometry: Geometry, case: Case) -> None:
    """Write what all samples share, and where they lie."""
    units = case.units
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


class DatasetFile(Generic[AnyManifest]):
    """A finished dataset, open for reading; what it returns has been compared with the checksums.

    A kind of dataset is a class of its own, with a manifest of its own.
    """

    KIND: ClassVar[type[Any]]  # of manifest

    def __init__(self, path: Path, file: File) -> None:
        self.path = path
        self._file = file
        self._whole: set[Task] = set()  # those whose shards have been compared with their seals
        self.manifest: AnyManifest = self.KIND.from_file(file.attrs, self._stored)
        self.folder = path.parent / file.attrs["shards"]
        self.case = Case.from_json(self.manifest.case, label=f"the case in {path}")

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a dataset and see that all its shards are there.

        Raises:
            DatasetError: there is no dataset, it is of another make or kind, unfinished, or lacks shards.
        """
        dataset = cls.open_master(path)
        absent = [task for task in dataset.manifest.tasks if not (dataset.folder / f"{task}.h5").exists()]
        if absent:
            dataset.close()
            raise DatasetError(
                f"{path} lacks {len(absent)} of its {cls.KIND.UNIT}, first {dataset.folder.name}/{absent[0]}.h5: put "
                f"the folder {dataset.folder.name} back beside it, or {REDO}"
            )
        return dataset

    @classmethod
    def open_master(cls, path: str | Path) -> Self:
        """Open a dataset whose shards may be missing.

        Raises:
            DatasetError: there is no dataset, it is of another make or kind, or unfinished.
        """
        path = Path(path)
        file = _open_sealed(path, cls.KIND)
        try:
            return cls(path, file)
        except ValueError as error:
            file.close()
            raise DatasetError(f"{path} cannot be used: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def require_case(self, case: Case) -> None:
        """See that the dataset was generated for a case.

        Raises:
            CaseError: it was not; the first difference is named.
        """
        if self.case.fingerprint() != case.fingerprint():
            key, has, wanted = next(self.case.differences(case))
            raise CaseError(
                f"{self.path} was generated for another case ('{self.case.name}': {key} is {has}, here {wanted}): "
                "use that case, or generate a dataset for this one"
            )

    @cached_property
    def geometry(self) -> Geometry:
        """Arrays that all samples share."""
        groups = (self._file[name] for name in ("interface", "medium"))
        gamma, medium = ({key: array[()] for key, array in group.items()} for group in groups)
        gamma |= self._file["interface"].attrs  # the chart's name
        return Geometry(self._stored("time"), gamma_from(gamma), self.zone_points, MediumMap(**medium))

    @property
    def times(self) -> NDArray[np.float64]:
        """(time,) the levels, in units of time."""
        return self.geometry.times

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

    def faults(self) -> Iterator[tuple[Task, str]]:
        """The tasks whose shards are missing or damaged, or whose values are not finite, each with its fault."""
        joined = [content for content in self.manifest.contents(self.geometry) if isinstance(content, Joined)]
        rows: dict[Task, list[tuple[Joined, int]]] = {}
        for content in joined:
            for row, piece in enumerate(content.pieces):
                rows.setdefault(piece.task, []).append((content, row))
        for task in self.manifest.tasks:
            if fault := self._shard_fault(task) or self._value_fault(rows[task]):
                yield task, fault

    def _value_fault(self, rows: list[tuple[Joined, int]]) -> str | None:
        """A fault of a task's rows as they are joined here, where another shard than was joined may be read."""
        for content, row in rows:
            name = content.name.rpartition("/")[2]
            try:
                values = self._read(content.name, row)
            except DatasetError as error:
                return str(error)
            if values.dtype != np.float32 or values.shape != content.shape:
                return f"{name} is {values.dtype} {values.shape}, not float32 {content.shape}"
            if not np.isfinite(values).all():
                return f"{name} has values that are not finite"
        return None

    def _stored(self, name: str) -> NDArray[Any]:
        """An array of the file itself."""
        array: NDArray[Any] = self._file[name][()]
        return array

    def _read(self, name: str, place: Any) -> NDArray[np.float32]:
        """Part of a joined array, whose shards are whole."""
        try:
            array: NDArray[np.float32] = self._file[name][place]
        except OSError as error:
            raise DatasetError(
                f"{self.path}: {name} cannot be read ({error}): delete it with {self.folder} and generate anew"
            ) from error
        return array

    def _require_whole(self, tasks: Iterable[Task]) -> None:
        """Compare shards with their seals, each once, before HDF5 reads them."""
        for task in tasks:
            if task not in self._whole:
                if fault := self._shard_fault(task):
                    raise DatasetError(f"{self.path}: {task} {fault}; {REDO}")
                self._whole.add(task)

    def _shard_fault(self, task: Task) -> str | None:
        """A fault of a shard; its shapes too, as HDF5 2 aborts where a joined array is smaller than it says."""
        if fault := shard_fault(self.folder, self.manifest.key, task):
            return fault
        with open_file(self.folder / f"{task}.h5") as shard:
            for name, shape in self.manifest.shapes(task, self.geometry).items():
                stored = shard[name].shape if name in shard else None
                if stored != shape:
                    return f"is damaged: its {name} has the shape {stored}, not {shape}"
        return None


def _open_sealed(path: Path, kind: type[Manifest]) -> File:
    """Open a file once it is known to be what was written. Local.

    Raises:
        DatasetError: there is none, or another kind of dataset, or of another version, or it has changed.
    """
    if not os.path.exists(path):  # which does not mind a name that is too long
        begun = os.path.isdir(shards_folder(path))
        remedy = "run the same `submodel generate` again" if begun else "make it with `submodel generate`"
        raise DatasetError(f"{path} {'is unfinished' if begun else 'does not exist'}: {remedy}")
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DatasetError(f"cannot read {path} ({error.strerror}): name a dataset") from error
    seal = content[:SEAL_SIZE].tobytes().decode(errors="replace")
    for other, refusal in REFUSALS.items():
        if other != kind.SEAL and seal.startswith(other):
            raise DatasetError(f"{path} {refusal}")
    if not seal.startswith(kind.SEAL):
        raise DatasetError(f"{path} is not a dataset of submodel: make one with `submodel generate`")
    version = seal.removeprefix(kind.SEAL).partition(",")[0]
    if version != str(FORMAT_VERSION):
        raise DatasetError(
            f"{path} has format version {version}, this submodel reads {FORMAT_VERSION}: use the one that made it"
        )
    if not is_sealed(content, dataset_name(kind.SEAL)):
        raise DatasetError(f"{path} is damaged: it does not match its checksum; {REDO}")
    return open_file(path)
