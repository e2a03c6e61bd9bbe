"""Compiled forms: what an interrupted or crowded compilation leaves behind stops no later run; warnings are seen."""

from __future__ import annotations

import ast
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import ufl
from dolfinx import fem, jit
from mpi4py import MPI

from solvers.mesh import form_cache
from solvers.mesh.domain import box_domain
from solvers.mesh.form_cache import LOCK, compiled

ROOT = Path(__file__).parents[1]
SCRIPT = """
import warnings
from mpi4py import MPI
from solvers.mesh.domain import box_domain
from solvers.space.assembly import Discretization, assemble_mass, function_space
one = box_domain(MPI.COMM_SELF, (0, 0), (1, 1), (4, 4), (0.25, 0.25), (0.75, 0.75), cell="triangle", speed=1.0)
print(assemble_mass(function_space(one.mesh, Discretization()), one, Discretization()).sum())
warnings.warn("seen")
"""


def claimed(library: Path) -> None:
    """Stopped while FFCx or the compiler was at work: no mark."""
    library.unlink()
    for path in library.parent.glob("*.c.cached"):
        path.unlink()


def marked_without_a_library(library: Path) -> None:
    library.unlink()


def emptied(library: Path) -> None:
    """The disk was full."""
    library.unlink()  # the old one is loaded: it must not change
    library.write_bytes(b"")


def cut_off(library: Path) -> None:
    head = library.read_bytes()[:100]
    library.unlink()
    library.write_bytes(head)


@pytest.mark.mpi
@pytest.mark.parametrize("damage", [claimed, marked_without_a_library, emptied, cut_off])
def test_a_damaged_cache_is_mended(
    damage: Callable[[Path], None], comm: MPI.Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(jit.DOLFINX_DEFAULT_JIT_OPTIONS, "cache_dir", (shared_path, ""))
    one = box_domain(comm, (0, 0), (1, 1), (4, 4), (0.25, 0.25), (0.75, 0.75), cell="triangle", speed=1.0)
    area = fem.Constant(one.mesh, 2.0) * ufl.dx(domain=one.mesh)
    for _ in range(2):
        assert comm.allreduce(float(fem.assemble_scalar(compiled(area, comm)))) == pytest.approx(2.0)
        if comm.rank == 0:
            damage(next(shared_path.glob("*.so")))
            form_cache._mend_once.cache_clear()
        comm.Barrier()


def test_what_another_process_compiles_is_left_alone(tmp_path: Path) -> None:
    for name in ("libffcx_forms_0a.c", "libffcx_forms_0a.o", "libffcx_forms_0b.c.cached", "other.c"):
        (tmp_path / name).write_text("")
    with (tmp_path / LOCK).open("a") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        form_cache._mend(tmp_path, patience=0.2)
        assert len(list(tmp_path.iterdir())) == 5
    form_cache._mend(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"other.c", LOCK}


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(form: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(fem, "form", fail)
    with pytest.raises(RuntimeError, match="no compiler"):
        compiled(None, MPI.COMM_SELF)


def test_processes_at_once_and_their_warnings(tmp_path: Path) -> None:
    """Two first runs over an unfinished claim; ``warnings.warn`` reaches stderr as it does without DOLFINx."""
    cache = tmp_path / "fenics"
    cache.mkdir()
    (cache / "libffcx_forms_0123456789abcdef.c").write_text("")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for _ in range(2)
    ]
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, err
        assert np.isclose(float(out), 1.0) and "UserWarning: seen" in err
    assert not (cache / "libffcx_forms_0123456789abcdef.c").exists()


def test_all_that_imports_dolfinx_gives_warnings_their_way_back() -> None:
    """ffcx takes it at its import; solvers.mesh.compat undoes that, so every such module must import it."""
    imported: dict[str, set[str]] = {}
    for path in (ROOT / "solvers").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        tree = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        imported[name] = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
        for node in tree:
            if isinstance(node, ast.ImportFrom) and node.module:
                imported[name] |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}

    def reached(name: str, seen: set[str]) -> set[str]:
        for other in imported.get(name, set()) - seen:
            seen.add(other)
            reached(other, seen)
        return seen

    heavy = {"basix", "dolfinx", "ffcx", "ufl"}
    users = {name for name in imported if any(other.partition(".")[0] in heavy for other in reached(name, set()))}
    assert len(users) > 10
    assert not [name for name in users - {"solvers.mesh.compat"} if "solvers.mesh.compat" not in reached(name, set())]
