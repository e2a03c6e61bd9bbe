"""The figures that [A] prints in its Tables 1 to 18, and what each table shows.

Source: [A] Boukraichi, Akkari, Casenave, Ryckelynck, *A priori compression of convolutional neural networks for wave
simulators*, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from networks.paper.catalogue import MODELS, TITLES, VARIANTS

Quantity = Literal["parameters", "epoch time", "error"]
Schedule = Literal["short", "long"]
Stage = Literal["full", "zoom"]
PaperSplit = Literal["train", "test"]
PaperField = Literal["displacement", "velocity"]

SCHEDULES: tuple[Schedule, ...] = ("short", "long")
MODEL_TITLES = TITLES
"""What [A] calls each model, in the order of its tables."""
ZONE_MODELS = tuple(name for name, (_, _, target, _) in MODELS.items() if target == "zone")
VARIANT_TITLES = {name: variant.title for name, variant in VARIANTS.items()}
"""What [A] calls each variant, in the order of its columns."""


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
        rows = (line.split() for line in _PRINTED[self.number].strip().splitlines())
        return {model: dict(zip(VARIANT_TITLES, entries, strict=True)) for model, *entries in rows}

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
    for schedule, number in first.items():
        for stage in stages:
            for split in splits:
                for field in fields:
                    what = f"full {field}" if stage == "full" else f"{field} after zoom"
                    title = f"{split.capitalize()} error on {what}"
                    tables.append(PaperTable(number, title, "error", schedule, split, stage, field))
                    number += 1
    return {table.number: table for table in sorted(tables, key=lambda table: table.number)}


_PRINTED = {
    1: """
    fc-t              14.34 14.37 14.34 14.22 14.26 14.22
    conv2d            23.30 23.31 23.30 12.63 12.64 12.63
    conv2d-t           1.52  1.52  1.52  0.81  0.81  0.81
    conv3d             7.25  7.25  7.25  3.83  3.83  3.83
    conv2.5d           2.72  2.72  2.72  1.46  1.46  1.46
    conv2.5db          1.63  1.64  1.63  0.85  0.86  0.85
    fc-t-boundary      0.27  0.28  0.27  0.26  0.26  0.26
    conv1d-boundary    6.98  6.99  6.98  3.65  3.66  3.65
    conv1d-t-boundary  0.45  0.45  0.45  0.24  0.24  0.24
    conv2d-boundary    2.19  2.19  2.19  1.13  1.13  1.13
    conv1.5d-boundary  1.18  1.19  1.18  0.61  0.62  0.61
    """,
    2: """
    fc-t               2.27  0.54  2.28  2.02  0.55  2.02
    conv2d             4.61  0.22  4.86  4.90  0.43  4.66
    conv2d-t          26.91  0.41 26.91 26.91  0.31 26.92
    conv3d             5.87  0.24  5.76  6.08  0.27  5.86
    conv2.5d           4.64  0.34  5.11  4.55  0.37  5.35
    conv2.5db          4.66  0.54  5.37  4.27  0.79  0.61
    """,
    3: """
    fc-t               2.26  0.63  2.42  2.27  0.60  2.25
    conv2d             4.30  0.18  4.55  4.55  0.22  4.31
    conv2d-t          21.69  0.25 21.69 21.68  0.27 21.69
    conv3d             6.06  0.23  5.83  6.02  0.26  5.96
    conv2.5d           4.44  0.25  4.78  4.33  0.43  4.81
    conv2.5db          4.47  0.63  4.80  4.18  0.58  0.54
    """,
    4: """
    fc-t               1.34  0.37  1.37  1.24  0.46  1.29
    conv2d             3.25  0.24  3.15  3.22  0.31  3.46
    conv2d-t          24.45  0.28 24.46 24.47  0.29 24.47
    conv3d             4.72  0.18  4.66  4.64  0.26  4.81
    conv2.5d           3.47  0.28  3.30  3.50  0.38  3.20
    conv2.5db          3.33  0.43  2.81  3.72  0.73  0.53
    """,
    5: """
    fc-t               1.60  0.43  1.61  1.55  0.48  1.55
    conv2d             3.02  0.18  2.88  2.95  0.24  3.19
    conv2d-t          20.56  0.25 20.55 20.55  0.26 20.57
    conv3d             4.93  0.17  5.02  5.02  0.23  5.14
    conv2.5d           3.22  0.24  3.01  3.29  0.43  3.14
    conv2.5db          2.92  0.58  2.60  3.30  0.54  0.48
    """,
    6: """
    fc-t               2.01  0.49  2.06  1.83  0.47  1.88
    conv2d             4.75  0.13  4.80  4.74  0.17  4.61
    conv2d-t          27.45  0.25 27.46 27.44  0.13 27.44
    conv3d             4.61  0.22  4.47  4.57  0.20  4.46
    conv2.5d           4.72  0.19  4.94  4.57  0.16  4.86
    conv2.5db          4.69  0.28  5.07  4.43  0.51  0.29
    fc-t-boundary      1.59  0.48  1.64  1.58  0.41  1.48
    conv1d-boundary    4.62  0.19  4.80  4.70  0.14  4.84
    conv1d-t-boundary 27.45  0.30 27.45 27.44  0.38 27.45
    conv2d-boundary   11.25  0.15 11.59 11.22  0.21 11.36
    conv1.5d-boundary  5.38  0.18  5.57  5.60  0.18  5.62
    """,
    7: """
    fc-t               2.80  0.65  2.85  2.64  0.65  2.71
    conv2d             4.42  0.12  4.47  4.41  0.15  4.29
    conv2d-t          22.49  0.18 22.49 22.48  0.09 22.47
    conv3d             4.57  0.18  4.44  4.52  0.18  4.44
    conv2.5d           4.45  0.21  4.66  4.35  0.17  4.56
    conv2.5db          4.42  0.39  4.66  4.23  0.55  0.37
    fc-t-boundary      2.35  0.62  2.42  2.28  0.54  2.21
    conv1d-boundary    4.30  0.16  4.45  4.37  0.13  4.48
    conv1d-t-boundary 22.49  0.21 22.49 22.48  0.24 22.49
    conv2d-boundary    9.58  0.11  9.85  9.52  0.17  9.62
    conv1.5d-boundary  5.80  0.20  5.93  5.95  0.18  5.83
    """,
    8: """
    fc-t               1.34  0.37  1.37  1.24  0.46  1.29
    conv2d             3.25  0.24  3.15  3.22  0.31  3.46
    conv2d-t          24.45  0.28 24.46 24.47  0.29 24.47
    conv3d             4.72  0.18  4.66  4.64  0.26  4.81
    conv2.5d           3.47  0.28  3.30  3.50  0.38  3.20
    conv2.5db          3.33  0.43  2.81  3.72  0.73  0.53
    fc-t-boundary      1.02  0.22  1.08  1.06  0.24  1.07
    conv1d-boundary    5.01  0.13  4.84  4.94  0.08  4.79
    conv1d-t-boundary 25.27  0.26 25.28 25.27  0.36 25.28
    conv2d-boundary   13.28  0.12 13.17 13.04  0.13 13.21
    conv1.5d-boundary  5.99  0.29  6.19  6.16  0.14  6.03
    """,
    9: """
    fc-t               2.13  0.43  2.28  2.11  0.43  2.08
    conv2d             2.84  0.14  2.80  2.90  0.19  3.02
    conv2d-t          21.76  0.09 21.77 21.76  0.09 21.74
    conv3d             3.90  0.13  3.98  3.99  0.10  4.02
    conv2.5d           3.00  0.17  2.97  3.06  0.13  3.11
    conv2.5db          2.97  0.30  2.77  3.26  0.43  0.39
    fc-t-boundary      1.77  0.35  1.76  1.65  0.38  1.79
    conv1d-boundary    4.39  0.12  4.25  4.27  0.07  4.20
    conv1d-t-boundary 21.76  0.16 21.77 21.76  0.24 21.76
    conv2d-boundary   11.51  0.12 11.38 11.26  0.12 11.40
    conv1.5d-boundary  6.29  0.29  6.38  6.46  0.15  6.42
    """,
    10: """
    fc-t               0.49  0.49  0.53  0.42  0.46  0.51
    conv2d             0.60  0.63  0.72  0.43  0.44  0.53
    conv2d-t           0.37  0.40  0.65  0.34  0.37  0.62
    conv3d             0.32  0.36  0.78  0.26  0.30  0.73
    conv2.5d           0.69  0.75  1.07  0.68  0.75  1.03
    conv2.5db          1.10  1.21  1.67  1.05  1.08  1.53
    fc-t-boundary      0.20  0.21  0.26  0.19  0.20  0.25
    conv1d-boundary    0.35  0.36  0.46  0.29  0.30  0.40
    conv1d-t-boundary  0.34  0.36  0.51  0.35  0.36  0.54
    conv2d-boundary    0.22  0.23  0.30  0.19  0.21  0.28
    conv1.5d-boundary  0.69  0.73  1.05  0.65  0.69  1.03
    """,
    11: """
    fc-t               0.88  0.21  0.86  0.76  0.23  0.75
    conv2d             0.11  0.10  0.13  0.12  0.08  0.13
    conv2d-t           0.22  0.19  0.24  0.25  0.21  0.28
    conv3d             0.12  0.09  0.12  0.14  0.11  0.15
    conv2.5d           0.15  0.15  0.14  0.13  0.12  0.17
    conv2.5db          0.15  0.16  0.16  0.16  0.16  0.19
    """,
    12: """
    fc-t               0.82  0.28  0.83  0.83  0.24  0.80
    conv2d             0.12  0.08  0.12  0.11  0.08  0.11
    conv2d-t           0.25  0.19  0.20  0.23  0.22  0.22
    conv3d             0.14  0.10  0.13  0.13  0.12  0.15
    conv2.5d           0.14  0.16  0.13  0.13  0.13  0.16
    conv2.5db          0.15  0.17  0.12  0.16  0.18  0.18
    """,
    13: """
    fc-t               0.92  0.27  0.90  0.80  0.28  0.78
    conv2d             1.12  0.77  1.22  1.13  0.79  1.11
    conv2d-t           0.24  0.22  0.26  0.27  0.23  0.31
    conv3d             0.23  0.20  0.24  0.23  0.19  0.24
    conv2.5d           0.55  0.64  0.54  0.53  0.58  0.51
    conv2.5db          0.66  0.63  0.63  0.54  0.68  0.68
    """,
    14: """
    fc-t               0.86  0.34  0.86  0.87  0.30  0.82
    conv2d             1.12  0.81  1.24  1.09  0.74  1.11
    conv2d-t           0.26  0.21  0.22  0.25  0.23  0.24
    conv3d             0.28  0.21  0.32  0.22  0.20  0.24
    conv2.5d           0.54  0.63  0.50  0.49  0.55  0.48
    conv2.5db          0.70  0.72  0.76  0.50  0.64  0.64
    """,
    15: """
    fc-t               0.79  0.17  0.75  0.64  0.19  0.61
    conv2d             0.04  0.03  0.05  0.05  0.03  0.05
    conv2d-t           0.12  0.10  0.12  0.13  0.11  0.16
    conv3d             0.06  0.04  0.05  0.06  0.06  0.08
    conv2.5d           0.07  0.08  0.05  0.07  0.06  0.09
    conv2.5db          0.07  0.08  0.07  0.08  0.07  0.12
    fc-t-boundary      0.55  0.17  0.56  0.52  0.17  0.51
    conv1d-boundary    0.03  0.02  0.03  0.04  0.02  0.05
    conv1d-t-boundary  0.09  0.08  0.07  0.12  0.11  0.11
    conv2d-boundary    0.04  0.06  0.06  0.06  0.06  0.05
    conv1.5d-boundary  0.05  0.02  0.04  0.05  0.03  0.04
    """,
    16: """
    fc-t               1.23  0.24  1.18  1.05  0.27  0.99
    conv2d             0.05  0.04  0.06  0.05  0.03  0.06
    conv2d-t           0.12  0.12  0.12  0.16  0.13  0.17
    conv3d             0.07  0.05  0.06  0.07  0.06  0.09
    conv2.5d           0.08  0.07  0.07  0.09  0.07  0.10
    conv2.5db          0.09  0.10  0.10  0.11  0.10  0.12
    fc-t-boundary      0.90  0.25  0.92  0.84  0.25  0.84
    conv1d-boundary    0.03  0.02  0.03  0.03  0.02  0.04
    conv1d-t-boundary  0.09  0.09  0.08  0.11  0.11  0.12
    conv2d-boundary    0.04  0.05  0.06  0.06  0.07  0.05
    conv1.5d-boundary  0.05  0.03  0.05  0.05  0.04  0.05
    """,
    17: """
    fc-t               0.92  0.27  0.90  0.80  0.28  0.78
    conv2d             1.12  0.77  1.22  1.13  0.79  1.11
    conv2d-t           0.24  0.22  0.26  0.27  0.23  0.31
    conv3d             0.23  0.20  0.24  0.23  0.19  0.24
    conv2.5d           0.55  0.64  0.54  0.53  0.58  0.51
    conv2.5db          0.66  0.63  0.63  0.54  0.68  0.68
    fc-t-boundary      0.60  0.23  0.62  0.58  0.25  0.58
    conv1d-boundary    1.51  1.42  1.55  1.57  1.33  1.45
    conv1d-t-boundary  0.13  0.11  0.11  0.16  0.14  0.15
    conv2d-boundary    0.30  0.24  0.28  0.25  0.23  0.25
    conv1.5d-boundary  0.78  1.07  1.03  0.96  0.85  1.02
    """,
    18: """
    fc-t               1.25  0.30  1.21  1.08  0.33  1.01
    conv2d             1.01  0.85  1.08  0.95  0.88  1.09
    conv2d-t           0.16  0.16  0.15  0.19  0.17  0.20
    conv3d             0.18  0.18  0.19  0.19  0.16  0.20
    conv2.5d           0.61  0.76  0.58  0.60  0.69  0.54
    conv2.5db          0.76  0.77  0.74  0.61  0.84  0.82
    fc-t-boundary      0.93  0.31  0.96  0.88  0.33  0.88
    conv1d-boundary    1.42  1.35  1.46  1.48  1.26  1.36
    conv1d-t-boundary  0.14  0.13  0.12  0.16  0.14  0.16
    conv2d-boundary    0.31  0.24  0.29  0.25  0.23  0.25
    conv1.5d-boundary  0.75  1.03  0.96  0.90  0.80  0.95
    """,
}

TABLES = _tables()
"""All eighteen, by number."""
