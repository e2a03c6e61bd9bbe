"""Our generators on the reference problem: errors after the zoom over training seeds, interfaces, signals and zones.

Each form is trained by `submodel.learn.train` on one thread, as the command line does, and measured on samples that no
training has seen. Run it on a quiet machine: trainings are given wall time.

    ./run mpirun -n 2 submodel generate cases/paper2d.toml -o paper2d.h5
    ./run mpirun -n 2 submodel generate cases/paper2d.toml -o fresh.h5 --train 0 --calibration 0 --test 100 --seed 7
    ./run mpirun -n 2 submodel generate cases/paper2d.toml --reciprocal -o reciprocal.h5
    ./run python3 benchmarks/generators.py --dataset paper2d.h5 --fresh fresh.h5 --form walls
    ./run python3 benchmarks/generators.py --dataset paper2d.h5 --fresh fresh.h5 --form direct
    ./run python3 benchmarks/generators.py --dataset reciprocal.h5 --fresh fresh.h5 --form direct --seconds 600
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from evaluation import FIELDS, evaluate_all, scores
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.gamma.condition import CONDITIONS
from solvers.gamma.trace import Trace
from solvers.time.signals import Tabulated
from submodel.case.case import Case
from submodel.case.excitation import Excitation, check_band
from submodel.case.sampling import sample
from submodel.data.dataset import Dataset, reader_of
from submodel.geometry.metrics import FieldErrors, field_errors
from submodel.learn.train import train_generator, training_length, with_training
from submodel.predict.generator import Generator, RecordedTraces
from submodel.solve import from_case as build
from submodel.validate.calibrate import calibrate
from submodel.validate.compare import validate_excitations

RESULTS = Path(__file__).parent / "results" / "generators.json"
NUM_SIGNALS = 25
NUM_REFINED = 25  # fresh samples that a refined zone is run for
Fields = NDArray[np.float64]
REFINE = 4  # into how many each cell's edge is divided: the zone refined twice


def measure(case: Case, dataset: Path, fresh: Dataset, seed: int, seconds: float, calibration: Path | None) -> Any:
    """Train once and measure everything."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generator.safetensors"
        trained = train_generator(case, dataset, path, training_length(case, seconds=seconds, seed=seed))
        if calibration is not None:
            with Dataset.open(calibration) as data:
                calibrate(case, data, path, MPI.COMM_SELF)
        generated = Generator.load(path, case)
        traces = generated.predict_vectors(fresh.parameters("test")).traces()
        fields = np.array([[getattr(trace, name) for name in FIELDS] for trace in traces])
        few = fields[:NUM_REFINED]
        fine = {kind: zone_errors(case, fresh, few, kind, refine=REFINE) for kind in CONDITIONS}
        return {
            "seed": seed,
            "parameters": trained.generator.num_parameters,
            "epochs": len(trained.history),
            "training": trained.history[-1].elapsed,
            "plain": evaluate_all(case, fresh, lambda _: fields),
            "refined": {kind: {name: scores(each) for name, each in errors.items()} for kind, errors in fine.items()},
            "signals": {kind: unseen_signals(case, generated, kind) for kind in CONDITIONS},
            "bound": None if calibration is None else covered(generated, fresh, fields),
        }


def covered(generated: Generator, fresh: Dataset, fields: Fields) -> dict[str, Any]:
    """For how many fresh samples the 90 % bound holds, by interface condition."""
    parameters, found = fresh.parameters("test"), {}
    for kind in CONDITIONS:
        errors = zone_errors(generated.case, fresh, fields, kind)
        epsilon = np.array([error.mean_epsilon for error in errors["displacement"]])
        bound = generated.bounds(parameters, kind)
        if bound is None:
            raise RuntimeError("the generator was just calibrated")
        found[kind] = {"held": int((epsilon <= bound).sum()), "of": len(bound), "mean_bound": float(bound.mean())}
    return found


def zone_errors(
    case: Case, fresh: Dataset, fields: Fields, kind: str, *, refine: int = 1
) -> dict[str, list[FieldErrors]]:
    """Errors after the zoom of every test sample, against full FE; of a refined zone against its own run with the
    recorded trace, as another grid is another solution."""
    zone = build.zone_model(case, MPI.COMM_SELF, condition=kind, refine=refine)
    where, times = fresh.gamma, fresh.times
    found: dict[str, list[FieldErrors]] = {"displacement": [], "velocity": []}
    for index in range(len(fields)):
        run = zone.run(Trace(times, where, fields[index, 0], fields[index, 1], fields[index, 2]))
        if refine > 1:
            replay = zone.run(RecordedTraces(fresh, "test").trace(index))
            true = [np.asarray(zone.gather(values)) for values in (replay.displacement, replay.velocity)]
            own = [zone.gather(values) for values in (run.displacement, run.velocity)]
        else:
            true = [np.asarray(field, np.float64) for field in fresh.zone_fields("test", index)]
            own = [zone.at(values, fresh.zone_points) for values in (run.displacement, run.velocity)]
        for errors, mine, theirs in zip(found.values(), own, true, strict=True):
            errors.append(field_errors(np.asarray(mine), theirs))
    return found


def unseen_signals(case: Case, generated: Generator, kind: str) -> dict[str, float]:
    """Errors for signals of a kind that was never trained, against fresh full runs."""
    found = validate_excitations(case, generated, excitations(case, generated), comm=MPI.COMM_SELF, condition=kind)
    if found is None:
        raise RuntimeError("on one rank there is a result")
    u, v = scores(after.displacement for _, after in found), scores(after.velocity for _, after in found)
    return {"epsilon": u["epsilon"], "relative_l2": u["relative_l2"], "relative_l2_velocity": v["relative_l2"]}


def excitations(case: Case, generated: Generator) -> list[Excitation]:
    """Chirps, tone bursts, chords and noise at places of their own, all in the band, all starting from rest."""
    rng = np.random.default_rng(11)
    low, high = generated.band
    t = np.arange(case.time.levels + 1) * case.time.dt
    rise = np.sin(0.5 * np.pi * np.minimum(1.0, t / (0.25 * case.time.final))) ** 2
    out: list[Excitation] = []
    places = iter(sample(case, 40 * NUM_SIGNALS, 99, "test")[:, 1:])
    while len(out) < NUM_SIGNALS:
        a, b = rng.uniform(low, high, 2)
        signal = [
            np.sin(a * t + 0.5 * (b - a) * t**2 / case.time.final),
            rise * np.sin(a * t) * np.sin(np.pi * t / case.time.final) ** 2,
            rise * (np.sin(a * t) + np.sin(b * t + 1.0)),
            rise
            * sum(np.sin(w * t + p) for w, p in zip(rng.uniform(low, high, 12), rng.uniform(0, 6, 12), strict=True)),
        ][len(out) % 4]
        signal[0] = 0.0
        x, y = next(places)
        tried = Excitation(((float(x), float(y)),), (Tabulated(tuple(t), tuple(signal), "cubic"),))
        try:
            check_band(case, tried, generated.band, extrapolate=False)
        except ValueError:
            continue
        out.append(tried)
    return out


def main() -> None:
    """Train, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=Path, default=Path("cases/paper2d.toml"))
    parser.add_argument("--dataset", type=Path, required=True, help="learnt from; may be a reciprocal one")
    parser.add_argument("--fresh", type=Path, required=True, help="its test split is predicted")
    parser.add_argument("--calibration", type=Path, help="its calibration split gives the bound; --dataset by default")
    parser.add_argument("--form", choices=("none", "direct", "walls"), required=True, help="rays that are known")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    case = with_training(Case.load(asked.case), rays=asked.form)
    reciprocal = reader_of(asked.dataset) is not Dataset
    calibration = asked.calibration or (None if reciprocal else asked.dataset)
    name = f"{case.name}, {asked.form}{', reciprocal data' if reciprocal else ''}, {asked.seconds:g} s"
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    with Dataset.open(asked.fresh) as fresh:
        for seed in asked.seeds:
            found = measure(case, asked.dataset, fresh, seed, asked.seconds, calibration)
            rows = json.loads(asked.output.read_text()) if asked.output.exists() else {}
            rows.setdefault(name, {})[str(seed)] = found
            asked.output.write_text(json.dumps(rows, indent=1) + "\n")
            asked.output.with_suffix(".md").write_text(table(rows))
            print(f"{name}, seed {seed}: {found['parameters']} parameters, {found['training']:.0f} s")
            for kind in CONDITIONS:
                print(f"  {kind:10s} {words(found, kind)}", flush=True)


def words(found: dict[str, Any], kind: str) -> str:
    """Errors of one training under one condition, in per cent."""
    zone, fine, other = found["plain"][kind]["zone"], found["refined"][kind], found["signals"][kind]
    said = (
        f"ε {_cent(zone['displacement']['epsilon'])}, L2 u {_cent(zone['displacement']['relative_l2'])} (worst sample "
        f"{_cent(zone['displacement']['relative_l2_worst'])}), v {_cent(zone['velocity']['relative_l2'])}; refined "
        f"{_cent(fine['displacement']['relative_l2'])}; unseen signals ε {_cent(other['epsilon'])}, L2 u "
        f"{_cent(other['relative_l2'])}"
    )
    if found["bound"] is None:
        return said
    bound = found["bound"][kind]
    return f"{said}; bound {_cent(bound['mean_bound'])} held for {bound['held']} of {bound['of']}"


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Mean and worst over the seeds, as Markdown."""
    head = ("form", "numbers", "interface", "ε u", "L2 u", "L2 v", "refined: L2 u", "25 signals: ε u", "bound held")
    lines = ["Mean over the training seeds (worst seed). Made by the commands of benchmarks/generators.py.", ""]
    lines += [" | ".join(("", *head, "")).strip(), " | ".join(("", *["---"] * len(head), "")).strip()]
    for name, seeds in rows.items():
        for kind in CONDITIONS:
            each = list(seeds.values())
            cells = [name, f"{each[0]['parameters']}", kind]
            cells.append(_over(f["plain"][kind]["zone"]["displacement"]["epsilon"] for f in each))
            cells.append(_over(f["plain"][kind]["zone"]["displacement"]["relative_l2"] for f in each))
            cells.append(_over(f["plain"][kind]["zone"]["velocity"]["relative_l2"] for f in each))
            cells.append(_over(f["refined"][kind]["displacement"]["relative_l2"] for f in each))
            cells.append(_over(f["signals"][kind]["epsilon"] for f in each))
            cells.append(", ".join(str(f["bound"][kind]["held"]) for f in each if f["bound"]) or "—")
            lines.append(" | ".join(("", *cells, "")).strip())
    return "\n".join(lines) + "\n"


def _over(values: Any) -> str:
    each = list(values)
    return f"{_cent(float(np.mean(each)))} ({_cent(max(each))})"


def _cent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"


if __name__ == "__main__":
    main()
