"""Compare zoomed runs with full FE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from submodel.case.case import Case, CaseError
from submodel.cli.terminal.errors import parallel
from submodel.cli.terminal.options import (
    BoundaryOption,
    CaseArgument,
    DeviceOption,
    InterfaceOption,
    SplitOption,
)

EPILOG = (
    "Example: submodel validate cases/paper2d.toml --dataset paper2d.h5 --generator paper2d.safetensors --report report"
)


def validate(
    case: CaseArgument,
    dataset: Annotated[Path, typer.Option(metavar="D", help="Dataset with fields in the zone (.h5).")],
    generator: Annotated[Path | None, typer.Option(metavar="G", help="Generator (.safetensors).")] = None,
    boundary: BoundaryOption = "generator",
    interface: InterfaceOption = None,
    split: SplitOption = "test",
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the errors as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Write report.html and its pictures.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Run the zone for every sample of a split and compare with full FE, before and after the zoom."""
    from submodel.cli.terminal.progress import count_progress
    from submodel.data.dataset import Dataset
    from submodel.data.outputs import require_file, require_folder
    from submodel.data.storage.whole import write_json
    from submodel.predict.generator import Generator
    from submodel.report.commands import reproduction
    from submodel.report.page import write_report
    from submodel.report.wording import error_table
    from submodel.validate.validate import validate as validate_samples

    with parallel() as comm:
        read = Case.load(case)
        if (boundary == "recorded") == (generator is not None):
            raise CaseError(
                "give either --generator G or --boundary recorded, so that it is clear what drives the zone"
            )
        if json_file is not None:
            require_file(json_file, "errors.json")
        if report is not None:
            require_folder(report)
        generated = None if generator is None else Generator.load(generator, read, device)
        with Dataset.open(dataset) as data, count_progress("validate", "samples", shown=comm.rank == 0) as progress:
            commands = reproduction(case, data, generated, interface, split)
            result = validate_samples(
                read,
                data,
                generated,
                comm=comm,
                condition=interface,
                split=split,
                commands=commands,
                progress=progress,
            )
    if result is None:
        return
    typer.echo("\n".join(error_table(result)))
    if json_file is not None:
        write_json(json_file, result.to_json())
        typer.echo(f"errors: {json_file}")
    if report is not None:
        with count_progress("report", "pictures") as progress:
            page = write_report(result, report, progress=progress)
        typer.echo(f"report: {page}")
