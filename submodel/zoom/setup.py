"""The zone of zoomed runs: what a user chooses of it beside the case, and what the record keeps of that."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.mesh.domain import Defect
from solvers.problems.zone import ZoneModel
from submodel.case.case import Case
from submodel.solve import from_case as build


@dataclass(frozen=True)
class ZoneSetup:
    """Choices of a zoomed run.

    Args:
        condition: Kind of interface condition, the case's by default.
        refine: How many cells each cell's edge is divided into.
        defect: A disc with another wave speed.
    """

    condition: str | None = None
    refine: int = 1
    defect: Defect | None = None

    def build(self, case: Case, comm: MPI.Comm, sources: NDArray[np.float64], omega: float | None = None) -> ZoneModel:
        """The zone, for waves up to an angular frequency. Collective on comm.

        Raises:
            CaseError: A source, (source, 2), lies in the zone, on its boundary or outside the domain.
            ValueError: The zone cannot be built.
        """
        return build.zone_model(
            case,
            comm,
            condition=self.condition,
            refine=self.refine,
            defect=self.defect,
            sources=sources,
            omega=omega,
        )

    def record(self, model: ZoneModel) -> dict[str, Any]:
        """Plain values that say which zone was run."""
        return {
            "interface": model.condition.name,
            **model.condition.parameters(),
            "refine": self.refine,
            "defect": None if self.defect is None else asdict(self.defect),
            "steps_per_level": model.parts,
        }
