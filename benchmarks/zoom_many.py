"""Zoomed runs of many parameter sets at once against one at a time: network and zone, all levels of u kept.

The case cases/paper2d.toml and an operator generator of the default size; its weights are random, which changes no
time. One at a time is what a zoomed run costs whose models are loaded, by the quickest of its ways. Serial, one thread:

    OMP_NUM_THREADS=1 ./run python3 benchmarks/zoom_many.py
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference import generator
from measure import Claim, Report, Table, least
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.gamma.datum import Steps
from solvers.problems.zone import ZoneModel
from solvers.problems.zone_batch import ZoneBatch
from submodel.case.case import Case
from submodel.case.excitation import Excitation
from submodel.data.generator_file import GeneratorFile
from submodel.data.zoom_file import ZoomedFile
from submodel.predict.generator import Generator
from submodel.solve import from_case as build
from submodel.zoom.batch import Zoomer
from submodel.zoom.many import SETS
from submodel.zoom.streaming import StreamedBoundary

CASE = Path(__file__).parents[1] / "cases" / "paper2d.toml"
NUM_SETS = 2 * SETS


def problem() -> tuple[Case, ZoneModel, Generator]:
    """The case, its zone, and a generator that is loaded."""
    case = Case.load(CASE)
    model = build.zone_model(case, MPI.COMM_SELF)
    file = GeneratorFile(case, model.gamma, np.empty((0, case.parameters.dimension)))
    return case, model, Generator(generator(model), file, Path("random"), "cpu")


def parameter_sets(case: Case, num: int) -> NDArray[np.float64]:
    """Random sets that the case samples."""
    rng = np.random.default_rng(0)
    said = case.parameters
    low, high = (said.omega[0], *said.source_lower), (said.omega[1], *said.source_upper)
    drawn = (rng.uniform(low, high) for _ in range(20 * num))
    kept = [each for each in drawn if case.parameters.contains(each)]
    return np.array(kept[:num])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="where the figures go; with the others by default")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    options = parser.parse_args()
    torch.set_num_threads(1)
    case, model, generated = problem()
    sets = parameter_sets(case, NUM_SETS)
    zoomer, weights = Zoomer(generated, model), model.datum_weights()
    assert weights is not None
    number = iter(range(10**9))

    def next_excitation() -> Excitation:
        return Excitation.of_parameters(case, sets[next(number) % NUM_SETS])

    def streamed() -> None:
        model.run(StreamedBoundary(model, generated.predict([next_excitation()])))

    def one_shot() -> None:
        model.run(Steps(generated.predict([next_excitation()]).data(weights)[0][:, model.positions]))

    data = generated.predict_vectors(sets[:SETS]).data(weights)
    one = Steps(data[0][:, model.positions])
    batch = ZoneBatch(model)
    room = batch.room(SETS)
    excitations = [Excitation.of_parameters(case, each) for each in sets[:SETS]]
    versions: dict[str, tuple[Callable[[], Any], int]] = {
        "one at a time, streamed": (streamed, 1),
        "one at a time, one shot": (one_shot, 1),
        "one network pass": (lambda: generated.predict([next_excitation()]).data(weights), 1),
        "one zone run": (lambda: model.run(one), 1),
        "many at once": (lambda: zoomer.displacements(sets[:SETS]), SETS),
        "many network passes": (lambda: generated.predict(excitations).data(weights), SETS),
        "many zone runs": (lambda: batch.run(data, room), SETS),
    }
    report = Report("zoom_many", "OMP_NUM_THREADS=1 ./run python3 benchmarks/zoom_many.py")
    with tempfile.TemporaryDirectory() as folder:
        file = ZoomedFile.prepared(
            Path(folder) / "zoomed.h5",
            "key",
            {},
            case,
            parameters=sets[:SETS],
            times=model.time.times,
            points=model.points,
        )
        versions["many at once, and stored"] = (
            lambda: file.write(np.arange(SETS), zoomer.displacements(sets[:SETS])),
            SETS,
        )
        best = least({name: call for name, (call, _) in versions.items()}, repeats=10 if options.quick else 60)
    each = {name: 1e3 * best[name] / num for name, (_, num) in versions.items()}
    alone = min(each["one at a time, streamed"], each["one at a time, one shot"])
    report.claim(
        Claim(f"zoomed runs, {SETS} sets at once: throughput over one at a time", alone / each["many at once"], 5.0)
    )
    report.claim(
        Claim("the same, the fields of the many stored in a file as well", alone / each["many at once, and stored"])
    )
    report.claim(
        Claim(
            "the same over one at a time as `submodel zoom` does it by default, streamed",
            each["one at a time, streamed"] / each["many at once"],
        )
    )
    report.claim(Claim("the network alone: throughput", each["one network pass"] / each["many network passes"]))
    report.claim(Claim("the zone alone: throughput", each["one zone run"] / each["many zone runs"]))
    network = each["many network passes"] / each["many at once"]
    report.note(
        f"The network takes {100 * network:.0f} % of a set among many: its rays, waves and products are as many "
        "operations as for one set, and only what a call costs beside them is shared. The zone's share falls, as one "
        "read of the matrix serves sixteen runs."
    )
    rows = [(name, value, alone / value) for name, value in each.items()]
    report.table(Table("A zoomed run", ("version", "ms a set", "one at a time over it"), rows))
    report.write(options.output)


if __name__ == "__main__":
    main()
