"""Parameter sets from a CSV file: one excitation a line."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from submodel.case.case import Case
from submodel.case.errors import CaseError
from submodel.case.parameters import Vector


@dataclass(frozen=True)
class ParameterTable:
    """Parameter sets and where they stand.

    Args:
        path: The file.
        values: Shape ``(set, axis)``, columns by `Parameters.names`.
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
        names = case.parameters.names
        example = (
            f"begin the file with the line {','.join(names)} and give one set a line, such as "
            f"{','.join(['12', '0.6', '0.7', *(f'{low:g}' for low, _ in case.parameters.extra.values())])}"
        )
        try:
            text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin with a byte order mark
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise CaseError(f"cannot read the parameters {path} ({reason}): {example}") from error
        reader = csv.reader(text.splitlines(), skipinitialspace=True)
        header = [name.strip() for name in next(reader, [])]
        if sorted(header) != sorted(names):
            raise CaseError(f"{path}: the first line is '{','.join(header)}': {example}")
        rows: list[Vector] = []
        lines = []
        for row in reader:
            if not "".join(row).strip():
                continue
            where = f"{path}, line {reader.line_num}"
            if len(row) != len(names):
                raise CaseError(f"{where} has {len(row)} values, expected {len(names)}: {example}")
            try:
                rows.append(case.parameters.from_cells(header, row))
            except ValueError as error:
                raise CaseError(f"{where}: '{','.join(row)}' are not numbers ({error}): {example}") from error
            lines.append(reader.line_num)
            try:
                case.require(rows[-1])
            except CaseError as error:
                raise CaseError(f"{where}: {error}") from error
        if not rows:
            raise CaseError(f"{path} holds no parameter sets: {example}")
        return cls(path, np.array(rows), tuple(lines))

    def where(self, number: int) -> str:
        """The place of a set, for a message."""
        return f"{self.path}, line {self.lines[number]}"
