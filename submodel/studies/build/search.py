"""The search for runs that are enough: few at first, more of the kind that helps most, a check at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import numpy as np
from mpi4py import MPI

from submodel.learn.held_out import Estimate, Judgement, needed_runs
from submodel.solve.task_farm import on_root
from submodel.studies.build.budget import CHECK, START, Budget

DIRECT = 5
"""Direct runs that are added at once, see `networks.table.growth.next_runs`."""
ENOUGH = 1.5
"""Error, in those of the frequencies alone, below which more runs bring nothing that is seen."""


class Supply(Protocol):
    """Runs of a case, those at hand first."""

    @property
    def most_reciprocal(self) -> int:
        """Reciprocal runs that there can be; with all of them nothing is left to be learnt."""
        ...

    def grow(self, num_direct: int, num_reciprocal: int) -> None:
        """Have at least so many runs of each kind. Collective."""
        ...

    def total(self, num_direct: int, num_reciprocal: int) -> int:
        """Runs that there are once there are at least so many of each kind, with all that were asked for before."""
        ...

    def judge(self, num_direct: int, num_reciprocal: int) -> Judgement:
        """Judge a table from the first runs of each kind. Root."""
        ...

    def fresh(self, num_direct: int, num_reciprocal: int, num: int) -> Estimate:
        """Error of the next direct runs, by a table from the first ones. Root."""
        ...

    def floor(self, num_direct: int) -> float:
        """Error of u that the number of frequencies alone makes, over the first direct runs. Root."""
        ...


@dataclass(frozen=True)
class Step:
    """An error that was estimated on the way.

    Args:
        num_direct, num_reciprocal: Runs that a table was made of.
        error: Mean relative L2 of u on Γ over held-out direct runs, the frequencies' own error included.
        spread: Standard error of the mean.
        check: By runs that were predicted before they were added; else by cross-validation.
        fall: Of the logarithm of the error with one more run of the better kind.
    """

    num_direct: int
    num_reciprocal: int
    error: float
    spread: float
    check: bool = False
    fall: float = 0.0

    @classmethod
    def of(cls, runs: tuple[int, int], estimate: Estimate, floor: float, **about: Any) -> Self:
        """The step of an estimate over a floor."""
        return cls(*runs, float(np.hypot(estimate.mean, floor)), estimate.spread, **about)

    @property
    def num_runs(self) -> int:
        """Runs of both kinds."""
        return self.num_direct + self.num_reciprocal

    @property
    def upper(self) -> float:
        """Mean and its standard error."""
        return self.error + self.spread

    def words(self) -> str:
        """One line."""
        kind = "predicted before they were added" if self.check else "held out in turn"
        error = f"{100 * self.error:.2g} ± {100 * self.spread:.2g} %"
        return f"{self.num_direct} direct + {self.num_reciprocal} reciprocal runs: u on Γ {error} ({kind})"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Search:
    """A search that has ended.

    Args:
        steps: In order.
        runs: Direct and reciprocal runs at its end.
        reached: The tolerance was reached and the check agreed.
        floor: Error that the number of frequencies alone makes.
    """

    steps: tuple[Step, ...]
    runs: tuple[int, int]
    reached: bool
    floor: float

    @property
    def last(self) -> Step:
        """The last step by cross-validation."""
        return next(step for step in reversed(self.steps) if not step.check)

    @property
    def check(self) -> Step | None:
        """The last check."""
        return next((step for step in reversed(self.steps) if step.check), None)

    def needed(self, tolerance: float) -> int | None:
        """Runs that a tolerance would take, guessed from what the last ones brought; None where that is nothing."""
        last = self.last
        if self.floor >= tolerance:
            return None
        num = needed_runs(last.num_runs, last.upper, tolerance, last.fall)
        return None if num is None else max(num, sum(self.runs)) + CHECK


def search(
    supply: Supply,
    tolerance: float,
    budget: Budget,
    comm: MPI.Comm,
    *,
    announce: Callable[[Step], None] | None = None,
) -> Search:
    """Run what a tolerance needs. Collective on comm.

    Begins with few runs; adds 5 direct or 10 reciprocal ones, whichever kind the error owes more to, until mean plus
    standard error of the error over held-out direct runs is below the tolerance; then 5 more direct runs are predicted
    before they are added. It ends where their error too is below the tolerance, and goes on where it is not; or where
    the budget ends, from which runs for a check are kept back. A tolerance below what the number of frequencies leaves
    cannot be reached: then it goes on to what they allow.

    Args:
        supply: Of the runs.
        tolerance: Mean relative L2 error of u on Γ.
        budget: Where it ends in any case.
        comm: Whose ranks share the runs.
        announce: Called on the root with each step.
    """
    way = _Way(supply, tolerance, budget, comm, announce)
    direct, reciprocal = START[0], min(START[1], supply.most_reciprocal)
    while True:
        step, more = way.judge(direct, reciprocal)
        if more is not None:
            direct, reciprocal = direct + more[0], reciprocal + more[1]
            continue
        if not way.affords(direct + CHECK, reciprocal, CHECK):
            return way.end((direct, reciprocal), reached=False)
        checked = way.check(direct, reciprocal)
        direct += CHECK
        well = step.upper < way.aim and checked.error < way.aim
        if well or not way.affords(direct + DIRECT, reciprocal, DIRECT):
            return way.end((direct, reciprocal), reached=well and way.floor < tolerance)


class _Way:
    """The steps of a search, and the seconds that runs and judgements take. Methods are collective.

    Args:
        supply, tolerance, budget, comm, announce: As of `search`.

    Attributes:
        floor: Error that the number of frequencies alone makes.
        aim: Error below which the runs are enough: the tolerance, or what the floor allows.
    """

    def __init__(
        self,
        supply: Supply,
        tolerance: float,
        budget: Budget,
        comm: MPI.Comm,
        announce: Callable[[Step], None] | None,
    ) -> None:
        self._supply, self._tolerance, self._budget, self._comm = supply, tolerance, budget, comm
        self._announce = announce
        self._steps: list[Step] = []
        self._num, self._running, self._thinking = 0, 0.0, 0.0
        self.floor, self.aim = 0.0, tolerance

    def judge(self, direct: int, reciprocal: int) -> tuple[Step, tuple[int, int] | None]:
        """Make runs and judge them.

        Returns:
            The step, and the runs to add of each kind; None where the error is below the tolerance, or nothing but a
            check can be paid.
        """
        self._grow(direct, reciprocal)

        def look() -> tuple[Step, float, float, tuple[int, int] | None]:
            start = time.monotonic()
            judged, floor = self._supply.judge(direct, reciprocal), self._supply.floor(direct)
            self._thinking = time.monotonic() - start
            step = Step.of((direct, reciprocal), judged.estimate, floor, fall=judged.growth.fall)
            # where no run mends the floor: the best that runs can give
            self.aim = self._tolerance if floor < self._tolerance else ENOUGH * floor
            return step, floor, self.aim, self._next(step, judged)

        step, self.floor, self.aim, more = on_root(self._comm, look)
        return self._add(step), more

    def check(self, direct: int, reciprocal: int) -> Step:
        """Make direct runs more, and see how well a table from those before predicts them."""
        self._grow(direct + CHECK, reciprocal)
        fresh = on_root(self._comm, lambda: self._supply.fresh(direct, reciprocal, CHECK))
        return self._add(Step.of((direct, reciprocal), fresh, self.floor, check=True))

    def affords(self, direct: int, reciprocal: int, more: int) -> bool:
        """True where so many runs of each kind, of which some are new, are within the budget."""
        return on_root(self._comm, lambda: self._allows(direct, reciprocal, more))

    def end(self, runs: tuple[int, int], *, reached: bool) -> Search:
        """The search, ended with these runs."""
        return Search(tuple(self._steps), runs, reached, self.floor)

    def _next(self, step: Step, judged: Judgement) -> tuple[int, int] | None:
        """As the second of `judge`. Root."""
        if step.upper < self.aim:
            return None
        room = self._supply.most_reciprocal - step.num_reciprocal
        ways = [(judged.growth.direct, min(judged.growth.reciprocal, room)), (DIRECT, 0)]  # the second is the cheaper
        for way in ways:
            runs = (step.num_direct + way[0] + CHECK, step.num_reciprocal + way[1])
            if any(way) and self._allows(*runs, sum(way) + CHECK):
                return way
        return None

    def _allows(self, direct: int, reciprocal: int, more: int) -> bool:
        """As `affords`; time for a judgement, and for the making and calibration of a table, is kept back. Root."""
        expected = more * self._running / max(self._num, 1) + 4 * self._thinking
        return self._budget.allows(self._supply.total(direct, reciprocal), expected)

    def _grow(self, direct: int, reciprocal: int) -> None:
        start = time.monotonic()
        self._supply.grow(direct, reciprocal)
        self._running += time.monotonic() - start
        self._num = direct + reciprocal

    def _add(self, step: Step) -> Step:
        self._steps.append(step)
        if self._announce is not None and self._comm.rank == 0:
            self._announce(step)
        return step
