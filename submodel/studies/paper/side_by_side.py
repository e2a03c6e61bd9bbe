"""[A]'s tables with our figures beside the paper's, as rows of words; pages only lay them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from networks.paper.printed_tables import MODEL_TITLES, TABLES, VARIANT_TITLES, PaperTable, Schedule
from submodel.report.wording import amount, count, percent
from submodel.studies.paper.jobs import Job, Outcome

MISSING = "–"
FAILED = "failed"
State = Literal["value", "missing", "failed"]
Sizes = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Entry:
    """One entry of a table.

    Attributes:
        paper: the paper's figure, as printed.
        ours: our figure, or a word for why there is none.
        value: our figure as a number, in the table's unit.
        state: whether there is one.
        best: whether it is the smallest of ours in its table.
    """

    paper: str
    ours: str = MISSING
    value: float | None = None
    state: State = "missing"
    best: bool = False


@dataclass(frozen=True)
class Compared:
    """A table of the paper with ours beside it.

    Attributes:
        table: what it shows.
        rows: the model's title and its entries, one a variant.
    """

    table: PaperTable
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]

    @property
    def heading(self) -> str:
        """Number and caption, with the schedule where the captions of two tables agree."""
        epochs = {"short": "1000 epochs", "long": "10000 epochs"}[self.table.schedule]
        unit = {"parameters": "", "epoch time": " (seconds)", "error": f" (ε, {epochs} in [A])"}
        return f"Table {self.table.number}. {self.table.title}{unit[self.table.quantity]}"

    @property
    def num_values(self) -> int:
        """Number of entries that we have."""
        return sum(entry.state == "value" for _, entries in self.rows for entry in entries)


def compare(outcomes: Iterable[Outcome], sizes: Sizes) -> tuple[Compared, ...]:
    """All eighteen tables.

    Args:
        outcomes: what the jobs left.
        sizes: trainable numbers by model and variant, for Table 1, which needs no training.
    """
    by_job = {outcome.job: outcome for outcome in outcomes}
    return tuple(_compare(table, by_job, sizes) for table in TABLES.values())


def markdown(compared: Compared) -> str:
    """A table in Markdown: for each variant the paper's column, then ours; our best entry in bold."""
    header = ["model"] + [f"{title} {whose}" for title in VARIANT_TITLES.values() for whose in ("[A]", "ours")]
    lines = [f"**{compared.heading}**", "", _line(header), _line(["---", *["---:"] * (len(header) - 1)])]
    for title, entries in compared.rows:
        cells = [title]
        for entry in entries:
            cells += [entry.paper, f"**{entry.ours}**" if entry.best else entry.ours]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


DETAILS = ("model", "parameters", "epochs", "best", "s / epoch", "ε u", "ε v", "relative L2 u", "relative L2 v")
"""Columns of the table of our own runs; errors are those after the zoom on test samples, in per cent."""


def details(outcomes: Iterable[Outcome]) -> list[tuple[str, ...]]:
    """A row for each job that was trained, with the relative L2 error that [A] does not give."""
    rows = []
    for outcome in outcomes:
        if outcome.failure is None:
            after = [outcome.errors[f"test.zoom.{name}"] for name in ("displacement", "velocity")]
            figures = [percent(error.epsilon) for error in after] + [percent(error.relative_l2) for error in after]
            epochs = (str(outcome.epochs), str(outcome.best_epoch), amount(outcome.epoch_seconds))
            rows.append((str(outcome.job), count(outcome.num_parameters), *epochs, *figures))
    return rows


def markdown_details(outcomes: Iterable[Outcome]) -> str:
    """That table in Markdown."""
    lines = ["**Our runs, test samples after the zoom**", "", _line(DETAILS)]
    lines += [_line(["---", *["---:"] * (len(DETAILS) - 1)]), *map(_line, details(outcomes))]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _compare(table: PaperTable, outcomes: Mapping[Job, Outcome], sizes: Sizes) -> Compared:
    rows = []
    for model in table.models:
        entries = [_entry(table, model, variant, outcomes, sizes) for variant in VARIANT_TITLES]
        rows.append((MODEL_TITLES[model], entries))
    values = [entry.value for _, entries in rows for entry in entries if entry.value is not None]
    best = min(values, default=None)
    return Compared(table, tuple((title, tuple(_marked(entry, best) for entry in entries)) for title, entries in rows))


def _entry(table: PaperTable, model: str, variant: str, outcomes: Mapping[Job, Outcome], sizes: Sizes) -> Entry:
    paper = table.printed[model][variant]
    if table.quantity == "parameters":
        size = sizes.get((model, variant))
        return Entry(paper) if size is None else Entry(paper, _millions(size), size / 1e6, "value")
    # an epoch lasts as long under either schedule
    schedules: tuple[Schedule, ...] = ("short", "long") if table.quantity == "epoch time" else (table.schedule,)
    present = [outcome for schedule in schedules if (outcome := outcomes.get(Job(model, variant, schedule)))]
    if not present:
        return Entry(paper)
    if present[0].failure is not None:
        return Entry(paper, FAILED, state="failed")
    value = present[0].epoch_seconds if table.quantity == "epoch time" else present[0].errors[table.key].epsilon
    return Entry(paper, amount(value), value, "value")


def _marked(entry: Entry, best: float | None) -> Entry:
    is_best = best is not None and entry.value == best
    return Entry(entry.paper, entry.ours, entry.value, entry.state, is_best)


def _millions(size: int) -> str:
    """Millions as [A] prints them; with three digits where two decimals would say little."""
    millions = size / 1e6
    return f"{millions:.2f}" if millions >= 0.1 else amount(millions)
