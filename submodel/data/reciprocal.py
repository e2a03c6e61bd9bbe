"""Reciprocal datasets: impulse responses of the zone's boundary to a source at many places. No FEniCS needed.

`submodel.generate.reciprocal` makes them; docs/dataset-format.md says how they lie on disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.gamma import Gamma
from submodel.case.case import Case
from submodel.data.checksum import RECIPROCAL, shard_fault
from submodel.data.dataset import REDO, DatasetError, open_sealed, put_geometry, require_same, stored_geometry
from submodel.data.hdf5 import join, sealed_file
from submodel.data.manifest import rows
from submodel.data.reciprocal_manifest import FIELDS, ReciprocalPlan, RunId
from submodel.geometry.arrays import FORMAT_VERSION, Geometry, MediumMap
from submodel.geometry.symmetry import Symmetry, find


def write_reciprocal(path: Path, plan: ReciprocalPlan, geometry: Geometry) -> None:
    """Join the runs in one file, whole or not at all. Local; all shards must be there.

    Raises:
        OSError: the file cannot be written.
    """
    case = Case.from_json(plan.case)
    place = {node: (run, index) for run, orbit in enumerate(plan.orbits) for index, (node, _) in enumerate(orbit)}
    with sealed_file(path, RECIPROCAL) as file:
        file.attrs.update(
            {
                "format": "submodel-reciprocal",
                "format_version": FORMAT_VERSION,
                "plan": plan.key,
                "case": plan.case,
                "case_fingerprint": case.fingerprint(),
                "code_version": plan.code_version,
                "seed": plan.seed,
                "ranks_per_sample": plan.ranks_per_sample,
                "symmetries": json.dumps(plan.symmetries),
                "orbits": json.dumps(plan.orbits),
            }
        )
        put_geometry(file, path, geometry, case.units)
        stored = file.create_dataset("sources", data=np.array(plan.sources))
        stored.attrs.update(axes="source,component", unit=case.units.length)
        for field in FIELDS:
            pieces = []
            for node in range(plan.num_nodes):
                run = RunId(field, place[node][0])
                pieces.append((f"{run}.h5", field, plan.shape(run, len(geometry.times)), place[node][1]))
            join(file, path, field, (len(plan.sources), len(geometry.times)), pieces, "arc,source,time")


def plan_of_reciprocal(path: Path) -> ReciprocalPlan:
    """The plan of a reciprocal dataset."""
    with ReciprocalDataset.open_master(path) as dataset:
        return dataset.plan


class ReciprocalDataset:
    """A finished reciprocal dataset, open for reading; what it returns has been compared with the checksums.

    with ReciprocalDataset.open("reciprocal.h5") as dataset:
        displacement, load = dataset.responses(slice(0, 64))
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self._file = file
        self._whole = False
        attributes = file.attrs
        self.plan = ReciprocalPlan(
            case=attributes["case"],
            seed=int(attributes["seed"]),
            ranks_per_sample=int(attributes["ranks_per_sample"]),
            code_version=attributes["code_version"],
            sources=rows(file["sources"][()]),
            symmetries=json.loads(attributes["symmetries"]),
            orbits=json.loads(attributes["orbits"]),
        )
        self.folder = path.parent / attributes["shards"]
        self.case = Case.from_json(self.plan.case, label=f"the case in {path}")
        self.geometry = stored_geometry(file)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a dataset and see that all its runs are there.

        Raises:
            DatasetError: there is no dataset, it is of another make, unfinished, or lacks runs.
        """
        dataset = cls.open_master(Path(path))
        absent = [run for run in dataset.plan.samples if not (dataset.folder / f"{run}.h5").exists()]
        if absent:
            dataset.close()
            raise DatasetError(
                f"{path} lacks {len(absent)} of its runs, first {dataset.folder.name}/{absent[0]}.h5: put the "
                f"folder {dataset.folder.name} back beside it, or {REDO}"
            )
        return dataset

    @classmethod
    def open_master(cls, path: Path) -> Self:
        """Open a dataset whose runs may be missing.

        Raises:
            DatasetError: there is no dataset, it is of another make or unfinished.
        """
        file = open_sealed(path, RECIPROCAL)
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
        require_same(self.path, self.case, case)

    @property
    def sources(self) -> NDArray[np.float64]:
        """(source, 2), length."""
        return np.array(self.plan.sources, dtype=np.float64)

    @property
    def num_sources(self) -> int:
        """Number of sources."""
        return len(self.plan.sources)

    @property
    def times(self) -> NDArray[np.float64]:
        """(time,) the levels, in units of time."""
        return self.geometry.times

    @property
    def gamma(self) -> Gamma:
        """The zone's boundary."""
        return self.geometry.gamma

    @property
    def medium(self) -> MediumMap:
        """The wave speed in the domain."""
        return self.geometry.medium

    @property
    def symmetries(self) -> list[Symmetry]:
        """The maps that the mesh has, which spared runs; a training may know more, see `symmetry.find`."""
        return find(self.gamma, self.medium, self.plan.symmetries[1:])

    def responses(self, which: slice = slice(None)) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Impulse responses g of displacement and load on the zone's boundary: q[n] = sum of g[n - m] s[m].

        Args:
            which: The sources wanted.

        Returns:
            Two arrays, (source, time, arc), for the levels n = 0, 1, ...

        Raises:
            DatasetError: a run is damaged.
        """
        self._require_whole()
        displacement, load = (
            np.ascontiguousarray(self._file[field][:, which, :].transpose(1, 2, 0)) for field in FIELDS
        )
        return displacement, load

    def faults(self) -> Iterator[tuple[RunId, str]]:
        """The runs that are missing, damaged or not finite, and what is wrong with each."""
        for run in self.plan.samples:
            fault = shard_fault(self.folder, self.plan, run)
            if fault is None:
                nodes = sorted(node for node, _ in self.plan.orbits[run.orbit])
                if not all(np.isfinite(self._file[run.field][node]).all() for node in nodes):
                    fault = f"{run.field} has values that are not finite"
            if fault:
                yield run, fault

    def describe(self) -> dict[str, Any]:
        """Facts about the dataset, by name."""
        return {
            "case": f"{self.case.name} ({self.case.fingerprint()})",
            "runs": f"{len(self.plan.samples)}, two for each of {len(self.plan.orbits)} nodes of the zone's boundary",
            "sources": f"{self.num_sources}, seed {self.plan.seed}",
            "symmetries of the mesh": ", ".join(self.plan.symmetries),
            "levels": f"{len(self.times)} up to t = {self.times[-1]:g} {self.case.units.time}",
            "nodes on the zone's boundary": self.plan.num_nodes,
            "written by": f"submodel {self.plan.code_version}",
        }

    def _require_whole(self) -> None:
        """Compare all shards with their seals, once, before HDF5 reads them."""
        if self._whole:
            return
        for run in self.plan.samples:
            if fault := shard_fault(self.folder, self.plan, run):
                raise DatasetError(f"{self.path}: {run} {fault}; {REDO}")
        self._whole = True
