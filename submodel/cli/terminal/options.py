"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer
from click import Choice

from submodel.case.sampling import SPLITS, Split

Interface = Literal["dirichlet", "impedance"]
Device = Literal["auto", "cpu", "cuda"]
BoundaryKind = Literal["generator", "recorded"]

CaseArgument = Annotated[Path, typer.Argument(metavar="CASE", help="Case file (.toml).")]
InterfaceOption = Annotated[
    Interface | None,
    typer.Option(click_type=Choice(get_args(Interface)), help="Interface condition; the case's by default."),
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
