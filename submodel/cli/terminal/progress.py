"""A bar for work that takes long: what is done, how fast, how long it will take."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Advance = Callable[[float, str], None]
TERMINAL = "SUBMODEL_TERMINAL"  # set by the mpirun of ./run, whose ranks write to a terminal through a pipe
LINE_EVERY = 5.0  # seconds between lines where there is no terminal


@contextmanager
def show_progress(label: str, total: float, unit: str, stream: TextIO | None = None) -> Iterator[Advance]:
    """Show the progress of the work done within: a bar on a terminal, elsewhere a line now and then. Root.

    Args:
        label: what is being done.
        total: how much there is to do.
        unit: of the work, such as "samples" or "s".
        stream: where to; standard error when None.

    Yields:
        A call with how much is done so far and a note to stand beside it, such as a loss.
    """
    patient: Any = _Unheard(stream or sys.stderr)
    show = _bar if patient.isatty() or os.environ.get(TERMINAL) else _lines
    with show(label, total, unit, patient) as advance:
        yield advance


class _Unheard(io.TextIOBase):
    """A stream whose reader may be gone, or whose disk full: the work goes on without words. Stands in for one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


@contextmanager
def count_progress(label: str, unit: str, *, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of work that is counted, like `show_progress`; each call says how much there is.

    Args:
        label: what is being done.
        unit: of what is counted.
        shown: whether to show anything; False on the ranks that are not the root.

    Yields:
        A call with how many are done and how many there are.
    """
    with ExitStack() as stack:
        advance: Advance | None = None

        def tell(done: int, total: int) -> None:
            nonlocal advance
            if shown and advance is None:
                advance = stack.enter_context(show_progress(label, total, unit))
            if advance is not None:
                advance(done, "")

        yield tell


@contextmanager
def _bar(label: str, total: float, unit: str, stream: TextIO) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} " + unit),
        _Rate(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(file=stream, force_terminal=True)) as progress:
        task = progress.add_task(label, total=total, note="")

        def advance(done: float, note: str) -> None:
            progress.update(task, completed=done, note=note)

        yield advance


class _Rate(ProgressColumn):
    """Work a second, over the time since the start."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(_rate(task.completed, task.elapsed or 0.0, self._unit))


@contextmanager
def _lines(label: str, total: float, unit: str, stream: TextIO) -> Iterator[Advance]:
    start = last = time.monotonic()

    def advance(done: float, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_EVERY and done < total:
            return
        last = now
        left = f", {(total - done) * (now - start) / done:.0f} s left" if 0 < done < total else ""
        parts = [f"{label}: {done:.0f} of {total:.0f} {unit}", _rate(done, now - start, unit), note]
        print(", ".join(part for part in parts if part) + left, file=stream, flush=True)

    yield advance


def _rate(done: float, elapsed: float, unit: str) -> str:
    """The rate in words; nothing where the unit is itself a time."""
    return f"{done / elapsed:.2g} {unit}/s" if elapsed > 0 and done > 0 and unit != "s" else ""
