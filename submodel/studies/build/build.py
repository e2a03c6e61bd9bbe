"""Build a generator to a tolerance: runs, the form that does best on those held out, its bound, a table and a chart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpi4py import MPI

from networks import checkpoint
from submodel.case.case import Case, CaseError
from submodel.case.quantities import seconds
from submodel.data.generator_file import Reached
from submodel.data.outputs import require_file
from submodel.learn.train import with_training
from submodel.predict.error_bound import COVERAGE
from submodel.predict.generator import Generator
from submodel.report.drawing import save
from submodel.solve.task_farm import on_root
from submodel.studies.build.chart import error_against_runs
from submodel.studies.build.search import Search, search
from submodel.studies.build.supply import Bar, CrossSupply, no_bar
from submodel.studies.build.weighing import Wanted, Weighing
from submodel.validate.calibrate import Calibrated, calibrate_held_out

FEWEST = 9
"""Runs held out that a bound of 90 % coverage needs."""


@dataclass(frozen=True)
class Built:
    """A finished build.

    Args:
        output: The generator's file.
        reached: Form and error of the generator.
        tolerance: Asked for.
        needed: Runs that the tolerance would take, where it was not reached and that can be guessed.
        well: The error is below the tolerance, and the check agreed.
        calibrated: The bound; None where too few runs were held out.
        seconds: All of it took.
    """

    output: Path
    reached: Reached
    tolerance: float
    needed: int | None
    well: bool
    calibrated: Calibrated | None
    seconds: float

    def lines(self) -> list[str]:
        """The report, a line each."""
        reached = self.reached
        lines = [f"{self.output}: {reached.form}", reached.words(), *(f"  {line}" for line in reached.lines)]
        if self.calibrated is None:
            lines.append(f"no error bound yet: {FEWEST} runs held out are needed for {100 * COVERAGE:g} % coverage")
        else:
            trust, num = self.calibrated.trust, self.calibrated.num_runs
            lines += [
                f"{name}: epsilon {100 * epsilon:.2g} % on average over {num} zone runs, bound "
                f"{100 * self.calibrated.bound[name]:.2g} % ({trust.basis(name)})"
                for name, epsilon in self.calibrated.epsilon.items()
            ]
        lines.append(f"{chart_path(self.output)}: error against runs; {seconds(self.seconds)} in all")
        return lines if self.well else [*lines, self.verdict()]

    def verdict(self) -> str:
        """The sentence for a tolerance that was not reached."""
        reached = self.reached
        words = (
            f"not reached: {100 * reached.error:.2g} ± {100 * reached.spread:.1g} % where {100 * self.tolerance:g} % "
            "was asked"
        )
        if reached.floor >= self.tolerance:
            return f"{words}; the number of frequencies alone leaves {100 * reached.floor:.2g} %"
        if self.needed is None:
            return f"{words}, and more runs of these kinds did not help: ask for less, or give more by --budget"
        return f"{words}; some {self.needed} runs would do: start it again with a larger --budget"


def dataset_path(output: Path) -> Path:
    """Where the runs of a generator lie."""
    return output.with_name(f"{output.stem}.cross.h5")


def chart_path(output: Path) -> Path:
    """Where the error is drawn against the runs."""
    return output.with_name(f"{output.stem}.png")


def build(
    case: Case,
    output: Path,
    wanted: Wanted,
    comm: MPI.Comm,
    *,
    announce: Callable[[str], None] | None = None,
    bar: Bar = no_bar,
) -> Built:
    """Make runs, a generator and its bound. Collective on comm.

    The runs lie in a dataset beside the generator, which grows; a build that was killed goes on from them, and takes
    the same decisions again.

    Args:
        case: What is run.
        output: The generator's file.
        wanted: Tolerance, form and limits.
        comm: Whose ranks share the runs.
        announce: Called on the root with sentences about the way.
        bar: Shows the progress of runs and of the calibration, on the root.

    Returns:
        The build, on every rank; the generator itself on the root alone.

    Raises:
        CaseError: The case cannot be run, or something cannot be written.
        DatasetError: The runs that are there are of another case, or damaged.
        GenerationError: A run failed.
    """
    own = _asked(case, wanted)
    if output.suffix != ".safetensors":
        raise CaseError(f"{output} is to hold a generator: let its name end in .safetensors")
    on_root(comm, lambda: require_file(output, "generator.safetensors"))
    tell: Callable[[str], None] = (lambda words: None) if announce is None or comm.rank > 0 else announce
    supply = CrossSupply(own, dataset_path(output), comm, bar, wanted.made_up)
    weighing = Weighing(own, supply, wanted, comm, tell)
    search_ended: Search | None = None
    well = weighing.operator_first()
    if not well and wanted.form != "operator":
        search_ended = search(
            supply, wanted.tolerance, wanted.budget, comm, announce=weighing.note
        )
        well = weighing.table(search_ended)
    summary = weighing.write(output)
    calibrated = _calibrate(own, output, weighing, comm, wanted.device, bar)
    on_root(comm, lambda: _draw(output, own, weighing, wanted))
    return Built(
        output=output,
        reached=summary,
        tolerance=wanted.tolerance,
        needed=None if search_ended is None else search_ended.needed(wanted.tolerance),
        well=well,
        calibrated=calibrated,
        seconds=wanted.budget.spent,
    )


def _asked(case: Case, wanted: Wanted) -> Case:
    """The case with its training as the build asks for it.

    Raises:
        CaseError: Things do not go together.
    """
    if wanted.form == "operator":
        if wanted.numbers is not None:
            raise CaseError(
                "--numbers is for wave tables: give an operator generator its size by [training] size in the case"
            )
        if wanted.made_up:
            raise CaseError("--made-up is for wave tables: leave it out, or ask for --form table")
        return case if case.training.model == "operator" else with_training(case, model="operator")
    return with_training(case, model="table", tolerance=wanted.tolerance, numbers=wanted.numbers)


def _calibrate(
    case: Case,
    output: Path,
    weighing: Weighing,
    comm: MPI.Comm,
    device: str,
    bar: Bar,
) -> Calibrated | None:
    """Calibrate the bound with the runs held out, and store it; None where they are too few. Collective."""
    generated = Generator.load(output, case, device)

    def runs() -> tuple[Any, Any, Any] | None:
        held_out = weighing.chosen.held_out
        if len(held_out.places) < FEWEST:
            return None
        vectors = held_out.vectors(case)
        return vectors, held_out.pairs(case, generated.gamma, vectors), held_out.residuals()

    made = on_root(comm, runs)
    if made is None:
        return None
    with bar("calibrate", "zone runs") as progress:
        calibrated = calibrate_held_out(case, generated, *made, comm, progress=progress)
    on_root(comm, lambda: checkpoint.update_metadata(output, {"trust": calibrated.trust.to_json()}))
    return calibrated


def _draw(output: Path, case: Case, weighing: Weighing, wanted: Wanted) -> None:
    """Draw the errors of the way. Root."""
    title = f"{case.name}: {weighing.chosen.reached.form}"
    save(error_against_runs(weighing.steps, wanted.tolerance, title), chart_path(output))
