"""A build: its budget, the search for runs that are enough, and what it ends with."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from mpi4py import MPI
from roof_problems import done, errors_of, refused, submodel, toy

from networks import checkpoint
from networks.checkpoint import GENERATOR
from networks.core.tensor_file import read_tensors
from networks.table.growth import Growth, Halved
from submodel.case.case import Case
from submodel.case.errors import CaseError
from submodel.data.cross import CrossDataset
from submodel.data.generator_file import GeneratorFile, Reached
from submodel.data.manifest import shards_folder
from submodel.learn.held_out import Estimate, Judgement
from submodel.studies.build.budget import CHECK, START, Budget
from submodel.studies.build.build import build, chart_path, dataset_path
from submodel.studies.build.search import Search, Step, search
from submodel.studies.build.weighing import Wanted


@dataclass
class Pretended:
    """Runs whose table has an error that a formula says."""

    error: Callable[[int, int], float]
    check: Callable[[int, int], float] | None = None
    most: int = 200
    least: float = 0.0
    before: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def most_reciprocal(self) -> int:
        return self.most

    def grow(self, num_direct: int, num_reciprocal: int) -> None:
        self.asked.append((num_direct, num_reciprocal))

    def total(self, num_direct: int, num_reciprocal: int) -> int:
        return max(num_direct, self.before) + num_reciprocal

    def judge(self, num_direct: int, num_reciprocal: int) -> Judgement:
        mean = self.error(num_direct, num_reciprocal)
        falls = (
            np.log(self.error(num_direct // 2, num_reciprocal) / mean) / np.log(2) / num_direct,
            np.log(self.error(num_direct, num_reciprocal // 2) / mean) / np.log(2) / num_reciprocal,
        )
        room = min(10, self.most - num_reciprocal)
        runs = (5, 0) if falls[0] > falls[1] or not room else (0, room)
        growth = Growth(*runs, Halved(mean, None, mean), float(max(falls)))
        return Judgement(spread_by(mean, num_direct), growth)

    def fresh(self, num_direct: int, num_reciprocal: int, num: int) -> Estimate:
        return spread_by((self.check or self.error)(num_direct, num_reciprocal), num)

    def floor(self, num_direct: int) -> float:
        return self.least


def spread_by(mean: float, num: int) -> Estimate:
    """Errors of some runs with a mean, a tenth of it apart."""
    return Estimate(mean * (1 + 0.1 * np.linspace(-1, 1, num)))


def searched(supply: Pretended, tolerance: float, budget: Budget | None = None) -> Search:
    return search(supply, tolerance, budget or Budget(), MPI.COMM_SELF)


def test_a_search_adds_the_kind_of_run_that_helps_and_checks_at_the_end() -> None:
    by_reciprocal = Pretended(lambda d, r: 0.5 * np.exp(-r / 8))
    done = searched(by_reciprocal, 0.01)
    assert done.reached and done.runs == (START[0] + CHECK, 40)
    way = [(step.num_direct, step.num_reciprocal) for step in done.steps]
    assert way == [(5, 10), (5, 20), (5, 30), (5, 40), (5, 40)]
    assert done.steps[-1].check and by_reciprocal.asked[-1] == (10, 40)
    by_direct = searched(Pretended(lambda d, r: 0.5 * np.exp(-d / 5)), 0.01)
    assert by_direct.reached and by_direct.runs == (20 + CHECK, 10)


def test_the_mean_alone_does_not_end_a_search() -> None:
    error = {10: 0.0099, 20: 0.002}
    done = searched(Pretended(lambda d, r: error.get(r, 0.5)), 0.01)
    assert done.steps[0].error < 0.01 < done.steps[0].upper
    assert done.runs == (10, 20)


def test_a_search_goes_on_where_the_check_disagrees() -> None:
    lucky = Pretended(lambda d, r: 0.5 if r < 10 else 0.009, check=lambda d, r: 0.02 if d < 10 else 0.009)
    done = searched(lucky, 0.01)
    assert done.reached and [step.check for step in done.steps] == [False, True, False, True]
    assert done.runs == (15, 10) and done.check is not None and done.check.error == pytest.approx(0.009)


def test_a_search_keeps_to_its_budget_and_says_what_it_would_take() -> None:
    slow = Pretended(lambda d, r: 0.5 * np.exp(-r / 20))
    done = searched(slow, 0.001, Budget.of("47"))
    assert not done.reached and sum(done.runs) <= 47 and sum(done.runs) > 47 - 5
    assert all(sum(asked) <= 47 for asked in slow.asked)
    needed = done.needed(0.001)  # exp(-r / 20) = 0.002 at r = 124; a halving tells less than a doubling brings
    assert needed is not None and 134 <= needed <= 180
    assert searched(Pretended(lambda d, r: 0.5), 0.001, Budget.of("40")).needed(0.001) is None


def test_runs_that_another_form_took_count_in_the_budget() -> None:
    taken = Pretended(lambda d, r: 0.5 * np.exp(-r / 20), before=20)
    done = searched(taken, 0.001, Budget.of("47"))
    assert max(taken.total(*asked) for asked in taken.asked) <= 47 and done.runs[1] == 20


def test_where_frequencies_do_not_reach_a_search_goes_on_to_what_they_allow() -> None:
    done = searched(Pretended(lambda d, r: 0.5 * np.exp(-r / 8), least=0.02), 0.01)
    assert not done.reached and done.needed(0.01) is None
    assert done.runs == (START[0] + CHECK, 30)
    assert done.last.error == pytest.approx(np.hypot(0.5 * np.exp(-30 / 8), 0.02))


def test_a_generator_needs_a_name_that_tells_what_it_is(tmp_path: Path) -> None:
    said = submodel("build", toy(tmp_path), "--tolerance", "5%", "-o", tmp_path / "table.toml")
    refused(said, "table.toml", ".safetensors")
    assert not (tmp_path / "table.cross.shards").exists()


def test_no_more_loads_are_run_than_there_are() -> None:
    few = Pretended(lambda d, r: 1e-6 if r == 24 else 0.1, most=24)
    done = searched(few, 0.01)
    assert done.reached and done.runs[1] == 24


@pytest.mark.parametrize(
    ("text", "runs", "seconds"),
    [("60", 60, None), ("60 runs", 60, None), ("90s", None, 90.0), ("1.5min", None, 90.0), ("1h", None, 3600.0)],
)
def test_a_budget_is_runs_or_a_time(text: str, runs: int | None, seconds: float | None) -> None:
    budget = Budget.of(text)
    assert (budget.runs, budget.seconds) == (runs, seconds)


@pytest.mark.parametrize("text", ["", "many", "3", "19", "20.5", "-4", "0s", "60 m", "1e3"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(CaseError, match="budget"):
        Budget.of(text)


def test_time_that_is_over_allows_no_run() -> None:
    budget = Budget(seconds=10.0, begun=0.0)
    assert not budget.allows(1) and Budget(seconds=1e9, begun=0.0).allows(10**6)
    assert not Budget(seconds=1e9).allows(1, expected=1e10)


def test_a_step_holds_the_error_of_the_frequencies() -> None:
    step = Step.of((5, 10), Estimate(np.array([0.03, 0.05])), 0.03)
    assert step.error == pytest.approx(0.05) and step.spread == pytest.approx(0.01)
    assert step.words() == "5 direct + 10 reciprocal runs: u on Γ 5 ± 1 % (held out in turn)"


# On a toy case, through the command.

TABLE = ("--form", "table")


def table_case(folder: Path, **replaced: str) -> Path:
    """The toy case without symmetries, to be built as a table."""
    path = toy(folder, **replaced)
    begin, _ = path.read_text().split("[training]")
    path.write_text(f'{begin}[symmetry]\nmaps = []\n[training]\nmodel = "table"\ntolerance = "2%"\n')
    return path


@dataclass(frozen=True)
class Plant:
    """A case, what was built for it, and the words of the build."""

    case: Path
    generator: Path
    text: str

    @property
    def dataset(self) -> Path:
        return dataset_path(self.generator)

    def reached(self) -> Reached:
        _, document = checkpoint.read_metadata(self.generator)
        reached = GeneratorFile.from_document(document, self.generator).reached
        assert reached is not None
        return reached


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    folder = tmp_path_factory.mktemp("plant")
    case, generator = table_case(folder), folder / "g.safetensors"
    return Plant(case, generator, done("build", case, "-o", generator, *TABLE))


def test_a_build_gives_a_generator_of_the_error_that_it_says(plant: Plant, tmp_path: Path) -> None:
    reached = plant.reached()
    assert reached.kept and reached.tolerance == 0.02
    assert reached.words() in plant.text and reached.form in plant.text
    fresh, errors = tmp_path / "fresh.h5", tmp_path / "errors.json"
    done("generate", plant.case, "-o", fresh, "--train", 0, "--test", 30, "--seed", 9)
    said = done("validate", plant.case, "--dataset", fresh, "--generator", plant.generator, "--json", errors)
    true = errors_of(errors)["before"]["displacement"]["relative_l2"]
    assert reached.error == pytest.approx(true, rel=0.4)
    assert true < 0.02
    assert "fewer than 50" in said  # the bound rests on few runs, and says so


def test_a_build_leaves_runs_and_a_chart_beside_the_generator(plant: Plant) -> None:
    with CrossDataset.open(plant.dataset) as dataset:
        runs = (len(dataset.places), len(dataset.manifest.loads))
    assert plant.reached().runs == runs
    assert chart_path(plant.generator).read_bytes().startswith(b"\x89PNG")
    steps = plant.reached().steps
    assert steps[-1]["check"] and steps[-1]["num_direct"] + CHECK == runs[0]


def test_info_says_which_form_won_and_at_which_error(plant: Plant) -> None:
    text = done("info", plant.generator)
    assert "wave table, basis" in text and plant.reached().words() in text and "split conformal" in text


KILLED = """
import os, signal, sys
from submodel.cli.app import app
from submodel.generate.cross import CrossRuns
grow = CrossRuns.grow

def die(self, num_direct, num_reciprocal, **options):
    if num_direct + num_reciprocal > {number}:
        options["progress"] = lambda done, total: done and os.kill(os.getpid(), signal.SIGKILL)
    return grow(self, num_direct, num_reciprocal, **options)

CrossRuns.grow = die
sys.argv[1:] = {words!r}
app()
"""


@pytest.mark.parametrize("number", [0, 15])
def test_a_build_that_was_killed_goes_on_to_the_same_file(plant: Plant, tmp_path: Path, number: int) -> None:
    target = tmp_path / plant.generator.name
    words = ["build", str(plant.case), "-o", str(target), *TABLE]
    killed = subprocess.run([sys.executable, "-c", KILLED.format(number=number, words=words)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL and not target.exists()
    assert shards_folder(dataset_path(target)).is_dir()
    done(*words)
    (tensors, document), (expected, whole) = (read_tensors(path, GENERATOR) for path in (target, plant.generator))
    assert document == whole  # a file's header has no order of its own
    assert tensors.keys() == expected.keys() and all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_a_tolerance_beyond_the_budget_is_said_to_be_and_ends_with_a_status(tmp_path: Path) -> None:
    case, target = table_case(tmp_path, levels="levels = 161", omega="omega = [8.0, 12.0]"), tmp_path / "g.safetensors"
    said = submodel("build", case, "-o", target, "--tolerance", "0.5%", "--budget", "20", *TABLE)
    assert said.status == 3 and target.is_file(), said.text
    assert "not reached" in said.text and "would do" in said.text
    with CrossDataset.open(dataset_path(target)) as dataset:
        assert len(dataset.places) + len(dataset.manifest.loads) <= 20


def test_a_build_weighs_made_up_runs_and_says_if_it_took_them(plant: Plant, tmp_path: Path) -> None:
    target = tmp_path / "g.safetensors"
    text = done("build", plant.case, "-o", target, "--made-up", 60, "--tolerance", "2%", *TABLE)
    with CrossDataset.open(dataset_path(target)) as dataset:
        assert len(dataset.manifest.made_up) == 60
    weighed = re.search(r"60 made-up runs (taken|not taken): .* ([\d.]+) % with them .* ([\d.]+) % without", text)
    assert weighed is not None and "made-up" not in plant.text
    assert weighed[1] == ("taken" if float(weighed[2]) < float(weighed[3]) else "not taken")
    assert weighed[0] in done("info", target)
    _, document = checkpoint.read_metadata(target)
    reached = GeneratorFile.from_document(document, target).reached
    assert reached is not None and reached.kept and reached.built is not None and reached.built["--made-up"] == 60


def test_what_cannot_be_built_is_refused_before_any_run(tmp_path: Path) -> None:
    case, target = table_case(tmp_path), tmp_path / "g.safetensors"
    for options, words in (
        (("--tolerance", "none"), "no tolerance"),
        (("--tolerance", "0%"), "above 0"),
        (("--budget", "7"), "too small"),
        (("--form", "table", "--numbers", 0), "numbers"),
        (("--form", "operator", "--numbers", 1000), "--numbers is for wave tables"),
        (("--form", "operator", "--made-up", 40), "--made-up is for wave tables"),
        (("--form", "table", "--made-up", 0), "made-up"),
        (("--form", "cnn"), "not one of auto, table, operator"),
    ):
        said = submodel("build", case, "-o", target, *options)
        assert said.status == 2 and words in said.text, said.text
    assert not any(path.exists() for path in (target, dataset_path(target), shards_folder(dataset_path(target))))


def test_cross_runs_of_another_case_are_not_taken_for_ones_own(plant: Plant, tmp_path: Path) -> None:
    target = tmp_path / "g.safetensors"
    shutil.copytree(shards_folder(plant.dataset), shards_folder(dataset_path(target)))
    shutil.copy(plant.dataset, dataset_path(target))
    other = table_case(tmp_path, final="final = 1.9")
    refused(submodel("build", other, "-o", target, *TABLE), "time.final = 2.0, yours has 1.9")
    assert not target.exists()


def test_training_a_table_takes_a_tolerance_and_says_what_it_would_take(plant: Plant, tmp_path: Path) -> None:
    target, few = tmp_path / "t.safetensors", tmp_path / "few.h5"
    text = done("train", plant.case, "--dataset", plant.dataset, "-o", target, "--tolerance", "3%")
    assert "wave table" in text and "asked 3 %" in text and "would do" not in text
    case = table_case(tmp_path, levels="levels = 161", omega="omega = [8.0, 12.0]")
    done("generate", case, "-o", few, "--cross", "5+5")
    text = done("train", case, "--dataset", few, "-o", target, "--tolerance", "1%")
    assert "5 + 5 runs:" in text and "asked 1 %: some" in text and "would do" in text
    refused(submodel("train", case, "--dataset", few, "-o", target, "--model", "operator"), "choose --model table")
    refused(submodel("train", case, "--dataset", few, "-o", target, "--numbers", 10), "allow more")


def test_a_tolerance_alone_asks_for_a_table(plant: Plant, tmp_path: Path) -> None:
    case = toy(tmp_path)
    refused(submodel("train", case, "--dataset", plant.dataset, "-o", tmp_path / "g.safetensors"), "cross data")
    done("train", case, "--dataset", plant.dataset, "-o", tmp_path / "g.safetensors", "--tolerance", "3%")


@pytest.mark.mpi
def test_ranks_together_build_what_one_builds(comm: MPI.Comm, shared_path: Path) -> None:
    case = comm.bcast(table_case(shared_path) if comm.rank == 0 else None)
    together, alone = shared_path / "together.safetensors", shared_path / "alone.safetensors"
    wanted = Wanted(0.02, "table")
    built = build(Case.load(case), together, wanted, comm)
    assert built.well and comm.allgather(built.reached)[0] == built.reached
    if comm.rank == 0:
        assert build(Case.load(case), alone, wanted, MPI.COMM_SELF).reached == built.reached
    comm.barrier()
