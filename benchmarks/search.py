"""What was tried for the operator generator: forms, networks, optimisers, at equal time of one core.

Every row changes one thing of the default with the direct ray; the training data and the fit of the rays are those of
`submodel train`. Errors are relative L2 on Γ, mean over fresh samples.

    ./run mpirun -n 2 submodel generate cases/paper2d.toml -o paper2d.h5
    ./run mpirun -n 2 submodel generate cases/paper2d.toml -o fresh.h5 --train 0 --calibration 0 --test 100 --seed 7
    ./run python3 benchmarks/search.py --dataset paper2d.h5 --fresh fresh.h5 --seconds 30
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from networks.core.distributed import Group
from networks.core.prediction import SourceSets
from networks.layers.decomposed import DecomposedConv
from networks.operator.family import FAMILY
from networks.operator.network import Pointwise
from networks.operator.task import ResponseTask
from networks.training.fit import Fit
from networks.training.soap import Soap
from submodel.case.case import Case
from submodel.case.excitation import Excitation
from submodel.data.dataset import Dataset
from submodel.geometry.metrics import relative_l2
from submodel.learn import operator as train_operator
from submodel.learn.budget import Length
from submodel.learn.train import with_training

RESULTS = Path(__file__).parent / "results" / "search.json"
LOOPS = 4
"""Sources of a batch where a network sees whole loops of Γ: 4 x 128 nodes are a batch of 512 pairs."""


class Sine(nn.Module):
    """sin(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.sin(x)


class Layered(nn.Module):
    """`Pointwise` with another activation."""

    def __init__(self, num_in: int, num_out: int, width: int, depth: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.plain, self.activation = Pointwise(num_in, num_out, width, depth), activation()

    def forward(self, x: Tensor) -> Tensor:
        """(..., num_in) to (..., num_out)."""
        x = self.activation(self.plain.first(x))
        for layer in self.plain.layers:
            x = x + self.activation(layer(x))
        out: Tensor = self.plain.last(x)
        return out


class AlongArc(nn.Module):
    """Residual decomposed convolutions along the closed loop Γ, between pointwise layers."""

    def __init__(self, num_in: int, num_out: int, width: int, depth: int, taps: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(num_in, width), nn.Linear(width, num_out)
        self.mix = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.along = nn.ModuleList(nn.Conv1d(width, width, taps, groups=width, padding=0) for _ in range(depth - 1))
        self.margin = taps // 2
        for conv in self.along:  # begin as the identity
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)
            conv.weight.data[:, :, self.margin] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """(source, arc, num_in) to (source, arc, num_out)."""
        x = nn.functional.gelu(self.first(x))
        for mix, conv in zip(self.mix, self.along, strict=True):
            closed = torch.cat((x[:, -self.margin :], x, x[:, : self.margin]), 1).transpose(1, 2)
            x = x + nn.functional.gelu(mix(conv(closed).transpose(1, 2)))
        out: Tensor = self.last(x)
        return out


class AlongFrequency(nn.Module):
    """Pointwise layers, then decomposed convolutions over (arc, frequency), whose amplitudes become coordinates."""

    def __init__(self, run: ResponseTask, num_in: int, width: int, depth: int, channels: int = 8) -> None:
        super().__init__()
        spec = run.spec
        self.num, self.channels = spec.num_frequencies, channels
        self.trunk = Pointwise(num_in, channels * self.num, width, depth)
        convs = [DecomposedConv(channels, channels, (3, 5), circular=(0,)) for _ in range(2)]
        self.convs, self.last = nn.ModuleList(convs), nn.Conv2d(channels, 4, 1)
        reads = []
        for number, known in enumerate(run.coordinates):
            project = torch.as_tensor(known.project, dtype=torch.float64)
            decoder = run.model.decoder[number].double()
            reads.append(torch.linalg.pinv(project @ decoder) @ project)
        read = torch.stack(reads).float()  # (field, rank, coefficient)
        self.register_buffer("read", read / torch.linalg.matrix_norm(read, 2)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(source, arc, num_in) to (source, arc, 2 rank)."""
        x = self.trunk(x).unflatten(-1, (self.channels, self.num)).permute(0, 2, 1, 3)
        for conv in self.convs:
            x = x + nn.functional.gelu(conv(x))
        amplitudes = self.last(x).permute(0, 2, 1, 3).unflatten(2, (2, 2))  # source, arc, field, part, frequency
        real = torch.cat((amplitudes[:, :, :, 0], amplitudes[:, :, :, 1, 1:]), -1)
        return torch.einsum("safc,frc->safr", real, self.read).flatten(2)


@dataclass(frozen=True)
class Trial:
    """A change of the default.

    Attributes:
        rays: what is known beforehand.
        symmetric: whether sources are folded.
        spec: entries of the specification.
        rate: of learning.
        batch: pairs.
        network: makes another network of a run and its number of features; whole loops go through it where `loops`.
        optimizer: makes another optimiser of parameters and a rate.
    """

    rays: str = "direct"
    symmetric: bool = True
    spec: dict[str, Any] = field(default_factory=dict)
    rate: float = 5e-3
    batch: int = 512
    network: Callable[[ResponseTask, int], nn.Module] | None = None
    loops: bool = False
    optimizer: Callable[[Any, float], torch.optim.Optimizer] = Soap


def layered(activation: type[nn.Module]) -> Callable[[ResponseTask, int], nn.Module]:
    """A network with another activation."""
    return lambda run, num: Layered(num, 2 * run.spec.rank, run.spec.width, run.spec.depth, activation)


def along_arc(taps: int) -> Callable[[ResponseTask, int], nn.Module]:
    """A network with one-way kernels along Γ."""
    return lambda run, num: AlongArc(num, 2 * run.spec.rank, run.spec.width, run.spec.depth, taps)


TRIALS = {
    "default: direct ray, 1×1, width 96, depth 6, GELU, SOAP": Trial(),
    "Adam, 3e-3": Trial(rate=3e-3, optimizer=lambda p, rate: torch.optim.Adam(p, rate, betas=(0.9, 0.98))),
    "SOAP, 2e-3": Trial(rate=2e-3),
    "batch 2048": Trial(batch=2048),
    "tanh": Trial(network=layered(nn.Tanh)),
    "sin": Trial(network=layered(Sine)),
    "SiLU": Trial(network=layered(nn.SiLU)),
    "width 128, depth 4": Trial(spec={"width": 128, "depth": 4}),
    "width 64, depth 8": Trial(spec={"width": 64, "depth": 8}),
    "48 frequencies": Trial(spec={"num_frequencies": 48}),
    "rank 64": Trial(spec={"rank": 64}),
    "rank 128": Trial(spec={"rank": 128}),
    "dispersion not learnt beyond one term": Trial(spec={"dispersion": (1, 1)}),
    "no ray": Trial(rays="none"),
    "no symmetry": Trial(symmetric=False),
    "decomposed kernel of 3 along Γ": Trial(network=along_arc(3), loops=True),
    "decomposed kernel of 7 along Γ": Trial(network=along_arc(7), loops=True),
    "decomposed 3 × 5 kernels over (Γ, frequency)": Trial(
        network=lambda run, num: AlongFrequency(run, num, 96, 5), loops=True
    ),
    "walls": Trial(rays="walls"),
}


def attempt(trial: Trial, case: Case, dataset: Dataset, fresh: Dataset, seconds: float, seed: int) -> dict[str, Any]:
    """Train one trial for some seconds of one core and measure it."""
    torch.set_num_threads(1)
    job = train_operator.prepare(with_training(case, rays=trial.rays), dataset, Length(None, seconds, seed, "cpu", 1))
    spec = replace(job.spec, **trial.spec)
    if not trial.symmetric:
        spec = replace(spec, symmetries=())
    start = time.process_time()
    run = ResponseTask(spec, job.data, job.plan, Group())
    run.begin(Fit(run, job.plan, Group()), resumed=False)
    features, scores = run.train_split
    if trial.network is not None:
        torch.manual_seed(seed)
        run.model.net = trial.network(run, features.shape[-1])  # type: ignore[assignment]
    if trial.loops:
        features, scores = (x.unflatten(0, (-1, spec.num_arc)) for x in (features, scores))
    batch = LOOPS if trial.loops else trial.batch
    optimizer = trial.optimizer(run.model.net.parameters(), trial.rate)
    order, steps = torch.Generator().manual_seed(seed), 0
    while (done := (time.process_time() - start) / seconds) < 1.0:
        for part in torch.randperm(len(features), generator=order).split(batch):
            for group in optimizer.param_groups:
                group["lr"] = trial.rate * min(1.0, (steps + 1) / 50) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
            optimizer.zero_grad(set_to_none=True)
            miss = (run.model.net(features[part]) - scores[part]).square() @ run.share
            miss.mean().backward()
            optimizer.step()
            steps += 1
            if (done := (time.process_time() - start) / seconds) >= 1.0:
                break
    return {"steps": steps, "parameters": run.model.num_parameters, **errors(run, case, fresh)}


def errors(run: ResponseTask, case: Case, fresh: Dataset) -> dict[str, float]:
    """Mean relative L2 errors on Γ."""
    parameters, traces = fresh.parameters("test"), fresh.traces("test")
    signals = np.array([Excitation.of_parameters(case, vector).samples(case)[0] for vector in parameters])
    sets = SourceSets(case.parameters.sources(parameters)[:, None], signals[:, None])
    found = FAMILY.predictor(FAMILY.ready(run.model.eval()), sets).levels(0, run.model.spec.num_levels)
    return {
        short: float(np.mean([relative_l2(a, b) for a, b in zip(found[:, number], traces[name], strict=True)]))
        for number, (short, name) in enumerate((("u", "displacement"), ("v", "velocity"), ("r", "load")))
    }


def main() -> None:
    """Try, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="its training split is learnt from")
    parser.add_argument("--fresh", type=Path, required=True, help="its test split is predicted")
    parser.add_argument("--seconds", type=float, default=30.0, help="of one core, the fit of the rays included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="TRIAL", help="names of the trials to make")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    if unknown := sorted(set(asked.only or ()) - set(TRIALS)):
        parser.error(f"unknown trials {', '.join(unknown)}; there are {', '.join(TRIALS)}")
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(asked.output.read_text()) if asked.output.exists() else {}
    with Dataset.open(asked.dataset) as dataset, Dataset.open(asked.fresh) as fresh:
        for name in asked.only or TRIALS:
            row = attempt(TRIALS[name], dataset.case, dataset, fresh, asked.seconds, asked.seed)
            rows[name] = row | {"seconds": asked.seconds}
            asked.output.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
            print(
                f"{name:60s} {row['steps']:6d} steps  " + "  ".join(f"{k} {100 * row[k]:.2f} %" for k in "uvr"),
                flush=True,
            )
    lines = ["| what | steps | numbers | u | v | r |", "|---|---|---|---|---|---|"]
    for name, row in rows.items():
        cells = " | ".join(f"{100 * row[k]:.2f} %" for k in "uvr")
        lines.append(f"| {name} | {row['steps']} | {row['parameters']} | {cells} |")
    asked.output.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
