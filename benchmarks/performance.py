"""Run the scripts behind the claims of speed one after another, and render docs/performance.md from what they wrote.

    ./run benchmarks                        # all of them, under 15 minutes
    ./run benchmarks --only zone peers      # some of them
    ./run benchmarks --quick                # that all of them run; figures and page stay as they are
    ./run benchmarks --render               # the page alone

Each script runs in a process of its own with one thread. One that fails is named at the end, and the others go on.
Where the peers lie in an environment of their own, its interpreter runs all: `./run PYTHON benchmarks/performance.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import FOLDER
from performance_page import PAGE, RenderError, render

BENCHMARKS = Path(__file__).parent
BUDGET = 15 * 60.0
"""Seconds that all scripts together may take."""

ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Script:
    """A script of claims.

    Args:
        name: Of the script and of its JSON file.
        arguments: Beside ``--output`` and ``--quick``, which every script takes.
    """

    name: str
    arguments: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Its file."""
        return BENCHMARKS / f"{self.name}.py"

    @property
    def command(self) -> str:
        """What a user types to run it alone."""
        return " ".join(("./run python3", f"benchmarks/{self.name}.py", *self.arguments))


SCRIPTS = tuple(
    Script(name)
    for name in (
        "ensemble",
        "peers",
        "generation",
        "scaling",
        "zone",
        "zoom_many",
        "layers",
        "epochs",
        "inference",
        "whole",
    )
)


@dataclass(frozen=True)
class Ran:
    """How a script went.

    Args:
        script: Which.
        seconds: How long it took.
        fault: Why it failed; ``None`` where it did not.
    """

    script: Script
    seconds: float
    fault: str | None


def run_script(script: Script, kept: Path | None) -> Ran:
    """Run a script in a process of its own; what it prints goes through.

    Args:
        script: Which.
        kept: Folder of its JSON, which is replaced once the script has succeeded; ``None`` for a quick look.
    """
    if not script.path.exists():
        return Ran(script, 0.0, f"there is no benchmarks/{script.path.name}")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / f"{script.name}.json"
        command = [sys.executable, str(script.path), *script.arguments, "--output", str(output)]
        start = time.monotonic()
        done = subprocess.run([*command, *([] if kept else ["--quick"])], env=os.environ | ONE_CORE, check=False)
        seconds = time.monotonic() - start
        if done.returncode:
            return Ran(script, seconds, f"exit status {done.returncode}")
        if not output.exists():
            return Ran(script, seconds, f"wrote no {output.name}")
        if kept and (num_claims(output) or not num_claims(kept / output.name)):
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(output, kept / output.name)
        elif kept:
            say(f"{script.name}: no claims could be measured, the figures that are kept stay")
    return Ran(script, seconds, None)


def num_claims(path: Path) -> int:
    """Claims of a report; none where it is not there."""
    return len(json.loads(path.read_text(encoding="utf-8")).get("claims", [])) if path.exists() else 0


def run_all(scripts: Sequence[Script], kept: Path | None, say: Callable[[str], None]) -> list[Ran]:
    """Run scripts one after another; a failure stops none of the others.

    Args:
        scripts: Which.
        kept: As of `run_script`.
        say: Is told what happens.
    """
    start, done = time.monotonic(), []
    for number, script in enumerate(scripts, 1):
        say(f"\n==== {number} of {len(scripts)}, {time.monotonic() - start:.0f} s so far: {script.command}")
        done.append(run_script(script, kept))
        if done[-1].fault:
            say(f"---- {script.name} FAILED: {done[-1].fault}")
    return done


def summary(done: Sequence[Ran]) -> list[str]:
    """How it went: the time, the slowest where it was too much, what failed."""
    total = sum(ran.seconds for ran in done)
    lines = [f"{len(done)} script{'' if len(done) == 1 else 's'} in {total:.0f} s"]
    if total > BUDGET:
        slowest = sorted(done, key=lambda ran: -ran.seconds)[:3]
        named = ", ".join(f"{ran.script.name} ({ran.seconds:.0f} s)" for ran in slowest)
        lines.append(f"warning: that is more than {BUDGET / 60:.0f} minutes; the slowest: {named}")
    failed = [f"{ran.script.name} ({ran.fault})" for ran in done if ran.fault]
    if failed:
        lines.append(f"FAILED: {', '.join(failed)}")
    return lines


def say(words: str) -> None:
    """Print at once, so that it stands before what the next script prints."""
    print(words, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    names = [script.name for script in SCRIPTS]
    parser = argparse.ArgumentParser(prog="./run benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="see that they run; keep no figures")
    parser.add_argument("--render", action="store_true", help="render docs/performance.md without running anything")
    options = parser.parse_args(arguments)
    scripts = [script for script in SCRIPTS if options.only is None or script.name in options.only]
    commands = {script.name: script.command for script in SCRIPTS}
    done = [] if options.render else run_all(scripts, None if options.quick else FOLDER, say)
    if not options.quick:
        try:
            PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), FOLDER, commands), encoding="utf-8")
        except (RenderError, OSError) as error:
            say(f"error: {error}")
            return 1
        say(f"\nrendered docs/{PAGE.name}")
    if done:
        say("\n".join(summary(done)))
    return int(any(ran.fault for ran in done))


if __name__ == "__main__":
    sys.exit(main())
