"""Build a generator to a tolerance."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Literal

import typer

from submodel.case.case import Case
from submodel.case.training import TOLERANCE
from submodel.cli.terminal.errors import parallel
from submodel.cli.terminal.options import CaseArgument, DeviceOption, choice, tolerance_option

Form = Literal["auto", "table", "operator"]
NOT_REACHED = 3
"""Exit status where the tolerance was not reached."""

EPILOG = (
    "Example: mpirun -n 2 submodel build cases/userplate.toml --tolerance 1% -o plate.safetensors. "
    "Killed and started again, it goes on. The exit status is 3 where the tolerance was not reached."
)


def build(
    case: CaseArgument,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="GENERATOR", help="File to write (.safetensors).")],
    tolerance: Annotated[
        float | None,
        tolerance_option("Mean relative L2 error of u on the zone's boundary for fresh sources; else the case's."),
    ] = None,
    form: Annotated[
        Form, choice(Form, "Wave table, operator generator, or whichever does better on runs held out.")
    ] = "auto",
    budget: Annotated[
        str | None, typer.Option(metavar="RUNS|TIME", help="The most it may take: runs, as in 60, or a time, as in 90s")
    ] = None,
    numbers: Annotated[int | None, typer.Option(min=1, help="The most that the generator may store.")] = None,
    made_up: Annotated[
        int | None,
        typer.Option(
            "--made-up",
            min=1,
            metavar="N",
            help="Beside the runs, N made up near the zone, such as 160: cheap, and taken where runs held out gain by "
            "it.",
        ),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Run, choose and calibrate what a tolerance takes, in parallel under mpirun.

    A few runs of the full model at first, more of the kind that helps most until the error on runs held out is below
    the tolerance, a last batch as the check; then the form of generator that does best, and the bound of its error.
    """
    from submodel.cli.terminal.progress import count_progress
    from submodel.studies.build.budget import Budget
    from submodel.studies.build.build import build as build_generator
    from submodel.studies.build.weighing import Wanted

    with parallel() as comm:
        read = Case.load(case)
        limit = Budget() if budget is None else Budget.of(budget)
        asked = _tolerance(read) if tolerance is None else tolerance
        wanted = Wanted(asked, form, limit, numbers, device, made_up or 0)

        def bar(label: str, unit: str) -> AbstractContextManager[Callable[[int, int], None]]:
            return count_progress(label, unit, shown=comm.rank == 0)

        built = build_generator(read, output, wanted, comm, announce=typer.echo, bar=bar)
        if comm.rank == 0:
            for line in built.lines():
                typer.echo(line)
            typer.echo(f"try it: {shlex.join(['submodel', 'zoom', str(case), '--generator', str(output)])} --help")
    if not built.well:
        raise typer.Exit(NOT_REACHED)


def _tolerance(case: Case) -> float:
    """The case's tolerance, or that of any table where its model has none."""
    return case.training.tolerance if case.training.model == "table" else TOLERANCE
