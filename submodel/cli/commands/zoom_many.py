"""Run the zone for many parameter sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from submodel.case.case import Case
from submodel.case.quantities import seconds

if TYPE_CHECKING:
    from mpi4py import MPI

    from submodel.zoom.setup import ZoneSetup


MANY = 5000
"""Sets from which on a pass of the network is compiled where there is a GPU."""


def many_sets(
    case: Case,
    parameters: Path,
    generator: Path,
    output: Path,
    comm: MPI.Comm,
    device: str,
    setup: ZoneSetup,
    *,
    extrapolate: bool,
) -> None:
    """Run the zone for the sets of a file, as `submodel zoom --parameters`. Collective on comm."""
    from submodel.case.parameter_sets import ParameterTable
    from submodel.cli.terminal.progress import count_progress
    from submodel.predict.generator import Generator
    from submodel.zoom.batch import require_table
    from submodel.zoom.many import zoom_many

    table = ParameterTable.read(parameters, case)
    generated: Generator = Generator.load(generator, case, device, patient=len(table.values) >= MANY)
    generated.require(case.interface.kind if setup.condition is None else setup.condition)
    for warning in require_table(generated, table, extrapolate=extrapolate):
        if comm.rank == 0:
            typer.echo(f"warning: {warning}", err=True)
    with count_progress("zoom", "sets", shown=comm.rank == 0) as progress:
        zoomed = zoom_many(
            case,
            generated,
            table,
            output,
            comm=comm,
            setup=setup,
            progress=progress,
        )
    if zoomed is None:
        return
    num_new = zoomed.num_sets - zoomed.num_found
    if zoomed.num_found:
        typer.echo(f"{zoomed.num_found} of {zoomed.num_sets} sets were there already")
    if num_new:
        spent, each = zoomed.spent, seconds(zoomed.seconds / num_new)
        typer.echo(
            f"{num_new} sets in {seconds(zoomed.seconds)}, {each} each (on this rank {seconds(spent.network)} for the "
            f"network, {seconds(spent.zone)} for the zone, {seconds(spent.writing)} for writing)"
        )
    for what, path in zoomed.files.items():
        typer.echo(f"  {what}: {path}")
