"""Progress is a bar on a terminal and a line now and then elsewhere."""

from __future__ import annotations

import io

import pytest

from submodel.cli.terminal import progress
from submodel.cli.terminal.progress import count_progress, show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_few_and_end_with_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with show_progress("generate", 12, "samples", stream) as advance:
        for done in range(13):
            advance(done, "loss 0.5" if done == 9 else "")
    assert stream.getvalue().splitlines() == [
        "generate: 4 of 12 samples, 0.8 samples/s, 10 s left",
        "generate: 9 of 12 samples, 0.9 samples/s, loss 0.5, 3 s left",
        "generate: 12 of 12 samples, 0.92 samples/s",
    ]


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    with show_progress("train", 10, "samples", stream) as advance:
        advance(5, "loss 0.5")
        advance(10, "loss 0.1")
    text = stream.getvalue()
    assert "train" in text
    assert "10 of 10 samples" in text
    assert "loss 0.1" in text


def test_a_count_begins_with_its_first_call(capsys: pytest.CaptureFixture[str]) -> None:
    with count_progress("generate", "samples") as tell:
        tell(0, 2)
        tell(2, 2)
    assert "generate: 2 of 2 samples" in capsys.readouterr().err
    with count_progress("generate", "samples", shown=False) as tell:
        tell(2, 2)
    assert capsys.readouterr().err == ""


def test_a_rank_under_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(progress.TERMINAL, "1")
    stream = io.StringIO()
    with show_progress("generate", 2, "samples", stream) as advance:
        advance(2, "")
    assert "2 of 2 samples" in stream.getvalue() and "\x1b[" in stream.getvalue()
