"""The weighing of forms: what is tried, on which runs, and which of them a build keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mpi4py import MPI

from networks import checkpoint
from submodel.case.case import Case
from submodel.data.generator_file import Reached
from submodel.learn.budget import Length
from submodel.learn.held_out import Estimate
from submodel.learn.table import best, of_cross_runs
from submodel.learn.train import generator_file, with_training
from submodel.solve.task_farm import on_root
from submodel.studies.build.budget import CHECK, Budget
from submodel.studies.build.forms import LONGEST, Candidate, of_table, rays_are_known, train_operator
from submodel.studies.build.search import Search, Step
from submodel.studies.build.supply import CrossSupply

Form = Literal["auto", "table", "operator"]
TRAINED = 10
"""Direct runs that an operator generator is trained on at first."""
HELD_OUT = 2 * CHECK
"""Direct runs that it does not see."""
MOST_TRAINED = 160
"""Direct runs that it is trained on at most."""
HELPS = 0.9
"""Factor of the error that twice as many runs must bring, or no more are made."""


@dataclass(frozen=True)
class Wanted:
    """Wishes of a build.

    Args:
        tolerance: Mean relative L2 error of u on Γ, of fresh sources.
        form: Table, operator generator, or whichever does better.
        budget: The most it may take.
        numbers: The most that the generator may store; None for as many as the tolerance needs.
        device: Where a network is trained.
        made_up: Runs on a patch around the zone, which tables are made with where runs held out gain by it.
    """

    tolerance: float
    form: Form = "auto"
    budget: Budget = field(default_factory=Budget)
    numbers: int | None = None
    device: str = "auto"
    made_up: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """Options of the command line beside the tolerance, None for those that are left out."""
        form = None if self.form == "auto" else self.form
        options = {"--form": form, "--budget": self.budget.option, "--numbers": self.numbers}
        return options | ({"--made-up": self.made_up} if self.made_up else {})


class Weighing:
    """Forms that were tried. Methods are collective; the forms themselves lie on the root.

    Args:
        case: With the training that the build asks for.
        supply: Of the runs.
        wanted: Wishes of the build.
        comm: Whose ranks share the runs.
        tell: Called on the root with sentences about the way.
    """

    def __init__(
        self, case: Case, supply: CrossSupply, wanted: Wanted, comm: MPI.Comm, tell: Callable[[str], None]
    ) -> None:
        self._case, self._supply, self._wanted, self._comm, self._tell = case, supply, wanted, comm, tell
        self._candidates: list[Candidate] = []
        self._lines: list[str] = []
        self.steps: list[Step] = []

    @property
    def chosen(self) -> Candidate:
        """The form of the least error, of those that store no more than was allowed. Root."""
        most = self._wanted.numbers
        allowed = [each for each in self._candidates if most is None or each.num_stored <= most]
        return min(allowed or self._candidates, key=lambda each: each.upper)

    def note(self, step: Step) -> None:
        """Keep a step, and tell of it. Root."""
        self.steps.append(step)
        self._tell(step.words())

    def operator_first(self) -> bool:
        """Try the operator generator where it may win, and say if it does.

        It is tried where it is asked for, on twice as many runs until it is below the tolerance; where all is left
        open, once, where the rays of the walls are known: a table needs more runs there, if it is a box of few
        crossings.
        """
        asked, num = self._wanted.form, TRAINED
        if asked == "table" or not self._allows(num):
            return False
        self._supply.grow(num + HELD_OUT, 0)
        if asked == "auto" and not on_root(self._comm, self._rays_are_known):
            return False
        before = math.inf
        while True:
            well, error = self._try_operator(num)
            helps = error < HELPS * before and 2 * num <= MOST_TRAINED
            if well or asked == "auto" or not (helps and self._allows(2 * num)):
                return well
            num, before = 2 * num, error
            self._supply.grow(num + HELD_OUT, 0)

    def _try_operator(self, num: int) -> tuple[bool, float]:
        """Train on the first direct runs, and say if the error is below the tolerance, and what it is. Collective."""
        return on_root(self._comm, lambda: (self._operator(num), self._candidates[-1].reached.error))

    def _allows(self, num: int) -> bool:
        """True where a training on so many runs is within the budget. Collective."""
        return on_root(self._comm, lambda: self._wanted.budget.allows(self._supply.total(num + HELD_OUT, 0)))

    def table(self, ended: Search) -> bool:
        """Make the table of the runs that a search ended with, and say if the tolerance is reached.

        Where it is not, and the operator generator was tried, that is tried again on all direct runs.
        """

        def make() -> bool:
            with self._supply.opened() as dataset:
                runs = self._supply.data(*ended.runs)
                ready = of_cross_runs(self._case, dataset, self._length(), *ended.runs)
                self._tell(f"making the table of {ended.runs[0]} + {ended.runs[1]} runs")
                tables = ready.tables()
                made = best(tables, self._wanted.tolerance)
                self._lines += [f"{each.title}: u {100 * each.error:.2g} %" for each in tables if each is not made]
                self._candidates.append(of_table(made, runs, self._wanted.tolerance))
            return ended.reached and made.upper < self._wanted.tolerance

        def again() -> bool:
            num = ended.runs[0] - HELD_OUT
            return num > TRAINED and any(each.name == "operator" for each in self._candidates) and self._operator(num)

        return on_root(self._comm, make) or on_root(self._comm, again)

    def write(self, output: Path) -> Reached:
        """Write the chosen generator, without a bound; its form and error on every rank."""

        def save() -> Reached:
            chosen, case = self.chosen, self._case
            if chosen.name != case.training.model:
                case = with_training(case, model=chosen.name)
            with self._supply.opened() as dataset:
                document = generator_file(case, dataset)
            others = [f"not chosen: {each.words()}" for each in self._candidates if each is not chosen]
            steps = tuple(step.to_json() for step in self.steps)
            file = chosen.file(document, (*others, *self._lines), steps=steps, built=self._wanted.options)
            checkpoint.save(output, chosen.generator, metadata=file.to_document())
            assert file.reached is not None
            return file.reached

        return on_root(self._comm, save)

    def _rays_are_known(self) -> bool:
        with self._supply.opened() as dataset:
            return rays_are_known(self._case, dataset)

    def _operator(self, num: int) -> bool:
        """Train on the first direct runs, and say if the error is below the tolerance. Root."""
        with self._supply.opened() as dataset:
            runs = self._supply.data(num + HELD_OUT, 0)
            tried = train_operator(self._case, dataset, runs, HELD_OUT, self._length())
        tried = replace(tried, reached=replace(tried.reached, tolerance=self._wanted.tolerance))
        self._candidates.append(tried)
        estimate = Estimate(tried.errors)
        self.note(Step.of((num, 0), estimate, tried.reached.floor, check=True))
        most = self._wanted.numbers
        return tried.upper < self._wanted.tolerance and (most is None or tried.num_stored <= most)

    def _length(self) -> Length:
        """Length of a training: a minute at most, and half of what the budget leaves."""
        budget, training = self._wanted.budget, self._case.training
        left = LONGEST if budget.seconds is None else 0.5 * (budget.seconds - budget.spent)
        return Length(None, max(1.0, min(LONGEST, left)), training.seed, self._wanted.device, 1)
