"""Compressive sensing by a compressed ISTA-Net+: the first experiment of [B] (section V.A, Table I), at a small scale.

ISTA-Net+ with N = 5 phases reconstructs 33 x 33 blocks from a quarter of their number of Gaussian measurements. It is
trained with one set of convolutions for all phases (W_m) and with each phase's own (W_nm), then conv2 .. conv5 of all
phases are compressed by independent (TT) and by coupled tensor trains (NC-CTD), and fine-tuned. PSNR is the mean over
the test images, before and after fine-tuning, for three seeds (measurements, initial weights, training patches).

Reduced against [B]: 32 channels in place of 128; 10 training images in place of 91 and 6 test images in place of the
11 of Set11, other ones, that ship inside scikit-image and scikit-learn; some thousand patches in place of some
million; the symmetry term of the loss (weight 0.01) left out, which changed nothing measurable in so short a training.
Added: a weight decay, for the short training leaves weights near their random start otherwise, of which no train holds
anything; and W_nm whose training starts from W_m, so that the phases have something in common; [B] does not say how
its W_nm were started. Dense networks are not fine-tuned. Fine-tuning begins with thresholds of zero, and its gradients
leak a thousandth through ReLU and shrinkage (the network is the same): phases of strongly compressed networks come out
dead otherwise, without any gradient.

    ./run python benchmarks/compression_ista.py

Rows that are finished are kept in benchmarks/results/compression_ista.json and dense networks in a work folder; the
same command goes on where it stopped. One core, about 45 minutes. The table and the figure: compression_ista_report.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import compression_ista_report as report
import numpy as np
import torch
from compression_models import SIDE, ISTANetPlus
from pictures import blocks, decibels, patches, picture
from torch import Tensor, nn
from torch.nn import functional

from networks.compression.compress import CompressionOptions, compress

RESULTS = Path(__file__).parent / "results" / "compression_ista.json"
BLOCKS, CHANNELS, RATIO, BATCH = 5, 32, 0.25, 8
STEPS = {"shared": 2000, "own": 2000, "warm": 1000}
"""Training steps of W_m, of W_nm from random weights, and of W_nm from W_m."""
FINE_STEPS, FINE_BATCH, RATE, DECAY, LEAK = 300, 4, 2e-3, 1.0, 1e-3
TRAINED_ON = (
    "astronaut.png",
    "coffee.png",
    "china.jpg",
    "motorcycle_left.png",
    "grass.png",
    "gravel.png",
    "moon.png",
    "ihc.png",
    "hubble_deep_field.jpg",
    "page.png",
)
TESTED_ON = ("camera.png", "chelsea.png", "coins.png", "rocket.jpg", "flower.jpg", "brick.png")


@dataclass(frozen=True)
class Row:
    """One compressed network.

    Attributes:
        group: of comparable ratios, as in Table I of [B].
        method: "tt" or "ctd"; "dense" is the network as it is.
        ranks: r of TT, (r_c, r_i) of NC-CTD.
        alpha: weight of W_m in NC-CTD.
        weighting: "weights" or "activations", what the decomposition approximates.
        origin: "own" or "warm", which W_nm; "shared" is W_m itself.
    """

    group: int
    method: str
    ranks: tuple[int, ...] = ()
    alpha: float = 0.0
    weighting: str = "weights"
    origin: str = "own"

    @property
    def key(self) -> str:
        """The row's name in the results."""
        ranks = ",".join(str(rank) for rank in self.ranks)
        return f"{self.origin} {self.method} {ranks} alpha={self.alpha:g} {self.weighting}"


GROUPS: dict[int, tuple[int, tuple[tuple[int, int], ...]]] = {
    1: (1, ((3, 0),)),
    2: (2, ((4, 1), (6, 0))),
    3: (4, ((8, 2), (10, 1))),
    4: (8, ((16, 4),)),
}
"""TT rank, and ranks of NC-CTD with at most as many weights."""


def core_rows() -> list[Row]:
    """Rows of the question: the dense networks, TT, and NC-CTD with alpha = 1; those of both W_nm first."""
    dense = [Row(0, "dense", origin=origin) for origin in STEPS]
    tt = [(group, "tt", (rank,), 0.0) for group, (rank, _) in GROUPS.items()]
    ctd = [(group, "ctd", pair, 1.0) for group, (_, pairs) in GROUPS.items() for pair in pairs]
    both = sorted((*tt, *ctd), key=lambda row: row[0])
    more = ((1,), (3, 0), (6, 0), (10, 1))  # for W_nm from random weights only
    first = [Row(*row, origin=origin) for origin in ("own", "warm") for row in both if row[2] not in more]
    return [*dense, *first, *(Row(*row) for row in both if row[2] in more)]


def variant_rows() -> list[Row]:
    """Some rows with alpha = 0, and by activations."""
    found = []
    for origin in ("own", "warm"):
        found.append(Row(3, "ctd", (8, 2), 0.0, origin=origin))
        found.append(Row(3, "tt", (4,), weighting="activations", origin=origin))
        found.append(Row(3, "ctd", (8, 2), 0.0, "activations", origin))
    return found


def leaky(x: Tensor, shrunk: Tensor, leak: float) -> Tensor:
    """`shrunk`, a function of x that is flat somewhere, with a gradient of at least `leak` everywhere."""
    return shrunk + leak * (x - x.detach()) if leak else shrunk


def reconstruct(net: ISTANetPlus, y: Tensor, leak: float = 0.0) -> Tensor:
    """The network's output without its symmetry residuals, which cost a third of the time."""
    x = y @ net.initial.T
    for n in range(len(net.steps)):
        r = (x - net.steps[n] * ((x @ net.phi.T - y) @ net.phi)).view(-1, 1, SIDE, SIDE)
        block: Any = net.blocks[n % len(net.blocks)]
        hidden = block.conv2(block.conv1(r))
        code = block.conv3(leaky(hidden, functional.relu(hidden), leak))
        soft = functional.relu(code - net.thresholds[n]) - functional.relu(-code - net.thresholds[n])
        hidden = block.conv4(leaky(code, soft, leak))
        x = (r + block.conv6(block.conv5(leaky(hidden, functional.relu(hidden), leak)))).flatten(1)
    return x.view(-1, 1, SIDE, SIDE)


@torch.no_grad()
def psnr(net: ISTANetPlus, images: Iterable[Tensor]) -> list[float]:
    """PSNR of each picture, given as its blocks, in dB."""
    net.eval()
    return [decibels(reconstruct(net, net.measure(image)), image) for image in images]


def train(
    net: ISTANetPlus,
    images: list[Tensor],
    steps: int,
    batch_size: int,
    seed: int,
    *,
    decay: float = 0.0,
    leak: float = 0.0,
) -> None:
    """One cycle of the learning rate, on patches that the seed alone decides."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, betas=(0.9, 0.98), weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.1, cycle_momentum=False)
    net.train()
    for _ in range(steps):
        batch = patches(images, batch_size, generator)
        loss = functional.mse_loss(reconstruct(net, net.measure(batch), leak), batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()


@torch.no_grad()
def start(net: ISTANetPlus) -> None:
    """Weights that keep the size of what passes through, but for conv6: the network begins near its linear start."""
    for block in net.blocks:
        for number in range(1, 7):
            gain = "relu" if number in (2, 4) else "linear"
            nn.init.kaiming_normal_(block.get_submodule(f"conv{number}").weight, nonlinearity=gain)  # type: ignore[arg-type]
        block.conv6.weight.mul_(0.1)  # type: ignore[union-attr,operator]


def network(origin: str, seed: int, images: list[Tensor], work: Path) -> ISTANetPlus:
    """A trained dense network, from the work folder where it is there."""
    torch.manual_seed(1000 * seed + list(STEPS).index(origin))
    net = ISTANetPlus(BLOCKS, CHANNELS, RATIO, share=origin == "shared", seed=seed)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    path = work / f"{origin}-{CHANNELS}-{STEPS[origin]}-{seed}.pt"
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net
    net.fit_initialisation(patches(images, 8192, torch.Generator().manual_seed(seed)))
    if origin == "warm":
        common = network("shared", seed, images, work)
        net.steps.data.copy_(common.steps)
        net.thresholds.data.copy_(common.thresholds)
        for block in net.blocks:
            block.load_state_dict(common.blocks[0].state_dict())
    else:
        start(net)
    train(net, images, STEPS[origin], BATCH, 10 + seed, decay=DECAY)
    work.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path)
    return net


def compressed(row: Row, seed: int, images: list[Tensor], work: Path) -> ISTANetPlus:
    """The network of a row, before fine-tuning."""
    dense = network(row.origin, seed, images, work)
    if row.method == "dense":
        return dense
    names = [f"blocks.{n}.conv{m}" for m in range(2, 6) for n in range(BLOCKS)]
    sample = dense.measure(patches(images, 32, torch.Generator().manual_seed(30 + seed)))
    options = CompressionOptions(layers=names, weighting=row.weighting, execution="factorised")  # type: ignore[arg-type]
    if row.method == "ctd":
        groups = [names[BLOCKS * m : BLOCKS * (m + 1)] for m in range(4)]
        reference = network("shared", seed, images, work) if row.alpha else None
        options = replace(options, groups=groups, alpha=row.alpha, reference=reference)
    ranks = row.ranks if row.method == "ctd" else row.ranks[0]
    inputs = sample if row.weighting == "activations" else None
    return compress(dense, row.method, ranks=ranks, sample=inputs, options=options)[0]  # type: ignore[arg-type,return-value]


def weights(net: ISTANetPlus) -> int:
    """Weights of all convolutions, shared ones once: P_o and P_c of [B] eq. 18 and 19 with conv1 and conv6."""
    return sum(parameter.numel() for parameter in net.blocks.parameters())


def measure(row: Row, seed: int, train_on: list[Tensor], test_on: list[Tensor], work: Path) -> dict[str, Any]:
    """A row's numbers for one seed."""
    start = time.process_time()
    net = compressed(row, seed, train_on, work)
    before = psnr(net, test_on)
    count, after = weights(net), before
    if row.method != "dense":
        net.thresholds.data.zero_()
        train(net, train_on, FINE_STEPS, FINE_BATCH, 20 + seed, leak=LEAK)
        after = psnr(net, test_on)
    return {
        "weights": count,
        "before": float(np.mean(before)),
        "after": float(np.mean(after)),
        "images_after": [round(value, 3) for value in after],
        "cpu_seconds": round(time.process_time() - start, 1),
    }


def linear(seed: int, images: list[Tensor], test_on: list[Tensor]) -> float:
    """PSNR of the linear initialisation alone."""
    net = ISTANetPlus(1, 1, RATIO, seed=seed)
    net.fit_initialisation(patches(images, 8192, torch.Generator().manual_seed(seed)))
    return float(np.mean([decibels((net.measure(x) @ net.initial.T).view_as(x), x) for x in test_on]))


def main() -> None:
    parser = argparse.ArgumentParser(description="ISTA-Net+ compressed by TT and NC-CTD: PSNR against ratio")
    parser.add_argument("--work", type=Path, default=Path("build/compression-ista"), help="folder of dense networks")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train_on = [picture(name) for name in TRAINED_ON]
    test_on = [blocks(picture(name)) for name in TESTED_ON]
    setting = {
        "channels": CHANNELS,
        "batch": BATCH,
        "steps": STEPS,
        "rate": RATE,
        "decay": DECAY,
        "leak": LEAK,
        "fine_steps": FINE_STEPS,
        "fine_batch": FINE_BATCH,
    }
    found: dict[str, Any] = json.loads(options.results.read_text()) if options.results.exists() else {}
    if found.get("setting") != setting:
        found = {"setting": setting, "linear": {}, "rows": {}}
    for rows in (core_rows(), variant_rows()):
        for seed in options.seeds:
            found["linear"].setdefault(str(seed), linear(seed, train_on, test_on))
            for row in rows:
                entry = found["rows"].setdefault(row.key, asdict(row) | {"seeds": {}})
                if str(seed) not in entry["seeds"]:
                    entry["seeds"][str(seed)] = measure(row, seed, train_on, test_on, options.work)
                    print(seed, row.key, entry["seeds"][str(seed)], flush=True)
                    options.results.write_text(json.dumps(found, indent=1) + "\n")
    report.write(found, options.results)


if __name__ == "__main__":
    main()
