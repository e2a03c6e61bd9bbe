"""Preparation of wave tables, see `submodel.learn.preparation`: from cross data to factors of a size and an error."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import numpy as np

from networks.table.bases.area import Patch
from networks.table.bases.catalogue import default_description
from networks.table.data import CrossData, Times
from networks.table.family import TableData, compute, needed
from networks.table.generator import TableGenerator
from networks.table.growth import next_runs
from networks.table.solve import Solved
from networks.table.source_mesh import SourceMesh
from networks.table.spec import TableSpec
from networks.training.plan import Epoch, History, TrainingPlan
from submodel.case.case import Case
from submodel.case.spectrum import band, case_signals
from submodel.data.cross import CrossDataset
from submodel.data.generator_file import Reached
from submodel.data.manifest import DatasetError
from submodel.learn.budget import Length
from submodel.learn.held_out import Estimate, Judge, needed_runs
from submodel.learn.operator import gamma_middle, symmetry_maps
from submodel.learn.preparation import Preparation

LEARNS_RESPONSES = True
LEARNS_CROSS_DATA = True
"""It takes data of every kind, see `submodel.learn.preparation.Preparer`, but says which are not enough."""
SHARE = 0.45
"""Part of the tolerance that compression may take at most: it is cheap, and what the zone feels of it is not."""
NEXT = 1.05
"""Errors that differ by less than this factor count as the same."""
AUTO = ("helmholtz", "spline")
"""Bases that are tried where a case asks for none, until one reaches the tolerance; those of fewer numbers first."""


@dataclass(frozen=True)
class Made:
    """A table that was computed.

    Args:
        generator: The table.
        solved: Its errors on runs held out.
        floor: Error of u that the number of frequencies alone makes.
        seconds: It took.
    """

    generator: TableGenerator
    solved: Solved
    floor: float
    seconds: float

    @property
    def estimate(self) -> Estimate:
        """Error of u of the direct runs, each predicted from the others, compression included."""
        return Estimate(self.solved.errors[:, 0])

    @property
    def error(self) -> float:
        """Mean error of u on held-out runs, all included."""
        return float(np.hypot(self.estimate.mean, self.floor))

    @property
    def upper(self) -> float:
        """Mean error and its standard error."""
        return self.error + self.estimate.spread

    @property
    def num_stored(self) -> int:
        """Numbers of its file."""
        return self.generator.num_stored

    @property
    def title(self) -> str:
        """Form in words."""
        return f"wave table, basis {self.solved.basis['kind']}, {self.num_stored} numbers stored"

    def reached(self, tolerance: float, lines: tuple[str, ...] = ()) -> Reached:
        """Record of its making, for its file."""
        estimate, spec = self.estimate, self.generator.spec
        return Reached(
            form=self.title,
            tolerance=tolerance,
            error=self.error,
            spread=estimate.spread,
            floor=self.floor,
            runs=(spec.runs[0], spec.runs[1]),
            lines=(*lines, *self.solved.lines),
        )


@dataclass(frozen=True)
class TablePreparation(Preparation):
    """A table about to be computed.

    Args:
        asked: Tolerance.
        bases: Descriptions of the bases that are tried.
        floor: As of `Made`.
        made: The table, once it is.
    """

    asked: float = 0.0
    bases: tuple[dict[str, Any], ...] = ()
    floor: float = 0.0
    made: list[Made] = field(default_factory=list)

    @property
    def computes(self) -> bool:
        """It is computed."""
        return True

    def train(self, **options: Any) -> tuple[TableGenerator, History]:
        """Compute the table on the basis that does best; options are those of a training, for which there is none."""
        made = best(self.tables(), self.asked)
        self.made[:] = [made]
        return made.generator, History((Epoch(1, made.seconds, made.error, None, 0.0),), 1, ())

    def tables(self) -> list[Made]:
        """Tables on the bases in turn, until one is below the tolerance."""
        tables: list[Made] = []
        for basis in self.bases:
            tables.append(self.table(basis))
            if tables[-1].upper < self.asked:
                break
        return tables

    def table(self, basis: dict[str, Any]) -> Made:
        """The table on one basis.

        Raises:
            ValueError: The numbers that it may store do not hold what it cannot do without.
        """
        start, data = monotonic(), replace(self.data, basis=basis)
        if data.numbers is not None:
            data = replace(data, numbers=data.numbers - beside_factors(data))
            if data.numbers < 1:
                raise ValueError(
                    f"a wave table of this source area stores {self.data.numbers - data.numbers} numbers beside its "
                    f"factors, {self.data.numbers} were allowed: allow more"
                )
        generator, solved = compute(self.spec, data, self.plan.seed)
        return Made(generator, solved, self.floor, monotonic() - start)

    def reached(self) -> Reached:
        """As `Made.reached`; runs that are not enough are said to be, with what would be."""
        made = self.made[0]
        if made.upper < self.asked:
            return made.reached(self.asked)
        return made.reached(self.asked, (self.advice(made),))

    def advice(self, made: Made) -> str:
        """A sentence on what the tolerance would take."""
        cross, runs = self.data.cross, made.generator.spec.runs
        if self.floor >= self.asked:
            return f"asked {100 * self.asked:g} %: the number of frequencies alone leaves {100 * self.floor:.2g} %"
        estimate = Estimate(made.solved.map_errors[:, 0])
        if self.data.numbers is not None and np.hypot(estimate.mean + estimate.spread, self.floor) < self.asked:
            return f"asked {100 * self.asked:g} %: {self.data.numbers} numbers are too few for it"
        growth = next_runs(cross, runs=runs[1])
        num = needed_runs(sum(runs), made.upper, self.asked, growth.fall)
        words = f"{runs[0]} + {runs[1]} runs: {made.estimate.words()} expected; asked {100 * self.asked:g} %"
        if num is None:
            return f"{words}: more runs of these kinds would not do"
        kind = "direct" if growth.direct else "reciprocal"
        return f"{words}: some {num} would do, more {kind} ones first; submodel build finds out ({growth.reason})"


def best(tables: list[Made], tolerance: float) -> Made:
    """The table of the fewest numbers among those below a tolerance, or, where none is, next to the least error."""
    limit = max(tolerance, NEXT * min(made.upper for made in tables))
    return min((made for made in tables if made.upper <= limit), key=lambda made: made.num_stored)


def prepare(case: Case, dataset: Any, length: Length) -> TablePreparation:
    """Read what a table is computed from.

    Raises:
        DatasetError: The dataset holds no cross runs, or is damaged.
        ValueError: Numbers are out of range.
    """
    if not isinstance(dataset, CrossDataset):
        raise DatasetError(
            f"{dataset.path} holds no cross runs, of which a wave table is made: generate some with --cross 10+30, or "
            "train --model operator on what it holds"
        )
    return of_cross_runs(case, dataset, length)


def of_cross_runs(
    case: Case, dataset: CrossDataset, length: Length, num_direct: int | None = None, num_reciprocal: int | None = None
) -> TablePreparation:
    """The table of a case, as [training] asks for it, from the first runs of each kind, all by default."""
    runs = cross_data(dataset, num_direct, num_reciprocal)
    training, floor = case.training, floor_of(dataset, len(runs.places))
    estimate = Judge(runs, length.seed).estimate
    lost = compression_share(estimate, floor, training.tolerance)
    plan = TrainingPlan(epochs=1, seed=length.seed, device=length.device, threads=length.threads, validation=0.0)
    served = len(dataset.manifest.loads) if num_reciprocal is None else num_reciprocal
    wanted = float(np.hypot(estimate.mean, lost))
    data = TableData(runs, wanted, None, training.numbers, served)
    kinds = AUTO if training.basis == "auto" else (training.basis,)
    if training.basis == "auto" and case.discretization.element != "p1":  # whose fields are known on triangles
        kinds = ("spline",)
    bases = tuple(default_description(kind, runs.area, band(case)[1], lost) for kind in kinds)
    return TablePreparation(specification(case, dataset), plan, data, training.tolerance, bases, floor)


def compression_share(estimate: Estimate, floor: float, tolerance: float) -> float:
    """Error of u that compression may make: what leaves the whole below a tolerance, half of that at most.

    Args:
        estimate: Error of the runs without compression.
        floor: Error that the number of frequencies alone makes.
        tolerance: Of the whole.
    """
    room = max(tolerance - estimate.spread, 0.0) ** 2 - estimate.mean**2 - floor**2
    if room <= 0.0:  # beyond reach: no use in many numbers
        return SHARE * max(tolerance, estimate.mean)
    return min(SHARE * tolerance, float(np.sqrt(room)))


def beside_factors(data: TableData) -> int:
    """Numbers of a table's file beside its factors: mesh, medium where the basis needs it, scales and lengths."""
    mesh, num = data.mesh, len(data.cross.times.omega)
    patch = needed(data.basis or {}, data.cross.patch)
    around = 0 if patch is None else patch.nodes.size + patch.cells.size + patch.speed.size
    return int(mesh.nodes.size + mesh.cells.size + around + 4 * num)


def fine_tuning(plan: TrainingPlan) -> TrainingPlan:
    """The plan as it is: a table is not compressed further."""
    return plan


def specification(case: Case, dataset: CrossDataset) -> TableSpec:
    """A case's table, without its factors."""
    middle, about = gamma_middle(dataset.gamma), dataset.amplitudes
    return TableSpec(
        num_levels=case.time.levels,
        dt=case.time.dt,
        rate=about.rate,
        band=band(case),
        points=tuple((float(x), float(y)) for x, y in dataset.gamma.points - np.array(middle)),
        num_frequencies=about.num_frequencies,
        period=about.period,
        origin=middle,
        symmetries=symmetry_maps(dataset.symmetries, middle) if len(dataset.symmetries) > 1 else (),
    )


def cross_data(dataset: CrossDataset, num_direct: int | None = None, num_reciprocal: int | None = None) -> CrossData:
    """The first runs of each kind, all by default, all that were made up, and some of the case's signals."""
    case, about = dataset.case, dataset.amplitudes
    times = Times(case.time.levels, case.time.dt, about.rate, about.omega, case_signals(case))
    direct, loads = slice(num_direct), slice(_num_loads(dataset, num_reciprocal))
    return CrossData(
        times,
        dataset.places[direct],
        dataset.direct[direct],
        dataset.loads[loads],
        dataset.reciprocal[:, loads],
        SourceMesh(**dataset.source_mesh),
        Patch(**dataset.patch),
        dataset.made_up if dataset.manifest.made_up else None,
    )


def _num_loads(dataset: CrossDataset, num_reciprocal: int | None) -> int | None:
    """Loads that the first reciprocal runs stand for."""
    if num_reciprocal is None:
        return None
    return int(dataset.loads_of_runs[num_reciprocal - 1]) if num_reciprocal else 0


def floor_of(dataset: CrossDataset, num_direct: int | None = None) -> float:
    """Mean error of u that the number of frequencies alone makes, over the first direct runs."""
    return float(np.mean(dataset.floor[:num_direct, 0]))
