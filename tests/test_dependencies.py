"""Every package that the product imports is declared with bounds, and everywhere the same; none is declared in vain."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from test_walls import PACKAGES, ROOT, imported_packages, sources

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# where a package is called otherwise than its import; those of DOLFINx are not on the Python package index
DISTRIBUTION = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn"}
OF_DOLFINX = {"basix", "dolfinx", "ufl"}
CONDA = {"fenics-dolfinx": "dolfinx", "pytorch": "torch", "python-gmsh": "gmsh", "matplotlib-base": "matplotlib"}
DEBIAN = {"pillow": "python3-pil", "mypy": "python3-mypy"}
NOT_PYTHON = {"python", "openmpi", "cxx-compiler", "shellcheck"}
UNBOUND = {"neuralop", "pymor"}  # peers that a benchmark each measures where they are there
IMPORTED_OTHERWISE = {"scifem", "setuptools"}  # by a test that skips without it, by cffi when it compiles


def declared() -> dict[str, str]:
    """Bounds of every declared distribution, by name."""
    extras = PROJECT["optional-dependencies"]
    lists = [PROJECT["dependencies"], *extras.values()]
    return dict(re.findall(r"^([\w-]+)(.*)$", "\n".join(sum(lists, [])), re.M))


def imported(*folders: str) -> set[str]:
    """Distributions that the files of some folders import."""
    names = set().union(*(imported_packages(path) for path in sources(*folders)))
    own = {*PACKAGES, "benchmarks", *(path.stem for path in sources("tests", "benchmarks"))}
    return {DISTRIBUTION.get(name, name) for name in names - own - set(sys.stdlib_module_names)}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    product, rest = imported(*PACKAGES), imported("tests", "benchmarks")
    assert len(product) > 12
    assert not (product | rest) - set(declared()) - OF_DOLFINX - UNBOUND - {"petsc4py"}
    tools = {"mypy", "pytest-xdist", "ruff"}
    assert not set(declared()) - product - rest - tools - IMPORTED_OTHERWISE


def test_every_dependency_has_both_bounds() -> None:
    assert all(re.fullmatch(r">=[\d.]+,<[\d.]+", bounds) for bounds in declared().values()), declared()


def test_conda_has_the_same_bounds() -> None:
    lines = re.findall(r"^  - ([\w-]+) ?([^#\n]*)", (ROOT / "environment.yml").read_text(), re.M)
    conda = {
        CONDA.get(name, name): bounds.split()[0] if bounds else "" for name, bounds in lines if name != "conda-forge"
    }
    python = {name: bounds for name, bounds in conda.items() if name not in NOT_PYTHON}
    assert {name: python.get(name) for name in declared()} == declared()
    assert set(python) - set(declared()) == {"dolfinx", "petsc4py"} and all("<" in each for each in python.values())


def test_the_root_has_every_dependency() -> None:
    debian = {line.partition("#")[0].strip() for line in (ROOT / "environment/debian.txt").read_text().splitlines()}
    pip = {}
    for line in (ROOT / "environment/pip.txt").read_text().splitlines():
        if match := re.match(r"([\w-]+)(\S*)", line):
            pip[match[1]] = match[2]
    assert {name: bounds for name, bounds in declared().items() if name in pip} == pip
    lacking = {name for name in declared() if name not in pip and DEBIAN.get(name, f"python3-{name}") not in debian}
    assert not lacking
    python = {name.removeprefix("python3-") for name in debian if name.startswith("python3-")}
    known = {*declared(), *OF_DOLFINX, *(name.removeprefix("python3-") for name in DEBIAN.values())}
    assert not python - known - {"dev", "pip", "venv", "petsc4py", "h5py-mpi"}


def test_nothing_knows_click_or_plotly() -> None:
    files = [*sources(*PACKAGES, "tests", "benchmarks"), *ROOT.glob("environment/*"), ROOT / "run"]
    this = Path(__file__)
    for path in files:
        if path.is_file() and path != this:
            assert not re.search(r"\bplotly\b|^\s*(from|import) click\b", path.read_text(), re.M), path
