"""Timings of full runs, from the mesh to the shard. Serial."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import DTypeLike, NDArray
from scipy.spatial import cKDTree

from solvers.batch.bandwidth import step_bytes, step_footprint, triad_bandwidth
from solvers.batch.ensemble import Ensemble, Selection
from solvers.batch.in_turn import InTurn, runs_of
from solvers.batch.native_build import compiled_steps
from solvers.problems.full import FullModel
from solvers.space.stability import stable_dt
from submodel.case.case import Case, CaseError
from submodel.case.quantities import seconds as in_words
from submodel.data.kinds import SampleManifest
from submodel.data.manifest import Precision, Request
from submodel.data.shards import ShardWriter
from submodel.generate.production import shared_geometry
from submodel.geometry.arrays import FIELDS, ZONE_FIELD, Geometry
from submodel.solve import from_case as build
from submodel.studies.profile.timing import Part, Profile, least, seconds_of, steps_limit

SET_UP = "set-up"
SETUP = "set-up is timed once, as it is: what is in the caches is not built again"
IO_LIMIT = (
    "limit of I/O: a plain write of as many bytes to the same disk; a shard is also read back and compared "
    "(TMPDIR chooses the disk)"
)


def draw(case: Case, num_runs: int | None, precision: Precision, model: FullModel) -> SampleManifest:
    """The manifest of some runs: as many as are stepped at once by default.

    Raises:
        CaseError: Less than one is asked for.
    """
    if num_runs is not None and num_runs < 1:
        raise CaseError(f"--samples is {num_runs}: give the runs of a batch, 1 or more")
    one = SampleManifest.draw(case, Request(train=1, test=0, calibration=0, precision=precision))
    num_runs = model.batch_size(one.dtype) if num_runs is None else num_runs
    return SampleManifest.draw(case, Request(train=num_runs, test=0, calibration=0, precision=precision))


def profile_full(
    case: Case, num_runs: int | None, precision: Precision, imports: float
) -> tuple[Profile, SampleManifest]:
    """Generation: one run on Ω, and a batch of them, from nothing to shards. Serial.

    Args:
        case: The case.
        num_runs: Of the batch; ``None`` for as many as are stepped at once.
        precision: Of the explicit steps.
        imports: Seconds that it took to load the packages.

    Returns:
        Where the time goes, and the runs that were made.

    Raises:
        CaseError: Less than one run is asked for.
        ValueError: The solver cannot take the case.
    """
    setup = {"packages": imports, "compiled steps": seconds_of(lambda: compiled_steps(MPI.COMM_SELF))}
    start = time.perf_counter()
    equation, domain = build.physics(case), build.domain(case, MPI.COMM_SELF)
    setup["mesh"] = time.perf_counter() - start
    start = time.perf_counter()
    model = FullModel(domain, build.discretization(case), case.time.grid, physics=equation)
    built = time.perf_counter() - start
    explicit = model.stepper.explicit
    limit = seconds_of(lambda: stable_dt(model.stepper.assembly)) if explicit else 0.0
    setup |= {"matrices and records": max(0.0, built - limit)} | ({"stability limit": limit} if explicit else {})
    start = time.perf_counter()
    geometry = shared_geometry(case, model)
    setup["medium on a grid"] = time.perf_counter() - start
    manifest = draw(case, num_runs, precision, model)
    counts = tuple(dict.fromkeys((1, manifest.train)))
    runs = [_Runs(case, model, manifest.vectors("train")[:num], manifest.dtype) for num in counts]
    parts = [Part(f"{SET_UP}: {name}", (seconds,) * len(counts)) for name, seconds in setup.items()]
    parts += _join([each.parts() for each in runs])
    parts.append(_writing(runs[0].arrays, manifest, geometry, counts))
    notes = (*runs[-1].notes(), IO_LIMIT, SETUP, _dataset(case, parts, counts[-1]))
    return Profile(f"full runs of {case.name}, as generate makes them", counts, tuple(parts), notes), manifest


def _dataset(case: Case, parts: Sequence[Part], num_runs: int) -> str:
    """The time of the case's own samples, by the largest number of runs that was tried."""
    parameters = case.parameters
    num = parameters.train + parameters.test + parameters.calibration
    groups: dict[str, float] = {}
    for part in parts:
        name = part.name.partition(":")[0]
        times = 1.0 if name == SET_UP else num / num_runs
        groups[name] = groups.get(name, 0.0) + times * part.seconds[-1]
    total = sum(groups.values())
    shares = ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in groups.items())
    return f"the {num} samples of the case on one rank, by the last column: {in_words(total)} ({shares})"


class _Runs:
    """Some runs of a model, and parts of them by themselves."""

    def __init__(self, case: Case, model: FullModel, vectors: NDArray[np.float64], dtype: DTypeLike) -> None:
        self._model, self._num = model, len(vectors)
        self._sources = [build.point_source(case, vector) for vector in vectors]
        self._dtype = np.dtype(dtype)
        self._batches: list[Ensemble | InTurn] = []
        made: dict[int, Ensemble | InTurn] = {}
        size = model.batch_size(dtype)
        for first in range(0, self._num, size):
            num = min(2, size, self._num - first)  # alone, or beside others
            if num not in made:
                made[num] = runs_of(model.stepper, num, dtype)
            self._batches.append(made[num])
        self.arrays: dict[str, NDArray[Any]] = {}

    def parts(self) -> list[Part]:
        """Stepping, recording and what is made of the records."""
        records = [self._zone_rows(runs) for runs in self._batches]
        calls: dict[str, Callable[[], Any]] = {"steps": self._bare, "all": self._whole}
        seconds = least(calls | {"recorded": partial(self._recorded, records)})
        if not self._model.stepper.explicit:
            rest = max(0.0, seconds["all"] - seconds["steps"])
            return [Part("stepping", (seconds["steps"],)), Part("recording", (rest,))]
        recording = max(0.0, seconds["recorded"] - seconds["steps"])
        finishing = max(0.0, seconds["all"] - seconds["recorded"])
        return [
            Part("stepping", (seconds["steps"],), (sum(map(self._step_limit, self._batches)),)),
            Part("recording: difference", (recording,), (self._record_limit(),)),
            Part("recording: trace, load", (finishing,), (self._finish_limit(),)),
        ]

    def notes(self) -> list[str]:
        """The limits of the parts in words."""
        if not self._model.stepper.explicit:
            return ["implicit steps solve with a factorisation, for which no limit is known here"]
        sizes = self._sizes(self._batches[0])
        rate = triad_bandwidth(step_footprint(*sizes))
        return [
            f"limit of stepping: the {step_bytes(*sizes) / 1e6:.3g} MB that a plain step of {sizes[2]} lane(s) must "
            f"move ({sizes[0]} rows, {sizes[1]} entries, {self._dtype}), at the {rate / 1e9:.3g} GB/s that a triad "
            "streams at the same footprint",
            "a sweep of several steps over rows in the cache moves less than plain steps do: it may exceed 100 %",
            "recording is a difference of timings; its limit: the arrays read and written once, at the triad's rate at "
            "their footprint",
        ]

    def _whole(self) -> None:
        runs = self._model.run_many(self._sources, dtype=self._dtype) or []
        run = runs[0]
        self.arrays = {name: getattr(run.trace, name) for name in FIELDS}
        if run.zone is not None:
            self.arrays[ZONE_FIELD] = run.zone

    def _bare(self) -> None:
        """Zeros take as long as waves, and record nothing."""
        num_levels = self._model.time.num_levels
        nothing = Selection(np.empty(0, dtype=np.int64), np.full(num_levels + 1, -1, dtype=np.int64))
        for ensemble in self._batches:
            ensemble.run(num_levels, selection=nothing)

    def _recorded(self, records: Sequence[Selection]) -> None:
        for ensemble, record in zip(self._batches, records, strict=True):
            ensemble.run(self._model.time.num_levels, selection=record)

    def _zone_rows(self, runs: Ensemble | InTurn) -> Selection:
        """The zone's dofs at all levels, as a run with fields records them."""
        nodes = self._model.V.tabulate_dof_coordinates()[runs.order, :2]
        _, rows = cKDTree(nodes).query(self._model.zone_points)
        return Selection(np.asarray(rows, dtype=np.int64), np.arange(self._model.time.num_levels + 1))

    def _sizes(self, runs: Ensemble | InTurn) -> tuple[int, int, int, int]:
        return len(runs.order), self._model.stepper.num_entries, runs.lanes, self._dtype.itemsize

    def _step_limit(self, runs: Ensemble | InTurn) -> float:
        return steps_limit(self._model.time.num_levels, *self._sizes(runs))

    def _history(self) -> int:
        """Bytes of what is recorded of all runs."""
        lanes = sum(ensemble.lanes for ensemble in self._batches)
        return self._model.time.num_levels * len(self._model.zone_points) * lanes * self._dtype.itemsize

    def _record_limit(self) -> float:
        return 2.0 * self._history() / triad_bandwidth(max(2 * self._history(), 192))

    def _finish_limit(self) -> float:
        moved = self._history() + self._num * sum(array.nbytes for array in self.arrays.values())
        return moved / triad_bandwidth(max(moved, 192))


def _writing(
    arrays: Mapping[str, NDArray[Any]], manifest: SampleManifest, geometry: Geometry, counts: Sequence[int]
) -> Part:
    """Shards of some runs, one after another, beside plain writes of as many bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder, sample = Path(name), manifest.tasks[0]
        writer = ShardWriter(folder, manifest, geometry)
        writer.write(sample, arrays)
        content = (folder / f"{sample}.h5").read_bytes()

        def plain() -> None:
            with open(folder / "plain.part", "wb", buffering=0) as file:
                file.write(content)
            os.replace(folder / "plain.part", folder / "plain")

        seconds = least({"shard": lambda: writer.write(sample, arrays), "plain": plain})
    each = tuple(num * seconds["shard"] for num in counts)
    return Part("I/O: shards", each, tuple(num * seconds["plain"] for num in counts))


def _join(columns: Sequence[Sequence[Part]]) -> list[Part]:
    """Parts of each number of runs, side by side."""
    joined = []
    for parts in zip(*columns, strict=True):
        limits = [part.limits for part in parts if part.limits is not None]
        seconds = tuple(part.seconds[0] for part in parts)
        joined.append(Part(parts[0].name, seconds, tuple(limit[0] for limit in limits) or None))
    return joined
