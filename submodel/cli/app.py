"""The command line: puts the commands together. Heavy packages are imported inside the commands that need them."""

from __future__ import annotations

import os

import typer

from submodel.cli.commands import (
    build,
    calibrate,
    compress,
    generate,
    info,
    models,
    profile,
    train,
    validate,
    zoom,
)
from submodel.cli.terminal.command import Command

# read when NumPy and torch are imported: threads that spin while they wait, and two pools of them, slow a training
# tenfold as soon as a core is shared
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# PETSc would end the job with pages of its own when the reader of a pipe is gone
os.environ["PETSC_OPTIONS"] = f"{os.environ.get('PETSC_OPTIONS', '')} -no_signal_handler".strip()

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def _prepare() -> None:
    """Zoomed wave simulations: finite elements inside a zone of interest, a compact network on its boundary."""


for run, example in (
    (generate.generate, generate.EPILOG_GENERATE),
    (generate.check, generate.EPILOG_CHECK),
    (build.build, build.EPILOG),
    (train.train, train.EPILOG),
    (compress.compress, compress.EPILOG),
    (calibrate.calibrate, calibrate.EPILOG),
    (zoom.zoom, zoom.EPILOG),
    (validate.validate, validate.EPILOG),
    (models.models, models.EPILOG_MODELS),
    (models.reproduce, models.EPILOG_REPRODUCE),
    (profile.profile, profile.EPILOG),
    (info.info, info.EPILOG_INFO),
    (info.demo, info.EPILOG_DEMO),
):
    app.command(cls=Command, epilog=example)(run)


def main() -> None:
    """Entry point of the console script."""
    app()
