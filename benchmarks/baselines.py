"""What others would do with the same runs: the baselines of the boundary generator, on Γ and after the zoom.

    ./run submodel generate cases/paper2d.toml -o paper2d.h5
    ./run submodel generate cases/paper2d.toml --train 0 --test 100 --calibration 0 --seed 7 -o fresh.h5
    ./run python3 benchmarks/baselines.py --dataset paper2d.h5 --fresh fresh.h5 -o benchmarks/results/baselines.json

All learn from the training split of the dataset, whose source must be a sine, and are measured on the test split of
another; a Markdown table is written beside the JSON file. Forms that stand in the file already are kept, so that
single ones can be measured again with --only. Where a form uses the symmetries, every sample is there with its images.
The Fourier neural operator needs the package neuraloperator, which this project does not depend on; install it into a
folder (pip install --target FOLDER neuraloperator) and name that folder with --packages, or the form is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from evaluation import FIELDS, Fields, Predict, evaluate_all, markdown
from numpy.typing import NDArray
from regression import Pod, Rbf, most_likely

from networks.response.signal_response import (
    LowPass,
    band_weight,
    centred_rate,
    impulse_responses,
    toeplitz,
)
from submodel.case.case import Case
from submodel.data.dataset import Dataset
from submodel.geometry import symmetry

RESULTS = Path(__file__).parent / "results" / "baselines.json"
RATE = 15.0
"""Of the low-pass, rad per unit of time."""
NUM_BAND = 33
"""Sines in the band, for the norm of responses."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Data:
    """Training runs, and what is known of the problem.

    Args:
        case: The case.
        parameters: ``(sample, 3)``.
        fields: ``(sample, field, time, arc)`` float32.
        dt: Time between levels.
        points, weights: Γ.
        maps: Its symmetries, the identity first.
    """

    case: Case
    parameters: Array
    fields: Fields
    dt: float
    points: Array
    weights: Array
    maps: tuple[symmetry.Symmetry, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> Data:
        """The training split of a dataset."""
        traces = dataset.traces("train")
        fields = np.stack([traces[name] for name in FIELDS], axis=1)
        maps = symmetry.find(dataset.gamma, dataset.medium, dataset.case.symmetry.maps)
        return cls(
            dataset.case,
            dataset.parameters("train"),
            fields,
            float(dataset.times[-1]) / (len(dataset.times) - 1),
            dataset.gamma.points,
            dataset.gamma.weights,
            tuple(maps),
        )

    @property
    def levels(self) -> Array:
        """Times of the levels 0 .. N."""
        return np.asarray(np.arange(self.fields.shape[2] + 1) * self.dt)

    @property
    def sources(self) -> Array:
        """``(sample, 2)``."""
        return self.parameters[:, 1:]

    def scaled(self, parameters: Array) -> Array:
        """Parameters in units in which the case's box is [-1, 1] each way."""
        said = self.case.parameters
        lower = np.array([said.omega[0], *said.source_lower])
        upper = np.array([said.omega[1], *said.source_upper])
        columns = slice(-parameters.shape[1], None)
        return np.asarray((2.0 * parameters - (lower + upper)[columns]) / (upper - lower)[columns])

    def images(self, parameters: Array, values: Fields, symmetric: bool) -> tuple[Array, Fields, NDArray[np.int64]]:
        """Samples with their images under all symmetries, and the sample that each belongs to."""
        used = self.maps if symmetric else self.maps[:1]
        points, out = [], np.empty((len(used), *values.shape), values.dtype)
        for number, one in enumerate(used):
            points.append(np.concatenate((parameters[:, :-2], one.apply(parameters[:, -2:])), axis=1))
            out[number][..., one.images] = values
        belongs = np.tile(np.arange(len(values)), len(used))
        return np.concatenate(points), out.reshape(-1, *values.shape[1:]), belongs


@dataclass(frozen=True)
class Fitted:
    """A baseline after its training: what predicts, how many numbers it keeps, and what was chosen."""

    predict: Predict
    num_numbers: int
    chosen: Any = None


def sum_of(weights: Array, snapshots: Fields) -> Fields:
    """Sums of snapshots: ``(result, snapshot)`` times ``(snapshot, ...)``."""
    flat = snapshots.reshape(len(snapshots), -1)
    return (weights.astype(flat.dtype) @ flat).reshape(-1, *snapshots.shape[1:])


def gram_of(snapshots: Fields) -> Array:
    """Scalar products of snapshots ``(snapshot, field, ...)``, each field in units of its own rms."""
    total = np.zeros((len(snapshots),) * 2)
    for i in range(snapshots.shape[1]):
        flat = snapshots[:, i].reshape(len(snapshots), -1).astype(np.float64)
        total += flat @ flat.T / np.mean(flat**2)
    return total


def pod_rbf(data: Data, symmetric: bool) -> Fitted:
    """POD of the samples; coefficients by radial basis functions of (omega, x, y), chosen by leaving out folds."""
    parameters, snapshots, group = data.images(data.parameters, data.fields, symmetric)
    points = data.scaled(parameters)
    pod = Pod.of(gram_of(snapshots))
    rbf, left_out = Rbf.chosen(points, pod.coefficients, group)

    def predict(wanted: Array) -> Fields:
        return sum_of(pod.weights(rbf.predict(points, pod.coefficients, data.scaled(wanted))), snapshots)

    chosen = {"rbf": vars(rbf), "modes": len(pod.strength), "error on samples left out": left_out}
    return Fitted(predict, pod.coefficients.size + len(pod.strength) * snapshots[0].size, chosen)


def gp_samples(data: Data, symmetric: bool) -> Fitted:
    """POD of the samples; coefficients by Gaussian processes of (omega, x, y)."""
    parameters, snapshots, _ = data.images(data.parameters, data.fields, symmetric)
    points = data.scaled(parameters)
    pod = Pod.of(gram_of(snapshots))
    process = most_likely(points, pod.coefficients)

    def predict(wanted: Array) -> Fields:
        return sum_of(pod.weights(process.predict(data.scaled(wanted))), snapshots)

    chosen = {"kernel": process.kernel, "modes": len(pod.strength), "groups": process.describe()}
    return Fitted(predict, pod.coefficients.size + len(pod.strength) * snapshots[0].size, chosen)


def root_of(weight: Array) -> Array:
    """R with ``Rᵀ R`` the weight (level, level), its rows those that stand above rounding."""
    cost, directions = np.linalg.eigh(weight)
    kept = cost > len(cost) * np.finfo(np.float64).eps * cost[-1]
    return np.asarray(np.sqrt(cost[kept])[:, None] * directions[:, kept].T)


def gp_responses(data: Data, symmetric: bool, direct: bool) -> Fitted:
    """Low-passed impulse responses of u and r by Gaussian processes of (x, y), their POD in the band's norm.

    With `direct` the wave in free space, known in closed form, is taken out before and added after.
    """
    low_pass = LowPass(RATE, data.dt)
    u, v, r = (data.fields[:, i] for i in range(3))
    y = np.stack(impulse_responses(u, v, r, None, data.dt, low_pass, omegas=data.parameters[:, 0]), axis=1)
    known = FreeWave(data, low_pass) if direct else None
    sources, y, _ = data.images(data.sources, y, symmetric)
    if known is not None:
        y -= known(sources)
    band = np.sin(np.linspace(*data.case.parameters.omega, NUM_BAND)[:, None] * data.levels)
    motion = band_weight(band, low_pass) / np.mean(u**2)
    motion += band_weight(band, low_pass, rate=True) / np.mean(v**2)
    factors = (root_of(motion), root_of(band_weight(band, low_pass) / np.mean(r**2)))
    gram = np.zeros((len(y),) * 2)
    for i, factor in enumerate(factors):
        flat = (factor[:, :-1].astype(np.float32) @ y[:, i]).reshape(len(y), -1)
        gram += flat @ flat.T
    pod = Pod.of(gram, tail=1e-3)
    points = data.scaled(sources)
    process = most_likely(points, pod.coefficients)

    def predict(wanted: Array) -> Fields:
        found = sum_of(pod.weights(process.predict(data.scaled(wanted[:, 1:]))), y)
        if known is not None:
            found = found + known(wanted[:, 1:])
        out = np.empty((len(wanted), 3, *found.shape[2:]), np.float32)
        for i, omega in enumerate(wanted[:, 0]):
            drive = low_pass.inverse(np.sin(omega * data.levels))
            motion = toeplitz(drive) @ np.vstack((found[i, 0], np.zeros_like(found[i, 0, :1])))  # y[N] meets s[0] = 0
            out[i] = motion[:-1], centred_rate(motion, data.dt), toeplitz(drive[:-1]) @ found[i, 1]
        return out

    chosen = {"kernel": process.kernel, "modes": len(pod.strength), "groups": process.describe()}
    return Fitted(predict, pod.coefficients.size + len(pod.strength) * y[0].size, chosen)


class FreeWave:
    """Low-passed responses of the plane without walls, for one wave speed: of u, and of the load by its gradient.

    A point source that is 1 from half a level before to half a level after a level; the wave equation's fundamental
    solution ``1 / (2 pi sqrt(t² - r²/c²))`` integrated over that level. Source: Courant and Hilbert II, VI.
    """

    NUM_RADII = 2000

    def __init__(self, data: Data, low_pass: LowPass) -> None:
        if not isinstance(data.case.medium.speed, int | float):
            raise ValueError("the wave in free space is known for one wave speed only")
        self.points, speed = data.points, float(data.case.medium.speed)
        edges = np.roll(data.points, -1, axis=0) - data.points
        outward = np.stack((edges[:, 1], -edges[:, 0]), axis=1)  # counter-clockwise, as long as the edge
        self.normals = 0.5 * (outward + np.roll(outward, 1, axis=0))  # times the lumped length of the node
        said = data.case.parameters
        ends = np.vstack((data.points, said.source_lower, said.source_upper))
        reach = float(np.linalg.norm(np.ptp(ends, axis=0)))
        self.radii = np.linspace(0.0, reach, self.NUM_RADII + 1)[1:]
        edges_of_levels = (np.arange(data.fields.shape[2] + 1) - 0.5) * data.dt
        ratio = np.maximum(edges_of_levels * speed / self.radii[:, None], 1.0)
        step = np.arccosh(ratio) / (2.0 * np.pi)
        self.table = low_pass.apply(np.diff(step, axis=1), axis=1)
        # the gradient of a mesh: over one edge, which rounds off the front's singularity as elements do
        half = max(1, round(0.5 * float(np.median(data.weights)) / self.radii[0]))
        ends = np.pad(self.table, ((half, half), (0, 0)), mode="edge")
        self.slope = (ends[2 * half :] - ends[: -2 * half]) / (2 * half * self.radii[0])

    def __call__(self, sources: Array) -> Fields:
        """``(source, 2)`` to ``(source, 2, time, arc)`` float32."""
        offset = self.points - sources[:, None]
        radius = np.linalg.norm(offset, axis=2)
        place = np.clip(radius / self.radii[0] - 1.0, 0.0, self.NUM_RADII - 1.001)
        row, share = place.astype(int), (place % 1.0)[..., None]
        out = np.empty((len(sources), 2, self.table.shape[1], len(self.points)), np.float32)
        flux = np.einsum("sad,ad->sa", offset, self.normals) / radius
        for i, (k, w) in enumerate(zip(row, share, strict=True)):
            out[i, 0] = ((1.0 - w) * self.table[k] + w * self.table[k + 1]).T
            out[i, 1] = ((1.0 - w) * self.slope[k] + w * self.slope[k + 1]).T * flux[i]
        return out


def papers_model(data: Data, name: str, seconds: float) -> Fitted:
    """A model of [A], trained as `submodel train` does, for as many epochs as a core does in the time."""
    from networks.paper.predict import predict
    from networks.paper.spec import GeneratorSpec
    from networks.paper.task import train
    from networks.training.plan import TrainingPlan

    num_levels, num_arc = data.fields.shape[2:]
    spec = GeneratorSpec.named(name, num_levels=num_levels, num_arc=num_arc, fields=FIELDS)
    start, tried = time.process_time(), 2
    train(spec, data.parameters, data.fields, TrainingPlan(epochs=tried, threads=1, device="cpu"))
    epoch = (time.process_time() - start) / tried
    plan = TrainingPlan(epochs=max(1, round(seconds / epoch)), threads=1, device="cpu")
    generator, history = train(spec, data.parameters, data.fields, plan)
    return Fitted(lambda wanted: predict(generator, wanted), generator.num_parameters, {"epochs": len(history)})


def fourier_operator(data: Data, seconds: float) -> Fitted:
    """An FNO of neuraloperator on (time, arc) images, the parameters as constant channels.

    The smallest of the sizes that were tried: in so little time a larger one makes too few steps, and the mean absolute
    error instead of the mean square leads it to predict nothing at all.

    Raises:
        ImportError: The package is not there.
    """
    import torch
    from neuralop.models import FNO  # type: ignore[import-not-found,import-untyped,unused-ignore]

    torch.set_num_threads(1)
    torch.manual_seed(0)
    num_levels, num_arc = data.fields.shape[2:]
    model = FNO(n_modes=(32, 16), in_channels=3, out_channels=3, hidden_channels=12, n_layers=3)
    scale = torch.from_numpy(data.fields.std(axis=(0, 2, 3), keepdims=True))
    targets = torch.from_numpy(data.fields) / scale

    def channels(parameters: Array) -> torch.Tensor:
        scores = torch.from_numpy(data.scaled(parameters).astype(np.float32))
        return scores[:, :, None, None].expand(-1, -1, num_levels, num_arc)

    inputs = channels(data.parameters)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=1e-4)
    start, num_epochs = time.process_time(), 0
    while time.process_time() - start < seconds:
        num_epochs += 1
        for batch in torch.randperm(len(inputs)).split(2):
            elapsed = min(time.process_time() - start, seconds)
            optimizer.param_groups[0]["lr"] = 5e-3 * 0.5 * (1.0 + np.cos(np.pi * elapsed / seconds)) + 1e-5
            optimizer.zero_grad()
            loss = (model(inputs[batch]) - targets[batch]).square().mean()
            loss.backward()
            optimizer.step()

    def predict(wanted: Array) -> Fields:
        model.eval()
        with torch.inference_mode():
            parts = [model(part) * scale for part in channels(wanted).split(10)]
        return np.asarray(torch.cat(parts).numpy())

    return Fitted(predict, sum(p.numel() for p in model.parameters()), {"epochs": num_epochs})


def forms(model: str, seconds: float) -> dict[str, Callable[[Data], Fitted]]:
    """All baselines by name."""
    return {
        "POD + RBF": lambda data: pod_rbf(data, symmetric=False),
        "POD + RBF, symmetries": lambda data: pod_rbf(data, symmetric=True),
        "GP on samples": lambda data: gp_samples(data, symmetric=False),
        "GP on samples, symmetries": lambda data: gp_samples(data, symmetric=True),
        "GP on responses": lambda data: gp_responses(data, symmetric=False, direct=False),
        "GP on responses, symmetries": lambda data: gp_responses(data, symmetric=True, direct=False),
        "GP on responses, symmetries, direct wave": lambda data: gp_responses(data, symmetric=True, direct=True),
        "FNO": lambda data: fourier_operator(data, seconds),
        f"{model} [A]": lambda data: papers_model(data, model, seconds),
    }


def measured(form: str, make: Callable[[Data], Fitted], data: Data, fresh: Dataset) -> dict[str, Any]:
    """Train a baseline and measure it; one that cannot be had here says why."""
    start = time.process_time()
    try:
        fitted = make(data)
    except ImportError as error:
        return {"form": form, "skipped": str(error)}
    training = time.process_time() - start  # of one core: others may be at work on this machine
    errors = evaluate_all(data.case, fresh, fitted.predict)
    return {
        "form": form,
        "parameters": fitted.num_numbers,
        "training": training,
        "chosen": fitted.chosen,
        "errors": errors,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="its training split is learnt from")
    parser.add_argument("--fresh", type=Path, required=True, help="its test split is predicted")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="+", metavar="FORM", help="names of the forms to measure")
    parser.add_argument("--model", default="conv1.5d-boundary", help="of the paper")
    parser.add_argument("--seconds", type=float, default=120.0, help="of one core, for forms that take what they get")
    parser.add_argument("--packages", type=Path, help="folder in which neuraloperator is installed")
    asked = parser.parse_args()
    if asked.packages:
        sys.path.append(str(asked.packages))
    known = forms(asked.model, asked.seconds)
    if unknown := sorted(set(asked.only or ()) - set(known)):
        parser.error(f"unknown forms {', '.join(unknown)}; there are {', '.join(known)}")
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(asked.output.read_text()) if asked.output.exists() else []
    done = {row["form"]: row for row in rows}
    with Dataset.open(asked.dataset) as dataset, Dataset.open(asked.fresh) as fresh:
        fresh.require_case(dataset.case)
        if dataset.case.source.signal != "sine":
            parser.error(f"the dataset's source is a {dataset.case.source.signal}; these baselines are for sines")
        data = Data.of(dataset)
        for form in asked.only or known:
            done[form] = measured(form, known[form], data, fresh)
            rows = list(done.values())
            asked.output.write_text(json.dumps(rows, indent=1) + "\n")
            asked.output.with_suffix(".md").write_text(table(rows))
            print(markdown([done[form]]).splitlines()[2:], flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """The Markdown file."""
    return (
        "Relative L2 errors and ε ([A] eq. 22) over fresh samples, means beside the worst; `numbers` is what a form "
        "keeps to predict,\n`training` the time of one core, predictions by the clock of a busy machine. Made by\n\n"
        "    ./run python3 benchmarks/baselines.py --dataset paper2d.h5 --fresh fresh.h5 -o "
        "benchmarks/results/baselines.json\n\n" + markdown(rows)
    )


if __name__ == "__main__":
    main()
