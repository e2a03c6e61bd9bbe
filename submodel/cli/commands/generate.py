"""Make a dataset, and verify one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from submodel.case.case import Case, CaseError
from submodel.case.quantities import seconds
from submodel.cli.terminal.errors import parallel
from submodel.cli.terminal.options import (
    CaseArgument,
    choice,
)
from submodel.data.manifest import Precision, Request

if TYPE_CHECKING:
    from submodel.generate.generate import GenerationReport

EPILOG_GENERATE = (
    "Example: mpirun -n 2 submodel generate cases/paper2d.toml -o paper2d.h5. Killed and started again, it goes on."
)


def generate(
    case: CaseArgument,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DATASET", help="Dataset to write (.h5).", show_default=False)
    ],
    train: Annotated[int | None, typer.Option(help="Training samples; the case's by default.")] = None,
    test: Annotated[int | None, typer.Option(help="Test samples; the case's by default.")] = None,
    calibration: Annotated[int | None, typer.Option(help="Calibration samples; the case's by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the samples; the case's by default.")] = None,
    ranks_per_sample: Annotated[int, typer.Option(help="MPI ranks that share one run.")] = 1,
    fields: Annotated[bool, typer.Option(help="Store the fields in the zone, the truth of a validation.")] = True,
    precision: Annotated[
        Precision,
        choice(Precision, "Of the explicit steps; single is nearly twice as fast."),
    ] = "double",
    reciprocal: Annotated[
        bool,
        typer.Option(
            "--reciprocal",
            help="Run from the nodes of the zone's boundary instead: training data for sources everywhere, "
            "kept at --train places, 2048 by default.",
        ),
    ] = False,
    cross: Annotated[
        str | None,
        typer.Option(
            metavar="DIRECT+RECIPROCAL",
            help="Cross data instead, of which a wave table is made: that many runs from places and from the zone's "
            "boundary, such as 10+30. With larger numbers the dataset grows.",
            show_default=False,
        ),
    ] = None,
    made_up: Annotated[
        int | None,
        typer.Option(
            metavar="RUNS",
            help="With --cross: runs beside from sources near the zone, on a patch with open edges. They are cheap "
            "and spare direct runs where the medium near the zone is known.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the full model for the samples of a case, in parallel under mpirun, and record the zone's traces."""
    from submodel.cli.terminal.progress import count_progress
    from submodel.generate.generate import generate as generate_dataset
    from submodel.generate.reciprocal import ReciprocalProduction
    from submodel.generate.samples import SampleProduction

    request = Request(train, test, calibration, seed, ranks_per_sample, fields, precision)
    if cross is not None or made_up is not None:
        _generate_cross(case, output, (cross, made_up), request, reciprocal=reciprocal)
        return
    kind, unit = (ReciprocalProduction, "runs") if reciprocal else (SampleProduction, "samples")
    with parallel() as comm, count_progress("generate", unit, shown=comm.rank == 0) as progress:
        report = generate_dataset(
            Case.load(case),
            output,
            request,
            kind=kind,
            comm=comm,
            announce=typer.echo,
            progress=progress,
        )
    if comm.rank == 0:
        _echo(output, report, unit, comm.size)


def _generate_cross(
    case: Path, output: Path, asked: tuple[str | None, int | None], request: Request, *, reciprocal: bool
) -> None:
    """Make or grow cross data; asked are the values of --cross and --made-up.

    Raises:
        CaseError: An option does not go with it, or the numbers are none.
    """
    from submodel.cli.terminal.progress import count_progress
    from submodel.generate.cross import CrossRuns

    with parallel() as comm, count_progress("generate", "runs", shown=comm.rank == 0) as progress:
        cross, made_up = asked
        if cross is None:
            raise CaseError("--made-up goes with --cross: say how many real runs too, such as --cross 5+30")
        num_direct, num_reciprocal = cross_counts(cross)
        if made_up is not None and made_up < 1:
            raise CaseError(f"--made-up {made_up}: give a number of runs, 1 or more, or leave it out")
        _require_plain(request, reciprocal)
        runs = CrossRuns(Case.load(case), output, request, comm=comm)
        report = runs.grow(num_direct, num_reciprocal, made_up or 0, announce=typer.echo, progress=progress)
        runs.close()
    if comm.rank == 0:
        _echo(output, report, "runs", comm.size)


def _echo(output: Path, report: GenerationReport, unit: str, num_ranks: int) -> None:
    there = f", {report.num_kept} were there" if report.num_kept else ""
    spent = f"{seconds(report.loop_seconds)}, set-up {seconds(report.setup_seconds)}"
    typer.echo(f"{output}: {report.num_made} {unit} made{there} ({spent}, {num_ranks} ranks)")


def cross_counts(text: str) -> tuple[int, int]:
    """Numbers of direct and of reciprocal runs, "10+30".

    Raises:
        CaseError: The text is something else.
    """
    parts = [part.strip() for part in text.split("+")]
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise CaseError(
            f"--cross {text}: give the numbers of direct and of reciprocal runs, 1 or more each, such as --cross 10+30"
        )
    return int(parts[0]), int(parts[1])


def _require_plain(request: Request, reciprocal: bool) -> None:
    """Refuse options that do not go with --cross.

    Raises:
        CaseError: There is one.
    """
    splits = {"--train": request.train, "--test": request.test, "--calibration": request.calibration}
    for option, value in splits.items():
        if value is not None:
            raise CaseError(
                f"{option} does not go with --cross, which counts its runs itself: leave it out, or generate samples "
                "as another dataset"
            )
    if reciprocal:
        raise CaseError("--reciprocal does not go with --cross, which makes some reciprocal runs itself: leave one out")
    if not request.fields:
        raise CaseError("--no-fields does not go with --cross, which stores no fields: leave it out")
    if request.precision != "double":
        raise CaseError("--cross makes its runs in double precision: leave --precision out")


EPILOG_CHECK = "Example: submodel check paper2d.h5 --json. The exit status is 0 when all is well, 1 when not."


def check(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Dataset (.h5).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify checksums, shapes, finiteness and duplicates of a dataset, of samples or of reciprocal runs."""
    from submodel.data.check import check as check_dataset

    report = check_dataset(dataset)
    typer.echo(json.dumps(report.to_json(), indent=2) if as_json else "\n".join(report.lines()))
    raise typer.Exit(0 if report.ok else 1)
