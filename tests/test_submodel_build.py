"""A build: its budget, the search for runs that are enough, and what it ends with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from mpi4py import MPI

from submodel.case.errors import CaseError
from submodel.learn.held_out import Estimate, Judgement
from submodel.studies.build.budget import CHECK, START, Budget
from submodel.studies.build.search import Search, Step, search


@dataclass
class Pretended:
    """Runs whose table has an error that a formula says."""

    error: Callable[[int, int], float]
    check: Callable[[int, int], float] | None = None
    most: int = 200
    least: float = 0.0
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def most_reciprocal(self) -> int:
        return self.most

    def grow(self, num_direct: int, num_reciprocal: int) -> None:
        self.asked.append((num_direct, num_reciprocal))

    def judge(self, num_direct: int, num_reciprocal: int) -> Judgement:
        mean = self.error(num_direct, num_reciprocal)
        per = (
            np.log(self.error(num_direct // 2, num_reciprocal) / mean) / np.log(2) / num_direct,
            np.log(self.error(num_direct, num_reciprocal // 2) / mean) / np.log(2) / num_reciprocal,
        )
        return Judgement(num_direct, num_reciprocal, spread_by(mean, num_direct), *map(float, per))

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


def test_frequencies_that_do_not_reach_end_a_search_at_once() -> None:
    done = searched(Pretended(lambda d, r: 1e-3, least=0.02), 0.01)
    assert not done.reached and len(done.steps) == 1 and done.needed(0.01) is None
    assert done.last.error == pytest.approx(np.hypot(1e-3, 0.02))


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
