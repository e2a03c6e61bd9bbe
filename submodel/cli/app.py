"""The command line: puts the commands together. Heavy packages are imported inside the commands that need them."""

from __future__ import annotations

import os
import warnings

import typer

from submodel.cli.commands import calibrate, compress, generate, info, models, profile, reproduce, train, validate, zoom

# read when NumPy and torch are imported: threads that spin while they wait, and two pools of them, slow a training
# tenfold as soon as a core is shared
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

# what to install where a package is absent, by package
EXTRAS = {
    "conda (environment.yml)": {"basix", "dolfinx", "mpi4py", "petsc4py", "ufl"},
    "pip install 'submodel[fe]'": {"gmsh", "h5py"},
    "pip install 'submodel[nn]'": {"safetensors", "torch"},
    "pip install 'submodel[report]'": {"PIL", "jinja2", "matplotlib"},
}


@app.callback()
def _prepare() -> None:
    """Zoomed wave simulations: finite elements inside a zone of interest, a compact network on its boundary."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"


app.command(epilog=generate.EPILOG_GENERATE)(generate.generate)
app.command(epilog=generate.EPILOG_CHECK)(generate.check)
app.command(epilog=train.EPILOG)(train.train)
app.command(epilog=compress.EPILOG)(compress.compress)
app.command(epilog=calibrate.EPILOG)(calibrate.calibrate)
app.command(epilog=zoom.EPILOG)(zoom.zoom)
app.command(epilog=validate.EPILOG)(validate.validate)
app.command(epilog=models.EPILOG)(models.models)
app.command(epilog=reproduce.EPILOG)(reproduce.reproduce)
app.command(epilog=profile.EPILOG)(profile.profile)
app.command(epilog=info.EPILOG_INFO)(info.info)
app.command(epilog=info.EPILOG_DEMO)(info.demo)


def main() -> None:
    """Entry point: run a command; where a package is absent that it needs, say which."""
    try:
        app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((name for name, packages in EXTRAS.items() if package in packages), None)
        if extra is None:
            raise
        typer.echo(f"error: this command needs {package}, which is not installed here: use ./run, or {extra}", err=True)
        raise SystemExit(2) from error
