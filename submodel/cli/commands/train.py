"""Train a generator."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from submodel.case.case import Case
from submodel.case.models import Model
from submodel.case.training import Basis, Rays, Variant
from submodel.cli.commands.calibrate import calibrate_where_possible
from submodel.cli.terminal.options import CaseArgument, DeviceOption, choice, tolerance_option

EPILOG = "Example: submodel train cases/paper2d.toml --dataset paper2d.h5 -o paper2d.safetensors --seconds 120"


def train(
    case: CaseArgument,
    dataset: Annotated[
        Path, typer.Option(metavar="DATASET", help="Dataset with training samples, or a reciprocal one (.h5).")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="GENERATOR", help="File to write (.safetensors).")],
    model: Annotated[
        Model | None,
        choice(Model, "Network; the case's by default. See submodel models."),
    ] = None,
    variant: Annotated[
        Variant | None,
        choice(Variant, "Variant of a paper model, see submodel models; the case's by default."),
    ] = None,
    compressible: Annotated[
        bool | None,
        typer.Option("--compressible", help="Train a model of the paper for low ranks, see submodel compress."),
    ] = None,
    rays: Annotated[
        Rays | None,
        choice(Rays, "Rays that the operator generator is given."),
    ] = None,
    tolerance: Annotated[
        float | None,
        tolerance_option("Error of u on the zone's boundary that a wave table may have; the case's by default."),
    ] = None,
    basis: Annotated[
        Basis | None,
        choice(Basis, "Functions over the source area that a wave table is made of."),
    ] = None,
    numbers: Annotated[int | None, typer.Option(min=1, help="That a wave table may store, at most.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training samples; the case's by default, of a wave table none.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Wall time of the training; the case's by default.")] = None,
    device: DeviceOption = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; a generator's steps are too small to gain from many.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and batches; the case's by default.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away an unfinished training, which goes on otherwise.")
    ] = False,
) -> None:
    """Train the case's boundary generator on a dataset. Needs torch, not FEniCS.

    Where FEniCS is there and the dataset has calibration samples, the error bound of the generator is calibrated too.
    """
    from networks.core.distributed import current_group
    from submodel.cli.terminal.progress import show_progress
    from submodel.learn.train import train_generator, training_length, with_training

    if tolerance is not None and model is None:
        model = "table"
    changes = {"model": model, "variant": variant, "compressible": compressible, "rays": rays}
    read = with_training(Case.load(case), **changes, tolerance=tolerance, basis=basis, numbers=numbers)
    length = training_length(read, epochs=epochs, seconds=seconds, device=device, threads=threads, seed=seed)
    leads = current_group().leads
    shown = show_progress("train", 100.0, "%") if leads else nullcontext(lambda done, note: None)
    with shown as advance:
        trained = train_generator(
            read,
            dataset,
            output,
            length,
            restart=restart,
            progress=lambda now: advance(100.0 * now.fraction, now.words),
        )
    if not leads:
        return
    typer.echo(f"{output}: {trained.words}")
    for remark in trained.history.remarks if trained.reached is None else trained.reached.lines:
        typer.echo(f"note: {remark}")
    calibrate_where_possible(read, str(case), dataset, output, device)
