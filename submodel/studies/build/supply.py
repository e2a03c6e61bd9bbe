"""Cross runs of a case in a dataset that grows, as the search for enough of them wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from mpi4py import MPI

from networks.table.data import CrossData
from submodel.case.case import Case
from submodel.data.cross import CrossDataset
from submodel.generate.cross import CrossRuns
from submodel.learn.held_out import Estimate, Judge, Judgement
from submodel.learn.table import cross_data, floor_of

Bar = Callable[[str, str], AbstractContextManager[Callable[[int, int], None]]]
"""Progress of a stretch of work: from its label and the unit of what is counted, a call with how many are done of how
many."""


@contextmanager
def no_bar(label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Progress that nobody sees."""
    yield lambda done, total: None


class CrossSupply:
    """`submodel.studies.build.search.Supply` of a dataset beside the generator.

    Args:
        case: Of the runs.
        path: Of the dataset, which is made, or grows.
        comm: Whose ranks share the runs.
        bar: Gives a call with the runs done and their number, for the runs that are made within.
        made_up: Runs on a patch around the zone, made with the first ones; they count in no budget of runs.
    """

    def __init__(self, case: Case, path: Path, comm: MPI.Comm, bar: Bar, made_up: int = 0) -> None:
        self.case, self.path, self._made_up = case, path, made_up
        self._runs, self._bar = CrossRuns(case, path, comm=comm), bar
        self._asked = (0, 0)
        self._judge: tuple[tuple[int, int], Judge] | None = None

    @contextmanager
    def opened(self) -> Iterator[CrossDataset]:
        """The dataset. Local."""
        with CrossDataset.open(self.path) as dataset:
            yield dataset

    def grow(self, num_direct: int, num_reciprocal: int) -> None:
        """As `Supply.grow`."""
        self._asked = (max(self._asked[0], num_direct), max(self._asked[1], num_reciprocal, 1))
        with self._bar("run", "runs") as progress:
            self._runs.grow(num_direct, max(1, num_reciprocal), num_made_up=self._made_up, progress=progress)

    def total(self, num_direct: int, num_reciprocal: int) -> int:
        """As `Supply.total`; what was there before does not count, so that a build that goes on decides the same."""
        return max(self._asked[0], num_direct) + max(self._asked[1], num_reciprocal, 1)

    @property
    def most_reciprocal(self) -> int:
        """As `Supply.most_reciprocal`."""
        return self._runs.most_reciprocal

    def data(self, num_direct: int, num_reciprocal: int) -> CrossData:
        """The first runs of each kind. Root."""
        with self.opened() as dataset:
            return cross_data(dataset, num_direct, num_reciprocal)

    def judge(self, num_direct: int, num_reciprocal: int) -> Judgement:
        """As `Supply.judge`."""
        judge = Judge(self.data(num_direct, num_reciprocal))
        self._judge = ((num_direct, num_reciprocal), judge)
        return judge.judgement(num_reciprocal)

    def fresh(self, num_direct: int, num_reciprocal: int, num: int) -> Estimate:
        """As `Supply.fresh`."""
        runs = (num_direct, num_reciprocal)
        if self._judge is None or self._judge[0] != runs:
            self._judge = (runs, Judge(self.data(*runs)))
        later = self.data(num_direct + num, num_reciprocal)
        return self._judge[1].fresh(later.direct[num_direct:])

    def floor(self, num_direct: int) -> float:
        """As `Supply.floor`."""
        with self.opened() as dataset:
            return floor_of(dataset, num_direct)
