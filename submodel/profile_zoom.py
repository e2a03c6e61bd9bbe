"""Where the time of a zoomed run goes: the network, the boundary data, the zone. Serial."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.stepping import CentralDifference
from solvers.trace import Trace
from solvers.zone import ZoneModel
from submodel import build
from submodel.boundary import Generated
from submodel.case import Case
from submodel.excitation import Excitation
from submodel.profile import Job, Part, least, steps_limit

DEVICE = "cpu"
DEFAULT_SHAPE = (128, 128)  # of the matrix that the rate is measured with where no weight tells another


def profile_zoom(case: Case, path: Path, vectors: NDArray[np.float64]) -> Job:
    """Zoomed runs: one, and as many as there are parameters. Serial.

    Args:
        case: The case.
        path: Of the generator.
        vectors: Parameters (omega, x_s, y_s) of the runs, shape ``(num_runs, 3)``.

    Raises:
        CaseError: The generator is of another case, or lacks what the interface condition needs.
        CheckpointError: Its file cannot be used.
    """
    setup: dict[str, float] = {}
    start = time.perf_counter()
    import torch

    setup["torch"], start = time.perf_counter() - start, time.perf_counter()
    generated = Generated.load(path, case, DEVICE)
    setup["generator"] = time.perf_counter() - start
    generated.require(case.interface.kind)
    start = time.perf_counter()
    zone = build.zone_model(case, MPI.COMM_SELF)
    setup["zone"] = time.perf_counter() - start
    counts = tuple(dict.fromkeys((1, len(vectors))))
    network, boundary, steps, multiply_adds = [], [], [], 0.0
    for num in counts:
        predict = partial(_predict, case, generated, vectors[:num])
        traces = predict()
        seconds = least(_calls(predict, zone, traces))
        multiply_adds = _multiply_adds(predict)
        network.append((seconds["network"], multiply_adds * _product_seconds(torch, generated, num)))
        boundary.append(seconds["boundary"])
        steps.append((seconds["zone"], num * _zone_limit(zone)))
    limits = tuple(limit for _, limit in network)
    parts = [Part(f"set-up: {name}", (seconds,) * len(counts)) for name, seconds in setup.items()]
    parts += [
        Part("network", tuple(seconds for seconds, _ in network), limits if all(limits) else None),
        Part("boundary data", tuple(boundary)),
        Part(
            "zone steps",
            tuple(seconds for seconds, _ in steps),
            tuple(limit for _, limit in steps) if isinstance(zone.stepper, CentralDifference) else None,
        ),
    ]
    notes = (
        f"limit of the network: the {multiply_adds / 1e6:.3g} million multiply-adds of its products (last column), at "
        f"the rate of one product of matrices like its largest, float32, {torch.get_num_threads()} thread(s) on the "
        f"{DEVICE}",
        "limit of the zone: what its plain steps, one run at a time, must move at the triad's rate",
    )
    return Job(f"zoomed runs of {case.name} with {path.name}", counts, tuple(parts), notes)


def _calls(
    predict: Callable[[], list[Trace]], zone: ZoneModel, traces: Sequence[Trace]
) -> dict[str, Callable[[], Any]]:
    """The parts of zoomed runs that are timed in turn."""
    sources = [zone.boundary_source(trace) for trace in traces]
    return {
        "network": predict,
        "boundary": lambda: [zone.boundary_source(trace) for trace in traces],
        "zone": lambda: [zone.run(source) for source in sources],
    }


def _predict(case: Case, generated: Generated, vectors: NDArray[np.float64]) -> list[Trace]:
    """Traces of some runs: of one as `zoom` asks for it, of several in one pass."""
    if len(vectors) == 1:
        return [generated.playback(Excitation.of_parameters(case, vectors[0])).trace()]
    return generated.traces(vectors)


def _zone_limit(zone: ZoneModel) -> float:
    """Seconds of a zone run's plain steps at the triad's rate; zero for implicit ones."""
    if not isinstance(zone.stepper, CentralDifference):
        return 0.0
    matrix = zone.stepper.fused.matrix
    return steps_limit(zone.time.num_levels * zone.parts, matrix.shape[0], int(matrix.nnz), 1, 8)


def _multiply_adds(predict: Callable[[], list[Trace]]) -> float:
    """Of the matrix products and convolutions of a prediction that torch makes."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        predict()
    return 0.5 * float(counter.get_total_flops())


def _product_seconds(torch: Any, generated: Generated, num: int) -> float:
    """Seconds of a multiply-add in a product of matrices like the generator's largest, at all nodes of some runs."""
    rows = num * generated.interface.num_nodes
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
