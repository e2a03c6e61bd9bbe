"""Compress a generator."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from submodel.cli.commands.calibrate import calibrate_where_possible
from submodel.cli.terminal.options import DeviceOption, choice

if TYPE_CHECKING:
    from networks.compression.report import Report

Method = Literal["svd", "cp", "tucker", "tt", "ctd", "pctd"]
Execution = Literal["auto", "factorised", "dense"]
Weighting = Literal["weights", "activations"]

EPILOG = (
    "Example: submodel compress paper2d.safetensors --method ctd --ratio 15 --fine-tune 30 --dataset paper2d.h5 "
    "-o small.safetensors"
)


def compress(
    generator: Annotated[Path, typer.Argument(metavar="GENERATOR", help="A trained generator (.safetensors).")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="File to write (.safetensors).")],
    method: Annotated[
        Method,
        choice(Method, "tt: tensor trains; ctd, pctd: coupled ones of layers of equal, or partly equal, shape."),
    ] = "tt",
    ratio: Annotated[float | None, typer.Option(help="Trainable numbers before to those after.")] = None,
    rank: Annotated[
        str | None,
        typer.Option(metavar="R or R,R", help="Rank of the layers; of ctd and pctd two, shared and own: 16,5."),
    ] = None,
    error: Annotated[float | None, typer.Option(help="Relative error of the output to allow, such as 0.05.")] = None,
    fine_tune: Annotated[float | None, typer.Option(metavar="SECONDS", help="Train it further for this long.")] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(metavar="DATASET", help="What to train it further on, and to calibrate it with (.h5)."),
    ] = None,
    weighting: Annotated[
        Weighting,
        choice(Weighting, "Whose error is made small: weights or outputs."),
    ] = "activations",
    execution: Annotated[
        Execution,
        choice(Execution, "How layers run; auto measures where it is used."),
    ] = "auto",
    device: DeviceOption = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads of the fine-tuning.")] = 1,
    seed: Annotated[int, typer.Option(help="Of random starts; the fine-tuning has that of the training.")] = 0,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away an unfinished fine-tuning, which goes on otherwise.")
    ] = False,
) -> None:
    """Compress a generator, and train it further where that is wanted. Needs torch, not FEniCS.

    The result is a generator like any other. The error bound of the original does not hold for it: it is calibrated
    anew where FEniCS is there and the dataset has calibration samples.
    """
    from networks.core.distributed import current_group
    from submodel.cli.terminal.progress import show_progress
    from submodel.learn.compress import Aim, compress_generator
    from submodel.learn.fine_tuning import FineTuning

    aim = Aim(method, ratio, _rank(rank), error, weighting, execution, seed)
    tuning = _tuning(FineTuning, fine_tune, dataset, threads)
    leads = current_group().leads
    shown = show_progress("fine-tune", 100.0, "%") if leads and tuning else nullcontext(lambda done, note: None)
    with shown as advance:
        done = compress_generator(
            generator,
            output,
            aim,
            tuning=tuning,
            device=device,
            restart=restart,
            report_to=_tell if leads else None,
            progress=lambda now: advance(100.0 * now.fraction, now.words),
        )
    if not leads:
        return
    size = f"{generator.stat().st_size / 1024:.0f} -> {output.stat().st_size / 1024:.0f} KiB"
    typer.echo(f"{output}: {done.generator.num_parameters} parameters, {size}")
    if done.trained is not None:
        typer.echo(f"fine-tuned: {done.trained.history.words}")
    if dataset is None:
        typer.echo(
            "no error bound, the original's does not hold: submodel calibrate CASE --dataset D --generator "
            + shlex.quote(str(output))
        )
    else:
        calibrate_where_possible(done.case, "CASE", dataset, output, device)


def _tell(report: Report, model: Any) -> None:
    """Print what was done, layer by layer, and how the layers run here."""
    from networks.execution.layers import words

    device = next(model.parameters()).device
    typer.echo(report.table())
    choice_words = f"measured on this machine ({device}) for one source" if report.measured else "as asked for"
    typer.echo(f"layers run {words(model)}, {choice_words}")


def _rank(text: str | None) -> int | tuple[int, int] | None:
    """A rank, or two between which a comma stands."""
    if text is None:
        return None
    try:
        ranks = [int(part) for part in text.split(",")]
    except ValueError:
        ranks = []
    if len(ranks) not in (1, 2) or min(ranks) < 0:
        raise ValueError(f"--rank takes one rank, or two with a comma such as 16,5, got {text!r}")
    return ranks[0] if len(ranks) == 1 else (ranks[0], ranks[1])


def _tuning(make: Any, seconds: float | None, dataset: Path | None, threads: int) -> Any:
    """The fine-tuning that is asked for, or None."""
    if seconds is None:
        return None
    if dataset is None:
        raise ValueError("--fine-tune needs what to learn from: give --dataset D")
    return make(dataset, seconds, threads=threads)
