"""Make a dataset, and verify one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from click import Choice

from submodel.case.case import Case, CaseError
from submodel.cli.terminal.errors import parallel
from submodel.cli.terminal.options import (
    CaseArgument,
)
from submodel.data.manifest import PRECISIONS, Precision

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
        typer.Option(click_type=Choice(PRECISIONS), help="Of the explicit steps; single is nearly twice as fast."),
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
    if reciprocal:
        _generate_reciprocal(case, output, train, test, calibration, seed, ranks_per_sample, precision)
        return
    from submodel.cli.terminal.progress import count_progress
    from submodel.generate.samples import generate as generate_dataset

    with parallel() as comm, count_progress("generate", "samples", shown=comm.rank == 0) as progress:
        done = generate_dataset(
            Case.load(case),
            output,
            train=train,
            test=test,
            calibration=calibration,
            seed=seed,
            ranks_per_sample=ranks_per_sample,
            fields=fields,
            precision=precision,
            comm=comm,
            progress=progress,
        )
    if comm.rank == 0:
        kept = f", {done.num_kept} were there" if done.num_kept else ""
        spent = f"{done.loop_seconds:.1f} s, set-up {done.setup_seconds:.1f} s"
        typer.echo(f"{output}: {done.num_made} samples made{kept} ({spent}, {comm.size} ranks)")


def _generate_reciprocal(
    case: Path,
    output: Path,
    train: int | None,
    test: int | None,
    calibration: int | None,
    seed: int | None,
    ranks_per_sample: int,
    precision: Precision,
) -> None:
    """Run from the nodes of the zone's boundary."""
    from submodel.cli.terminal.progress import count_progress
    from submodel.generate.reciprocal import generate_reciprocal

    with parallel() as comm, count_progress("generate", "runs", shown=comm.rank == 0) as progress:
        if test is not None or calibration is not None:
            raise CaseError(
                "--test and --calibration do not go with --reciprocal, which makes training data: "
                "generate them as another dataset, with --train 0"
            )
        if precision != "double":
            raise CaseError("--reciprocal makes its runs in double precision: leave --precision out")
        done = generate_reciprocal(
            Case.load(case),
            output,
            num=train,
            seed=seed,
            ranks_per_sample=ranks_per_sample,
            comm=comm,
            announce=typer.echo,
            progress=progress,
        )
    if comm.rank == 0:
        kept = f", {done.num_kept} were there" if done.num_kept else ""
        spent = f"{done.loop_seconds:.1f} s, set-up {done.setup_seconds:.1f} s"
        typer.echo(f"{output}: {done.num_made} runs made{kept} ({spent}, {comm.size} ranks)")


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
