"""Train and validate the models of [A], and print its tables beside ours."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from submodel.case.case import Case
from submodel.cli.terminal.errors import parallel
from submodel.cli.terminal.options import CaseArgument, DeviceOption, choice

Schedules = Literal["short", "long", "both"]

EPILOG = (
    "Example: mpirun -n 2 submodel reproduce cases/paper2d.toml --dataset data.h5 --out tables "
    "--models conv2d-boundary,conv1.5d-boundary --variants bn,bn-sl --epochs 50. "
    "Killed and started again, it goes on; each rank trains models of its own, on a GPU of its own where there are "
    "several."
)


def reproduce(
    case: CaseArgument,
    dataset: Annotated[Path, typer.Option(metavar="D", help="Dataset with fields in the zone (.h5).")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for tables.md, tables.html and the generators.")],
    models: Annotated[str, typer.Option(metavar="A,B", help="Models; all eleven by default.")] = "",
    variants: Annotated[str, typer.Option(metavar="X,Y", help="Variants; all six by default.")] = "",
    epochs: Annotated[int, typer.Option(min=1, help="Of the short schedule; the long one has ten times these.")] = 1000,
    schedule: Annotated[Schedules, choice(Schedules, "Tables 2 to 10, 11 to 18, or both.")] = "short",
    device: DeviceOption = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of weights, batches and the validation split.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each rank.")] = 1,
    train_samples: Annotated[
        int, typer.Option(min=1, help="Training samples that the errors on the training split are means over.")
    ] = 25,
) -> None:
    """Train and validate the models of [A], and write its Tables 1 to 18 with our figures beside the paper's."""
    from submodel.cli.terminal.progress import show_progress
    from submodel.studies.paper.bench import Options
    from submodel.studies.paper.jobs import select
    from submodel.studies.paper.run import reproduce as reproduce_tables

    with parallel() as comm:
        read = Case.load(case)
        jobs = select(_names(models), _names(variants), schedule)
        options = Options(epochs, seed, device, threads, train_samples)
        ranks = ["mpirun", "-n", str(comm.size)] if comm.size > 1 else []
        command = "./run " + shlex.join([*ranks, "submodel", *sys.argv[1:]])
        with ExitStack() as stack:
            progress = stack.enter_context(show_progress("reproduce", len(jobs), "models")) if comm.rank == 0 else None
            done = reproduce_tables(
                read, dataset, out, jobs, options=options, comm=comm, command=command, progress=progress
            )
    if done is not None:
        typer.echo(f"{len(done.outcomes)} of {len(jobs)} models are trained and validated")
        for what, path in done.files.items():
            typer.echo(f"{what}: {path}")


def _names(listed: str) -> list[str]:
    """Names between commas."""
    return [name.strip().lower() for name in listed.split(",") if name.strip()]
