"""Look at files, and at the whole product."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

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
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to write.")] = Path(
        "demo-output"
    ),
) -> None:
    """Generate, train, zoom and validate on the reference problem; ends with a report."""
    from submodel.cli.commands.demo import run

    result = run(output, typer.echo)
    typer.echo(
        f"\nDone in {result['seconds']:.0f} s. Zoomed runs for unseen parameters are within epsilon = "
        f"{100 * result['epsilon']:.2f} % of full FE (relative L2 {100 * result['relative_l2']:.2f} %).\n"
        f"The report: {output / 'report.html'}"
    )
