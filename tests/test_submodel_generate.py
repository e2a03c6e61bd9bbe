"""Generation: the same bytes however it was run, whatever killed it; and no word is lost when a rank fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from roof_problems import done, submodel, toy
from test_submodel_dataset import NUM, flip, toy_case, toy_data

from submodel.case.case import Case, CaseError
from submodel.case.sampling import SPLITS
from submodel.case.sections import Time
from submodel.data import hdf5
from submodel.data.dataset import Dataset, reader_of
from submodel.data.kinds import SampleManifest
from submodel.data.manifest import MANIFEST_FILE, DatasetError, Request, Task, shards_folder
from submodel.data.shards import ShardWriter
from submodel.data.storage.whole import WriteError
from submodel.generate.generate import GenerationError, GenerationReport, generate
from submodel.generate.production import Production
from submodel.generate.reciprocal import ReciprocalProduction
from submodel.generate.samples import SampleProduction
from submodel.solve import from_case as build
from submodel.solve import task_farm as farm

ALONE = MPI.COMM_SELF
GENERATE = f"""
import os, resource, signal, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from mpi4py import MPI
from test_submodel_dataset import toy_case
from solvers.problems.full import FullModel
from submodel.generate.generate import generate

FullModel.batch_size = lambda *_, **__: {{size}}  # several batches, so that some are done before the end

def tell(done, total):
    print(done, flush=True)
    time.sleep(0.2 * (done > 0))  # for the kill to come before the end

def die(done, total):
    if done == 0:
        rename, count = os.replace, iter(range(1, 100))

        def replace(*names):
            if next(count) == {{last}}:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*names)

        os.replace = replace

def fill(done, total):
    if done == 2:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

generate(toy_case(), "{{path}}", comm=MPI.COMM_SELF, progress={{then}})
"""
TOTAL = sum(NUM.values())


def script(path: Path, then: str, *, last: int = 0, size: int = 1) -> str:
    """A generation in batches of a size."""
    return GENERATE.format(path=path, then=then, last=last, size=size)


def content(path: Path) -> dict[str, bytes]:
    """Every byte of a dataset, by file."""
    files = [path, *sorted(shards_folder(path).iterdir())]
    return {file.name: file.read_bytes() for file in files}


def run(path: Path, progress: Any = None, **arguments: Any) -> GenerationReport:
    return generate(toy_case(), path, Request(**arguments), comm=ALONE, progress=progress)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of an uninterrupted run; not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "data.h5"
    done = run(path)
    assert (done.num_made, done.num_kept) == (TOTAL, 0)
    return path


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy of that dataset, to be damaged."""
    shutil.copytree(shards_folder(whole), shards_folder(tmp_path / whole.name))
    return Path(shutil.copy(whole, tmp_path))


def test_the_samples_are_runs_of_the_full_model(whole: Path) -> None:
    case = toy_case()
    model = build.full_model(case, ALONE)
    with Dataset.open(whole) as dataset:
        assert np.array_equal(dataset.times, case.time.times)
        assert np.array_equal(dataset.gamma.points, model.gamma.points)
        assert np.array_equal(dataset.zone_points, model.zone_points)
        omega, x, y = dataset.parameters("test")[1]
        full = model.run(build.point_source(case, (omega, x, y)))
        assert full is not None
        trace = dataset.trace("test", 1)
        assert np.array_equal(trace["load"], np.float32(full.trace.load))
        assert np.array_equal(trace["velocity"], np.float32(full.trace.velocity))
        displacement, velocity = dataset.zone_fields("test", 1)
        assert np.array_equal(displacement, np.float32(full.displacement))
        assert full.displacement is not None and full.velocity is not None
        largest = np.abs(full.displacement).max() / case.time.dt  # two roundings to float32 over two steps
        assert np.abs(velocity - full.velocity).max() < 2.0**-23 * largest
        assert abs(displacement).max() > 0


def test_the_same_arguments_give_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    time.sleep(1.1)  # HDF5 keeps times to the second, if it does
    run(tmp_path / "data.h5")
    assert content(tmp_path / "data.h5") == content(whole)


def test_a_finished_dataset_is_left_alone(copied: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in shards_folder(copied).glob("*.h5")}
    done = run(copied)
    assert (done.num_made, done.num_kept) == (0, TOTAL)
    assert before == {path: path.stat().st_mtime_ns for path in shards_folder(copied).glob("*.h5")}


@pytest.mark.parametrize(
    ("spoil", "num_made"),
    [
        (lambda path, folder: flip(folder / "train-0001.h5", 3000), 1),
        (lambda path, folder: (folder / "test-0001.h5").write_bytes(b""), 1),
        (lambda path, folder: (folder / "test-0000.h5").unlink(), 1),
        (lambda path, folder: shutil.rmtree(folder), TOTAL),
        (lambda path, folder: path.unlink(), 0),
        (lambda path, folder: path.write_bytes(b""), 0),
        (lambda path, folder: flip(path, 9000), 0),
        (lambda path, folder: (folder / MANIFEST_FILE).unlink(), 0),
        (lambda path, folder: (folder / "train-0000.h5.4194305.part").write_bytes(b"begun"), 0),
        (lambda path, folder: path.with_name(path.name + ".4194305.part").write_bytes(b"begun"), 0),
    ],
    ids=[
        "damaged",
        "emptied",
        "missing",
        "no folder",
        "no file",
        "file damaged",
        "signature",
        "no plan",
        "part",
        "both",
    ],
)
def test_what_is_missing_or_damaged_is_redone(
    whole: Path, copied: Path, spoil: Callable[[Path, Path], Any], num_made: int
) -> None:
    spoil(copied, shards_folder(copied))
    done = run(copied)
    assert (done.num_made, done.num_kept) == (num_made, TOTAL - num_made)
    assert content(copied) == content(whole)
    assert sorted(path.name for path in copied.parent.iterdir()) == ["data.h5", "data.shards"]


def test_killed_and_started_again_it_equals_an_uninterrupted_run(whole: Path, tmp_path: Path) -> None:
    """SIGKILL at whatever it is doing, once after the first sample and once later, in a process of its own."""
    path = tmp_path / "data.h5"
    for wanted in (1, 2):
        with subprocess.Popen(
            [sys.executable, "-c", script(path, "tell")], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) == wanted:
                    process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not path.exists()
        with pytest.raises(DatasetError, match="is unfinished: run the same"):
            Dataset.open(path)
    done = run(path)
    assert done.num_kept >= 3
    assert content(path) == content(whole)


@pytest.mark.parametrize("last", [1, 3, TOTAL + 1])
def test_killed_with_a_file_written_but_not_named(whole: Path, tmp_path: Path, last: int) -> None:
    """SIGKILL just before a rename: that of the first sample, of the third, of the joining file."""
    path = tmp_path / "data.h5"
    code = script(path, "die", last=last, size=4)
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -signal.SIGKILL
    assert len(list(tmp_path.rglob("*.part"))) == 1
    assert run(path).num_kept == last - 1
    assert content(path) == content(whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 7}, "was begun with --seed 42, you asked for --seed 7: choose another -o, or delete"),
        ({"train": 4}, "was begun with --train 3, you asked for --train 4"),
        ({"test": 0}, "was begun with --test 2, you asked for --test 0"),
        ({"fields": False}, "was begun with fields in the zone, you asked for one with --no-fields"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_arguments_are_refused(copied: Path, arguments: dict[str, Any], message: str, finished: bool) -> None:
    if not finished:
        copied.unlink()
    with pytest.raises(DatasetError, match=message):
        run(copied, **arguments)


def test_another_case_is_refused_but_other_training_is_not(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = toy_case().to_json()
    with pytest.raises(DatasetError, match=r"was begun from a case with medium\.speed = 1\.0, yours has 0\.5"):
        generate(Case.from_json(text.replace('"speed":1.0', '"speed":0.5')), copied, comm=ALONE)
    retrained = Case.from_json(text.replace('"model":"operator"', '"model":"conv3d"'))
    assert retrained != toy_case()
    assert generate(retrained, copied, comm=ALONE).num_made == 0
    monkeypatch.setattr("submodel.data.kinds.__version__", "9.0")
    with pytest.raises(DatasetError, match=r"was begun by submodel 0\.1\.0, this is 9\.0"):
        run(copied)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": -1}, "--train is -1: give a number of samples, 0 or more"),
        (
            {"train": 0, "test": 0, "calibration": 0},
            "--train, --test and --calibration are all 0: ask for one sample at least",
        ),
        ({"seed": -1}, "--seed is -1: give a whole number, 0 or more"),
        ({"ranks_per_sample": 2}, "--ranks-per-sample 2 does not divide the 1 ranks: start mpirun -n with a multiple"),
        ({"ranks_per_sample": 0}, "--ranks-per-sample 0 does not divide"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "data.h5", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_taken_is_refused(tmp_path: Path, copied: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no folder .*nowhere: create it"):
        run(tmp_path / "nowhere" / "data.h5")
    with pytest.raises(DatasetError, match=r"would be taken for the folder of its samples"):
        run(tmp_path / "odd.shards")
    with pytest.raises(DatasetError, match="is a folder: name a file"):
        run(tmp_path)
    with pytest.raises(CaseError, match=r"cannot write .*aaa\.h5 \(File name too long\): choose another place"):
        run(tmp_path / ("a" * 252 + ".h5"))
    (tmp_path / "text.h5").write_text("mine")
    with pytest.raises(DatasetError, match=r"text\.h5 exists and is in the way: .*; or choose another -o"):
        run(tmp_path / "text.h5")
    assert (tmp_path / "text.h5").read_text() == "mine"
    shards_folder(tmp_path / "a.h5").mkdir()
    (shards_folder(tmp_path / "a.h5") / "mine").write_text("mine")
    with pytest.raises(DatasetError, match="exists and holds no plan of a dataset"):
        run(tmp_path / "a.h5")
    (shards_folder(copied) / MANIFEST_FILE).write_text("{}")
    with pytest.raises(DatasetError, match=r"plan\.json is damaged .*: delete it if"):
        run(copied)
    shards_folder(tmp_path / "b.h5").write_text("a file")
    with pytest.raises(DatasetError, match=r"cannot write .*b\.shards .*: choose another -o"):
        run(tmp_path / "b.h5")


def test_two_generations_at_one_place_do_no_harm(whole: Path, tmp_path: Path) -> None:
    """As when ranks outlive their mpirun, and the same command is started again."""
    path = tmp_path / "data.h5"
    with subprocess.Popen([sys.executable, "-c", script(path, "tell")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert run(path).num_made >= 1
        process.communicate()
    assert process.returncode == 0
    assert content(path) == content(whole)


def test_two_plans_at_one_place_are_refused(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied.unlink()
    plan = shards_folder(copied) / MANIFEST_FILE
    aside = plan.rename(copied.parent / "plan")
    real_link = os.link
    for sample in shards_folder(copied).iterdir():
        sample.unlink()
    monkeypatch.setattr(os, "link", lambda source, target: (shutil.copy(aside, plan), real_link(source, target)))
    with pytest.raises(DatasetError, match="another generation has just begun in .*: start this one again"):
        run(copied, seed=7)
    assert plan.read_text() == aside.read_text()
    assert not list(copied.parent.rglob("*.part"))


def test_a_plan_is_written_where_there_are_no_links(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    run(tmp_path / "data.h5")
    assert content(tmp_path / "data.h5") == content(whole)


def test_only_the_dead_are_cleared_away(copied: Path) -> None:
    mine, dead = (shards_folder(copied) / f"train-0000.h5.{number}.part" for number in (os.getpid(), 2**22 + 1))
    for part in (mine, dead):
        part.write_bytes(b"begun")
    run(copied)
    assert mine.exists()
    assert not dead.exists()


def test_a_disk_that_is_too_small_is_refused_before_any_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))  # type: ignore[attr-defined]
    with pytest.raises(DatasetError, match=r"6 samples need 0\.0 GB in .*, which has 0\.0 GB left: make room"):
        run(tmp_path / "data.h5")
    assert not list(tmp_path.rglob("train*"))


def test_a_disk_that_fills_up_loses_nothing(whole: Path, tmp_path: Path) -> None:
    """A limit on the size of a file stands for a full disk: both are an OSError in the middle of writing."""
    path = tmp_path / "data.h5"
    told = subprocess.run([sys.executable, "-c", script(path, "fill", size=2)], capture_output=True, text=True)
    assert "GenerationError: train-0002 (omega " in told.stderr
    assert "the samples made so far are kept, and the same command goes on from them" in told.stderr
    assert not path.exists()
    assert run(path).num_kept == 2
    assert content(path) == content(whole)


def test_progress_counts_what_is_to_do(copied: Path) -> None:
    told: list[tuple[int, int]] = []
    (shards_folder(copied) / "train-0001.h5").unlink()
    (shards_folder(copied) / "test-0001.h5").unlink()
    run(copied, progress=lambda *counts: told.append(counts))
    assert told == [(0, 2), (2, 2)]  # both in one batch


class Broken:
    """A full model whose runs end as they are told to; the rest is the real one's."""

    def __init__(self, model: Any, end: Callable[[Any], Any]) -> None:
        self.domain = model.domain
        self.gamma, self.zone_points = model.gamma, model.zone_points
        self._model, self._end, self.runs = model, end, model.runs

    def batch_size(self, *arguments: Any, **options: Any) -> int:
        return 2

    def run_many(self, sources: list[Any], **options: Any) -> Any:
        for source in sources:
            self._end(source)
        return self._model.run_many(sources, **options)


def test_levels_of_another_case_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build.full_model(toy_case(), ALONE)
    monkeypatch.setattr(build, "full_model", lambda case, comm: model)
    monkeypatch.setattr(Time, "times", property(lambda time: time.grid.divided(2).times))
    with pytest.raises(GenerationError, match="the levels of the run are not those of the case"):
        run(tmp_path / "data.h5")


def test_single_precision_is_kept_apart_and_close(tmp_path: Path) -> None:
    double, single = tmp_path / "double.h5", tmp_path / "single.h5"
    run(double)
    run(single, precision="single")
    with Dataset.open(double) as one, Dataset.open(single) as other:
        assert (one.manifest.precision, other.manifest.precision) == ("double", "single")
        for name, field in one.traces("train").items():
            difference = np.linalg.norm(other.traces("train")[name] - field) / np.linalg.norm(field)
            # 2^-24 in each of 12 steps; differences over dt (dt²) raise it by 1 / omega dt, 7 at most (its square)
            assert 0.0 < difference < 12 * 2.0**-24 * {"displacement": 10, "velocity": 70, "load": 490}[name]
    with pytest.raises(DatasetError, match="was begun with --precision single, you asked for --precision double"):
        run(single)
    data = toy_data()
    data["discretization"]["stepper"] = "newmark"
    with pytest.raises(ValueError, match="--precision single is for explicit steps, the case's stepper is newmark"):
        generate(Case.from_dict(data), tmp_path / "newmark.h5", Request(precision="single"), comm=ALONE)


def test_the_command_takes_a_number_for_each_split(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    said = done("generate", toy(tmp_path), "-o", path, "--train", 0, "--test", 1, "--calibration", 2, "--no-fields")
    assert "3 samples made" in said
    with Dataset.open(path) as dataset:
        assert [dataset.num_samples(split) for split in SPLITS] == [0, 1, 2]
    refused = submodel("generate", toy(tmp_path), "-o", path, "--train", 0, "--test", 1, "--calibration", 3)
    assert "was begun with --calibration 2, you asked for --calibration 3" in refused.text


KINDS: dict[str, type[Production[Any]]] = {"samples": SampleProduction, "reciprocal": ReciprocalProduction}


def small(kind: str) -> Request:
    return Request(train=2, test=None if kind == "reciprocal" else 0, calibration=None if kind == "reciprocal" else 0)


def timed(levels: int) -> Case:
    """The toy case with another number of levels; few make the time step unstable."""
    return Case.from_dict(toy_data() | {"time": {"final": 0.55, "levels": levels}})


def check_that_the_corrected_case_works(path: Path, kind: str, comm: MPI.Comm = ALONE) -> None:
    """The same command, after the case was corrected, finds nothing in its way."""
    assert not list(path.parent.iterdir())
    comm.barrier()
    case = timed(13)
    assert generate(case, path, small(kind), kind=KINDS[kind], comm=comm).num_kept == 0
    with reader_of(path).open(path) as dataset:
        assert dataset.case == case


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = tmp_path / "data.h5"
    with pytest.raises(ValueError, match="exceeds the explicit stability limit"):
        generate(timed(4), path, small(kind), kind=KINDS[kind], comm=ALONE)
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))  # type: ignore[attr-defined]
        with pytest.raises(DatasetError, match="which has 0.0 GB left"):
            generate(timed(12), path, small(kind), kind=KINDS[kind], comm=ALONE)
    check_that_the_corrected_case_works(path, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [FloatingPointError, KeyboardInterrupt])
def test_a_generation_whose_first_run_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, error: type[BaseException]
) -> None:
    path = tmp_path / "data.h5"

    def fail(*_: Any) -> Any:
        assert (shards_folder(path) / MANIFEST_FILE).exists()  # claimed
        raise error("it diverged")

    with monkeypatch.context() as broken:
        broken.setattr(KINDS[kind], "make", fail)
        with pytest.raises(GenerationError if error is FloatingPointError else error, match="it diverged"):
            generate(timed(12), path, small(kind), kind=KINDS[kind], comm=ALONE)
    check_that_the_corrected_case_works(path, kind)


def test_a_later_run_that_fails_keeps_the_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.h5"
    write = ShardWriter.write

    def fail(self: ShardWriter, task: Task, arrays: Any) -> None:
        if task.index == 1:
            raise DatasetError("the disk is gone")
        write(self, task, arrays)

    with monkeypatch.context() as broken:
        broken.setattr(ShardWriter, "write", fail)
        with pytest.raises(GenerationError, match="the disk is gone"):
            run(path)
    with pytest.raises(DatasetError, match="was begun with --seed 42, you asked for --seed 7"):
        run(path, seed=7)
    assert run(path).num_kept == 1


def test_a_joining_file_has_its_name_once_it_is_sealed(
    copied: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied.unlink()

    def fail(*_: Any) -> None:
        assert not copied.exists()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(hdf5, "seal", fail)
        with pytest.raises(WriteError, match=r"cannot write .*data\.h5 \(No space left on device\)"):
            run(copied)
    assert sorted(path.name for path in copied.parent.iterdir()) == ["data.shards"]
    run(copied)
    assert content(copied) == content(whole)


# Under mpirun: on any number of ranks.


@pytest.mark.mpi
def test_the_bytes_do_not_depend_on_the_ranks(comm: MPI.Comm, shared_path: Path) -> None:
    together, alone = shared_path / "together", shared_path / "alone"
    if comm.rank == 0:
        together.mkdir()
        alone.mkdir()
    comm.barrier()
    done = generate(toy_case(), together / "data.h5", comm=comm)
    assert (done.num_made, done.num_kept) == (TOTAL, 0)
    assert generate(toy_case(), together / "data.h5", comm=comm).num_kept == TOTAL
    if comm.rank == 0:
        run(alone / "data.h5")
        assert content(together / "data.h5") == content(alone / "data.h5")
    comm.barrier()


@pytest.mark.mpi
def test_all_ranks_may_share_each_run(comm: MPI.Comm, shared_path: Path) -> None:
    path = shared_path / "data.h5"
    told: list[int] = []
    case = toy_case()
    generate(
        case,
        path,
        Request(train=2, test=1, calibration=0, ranks_per_sample=comm.size),
        comm=comm,
        progress=lambda n, _: told.append(n),
    )
    assert told == ([0, 3] if comm.rank == 0 else [])  # one group, one batch
    model = build.full_model(case, ALONE)
    with Dataset.open(path) as dataset:
        full = model.run(build.point_source(case, dataset.parameters("train")[1]))
        assert full is not None
        read, scale = dataset.trace("train", 1)["displacement"], abs(full.trace.displacement).max()
        assert abs(read - full.trace.displacement).max() < 1e-6 * scale  # float32
    comm.barrier()
    if comm.size > 1:
        with pytest.raises(DatasetError, match=f"was begun with --ranks-per-sample {comm.size}, you asked for .* 1"):
            generate(case, path, Request(train=2, test=1, calibration=0), comm=comm)
        with pytest.raises(ValueError, match="--ranks-per-sample 5 does not divide"):
            generate(case, path, Request(ranks_per_sample=5), comm=comm)


@pytest.mark.mpi
@pytest.mark.parametrize("sample", ["train-0000", "train-0001", "test-0001"])
def test_a_run_that_fails_on_one_rank_is_told_to_all(
    comm: MPI.Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch, sample: str
) -> None:
    path = shared_path / "data.h5"
    split, index = sample.split("-")
    bad = tuple(SampleManifest.draw(toy_case(), Request()).parameters[split][int(index)][1:])

    def diverge(source: Any) -> None:
        if source.position == bad:
            raise FloatingPointError("it diverged")

    real = build.full_model
    monkeypatch.setattr(build, "full_model", lambda case, comm: Broken(real(case, comm), diverge))
    with pytest.raises(GenerationError, match=f"{sample} .* could not be made: it diverged; the samples made so far"):
        generate(toy_case(), path, comm=comm)
    monkeypatch.setattr(build, "full_model", real)
    assert not path.exists()
    done = generate(toy_case(), path, comm=comm)
    assert done.num_made >= 1
    assert done.num_made + done.num_kept == TOTAL


@pytest.mark.mpi
def test_a_model_that_one_rank_cannot_build_is_told_to_all(
    comm: MPI.Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = build.full_model

    def full_model(case: Case, group: MPI.Comm) -> Any:
        if comm.rank == comm.size - 1:
            raise ValueError("the time step is too large")
        return real(case, group)

    monkeypatch.setattr(build, "full_model", full_model)
    with pytest.raises(ValueError, match="the time step is too large"):
        generate(toy_case(), shared_path / "data.h5", comm=comm)


@pytest.mark.mpi
@pytest.mark.parametrize("num", [0, 1, 2, 3, 7, 40])
def test_every_piece_is_done_once(comm: MPI.Comm, num: int) -> None:
    mine: list[int] = []
    told: list[int] = []
    group = comm.Split(comm.rank, 0)
    failure = farm.farm(num, mine.append, comm, group, told.append)
    assert failure is None
    everyone = comm.allgather(mine)
    assert sorted(item for part in everyone for item in part) == list(range(num))
    assert sorted(told) == (list(range(num)) if comm.rank == 0 else [])
    group.Free()


@pytest.mark.mpi
def test_a_slow_rank_gets_fewer_pieces(comm: MPI.Comm) -> None:
    mine: list[int] = []
    group = comm.Split(comm.rank, 0)

    def work(item: int) -> None:
        time.sleep(0.05 if comm.rank == 0 else 0.005)
        mine.append(item)

    farm.farm(30, work, comm, group, lambda item: None)
    nums = comm.allgather(len(mine))
    assert sum(nums) == 30
    assert comm.size == 1 or nums[0] == min(nums)
    group.Free()


@pytest.mark.mpi
def test_the_root_tells_its_error_to_all(comm: MPI.Comm) -> None:
    def refuse() -> None:
        raise DatasetError("no")

    def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DatasetError, match="no"):
        farm.on_root(comm, refuse)
    with pytest.raises(OSError if comm.rank == 0 else RuntimeError, match="No space left"):
        farm.on_root(comm, fail)
    assert farm.on_root(comm, os.getpid) == comm.bcast(os.getpid())


@pytest.mark.mpi
@pytest.mark.parametrize("kind", KINDS)
def test_ranks_whose_generation_fails_at_once_leave_nothing(
    comm: MPI.Comm, shared_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = shared_path / "data.h5"
    with pytest.raises(ValueError, match="exceeds the explicit stability limit"):
        generate(timed(4), path, small(kind), kind=KINDS[kind], comm=comm)

    def fail(*_: Any) -> Any:
        raise FloatingPointError("it diverged")

    with monkeypatch.context() as broken:
        broken.setattr(KINDS[kind], "make", fail)
        with pytest.raises(GenerationError, match="it diverged"):
            generate(timed(12), path, small(kind), kind=KINDS[kind], comm=comm)
    comm.barrier()
    check_that_the_corrected_case_works(path, kind, comm)
