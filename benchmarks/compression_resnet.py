"""ResNet-8 compressed by SVD, tensor trains and partly coupled tensor trains: accuracy against ratio ([B] table V).

    ./run python benchmarks/compression_resnet.py                    # runs what is missing (one core, an hour for all)
    ./run python benchmarks/compression_resnet_report.py             # tables and plot from the results

The network is the paper's, 4.82 m weights. Reduced is all else: the images are the handwritten digits of scikit-learn,
8 x 8 and grey, brought to 16 x 16 so that three strides of two leave 2 x 2 points; 150 of them train, which leaves the
accuracy below saturation, and the other 1647 test; seeds differ in split, start and order. Each seed's dense network
is trained once, and every method starts from it. Rows that the results hold already are not run again.
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from compression_models import num_weights, resnet8
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from networks.compression.choice.counting import partly_coupled_count, svd_count, tt_count
from networks.compression.compress import CompressionOptions, compress
from networks.compression.tensor.coupled import Minimisation

STAGES = {1: "conv3_x", 2: "conv4_x", 4: "conv5_x"}
"""Sub-networks by q: their output depth is 128 q."""
NUM_TRAIN, DENSE_EPOCHS, FINE_TUNE_EPOCHS, BATCH, RATE = 150, 40, 15, 16, 1e-3
SWEEPS = 10
"""Of the coupled decompositions; a hundred lower the squared error of these weights by 1 % more."""
TT_RANKS = (32, 48, 64, 80, 96)
PCTD_SHARED = (16, 24)
BEYOND = (15, 30, 60, 120, 240)
SPLITS = (0.5, 1.0, 1.5)
"""Shared rank over the rank of the tensor train with as many weights; beyond the table all may be shared, too."""


@dataclass(frozen=True)
class Row:
    """One compressed network: what it is called, its group in the table, and its ranks.

    Attributes:
        group: of the table, e.g. "1" as in [B] table V, or "ratio 30".
        method: "svd", "tt" or "pctd".
        label: the ranks as the paper writes them, without the q.
        own: r, r' or r_i; a stage has own * q, rounded down, its first layer half of that. Table V rounds r_i in
            print only: it is the real number that gives as many weights as the tensor train (compression_tables.py).
        shared: r_c; what a stage shares has half of shared * q (the rule that makes the ratios of table V).
    """

    group: str
    method: str
    label: str
    own: float
    shared: float = 0.0

    def own_ranks(self, q: int) -> tuple[int, int]:
        """Ranks of the first and the second layer of a stage; an SVD has the same for both."""
        rank = math.floor(self.own * q + 1e-9)
        return (rank if self.method == "svd" else rank // 2), rank

    def shared_rank(self, q: int) -> int:
        """Rank of what a stage's layers share."""
        return math.floor(self.shared * q / 2 + 1e-9)

    def ranks(self) -> dict[str, Any]:
        """Ranks of each layer, for `compress`."""
        found: dict[str, Any] = {}
        for q, stage in STAGES.items():
            for layer, own in enumerate(self.own_ranks(q)):
                found[f"{stage}.{layer}.conv1"] = (self.shared_rank(q), own) if self.method == "pctd" else own
        return found

    def count(self) -> int:
        """Weights of the six compressed layers."""
        total = 0
        for q in STAGES:
            shapes = [(64 * q, 9, 128 * q), (128 * q, 9, 128 * q)]
            ranks = [(own, own) for own in self.own_ranks(q)]
            if self.method == "svd":
                total += sum(svd_count((last, first, 3, 3), ranks[0][0]) for first, _, last in shapes)
            elif self.method == "tt":
                total += sum(tt_count(shape, pair) for shape, pair in zip(shapes, ranks, strict=True))
            else:
                shared = self.shared_rank(q)
                total += partly_coupled_count(shapes, (shared, shared), ranks)
        return total


DENSE_COUNT = sum((64 + 128) * 9 * 128 * q * q for q in STAGES)


def largest(make: Callable[[float], Row], most: int) -> Row:
    """The row with the largest rank, in quarters, that has at most so many weights."""
    quarters = 1
    while make(quarters / 4).count() <= most:
        quarters += 1
    return make((quarters - 1) / 4)


def own_rank(rank: float, shared: float) -> float:
    """r_i for which a stage of NC-PCTD has as many weights as tensor trains of this rank: a real number."""
    most = 352 * rank + 11.25 * rank**2 - 160 * shared - 2.25 * shared**2
    return (math.sqrt(352**2 + 45 * most) - 352) / 22.5


def beyond() -> list[Row]:
    """Higher ratios over the six layers than table V has, with more and less shared."""
    found = []
    for ratio in BEYOND:
        most, name = DENSE_COUNT // ratio, f"ratio {ratio}"
        makers: list[Callable[[float], Row]] = [
            lambda r, g=name: Row(g, "svd", f"{r:g}", r),  # type: ignore[misc]
            lambda r, g=name: Row(g, "tt", f"{r:g}", r),  # type: ignore[misc]
            lambda r, g=name: Row(g, "pctd", f"({r:g}, 0)", 0, r),  # type: ignore[misc]
        ]
        svd, train, all_shared = (largest(make, most) for make in makers)
        found += [svd, train]
        for part in SPLITS:
            shared = part * train.own
            make = lambda r, g=name, c=shared: Row(g, "pctd", f"({c:g}, {r:g})", r, c)  # noqa: E731
            found.append(largest(make, most))
        found.append(all_shared)
    return found


def table() -> list[Row]:
    """Table V, with an SVD column as in table IV."""
    found = []
    for group, rank in enumerate(TT_RANKS, 1):
        train = Row(str(group), "tt", str(rank), rank)
        found += [train, largest(lambda r, g=train.group: Row(g, "svd", f"{r:g}", r), train.count())]  # type: ignore[misc]
        for shared in PCTD_SHARED:
            own = own_rank(rank, shared)
            found.append(Row(train.group, "pctd", f"({shared}, {math.floor(own)})", own, shared))
    return found


def images() -> tuple[Tensor, Tensor]:
    """The digits, (1797, 1, 16, 16) with mean 0 and variance 1, and their classes."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None]
    x = functional.interpolate(x, size=(16, 16), mode="bilinear")
    return ((x - x.mean()) / x.std()).contiguous(memory_format=torch.channels_last), torch.tensor(digits.target)


def split(seed: int) -> tuple[Tensor, Tensor]:
    """Indices to train and to test on."""
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(seed))
    return order[:NUM_TRAIN], order[NUM_TRAIN:]


def fit(model: nn.Module, x: Tensor, y: Tensor, epochs: int, seed: int) -> None:
    """Adam with a rate that falls as a cosine to zero; the last, smaller batch of an epoch is left out."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * (len(x) // BATCH))
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for batch in order[: len(x) // BATCH * BATCH].split(BATCH):
            optimiser.zero_grad(set_to_none=True)
            functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
            schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Per cent of images whose class is found."""
    model.eval()
    hits = torch.cat([model(part).argmax(1) for part in x.split(256)]) == y
    return 100 * hits.float().mean().item()


def dense(seed: int, folder: Path) -> nn.Module:
    """The seed's dense network, trained or read."""
    torch.manual_seed(seed)
    model = resnet8(in_channels=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    path = folder / f"resnet8-{seed}.pt"
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model
    (x, y), (train, _) = images(), split(seed)
    fit(model, x[train], y[train], DENSE_EPOCHS, seed)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    return model


def measure(row: Row, model: nn.Module, seed: int) -> dict[str, Any]:
    """Compress, test, fine-tune, test."""
    (x, y), (train, test) = images(), split(seed)
    begin = time.perf_counter()
    groups = [[f"{stage}.{layer}.conv1" for layer in (0, 1)] for stage in STAGES.values()]
    method: Any = row.method
    compressed, report = compress(
        copy.deepcopy(model),
        method,
        ranks=row.ranks(),
        options=CompressionOptions(
            layers=list(row.ranks()),
            groups=groups if row.method == "pctd" else None,
            minimisation=Minimisation(sweeps=SWEEPS),
            execution="factorised",
        ),
    )
    decomposed = time.perf_counter()
    before = accuracy(compressed, x[test], y[test])
    fit(compressed, x[train], y[train], FINE_TUNE_EPOCHS, seed)
    others = num_weights(model) - DENSE_COUNT
    stored = sum(layer.after for layer in report.touched)
    squared = sum(layer.weight_error**2 for layer in report.touched) / len(report.touched)
    return {
        "weights": stored,
        "ratio": DENSE_COUNT / stored,
        "model_ratio": (DENSE_COUNT + others) / (stored + others),
        "weight_error": math.sqrt(squared),
        "before": before,
        "after": accuracy(compressed, x[test], y[test]),
        "seconds": {"decompose": decomposed - begin, "all": time.perf_counter() - begin},
    }


def without(model: nn.Module, seed: int) -> dict[str, float]:
    """What the six layers are worth: accuracy with their kernels zero, and then fine-tuned with them left at zero."""
    (x, y), (train, test) = images(), split(seed)
    bare = copy.deepcopy(model)
    for stage in STAGES.values():
        for layer in range(2):
            weight = bare.get_parameter(f"{stage}.{layer}.conv1.weight")
            weight.requires_grad_(False).zero_()
    before = accuracy(bare, x[test], y[test])
    fit(bare, x[train], y[train], FINE_TUNE_EPOCHS, seed)
    return {"before": before, "after": accuracy(bare, x[test], y[test])}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/compression_resnet.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", type=Path, default=Path("build/compression"), help="where dense networks are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    results = {"dense": {}, "without": {}, "rows": []} | results
    models = {seed: dense(seed, arguments.models) for seed in arguments.seeds}
    x, y = images()
    for seed, model in models.items():
        test = split(seed)[1]
        results["dense"][str(seed)] = accuracy(model, x[test], y[test])
        if str(seed) not in results["without"]:
            results["without"][str(seed)] = without(model, seed)
    done = {(r["seed"], r["group"], r["method"], r["label"]) for r in results["rows"]}
    for row in [*beyond(), *table()]:
        for seed, model in models.items():
            if (seed, row.group, row.method, row.label) in done:
                continue
            named = {"seed": seed, "group": row.group, "method": row.method, "label": row.label}
            results["rows"].append(named | measure(row, model, seed))
            arguments.output.write_text(json.dumps(results, indent=1) + "\n")
            print(json.dumps(results["rows"][-1]), flush=True)


if __name__ == "__main__":
    main()
