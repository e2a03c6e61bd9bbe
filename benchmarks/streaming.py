"""What streaming costs and saves: boundary data in one shot, or block by block while the zone steps.

The reference problem's zone (design section 4), alone and refined, over its own time and five times as long, fed by an
operator generator of the default size; its weights are random, which changes no time. Serial, best of some repeats:

    ./run python3 benchmarks/streaming.py
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from networks.operator import OperatorGenerator
from networks.operator_spec import OperatorSpec
from networks.playback import OperatorPlayback
from solvers.mesh import refined_zone_box
from solvers.operators import Discretization
from solvers.source import Sine
from solvers.time import TimeGrid
from solvers.zone import ZoneModel
from submodel.prediction import Prediction
from submodel.streaming import StreamedBoundary

RESULTS = Path(__file__).parent / "results" / "streaming.json"
DT = 2.0 / 255.0
BLOCKS = (16, 32, 64, 128)
SOURCE = (0.513, 0.621)


def zone_model(num_levels: int, refine: int) -> ZoneModel:
    """The reference zone under the impedance condition."""
    cells = 32 * refine
    mesh = refined_zone_box(MPI.COMM_SELF, (-0.25, -0.25), (0.25, 0.25), (cells, cells), cell="triangle", speed=1.0)
    return ZoneModel(mesh, Discretization(), TimeGrid((num_levels - 1) * DT, num_levels), interface="impedance")


def generator(coarse: ZoneModel) -> OperatorGenerator:
    """One of the default size for the unrefined zone's nodes."""
    curve = coarse.interface
    torch.manual_seed(0)
    spec = OperatorSpec(
        num_levels=coarse.time.num_levels,
        dt=DT,
        rate=15.0,
        band=(2.0 * np.pi, 6.0 * np.pi),
        points=tuple((float(x), float(y)) for x, y in curve.points),
        loop=tuple(int(number) for number in curve.loop),
        speed=1.0,
    )
    made = OperatorGenerator(spec)
    torch.nn.init.normal_(made.decoder, std=1e-3)  # a decoder of zeros would be quicker to multiply with
    return made.eval()


def best(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Least seconds of some calls, and what that call gave."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        given = call()
        found.append((time.perf_counter() - start, given))
    return min(found, key=lambda each: each[0])


def measure(num_levels: int, refine: int, repeats: int) -> dict[str, Any]:
    """Times in milliseconds of one problem."""
    coarse = zone_model(num_levels, 1)
    zone = coarse if refine == 1 else zone_model(num_levels, refine)
    network = generator(coarse)
    signals = Sine(12.0)(np.arange(num_levels + 1) * DT)[None]

    def prediction() -> Prediction:
        playback = OperatorPlayback(network, np.array([SOURCE]), signals)
        return Prediction(coarse.time.times, coarse.interface, [playback])

    ready = prediction()
    amplitudes, _ = best(prediction, repeats)
    levels, trace = best(ready.trace, repeats)
    carried, data = best(lambda: zone.boundary_source(trace), repeats)
    run, _ = best(lambda: zone.run(data), repeats)
    whole, _ = best(lambda: zone.run(zone.boundary_source(prediction().trace())), repeats)

    def streamed(block: int) -> Any:
        with StreamedBoundary(zone, prediction(), block=block) as boundary:
            zone.run(boundary)
        return boundary.overlap

    blocks = {}
    for block in BLOCKS:
        seconds, overlap = best(lambda block=block: streamed(block), repeats)  # type: ignore[misc]
        blocks[str(block)] = {
            "total_ms": 1e3 * seconds,
            "predicted_ms": 1e3 * overlap.worked,
            "overlapped_ms": 1e3 * overlap.overlapped,
        }
    return {
        "levels": num_levels,
        "refine": refine,
        "steps_per_level": zone.parts,
        "one_shot": {
            "total_ms": 1e3 * whole,
            "amplitudes_ms": 1e3 * amplitudes,
            "levels_ms": 1e3 * levels,
            "carried_to_zone_ms": 1e3 * carried,
            "zone_ms": 1e3 * run,
            "predicting_us_per_level": 1e6 * levels / num_levels,
            "zone_us_per_level": 1e6 * run / num_levels,
        },
        "streamed": blocks,
    }


def in_words(each: dict[str, Any]) -> str:
    """One problem in one line."""
    one = each["one_shot"]
    blocks = (
        f"{row['total_ms']:.1f} ms in blocks of {block} ({row['overlapped_ms']:.1f} ms of {row['predicted_ms']:.1f} "
        "overlapped)"
        for block, row in each["streamed"].items()
    )
    return (
        f"{each['levels']} levels, zone refined {each['refine']} times, {each['steps_per_level']} step(s) a level: "
        f"one shot {one['total_ms']:.1f} ms (zone alone {one['zone_ms']:.1f}, predicting "
        f"{one['predicting_us_per_level']:.1f} us a level); streamed " + ", ".join(blocks)
    )


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for levels, refine in ((256, 1), (256, 2), (256, 4), (1276, 1), (1276, 2)):
        found.append(measure(levels, refine, options.repeats))
        print(in_words(found[-1]), flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
