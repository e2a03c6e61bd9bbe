"""Files that each command writes, and the check before it works that they overwrite nothing else."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from submodel.case.errors import CaseError
from submodel.data.outputs import Kind, require_output

GENERATED: dict[str, Kind] = {"": "dataset"}
TRAINED: dict[str, Kind] = {"": "generator", "{stem}.unfinished.safetensors": "generator"}
BUILT: dict[str, Kind] = {"": "generator", "{stem}.cross.h5": "dataset", "{stem}.png": "picture"}
JSON: dict[str, Kind] = {"": "JSON"}
ZOOMED: dict[str, Kind] = {
    "fields.xdmf": "fields",
    "fields.h5": "zoomed runs",
    "final.png": "picture",
    "run.gif": "picture",
    "zoom.json": "JSON",
    "zoomed.h5": "zoomed runs",
    "zoomed.csv": "table",
    "zoomed.png": "picture",
    "zoomed.json": "JSON",
}
TABLES: dict[str, Kind] = {
    "tables.md": "text",
    "tables.html": "page",
    "tables.json": "JSON",
    "error-against-parameters.png": "picture",
}
REPORT: dict[str, Kind] = {"report.html": "page"}
DEMO: dict[str, Kind] = {
    "dataset.h5": "dataset",
    "generator.safetensors": "generator",
    "validation.json": "JSON",
    **REPORT,
}
OUTPUTS: dict[str, dict[str, dict[str, Kind]]] = {
    "generate": {"output": GENERATED},
    "build": {"output": BUILT},
    "train": {"output": TRAINED},
    "compress": {"output": TRAINED},
    "calibrate": {},
    "zoom": {"output": ZOOMED},
    "validate": {"json_file": JSON, "report": REPORT},
    "reproduce": {"out": TABLES},
    "profile": {"json_file": JSON},
    "demo": {"output": DEMO},
}
"""By command and option: the kinds of the files written, by name in the option's folder; "" is the option's own file,
and a name with {stem} lies beside it. `calibrate` rewrites the generator that it reads."""


def require_outputs(command: str, values: Mapping[str, Any]) -> None:
    """See that nothing a command is to write takes the place of what it reads, or of a file of another kind.

    Args:
        command: its name.
        values: of its options and arguments, by parameter.

    Raises:
        CaseError: something would be overwritten, or cannot be written.
    """
    options = OUTPUTS.get(command, {})
    inputs = [path for name, value in values.items() if name not in options for path in _files_of(value)]
    written: list[Path] = []
    for option, kinds in options.items():
        if values.get(option) is None:
            continue
        target = Path(values[option])
        for name, kind in kinds.items():
            path = target / name if "" not in kinds else target.with_name(name.format(stem=target.stem) or target.name)
            if path in written:
                raise CaseError(f"{path} would be written twice: choose another name for one of the two")
            if os.path.exists(path) or (name == "" and os.path.exists(path.parent)):  # the command makes new folders
                require_output(path, inputs=inputs, kind=kind)
            written.append(path)


def _files_of(value: Any) -> Iterator[Path]:
    """The files that the value of an option leads to: its own, and of a case the mesh and the signal that it names."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _files_of(each)
    elif isinstance(value, str | Path) and Path(value).is_file():
        yield Path(value)
        if Path(value).suffix == ".toml":
            yield from (path for path in map(Path(value).parent.joinpath, _strings(_document(value))) if path.is_file())


def _document(path: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError:  # the command says what is wrong with it
        return {}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)
