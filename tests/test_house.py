"""The house: folders are small, arrows between them go down, leaves stay leaves, files and functions stay short."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("networks", "solvers", "submodel")
MOST_ENTRIES, MOST_LINES, MOST_PARAMETERS = 12, 350, 8
COMMANDS = Path("submodel/cli/commands")  # their parameters are the options of a command
# A leaf, and who of its package may know it beside itself.
LEAVES = {
    "networks/compression": (),
    "networks/paper": (),
    "submodel/studies": ("submodel/cli",),
}


def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name, a package by its folder's, paths from the root."""
    names = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            place = path.relative_to(ROOT)
            parts = place.parent.parts if place.name == "__init__.py" else place.with_suffix("").parts
            names[".".join(parts)] = place
    return names


MODULES = modules()
TREES = {path: ast.parse((ROOT / path).read_text()) for path in MODULES.values()}


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules of the product that a tree imports, anywhere in it and for types too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def arrows(trees: dict[Path, ast.Module]) -> dict[tuple[str, str], set[str]]:
    """Imports between folders of one package: (from, to) and the places that make them."""
    graph: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path, tree in trees.items():
        if path.name == "__main__.py":
            continue
        for name in imported(tree):
            if MODULES[name].name == "__init__.py":
                continue  # a docstring and at most the version
            here, there = path.parent.as_posix(), MODULES[name].parent.as_posix()
            if here != there and here.partition("/")[0] == there.partition("/")[0]:
                graph[here, there].add(f"{path} imports {name}")
    return graph


def cycles(graph: dict[tuple[str, str], set[str]]) -> list[str]:
    """The places that make the arrows of cycles."""
    below: dict[str, set[str]] = defaultdict(set)
    for here, there in graph:
        below[here].add(there)

    def reaches(start: str, end: str) -> bool:
        seen, todo = set(), [start]
        while todo:
            folder = todo.pop()
            if folder == end:
                return True
            if folder not in seen:
                seen.add(folder)
                todo += below[folder]
        return False

    return sorted(place for (here, there), places in graph.items() if reaches(there, here) for place in places)


def test_a_folder_has_at_most_twelve_entries() -> None:
    folders = {folder for path in TREES for folder in path.parents if folder != Path(".")}
    entries = {
        folder: [
            entry.name
            for entry in (ROOT / folder).iterdir()
            if entry.name not in ("__init__.py", "__main__.py", "__pycache__") and not entry.name.startswith(".")
        ]
        for folder in folders
    }
    assert max(map(len, entries.values())) > MOST_ENTRIES // 2, "the search finds nothing where something is"
    assert not {str(folder): sorted(names) for folder, names in entries.items() if len(names) > MOST_ENTRIES}


def test_arrows_between_folders_go_down() -> None:
    graph = arrows(TREES)
    assert ("solvers/problems", "solvers/mesh") in graph, "the search finds nothing where something is"
    assert not cycles(graph)


def test_an_arrow_that_goes_up_is_noticed() -> None:
    trees = {
        Path("solvers/mesh/a.py"): ast.parse("from solvers.problems import full"),
        Path("solvers/problems/b.py"): ast.parse("import solvers.mesh.domain"),
    }
    assert cycles(arrows(trees)) == [
        "solvers/mesh/a.py imports solvers.problems.full",
        "solvers/problems/b.py imports solvers.mesh.domain",
    ]


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_the_core_knows_no_leaf(leaf: str) -> None:
    package = leaf.partition("/")[0]
    guests = [
        f"{path} imports {name}"
        for path, tree in TREES.items()
        for name in imported(tree)
        if MODULES[name].as_posix().startswith(f"{leaf}/")
        and path.parts[0] == package
        and not path.as_posix().startswith(tuple(f"{place}/" for place in (leaf, *LEAVES[leaf])))
    ]
    assert not guests


def test_a_file_stays_short() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in TREES}
    assert not {path: length for path, length in lengths.items() if length > MOST_LINES}


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Names of a function's parameters, but for the object that a method belongs to."""
    arguments = function.args
    names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def test_a_function_has_at_most_eight_parameters() -> None:
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in TREES.items()
        if not path.is_relative_to(COMMANDS)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and len(parameters(node)) > MOST_PARAMETERS
    ]
    assert not long
