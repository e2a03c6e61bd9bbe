"""Make a dataset, and verify one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from submodel.case.case import Case
from submodel.case.quantities import seconds
from submodel.cli.terminal.errors import parallel
from submodel.cli.terminal.options import (
    CaseArgument,
    choice,
)
from submodel.data.manifest import Precision, Request

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
) -> None:
    """Run the full model for the samples of a case, in parallel under mpirun, and record the zone's traces."""
    from submodel.cli.terminal.progress import count_progress
    from submodel.generate.generate import generate as generate_dataset
    from submodel.generate.reciprocal import ReciprocalProduction
    from submodel.generate.samples import SampleProduction

    kind, unit = (ReciprocalProduction, "runs") if reciprocal else (SampleProduction, "samples")
    with parallel() as comm, count_progress("generate", unit, shown=comm.rank == 0) as progress:
        report = generate_dataset(
            Case.load(case),
            output,
            Request(train, test, calibration, seed, ranks_per_sample, fields, precision),
            kind=kind,
            comm=comm,
            announce=typer.echo,
            progress=progress,
        )
    if comm.rank == 0:
        there = f", {report.num_kept} were there" if report.num_kept else ""
        spent = f"{seconds(report.loop_seconds)}, set-up {seconds(report.setup_seconds)}"
        typer.echo(f"{output}: {report.num_made} {unit} made{there} ({spent}, {comm.size} ranks)")


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
