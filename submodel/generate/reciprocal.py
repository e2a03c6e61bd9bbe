"""Reciprocal runs: from the nodes of the zone's boundary, one for all nodes that symmetries of the mesh map onto it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.problems.reciprocal import ReciprocalModel
from submodel.case.errors import CaseError
from submodel.data.kinds import ReciprocalManifest
from submodel.data.manifest import Task
from submodel.generate.production import Production
from submodel.geometry.symmetry import Symmetries
from submodel.solve.task_farm import agree, on_root


class ReciprocalProduction(Production[ReciprocalManifest]):
    """Runs from the nodes of the zone's boundary, several stepped at once."""

    def draw(self) -> ReciprocalManifest:
        if self.request.test is not None or self.request.calibration is not None:
            raise CaseError(
                "--test and --calibration do not go with --reciprocal, which makes training data: "
                "generate them as another dataset, with --train 0"
            )
        if self.request.precision != "double":
            raise CaseError("--reciprocal makes its runs in double precision: leave --precision out")
        symmetries = self.symmetries
        return on_root(self.comm, lambda: ReciprocalManifest.draw(self.case, self.request, symmetries))

    @cached_property
    def symmetries(self) -> Symmetries:
        """Those of the case's that the mesh has too, so that what they spare is exact. Collective on comm."""
        return self.mesh_symmetries(self.geometry)

    def prepare(self, manifest: ReciprocalManifest) -> int:
        sources = np.array(manifest.sources)
        self.require_sources(sources)
        images = np.concatenate([symmetry.apply(sources) for symmetry in self.symmetries.maps])
        self._reciprocal = agree(self.comm, lambda: ReciprocalModel(self.model, images))
        return self._reciprocal.batch_size()

    def make(
        self, manifest: ReciprocalManifest, batch: list[Task]
    ) -> Iterator[tuple[Task, dict[str, NDArray[np.float64]]]]:
        orbits = [manifest.orbits[task.index] for task in batch]
        wanted: list[tuple[Any, int]] = [(task.group, orbit[0][0]) for task, orbit in zip(batch, orbits, strict=True)]
        runs = self._reciprocal.responses(wanted)
        for task, orbit, values in zip(batch, orbits, runs or (), strict=runs is not None):
            responses = values[:, 1:]
            images = responses.reshape(-1, len(manifest.sources), responses.shape[1])
            yield task, {task.group: images[[symmetry for _, symmetry in orbit]]}

    def summary(self, manifest: ReciprocalManifest) -> str:
        return manifest.summary(self.geometry)
