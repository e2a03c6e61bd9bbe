"""What else the same full runs give on problems without a closed form: errors of u, v and r on Γ at fresh places.

    ./run submodel generate cases/userplate.toml -o userplate.h5 --train 40 --test 0 --calibration 0
    ./run submodel generate cases/userplate.toml -o fresh.h5 --train 0 --test 50 --calibration 0 --seed 777
    ./run python3 benchmarks/problem_baselines.py cases/userplate.toml --dataset userplate.h5 --fresh fresh.h5

and so for every case; results of cases and forms that stand in the file already are kept, those asked for are replaced.
Every form learns from the training split alone: as many runs as a wave table of that problem takes, direct and
reciprocal ones together. The forms: the operator generator as it is trained by default, and with its network's last
layer set to zero, which leaves its rays; Gaussian processes of the source's place on deconvolved responses; POD + RBF
of the runs themselves; POD-Galerkin of the full operator (`reduced_basis`); and a model of [A]. One core each.

With pyMOR installed, `--check-pymor` compares the projected operator with that of its SOLTIPGReductor.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from baselines import Data, Fitted, papers_model, pod_rbf, root_of, sum_of
from evaluation import FIELDS
from numpy.typing import NDArray
from reduced_basis import FullOperator, ReducedOperator
from regression import Pod, most_likely

from networks.response.signal_response import LowPass, band_weight, centred_rate, impulse_responses, toeplitz
from solvers.time.signals import SIGNALS
from submodel.case.case import Case
from submodel.case.excitation import signals_of
from submodel.data.dataset import Dataset
from submodel.learn.train import train_generator, training_length, with_training
from submodel.predict.generator import Generator

RESULTS = Path(__file__).parent / "results" / "problem_baselines.json"
LOW_PASS = 0.8
"""Rate of the low-pass, in highest frequencies of the case."""
NUM_BAND = 9
STRIDE, TAIL, MOST_MODES = 6, 1e-4, 1500
"""Of POD-Galerkin: every so many levels a snapshot, modes below that share of the norm together are left out."""
PYMOR_MODES = 200

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """What a form learns from.

    Args:
        case: The case.
        dataset: Runs in its training split.
        path: Its file.
        seconds: Of one core, for forms that take what they get.
    """

    case: Case
    dataset: Dataset
    path: Path
    seconds: float


def gaussian_processes(work: Work) -> Fitted:
    """Low-passed impulse responses of u and r, deconvolved from the runs; their POD by Gaussian processes of (x, y)."""
    data, case = Data.of(work.dataset), work.case
    low_pass = LowPass(LOW_PASS * case.parameters.omega[1], data.dt)
    signals = signals_of(case, data.parameters)
    sines = data.parameters[:, 0] if case.source.signal == "sine" else None
    u, v, r = (data.fields[:, i] for i in range(3))
    y = np.stack(impulse_responses(u, v, r, signals, data.dt, low_pass, omegas=sines), axis=1)
    omegas = np.linspace(*case.parameters.omega, NUM_BAND)
    band = np.array([SIGNALS[case.source.signal](float(omega))(data.levels) for omega in omegas])
    motion = band_weight(band, low_pass) / np.mean(u**2)
    motion += band_weight(band, low_pass, rate=True) / np.mean(v**2)
    factors = (root_of(motion), root_of(band_weight(band, low_pass) / np.mean(r**2)))
    gram = np.zeros((len(y),) * 2)
    for i, factor in enumerate(factors):
        flat = (factor[:, :-1].astype(np.float32) @ y[:, i]).reshape(len(y), -1)
        gram += flat @ flat.T
    pod = Pod.of(gram, tail=1e-3)
    points = data.scaled(data.sources)
    process = most_likely(points, pod.coefficients)

    def predict(wanted: Array) -> NDArray[np.floating]:
        found = sum_of(pod.weights(process.predict(data.scaled(wanted[:, 1:]))), y)
        out = np.empty((len(wanted), 3, *found.shape[2:]), np.float32)
        for i, signal in enumerate(signals_of(case, wanted)):
            drive = low_pass.inverse(signal)
            motion = toeplitz(drive) @ np.vstack((found[i, 0], np.zeros_like(found[i, 0, :1])))
            out[i] = motion[:-1], centred_rate(motion, data.dt), toeplitz(drive[:-1]) @ found[i, 1]
        return out

    return Fitted(predict, pod.coefficients.size + len(pod.strength) * y[0].size, {"modes": len(pod.strength)})


def operator_generator(work: Work, *, network: bool) -> Fitted:
    """Our own form of rays and a network, or its rays alone."""
    import torch

    case = with_training(work.case, model="operator")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generator.safetensors"
        trained = train_generator(case, work.path, path, training_length(case, seconds=work.seconds, seed=0))
        generated = Generator.load(path, case)
    num = trained.generator.num_parameters
    if not network:
        net: Any = generated.generator.net
        with torch.no_grad():
            for weight in (net.last.weight, net.last.bias):
                weight.zero_()
        num = sum(each.numel() for name, each in generated.generator.named_parameters() if not name.startswith("net"))

    def predict(wanted: Array) -> NDArray[np.floating]:
        traces = generated.predict_vectors(wanted).traces()
        return np.array([[getattr(trace, name) for name in FIELDS] for trace in traces])

    return Fitted(predict, num, {"epochs": len(trained.history)})


def galerkin(work: Work) -> Fitted:
    """POD-Galerkin of the full operator."""
    reduced = ReducedOperator.of(
        FullOperator(work.case),
        work.dataset.parameters("train"),
        stride=STRIDE,
        tail=TAIL,
        most=MOST_MODES,
    )
    return Fitted(reduced.predict, reduced.num_numbers, {"modes": reduced.basis.shape[1]})


FORMS: dict[str, Callable[[Work], Fitted]] = {
    "operator generator": lambda work: operator_generator(work, network=True),
    "its rays alone, network off": lambda work: operator_generator(work, network=False),
    "GP on responses": gaussian_processes,
    "POD + RBF": lambda work: pod_rbf(Data.of(work.dataset), symmetric=False),
    "POD-Galerkin": galerkin,
    "conv1.5d-boundary [A]": lambda work: papers_model(Data.of(work.dataset), "conv1.5d-boundary", work.seconds),
}


def relative(predicted: NDArray[np.floating], fresh: Dataset) -> Array:
    """Relative L2 errors of u, v and r on Γ, (sample, field)."""
    true = fresh.traces("test")
    out = []
    for i, name in enumerate(FIELDS):
        exact = np.asarray(true[name], np.float64)
        out.append(np.linalg.norm(predicted[:, i] - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2)))
    return np.array(out).T


def measured(form: str, work: Work, fresh: Dataset) -> dict[str, Any]:
    """One form on one problem."""
    start = time.process_time()
    fitted = FORMS[form](work)
    middle = time.process_time()
    parameters = fresh.parameters("test")
    errors = relative(np.asarray(fitted.predict(parameters)), fresh)
    return {
        "case": work.case.name,
        "form": form,
        "runs": work.dataset.num_samples("train"),
        "seconds": middle - start,
        "milliseconds_a_set": 1e3 * (time.process_time() - middle) / len(parameters),
        "numbers": fitted.num_numbers,
        "mean": dict(zip("uvr", errors.mean(axis=0).tolist(), strict=True)),
        "worst": dict(zip("uvr", errors.max(axis=0).tolist(), strict=True)),
        "fresh": len(errors),
        "chosen": fitted.chosen,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "Relative L2 errors on Γ over fresh free places, mean over them (worst of u last); made by "
        "`benchmarks/problem_baselines.py`, whose head has the commands.\n",
        "| case | form | runs | seconds of one core | ms a set | numbers | u | v | r | worst u |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda row: (row["case"], list(FORMS).index(row["form"]))):
        errors = [*row["mean"].values(), row["worst"]["u"]]
        cells = [row["case"], row["form"], row["runs"], f"{row['seconds']:.0f}", f"{row['milliseconds_a_set']:.1f}"]
        cells += [f"{row['numbers'] / 1e3:.4g} k", *(f"{100 * error:.3g} %" for error in errors)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def check_pymor(case: Case, dataset: Dataset) -> float:
    """Largest relative difference of the projected operator from that of pyMOR's SOLTIPGReductor.

    Raises:
        ImportError: pyMOR is not installed.
    """
    from pymor.models.iosys import SecondOrderModel  # type: ignore[import-not-found,unused-ignore]
    from pymor.reductors.basic import SOLTIPGReductor  # type: ignore[import-not-found,unused-ignore]
    from scipy import sparse as sp

    full = FullOperator(case)
    few = dataset.parameters("train")[:4]
    reduced = ReducedOperator.of(full, few, stride=STRIDE, tail=TAIL, most=PYMOR_MODES)
    one = sp.identity(len(full.free), format="csr")
    loads = full.loads(few[:, 1:])
    model = SecondOrderModel.from_matrices(one, 0.0 * one, full.matrix, loads, full.trace)
    basis = model.solution_space.from_numpy(reduced.basis)
    theirs = SOLTIPGReductor(model, basis, basis).reduce().to_matrices()
    ours = (reduced.basis.T @ (full.matrix @ reduced.basis), reduced.basis.T @ loads.toarray())
    pairs = zip(ours, (theirs[2], theirs[3]), strict=True)
    return float(max(np.abs(a - np.asarray(b)).max() / np.abs(a).max() for a, b in pairs))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("--dataset", type=Path, required=True, help="its training split is learnt from")
    parser.add_argument("--fresh", type=Path, required=True, help="its test split is predicted")
    parser.add_argument("--only", nargs="+", metavar="FORM", choices=FORMS, default=list(FORMS))
    parser.add_argument("--seconds", type=float, default=60.0, help="of one core, for forms that take what they get")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--check-pymor", action="store_true", help="compare the projection with pyMOR's, and end")
    asked = parser.parse_args()
    case = Case.load(asked.case)
    with Dataset.open(asked.dataset) as dataset, Dataset.open(asked.fresh) as fresh:
        if asked.check_pymor:
            print(f"projected operators differ from pyMOR's by {check_pymor(case, dataset):.1e}, relative")
            return
        for each in (dataset, fresh):
            each.require_case(case)
        for form in asked.only:
            row = measured(form, Work(case, dataset, asked.dataset, asked.seconds), fresh)
            rows = json.loads(asked.output.read_text()) if asked.output.exists() else []
            places = [(each["case"], each["form"]) for each in rows]
            if (row["case"], form) in places:
                rows[places.index((row["case"], form))] = row
            else:
                rows.append(row)
            asked.output.write_text(json.dumps(rows, indent=1) + "\n")
            asked.output.with_suffix(".md").write_text(table(rows))
            print(table([row]).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
