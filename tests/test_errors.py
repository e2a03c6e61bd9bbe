"""Errors that a user can mend end as one line, never as a traceback."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cffi
import pytest
import typer
from roof_problems import toy

import networks
import solvers
import submodel
from networks.core.errors import NetworkError
from solvers.errors import SolverError
from submodel.case.errors import SubmodelError
from submodel.cli.terminal.errors import parallel, refusals
from submodel.data.dataset import Dataset

BASES = {networks: NetworkError, solvers: SolverError, submodel: SubmodelError}


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def errors_of_the_product() -> list[type[Exception]]:
    """Every class of error that a module of the product defines, found by importing all of them."""
    for package in BASES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    names = {package.__name__ for package in BASES}
    ours = {kind for kind in subclasses(Exception) if kind.__module__.partition(".")[0] in names}
    return sorted((kind for kind in ours if not issubclass(kind, Warning)), key=lambda kind: kind.__qualname__)


def test_every_error_has_the_base_of_its_wing() -> None:
    errors = errors_of_the_product()
    assert len(errors) > 10
    bases = {package.__name__: base for package, base in BASES.items()}
    assert not [kind for kind in errors if not issubclass(kind, bases[kind.__module__.partition(".")[0]])]


@pytest.mark.parametrize("guard", [refusals, parallel])
def test_every_error_ends_as_one_line(guard: object, capsys: pytest.CaptureFixture[str]) -> None:
    others = [cffi.VerificationError, OSError, ValueError, TimeoutError]
    for kind in [*errors_of_the_product(), *others]:
        with pytest.raises(typer.Exit), guard():  # type: ignore[operator]
            raise kind.__new__(kind, "mend it")
        assert capsys.readouterr().err.count("\n") == 1, kind


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    for kind in (RuntimeError, KeyError, TypeError, ModuleNotFoundError, BrokenPipeError):
        with pytest.raises(kind), refusals():
            raise kind("a bug")


def test_files_that_fail_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), refusals():
        (tmp_path / "none" / "x").write_text("")
    assert capsys.readouterr().err == f"error: {tmp_path / 'none' / 'x'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"CC": "/nowhere/cc"}, "install a C compiler"),
        ({"XDG_CACHE_HOME": "/dev/null/cache"}, "/dev/null"),
    ],
)
def test_forms_that_cannot_be_compiled_say_what_to_do(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    command = [sys.executable, "-m", "submodel", "generate", str(toy(tmp_path)), "-o", str(tmp_path / "toy.h5")]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)} | settings
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1 and words in errors[0], done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ending", ["2> /dev/full", "2>&1 | true", "| true"])
def test_words_that_nobody_hears_do_not_stop_the_work(tmp_path: Path, ending: str) -> None:
    generate = f"{sys.executable} -m submodel generate {toy(tmp_path)} -o {tmp_path}/toy.h5 --train 2 --test 0"
    done = subprocess.run(["bash", "-c", f"{generate} {ending}"], capture_output=True, text=True, timeout=120)
    assert "MPI_ABORT" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    with Dataset.open(tmp_path / "toy.h5") as dataset:
        assert dataset.num_samples("train") == 2
