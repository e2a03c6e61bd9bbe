"""Docstrings begin with a noun or an imperative, and values are called by their names in the field."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_walls import PACKAGES, ROOT, sources

FIRST_WORDS = {"Of", "Whether", "What", "How"}
PARAMETERS = {"how", "said", "found", "kept", "given", "told"}

def riddles(path: Path) -> Iterator[str]:
    """Places of a file whose docstring begins with a question, or whose parameter has a word for a name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            words = (ast.get_docstring(node) or "").split()
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
            if words and words[0].strip(",:;`") in FIRST_WORDS:
                yield f"{place} begins with {words[0]}"
        if isinstance(node, ast.arg) and node.arg in PARAMETERS:
            yield f"{path.relative_to(ROOT)}:{node.lineno} has a parameter {node.arg}"


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_and_parameters_say_what_they_are(package: str) -> None:
    assert not [riddle for path in sources(package) for riddle in riddles(path)]


def test_riddles_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_words.ROOT", tmp_path)
    path = tmp_path / "riddle.py"
    path.write_text(
        '"""Whether it rains."""\n\n\ndef f(how: int) -> int:\n    """Of all, the first."""\n    return how\n'
    )
    assert len(list(riddles(path))) == 3
