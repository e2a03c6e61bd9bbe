"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer
from click import Choice

from solvers.gamma.condition import CONDITIONS
from submodel.case.sampling import SPLITS, Split

Device = Literal["auto", "cpu", "cuda"]
BoundaryKind = Literal["generator", "recorded"]



def known_condition(name: str | None) -> str | None:
    """Refuse a name that is none of an interface condition."""
    if name is not None and name not in CONDITIONS:
        raise typer.BadParameter(f"'{name}' is not one of {', '.join(CONDITIONS)}")
    return name


CaseArgument = Annotated[Path, typer.Argument(metavar="CASE", help="Case file (.toml).")]
InterfaceOption = Annotated[
    str | None,
    typer.Option(
        metavar=f"[{'|'.join(CONDITIONS)}]",
        callback=known_condition,
        help="Interface condition; the case's by default.",
    ),
]
DeviceOption = Annotated[
    Device,
    typer.Option(
        click_type=Choice(get_args(Device)), help="Where the network runs; auto takes a GPU where there is one."
    ),
]
BoundaryOption = Annotated[
    BoundaryKind,
    typer.Option(click_type=Choice(get_args(BoundaryKind)), help="Predicted or recorded boundary data."),
]
SplitOption = Annotated[Split, typer.Option(click_type=Choice(SPLITS), help="Split of the dataset.")]
