"""The recipes of docs/extending.md are what their tests do: each line of code stands in the test, in its order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECIPE = re.compile(r"```python\n(.*?)```.*?Test: `(tests/test_seam_\w+\.py)`", re.DOTALL)
RECIPES = {test: code for code, test in RECIPE.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8"))}


def lines(code: str) -> list[str]:
    """Lines of code without their indents, blank ones and omissions."""
    return [line.strip() for line in code.splitlines() if line.strip() and not line.strip().startswith("...")]


def test_every_seam_has_its_recipe() -> None:
    assert set(RECIPES) == {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("test_seam_*.py")}


@pytest.mark.parametrize("test", RECIPES)
def test_a_recipe_is_what_its_test_does(test: str) -> None:
    rest = iter(lines((ROOT / test).read_text(encoding="utf-8")))
    for line in lines(RECIPES[test]):
        assert line in rest, f"{test} does not go on with: {line}"
