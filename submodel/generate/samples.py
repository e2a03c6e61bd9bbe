"""Samples: runs of the full model from sources with their signals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submodel.case.sampling import SPLITS
from submodel.data.kinds import SampleManifest
from submodel.data.manifest import DatasetError, Task
from submodel.generate.production import Production
from submodel.geometry.arrays import FIELDS, ZONE_FIELD
from submodel.solve import from_case as build
from submodel.solve.task_farm import on_root


class SampleProduction(Production[SampleManifest]):
    """Runs of the full model, several stepped at once."""

    def draw(self) -> SampleManifest:
        return on_root(self.comm, lambda: SampleManifest.draw(self.case, self.request))

    def prepare(self, manifest: SampleManifest) -> int:
        vectors = np.concatenate([manifest.vectors(split) for split in SPLITS])
        self.require_sources(self.case.parameters.sources(vectors))
        self.model.runs.prepare(manifest.dtype)
        return self.model.batch_size(manifest.dtype, fields=manifest.fields)

    def make(
        self, manifest: SampleManifest, batch: list[Task]
    ) -> Iterator[tuple[Task, dict[str, NDArray[np.floating[Any]]]]]:
        sources = [build.point_source(self.case, manifest.vector(task)) for task in batch]
        runs = self.model.run_many(sources, fields=manifest.fields, dtype=manifest.dtype)
        for task, run in zip(batch, runs or (), strict=runs is not None):
            if not np.array_equal(run.trace.times, self.geometry.times):
                raise DatasetError("the levels of the run are not those of the case: correct the solver")
            zone = {} if run.zone is None else {ZONE_FIELD: run.zone}
            yield task, {name: getattr(run.trace, name) for name in FIELDS} | zone
