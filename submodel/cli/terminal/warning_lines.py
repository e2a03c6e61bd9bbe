"""Warnings as a user sees them: each once, in one line on standard error, from the root alone."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from submodel.cli.terminal.errors import leads


class _Lines(logging.Handler):
    """Prints each warning once, whether it comes from `warnings` or, captured by a library, from its logger."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: set[str] = set()

    def show(self, message: Warning | str, *_: Any, **__: Any) -> None:
        """Print a warning; stands in for `warnings.showwarning`."""
        words = " ".join(str(message).split())
        if words not in self._shown and leads():
            with suppress(OSError):  # nobody listens: the work goes on
                typer.echo(f"warning: {words}", err=True)
        self._shown.add(words)

    def emit(self, record: logging.LogRecord) -> None:
        self.show(record.getMessage())


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Print the warnings of the work done within. FFCx, which DOLFINx imports, sends them to a logger that is mute."""
    lines, logger = _Lines(), logging.getLogger("py.warnings")
    before = warnings.showwarning, warnings.formatwarning
    warnings.showwarning = lines.show
    warnings.formatwarning = lambda message, *_, **__: str(message)  # as the logger is given it
    logger.addHandler(lines)
    try:
        yield
    finally:
        logger.removeHandler(lines)
        warnings.showwarning, warnings.formatwarning = before
