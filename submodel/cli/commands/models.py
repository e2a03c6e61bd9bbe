"""List the models of [A], and reproduce its tables with them."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from submodel.case.case import Case
from submodel.cli.terminal.errors import parallel
from submodel.cli.terminal.options import CaseArgument, DeviceOption, choice

if TYPE_CHECKING:
    from rich.table import Table

    from submodel.studies.paper.sizes import Listing, Ratio

EPILOG_MODELS = "Example: submodel models --json. Sizes are those of the reference problem, cases/paper2d.toml."


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the models of [A] that `train` and `reproduce` know, with their parameters beside those of its Table 1.

    The operator generator and the wave table are none of them: `submodel info` tells the size of one that is there.
    """
    from rich.console import Console

    from submodel.studies.paper.sizes import listing

    known = listing()
    console = Console()
    if as_json:
        typer.echo(json.dumps(known.to_json(), indent=2))
    elif console.is_terminal:
        for table in _tables(known):
            console.print(table)
    else:
        typer.echo("\n".join(_lines(known)))


def _tables(known: Listing) -> list[Table]:
    """Tables for a terminal."""
    from rich.table import Table

    from networks.paper.printed_tables import MODEL_TITLES, VARIANT_TITLES

    sizes = Table("model", *VARIANT_TITLES.values(), title="Parameters, millions: ours / [A] Table 1")
    for model in MODEL_TITLES:
        row = [known.size(model, variant) for variant in VARIANT_TITLES]
        sizes.add_row(model, *(f"{size.ours / 1e6:.2f} / {size.paper:.2f}" for size in row))
    ratios = Table("ratio", "ours", "[A]", "deviation", "remark", title="Ratios between models")
    for ratio in known.ratios:
        if ratio.above.split()[1] in ("basic", "sl"):  # the other variants say the same; --json has them
            ratios.add_row(*_ratio_words(ratio))
    remarks = dict.fromkeys(f"{size.model}: {size.remark}" for size in known.sizes if size.remark)
    sizes.caption = "\n".join(remarks) or "none deviates from the paper's by more than 15 %"
    return [sizes, ratios]


def _lines(known: Listing) -> list[str]:
    """The same as plain lines, one entry a line."""
    lines = [f"{'model':<18} {'variant':<7} {'ours (M)':>9} {'[A] (M)':>9} {'ratio':>6}  remark"]
    for size in known.sizes:
        figures = f"{size.ours / 1e6:>9.3f} {size.paper:>9.2f} {size.ratio:>6.2f}"
        lines.append(f"{size.model:<18} {size.variant:<7} {figures}  {size.remark}".rstrip())
    lines += ["", f"{'ratio':<52} {'ours':>6} {'[A]':>6} {'dev.':>7}  remark"]
    for ratio in known.ratios:
        what, ours, paper, deviation, remark = _ratio_words(ratio)
        lines.append(f"{what:<52} {ours:>6} {paper:>6} {deviation:>7}  {remark}".rstrip())
    return lines


def _ratio_words(ratio: Ratio) -> tuple[str, str, str, str, str]:
    figures = (f"{ratio.ours:.2f}", f"{ratio.paper:.2f}", f"{round(100 * ratio.deviation):+d} %")
    return (f"{ratio.above} / {ratio.below}", *figures, ratio.remark)


Schedules = Literal["short", "long", "both"]

EPILOG_REPRODUCE = (
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
