"""The budget of a build, in runs or in seconds."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Self

from submodel.case.errors import CaseError

START = (5, 10)
"""Direct and reciprocal runs that a build begins with."""
CHECK = 5
"""Direct runs of a check."""
UNITS = {"": None, "run": None, "runs": None, "s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """The most that a build may take; neither number for no limit.

    Args:
        runs: Direct and reciprocal runs together.
        seconds: Wall time of the build.
        begun: When it began, by `time.monotonic`.
    """

    runs: int | None = None
    seconds: float | None = None
    begun: float = field(default_factory=time.monotonic, compare=False)

    @classmethod
    def of(cls, text: str) -> Self:
        """Read "60" or "60 runs", "90s", "10min" or "1h".

        Raises:
            CaseError: It is neither; or so few that a build cannot begin.
        """
        found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([a-z]*)\s*", text)
        if found is None or found[2] not in UNITS:
            raise CaseError(f'"{text}" is no budget: write runs, as in 60, or a time, as in 90s, 10min or 1h')
        number, unit = float(found[1]), UNITS[found[2]]
        if unit is not None:
            if number <= 0:
                raise CaseError(f'a budget of "{text}" leaves no time: give more')
            return cls(seconds=number * unit)
        least = sum(START) + CHECK
        if number != int(number) or number < least:
            raise CaseError(
                f'a budget of "{text}" runs is too small: a build begins with {START[0]} + {START[1]} and checks '
                f"itself by {CHECK}, give {least} or more"
            )
        return cls(runs=int(number))

    def allows(self, runs: int, expected: float = 0.0) -> bool:
        """True where so many runs, all together, and so many seconds more are within it. Local."""
        if self.runs is not None and runs > self.runs:
            return False
        return self.seconds is None or self.spent + expected <= self.seconds

    @property
    def spent(self) -> float:
        """Seconds since it began. Local."""
        return time.monotonic() - self.begun

    @property
    def option(self) -> str | None:
        """The limit as `of` reads it; None for none."""
        if self.runs is not None:
            return str(self.runs)
        return None if self.seconds is None else f"{self.seconds:g}s"
