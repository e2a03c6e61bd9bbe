"""Decomposed convolutions against torch's dense ones, forward and backward, and forward alone at batch 1.

    OMP_NUM_THREADS=1 ./run python3 benchmarks/layers.py
    ./run python3 benchmarks/layers.py --device cuda --output layers-cuda.json

A ratio above 1 says how many times faster the decomposed layer is than torch's dense layer in the better of its two
memory formats. Layers keep the size ("same" padding), time open, the arc open or closed; torch's is open. On a CPU the
factors compete; on a GPU also what `networks.execution.layers` may choose there: the rebuilt dense kernel, recorded as
a CUDA graph, compiled. All versions are called in turn, calls of less than a millisecond ten times in a row as in a
network of several layers, and the least of all repetitions counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measure import Claim, Report, Table, least
from torch import Tensor, nn

from networks.execution.graphs import makers
from networks.layers.decomposed import DecomposedConv

TARGETS = {3: 1.5, 5: 2.5}
BOTH, FORWARD = "forward and backward, batch 4", "forward, batch 1"
ROW = 10
BATCH = {BOTH: 4, FORWARD: 1}
Call = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """A layer and its image.

    Args:
        channels: in and out.
        shape: points of the image; (time, arc), or (time, y, x).
        taps: along each axis.
    """

    channels: int
    shape: tuple[int, ...]
    taps: int

    @property
    def small(self) -> bool:
        """Whether setting a convolution up takes about as long as doing it."""
        return torch.Size(self.shape).numel() < 512

    def words(self) -> str:
        return f"{self.channels} x {' x '.join(map(str, self.shape))}"


SETTINGS = [
    *(Setting(c, shape, k) for shape in ((32, 32), (64, 128)) for c in (64, 128) for k in (3, 5)),
    *(Setting(64, shape, 3) for shape in ((8, 8, 8), (16, 16, 16))),
    *(Setting(c, shape, k) for c, shape in ((96, (8, 8)), (64, (16, 16))) for k in (3, 5)),
]
"""The last four are the first grid of the boundary generators of [A], and one as small."""

QUICK = [Setting(64, (32, 32), 3), Setting(64, (32, 32), 5), Setting(96, (8, 8), 3), Setting(96, (8, 8), 5)]


def measure(setting: Setting, mode: str, device: torch.device, effort: float) -> dict[str, float]:
    """Least seconds of each version."""
    num_dims, channels = len(setting.shape), setting.channels
    last: Any = torch.channels_last if num_dims == 2 else torch.channels_last_3d
    dense = nn.Conv2d if num_dims == 2 else nn.Conv3d
    image = torch.randn(BATCH[mode], channels, *setting.shape, device=device)
    images = {"dense": image, "dense, channels last": image.contiguous(memory_format=last)}
    layers: dict[str, nn.Module] = {
        name: dense(channels, channels, setting.taps, padding="same").to(device) for name in images
    }
    layers["dense, channels last"].to(memory_format=last)  # type: ignore[call-overload]
    for name, closed in (("factors", ()), ("factors, closed arc", (num_dims - 1,))):
        layers[name] = DecomposedConv(channels, channels, (setting.taps,) * num_dims, circular=closed).to(device)
    versions: dict[str, Call] = {}
    for name, layer in layers.items():
        x = images.get(name, images["dense, channels last"])
        versions[name] = call(layer, x, mode)
        if device.type == "cuda" and name.startswith("factors"):
            versions |= {f"{name}, {how}": other for how, other in on_gpu(setting, layer, x, mode).items()}
    work = BATCH[mode] * channels * torch.Size(setting.shape).numel()
    short = work < 1e5
    repeats = max(3, round(effort * (30 if short else 20 if work < 1e6 else 7)))
    if short:
        versions = {name: in_a_row(version) for name, version in versions.items()}
    return {name: s / (ROW if short else 1) for name, s in least_on(device, versions, repeats).items()}


def in_a_row(work: Call) -> Call:
    """As a network calls it: after others of its kind, whose code and tables are in the processor's caches."""

    def row() -> None:
        for _ in range(ROW):
            work()

    return row


def call(layer: Callable[[Tensor], Tensor], x: Tensor, mode: str) -> Call:
    """One pass; gradients of image and weights in the mode of both."""
    if mode == FORWARD:

        def forward() -> None:
            with torch.inference_mode():
                layer(x)

        return forward
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()

    def both() -> None:
        leaf.grad = None
        if isinstance(layer, nn.Module):
            layer.zero_grad(set_to_none=True)
        y = layer(leaf)
        y.backward(y.detach())  # type: ignore[no-untyped-call]

    return both


def on_gpu(setting: Setting, layer: Any, x: Tensor, mode: str) -> dict[str, Call]:
    """What may be chosen on a GPU beside the plain factors."""
    rebuilt = DecomposedConv(
        setting.channels, setting.channels, (setting.taps,) * len(setting.shape), circular=tuple(layer.circular)
    ).to(x.device)
    rebuilt.execution = "dense"
    found = {"rebuilt dense": call(rebuilt, x, mode)}
    if mode == BOTH:
        return found | {"compiled": call(torch.compile(layer, dynamic=False), x, mode)}
    with torch.no_grad():
        for name, make in makers(x.device, patient=True).items():
            found[name] = call(make(layer, (x,)), x, mode)
            found[f"rebuilt dense, {name}"] = call(make(rebuilt, (x,)), x, mode)
    return found


def least_on(device: torch.device, versions: Mapping[str, Call], repeats: int) -> dict[str, float]:
    """Least seconds of each version: by the clock on a CPU, by events on a GPU."""
    if device.type == "cpu":
        return least(versions, repeats=repeats, warm_up=2)
    best = dict.fromkeys(versions, float("inf"))
    for turn in range(3 + repeats):
        for name, work in versions.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()  # type: ignore[no-untyped-call]
            work()
            end.record()  # type: ignore[no-untyped-call]
            end.synchronize()  # type: ignore[no-untyped-call]
            if turn >= 3:
                best[name] = min(best[name], start.elapsed_time(end) / 1e3)  # type: ignore[no-untyped-call]
    return best


def ratios(seconds: Mapping[str, float]) -> dict[str, float]:
    """How many times faster than the better dense layer: the arc open and closed, each by its fastest version."""
    dense = min(value for name, value in seconds.items() if name.startswith("dense"))
    closed = {name: value for name, value in seconds.items() if name.startswith("factors, closed arc")}
    opened = {n: v for n, v in seconds.items() if n.startswith("factors") and n not in closed}
    return {"dense": dense, "open": dense / min(opened.values()), "closed": dense / min(closed.values())}


def fastest_version(seconds: Mapping[str, float]) -> str:
    """Which version of the layer with a closed arc is the fastest, in words."""
    closed = {name: value for name, value in seconds.items() if name.startswith("factors, closed arc")}
    return min(closed, key=lambda name: closed[name]).removeprefix("factors, closed arc").lstrip(", ") or "factors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write, in place of the one that is kept")
    parser.add_argument("--quick", action="store_true", help="few settings, few repetitions")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    on = "one core" if options.device == "cpu" and options.threads == 1 else f"{options.threads} cores"
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else on
    command = "./run python3 benchmarks/layers.py" + (" --device cuda" if device.type == "cuda" else "")
    report = Report("layers", command if device.type == "cuda" else f"OMP_NUM_THREADS=1 {command}")
    settings = QUICK if options.quick else SETTINGS
    rows, worst = [], dict[tuple[bool, int, str], float]()
    for mode in (BOTH, FORWARD):
        for setting in settings:
            seconds = measure(setting, mode, device, 0.5 if options.quick else 1.0)
            found = ratios(seconds)
            key = (setting.small, setting.taps, mode)
            worst[key] = min(worst.get(key, float("inf")), found["open"], found["closed"])
            target = 1.0 if device.type == "cuda" else TARGETS[setting.taps]
            dense, ours = 1e3 * found["dense"], (found["open"], found["closed"])
            rows.append((mode, setting.words(), setting.taps, dense, *ours, target, fastest_version(seconds)))
    for (small, taps, mode), measured in sorted(worst.items()):
        where = "images below 512 points" if small else "images from 512 points on, two and three axes"
        what = f"decomposed layer against torch's dense one, {taps} taps, {mode}, {where}, worst case, {on}"
        report.claim(Claim(what, measured, 1.0 if device.type == "cuda" else TARGETS[taps]))
    columns = ("pass", "channels x image", "taps", "dense (ms)", "arc open", "arc closed", "target", "chosen")
    report.table(Table("Decomposed layers, times faster than torch's dense layer", columns, rows))
    report.note(
        "The dense layer is torch's own in the better of its two memory formats, its arc open. The smallest images are "
        "the first grids of the boundary generators; there one dense convolution takes 0.1 ms, of which setting "
        "operations up is a large part, and a decomposed layer has more operations to set up."
    )
    print(report.write(options.output))


if __name__ == "__main__":
    main()
