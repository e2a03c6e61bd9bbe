"""Epochs of the decomposed models of [A] against those of their dense counterparts.

    OMP_NUM_THREADS=1 ./run python3 benchmarks/epochs.py

One epoch, the pass over the validation split included, of Conv1.5D Boundary against Conv2D Boundary and of Conv2.5D
against Conv3D, with as many samples, levels, nodes and fields as `cases/corner.toml` gives, the values drawn at random:
they do not change the time. Both are trained in turn, in one process, and the least time of an epoch counts. A ratio
below 1 says that the decomposed model is the faster one; in [A] Table 10 it takes 2 to 3 times longer.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Claim, Report, Table, least

from networks.core.distributed import current_group
from networks.layers.decomposed import DecomposedConv, DenseConv
from networks.layers.split import SplitConv
from networks.paper.catalogue import TITLES, VARIANTS
from networks.paper.generator import BoundaryGenerator
from networks.paper.spec import GeneratorSpec
from networks.paper.task import SampleTask
from networks.training.fit import Fit
from networks.training.plan import EULER_WEIGHT, TrainingPlan

CASE = Path(__file__).parents[1] / "cases" / "corner.toml"
PAIRS = {"conv1.5d-boundary": "conv2d-boundary", "conv2.5d": "conv3d"}
MODES = ("basic", "bn", "sl")
CONVOLUTIONS = (DecomposedConv, DenseConv, SplitConv)


def prepare(model: str, variant: str, case: dict[str, Any], num_samples: int, device: str) -> Fit:
    """A training that can make epochs. A zone has two fields, its boundary the load besides."""
    cell = [
        (high - low) / number
        for low, high, number in zip(*(case["domain"][key] for key in ("lower", "upper", "cells")), strict=True)
    ]
    zone = case["zone"]
    across = [
        round((high - low) / size) for low, high, size in zip(zone["lower"], zone["upper"], cell, strict=True)
    ]  # cells of the zone
    fields, num_levels = tuple(case["training"]["fields"]), case["time"]["levels"]
    size: dict[str, Any] = {"num_arc": 2 * sum(across)}
    if not model.endswith("boundary"):
        fields, size = fields[:2], {"grid": (across[1] + 1, across[0] + 1)}
    spec = GeneratorSpec.named(model, num_levels=num_levels, fields=fields, variant=variant, **size)
    random = np.random.default_rng(0)
    parameters = random.random((num_samples, spec.num_parameters))
    targets = random.standard_normal((num_samples, len(fields), num_levels, spec.num_arc), np.float32)
    plan = TrainingPlan(
        epochs=1000,
        batch_size=case["training"]["batch_size"],
        validation=case["training"]["validation"],
        euler=EULER_WEIGHT if VARIANTS[variant].euler else 0.0,
        dt=case["time"]["final"] / (num_levels - 1),
        device=device,
    )
    fit = Fit(SampleTask(spec, (parameters, targets), plan, current_group()), plan, current_group())
    fit.begin(resume=False)
    return fit


def in_contiguous_format(model: BoundaryGenerator) -> None:
    """Let each convolution see the contiguous memory format, torch's default, in place of channels_last."""
    for module in model.modules():
        if isinstance(module, CONVOLUTIONS):
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write, in place of the one that is kept")
    parser.add_argument("--quick", action="store_true", help="few samples, one repetition")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    case = tomllib.loads(CASE.read_text(encoding="utf-8"))
    all_samples = 8 if options.quick else case["parameters"]["train"]
    report = Report("epochs", "OMP_NUM_THREADS=1 ./run python3 benchmarks/epochs.py")
    rows = []
    for ours, dense in PAIRS.items():
        zone = not ours.endswith("boundary")
        num_samples = min(all_samples, 9) if zone else all_samples  # the ratio is that of a step
        worst = 0.0
        for variant in MODES[:1] if options.quick else MODES:
            fits = {name: prepare(name, variant, case, num_samples, options.device) for name in (ours, dense)}
            fits["other format"] = prepare(dense, variant, case, num_samples, options.device)
            in_contiguous_format(fits["other format"].task.model)
            repeats = 1 if options.quick else 2 if zone else 3
            seconds = least({name: fit.epoch for name, fit in fits.items()}, repeats=repeats)
            reference = min(seconds[dense], seconds["other format"])
            worst = max(worst, seconds[ours] / reference)
            names = (f"{TITLES[ours]} / {TITLES[dense]}", VARIANTS[variant].title, num_samples)
            rows.append((*names, seconds[ours], reference, seconds[ours] / reference))
        what = f"an epoch of {TITLES[ours]} against one of {TITLES[dense]}, worst variant, one core"
        report.claim(Claim(what, worst, 1.0, at_least=False))
    columns = ("models", "variant", "samples", "decomposed (s)", "dense (s)", "ratio")
    report.table(Table("Seconds of an epoch", columns, rows))
    report.note(
        "The dense model runs in the better of channels_last and torch's default memory format. "
        "In Table 10 of the paper the decomposed models take 2 to 3 times longer than the dense ones."
    )
    print(report.write(options.output))


if __name__ == "__main__":
    main()
