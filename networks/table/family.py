"""The wave table as a family: computed from runs, it answers any signal."""

from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from networks.core.prediction import SourceSets
from networks.response.predictor import ResponsePredictor
from networks.table.bases.area import Patch
from networks.table.data import CrossData
from networks.table.generator import TableGenerator
from networks.table.inference import TableInference
from networks.table.solve import Solved, solve_table
from networks.table.source_mesh import SourceMesh
from networks.table.spec import TableSpec
from networks.training.plan import Epoch, History, TrainingPlan


@dataclass(frozen=True)
class TableData:
    """Runs that a table is computed from, and what is asked of it.

    Attributes:
        cross: direct and reciprocal runs, places in the user's coordinates; its mesh is a `SourceMesh`.
        tolerance: wanted mean relative error of u; None for as small as the runs are.
        basis: description of the basis; the nodes of the mesh by default.
        numbers: real numbers of the factors at most, in place of a tolerance.
        runs: reciprocal runs that the loads come from, where symmetries serve several by one; else one a load.
    """

    cross: CrossData
    tolerance: float | None = None
    basis: dict[str, Any] | None = None
    numbers: int | None = None
    runs: int | None = None

    def relative(self, spec: TableSpec) -> Self:
        """The same, places counted from a specification's origin."""
        cross = self.cross
        mesh = replace(self.mesh, nodes=spec.relative(self.mesh.nodes), origin=spec.origin)
        patch = None if cross.patch is None else replace(cross.patch, nodes=spec.relative(cross.patch.nodes))
        cross = replace(cross, places=spec.relative(cross.places), mesh=mesh, patch=patch)
        return replace(self, cross=cross)

    @property
    def mesh(self) -> SourceMesh:
        """Mesh of the source area."""
        return cast(SourceMesh, self.cross.mesh)


class TableFamily:
    """`networks.family.Family` of the wave table."""

    name = TableSpec.family
    Spec = TableSpec
    takes_signals = True

    def build(self, spec: TableSpec) -> TableGenerator:
        """A table whose factors are zero."""
        return TableGenerator(spec)

    def train(
        self, spec: TableSpec, data: TableData, plan: TrainingPlan | None = None, **options: Any
    ) -> tuple[TableGenerator, History]:
        """Compute a table from runs.

        Args:
            spec: of the problem.
            data: runs, and what is asked.
            plan: its seed is that of the folds.
            options: `clock` as of `networks.training.fit.run`; there is nothing to resume.
        """
        clock = options.get("clock", monotonic)
        start = clock()
        made, solved = compute(spec, data, 0 if plan is None else plan.seed)
        done = Epoch(1, clock() - start, solved.estimate[0], None, 0.0)
        return made, History((done,), 1, ())

    def ready(
        self, generator: TableGenerator, device: str | torch.device = "cpu", *, patient: bool = False
    ) -> TableInference:
        """With the left factors at every source node."""
        return TableInference(generator, device)

    def predictor(self, ready: TableInference, sets: SourceSets) -> ResponsePredictor:
        """Fields, or combinations of them, for any signals."""
        return ResponsePredictor(ready, sets)

    def execution(self, generator: TableGenerator) -> str:
        """As products of its factors."""
        return "left factors at every source node, one product a frequency"

    def band(self, spec: TableSpec) -> tuple[float, float]:
        """The band of its specification."""
        return spec.band

    def predicts_zone(self, spec: TableSpec) -> bool:
        """Its nodes are those of Gamma."""
        return False

    def facts(self, spec: TableSpec) -> dict[str, str]:
        """Band, frequencies, ranks, basis, runs and loads."""
        low, high = spec.band
        others = max(0, len(spec.symmetries) - 1)
        loads = ", ".join(f"{'ur'[load // spec.num_arc]} {load % spec.num_arc}" for load in spec.loads)
        ranks = f"{max(spec.ranks, default=0)} at most, {sum(spec.ranks)} in all"
        facts = {
            "takes": "any signal that starts from rest, several sources",
            "band": f"{low:.4g} to {high:.4g} rad per unit of time",
            "frequencies": str(spec.num_frequencies),
            "ranks": f"{ranks}; {max(spec.patterns, default=0)} patterns on Γ at most",
            "basis": f"{spec.basis['kind']}, {max(spec.sizes, default=0)} functions at most",
            "source nodes": str(spec.mesh[0]),
            "runs": f"{spec.runs[0]} direct, {spec.runs[1]} reciprocal",
            "symmetries": f"{others} beside the identity" if others else "none",
        }
        return facts | ({"loads": loads} if loads else {})

    def inputs(self, spec: TableSpec, parameters: np.ndarray, sources: np.ndarray) -> tuple[Tensor, ...]:
        """The sources' places, from the origin of the specification."""
        return (torch.as_tensor(spec.relative(sources)),)


def compute(spec: TableSpec, data: TableData, seed: int = 0) -> tuple[TableGenerator, Solved]:
    """Compute a table from runs, and what is known of its error.

    Args:
        spec: of the problem.
        data: runs, and what is asked.
        seed: of the folds.

    Raises:
        ValueError: data that make no table.
    """
    own = data.relative(spec)
    solved = solve_table(own.cross, tolerance=own.tolerance, basis=own.basis, numbers=own.numbers, seed=seed)
    runs = (len(own.cross.places), len(own.cross.loads) if own.runs is None else own.runs)
    problem = replace(spec, runs=runs, loads=tuple(int(load) for load in own.cross.loads))
    patch = needed(solved.basis, own.cross.patch)
    return TableGenerator.of(problem, solved.factors, own.mesh, solved.basis, patch), solved


def needed(basis: dict[str, Any], patch: Patch | None) -> Patch | None:
    """The medium around the source area where a basis is made of it."""
    return patch if basis.get("kind") not in ("nodes", "spline") else None


FAMILY = TableFamily()
