"""Reciprocal datasets: the responses are those of direct runs, kept run by run, and the same however they were made."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from roof_problems import done, submodel, toy
from solver_problems import relative_l2
from test_submodel_case import changed
from test_submodel_dataset import flip, toy_case, toy_data, write_dataset

from submodel.case.case import Case, CaseError
from submodel.case.sampling import sample
from submodel.data.check import check
from submodel.data.dataset import Dataset, ReciprocalDataset
from submodel.data.kinds import ReciprocalManifest
from submodel.data.manifest import MANIFEST_FILE, DatasetError, Request, shards_folder
from submodel.generate import reciprocal as module
from submodel.generate.generate import GenerationError, GenerationReport, generate
from submodel.generate.reciprocal import ReciprocalProduction
from submodel.geometry.symmetry import find
from submodel.solve import from_case as build

ALONE = MPI.COMM_SELF
NUM = 5
RUNS = 10  # 16 nodes of Γ, of which 5 stand for all under 4 maps; two fields


def run(
    path: Path, case: Case | None = None, *, comm: MPI.Comm = ALONE, announce: Any = None, **arguments: Any
) -> GenerationReport:
    request = Request(**{"train": NUM} | arguments)
    return generate(case or toy_case(), path, request, kind=ReciprocalProduction, comm=comm, announce=announce)


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in [path, *sorted(shards_folder(path).iterdir())]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of an uninterrupted run; not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "data.h5"
    assert (run(path).num_made, run(path).num_kept) == (RUNS, RUNS)
    return path


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(shards_folder(whole), shards_folder(tmp_path / whole.name))
    return Path(shutil.copy(whole, tmp_path))


@pytest.mark.parametrize("maps", ["auto", [], ["transpose"]])
def test_responses_are_those_of_runs_from_the_sources(tmp_path: Path, maps: Any) -> None:
    data = toy_data() | {"symmetry": {"maps": maps}}
    case = Case.from_dict(data)
    run(tmp_path / "data.h5", case)
    model, num, dt = build.full_model(case, ALONE), case.time.levels, case.time.dt
    with ReciprocalDataset.open(tmp_path / "data.h5") as dataset:
        assert len(dataset.manifest.orbits) == {"auto": 5, "[]": 16, "['transpose']": 9}[str(maps)]
        assert np.array_equal(dataset.sources, sample(case, NUM, case.parameters.seed, "train")[:, 1:])
        assert np.array_equal(dataset.times, case.time.times)
        assert np.array_equal(dataset.gamma.points, model.gamma.points)
        responses = dataset.responses()
        assert [r.shape for r in responses] == [(NUM, num, 16)] * 2
        assert all(r.dtype == np.float32 and r.flags.c_contiguous for r in responses)
        for part, all_ in zip(dataset.responses(slice(1, 3)), responses, strict=True):
            assert np.array_equal(part, all_[1:3])
        for index, (x, y) in enumerate(dataset.manifest.sources):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                direct = model.run(build.point_source(case, (5.0, x, y)), fields=False)
            assert direct is not None
            samples = np.sin(5.0 * dt * np.arange(num))
            for g, truth in zip(responses, (direct.trace.displacement, direct.trace.load), strict=True):
                assert truth is not None
                mine = np.stack([np.convolve(g[index, :, node], samples)[:num] for node in range(16)], axis=1)
                assert relative_l2(mine, truth) < 3e-7  # float32


def test_the_symmetries_are_those_of_the_mesh(whole: Path) -> None:
    with ReciprocalDataset.open(whole) as dataset:
        names = [symmetry.name for symmetry in find(dataset.gamma, dataset.medium, dataset.manifest.symmetries[1:])]
        assert names == dataset.manifest.symmetries == ["identity", "transpose", "antitranspose", "rotate-180"]
        assert dataset.medium.uniform == 1.0
        dataset.require_case(toy_case())
        with pytest.raises(CaseError, match="was generated for another case"):
            dataset.require_case(Case.from_dict(changed("medium.speed", 2.0)))
        facts = dataset.describe()
        assert facts["runs"] == "10, two for each of 5 nodes of the zone's boundary"


@pytest.mark.parametrize(
    ("spoil", "num_made"),
    [
        (lambda path, folder: flip(folder / "load-0001.h5", 3000), 1),
        (lambda path, folder: (folder / "displacement-0000.h5").unlink(), 1),
        (lambda path, folder: shutil.rmtree(folder), RUNS),
        (lambda path, folder: path.unlink(), 0),
        (lambda path, folder: flip(path, 9000), 0),
        (lambda path, folder: (folder / MANIFEST_FILE).unlink(), 0),
    ],
)
def test_what_is_missing_or_damaged_is_redone(copied: Path, whole: Path, spoil: Any, num_made: int) -> None:
    spoil(copied, shards_folder(copied))
    generated = run(copied)
    assert (generated.num_made, generated.num_kept) == (num_made, RUNS - num_made)
    assert content(copied) == content(whole)


KILLED = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from mpi4py import MPI
from test_submodel_dataset import toy_case
from submodel.data.manifest import Request
from submodel.generate.generate import generate
from submodel.generate.reciprocal import ReciprocalProduction
from submodel.geometry.symmetry import find

def die(done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

from solvers.problems.reciprocal import ReciprocalModel
ReciprocalModel.batch_size = lambda self: 1  # so that some are done before the end
request = Request(train={NUM})
generate(toy_case(), "{{path}}", request, kind=ReciprocalProduction, comm=MPI.COMM_SELF, progress=die)
"""


def test_killed_and_started_again_it_equals_an_uninterrupted_generation(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    killed = subprocess.run([sys.executable, "-c", KILLED.format(path=path)])
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert run(path).num_kept == 3
    assert content(path) == content(whole)


def test_a_run_that_fails_loses_no_other(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.ReciprocalModel.responses

    def fail(self: Any, wanted: Any) -> Any:
        if any(quantity == "load" for quantity, _ in wanted):
            raise FloatingPointError("it diverged")
        return real(self, wanted)

    monkeypatch.setattr(module.ReciprocalModel, "responses", fail)
    with pytest.raises(GenerationError, match="load-0000 could not be made: it diverged; the runs made so far are kep"):
        run(tmp_path / "data.h5")
    monkeypatch.setattr(module.ReciprocalModel, "responses", real)
    assert run(tmp_path / "data.h5").num_kept == RUNS // 2
    assert content(tmp_path / "data.h5") == content(whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 6}, "was begun with --train 5, you asked for --train 6"),
        ({"seed": 7}, "was begun with --seed 42, you asked for --seed 7"),
    ],
)
def test_other_arguments_are_refused(copied: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        run(copied, **arguments)


def test_another_case_or_other_symmetries_are_refused(copied: Path) -> None:
    data = toy_data()
    with pytest.raises(DatasetError, match=r"a case with medium\.speed = 1\.0, yours has 0\.5"):
        run(copied, Case.from_dict(data | {"medium": {"speed": 0.5}}))
    with pytest.raises(
        DatasetError, match=r"was begun with the symmetries \['identity', 'tr.*, yours are \['identity'\]"
    ):
        run(copied, Case.from_dict(data | {"symmetry": {"maps": []}}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 0}, "--train is 0: give the number of sources, 1 or more"),
        ({"seed": -1}, "--seed is -1: give a whole number, 0 or more"),
        ({"ranks_per_sample": 2}, "--ranks-per-sample 2 does not divide the 1 ranks"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "data.h5", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_false_symmetry_is_refused(tmp_path: Path) -> None:
    data = toy_data() | {"symmetry": {"maps": ["mirror-x"]}}
    data["zone"] = {"lower": [-0.25, -0.25], "upper": [0.25, 0.25]}
    counts = run(tmp_path / "a.h5", Case.from_dict(data)).manifest.counts()
    assert counts["load"] == 16  # true, but the triangles lack it
    data["zone"]["upper"] = [0.125, 0.25]
    with pytest.raises(CaseError, match="the zone's boundary has no node at the image"):
        run(tmp_path / "b.h5", Case.from_dict(data))


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))  # type: ignore[attr-defined]
    with pytest.raises(DatasetError, match=r"10 runs need 0\.0 GB .* or ask for fewer sources with --train"):
        run(tmp_path / "data.h5")


def test_a_manifest_survives_json() -> None:
    manifest = ReciprocalManifest("{}", 1, 1, "0", [[0.5, 0.5]], ["identity"], [[[0, 0]], [[1, 0]]])
    assert ReciprocalManifest.from_json(manifest.to_json()) == manifest
    assert manifest.key == ReciprocalManifest.from_json(manifest.to_json()).key
    with pytest.raises(ValueError, match="not the manifest of a dataset of runs"):
        ReciprocalManifest.from_json("{}")


def test_kinds_of_datasets_are_not_mistaken(whole: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "samples.h5")
    with pytest.raises(DatasetError, match="holds reciprocal runs, which can only be trained on"):
        Dataset.open(whole)
    with pytest.raises(DatasetError, match=r"samples\.h5 holds samples: name a dataset made with .* --reciprocal"):
        ReciprocalDataset.open(tmp_path / "samples.h5")
    with pytest.raises(DatasetError, match="exists and is in the way"):
        run(tmp_path / "samples.h5")
    with pytest.raises(DatasetError, match=r"none\.h5 does not exist: make it with"):
        ReciprocalDataset.open(tmp_path / "none.h5")


def test_runs_that_are_gone_or_damaged_are_told_on_reading(copied: Path) -> None:
    flip(shards_folder(copied) / "load-0002.h5", 3000)
    damaged = pytest.raises(DatasetError, match="load-0002 is damaged: it does not match its checksum; run the same")
    with ReciprocalDataset.open(copied) as dataset, damaged:
        dataset.responses()
    (shards_folder(copied) / "load-0002.h5").unlink()
    with pytest.raises(DatasetError, match=r"lacks 1 of its runs, first data\.shards/load-0002\.h5: put the folder"):
        ReciprocalDataset.open(copied)
    flip(copied, 9000)
    with pytest.raises(DatasetError, match="is damaged: it does not match its checksum"):
        ReciprocalDataset.open(copied)


def test_check_knows_reciprocal_datasets(copied: Path) -> None:
    assert list(check(copied).lines()) == [f"{copied}: 5 displacement, 5 load runs, all whole, finite and different"]
    flip(shards_folder(copied) / "load-0002.h5", 3000)
    (shards_folder(copied) / "displacement-0001.h5").unlink()
    found = {finding.where: finding.kind for finding in check(copied).findings}
    assert found == {"displacement-0001": "missing", "load-0002": "damaged"}
    copied.unlink()
    report = check(copied)
    assert "the generation is unfinished" in next(report.lines())
    assert report.unit == "runs"
    assert len(report.findings) == 3
    run(copied)
    flip(copied, 9000)
    assert [finding.kind for finding in check(copied).findings] == ["file"]


def test_the_command_says_what_it_needs_and_covers(tmp_path: Path) -> None:
    case, path = toy(tmp_path), tmp_path / "r.h5"
    said = done("generate", case, "-o", path, "--reciprocal", "--train", "3")
    assert "10 runs, two for each of 5 nodes of the zone's boundary, which stand for all 16 under 4 symmetries" in said
    assert (
        "they cover every source in [0.45, 0.45] to [0.85, 0.85] m, kept at 3 places, and every signal (0 MB)" in said
    )
    assert f"{path}: 10 runs made" in said
    assert "0 runs made, 10 were there" in done("generate", case, "-o", path, "--reciprocal", "--train", "3")
    assert json.loads(done("check", path, "--json"))["num_samples"] == {"displacement": 5, "load": 5}
    refused = submodel("generate", case, "-o", path, "--reciprocal", "--test", "3")
    assert refused.status == 2
    assert "--test and --calibration do not go with --reciprocal" in refused.text
    refused = submodel("generate", case, "-o", path, "--reciprocal", "--precision", "single")
    assert refused.status == 2 and "makes its runs in double precision: leave --precision out" in refused.text


# Under mpirun: on any number of ranks.


@pytest.mark.mpi
def test_the_bytes_do_not_depend_on_the_ranks(comm: MPI.Comm, shared_path: Path) -> None:
    together, alone = shared_path / "together", shared_path / "alone"
    if comm.rank == 0:
        together.mkdir()
        alone.mkdir()
    comm.barrier()
    told: list[str] = []
    assert run(together / "data.h5", comm=comm, announce=told.append).num_made == RUNS
    assert len(told) == (comm.rank == 0)
    if comm.rank == 0:
        run(alone / "data.h5")
        assert content(together / "data.h5") == content(alone / "data.h5")
    comm.barrier()


@pytest.mark.mpi
def test_all_ranks_may_share_each_run(comm: MPI.Comm, shared_path: Path) -> None:
    run(shared_path / "one.h5", comm=comm)
    run(shared_path / "all.h5", comm=comm, ranks_per_sample=comm.size)
    if comm.rank == 0:
        with ReciprocalDataset.open(shared_path / "one.h5") as one, ReciprocalDataset.open(shared_path / "all.h5") as a:
            for first, second in zip(one.responses(), a.responses(), strict=True):
                assert abs(first - second).max() <= 1e-6 * abs(first).max()
    comm.barrier()
