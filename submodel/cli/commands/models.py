"""List the models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from submodel.studies.paper.sizes import Listing, Ratio

EPILOG = "Example: submodel models --json. Sizes are those of the reference problem, cases/paper2d.toml."


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
