"""What boundary data cost: whole histories, blocks of levels for a zone that steps, and many sets at once.

The operator generator of the default size for the reference problem (128 nodes, 256 levels, rays of the walls), for a
run twice as long with twice the frequencies, and for one five times as long; weights are random, which changes no
time. Every call works out everything anew but what depends on Gamma and weights alone. The plain way evaluates the same
network by its definition: amplitudes, and a basis that goes through a Toeplitz matrix. One thread:

    OMP_NUM_THREADS=1 ./run python3 benchmarks/inference.py
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Claim, Report, Table, least
from mpi4py import MPI
from numpy.typing import NDArray

from networks.core.prediction import SourceSets
from networks.operator.family import FAMILY
from networks.operator.inference import OperatorInference
from networks.operator.network import OperatorGenerator
from networks.operator.spec import OperatorSpec
from networks.response.predictor import ResponsePredictor
from networks.response.signal_response import LowPass, centred_rate, toeplitz
from networks.response.symmetry import SymmetryMap
from networks.table.factors import Factors
from networks.table.family import FAMILY as TABLES
from networks.table.generator import TableGenerator
from networks.table.inference import TableInference
from networks.table.source_mesh import SourceMesh
from networks.table.spec import TableSpec
from solvers.gamma.condition import Impedance
from solvers.gamma.datum import DatumWeights
from solvers.mesh.domain import refined_zone_box
from solvers.problems.zone import ZoneModel
from solvers.space.assembly import Discretization
from solvers.time.grid import TimeGrid
from submodel.learn.operator import nodes_of
from submodel.predict.prediction import Prediction
from submodel.zoom.streaming import CHUNK, StreamedBoundary

DT = 2.0 / 255.0
BAND = (2.0 * np.pi, 6.0 * np.pi)
SOURCE = (0.513, 0.621)
NUM_SETS = 64


@dataclass(frozen=True)
class Fed:
    """Weights of what a zone is fed with."""

    displacement: NDArray[np.float64]
    velocity: NDArray[np.float64]
    load: NDArray[np.float64]
    lead: int = 0
    theta: float = 0.25


def zone_model(num_levels: int, cells: int = 32) -> ZoneModel:
    """The reference zone under the impedance condition."""
    mesh = refined_zone_box(MPI.COMM_SELF, (-0.25, -0.25), (0.25, 0.25), (cells, cells), cell="triangle", speed=1.0)
    return ZoneModel(mesh, Discretization(), TimeGrid((num_levels - 1) * DT, num_levels), condition=Impedance())


def generator(zone: ZoneModel, **changes: Any) -> OperatorGenerator:
    """One of the default size for a zone's nodes, with random weights."""
    gamma = zone.gamma
    spec = OperatorSpec(
        num_levels=zone.time.num_levels,
        dt=DT,
        rate=15.0,
        band=BAND,
        **nodes_of(gamma),
        speed=1.0,
        rays="walls",
        walls=((-1.0, -1.0), (1.0, 1.0)),
        grid=((-1.0, -1.0), (1 / 64, 1 / 64)),
        symmetries=tuple(_maps(gamma.points)),
    )
    torch.manual_seed(0)
    made = OperatorGenerator(replace(spec, **changes))
    torch.nn.init.normal_(made.decoder, std=1e-3)  # a decoder of zeros would be quicker to multiply with
    return made.eval()


def _maps(points: NDArray[np.float64]) -> list[SymmetryMap]:
    """The eight of a square."""
    found = []
    for a, b in itertools.product((1.0, -1.0), repeat=2):
        for matrix in (((a, 0.0), (0.0, b)), ((0.0, a), (b, 0.0))):
            away = np.linalg.norm((points @ np.array(matrix).T)[:, None] - points, axis=2)
            found.append(SymmetryMap(matrix, (0.0, 0.0), tuple(int(node) for node in away.argmin(1))))
    return found


def plainly(made: OperatorGenerator, sets: SourceSets) -> NDArray[np.float64]:
    """The fields of one source by definition: amplitudes, and the basis convolved with the drive."""
    spec = made.spec
    with torch.inference_mode():
        places = torch.as_tensor(spec.relative(sets.places[0]), dtype=torch.float32)
        u, r = made.amplitudes(places)[0].double().numpy()
    matrix = toeplitz(LowPass(spec.rate, spec.dt).inverse(sets.signals[0, 0])) @ made.basis.double().numpy()
    u, r = matrix @ u, matrix @ r
    return np.stack((u[:-1], centred_rate(u, spec.dt), r[:-1]))


def versions(zone: ZoneModel, made: OperatorGenerator, device: str) -> dict[str, Callable[[], Any]]:
    """What is timed of a problem: set-up, the three fields, a zone's data, these in blocks, and the plain way."""
    num = zone.time.num_levels
    source, signal = np.array([SOURCE]), np.sin(12.0 * DT * np.arange(num + 1))[None]
    weights = zone.datum_weights()
    if weights is None:
        raise ValueError("the zone divides its steps: choose a coarser one")
    fast, sets = FAMILY.ready(made, device), SourceSets(source[None], signal[None])
    predictor = FAMILY.predictor(fast, sets)

    def chunks() -> list[NDArray[np.float64]]:
        return [predictor.levels(start, min(start + CHUNK, num), weights) for start in range(0, num, CHUNK)]

    found: dict[str, Callable[[], Any]] = {
        "amplitudes": lambda: fast.mixture(sets.places, sets.signals),
        "history": lambda: FAMILY.predictor(fast, sets).levels(0, num),
        "data": lambda: FAMILY.predictor(fast, sets).levels(0, num, weights),
        "blocks": chunks,
    }
    if device == "cuda":  # with the copy to the host, as numbers of single precision
        found["history"] = lambda: fast.history(source, signal)
        found["data"] = lambda: fast.history(source, signal, weights)
        return found
    found["plain"] = lambda: plainly(made, sets)
    return found


def streamed(zone: ZoneModel, made: OperatorInference) -> Callable[[], None]:
    """All chunks as a zone asks for them, by a zone that takes no time."""
    num = zone.time.num_levels
    sets = SourceSets(np.array([[SOURCE]]), np.sin(12.0 * DT * np.arange(num + 1))[None, None])

    def run() -> None:
        data = StreamedBoundary(zone, Prediction(zone.time.times, zone.gamma, FAMILY.predictor(made, sets)))
        for number in range(0, num, CHUNK):
            data.from_step(number)

    return run


def batches(made: OperatorInference, weights: DatumWeights) -> dict[str, Callable[[], Any]]:
    """Data of many sets, one at a time and at once."""
    rng, num = np.random.default_rng(0), made.spec.num_levels
    places = rng.uniform(0.4, 0.9, (NUM_SETS, 1, 2))
    signals = np.sin(rng.uniform(*BAND, (NUM_SETS, 1, 1)) * DT * np.arange(num + 1))
    sets = SourceSets(places, signals)
    found: dict[str, Callable[[], Any]] = {
        f"{size} at once": lambda size=size: ResponsePredictor(made, sets, batch_size=size).levels(  # type: ignore[misc]
            0, num, weights
        )
        for size in (4, 8, 16, NUM_SETS)
    }
    found["one at a time"] = lambda: [
        FAMILY.predictor(made, SourceSets(places[n : n + 1], signals[n : n + 1])).levels(0, num, weights)
        for n in range(NUM_SETS)
    ]
    return found


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    name = "inference" if asked.device == "cpu" else "inference_cuda"
    report = Report(name, f"./run python3 benchmarks/inference.py --device {asked.device}")
    problems: dict[str, tuple[int, dict[str, Any], int]] = {
        "256 levels, 80 frequencies, walls": (256, {}, 300),
        "511 levels, 160 frequencies, direct": (511, {"rays": "direct", "num_frequencies": 160}, 100),
        "1276 levels, 80 frequencies, walls": (1276, {}, 5),
    }
    rows: list[list[str | float | int]] = []
    for title, (num_levels, changes, repeats) in problems.items():
        zone = zone_model(num_levels)
        made = generator(zone, **changes)
        repeats = max(3, repeats // 10) if asked.quick else repeats
        timed = versions(zone, made, asked.device)
        plain = timed.pop("plain", None)  # apart: after its large matrices the caches hold nothing of the others
        best = {part: 1e3 * value for part, value in least(timed, repeats=repeats).items()}
        ratio = 0.0
        if plain is not None:
            both = least({"plain": plain, "history": timed["history"]}, repeats=max(3, repeats // 10))
            best["plain"], ratio = 1e3 * both["plain"], both["plain"] / both["history"]
        step = 1e3 * best["blocks"] / num_levels
        parts = ("amplitudes", "history", "data", "plain")
        rows.append([title, *(best.get(part, "not measured") for part in parts), step])
        if num_levels == 256:
            where = "one core" if asked.device == "cpu" else "GPU"
            target = 1.5 if asked.device == "cpu" else 0.2
            what = f"whole history of u, v and r, reference case, {where}"
            report.claim(Claim(what, best["history"], target, "ms", at_least=False))
            what = f"whole history of what the zone is fed with, reference case, {where}"
            report.claim(Claim(what, best["data"], target, "ms", at_least=False))
            report.claim(Claim("streaming, one step, blocks of 64 levels", step, 2.0, "us", at_least=False))
            if asked.device == "cpu":
                report.claim(Claim("whole history against the plain way", ratio))
            many(report, zone, FAMILY.ready(made, asked.device), repeats, title)
            stream = streamed(zone, FAMILY.ready(made, asked.device))
            whole = 1e3 * least({"": stream}, repeats=repeats)[""]
            report.note(
                "Streaming all blocks to a zone that takes no time, network's set-up included: "
                f"{whole:.3g} ms, of which the set-up {best['amplitudes']:.3g} ms."
            )
        if num_levels == 511 and asked.device == "cpu":
            what = "whole history of what the zone is fed with, domain of 513² nodes, one core"
            report.claim(Claim(what, best["data"], unit="ms", at_least=False))
            many(report, zone, FAMILY.ready(made, asked.device), repeats, title)
    if asked.device == "cpu":
        tables(report, 3 if asked.quick else 100)
    report.table(
        Table(
            "Boundary data of 128 nodes, ms; the last column in us",
            ["problem", "set-up alone", "u, v and r", "the zone's data", "plain way", "streaming, a step"],
            rows,
        )
    )
    report.write(asked.output)


def wave_table(num_levels: int, num_frequencies: int, num_arc: int, rank: int, cells: int) -> TableInference:
    """A wave table of random factors over a square of triangles, ready to predict."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(*2 * (np.linspace(0.0, 1.0, cells + 1),), indexing="ij")
    i, j = np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij")
    a, row = (i * (cells + 1) + j).ravel(), cells + 1
    mesh = SourceMesh(
        np.stack((x, y), -1).reshape(-1, 2),
        np.concatenate((np.stack((a, a + row, a + row + 1), 1), np.stack((a, a + row + 1, a + 1), 1))),
    )
    angle = 2 * np.pi * np.arange(num_arc) / num_arc
    points = tuple((float(np.cos(each)), float(np.sin(each))) for each in angle)

    def normal(*shape: int) -> NDArray[np.complex64]:
        return np.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape), np.complex64)

    patterns = rank + rank // 2
    factors = Factors(
        [normal(len(mesh.nodes), rank) for _ in range(num_frequencies)],
        [normal(rank, patterns) for _ in range(num_frequencies)],
        [rng.standard_normal((patterns, 2 * num_arc)) for _ in range(0, num_frequencies, 8)],
    )
    spec = TableSpec(num_levels, DT, 15.0, BAND, points, num_frequencies)
    return TABLES.ready(TableGenerator.of(spec, factors, mesh, {"kind": "nodes"}))


def tables(report: Report, repeats: int) -> None:
    """Wave tables of the sizes of the user's plate and of the reference problem."""
    rows: list[list[str | float | int]] = []
    problems = {"plate with hole and weld": (441, 72, 40, 20, 43, 0.5), "reference": (256, 48, 128, 40, 55, 1.3)}
    for title, (num, frequencies, num_arc, rank, cells, target) in problems.items():
        ready = wave_table(num, frequencies, num_arc, rank, cells)
        rng = np.random.default_rng(0)
        places = rng.uniform(0.1, 0.9, (NUM_SETS, 1, 2))
        signals = np.sin(rng.uniform(*BAND, (NUM_SETS, 1, 1)) * DT * np.arange(num + 1))
        u, v, r = rng.standard_normal((3, num_arc))
        weights = Fed(u, v, r)

        def whole(size: int, weights: Fed | None, made: Any = ready, all_sets: Any = (places, signals)) -> Any:
            sets = SourceSets(*(each[:size] for each in all_sets))
            return TABLES.predictor(made, sets).levels(0, made.spec.num_levels, weights)

        calls: dict[str, Callable[[], Any]] = {
            "one": lambda call=whole: call(1, None),  # type: ignore[misc]
            "one fed": lambda call=whole, fed=weights: call(1, fed),  # type: ignore[misc]
            "many": lambda call=whole: call(NUM_SETS, None),  # type: ignore[misc]
            "many fed": lambda call=whole, fed=weights: call(NUM_SETS, fed),  # type: ignore[misc]
        }
        best = {name: 1e3 * value for name, value in least(calls, repeats=repeats).items()}
        many_sets = [best[name] / NUM_SETS for name in ("many", "many fed")]
        rows.append([title, best["one"], best["one fed"], *many_sets])
        what = f"wave table, whole history of u, v and r, {title}, one core"
        report.claim(Claim(what, best["one"], target, "ms", at_least=False))
        what = f"wave table, the zone's data of a set of {NUM_SETS}, {title}, one core"
        report.claim(Claim(what, many_sets[1], 0.25, "ms", at_least=False))
    columns = ["problem", "u, v and r", "the zone's data", f"u, v and r, {NUM_SETS} sets", "the zone's data, so many"]
    report.table(Table("Wave tables: whole histories, ms a set", columns, rows))


def many(report: Report, zone: ZoneModel, made: OperatorInference, repeats: int, title: str) -> None:
    """Throughput of many sets."""
    weights = zone.datum_weights()
    if weights is None:
        raise ValueError("the zone divides its steps: choose a coarser one")
    best = least(batches(made, weights), repeats=max(3, repeats // 20))
    single = best["one at a time"]
    fastest = min(seconds for key, seconds in best.items() if key != "one at a time")
    report.claim(Claim(f"data of {NUM_SETS} sets at once against one at a time, throughput: {title}", single / fastest))
    what = f"the zone's data, a set of many at once: {title}"
    report.claim(Claim(what, 1e3 * fastest / NUM_SETS, unit="ms", at_least=False))
    each: list[list[str | float | int]] = [[key, 1e3 * seconds / NUM_SETS] for key, seconds in best.items()]
    report.table(Table(f"The zone's data of a set, by sets of one pass, ms: {title}", ["sets", "ms a set"], each))


if __name__ == "__main__":
    main()
