"""Looks through a dataset: is every number there, whole, finite, and new?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from submodel.case.case import CaseError
from submodel.case.sampling import SPLITS
from submodel.data.checksum import MISSING, is_reciprocal, shard_fault
from submodel.data.dataset import Dataset, DatasetError
from submodel.data.manifest import PLAN_FILE, Plan, SampleId, shards_folder
from submodel.data.reciprocal import ReciprocalDataset
from submodel.data.reciprocal_manifest import FIELDS, ReciprocalPlan

MOST_LINES = 10  # of a report for a reader; the JSON holds all


@dataclass(frozen=True)
class Finding:
    """Something wrong with a dataset.

    Args:
        kind: "file", "missing", "damaged", "duplicate" or "parameters".
        where: the sample, or the file.
        message: what is wrong.
    """

    kind: str
    where: str
    message: str


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Args:
        path: the dataset.
        num_samples: by split; empty when the file cannot be read.
        findings: what is wrong, the worst first.
        unit: what is counted, "samples" or "runs".
    """

    path: str
    num_samples: dict[str, int]
    findings: tuple[Finding, ...]
    unit: str = "samples"

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {"ok": self.ok, **asdict(self)}

    def lines(self) -> Iterator[str]:
        """The report for a reader; what to do comes last."""
        counted = ", ".join(f"{num} {split}" for split, num in self.num_samples.items() if num)
        if self.ok:
            yield f"{self.path}: {counted} {self.unit}, all whole, finite and different"
            return
        for finding in self.findings[:MOST_LINES]:
            yield f"{finding.where}: {finding.message}"
        if len(self.findings) > MOST_LINES:
            yield f"... and {len(self.findings) - MOST_LINES} more"
        yield f"{self.path}: {len(self.findings)} faults in {counted or 'no'} {self.unit}"
        if any(finding.kind in ("missing", "damaged") for finding in self.findings):
            yield "run the same `submodel generate` again: it redoes what is missing or damaged"


def check(path: str | Path) -> CheckReport:
    """Read all of a dataset and compare it with its checksums, shapes and parameters. Local.

    Args:
        path: the dataset; it may be unfinished, or lack samples.

    Returns:
        The report; a file that is no dataset is a finding too.
    """
    path = Path(path)
    if is_reciprocal(path):
        return _check_reciprocal(path)
    try:
        with Dataset.open_master(path) as dataset:
            plan, case = dataset.plan, dataset.case
            findings = list(_check_file(dataset))
    except DatasetError as error:
        return _unreadable(path, error)
    vectors = [(str(sample), _vector(plan, sample)) for sample in plan.samples]
    findings += _check_parameters(vectors, case.require)
    return CheckReport(str(path), {split: plan.num(split) for split in SPLITS}, _sorted(findings))


def _check_reciprocal(path: Path) -> CheckReport:
    """As `check`, of a reciprocal dataset."""
    try:
        with ReciprocalDataset.open_master(path) as dataset:
            plan, case = dataset.plan, dataset.case
            findings = [Finding("damaged", str(path), fault) for fault in _geometry_faults(dataset)]
            for run, fault in dataset.faults():
                findings.append(Finding("missing" if fault == MISSING else "damaged", str(run), fault))
    except DatasetError as error:
        return _unreadable(path, error)
    places = [(f"source {i}", tuple(place)) for i, place in enumerate(plan.sources)]
    findings += _check_parameters(places, lambda place: case.require_source(*place))
    return CheckReport(str(path), _num_runs(plan), _sorted(findings), "runs")


def _num_runs(plan: ReciprocalPlan) -> dict[str, int]:
    return {field: len(plan.orbits) for field in FIELDS}


def _sorted(findings: list[Finding]) -> tuple[Finding, ...]:
    order = ("file", "missing", "damaged", "duplicate", "parameters")
    return tuple(sorted(findings, key=lambda finding: order.index(finding.kind)))


def _vector(plan: Plan, sample: SampleId) -> tuple[float, ...]:
    return tuple(plan.parameters[sample.split][sample.index])


def _check_file(dataset: Dataset) -> Iterator[Finding]:
    """What all samples share, and every sample."""
    yield from (Finding("damaged", str(dataset.path), fault) for fault in _geometry_faults(dataset))
    for sample in dataset.plan.samples:
        fault = shard_fault(dataset.folder, dataset.plan, sample)
        if fault is None:
            fault = dataset.sample_fault(sample)
        if fault:
            yield Finding("missing" if fault == MISSING else "damaged", str(sample), fault)


def _geometry_faults(dataset: Dataset | ReciprocalDataset) -> Iterator[str]:
    """What cannot be right in the arrays that all samples share."""
    geometry = dataset.geometry
    num_levels = dataset.case.time.levels
    if len(geometry.times) != num_levels or not (np.diff(geometry.times) > 0).all():
        yield f"time has not the {num_levels} rising levels of the case"
    if fault := geometry.gamma.fault():
        yield f"the arrays under interface: {fault}"
    medium = geometry.medium
    if medium.speed.shape != (len(medium.y), len(medium.x)) or not (
        (np.diff(medium.x) > 0).all() and (np.diff(medium.y) > 0).all()
    ):
        yield "medium is not a grid of rising x and y"
    elif not medium.inside.any() or not (medium.speed[medium.inside] > 0).all():
        yield "medium has wave speeds that are not positive"


def _check_parameters(
    named: Iterable[tuple[str, tuple[float, ...]]], require: Callable[[tuple[float, ...]], None]
) -> Iterator[Finding]:
    """Samples that repeat another, also of another split, and those that the case cannot run."""
    seen: dict[tuple[float, ...], str] = {}
    for name, vector in named:
        first = seen.setdefault(vector, name)
        if first != name:
            yield Finding("duplicate", name, f"has the same parameters as {first}")
        try:
            require(vector)
        except CaseError as error:
            yield Finding("parameters", name, str(error))


def _unreadable(path: Path, error: DatasetError) -> CheckReport:
    """The report on what is no dataset, or not yet one."""
    plan_file = shards_folder(path) / PLAN_FILE
    plan = None if path.exists() else _plan(plan_file)
    if plan is None:
        return CheckReport(str(path), {}, (Finding("file", str(path), str(error)),))
    faults = [(str(sample), shard_fault(plan_file.parent, plan, sample)) for sample in plan.samples]
    findings: list[Any] = [Finding("missing", str(path), "is not there: the generation is unfinished")]
    findings += [
        Finding("missing" if fault == MISSING else "damaged", sample, fault) for sample, fault in faults if fault
    ]
    if isinstance(plan, ReciprocalPlan):
        return CheckReport(str(path), _num_runs(plan), tuple(findings), "runs")
    return CheckReport(str(path), {split: plan.num(split) for split in SPLITS}, tuple(findings))


def _plan(path: Path) -> Plan | ReciprocalPlan | None:
    """The plan in a file, of either kind, or None."""
    try:
        text = path.read_text()
    except (OSError, ValueError):
        return None
    for kind in (Plan, ReciprocalPlan):
        try:
            return kind.from_json(text)
        except ValueError:
            continue
    return None
