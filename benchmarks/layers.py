"""Decomposed convolutions against torch's dense ones, forward and backward, interleaved in one run.

    ./run python3 benchmarks/layers.py -o layers.json

A ratio above 1 says how many times faster the decomposed layer is. Layers keep the size ("same" padding) and all are
given channels_last tensors; times are the least of all repetitions, so that a busy machine disturbs them little.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from networks.layers import DecomposedConv, DenseConv

CASES: list[dict[str, Any]] = [
    {"channels": 64, "shape": (32, 32), "taps": 3},
    {"channels": 64, "shape": (32, 32), "taps": 5},
    {"channels": 64, "shape": (64, 128), "taps": 3},
    {"channels": 64, "shape": (64, 128), "taps": 5},
    {"channels": 32, "shape": (16, 16, 16), "taps": 3},
]
BATCH = 4


def layers(channels: int, num_dims: int, taps: int) -> dict[str, nn.Module]:
    """The layers that are compared; the first is the reference."""
    torch_dense = nn.Conv2d if num_dims == 2 else nn.Conv3d
    kernel, closed = (taps,) * num_dims, (num_dims - 1,)
    return {
        "torch dense": torch_dense(channels, channels, taps, padding="same"),
        "dense, closed arc": DenseConv(channels, channels, kernel, circular=closed),
        "depthwise first": DecomposedConv(channels, channels, kernel),
        "depthwise first, closed arc": DecomposedConv(channels, channels, kernel, circular=closed),
        "full channels": DecomposedConv(channels, channels, kernel, depthwise_first=False),
    }


def step(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    """One forward and backward pass, gradients of input and weights."""

    def run() -> None:
        x.grad = None
        layer.zero_grad(set_to_none=True)
        y = layer(x)
        y.backward(y)
        if x.is_cuda:
            torch.cuda.synchronize()

    return run


def measure(case: dict[str, Any], repeats: int, device: str) -> dict[str, dict[str, float]]:
    """Seconds, ratio to the first layer, and number of weights of each layer."""
    num_dims = len(case["shape"])
    memory = torch.channels_last if num_dims == 2 else torch.channels_last_3d
    x = torch.randn(BATCH, case["channels"], *case["shape"], device=device).contiguous(memory_format=memory)
    x.requires_grad_()
    competitors = {n: layer.to(device) for n, layer in layers(case["channels"], num_dims, case["taps"]).items()}
    runs = {name: step(layer, x) for name, layer in competitors.items()}
    least = dict.fromkeys(runs, float("inf"))
    for repeat in range(repeats + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat >= 2:
                least[name] = min(least[name], time.perf_counter() - start)
    reference = next(iter(least.values()))
    return {
        name: {
            "seconds": seconds,
            "ratio": reference / seconds,
            "parameters": sum(p.numel() for p in competitors[name].parameters()),
        }
        for name, seconds in least.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    results = []
    for case in CASES:
        found = measure(case, options.repeats, options.device)
        results.append({**case, "batch": BATCH, "layers": found})
        size = "x".join(map(str, case["shape"]))
        print(f"batch {BATCH}, {case['channels']} channels, {size} points, {case['taps']} taps an axis")
        for name, values in found.items():
            print(
                f"  {name:28s} {1e3 * values['seconds']:8.2f} ms  {values['ratio']:5.2f} times faster than torch dense"
                f"  {values['parameters']:7.0f} weights"
            )
    if options.output:
        document = {"threads": options.threads, "device": options.device, "torch": torch.__version__, "cases": results}
        options.output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
