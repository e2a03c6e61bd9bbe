"""Calibrate the error bound of a generator."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path
from typing import Annotated

import typer

from submodel.case.case import Case
from submodel.cli.terminal.errors import parallel
from submodel.cli.terminal.options import CaseArgument, Device, DeviceOption

EPILOG = "Example: submodel calibrate cases/paper2d.toml --dataset paper2d.h5 --generator paper2d.safetensors"


def calibrate(
    case: CaseArgument,
    dataset: Annotated[Path, typer.Option(metavar="D", help="Dataset with a calibration split (.h5).")],
    generator: Annotated[Path, typer.Option(metavar="G", help="Generator, whose file is rewritten (.safetensors).")],
    coverage: Annotated[float, typer.Option(help="Share of fresh samples for which the bound is to hold.")] = 0.9,
    device: DeviceOption = "auto",
) -> None:
    """Measure the generator's error on samples it has not seen, and store a bound of it in its file."""
    calibrate_file(case, dataset, generator, coverage, device)


def calibrate_where_possible(case: Case, name: str, dataset: Path, generator: Path, device: Device) -> None:
    """Calibrate a generator that was just made, where that can be done here; say so where not.

    Args:
        case: Of the generator.
        name: Of its file, for the command that does it later.
        dataset: What it was trained on; perhaps with calibration samples.
        generator: Its file, which is whole in any case.
        device: Where the network runs.
    """
    from submodel.data.dataset import reader_of

    later, last = ["submodel", "calibrate", name, "--dataset"], ["--generator", str(generator)]
    with reader_of(dataset).open(dataset) as data:
        num = data.manifest.counts().get("calibration")
    if num is None:
        typer.echo(f"no error bound yet: generate calibration samples, then {shlex.join([*later, 'DATASET', *last])}")
        return
    command = shlex.join([*later, str(dataset), *last])
    if not num:
        return
    if importlib.util.find_spec("dolfinx") is None:
        typer.echo(f"no error bound yet, it needs FEniCS: {command}")
        return
    try:
        calibrate_file(case, dataset, generator, 0.9, device)
    except typer.Exit:
        typer.echo(f"{generator} is whole, but has no error bound yet: {command}")


def calibrate_file(case: Case | Path, dataset: Path, generator: Path, coverage: float, device: Device) -> None:
    """Calibrate a generator's file for a case, or for that in a file, and print what came of it. Collective."""
    from submodel.cli.terminal.progress import count_progress
    from submodel.data.dataset import Dataset
    from submodel.validate.calibrate import calibrate as calibrate_generator

    with parallel() as comm:
        read = Case.load(case) if isinstance(case, Path) else case
        with Dataset.open(dataset) as data, count_progress("calibrate", "runs", shown=comm.rank == 0) as progress:
            done = calibrate_generator(read, data, generator, comm, coverage=coverage, device=device, progress=progress)
    if done is None:
        return
    typer.echo(f"{generator}: bound of epsilon with {100 * coverage:g} % coverage, from {done.num_runs} runs")
    for name, epsilon in done.epsilon.items():
        typer.echo(
            f"  {name}: epsilon {100 * epsilon:.3g} % on average, bound {100 * done.bound[name]:.3g} % "
            f"({done.trust.basis(name)})"
        )
