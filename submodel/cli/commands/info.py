"""Look at files, and at the whole product."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from submodel.cli.commands.demo import Kind
from submodel.cli.terminal.options import choice_argument

EPILOG_INFO = "Example: submodel info paper2d.safetensors"


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A case, a dataset or a generator.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe a case (.toml), a dataset (.h5) or a generator (.safetensors)."""
    from submodel.report.facts import describe

    facts = describe(file)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for name, fact in facts.items():
        typer.echo(f"{name:<{width}}  {fact}")


EPILOG_DEMO = "Example: submodel demo"


def demo(
    kind: Annotated[Kind, choice_argument(Kind, "A plate of a user's, or the networks of the papers.")] = "plate",
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to write.")] = Path(
        "demo-output"
    ),
) -> None:
    """Show the whole product: a user's plate built to 1 % (plate), or the networks of the papers (paper).

    Both zoom with a defect, compare with full FE for fresh sources, and end with a report.
    """
    from submodel.cli.commands.demo import run

    result = run(kind, output, typer.echo)
    typer.echo(
        f"\nDone in {result.seconds:.0f} s. Zoomed runs of fresh sources are within epsilon = "
        f"{100 * result.epsilon:.2f} % of full FE (relative L2 {100 * result.relative_l2:.2f} %).\n"
        f"The report: {output / 'report.html'}"
    )
