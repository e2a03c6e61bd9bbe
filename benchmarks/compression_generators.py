"""Our dense boundary generators compressed after training, beside networks that are small from the start.

A generator is the twins of conv2d-boundary, one trunk and head for the displacement and one for the velocity, trained
apart (`independent`) or the velocity's from the trained displacement's (`warm`), for the same number of epochs. It is
compressed to a share of all its trainable numbers, measured, fine-tuned, measured again. Beside it stand networks of
as many numbers from the start, trained from scratch for the time of training and fine-tune together: the a-priori
decomposed conv1.5d-boundary of [A], and conv2d-boundary with fewer channels.

The dense twins are trained plainly, or `decayed`: from weights a fifth as large and with weight decay. Weights as large
as they are usually drawn stay noise of full rank beside what is learnt, which no decomposition can leave out.

Trainings are counted in epochs, so that a busy machine does not decide: the seconds of a step are measured beside a
dense one's, step by step in turn, and a fine-tune is given as many epochs as cost a tenth of the dense training's time.
Errors are those of 20 fresh samples, after a zoom under the Dirichlet condition (which takes u alone), and of v on Γ.

    ./run python benchmarks/compression_generators.py            # hours of one core; goes on where it was
    ./run python benchmarks/compression_generators.py --report   # table and figure from the results that are there
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from compression_generators_report import RESULTS, report
from evaluation import evaluate
from torch import Tensor

from networks.compression.compress import CompressionOptions, compress
from networks.compression.report import Report
from networks.paper.generator import BoundaryGenerator, build
from networks.paper.predict import predict
from networks.paper.spec import GeneratorSpec
from networks.paper.task import train
from networks.training.fit import split_samples
from networks.training.plan import COMPRESSIBLE, TrainingPlan
from submodel.data.dataset import Dataset

CASE = "cases/corner.toml"
FIELDS = ("displacement", "velocity")
EPOCHS = 240  # of each dense twin; the validation error is flat from about 150 on
SHARE = 0.1  # of the dense training's time that a fine-tune may cost
RATES: dict[str, Any] = {"learning_rate": 1e-3, "final_learning_rate": 3e-5}
TRAININGS = {"plain": (1.0, 0.0), "decayed": (COMPRESSIBLE["initial_scale"], COMPRESSIBLE["weight_decay"])}
"""Factor on the trunks' initial weights, and weight decay, of the dense twins."""
BATCH, FINE_BATCH = 4, 2
WEIGHTINGS: tuple[Any, ...] = ("weights", "activations")
"""Of the two, that of the smaller output error on the training samples is taken."""
TIMED_STEPS = 11
KEY_RATIO, KEY_SEEDS = 15, (0, 1, 2)
PLAIN = (("dense", 1), ("tt", KEY_RATIO), ("ctd", KEY_RATIO), ("svd", KEY_RATIO))


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; a method's name, or `dense`, `decomposed`, `small dense`."""

    method: str
    ratio: int = 1
    twins: str = "independent"
    seed: int = 0
    training: str = "decayed"


def plan() -> Iterator[Row]:
    """All rows, the most wanted first."""
    both = ("independent", "warm")
    coupled = [(method, twins) for twins in both for method in ("tt", "ctd")]
    yield Row("dense")
    yield from (Row(method, KEY_RATIO) for method in ("tt", "ctd", "svd"))
    yield Row("decomposed", KEY_RATIO)
    yield from (Row(method, ratio) for ratio in (30, 8, 4, 45) for method in ("tt", "ctd", "svd"))
    yield from (Row(method, ratio, "independent", 0, "plain") for method, ratio in PLAIN)
    yield from (Row(method, ratio, "warm") for method, ratio in (("dense", 1), ("tt", KEY_RATIO), ("ctd", KEY_RATIO)))
    yield Row("decomposed", 30)
    for seed in KEY_SEEDS[1:]:
        yield Row("dense", 1, "independent", seed)
        yield from (Row(method, KEY_RATIO, "independent", seed) for method in ("tt", "ctd", "decomposed"))
    yield from (Row(method, KEY_RATIO) for method in ("pctd", "tucker", "cp", "small dense"))
    yield from (Row(method, ratio) for ratio in (8, 4, 45) for method in ("decomposed",))
    yield from (Row("small dense", ratio) for ratio in (30, 8, 4, 45))
    for seed in KEY_SEEDS[1:]:
        yield Row("dense", 1, "warm", seed)
        yield from (Row(method, KEY_RATIO, "warm", seed) for method in ("tt", "ctd"))
        yield Row("small dense", KEY_RATIO, "independent", seed)
    yield from (Row(method, ratio, twins) for ratio in (30, 8, 4, 45) for method, twins in coupled if twins == "warm")
    yield from (Row(method, 8) for method in ("pctd", "tucker", "cp"))


class Bench:
    """Data, dense models and measurements.

    Args:
        work: folder of the datasets and of the trained dense twins.
    """

    def __init__(self, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.work = work
        generate(work / "corner.h5")
        generate(work / "fresh.h5", "--train", "0", "--test", "20", "--seed", "7")
        with Dataset.open(work / "corner.h5") as dataset:
            traces = dataset.traces("train")
            self.parameters = dataset.parameters("train")
        self.targets = np.stack([traces[name] for name in FIELDS], axis=1)
        self.fresh = Dataset.open(work / "fresh.h5")

    def spec(self, model: str, fields: tuple[str, ...] = FIELDS, **sizes: Any) -> GeneratorSpec:
        """A specification of this problem's, one trunk a field."""
        num_levels, num_arc = self.targets.shape[2:]
        return GeneratorSpec.named(
            model, num_levels=num_levels, num_arc=num_arc, fields=fields, variant="basic", **sizes
        )

    def start(
        self, spec: GeneratorSpec, seed: int, *, draw: int = 0, weights: dict[str, Tensor] | None = None
    ) -> BoundaryGenerator:
        """A model before training: scalers of the seed's split; weights given, or this draw of the seed."""
        torch.manual_seed(10 * seed + draw)
        model = build(spec)
        if weights is not None:
            model.load_state_dict({k: v for k, v in weights.items() if "scaler" not in k}, strict=False)
        chosen, _ = split_samples(len(self.parameters), TrainingPlan(epochs=1).validation, seed)
        wanted = [FIELDS.index(name) for name in spec.fields]
        model.input_scaler.fit(torch.as_tensor(self.parameters[chosen]))
        model.target_scaler.fit(torch.as_tensor(self.targets[chosen][:, wanted]))
        return model

    def train(
        self, model: BoundaryGenerator, seed: int, epochs: int, **options: Any
    ) -> tuple[BoundaryGenerator, float]:
        """Train from where a model is, one thread: the best model, and its validation error."""
        wanted = [FIELDS.index(name) for name in model.spec.fields]
        how = TrainingPlan(epochs=epochs, threads=1, device="cpu", seed=seed, **RATES, **options)
        trained, history = train(model.spec, self.parameters, self.targets[:, wanted], how, initial=model)
        return trained, min(epoch.score for epoch in history)

    def twin(self, field: str, row: Row, *, warm: bool = False) -> BoundaryGenerator:
        """A dense generator of one field; the warm one begins at the displacement's."""
        path = self.work / f"{row.training}-{field}-{'warm' if warm else 'own'}-{row.seed}.pt"
        factor, decay = TRAININGS[row.training]
        weights = self.twin("displacement", row).state_dict() if warm else None
        spec = self.spec("conv2d-boundary", (field,))
        model = self.start(spec, row.seed, draw=FIELDS.index(field), weights=weights)
        if not warm:
            model.scale_trunks(factor)
        if not path.exists():
            start = time.monotonic()
            trained, error = self.train(model, row.seed, EPOCHS, weight_decay=decay)
            print(f"{path.name}: validation {error:.4f}, {time.monotonic() - start:.0f} s", flush=True)
            torch.save(trained.state_dict(), path)
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()

    def dense(self, row: Row) -> BoundaryGenerator:
        """The two twins of a row as one generator."""
        twins = [self.twin("displacement", row), self.twin("velocity", row, warm=row.twins == "warm")]
        model = self.start(self.spec("conv2d-boundary"), row.seed)
        numbers = {}
        for place, twin in enumerate(twins):
            for name, tensor in twin.state_dict().items():
                part, _, rest = name.partition(".")
                if part in ("trunks", "heads"):
                    numbers[f"{part}.{place}.{rest.partition('.')[2]}"] = tensor
        model.load_state_dict(numbers | {k: v for k, v in model.state_dict().items() if "scaler" in k})
        return model.eval()

    def errors(self, model: BoundaryGenerator) -> dict[str, float]:
        """Errors of the fresh samples, fractions: after the zoom, and on Γ."""
        found = evaluate(self.fresh.case, self.fresh, lambda wanted: predict(model, wanted), "dirichlet", fields=FIELDS)
        return {
            "epsilon_u": found["zone"]["displacement"]["epsilon"],
            "l2_u": found["zone"]["displacement"]["relative_l2"],
            "l2_v": found["zone"]["velocity"]["relative_l2"],
            "gamma_l2_u": found["gamma"]["displacement"]["relative_l2"],
            "gamma_l2_v": found["gamma"]["velocity"]["relative_l2"],
        }

    def measure(self, row: Row) -> dict[str, Any]:
        """Make a row's generator and measure it."""
        if row.method == "dense":
            model = self.dense(row)
            return {"parameters": model.num_parameters, "after": self.errors(model)}
        if row.method in ("decomposed", "small dense"):
            return self.from_scratch(row)
        dense = self.dense(row)
        try:
            model, said = self.compressed(dense, row)
        except ValueError as error:
            return {"skipped": str(error)}
        out: dict[str, Any] = {"parameters": model.num_parameters, "before": self.errors(model)}
        seconds, own = epoch_seconds(self, (dense, BATCH), (model, FINE_BATCH))
        epochs = max(1, int(SHARE * EPOCHS * seconds / own))
        model, out["validation"] = self.train(model, row.seed, epochs, batch_size=FINE_BATCH)
        return out | {
            "report": said.to_dict(),
            "weighting": said.weighting,
            "epoch_seconds": own,
            "dense_epoch_seconds": seconds,
            "epochs": epochs,
            "time_share": epochs * own / (EPOCHS * seconds),
            "after": self.errors(model),
        }

    def compressed(self, dense: BoundaryGenerator, row: Row) -> tuple[BoundaryGenerator, Report]:
        """The dense twins at a row's ratio, by the weighting with the smaller output error on the training samples."""
        sample = torch.as_tensor(self.parameters, dtype=torch.float32)
        method: Any = row.method
        tried: list[Any] = [
            compress(dense, method, ratio=row.ratio, sample=sample, options=CompressionOptions(weighting=weighting))
            for weighting in WEIGHTINGS
        ]
        found: tuple[BoundaryGenerator, Report] = min(tried, key=lambda each: float(each[1].output_error))
        return found

    def from_scratch(self, row: Row) -> dict[str, Any]:
        """A network of few numbers from the start, for the time of dense training and fine-tune."""
        dense = self.start(self.spec("conv2d-boundary"), 0)
        name = "conv1.5d-boundary" if row.method == "decomposed" else "conv2d-boundary"
        model = self.start(self.scaled(name, dense.num_parameters / row.ratio), row.seed)
        seconds, own = epoch_seconds(self, (dense, BATCH), (model, BATCH))
        epochs = round((1 + SHARE) * EPOCHS * seconds / own)
        model, validation = self.train(model, row.seed, epochs)
        return {
            "parameters": model.num_parameters,
            "widths": model.spec.widths,
            "stem": model.spec.stem,
            "epoch_seconds": own,
            "dense_epoch_seconds": seconds,
            "epochs": epochs,
            "validation": validation,
            "after": self.errors(model),
        }

    def scaled(self, name: str, parameters: float) -> GeneratorSpec:
        """A model's specification with stem and widths scaled alike, the largest with no more numbers than this."""
        known = self.spec(name)
        best = None
        for factor in np.linspace(0.05, 1.0, 400):
            widths = tuple(max(2, round(factor * width)) for width in known.widths)
            spec = self.spec(name, widths=widths, stem=max(2, round(factor * known.stem)))
            if build(spec).num_parameters > parameters:
                break
            best = spec
        if best is None:
            raise ValueError(f"{name} has more than {parameters:.0f} numbers at any width")
        return best


def epoch_seconds(bench: Bench, *models: tuple[BoundaryGenerator, int]) -> tuple[float, ...]:
    """Seconds of an epoch of models with their batch sizes, from the median of steps taken in turn."""
    torch.set_num_threads(1)
    inputs = torch.as_tensor(bench.parameters, dtype=torch.float32)
    steps = []
    for model, batch in models:
        trained = copy.deepcopy(model).train()
        steps.append((trained, torch.optim.AdamW(trained.parameters(), 1e-5, foreach=True), inputs[:batch]))
    taken: list[list[float]] = [[] for _ in models]
    for _ in range(TIMED_STEPS + 1):
        for seconds, (model, optimizer, some) in zip(taken, steps, strict=True):
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            model.standardised(some).abs().mean().backward()
            optimizer.step()
            seconds.append(time.perf_counter() - start)
    return tuple(
        float(np.median(seconds[1:])) * len(inputs) / batch for seconds, (_, batch) in zip(taken, models, strict=True)
    )


def generate(path: Path, *options: str) -> None:
    """Make a dataset of the case where there is none."""
    if not path.exists():
        subprocess.run([sys.executable, "-m", "submodel", "generate", CASE, "-o", str(path), *options], check=True)


def main() -> None:
    """Measure what is missing, write results, table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/compression-generators"))
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="rows of these methods")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    if not asked.report:
        bench = Bench(asked.work)
        for row in plan():
            wanted = asked.only is None or row.method in asked.only
            if not wanted or dataclasses.astuple(row) in {key(known) for known in stored(asked.output)}:
                continue
            measured = dataclasses.asdict(row) | bench.measure(row)
            rows = [*stored(asked.output), measured]  # read again: another process may fill the same file
            asked.output.write_text(json.dumps(rows, indent=1) + "\n")
            print(json.dumps({name: value for name, value in measured.items() if name != "report"}), flush=True)
    report(stored(asked.output), asked.output)


def stored(path: Path) -> list[dict[str, Any]]:
    """Rows that were measured before."""
    return list(json.loads(path.read_text())) if path.exists() else []


def key(known: dict[str, Any]) -> tuple[Any, ...]:
    """What a stored row is a measurement of."""
    return tuple(known[field.name] for field in dataclasses.fields(Row))


if __name__ == "__main__":
    main()
