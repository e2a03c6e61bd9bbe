"""Parameter sets from a CSV file: one excitation a line."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from submodel.case.case import Case
from submodel.case.errors import CaseError

COLUMNS = ("omega", "x", "y")
EXAMPLE = "begin the file with the line omega,x,y and give one set a line, such as 12,0.6,0.7"


@dataclass(frozen=True)
class ParameterTable:
    """Parameter sets and where they stand.

    Args:
        path: The file.
        values: omega, x_s, y_s, shape ``(set, 3)``.
        lines: The line of each set.
    """

    path: Path
    values: NDArray[np.float64]
    lines: tuple[int, ...]

    @classmethod
    def read(cls, path: Path, case: Case) -> ParameterTable:
        """Read a file and see that the case can run all of it.

        Raises:
            CaseError: It cannot be read, has other columns or no sets, or a line is no set that the case can run.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin with a byte order mark
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise CaseError(f"cannot read the parameters {path} ({reason}): {EXAMPLE}") from error
        reader = csv.reader(text.splitlines(), skipinitialspace=True)
        header = [name.strip() for name in next(reader, [])]
        if sorted(header) != sorted(COLUMNS):
            raise CaseError(f"{path}: the first line is '{','.join(header)}': {EXAMPLE}")
        order = [header.index(name) for name in COLUMNS]
        rows, lines = [], []
        for row in reader:
            if not "".join(row).strip():
                continue
            where = f"{path}, line {reader.line_num}"
            rows.append(_numbers(row, order, where))
            lines.append(reader.line_num)
            try:
                case.check_parameters(*rows[-1])
            except CaseError as error:
                raise CaseError(f"{where}: {error}") from error
        if not rows:
            raise CaseError(f"{path} holds no parameter sets: {EXAMPLE}")
        return cls(path, np.array(rows), tuple(lines))

    def sets(self) -> list[tuple[float, float, float]]:
        """omega, x and y of each set."""
        omega, x, y = (map(float, column) for column in self.values.T)
        return list(zip(omega, x, y, strict=True))

    def where(self, number: int) -> str:
        """The place of a set, for a message."""
        return f"{self.path}, line {self.lines[number]}"


def _numbers(row: list[str], order: list[int], where: str) -> tuple[float, float, float]:
    """omega, x and y of a line."""
    if len(row) != len(order):
        raise CaseError(f"{where} has {len(row)} values, expected {len(order)}: {EXAMPLE}")
    try:
        omega, x, y = (float(row[place]) for place in order)
    except ValueError as error:
        raise CaseError(f"{where}: '{','.join(row)}' are no three numbers ({error}): {EXAMPLE}") from error
    return omega, x, y
