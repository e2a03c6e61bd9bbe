"""Datasets of samples and of reciprocal runs, as they are read. No FEniCS needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.time.grid import centred_rate
from submodel.case.parameters import X, Y
from submodel.case.sampling import Split
from submodel.data.cross import CrossDataset
from submodel.data.dataset_file import DatasetFile
from submodel.data.kinds import QUANTITIES, ReciprocalManifest, SampleManifest
from submodel.data.manifest import DatasetError, Task
from submodel.geometry.arrays import FIELDS, ZONE_FIELD


class Dataset(DatasetFile[SampleManifest]):
    """Samples of the full model.

    with Dataset.open("dataset.h5") as dataset:
        parameters, traces = dataset.parameters("train"), dataset.traces("train")
    """

    KIND, TITLE = SampleManifest, "a dataset"

    def num_samples(self, split: Split) -> int:
        """Number of samples of a split."""
        return self.manifest.counts()[split]

    def parameters(self, split: Split) -> NDArray[np.float64]:
        """(sample, axis)."""
        return self.manifest.vectors(split)

    def training_parameters(self) -> NDArray[np.float64]:
        """Parameters of the training data, (sample, axis)."""
        return self.parameters("train")

    def traces(self, split: Split) -> dict[str, NDArray[np.float32]]:
        """Displacement, velocity and load on the zone's boundary, each (sample, time, arc).

        Raises:
            DatasetError: a sample is damaged.
        """
        self._require_whole(task for task in self.manifest.tasks if task.group == split)
        return {name: self._read(f"{split}/{name}", ...) for name in FIELDS}

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
        if not self.manifest.fields:
            raise DatasetError(f"{self.path} holds no fields in the zone: generate another dataset without --no-fields")
        levels = self._sample(split, ZONE_FIELD, index)
        return levels[1:-1], centred_rate(levels, self.case.time.dt).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """Facts about the dataset, by name."""
        counts = self.manifest.counts()
        calibration = f", {counts['calibration']} calibration" if counts["calibration"] else ""
        return {
            "case": f"{self.case.name} ({self.case.fingerprint()})",
            "samples": f"{counts['train']} training, {counts['test']} test{calibration}",
            "seed": self.manifest.seed,
            "levels": f"{len(self.times)} up to t = {self.times[-1]:g} {self.case.units.time}",
            "nodes on the zone's boundary": self.gamma.num_nodes,
            "nodes in the zone": len(self.zone_points),
            "fields in the zone": "yes" if self.manifest.fields else "no",
            "written by": f"submodel {self.manifest.code_version}",
        }

    def _sample(self, split: Split, name: str, index: int) -> NDArray[np.float32]:
        num = self.num_samples(split)
        if not 0 <= index < num:
            there = f"0 to {num - 1}" if num else "none"
            raise DatasetError(f"{self.path} has no sample {index} in its split {split}: it holds {there}")
        self._require_whole([Task(split, index)])
        return self._read(f"{split}/{name}", index)


class ReciprocalDataset(DatasetFile[ReciprocalManifest]):
    """Impulse responses of the zone's boundary to a source at many places.

    with ReciprocalDataset.open("reciprocal.h5") as dataset:
        displacement, load = dataset.responses(slice(0, 64))
    """

    KIND, TITLE = ReciprocalManifest, "a reciprocal dataset"

    @property
    def sources(self) -> NDArray[np.float64]:
        """(source, 2), length."""
        return np.array(self.manifest.sources, dtype=np.float64)

    @property
    def num_sources(self) -> int:
        """Number of sources."""
        return len(self.manifest.sources)

    def training_parameters(self) -> NDArray[np.float64]:
        """Parameters of the training data, (source, axis): NaN but for the place."""
        return self.case.parameters.vectors({X: self.sources[:, 0], Y: self.sources[:, 1]})

    def responses(self, which: slice = slice(None)) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Impulse responses g of displacement and load on the zone's boundary: q[n] = sum of g[n - m] s[m].

        Args:
            which: The sources wanted.

        Returns:
            Two arrays, (source, time, arc), for the levels n = 0, 1, ...

        Raises:
            DatasetError: a run is damaged.
        """
        self._require_whole(self.manifest.tasks)
        arcs_first = (self._read(quantity, (slice(None), which)) for quantity in QUANTITIES)
        displacement, load = (np.ascontiguousarray(values.transpose(1, 2, 0)) for values in arcs_first)
        return displacement, load

    def describe(self) -> dict[str, Any]:
        """Facts about the dataset, by name."""
        manifest = self.manifest
        return {
            "case": f"{self.case.name} ({self.case.fingerprint()})",
            "runs": f"{len(manifest.tasks)}, two for each of {len(manifest.orbits)} nodes of the zone's boundary",
            "sources": f"{self.num_sources}, seed {manifest.seed}",
            "symmetries of the mesh": ", ".join(manifest.symmetries),
            "levels": f"{len(self.times)} up to t = {self.times[-1]:g} {self.case.units.time}",
            "nodes on the zone's boundary": manifest.num_nodes,
            "written by": f"submodel {manifest.code_version}",
        }


Reader = type[Dataset] | type[ReciprocalDataset] | type[CrossDataset]
READERS: tuple[Reader, ...] = (Dataset, ReciprocalDataset, CrossDataset)


def reader_of(path: Path) -> Reader:
    """The class that reads a file, by its seal, of whatever version; `Dataset` where it is none. Local."""
    try:
        with open(path, "rb") as file:
            seal = file.read(max(len(reader.KIND.SEAL) for reader in READERS))
    except OSError:
        return Dataset
    return next((reader for reader in READERS if seal.startswith(reader.KIND.SEAL.encode())), Dataset)
