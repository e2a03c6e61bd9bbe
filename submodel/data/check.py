"""Verify a dataset: that every number is there, whole, finite, and new."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from submodel.case.case import Case, CaseError
from submodel.data.dataset import READERS, reader_of
from submodel.data.dataset_file import DatasetFile
from submodel.data.manifest import MANIFEST_FILE, DatasetError, Manifest, Task, shards_folder
from submodel.data.storage.checksum import MISSING, shard_fault

KINDS_OF_FINDING = ("file", "missing", "damaged", "duplicate", "parameters")  # the worst first
MOST_LINES = 10  # of a report for a reader; the JSON holds all


@dataclass(frozen=True)
class Finding:
    """Something wrong with a dataset.

    Args:
        kind: one of `KINDS_OF_FINDING`.
        where: the sample, or the file.
        message: what is wrong.
    """

    kind: str
    where: str
    message: str


@dataclass(frozen=True)
class CheckReport:
    """Faults of a dataset.

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
        """True where nothing is wrong."""
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
        path: the dataset, of any kind; it may be unfinished, or lack samples.

    Returns:
        The report; a file that is no dataset is a finding too.
    """
    path = Path(path)
    try:
        with reader_of(path).open_master(path) as dataset:
            manifest = dataset.manifest
            findings = [Finding("damaged", str(path), fault) for fault in _geometry_faults(dataset)]
            findings += [_finding(task, fault) for task, fault in dataset.faults()]
            findings += _check_parameters(manifest, dataset.case)
    except DatasetError as error:
        return _check_unfinished(path, str(error))
    findings.sort(key=lambda finding: KINDS_OF_FINDING.index(finding.kind))
    return CheckReport(str(path), manifest.counts(), tuple(findings), manifest.UNIT)


def _finding(task: Task, fault: str) -> Finding:
    return Finding("missing" if fault == MISSING else "damaged", str(task), fault)


def _geometry_faults(dataset: DatasetFile[Any]) -> Iterator[str]:
    """Faults of the arrays that all samples share."""
    geometry, num_levels = dataset.geometry, dataset.case.time.levels
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


def _check_parameters(manifest: Manifest, case: Case) -> Iterator[Finding]:
    """Samples that repeat another, also of another split, and those that the case cannot run."""
    seen: dict[tuple[float, ...], str] = {}
    for name, vector in manifest.parameters_by_name():
        first = seen.setdefault(vector, name)
        if first != name:
            yield Finding("duplicate", name, f"has the same parameters as {first}")
        try:
            manifest.require(case, vector)
        except CaseError as error:
            yield Finding("parameters", name, str(error))


def _check_unfinished(path: Path, message: str) -> CheckReport:
    """The report on what is no dataset, or not yet one."""
    folder = shards_folder(path)
    manifest = None if os.path.exists(path) else _manifest(folder / MANIFEST_FILE)
    if manifest is None:
        return CheckReport(str(path), {}, (Finding("file", str(path), message),))
    faults = [(task, shard_fault(folder, manifest.key, task)) for task in manifest.tasks]
    findings = [Finding("missing", str(path), "is not there: the generation is unfinished")]
    findings += [_finding(task, fault) for task, fault in faults if fault]
    return CheckReport(str(path), manifest.counts(), tuple(findings), manifest.UNIT)


def _manifest(path: Path) -> Manifest | None:
    """The manifest in a file, of any kind, or None."""
    for reader in READERS:
        try:
            manifest: Manifest = reader.KIND.from_json(path.read_text())
            return manifest
        except (OSError, ValueError):
            continue
    return None
