"""Compare a demonstration's figures with their ranges: ``python3 environment/check_demo.py plate demo-output``."""

from __future__ import annotations

import json
import sys
import tomllib
from functools import reduce
from pathlib import Path
from typing import Any

RANGES = Path(__file__).with_name("demo.toml")


def figures(demo: str) -> list[dict[str, Any]]:
    """The figures of one demonstration: key, low, high and the words of README."""
    return [each for each in tomllib.loads(RANGES.read_text(encoding="utf-8"))["figure"] if each["demo"] == demo]


def faults(demo: str, validation: dict[str, Any]) -> list[str]:
    """A sentence for each figure of a validation that lies outside its range."""
    said = []
    for figure in figures(demo):
        value = reduce(lambda part, name: part[name], figure["key"].split("."), validation)
        if not figure["low"] <= value <= figure["high"]:
            said.append(f"{figure['key']} is {value:.4g}, and should lie in {figure['low']:g} to {figure['high']:g}")
    return said


def main() -> None:
    """Command line."""
    demo, folder = sys.argv[1:]
    if not figures(demo):
        sys.exit(f"{RANGES} has no figures of the demonstration {demo!r}")
    said = faults(demo, json.loads((Path(folder) / "validation.json").read_text(encoding="utf-8")))
    if said:
        sys.exit(f"figures of ./run demo {demo} left their ranges in {RANGES}: {'; '.join(said)}")
    print(f"{len(figures(demo))} figures of ./run demo {demo} lie within their ranges")


if __name__ == "__main__":
    main()
