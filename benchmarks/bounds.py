"""Coverage and width of the bound of ε, by quarter of the source area, by distance to the zone and by third of ω.

    ./run submodel generate cases/paper2d.toml -o bounds.h5 --train 100 --test 600 --calibration 300
    ./run submodel train cases/paper2d.toml --dataset bounds.h5 -o paper2d.safetensors --seconds 40
    ./run python3 benchmarks/bounds.py cases/paper2d.toml --dataset bounds.h5 --generator paper2d.safetensors

and so for any case and generator, such as a wave table (with `model = "table"` and `tolerance = 0.01` in the case):

    ./run submodel generate userplate.toml -o bounds.h5 --train 0 --test 600 --calibration 300
    ./run submodel generate userplate.toml --cross 10+30 -o cross.h5
    ./run submodel train userplate.toml --dataset cross.h5 -o userplate.safetensors

Calibrations are drawn from the calibration split, a subset each, and every one
bounds all test samples. Three bounds: one number for all (split conformal on all its runs), one that follows frequency
and place, and the product's: it follows the signal by the spectrum of held-out residuals, and the place where it helps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from submodel.case.case import Case
from submodel.case.excitation import signals_of
from submodel.case.sampling import Split
from submodel.data.dataset import Dataset
from submodel.predict.error_bound import COVERAGE, Trust
from submodel.predict.error_model import rank_of
from submodel.predict.generator import Generator, RecordedTraces
from submodel.predict.signal_error import RunPowers
from submodel.solve import from_case as build
from submodel.validate.accumulator import ValidationAccumulator
from submodel.validate.calibrate import run_powers, training_of
from submodel.validate.compare import Clock, compare, predict

RESULTS = Path(__file__).parent / "results" / "bounds.json"
BOUNDS = ("one number", "frequency and place", "signal and place")
LOWEST, HIGHEST = 0.82, 0.97
"""Coverages of parts of the samples that are called even."""

Array = NDArray[np.float64]


def errors_of(
    case: Case, dataset: Dataset, split: Split, generated: Generator, condition: str
) -> tuple[Array, RunPowers]:
    """ε after the zoom of every sample of a split, and the powers of its runs."""
    parameters, recorded = dataset.parameters(split), RecordedTraces(dataset, split)
    predictions = predict(generated, parameters, MPI.COMM_SELF, Clock())
    errors = ValidationAccumulator()
    zone = build.zone_model(case, MPI.COMM_SELF, condition=condition)
    compare(zone, recorded, predictions, errors, clock=Clock())
    truth = [recorded.trace(index).displacement for index in range(len(parameters))]
    return errors.epsilon, run_powers(generated, parameters, [trace.displacement for trace in predictions], truth)


def parts(case: Case, parameters: Array, interface: Array) -> dict[str, NDArray[np.int64]]:
    """Number of the part that each sample belongs to, by quarter, distance and frequency."""
    sources, omega = case.parameters.sources(parameters), case.parameters.omegas(parameters)
    distance, _ = cKDTree(interface).query(sources)
    high = sources > np.median(sources, axis=0)
    return {
        "quarters": 2 * high[:, 0].astype(np.int64) + high[:, 1],
        "distance": np.digitize(distance, np.quantile(distance, [0.25, 0.5, 0.75])),
        "thirds of omega": np.digitize(omega, np.quantile(omega, [1 / 3, 2 / 3])),
    }


def bounds_of(
    name: str, trained: Any, parameters: Array, epsilon: Array, powers: RunPowers, signals: tuple[Array, Array]
) -> tuple[Any, tuple[str, ...]]:
    """A function from fresh parameters to bounds, and the groups of features that it follows."""
    if name == BOUNDS[0]:
        constant = float(np.sort(epsilon)[rank_of(COVERAGE, len(epsilon)) - 1])
        return lambda fresh: np.full(len(fresh), constant), ()
    own, wanted = (None, None) if name == BOUNDS[1] else (powers, signals[1])
    trust = Trust.calibrate(trained, parameters, {"it": epsilon}, signals=signals[0], residuals=own)
    return lambda fresh: trust.bound(fresh, "it", signals=wanted), trust.models["it"].groups


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("--dataset", type=Path, required=True, help="with calibration and test samples")
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--interface", default="impedance")
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 40], help="of a calibration")
    parser.add_argument("--calibrations", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    case = Case.load(asked.case)
    generated = Generator.load(asked.generator, case)
    with Dataset.open(asked.dataset) as dataset:
        dataset.require_case(case)
        pool, fresh = dataset.parameters("calibration"), dataset.parameters("test")
        pooled, powers = errors_of(case, dataset, "calibration", generated, asked.interface)
        true, _ = errors_of(case, dataset, "test", generated, asked.interface)
    trained, pool_signals, fresh_signals = training_of(case, generated), signals_of(case, pool), signals_of(case, fresh)
    where = parts(case, fresh, generated.gamma.points)
    rows = json.loads(asked.output.read_text()) if asked.output.exists() else []
    for num in asked.runs:
        for name in BOUNDS:
            held, width, follows = [], [], dict[str, int]()
            for seed in range(asked.calibrations):
                drawn = np.random.default_rng(seed).permutation(len(pool))[:num]
                own = RunPowers(
                    powers.omega, powers.residual[drawn], powers.field[drawn], powers.drive[drawn], powers.low_pass
                )
                signals = (pool_signals[drawn], fresh_signals)
                bound, groups = bounds_of(name, trained, pool[drawn], pooled[drawn], own, signals)
                values = bound(fresh)
                held.append(true <= values)
                width.append(float(values.mean() / true.mean()))
                follows[", ".join(groups) or "nothing"] = follows.get(", ".join(groups) or "nothing", 0) + 1
            row = {
                "case": case.name,
                "model": generated.generator.spec.model,
                "interface": asked.interface,
                "bound": name,
                "runs": num,
                "calibrations": asked.calibrations,
                "fresh": len(true),
                "mean_epsilon": float(true.mean()),
                "worst_epsilon": float(true.max()),
                "bound_over_mean": float(np.mean(width)),
                **coverages(np.array(held), where),
                "follows": follows,
            }
            key = ("case", "model", "interface", "bound", "runs")
            rows = [each for each in rows if any(each[k] != row[k] for k in key)] + [row]
            asked.output.write_text(json.dumps(rows, indent=1) + "\n")
            asked.output.with_suffix(".md").write_text(table(rows))
            print(table([row]).splitlines()[-1], flush=True)


def coverages(held: NDArray[np.bool_], where: dict[str, NDArray[np.int64]]) -> dict[str, Any]:
    """Coverage and its spread over calibrations, of all and of every part; and how many calibrations are even."""
    shares = {
        name: np.array([held[:, part == number].mean(axis=1) for number in range(part.max() + 1)])
        for name, part in where.items()
    }
    even = {name: (share >= LOWEST).all(axis=0) & (share <= HIGHEST).all(axis=0) for name, share in shares.items()}
    return {
        "coverage": float(held.mean()),
        "spread": float(held.mean(axis=1).std()),
        "parts": {name: share.mean(axis=1).tolist() for name, share in shares.items()},
        "even": {name: float(each.mean()) for name, each in even.items()},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        f"Bounds of ε after the zoom, {100 * COVERAGE:g} % asked for; coverages in % over fresh samples, mean over "
        f"calibrations. `even`: share of the calibrations in which every part is covered within {100 * LOWEST:.0f} "
        f"to {100 * HIGHEST:.0f} % (quarters, distance, ω). Made by `benchmarks/bounds.py`, whose head has the "
        "commands.\n",
        "| case, model | bound that follows | runs | coverage (spread) | quarters | by distance | thirds of ω | even | "
        "bound / mean ε | mean, worst ε |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        each = [", ".join(f"{100 * share:.0f}" for share in row["parts"][name]) for name in row["parts"]]
        even = ", ".join(f"{100 * share:.0f}" for share in row["even"].values())
        cells = [f"{row['case']}, {row['model']}", row["bound"], str(row["runs"])]
        cells += [f"{100 * row['coverage']:.1f} ({100 * row['spread']:.1f})", *each, f"{even} %"]
        cells += [f"{row['bound_over_mean']:.2f}"]
        cells += [f"{100 * row['mean_epsilon']:.3g} %, {100 * row['worst_epsilon']:.3g} %"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
