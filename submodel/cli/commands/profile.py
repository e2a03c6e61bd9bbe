"""See where the time of a run goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from submodel.case.case import Case
from submodel.cli.terminal.errors import parallel
from submodel.cli.terminal.options import CaseArgument, choice
from submodel.data.manifest import Precision

if TYPE_CHECKING:
    from rich.table import Table

    from submodel.studies.profile.timing import Profile

EPILOG = "Example: submodel profile cases/paper2d.toml --generator paper2d.safetensors"

WIDTH = 80  # characters that a table of two columns needs


def profile(
    case: CaseArgument,
    generator: Annotated[
        Path | None, typer.Option(metavar="G", help="Generator (.safetensors), for the time of zoomed runs.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(metavar="N", help="Runs of the batch; as many as are stepped at once by default.")
    ] = None,
    precision: Annotated[Precision, choice(Precision, "Of the explicit steps of full runs.")] = "double",
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the same as JSON.")] = None,
) -> None:
    """Time the parts of a run, and a batch of runs: seconds, share of the whole, and how near to the limit they are."""
    from submodel.data.outputs import require_file
    from submodel.data.storage.whole import write_json

    with parallel() as comm:
        start = time.perf_counter()
        from submodel.studies.profile.full import profile_full
        from submodel.studies.profile.timing import require_serial

        imports = time.perf_counter() - start
        require_serial(comm)
        read = Case.load(case)
        if json_file is not None:
            require_file(json_file, "profile.json")
        full, manifest = profile_full(read, samples, precision, imports)
        profiles = [full]
        if generator is not None:
            from submodel.studies.profile.zoom import profile_zoom

            profiles.append(profile_zoom(read, generator, manifest.vectors("train")))
    for measured in profiles:
        _show(measured)
    if generator is None:
        typer.echo("network and zone: give --generator G to see where the time of zoomed runs goes")
    if json_file is not None:
        document = {"case": read.name, "precision": precision, "jobs": [measured.to_json() for measured in profiles]}
        write_json(json_file, document)


def _show(measured: Profile) -> None:
    """Print a profile as a table, then its notes."""
    from rich.console import Console

    Console(highlight=False, width=max(WIDTH, Console().width)).print(_table(measured))
    for note in measured.notes:
        typer.echo(f"- {note}")
    typer.echo("")


def _table(measured: Profile) -> Table:
    from rich import box
    from rich.table import Table

    from submodel.case.quantities import seconds

    table = Table(title=measured.title, title_justify="left", box=box.SIMPLE, padding=0, show_footer=True)
    table.add_column("", footer="all", no_wrap=True)
    for column, num in enumerate(measured.num_runs):
        total = seconds(measured.total(column))
        table.add_column("1 run" if num == 1 else f"{num} runs", justify="right", no_wrap=True, footer=total)
        table.add_column("share", justify="right", no_wrap=True)
        table.add_column("limit", justify="right", no_wrap=True)
    columns = [measured.rows(column) for column in range(len(measured.num_runs))]
    for part, *cells in zip(measured.parts, *columns, strict=True):
        words = []
        for duration, share, reached in cells:
            words += [seconds(duration), f"{100 * share:.1f} %", "" if reached is None else f"{100 * reached:.0f} %"]
        table.add_row(part.name, *words)
    return table
