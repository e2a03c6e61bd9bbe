"""The front door without a build, and the test runner under MPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MPI_VARIABLES = re.compile("OMPI_COMM|OMPI_MCA_(?!btl|mpi_yield)|PMIX|PRTE_")


def environment(**changes: str) -> dict[str, str]:
    """This process's environment less what mpirun or a singleton MPI_Init left in it."""
    return {key: value for key, value in os.environ.items() if not MPI_VARIABLES.match(key)} | changes


def pytest_under_mpi(folder: Path, source: str, *args: str, num_ranks: int = 2) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = mpi\n")
    (folder / "test_generated.py").write_text(f"import pytest\nfrom mpi4py import MPI\ncomm = MPI.COMM_WORLD\n{source}")
    return subprocess.run(
        ["mpirun", "-n", str(num_ranks), sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args],
        cwd=folder,
        env=environment(SUBMODEL_TEST_GRACE="1", SUBMODEL_TEST_LIMIT="5"),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_all_ranks_passing_is_success_and_only_one_speaks(tmp_path: Path) -> None:
    done = pytest_under_mpi(tmp_path, "def test_sum(): assert comm.allreduce(1) == 3", num_ranks=3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("1 passed") == 1


def test_failure_on_one_rank_fails_the_run_and_the_others_go_on(tmp_path: Path) -> None:
    source = "def test_one(): assert comm.rank != 1, 'only here'\ndef test_two(): assert comm.allreduce(1) == 2\n"
    done = pytest_under_mpi(tmp_path, source)
    assert done.returncode != 0
    assert "[rank 1]" in done.stderr and "only here" in done.stderr
    assert "2 passed" in done.stdout and "failed on rank [1] of 2" in done.stdout


def test_first_failure_on_one_rank_stops_all_on_request(tmp_path: Path) -> None:
    source = "def test_one(): assert comm.rank != 1\ndef test_two(): assert comm.allreduce(1) == 2\n"
    done = pytest_under_mpi(tmp_path, source, "-x")
    assert done.returncode != 0
    assert "2 passed" not in done.stdout and "1 passed" in done.stdout


def test_failure_before_a_collective_call_ends_the_job(tmp_path: Path) -> None:
    done = pytest_under_mpi(tmp_path, "def test_stuck():\n    assert comm.rank != 1, 'left'\n    comm.barrier()\n")
    assert done.returncode != 0
    assert "left" in done.stderr and "the others do not follow" in done.stderr


def test_a_test_that_never_ends_shows_where_it_hangs(tmp_path: Path) -> None:
    done = pytest_under_mpi(tmp_path, "def test_stuck(): comm.recv(source=1 - comm.rank)")
    assert done.returncode != 0
    assert "in test_stuck" in done.stderr


def test_ranks_that_collect_different_tests_are_refused(tmp_path: Path) -> None:
    done = pytest_under_mpi(tmp_path, "if comm.rank == 0:\n    def test_extra(): pass\ndef test_one(): pass\n")
    assert done.returncode != 0
    assert "collected different tests" in done.stdout


def test_broken_module_on_one_rank_fails_the_run(tmp_path: Path) -> None:
    done = pytest_under_mpi(tmp_path, "assert comm.rank == 0\ndef test_one(): pass\n")
    assert done.returncode != 0
    assert "failed in collection" in done.stderr


# ---- the front door, with stand-ins for the programs that build and enter a root ---------------------------------

STANDINS = {
    "apt-get": "exit 0",
    "apt-config": "exit 0",
    "newuidmap": "exit 0",
    "df": 'echo header; echo "disk 0 0 ${FREE_KB:-90000000} 0% /"',
    "mmdebstrap": 'root=${@: -1}; echo Unpacking; mkdir -p "$root"/{etc,usr}; sleep "${BUILD_TIME:-0}"',
    "unshare": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "bwrap": """
while [[ $1 == --* ]]; do
    case $1 in
        --die-with-parent) shift ;;
        --tmpfs | --unsetenv | --chdir) shift 2 ;;
        *) shift 3 ;;
    esac
done
[[ $1 == */build.sh ]] || exec "$@"
""",
}


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


class Door:
    """A copy of the front door on a machine that has bash, the usual tools, and no Python with DOLFINx."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "a clone"
        self.cache = folder / "the cache"
        self.bin = folder / "bin"
        shutil.copytree(ROOT / "environment", self.checkout / "environment", symlinks=True)
        shutil.copy(ROOT / "run", self.checkout)
        self.bin.mkdir()
        hidden = re.compile("python|apt|sudo$|mmdebstrap|bwrap")
        for directory in ("/bin", "/usr/bin"):
            for tool in Path(directory).iterdir():
                link = self.bin / tool.name
                if not hidden.match(tool.name) and not link.is_symlink():
                    link.symlink_to(tool)
        self.provide(**STANDINS)

    def provide(self, **programs: str) -> None:
        for name, body in programs.items():
            self.remove(name)
            (self.bin / name).write_text(f"#!/bin/bash\n{body}\n")
            (self.bin / name).chmod(0o755)

    def remove(self, name: str) -> None:
        (self.bin / name).unlink(missing_ok=True)

    def start(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        inherited = {key: value for key, value in environment().items() if not key.startswith("SUBMODEL_")}
        changes = {"PATH": str(self.bin), "SUBMODEL_CACHE": str(self.cache)} | variables
        return subprocess.Popen(
            [str(self.checkout / "run"), *command],
            env=inherited | changes,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *command: str, **variables: str) -> tuple[int, str, str]:
        with self.start(*command, **variables) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def roots(self, suite: str = "trixie") -> list[str]:
        return sorted(path.name for path in self.cache.glob(f"{suite}-*") if path.suffix != ".home")


def test_usage_without_arguments(door: Door) -> None:
    status, out, _ = door.call()
    assert status == 0 and out.startswith("usage: ./run demo")


def test_benchmarks_are_a_word_of_their_own(door: Door) -> None:
    door.provide(python3='[[ $1 != - ]] || exit 1; echo "$@"')  # not one that has DOLFINx
    status, out, _ = door.call("benchmarks", "--only", "zone")
    assert (status, out) == (0, f"{door.checkout}/benchmarks/performance.py --only zone\n")
    assert "./run benchmarks " in door.call()[1]


def test_root_is_built_once_and_then_used(door: Door) -> None:
    status, out, err = door.call("echo", "two words", "*")
    assert (status, out) == (0, "two words *\n"), err
    assert "1/3 Debian packages" in err and "environment ready" in err
    assert len(door.roots()) == 1 and not list(door.cache.glob("part.*"))
    assert door.call("sh", "-c", "exit 7") == (7, "", "")


def test_changed_package_list_makes_a_new_root_and_drops_the_old(door: Door) -> None:
    door.call("true")
    before = door.roots()
    with (door.checkout / "environment" / "debian.txt").open("a") as packages:
        packages.write("# a comment changes nothing\n")
    assert door.call("true") == (0, "", "")
    with (door.checkout / "environment" / "debian.txt").open("a") as packages:
        packages.write("hello\n")
    status, _, err = door.call("true")
    assert status == 0 and "older package list" in err
    assert len(door.roots()) == 1 and door.roots() != before


def test_root_in_use_is_not_dropped(door: Door) -> None:
    door.call("true")
    with door.start("sh", "-c", "echo ready; read answer") as user:
        assert user.stdout and user.stdout.readline() == "ready\n"
        with (door.checkout / "environment" / "pip.txt").open("a") as packages:
            packages.write("hello\n")
        assert door.call("true")[0] == 0
        assert len(door.roots()) == 2
        user.communicate(timeout=60)


def test_two_calls_wait_for_one_build(door: Door) -> None:
    with door.start("echo", "one", BUILD_TIME="3") as first, door.start("echo", "two", BUILD_TIME="3") as second:
        answers = [first.communicate(timeout=60), second.communicate(timeout=60)]
    assert [out for out, _ in answers] == ["one\n", "two\n"]
    words = sorted(err for _, err in answers)
    assert "waiting for it" in words[0] and "environment ready" not in words[0]
    assert "environment ready" in words[1]


def test_killed_build_leaves_nothing_to_the_next_call(door: Door) -> None:
    with door.start("true", BUILD_TIME="30") as killed:
        while not list(door.cache.glob("part.*/*/usr")):
            time.sleep(0.05)
        killed.kill()
    status, out, err = door.call("echo", "done")
    assert (status, out) == (0, "done\n")
    assert "removing what a killed call left" in err
    assert len(door.roots()) == 1 and not list(door.cache.glob("part.*"))


def test_suites_have_roots_of_their_own(door: Door) -> None:
    door.call("true")
    status, _, err = door.call("true", SUBMODEL_SUITE="sid")
    assert status == 0, err
    assert len(door.roots()) == len(door.roots("sid")) == 1


def test_failed_build_shows_its_log_and_leaves_no_root(door: Door) -> None:
    door.provide(mmdebstrap='echo "E: Failed to fetch a list"; exit 3')
    status, _, err = door.call("true")
    assert status == 1 and "E: Failed to fetch a list" in err
    assert err.splitlines()[-1].startswith("run: Debian packages could not be installed: the network fails")
    assert not door.roots() and not list(door.cache.glob("part.*"))


@pytest.mark.parametrize(
    ("without", "variables", "sentence"),
    [
        ("apt-get", {}, "neither a Python with DOLFINx >= 0.9 and torch nor apt"),
        ("", {"FREE_KB": "2000000"}, "has 1 GB free and the environment needs 5: make room"),
        ("", {"SUBMODEL_CACHE": "/proc/none"}, "cannot write to /proc/none: set SUBMODEL_CACHE"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(
    door: Door, without: str, variables: dict[str, str], sentence: str
) -> None:
    if without:
        door.remove(without)
    status, out, err = door.call("true", **variables)
    assert status == 1 and out == ""
    assert err.count("\n") == 1 and sentence in err


def test_namespaces_that_are_forbidden_are_named(door: Door) -> None:
    door.provide(bwrap="exit 1")
    status, _, err = door.call("true")
    assert status == 1 and err.startswith("run: bubblewrap may not make namespaces here") and err.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root needs no sudo")
def test_missing_sudo_is_named(door: Door) -> None:
    door.remove("mmdebstrap")
    status, _, err = door.call("true")
    assert status == 1 and "root is needed once to install mmdebstrap, and sudo is missing" in err


def test_command_sees_the_checkout_that_it_was_called_from(tmp_path: Path) -> None:
    code = "import submodel; print(submodel.__file__)"
    done = subprocess.run(
        [str(ROOT / "run"), "python3", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert Path(done.stdout.strip()) == ROOT / "submodel" / "__init__.py"


def test_ranks_exchange_large_messages_in_silence() -> None:
    code = (
        "from mpi4py import MPI; import numpy as np, os; c = MPI.COMM_WORLD\n"
        "a = np.full(2_000_000, float(c.rank)); b = np.empty_like(a)\n"
        "c.Sendrecv(a, (c.rank + 1) % c.size, recvbuf=b, source=(c.rank - 1) % c.size)\n"
        "assert (b == (c.rank - 1) % c.size).all()\n"
        "c.rank or print(os.environ['OMP_NUM_THREADS'])\n"
    )
    variables = {key: value for key, value in environment().items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [str(ROOT / "run"), "mpirun", "-n", "3", "python3", "-c", code],
        env=variables, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_scripts_pass_shellcheck() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not in this environment")
    scripts = ["run", ".ci/run", "environment/bin/mpirun", *map(str, (ROOT / "environment").glob("*.sh"))]
    done = subprocess.run([shellcheck, "-x", *scripts], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_both_ways_to_start_the_command_line_lead_to_it(tmp_path: Path) -> None:
    start = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["submodel"]
    module, _, name = start.partition(":")
    command = [sys.executable, "-c", f"from {module} import {name}; {name}()"]
    for words in (command, [sys.executable, str(ROOT / "environment" / "bin" / "submodel")]):
        done = subprocess.run([*words, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "COMMAND [ARGS]" in done.stdout, done.stderr
