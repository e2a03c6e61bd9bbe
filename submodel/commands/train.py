"""Train a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from submodel.case import Case, CaseError
from submodel.commands.options import (
    CaseArgument,
    DeviceOption,
)
from submodel.refusals import refusals

EPILOG = "Example: submodel train cases/demo.toml --dataset demo.h5 -o demo.safetensors --seconds 120"


def train(
    case: CaseArgument,
    dataset: Annotated[Path, typer.Option(metavar="DATASET", help="Dataset with training samples (.h5).")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="GENERATOR", help="File to write (.safetensors).")],
    epochs: Annotated[int | None, typer.Option(help="Passes over the training samples; the case's by default.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Wall time of the training; the case's by default.")] = None,
    device: DeviceOption = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; a generator's steps are too small to gain from many.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and batches; the case's by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an unfinished training.")] = False,
) -> None:
    """Train the case's boundary generator on a dataset. Needs torch, not FEniCS."""
    from submodel.progress import show_progress
    from submodel.train import train_generator

    with refusals(), show_progress("train", 100.0, "%") as advance:
        if epochs is not None and seconds is not None:
            raise CaseError("--epochs and --seconds exclude each other: give one of them")
        trained = train_generator(
            Case.load(case),
            dataset,
            output,
            epochs=epochs,
            seconds=seconds,
            device=device,
            threads=threads,
            seed=seed,
            resume=resume,
            progress=lambda now: advance(
                100.0 * now.fraction,
                f"epoch {now.last.epoch}, loss {now.last.loss:.3g}, validation {now.last.validation:.3g}"
                f" (best {now.best:.3g})",
            ),
        )
    best, last = trained.best, trained.history[-1]
    typer.echo(
        f"{output}: {trained.generator.num_parameters} parameters, best of {len(trained.history)} epochs is "
        f"{best.epoch} (validation {best.validation:.3g}), {last.elapsed:.0f} s"
    )
