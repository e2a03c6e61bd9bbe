"""Timings of a zoomed run: the network, the zone. Serial."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.gamma.datum import Steps
from solvers.problems.zone import ZoneModel
from solvers.problems.zone_batch import ZoneBatch
from submodel.case.case import Case
from submodel.predict.generator import Generator
from submodel.solve import from_case as build
from submodel.studies.profile.timing import Part, Profile, least, steps_limit
from submodel.zoom.batch import boundary_data

DEVICE = "cpu"
DEFAULT_SHAPE = (128, 128)  # of the matrix that the rate is measured with where no weight tells another


def profile_zoom(case: Case, path: Path, vectors: NDArray[np.float64]) -> Profile:
    """Zoomed runs: one, and as many at once as there are parameters. Serial.

    Args:
        case: The case.
        path: Of the generator.
        vectors: Parameters of the runs, shape ``(num_runs, axis)``.

    Raises:
        CaseError: The generator is of another case, or lacks what the interface condition needs.
        CheckpointError: Its file cannot be used.
    """
    setup: dict[str, float] = {}
    start = time.perf_counter()
    import torch

    setup["torch"], start = time.perf_counter() - start, time.perf_counter()
    generated = Generator.load(path, case, DEVICE)
    setup["generator"] = time.perf_counter() - start
    generated.require(case.interface.kind)
    start = time.perf_counter()
    zone = build.zone_model(case, MPI.COMM_SELF, sources=case.parameters.sources(vectors))
    setup["zone"] = time.perf_counter() - start
    counts = tuple(dict.fromkeys((1, len(vectors))))
    network, steps, multiply_adds = [], [], 0.0
    for num in counts:
        predict = partial(_predicted, generated, zone, vectors[:num])
        run, limit = _zone_runs(zone, predict())
        seconds = least({"network": predict, "zone": run})
        multiply_adds = _multiply_adds(predict)
        network.append((seconds["network"], multiply_adds * _product_seconds(torch, generated, num)))
        steps.append((seconds["zone"], limit))
    parts = [Part(f"set-up: {name}", (seconds,) * len(counts)) for name, seconds in setup.items()]
    parts += [
        Part(name, tuple(seconds for seconds, _ in pairs), limits if all(limits) else None)
        for name, pairs in (("network", network), ("zone", steps))
        for limits in [tuple(limit for _, limit in pairs)]
    ]
    notes = (
        f"limit of the network: the {multiply_adds / 1e6:.3g} million multiply-adds of its products (last column), at "
        f"the rate of one product of matrices like its largest, float32, {torch.get_num_threads()} thread(s) on the "
        f"{DEVICE}",
        "limit of the zone: what its plain steps must move, at the triad's rate at their footprint; one run is stepped "
        "in double precision, several at once in single where the zone's steps are those of the data",
    )
    return Profile(f"zoomed runs of {case.name} with {path.name}", counts, tuple(parts), notes)


def _predicted(generator: Generator, zone: ZoneModel, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return boundary_data(generator.predict_vectors(vectors), zone)


def _zone_runs(zone: ZoneModel, data: NDArray[np.float64]) -> tuple[Callable[[], Any], float]:
    """A call that runs the zone under each of some data, and its limit: 0 for implicit steps, which have none here."""
    dtype: np.dtype[Any] = np.dtype(np.float64)
    lanes, num_batches = 1, len(data)
    run: Callable[[], Any] = partial(zone.run, Steps(data[0][:, zone.positions]))
    if len(data) > 1:
        batch = ZoneBatch(zone, np.float32 if zone.parts == 1 else np.float64)
        dtype, lanes, num_batches = batch.dtype, batch.lanes, -(-len(data) // batch.lanes)
        run = partial(batch.run, data)
    if not zone.stepper.explicit:
        return run, 0.0
    num_rows, num_entries = len(zone.stepper.order), zone.stepper.num_entries
    return run, num_batches * steps_limit(zone.num_steps, num_rows, num_entries, lanes, dtype.itemsize)


def _multiply_adds(predict: Callable[[], Any]) -> float:
    """Multiplications in the matrix products and convolutions of a prediction that torch makes."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        predict()
    return 0.5 * float(counter.get_total_flops())


def _product_seconds(torch: Any, generated: Generator, num: int) -> float:
    """Seconds of a multiply-add in a product of matrices like the generator's largest, at all nodes of some runs."""
    rows = num * generated.gamma.num_nodes
    inner, outer = _largest(generated.generator)
    a, b, out = torch.ones(rows, inner), torch.ones(inner, outer), torch.empty(rows, outer)
    seconds = least({"product": lambda: torch.mm(a, b, out=out)}, share=0.1)["product"]
    return seconds / (rows * inner * outer)


def _largest(generator: Any) -> tuple[int, int]:
    """Inputs and outputs of the largest weight, as a matrix."""
    weights = [p for p in generator.parameters() if p.ndim > 1] if hasattr(generator, "parameters") else []
    if not weights:
        return DEFAULT_SHAPE
    outer, inner = max(weights, key=lambda weight: int(weight.numel())).flatten(1).shape
    return int(inner), int(outer)
