"""Cross data: amplitudes of direct and of reciprocal runs agree, and more runs leave those that are there."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from mpi4py import MPI
from roof_problems import done, refused, submodel, toy
from solver_problems import relative_l2
from test_submodel_dataset import flip, toy_case, toy_data

from networks.table.source_mesh import SourceMesh
from submodel.case.case import Case, CaseError
from submodel.data.check import check
from submodel.data.cross import CrossDataset, CrossManifest
from submodel.data.dataset import Dataset
from submodel.data.manifest import MANIFEST_FILE, DatasetError, Request, shards_folder
from submodel.data.storage.checksum import CROSS, dataset_name, seal
from submodel.generate.cross import CrossRuns, grow
from submodel.generate.loads import choose_loads

ALONE = MPI.COMM_SELF
NEWMARK = {"discretization": {"element": "p1", "stepper": "newmark"}}
GLL2 = {"discretization": {"element": "gll", "degree": 2, "stepper": "explicit"}, "time": {"final": 0.55, "levels": 61}}
NO_MAPS: dict[str, Any] = {"symmetry": {"maps": []}}


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in [path, *sorted(shards_folder(path).iterdir())]}


def shards(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(shards_folder(path).glob("*.h5"))}


def mismatch(path: Path) -> float:
    """Difference between direct runs and reciprocal ones at their places, relative."""
    with CrossDataset.open(path) as data:
        nodes, shares = SourceMesh(**data.source_mesh).rows(data.places)
        found = np.einsum("nv,nvlk->nlk", shares, data.reciprocal[nodes])
        return relative_l2(found, data.direct[:, data.loads])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cross data 4 + 6; not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "data.h5"
    report = grow(toy_case(), path, 4, 6, ALONE)
    assert (report.num_made, report.num_kept) == (10, 0)
    return path


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(shards_folder(whole), shards_folder(tmp_path / whole.name))
    return Path(shutil.copy(whole, tmp_path))


@pytest.mark.parametrize("changes", [{}, NO_MAPS, NEWMARK, GLL2])
def test_direct_and_reciprocal_runs_agree(tmp_path: Path, changes: dict[str, Any]) -> None:
    grow(Case.from_dict(toy_data() | changes), tmp_path / "data.h5", 3, 4, ALONE)
    assert mismatch(tmp_path / "data.h5") < 1e-7  # float32


def test_one_run_serves_the_loads_of_its_orbit(whole: Path) -> None:
    with CrossDataset.open(whole) as data:
        assert data.manifest.symmetries == ["identity", "transpose", "antitranspose", "rotate-180"]
        assert len(data.loads) > len(data.manifest.loads) == 6
        assert len(np.unique(data.loads)) == len(data.loads) == data.loads_of_runs[-1]
        inside = data.places[:, 0] >= abs(data.places[:, 1])
        assert inside.all()  # of the sector that stands for all
        assert data.direct.dtype == data.reciprocal.dtype == np.complex64


def test_growth_leaves_what_is_there(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    grow(toy_case(), path, 2, 3, ALONE)
    first = shards(path)
    report = grow(toy_case(), path, 4, 6, ALONE)
    assert (report.num_made, report.num_kept) == (5, 5)
    grown, at_once = shards(path), shards(whole)
    assert first.items() <= grown.items()
    common = grown.keys() & at_once.keys()
    assert len(common) >= 7 and all(grown[name] == at_once[name] for name in common)
    assert grow(toy_case(), path, 1, 2, ALONE).num_made == 0
    with CrossDataset.open(path) as data:
        assert (len(data.places), len(data.manifest.loads)) == (4, 6)
    assert mismatch(path) < 1e-7


KILLED = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from mpi4py import MPI
from test_submodel_dataset import toy_case
from solvers.problems.full import FullModel
from solvers.problems.reciprocal import ReciprocalModel
from submodel.generate.cross import grow

def die(done, total):
    if done == {{number}}:
        os.kill(os.getpid(), signal.SIGKILL)

FullModel.batch_size = ReciprocalModel.batch_size = lambda self, **options: 1  # so that some are done before the end
grow(toy_case(), "{{path}}", 4, 6, MPI.COMM_SELF, progress=die)
"""


@pytest.mark.parametrize("number", [2, 7])
def test_killed_and_started_again_it_equals_an_uninterrupted_generation(
    whole: Path, tmp_path: Path, number: int
) -> None:
    path = tmp_path / "data.h5"
    killed = subprocess.run([sys.executable, "-c", KILLED.format(path=path, number=number)])
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert grow(toy_case(), path, 4, 6, ALONE).num_kept == number
    assert content(path) == content(whole)


def test_what_is_damaged_is_told_and_redone(copied: Path, whole: Path) -> None:
    assert list(check(copied).lines()) == [f"{copied}: 4 direct, 6 reciprocal runs, all whole, finite and different"]
    run = sorted(shards_folder(copied).glob("reciprocal-*.h5"))[0]
    flip(run, 3000)
    assert [(each.where, each.kind) for each in check(copied).findings] == [(run.stem, "damaged")]
    with CrossDataset.open(copied) as data, pytest.raises(DatasetError, match=f"{run.stem} is damaged"):
        _ = data.reciprocal
    assert grow(toy_case(), copied, 4, 6, ALONE).num_made == 1
    assert content(copied) == content(whole)


def test_other_arguments_and_kinds_are_refused(copied: Path) -> None:
    with pytest.raises(DatasetError, match="was begun with --seed 42, you asked for --seed 7"):
        grow(toy_case(), copied, 4, 6, ALONE, request=Request(seed=7))
    with pytest.raises(DatasetError, match="was begun with the symmetries"):
        grow(Case.from_dict(toy_data() | NO_MAPS), copied, 4, 6, ALONE)
    with pytest.raises(DatasetError, match="holds cross runs, of which a wave table is made"):
        Dataset.open(copied)
    with pytest.raises(CaseError, match=r"--cross 4\+11: there are 10 reciprocal runs .*: ask for 10 at most"):
        grow(toy_case(), copied, 4, 11, ALONE)
    with pytest.raises(CaseError, match=r"--cross 0\+3: give at least one direct and one reciprocal run"):
        grow(toy_case(), copied, 0, 3, ALONE)


def test_a_file_of_an_older_make_is_refused(copied: Path) -> None:
    with h5py.File(copied, "a") as file:
        del file.attrs["made_up"]
    content = np.fromfile(copied, np.uint8)
    with open(copied, "r+b") as file:
        seal(file, content, dataset_name(CROSS))
    with pytest.raises(DatasetError, match=r"data\.h5 cannot be used: it does not say made_up, another submodel made"):
        CrossDataset.open(copied)
    plan = shards_folder(copied) / MANIFEST_FILE
    plan.write_text(plan.read_text().replace('"made_up": [], ', ""))
    with pytest.raises(DatasetError, match=r"is damaged or of another submodel \(.*'made_up'\): delete it if"):
        grow(toy_case(), copied, 4, 6, ALONE)
    plan.unlink()
    with pytest.raises(DatasetError, match=r"is in the way: .* it does not say made_up, .*or choose another -o"):
        grow(toy_case(), copied, 4, 6, ALONE)


def test_a_manifest_survives_json_and_keeps_its_key_as_it_grows() -> None:
    manifest = CrossManifest("{}", 1, 1, "0", 7, ["identity"], [[[0, 0]], [[1, 0]]], [[0.5, 0.5]], [3], [[0.1, 0.2, 3]])
    assert CrossManifest.from_json(manifest.to_json()) == manifest
    assert manifest.with_loads([1]).key == manifest.key
    assert manifest.loads_of(3) == [3]


def test_loads_are_those_of_a_pivoted_qr() -> None:
    import scipy.linalg

    rng = np.random.default_rng(0)
    direct = rng.standard_normal((3, 12, 4)) + 1j * rng.standard_normal((3, 12, 4))
    direct[:, 5] = 0.5 * direct[:, 3]  # tells nothing new
    parts = np.concatenate([part.transpose(0, 2, 1).reshape(-1, 12) for part in (direct.real, direct.imag)])
    pivots = scipy.linalg.qr(parts, pivoting=True)[2].tolist()
    alone = [[load] for load in range(12)]
    chosen = choose_loads(direct, alone, [], 11)
    assert chosen == pivots[:11] and 5 not in chosen
    assert chosen[:3] + choose_loads(direct, alone, chosen[:3], 4) == chosen[:7]
    with pytest.raises(ValueError, match="there are 12 reciprocal runs, 3 of them are made: ask for 12 at most"):
        choose_loads(direct, alone, chosen[:3], 10)


def test_made_up_runs_obey_the_map_of_real_ones(tmp_path: Path, whole: Path) -> None:
    """A map learnt from made-up runs alone predicts the loads of real runs that were not run from."""
    data_of_case = toy_data() | NO_MAPS | {"time": {"final": 3.0, "levels": 61}}
    runs = CrossRuns(Case.from_dict(data_of_case), tmp_path / "data.h5", comm=ALONE)
    runs.grow(3, 20, 10)
    few = shards(tmp_path / "data.h5")
    assert runs.grow(3, 20, 80).num_made == 70
    runs.close()
    assert few.items() <= shards(tmp_path / "data.h5").items()
    assert check(tmp_path / "data.h5").ok
    with CrossDataset.open(tmp_path / "data.h5") as data:
        assert "80 made-up" in data.describe()["runs"]
        rest = np.setdiff1d(np.arange(32), data.loads)
        size = np.repeat([np.linalg.norm(data.direct[:, half]) for half in (slice(16), slice(16, 32))], 16)
        real, made_up = (each.astype(complex) / size[:, None] for each in (data.direct, data.made_up))
        missed = total = 0.0
        for k in range(1, real.shape[2]):
            left, sizes, right = np.linalg.svd(made_up[:, data.loads, k], full_matrices=False)
            damped = sizes / (sizes**2 + 1e-7 * sizes[0] ** 2)
            maps = right.conj().T @ (damped[:, None] * (left.conj().T @ made_up[:, rest, k]))
            missed += float(np.linalg.norm(real[:, data.loads, k] @ maps - real[:, rest, k]) ** 2)
            total += float(np.linalg.norm(real[:, rest, k]) ** 2)
        assert np.sqrt(missed / total) < 0.25  # of nothing at all: 1
    with CrossDataset.open(whole) as data:
        assert len(data.made_up) == 0


def test_the_command_says_what_it_needs_and_what_frequencies_cost(tmp_path: Path) -> None:
    case, path = toy(tmp_path), tmp_path / "x.h5"
    text = done("generate", case, "-o", path, "--cross", "2+3")
    assert "2 direct and 3 of 10 reciprocal runs of 50 levels: 15 frequencies" in text
    assert "15 frequencies leave" in text and f"{path}: 5 runs made" in text
    assert "2 direct, 3 reciprocal" in done("info", path)
    assert "0 runs made, 5 were there" in done("generate", case, "-o", path, "--cross", "2+3")
    for bad in ("3", "10+0", "0+3", "a+b", "1+2+3", "-1+3"):
        refused(submodel("generate", case, "-o", path, f"--cross={bad}"), "such as --cross 10+30")
    for option in (["--test", "3"], ["--train", "3"], ["--calibration", "1"], ["--reciprocal"], ["--no-fields"]):
        refused(submodel("generate", case, "-o", path, "--cross", "2+3", *option), option[0], "leave")
    refused(submodel("generate", case, "-o", path, "--cross", "2+3", "--precision", "single"), "leave --precision out")
    refused(submodel("generate", case, "-o", path, "--made-up", "5"), "--made-up goes with --cross")
    refused(submodel("generate", case, "-o", path, "--cross", "2+3", "--made-up", "0"), "1 or more, or leave it out")
    assert "2 runs made, 5 were there" in done("generate", case, "-o", path, "--cross", "2+3", "--made-up", "2")


# Under mpirun: on any number of ranks.


@pytest.mark.mpi
def test_the_bytes_do_not_depend_on_the_ranks(comm: MPI.Comm, shared_path: Path) -> None:
    together, alone = shared_path / "together.h5", shared_path / "alone.h5"
    for path, each in ((together, comm), (alone, ALONE)):
        if each is comm or comm.rank == 0:
            runs = CrossRuns(toy_case(), path, comm=each)
            runs.grow(4, 6, 9)
            runs.close()
    if comm.rank == 0:
        assert shards(together) == shards(alone)
    comm.barrier()


@pytest.mark.mpi
def test_all_ranks_may_share_each_run(comm: MPI.Comm, shared_path: Path) -> None:
    runs = CrossRuns(toy_case(), shared_path / "all.h5", Request(ranks_per_sample=comm.size), comm=comm)
    runs.grow(2, 3)
    runs.grow(4, 6)
    runs.grow(4, 6, 5)
    runs.close()
    if comm.rank == 0:
        grow(toy_case(), shared_path / "one.h5", 2, 3, ALONE)
        grow(toy_case(), shared_path / "one.h5", 4, 6, ALONE)
        with CrossDataset.open(shared_path / "one.h5") as one, CrossDataset.open(shared_path / "all.h5") as together:
            assert np.array_equal(one.loads, together.loads)
            assert np.array_equal(one.source_mesh["cells"], together.source_mesh["cells"])
            assert relative_l2(together.reciprocal, one.reciprocal) < 1e-6  # type: ignore[arg-type]
            assert relative_l2(together.direct, one.direct) < 1e-6  # type: ignore[arg-type]
        assert mismatch(shared_path / "all.h5") < 1e-7
    comm.barrier()
