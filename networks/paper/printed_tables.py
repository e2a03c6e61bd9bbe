"""The figures that [A] prints in its Tables 1 to 18, and what each table shows.

The entries are in printed_tables.csv beside this module, one row a model of a table, one column a variant.

Source: [A] Boukraichi, Akkari, Casenave, Ryckelynck, *A priori compression of convolutional neural networks for wave
simulators*, section 7.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Literal

from networks.paper.catalogue import MODELS, TITLES, VARIANTS

Quantity = Literal["parameters", "epoch time", "error"]
Schedule = Literal["short", "long"]
Stage = Literal["full", "zoom"]
PaperSplit = Literal["train", "test"]
PaperField = Literal["displacement", "velocity"]

_PRINTED = Path(__file__).with_name("printed_tables.csv")
SCHEDULES: tuple[Schedule, ...] = ("short", "long")
MODEL_TITLES = TITLES
"""Title of each model in [A], in the order of its tables."""
ZONE_MODELS = tuple(name for name, (_, _, target, _) in MODELS.items() if target == "zone")
VARIANT_TITLES = {name: variant.title for name, variant in VARIANTS.items()}
"""Title of each variant in [A], in the order of its columns."""


@dataclass(frozen=True)
class PaperTable:
    """One table of [A].

    Attributes:
        number: its number in the paper.
        title: its caption there.
        quantity: what it shows: millions of parameters, seconds an epoch, or the error indicator of eq. 22.
        schedule: the training it belongs to: 1000 epochs (short) or 10000 (long); of Table 1, either.
        split, stage, field: of an error: which samples, on the zone's prediction or after the zoom, of which field.
    """

    number: int
    title: str
    quantity: Quantity
    schedule: Schedule = "short"
    split: PaperSplit = "test"
    stage: Stage = "zoom"
    field: PaperField = "displacement"

    @property
    def models(self) -> tuple[str, ...]:
        """Its rows; the tables of the prediction on the zone leave out what predicts on the boundary."""
        return ZONE_MODELS if self.quantity == "error" and self.stage == "full" else tuple(MODEL_TITLES)

    @property
    def key(self) -> str:
        """Name of the error that it shows, such as ``test.zoom.displacement``."""
        return f"{self.split}.{self.stage}.{self.field}"

    @cached_property
    def printed(self) -> dict[str, dict[str, str]]:
        """The entries by model and variant, to the digit as printed."""
        with _PRINTED.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["table"] == str(self.number)]
        return {row["model"]: {variant: row[variant] for variant in VARIANT_TITLES} for row in rows}

    def value(self, model: str, variant: str) -> float:
        """An entry.

        Raises:
            KeyError: the table has no such row or column.
        """
        return float(self.printed[model][variant])


def _tables() -> dict[int, PaperTable]:
    tables = [
        PaperTable(1, "Number of trainable parameters (million parameters)", "parameters"),
        PaperTable(10, "Average time of one epoch", "epoch time"),
    ]
    first: dict[Schedule, int] = {"short": 2, "long": 11}
    stages: tuple[Stage, ...] = ("full", "zoom")
    splits: tuple[PaperSplit, ...] = ("train", "test")
    fields: tuple[PaperField, ...] = ("displacement", "velocity")
    for schedule, start in first.items():
        for number, (stage, split, field) in enumerate(product(stages, splits, fields), start):
            shown = f"full {field}" if stage == "full" else f"{field} after zoom"
            title = f"{split.capitalize()} error on {shown}"
            tables.append(PaperTable(number, title, "error", schedule, split, stage, field))
    return {table.number: table for table in sorted(tables, key=lambda table: table.number)}


TABLES = _tables()
"""All eighteen, by number."""
