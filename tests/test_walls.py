"""The walls: no wing knows the other or the roof; one file knows HDF5, one knows DOLFINx's releases."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("networks", "solvers", "submodel")
FE = {"basix", "dolfinx", "ffcx", "gmsh", "mpi4py", "petsc4py", "scifem", "ufl"}
NN = {"safetensors", "tensorly", "torch"}
# What each wing may import besides itself and the standard library.
ALLOWED = {
    "networks": {"numpy", "safetensors", "scipy", "tensorly", "torch"},
    "solvers": {"basix", "cffi", "dolfinx", "gmsh", "mpi4py", "numpy", "petsc4py", "scipy", "ufl"},
}
# What must not be needed to import all of a wing.
BLOCKED = {
    "networks": {*FE, "h5py", "solvers", "submodel", "tensorly"},
    "solvers": {*NN, "h5py", "networks", "submodel"},
}
# What must not be needed to import a module of the roof, with all that it imports: training runs on a machine
# without FEniCS, generation without torch, and the command line starts without either.
ROOF_BLOCKED = {
    "submodel.case.case": {*FE, *NN, "h5py"},
    "submodel.cli.app": {*FE, *NN, "h5py", "matplotlib"},
    "submodel.generate.generate": NN,
    "submodel.learn.train": FE,
    "submodel.predict.error_bound": {*FE, "cffi"},
    "submodel.predict.generator": {*FE, "cffi"},
    "submodel.predict.prediction": {*FE, "cffi"},
}
# Folders whose modules need no other package than these, with all that they import.
FLOOR = ("solvers/gamma", "solvers/time")
FLOOR_NEEDS = {"numpy", "scipy"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of the modules that a tree imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what is imported"
            yield node.module or ""


def imported_packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(ast.parse(path.read_text()))}


def import_without(modules: list[str], blocked: set[str]) -> subprocess.CompletedProcess[str]:
    """Import modules in a process of its own where importing a blocked package fails as if it were absent."""
    code = f"""
import importlib, sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(blocked)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Wall())
for module in {modules!r}:
    importlib.import_module(module)
"""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("wing", sorted(ALLOWED))
def test_wing_imports_only_what_its_table_allows(wing: str) -> None:
    allowed = {wing, *ALLOWED[wing], *sys.stdlib_module_names}
    outside = {str(path.relative_to(ROOT)): imported_packages(path) - allowed for path in sources(wing)}
    assert outside, f"no module in {wing}/"
    assert not {path: names for path, names in outside.items() if names}


@pytest.mark.parametrize("wing", sorted(BLOCKED))
def test_wing_works_where_the_other_is_absent(wing: str) -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources(wing)]
    done = import_without(modules, BLOCKED[wing])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", sorted(ROOF_BLOCKED))
def test_roof_imports_heavy_packages_only_where_they_are_used(module: str) -> None:
    done = import_without([module], ROOF_BLOCKED[module])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", FLOOR)
def test_floor_needs_numpy_and_scipy_only(folder: str) -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources(folder)]
    done = import_without(modules, {*FE, *NN, "cffi", "h5py", "matplotlib", "networks", "submodel"})
    assert modules and done.returncode == 0, done.stderr
    outside = set().union(*(imported_packages(ROOT / f"{name.replace('.', '/')}.py") for name in modules))
    assert outside <= {"solvers", *FLOOR_NEEDS, *sys.stdlib_module_names}


def test_blocking_a_package_is_noticed() -> None:
    done = import_without(["numpy"], {"numpy"})
    assert done.returncode != 0 and "No module named 'numpy'" in done.stderr


def test_hdf5_is_known_to_one_file() -> None:
    users = [str(path.relative_to(ROOT)) for path in sources(*PACKAGES) if "h5py" in imported_packages(path)]
    assert users == ["submodel/data/hdf5.py"]


@pytest.mark.parametrize("path", [path for path in sources(*PACKAGES) if path.name == "__init__.py"], ids=str)
def test_init_is_a_docstring_and_at_most_the_version(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path} has no docstring"
    rest = [ast.unparse(node).partition(" = ")[0] for node in tree.body[1:]]
    assert rest in ([], ["__version__"])


def release_tests(path: Path) -> Iterator[str]:
    """Places of a file that ask which release of DOLFINx is there."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            handled = " ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type)
            guarded = {name.partition(".")[0] for child in node.body for name in imports(child)}
            if guarded & FE and ("ImportError" in handled or "ModuleNotFoundError" in handled):
                yield f"{path}:{node.lineno} tries an import"
        elif isinstance(node, ast.Attribute) and ast.unparse(node).endswith("dolfinx.__version__"):
            yield f"{path}:{node.lineno} reads the version"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr"):
            asked = ast.unparse(node)
            yield from [f"{path}:{node.lineno} asks for an attribute"] if "dolfinx" in asked else []


def test_releases_of_dolfinx_are_told_apart_in_one_module() -> None:
    compat = ROOT / "solvers" / "mesh" / "compat.py"
    assert list(release_tests(compat)), "the search finds nothing where something is"
    assert not [place for path in sources(*PACKAGES, "tests") if path != compat for place in release_tests(path)]


def test_one_hdf5_and_one_mpi_in_a_process() -> None:
    """h5py and DOLFINx come from one distribution: two HDF5 or MPI libraries in a process corrupt each other."""
    code = (
        "import dolfinx, h5py, mpi4py.MPI\n"
        "for line in open('/proc/self/maps'):\n"
        "    print(line.split()[-1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    files = {Path(line).name for line in done.stdout.splitlines() if line.startswith("/")}
    for library in ("hdf5", "mpi"):
        names = {name for name in files if name.startswith((f"lib{library}.so", f"lib{library}_", f"lib{library}-"))}
        core = {name for name in names if not any(part in name for part in ("_hl", "_cxx", "_mpifh", "_usempi"))}
        assert len(core) == 1, f"{library}: {sorted(core)} of {sorted(names)}"
