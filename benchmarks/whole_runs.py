"""Zoomed and full runs as benchmarks/whole.py times them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from networks.operator.network import OperatorGenerator
from solvers.problems.full import FullModel
from solvers.problems.zone_batch import ZoneBatch
from submodel.case.case import Case
from submodel.case.excitation import Excitation
from submodel.case.sections import BoxDomain
from submodel.data.generator_file import GeneratorFile
from submodel.geometry.symmetry import find
from submodel.learn.operator import specification, symmetry_maps
from submodel.predict.generator import Generator
from submodel.solve import from_case as build

LANES = {"float64": 8, "float32": 16}
LONGEST = 0.1
"""Seconds of short runs in a row, whose mean counts: nearly as exposed to what disturbs as a long run is."""


class Zoom:
    """Zoomed runs of a case, alone and many at once.

    Args:
        case: The case.
        generated: Its generator.
        stencils: As of `Ensemble`.
    """

    def __init__(self, case: Case, generated: Generator, *, stencils: bool) -> None:
        self.case, self.generated = case, generated
        zone = build.zone_model(case, MPI.COMM_SELF)
        weights = zone.datum_weights()
        if weights is None:
            raise ValueError(f"the zone of {case.name} divides its steps: this benchmark is for equal steps")
        self._weights = weights
        self._batches = {"": ZoneBatch(zone, np.float64, num_runs=1, stencils=stencils)}
        self._batches |= {dtype: ZoneBatch(zone, dtype, stencils=stencils) for dtype in LANES}
        self._rooms = {how: batch.room(batch.lanes) for how, batch in self._batches.items()}

    def predict(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Boundary data, (set, step, node)."""
        excitations = [Excitation.of_parameters(self.case, each) for each in parameters]
        return self.generated.predict(excitations).data(self._weights)

    def step(self, data: NDArray[np.float64], dtype: str) -> NDArray[np.floating]:
        """u in the zone at all levels, (set, time, node); the next call overwrites it.

        Args:
            data: As `predict` gives them.
            dtype: Of a batch; empty for a run alone, which is float64.
        """
        return self._batches[dtype].run(data, self._rooms[dtype])

    def run(self, parameters: NDArray[np.float64], dtype: str) -> NDArray[np.floating]:
        """The same for parameter sets."""
        return self.step(self.predict(parameters), dtype)


def full_model(case: Case, *, stencils: bool) -> FullModel:
    """The full model."""
    domain = build.domain(case, MPI.COMM_SELF)
    return FullModel(domain, build.discretization(case), case.time.grid, physics=build.physics(case), stencils=stencils)


def of_size(case: Case, half: float) -> Case:
    """The case in a square of another size, with cells of the same size."""
    if not isinstance(case.domain, BoxDomain):
        raise ValueError(f"the domain of {case.name} is no box")
    cells = round(case.domain.cells[0] * half / case.domain.upper[0])
    domain = case.domain.model_copy(update={"lower": (-half, -half), "upper": (half, half), "cells": (cells, cells)})
    return case.model_copy(update={"domain": domain})


def parameters(num: int, half: float) -> NDArray[np.float64]:
    """(omega, x_s, y_s) of some runs, beside the zone and inside a square of that half width."""
    away = min(0.85 * half, 1.5)
    return np.column_stack([np.linspace(7.0, 18.0, num), np.full(num, away), np.linspace(-0.8 * away, 0.8 * away, num)])


def untrained(case: Case, full: FullModel) -> Generator:
    """A generator of the case's size."""
    medium = build.medium_map(case, full.domain)
    spec = specification(case, full.gamma, medium)[0]
    spec = replace(spec, symmetries=symmetry_maps(find(full.gamma, medium, case.symmetry.maps), spec.origin))
    file = GeneratorFile(case, full.gamma, np.empty((0, case.parameters.dimension)))
    return Generator(OperatorGenerator(spec).eval(), file, Path("untrained"), "cpu")


def in_turn(versions: dict[str, tuple[Callable[[], object], int]], repeats: int) -> dict[str, float]:
    """Least seconds of a run of each version, all in turn; short ones several times in a row, whose mean counts.

    Args:
        versions: Calls, and how many runs each makes.
        repeats: Rounds, after one that warms up.
    """
    best, calls = dict.fromkeys(versions, float("inf")), dict.fromkeys(versions, 1)
    for turn in range(1 + repeats):
        for name, (call, num_runs) in versions.items():
            seconds = _mean(call, calls[name])
            if turn:
                best[name] = min(best[name], seconds / num_runs)
            elif seconds < LONGEST:
                calls[name] = max(1, round(LONGEST / _mean(call, 3)))
    return best


def _mean(call: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times
