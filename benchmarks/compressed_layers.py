"""Compressed convolutions against torch's dense ones, forward and forward with backward, interleaved in one run.

    ./run python benchmarks/compressed_layers.py -o benchmarks/results/compression_layers.json

Writes the JSON and, beside it, a Markdown table. A number is the time of a layer over that of torch's dense layer,
medians of interleaved repetitions; below 1 the layer is faster. Each repetition has its own random order, for what
ran before leaves memory and caches behind that speed or slow what follows. On one thread of a CPU the time is that
of the processor, which other work on the machine disturbs less. Layers keep the size, and all get channels_last
tensors. The coupled layer is one of a group of four: a shared and an own train of equal ranks, the ratio counted over
the group ([B] eq. 20), so that one layer alone applies more weights than a lone train of that ratio. The decomposed
layer is depthwise first with one term, at the ratio that its form has.
"""

import argparse
import json
import math
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from networks.compression.layer.base import CompressedLayer
from networks.compression.layer.geometry import Geometry
from networks.compression.layer.shared import Branch
from networks.compression.layer.trains import TrainLayer
from networks.execution.measure import Timer, choose_execution, clock, one_pass
from networks.layers.decomposed import DecomposedConv

CHANNELS = (64, 128)
TAPS = (3, 5)
BATCHES = (1, 16)
RATIOS = (5, 15)
IMAGE = (32, 64)
GROUP = 4
WARM_UP = 2


def equal_ranks(channels: int, taps: int, weights: float) -> int:
    """The rank r = r1 = r2 whose train, 2 C r + F r^2 weights, is nearest to a number of weights."""
    free = taps * taps
    root = (math.sqrt(channels**2 + free * weights) - channels) / free
    return max(1, round(root))


def layers(channels: int, taps: int) -> dict[str, tuple[nn.Module, float]]:
    """The layers that are compared and their ratios of weights; the first is the reference."""
    dense = nn.Conv2d(channels, channels, taps, padding="same")
    geometry = Geometry.of(dense)
    weights = dense.weight.numel()
    decomposed = DecomposedConv(channels, channels, (taps, taps))
    found: dict[str, tuple[nn.Module, float]] = {"dense": (dense, 1.0)}
    for ratio in RATIOS:
        rank = equal_ranks(channels, taps, weights / ratio)
        train = TrainLayer(geometry, channels, channels, (rank, rank))
        found[f"TT {ratio}"] = (train, weights / train.num_weights())
    for ratio in RATIOS:
        rank = equal_ranks(channels, taps, weights / ratio / (1 + 1 / GROUP))
        shared = Branch(geometry, channels, channels, (rank, rank))
        coupled = TrainLayer(geometry, channels, channels, (rank, rank), shared)
        common = sum(factor.numel() for factor in shared.parameters())
        found[f"coupled {ratio}"] = (coupled, GROUP * weights / (GROUP * coupled.num_weights() - (GROUP - 1) * common))
    found["decomposed"] = (decomposed, weights / sum(factor.numel() for factor in decomposed.factors))
    return found


def competitors(channels: int, taps: int) -> Iterator[tuple[str, nn.Module, float, str]]:
    """Name, layer, ratio and execution of every column; compressed layers stand twice, by factors and rebuilt."""
    for name, (layer, ratio) in layers(channels, taps).items():
        if isinstance(layer, CompressedLayer):
            yield name, layer, ratio, "factorised"
            yield f"{name} rebuilt", layer, ratio, "dense"
        else:
            yield name, layer, ratio, ""


def measure(channels: int, taps: int, batch: int, training: bool, repeats: int, device: str) -> dict[str, Any]:
    """Seconds, time over the dense layer's, ratio of weights and the choice of `auto`, by column."""
    x = torch.randn(batch, channels, *IMAGE, device=device).contiguous(memory_format=torch.channels_last)
    columns = list(competitors(channels, taps))
    runs = [one_pass(layer.to(device), [x], training) for _, layer, *_ in columns]
    timer = timer_for(x.device)
    order = random.Random(0)
    seconds: list[list[float]] = [[] for _ in columns]
    for repeat in range(WARM_UP + repeats):
        for number in order.sample(range(len(columns)), len(columns)):
            _, layer, _, execution = columns[number]
            if isinstance(layer, CompressedLayer):
                layer.execution = execution
            taken = timer(runs[number])
            if repeat >= WARM_UP:
                seconds[number].append(taken)
    reference = statistics.median(seconds[0])
    found: dict[str, Any] = {}
    for (name, layer, ratio, execution), times in zip(columns, seconds, strict=True):
        median = statistics.median(times)
        found[name] = {"seconds": median, "relative": median / reference, "ratio": ratio}
        if execution == "factorised":
            found[name]["auto"] = auto(layer, x, training)
    return found


def auto(layer: nn.Module, x: Tensor, training: bool) -> str:
    """What a measurement of its own chooses."""
    choices = choose_execution(layer, x, training=training, timer=timer_for(x.device))
    return next(iter(choices.values())).chosen


def timer_for(device: torch.device) -> Timer:
    """Processor time where one thread does the work, else the clock."""
    if device.type != "cpu" or torch.get_num_threads() > 1:
        return clock(device)

    def timed(work: Callable[[], object]) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return timed


def table(document: dict[str, Any]) -> str:
    """The results as Markdown: a row a case, times over the dense layer's."""
    names = [name for name in document["cases"][0]["layers"] if name != "dense" and not name.endswith("rebuilt")]
    head = ["C", "k", "batch", "pass", "dense ms", *names]
    lines = [
        f"Time over torch's dense layer on one {document['device']}, {document['threads']} thread(s), image "
        f"{IMAGE[0]} x {IMAGE[1]}, torch {document['torch']}. Below 1 is faster. In brackets: the same with the dense",
        "weight rebuilt, and what `auto` chose, f for factors and d for dense.",
        "",
        "    ./run python benchmarks/compressed_layers.py -o benchmarks/results/compression_layers.json",
        "",
        "| " + " | ".join(head) + " |",
        "|" + " ---: |" * len(head),
    ]
    for case in document["cases"]:
        found = case["layers"]
        row = [str(case["channels"]), str(case["taps"]), str(case["batch"]), case["pass"]]
        row.append(f"{1e3 * found['dense']['seconds']:.1f}")
        for name in names:
            cell = f"{found[name]['relative']:.2f}"
            if "auto" in found[name]:
                cell += f" ({found[name + ' rebuilt']['relative']:.2f} {found[name]['auto'][0]})"
            row.append(cell)
        lines.append("| " + " | ".join(row) + " |")
    ratios = [
        f"C {case['channels']}, k {case['taps']}: "
        + ", ".join(f"{name} {case['layers'][name]['ratio']:.1f}" for name in names)
        for case in document["cases"]
        if case["batch"] == BATCHES[0] and case["pass"] == "f"
    ]
    lines += ["", "f is forward, f+b forward and backward. Ratios of weights, dense over compressed:", ""]
    return "\n".join(lines + [f"- {line}" for line in ratios]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write; a Markdown table goes beside it")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.cuda.get_device_name() if options.device == "cuda" else f"{platform.machine()} CPU"
    document = {"threads": options.threads, "device": device, "torch": torch.__version__, "image": IMAGE}
    document |= {"group": GROUP, "repeats": options.repeats, "cases": []}
    for channels in CHANNELS:
        for taps in TAPS:
            for batch in BATCHES:
                for training in (False, True):
                    found = measure(channels, taps, batch, training, options.repeats, options.device)
                    case = {"channels": channels, "taps": taps, "batch": batch, "pass": "f+b" if training else "f"}
                    document["cases"].append({**case, "layers": found})
                    numbers = ", ".join(f"{name} {values['relative']:.2f}" for name, values in found.items())
                    print(f"{case}: {numbers}", flush=True)
    print(table(document))
    if options.output:
        options.output.write_text(json.dumps(document, indent=2) + "\n")
        options.output.with_suffix(".md").write_text(table(document))


if __name__ == "__main__":
    main()
