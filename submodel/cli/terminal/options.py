"""Options that several commands share, and the readers of choices and pairs, which every release of typer takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from solvers.gamma.condition import CONDITIONS
from submodel.case.sampling import Split
from submodel.case.training import tolerance_of

Device = Literal["auto", "cpu", "cuda"]
BoundaryKind = Literal["generator", "recorded"]


def choice(kind: Any, words: str) -> Any:
    """An option that takes one of some strings.

    Args:
        kind: a Literal of them, or a register that has them as names.
        words: help.
    """
    return typer.Option(help=words, **_one_of(kind))


def choice_argument(kind: Any, words: str) -> Any:
    """An argument that takes one of the strings of a Literal."""
    return typer.Argument(help=words, **_one_of(kind))


def _one_of(kind: Any) -> dict[str, Any]:
    """Reader and name of one of some strings."""
    known = get_args(kind) or kind

    def read(text: str) -> str:
        if text not in known:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(known)}")
        return text

    return {"parser": read, "metavar": f"[{'|'.join(known)}]"}


def numbers(name: str, metavar: str, words: str) -> Any:
    """An option that takes some numbers and may be given again; `Command` joins them to one word before.

    Args:
        name: of the option, such as --source.
        metavar: a word for each number.
        words: help.
    """

    def read(text: str) -> tuple[float, ...]:
        parts = text.split()
        try:
            values = tuple(map(float, parts))
        except ValueError:
            values = ()
        if len(values) != len(metavar.split()):
            raise typer.BadParameter(f"give {metavar}, numbers with a blank between, got {text!r}")
        return values

    return typer.Option(name, parser=read, metavar=metavar, help=words)


def tolerance_option(words: str, *names: str) -> Any:
    """An option that takes a tolerance, "1%" or 0.01, as a fraction.

    Args:
        words: help.
        names: of the option, where not those of its parameter.
    """

    def read(text: str) -> float:
        try:
            return tolerance_of(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return typer.Option(*names, parser=read, metavar="ERROR", help=f"{words} In %, or a fraction.")


def join_numbers(arguments: list[str], sizes: dict[str, int]) -> list[str]:
    """Join the words that follow an option of several numbers to one.

    Args:
        arguments: of a command line.
        sizes: how many numbers an option takes, by its name.
    """
    joined, left = [], list(arguments)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        joined.append(name if name in sizes else word)
        if name in sizes:
            count = sizes[name] - bool(equals)
            joined.append(" ".join([value] * bool(equals) + left[:count]))
            del left[:count]
    return joined


CaseArgument = Annotated[Path, typer.Argument(metavar="CASE", help="Case file (.toml).")]
InterfaceOption = Annotated[str | None, choice(CONDITIONS, "Interface condition; the case's by default.")]
DeviceOption = Annotated[Device, choice(Device, "Where the network runs; auto takes a GPU where there is one.")]
BoundaryOption = Annotated[BoundaryKind, choice(BoundaryKind, "Predicted or recorded boundary data.")]
SplitOption = Annotated[Split, choice(Split, "Split of the dataset.")]
