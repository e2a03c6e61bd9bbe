"""A kind of generation: the manifest that it asks for, and the making of a batch of its tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.problems.full import FullModel
from solvers.problems.reciprocal import preserves
from submodel.case.case import Case
from submodel.data.manifest import Manifest, Request, Task
from submodel.geometry.arrays import Geometry
from submodel.geometry.symmetry import Symmetries, find
from submodel.solve import from_case as build
from submodel.solve.task_farm import agree

AnyManifest = TypeVar("AnyManifest", bound=Manifest)
Made = Iterable[tuple[Task, Mapping[str, NDArray[np.floating[Any]]]]]


class Production(ABC, Generic[AnyManifest]):
    """A kind of generation. Its model is built when it is first asked for.

    Args:
        case: what is solved and sampled.
        request: the arguments.
        comm: all ranks.
        group: those that share a run.
    """

    def __init__(self, case: Case, request: Request, comm: MPI.Comm, group: MPI.Comm) -> None:
        self.case, self.request, self.comm, self.group = case, request, comm, group

    @cached_property
    def model(self) -> FullModel:
        """The full model, built in the root's group, which fills the cache of compiled forms, then in the others.

        Collective on comm.
        """
        first = self.comm.rank < self.comm.bcast(self.group.size)
        models = agree(self.comm, lambda: [self.build_model()] if first else [])
        return (models + agree(self.comm, lambda: [] if first else [self.build_model()]))[0]

    def build_model(self) -> FullModel:
        """The full model of the case. Collective on group."""
        return build.full_model(self.case, self.group)

    @cached_property
    def geometry(self) -> Geometry:
        """Arrays that all samples share. Collective on comm."""
        return agree(self.comm, lambda: shared_geometry(self.case, self.model))

    def mesh_symmetries(self, plain: Geometry) -> Symmetries:
        """Those of the case's that the mesh has too, so that what they spare is exact. Collective on comm."""

        def preserved() -> Symmetries:
            possible = find(plain.gamma, plain.medium, self.case.symmetry.maps)
            domain = self.model.domain
            return Symmetries(tuple(each for each in possible if preserves(domain, each.matrix, each.shift)))

        return agree(self.comm, preserved)

    def require_sources(self, places: NDArray[np.float64]) -> None:
        """Refuse places, (source, 2), that the mesh does not hold. Collective on comm."""
        if self.case.domain.box is None:  # of a box the case itself knows what lies inside
            self.case.parameters.require_clear(self.model.zone_points)
            self.model.require_sources(places)

    @abstractmethod
    def draw(self) -> AnyManifest:
        """Draw what is asked for. Collective on comm.

        Raises:
            ValueError: an argument cannot be used.
        """

    @abstractmethod
    def prepare(self, manifest: AnyManifest) -> int:
        """Refuse sources that cannot be run, and make ready what the runs need. Collective on comm.

        Returns:
            The number of tasks that are made at once.
        """

    @abstractmethod
    def make(self, manifest: AnyManifest, batch: list[Task]) -> Made:
        """Run a batch. Collective on group.

        Returns:
            Each task with the arrays of its shard on the root of the group, nothing on other ranks.
        """

    def summary(self, manifest: AnyManifest) -> str | None:
        """A sentence before the first run: the runs that are needed, and what they cover. Collective on comm."""
        return None


def shared_geometry(case: Case, model: FullModel) -> Geometry:
    """Arrays that all samples share. Collective on the model's comm."""
    zone_points = np.asarray(model.zone_points, dtype=np.float64)
    return Geometry(case.time.times, model.gamma, zone_points, build.medium_map(case, model.domain))
