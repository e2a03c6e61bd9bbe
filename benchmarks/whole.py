"""The whole: a zoomed run, generator and zone, against the full run that it stands for, in domains of several sizes.

The zone is always that of cases/large2d.toml, and so are grid, time step, T = 4 and thus the zoomed run; the square
around it grows. Both sides step the assembled matrix by the same compiled code; beside that both step rows that are
alike as stencils, which is what a user gets. One core:

    OMP_NUM_THREADS=1 ./run python3 benchmarks/whole.py --generator FOLDER/large2d.safetensors

where benchmarks/large2d.py made the generator. Without one the network has the same size and no training: its answers
are wrong, and take as long.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from measure import FOLDER, Claim, Report, Table
from whole_chart import Size, draw, runs_that_pay, where_equal
from whole_runs import LANES, Zoom, full_model, in_turn, of_size, parameters, untrained

from solvers.problems.full import FullModel
from submodel.case.case import Case
from submodel.predict.generator import Generator
from submodel.solve import from_case as build

ROOT = Path(__file__).parents[1]
LARGE, REFERENCE = (ROOT / "cases" / f"{name}.toml" for name in ("large2d", "paper2d"))
CHART = ROOT / "docs" / "whole.png"
HALVES = (0.3125, 1.0, 2.0, 4.0, 8.0)
"""Half the widths of the domains."""
OF_CASE = 4.0
"""That of large2d."""
ZONE = 0.25
"""That of the zone."""
ALONE, BATCH = "", "float64"


def measure(zoom: Zoom, full: FullModel, half: float, hows: Sequence[str], repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of a full and of a zoomed run, alone or with others of some precision.

    Args:
        zoom: Zoomed runs.
        full: Full ones.
        half: Half the width of the domain.
        hows: Alone, or precisions.
        repeats: Rounds.

    Returns:
        By how they are run, "full" and "zoom".
    """
    versions: dict[str, tuple[Callable[[], object], int]] = {}
    for how in hows:
        many = parameters(LANES.get(how, 1), half)
        sources = [build.point_source(zoom.case, each) for each in many]

        def run_full(sources: list = sources, dtype: str = how or "float64") -> object:  # type: ignore[type-arg]
            return full.run_many(sources, fields=False, dtype=dtype)

        def run_zoom(many: object = many, how: str = how) -> object:
            return zoom.run(many, how)  # type: ignore[arg-type]

        versions |= {f"full {how}": (run_full, len(many)), f"zoom {how}": (run_zoom, len(many))}
    best = in_turn(versions, repeats)
    return {how: {side: best[f"{side} {how}"] for side in ("full", "zoom")} for how in hows}


def parts_of(zoom: Zoom, repeats: int) -> list[list[str | float]]:
    """Milliseconds of network and zone, of a run."""
    rows: list[list[str | float]] = []
    for how in (ALONE, *LANES):
        many = parameters(LANES.get(how, 1), OF_CASE)
        data = zoom.predict(many)

        def predict(many: object = many) -> object:
            return zoom.predict(many)  # type: ignore[arg-type]

        def step(data: object = data, how: str = how) -> object:
            return zoom.step(data, how)  # type: ignore[arg-type]

        best = in_turn({"network": (predict, len(many)), "zone": (step, len(many))}, repeats)
        rows.append([words(how), 1e3 * best["network"], 1e3 * best["zone"]])
    return rows


def words(how: str) -> str:
    """How runs are made."""
    return f"{LANES[how]} at once, {how}" if how else "alone, float64"


def loaded(path: Path | None, case: Case, full: FullModel, report: Report) -> Generator:
    """The generator, or one without training."""
    if path is not None:
        return Generator.load(path, case, "cpu")
    report.note(f"the generator of {case.name} was not trained here: it has the trained one's size, and so its speed")
    return untrained(case, full)


def compare_sizes(report: Report, path: Path | None, *, quick: bool) -> list[Size]:
    """Time all sizes; claims of large2d."""
    case = Case.load(LARGE)
    full = full_model(case, stencils=False)
    generated = loaded(path, case, full, report)
    zoom = Zoom(case, generated, stencils=False)
    found: dict[float, dict[str, dict[str, float]]] = {}
    for half in HALVES[:-1] if quick else HALVES:
        hows = (ALONE, *LANES) if half == OF_CASE else (ALONE, BATCH)
        model = full if half == OF_CASE else full_model(of_size(case, half), stencils=False)
        best = measure(zoom, model, half, hows, _repeats(half, quick))
        found[half] = best
        if half == OF_CASE:
            _claim(report, best, full, zoom, 1 if quick else 4)
    title = "Milliseconds of a zoomed run of large2d, assembled matrix"
    report.table(Table(title, ("", "network", "zone"), parts_of(zoom, 2 if quick else 8)))
    return [
        Size((half / ZONE) ** 2, *(best[how][side] for how in (ALONE, BATCH) for side in ("full", "zoom")))
        for half, best in found.items()
    ]


def _repeats(half: float, quick: bool) -> int:
    return 1 if quick or half > OF_CASE else 8 if half == OF_CASE else 4


def _claim(
    report: Report, matrix: dict[str, dict[str, float]], full: FullModel, zoom: Zoom, repeats: int
) -> None:
    for how, seconds in matrix.items():
        what = f"large2d: zoomed runs against full ones, {words(how)}, assembled matrix"
        report.claim(Claim(what, seconds["full"] / seconds["zoom"], 100.0))
    alike = FullModel(full.domain, full.discretization, full.time)
    stencil = measure(Zoom(zoom.case, zoom.generated, stencils=True), alike, OF_CASE, tuple(matrix), repeats)
    rows: list[list[str | float]] = []
    for how in matrix:
        for kernel, best in (("assembled matrix", matrix), ("stencils where rows are alike", stencil)):
            full_run, zoomed = best[how]["full"], best[how]["zoom"]
            rows.append([words(how), kernel, 1e3 * full_run, 1e3 * zoomed, full_run / zoomed])
    title = "large2d, 513^2 nodes, zone of 33^2, 511 levels, one core: milliseconds of a run"
    report.table(Table(title, ("", "kernel of both", "full", "zoom", "times"), rows))


def present_sizes(report: Report, sizes: Sequence[Size], case: Case, chart: Path | None) -> None:
    """Table, break-even points, the chart."""
    trained = case.parameters.train, case.training.seconds or 0.0
    rows: list[list[str | float | int]] = []
    for size in sizes:
        full, zoom, full_batched, zoom_batched = (
            1e3 * value for value in (size.full, size.zoom, size.full_batched, size.zoom_batched)
        )
        row: list[str | float | int] = [size.ratio, full, zoom, full / zoom]
        row += [full_batched, zoom_batched, full_batched / zoom_batched]
        pay = runs_that_pay(size, *trained)
        rows.append([*row, *(round(runs) if runs < float("inf") else "never" for runs in pay)])
    alone, batch = ("full, ms", "zoom, ms", "times"), ("full in a batch, ms", "zoom in a batch, ms", "times")
    pays = ("runs that pay for the training", "in batches")
    title = "Runs in domains of several sizes, and how many zoomed ones pay for the training"
    report.table(Table(title, ("domain over zone, area", *alone, *batch, *pays), rows))
    equal = where_equal(sizes)
    report.note(
        f"break-even: a zoomed run costs as much as a full one where the domain is {equal[0]:.3g} times as large as "
        f"the zone; in batches, {equal[1]:.3g} times"
    )
    report.note(
        f"the training costs {trained[0]} full runs in batches and {trained[1]:g} s; full runs record the trace on the "
        "zone's boundary, zoomed ones the displacement in all of the zone, both at every level"
    )
    if chart is not None:
        draw(sizes, trained, chart)


def compare_reference(report: Report, path: Path | None, repeats: int) -> None:
    """One zoomed run against one full run of the reference problem."""
    case = Case.load(REFERENCE)
    full = full_model(case, stencils=False)
    zoom = Zoom(case, loaded(path, case, full, report), stencils=False)
    seconds = measure(zoom, full, 1.0, (ALONE,), repeats)[ALONE]
    what = "paper2d, 129^2 nodes, 256 levels: a zoomed run against a full one, alone, float64, assembled matrix"
    report.claim(Claim(what, seconds["full"] / seconds["zoom"], 2.0))


def claim_error(report: Report) -> None:
    """The error of the same generator, as benchmarks/large2d.py measured it."""
    path = FOLDER / "large2d_validation.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))["claims"][0]
    except OSError:
        report.note("the error is not known here: benchmarks/large2d.py measures it")
        return
    report.claim(Claim(said["what"], said["measured"], said["target"], said["unit"], said["at_least"]))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="where the figures go; beside the other scripts' by default")
    parser.add_argument("--quick", action="store_true", help="few repeats, no largest domain, no chart")
    parser.add_argument("--generator", type=Path, help="of cases/large2d.toml, trained")
    parser.add_argument("--reference-generator", type=Path, help="of cases/paper2d.toml, trained")
    parser.add_argument("--chart", type=Path, help="where the picture goes; docs/whole.png by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trained = "" if options.generator is None else " --generator FOLDER/large2d.safetensors"
    report = Report("whole", f"./run python3 benchmarks/whole.py{trained}")
    sizes = compare_sizes(report, options.generator, quick=options.quick)
    present_sizes(report, sizes, Case.load(LARGE), options.chart or (None if options.quick else CHART))
    compare_reference(report, options.reference_generator, 2 if options.quick else 8)
    claim_error(report)
    report.write(options.output)


if __name__ == "__main__":
    main()
