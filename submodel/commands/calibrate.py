"""Calibrate the error bound of a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from submodel.case import Case
from submodel.commands.options import CaseArgument, DeviceOption
from submodel.refusals import parallel

EPILOG = "Example: submodel calibrate cases/paper2d.toml --dataset paper2d.h5 --generator paper2d.safetensors"


def calibrate(
    case: CaseArgument,
    dataset: Annotated[Path, typer.Option(metavar="D", help="Dataset with a calibration split (.h5).")],
    generator: Annotated[Path, typer.Option(metavar="G", help="Generator, whose file is rewritten (.safetensors).")],
    coverage: Annotated[float, typer.Option(help="Share of fresh samples for which the bound is to hold.")] = 0.9,
    device: DeviceOption = "auto",
) -> None:
    """Measure the generator's error on samples it has not seen, and store a bound of it in its file."""
    from submodel.calibrate import calibrate as calibrate_generator
    from submodel.dataset import Dataset
    from submodel.progress import count_progress

    with parallel() as comm:
        read = Case.load(case)
        with Dataset.open(dataset) as data, count_progress("calibrate", "runs", shown=comm.rank == 0) as progress:
            done = calibrate_generator(read, data, generator, comm, coverage=coverage, device=device, progress=progress)
    if done is None:
        return
    typer.echo(f"{generator}: bound of epsilon with {100 * coverage:g} % coverage, from {done.num_runs} runs")
    for name, epsilon in done.epsilon.items():
        num = done.trust.models[name].num_runs
        typer.echo(
            f"  {name}: epsilon {100 * epsilon:.3g} % on average, bound {100 * done.bound[name]:.3g} % "
            f"(split conformal on {num} runs)"
        )
