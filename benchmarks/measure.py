"""What the benchmarks of speed share: versions timed in turn, the memory's bandwidth, claims and where they are kept.

A claim is a ratio that was measured in one run, with the target that it is held against. Each script writes its claims
and tables to `benchmarks/results/performance/NAME.json`, from which `benchmarks/performance.py` renders the tables of
docs/performance.md.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "results" / "performance"


@dataclass(frozen=True)
class Claim:
    """A measured figure beside its target.

    Args:
        what: the claim in words, a sentence without its figure.
        measured: the figure.
        target: what was asked for; ``None`` where nothing was.
        unit: of both, such as "times", "us", "%".
        at_least: whether the figure is to be at least the target, or at most.
    """

    what: str
    measured: float
    target: float | None = None
    unit: str = "times"
    at_least: bool = True

    @property
    def reached(self) -> bool | None:
        """Whether the target was reached; ``None`` where there is none."""
        if self.target is None:
            return None
        return self.measured >= self.target if self.at_least else self.measured <= self.target

    def words(self) -> str:
        """One line."""
        said = f"{self.what}: {self.measured:.3g} {self.unit}"
        if self.target is None:
            return said
        bound = "at least" if self.at_least else "at most"
        return f"{said} (target {bound} {self.target:g}: {'reached' if self.reached else 'MISSED'})"


@dataclass(frozen=True)
class Table:
    """Rows to be read beside the claims.

    Args:
        title: what the table shows.
        columns: their names.
        rows: words or numbers; numbers are shown with three digits.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int]]


@dataclass
class Report:
    """What a script has measured.

    Args:
        name: of the script, and of its JSON file.
        command: that repeats it.
        claims: its claims.
        tables: what stands beside them.
        notes: sentences that belong to the figures, such as what was missing.
    """

    name: str
    command: str
    claims: list[Claim] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def claim(self, claim: Claim) -> None:
        """Add a claim, and print it."""
        self.claims.append(claim)
        print(claim.words(), flush=True)

    def table(self, table: Table) -> None:
        """Add a table, and print it."""
        self.tables.append(table)
        print(f"\n{table.title}\n" + "\n".join(" | ".join(map(cell, row)) for row in [table.columns, *table.rows]))

    def note(self, words: str) -> None:
        """Add a note, and print it."""
        self.notes.append(words)
        print(words, flush=True)

    def write(self, path: Path | None = None) -> Path:
        """Write the JSON file; the default is the one that is kept with the code."""
        path = path or FOLDER / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "command": self.command,
            "machine": machine(),
            "claims": [{**asdict(claim), "reached": claim.reached} for claim in self.claims],
            "tables": [asdict(table) for table in self.tables],
            "notes": self.notes,
        }
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return path


def cell(value: str | float | int) -> str:
    """A number or a word as it stands in a table."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def least(versions: Mapping[str, Callable[[], Any]], *, repeats: int, warm_up: int = 1) -> dict[str, float]:
    """Least seconds of a call of each version, all called in turn so that what disturbs one disturbs all.

    Args:
        versions: what is compared, by name.
        repeats: rounds that count.
        warm_up: rounds before them.
    """
    best = dict.fromkeys(versions, float("inf"))
    for turn in range(warm_up + repeats):
        for name, call in versions.items():
            start = time.perf_counter()
            call()
            seconds = time.perf_counter() - start
            if turn >= warm_up:
                best[name] = min(best[name], seconds)
    return best


def under_mpirun(script: str, num_ranks: int, arguments: Sequence[str]) -> dict[str, Any]:
    """Run a script on several ranks, one thread each, and read the JSON that its root prints last.

    Args:
        script: The file.
        num_ranks: How many.
        arguments: Of the script.

    Raises:
        SystemExit: It failed; with what it said.
    """
    command = ["mpirun", "-n", str(num_ranks), sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def machine() -> dict[str, Any]:
    """What the figures were taken on: processor, cores, load. Nothing that names the machine."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "numpy": np.__version__,
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
