"""The command line. Heavy packages are imported inside the commands that need them."""

from __future__ import annotations

import json
import os
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from click import Choice

from submodel.case import Case, CaseError
from submodel.refusals import parallel, refusals
from submodel.sampling import SPLITS, Split

# read when NumPy and torch are imported: threads that spin while they wait, and two pools of them, slow a training
# tenfold as soon as a core is shared
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if TYPE_CHECKING:
    from submodel.boundary import Generated

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


Interface = Literal["dirichlet", "impedance"]
Device = Literal["auto", "cpu", "cuda"]
BoundaryKind = Literal["generator", "recorded"]

# what to install where a package is absent, by package
EXTRAS = {
    "conda (environment.yml)": {"basix", "dolfinx", "mpi4py", "petsc4py", "ufl"},
    "pip install 'submodel[fe]'": {"gmsh", "h5py"},
    "pip install 'submodel[nn]'": {"safetensors", "torch"},
    "pip install 'submodel[report]'": {"PIL", "jinja2", "matplotlib"},
}

CaseArgument = Annotated[Path, typer.Argument(metavar="CASE", help="Case file (.toml).")]
InterfaceOption = Annotated[
    Interface | None,
    typer.Option(click_type=Choice(get_args(Interface)), help="Interface condition; the case's by default."),
]
DeviceOption = Annotated[
    Device,
    typer.Option(
        click_type=Choice(get_args(Device)), help="Where the network runs; auto takes a GPU where there is one."
    ),
]
BoundaryOption = Annotated[
    BoundaryKind,
    typer.Option(click_type=Choice(get_args(BoundaryKind)), help="Predicted or recorded boundary data."),
]
SplitOption = Annotated[Split, typer.Option(click_type=Choice(SPLITS), help="Split of the dataset.")]


@app.callback()
def _prepare() -> None:
    """Zoomed wave simulations: finite elements inside a zone of interest, a compact network on its boundary."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"


@app.command(
    epilog="Example: mpirun -n 2 submodel generate cases/demo.toml -o demo.h5. Killed and started again, it goes on."
)
def generate(
    case: CaseArgument,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DATASET", help="Dataset to write (.h5).", show_default=False)
    ],
    train: Annotated[int | None, typer.Option(help="Training samples; the case's by default.")] = None,
    test: Annotated[int | None, typer.Option(help="Test samples; the case's by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the samples; the case's by default.")] = None,
    ranks_per_sample: Annotated[int, typer.Option(help="MPI ranks that share one run.")] = 1,
    fields: Annotated[bool, typer.Option(help="Store the fields in the zone, the truth of a validation.")] = True,
) -> None:
    """Run the full model for the samples of a case, in parallel under mpirun, and record the zone's traces."""
    from submodel.generate import generate as generate_dataset
    from submodel.progress import count_progress

    with parallel() as comm, count_progress("generate", "samples", shown=comm.rank == 0) as progress:
        done = generate_dataset(
            Case.load(case),
            output,
            train=train,
            test=test,
            seed=seed,
            ranks_per_sample=ranks_per_sample,
            fields=fields,
            comm=comm,
            progress=progress,
        )
    if comm.rank == 0:
        kept = f", {done.num_kept} were there" if done.num_kept else ""
        spent = f"{done.loop_seconds:.1f} s, set-up {done.setup_seconds:.1f} s"
        typer.echo(f"{output}: {done.num_made} samples made{kept} ({spent}, {comm.size} ranks)")


@app.command(epilog="Example: submodel check demo.h5 --json. The exit status is 0 when all is well, 1 when not.")
def check(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Dataset (.h5).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify checksums, shapes, finiteness and duplicates of a dataset."""
    from submodel.check import check as check_dataset

    with refusals():
        report = check_dataset(dataset)
    typer.echo(json.dumps(report.to_json(), indent=2) if as_json else "\n".join(report.lines()))
    raise typer.Exit(0 if report.ok else 1)


@app.command(epilog="Example: submodel train cases/demo.toml --dataset demo.h5 -o demo.safetensors --seconds 120")
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


@app.command(
    epilog="Example: submodel zoom cases/demo.toml --generator demo.safetensors --omega 5 --source 0.6 0.7 -o zoomed"
)
def zoom(
    case: CaseArgument,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to write.")],
    generator: Annotated[Path | None, typer.Option(metavar="G", help="Generator (.safetensors).")] = None,
    omega: Annotated[float | None, typer.Option(help="Angular frequency of the source, rad per unit of time.")] = None,
    source: Annotated[tuple[float, float] | None, typer.Option(metavar="X Y", help="Position of the source.")] = None,
    interface: InterfaceOption = None,
    refine: Annotated[int, typer.Option(help="Divide each cell's edge into this many.")] = 1,
    defect: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="X Y R SPEED", help="A disc in the zone with another wave speed."),
    ] = None,
    boundary: BoundaryOption = "generator",
    dataset: Annotated[Path | None, typer.Option(metavar="D", help="Dataset of a recorded trace.")] = None,
    split: SplitOption = "test",
    sample: Annotated[int | None, typer.Option(metavar="I", help="Number of the recorded sample.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Run the zone alone, for one parameter vector, and write its fields and pictures."""
    from solvers.mesh import Defect
    from submodel.progress import count_progress
    from submodel.zoom import zoom as zoom_in

    with parallel() as comm:
        read = Case.load(case)
        disc = None if defect is None else Defect((defect[0], defect[1]), defect[2], defect[3])
        if boundary == "recorded":
            _require_absent("--boundary recorded replays a sample", generator=generator, omega=omega, source=source)
            parameters, trace = _recorded(read, dataset, split, sample)
            words = f"recorded, sample {sample} of the {split} split of {dataset}"
        else:
            _require_absent("a generator predicts the boundary data", dataset=dataset, sample=sample)
            parameters, trace = _predicted(read, generator, omega, source, interface, device, warn=comm.rank == 0)
            words = f"predicted by {generator}"
        with count_progress("animate", "frames", shown=comm.rank == 0) as progress:
            zoomed = zoom_in(
                read,
                trace,
                parameters,
                output,
                comm=comm,
                boundary=words,
                interface=interface,
                refine=refine,
                defect=disc,
                progress=progress,
            )
    if zoomed is not None:
        each = "one step" if zoomed.parts == 1 else f"{zoomed.parts} steps"
        typer.echo(f"zone run in {1e3 * zoomed.seconds:.1f} ms ({each} a level), largest |u| {zoomed.peak:.4g}")
        for what, path in zoomed.files.items():
            typer.echo(f"  {what}: {path}")


@app.command(
    epilog="Example: submodel validate cases/demo.toml --dataset demo.h5 --generator demo.safetensors --report report"
)
def validate(
    case: CaseArgument,
    dataset: Annotated[Path, typer.Option(metavar="D", help="Dataset with fields in the zone (.h5).")],
    generator: Annotated[Path | None, typer.Option(metavar="G", help="Generator (.safetensors).")] = None,
    boundary: BoundaryOption = "generator",
    interface: InterfaceOption = None,
    split: SplitOption = "test",
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the errors as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Write report.html and its pictures.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Run the zone for every sample of a split and compare with full FE, before and after the zoom."""
    from submodel.boundary import Generated
    from submodel.dataset import Dataset
    from submodel.outputs import require_file, require_folder
    from submodel.progress import count_progress
    from submodel.report import write_report
    from submodel.validate import validate as validate_samples
    from submodel.wording import error_table

    with parallel() as comm:
        read = Case.load(case)
        if (boundary == "recorded") == (generator is not None):
            raise CaseError(
                "give either --generator G or --boundary recorded, so that it is clear what drives the zone"
            )
        if json_file is not None:
            require_file(json_file, "errors.json")
        if report is not None:
            require_folder(report)
        generated = None if generator is None else Generated.load(generator, read, device)
        with Dataset.open(dataset) as data, count_progress("validate", "samples", shown=comm.rank == 0) as progress:
            commands = _commands(case, dataset, generator, boundary, interface, split)
            result = validate_samples(
                read,
                data,
                generated,
                comm=comm,
                interface=interface,
                split=split,
                commands=commands,
                progress=progress,
            )
    if result is None:
        return
    typer.echo("\n".join(error_table(result)))
    if json_file is not None:
        json_file.write_text(json.dumps(result.to_json(), indent=2) + "\n", encoding="utf-8")
        typer.echo(f"errors: {json_file}")
    if report is not None:
        with count_progress("report", "pictures") as progress:
            page = write_report(result, report, progress=progress)
        typer.echo(f"report: {page}")


@app.command(epilog="Example: submodel info demo.safetensors")
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A case, a dataset or a generator.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe a case (.toml), a dataset (.h5) or a generator (.safetensors)."""
    from submodel.info import describe

    with refusals():
        facts = describe(file)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for name, fact in facts.items():
        typer.echo(f"{name:<{width}}  {fact}")


@app.command(epilog="Example: submodel demo")
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to write.")] = Path(
        "demo-output"
    ),
) -> None:
    """Generate, train, zoom and validate on a small problem; ends with a report."""
    from submodel.demo import run

    with refusals():
        result = run(output, typer.echo)
    typer.echo(
        f"\nDone in {result['seconds']:.0f} s. Zoomed runs for unseen parameters are within epsilon = "
        f"{100 * result['epsilon']:.2f} % of full FE (relative L2 {100 * result['relative_l2']:.2f} %).\n"
        f"The report: {output / 'report.html'}"
    )


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


def _predicted(
    case: Case,
    generator: Path | None,
    omega: float | None,
    source: tuple[float, float] | None,
    interface: str | None,
    device: str,
    *,
    warn: bool,
) -> tuple[Any, Any]:
    """Parameters, and a call that predicts their trace; everything is checked first."""
    import numpy as np

    if generator is None or omega is None or source is None:
        raise CaseError("a zoomed run needs --generator G, --omega W and --source X Y (or --boundary recorded)")
    from submodel.boundary import Generated

    case.check_parameters(omega, *source)
    generated: Generated = Generated.load(generator, case, device)
    generated.require(case.interface.kind if interface is None else interface)
    if warn and case.extrapolates(omega, *source):
        typer.echo(f"warning: omega {omega:g}, source {source} lie outside what {generator} was trained for", err=True)
    parameters = np.array([omega, *source])
    return parameters, lambda: generated.traces(parameters[None])[0]


def _recorded(case: Case, dataset: Path | None, split: Split, sample: int | None) -> tuple[Any, Any]:
    """Parameters of a recorded sample, and a call that reads its trace; everything is checked first."""
    from submodel.boundary import Recorded
    from submodel.dataset import Dataset

    if dataset is None or sample is None:
        raise CaseError("a recorded trace needs --dataset D and --sample I")
    with Dataset.open(dataset) as data:
        data.require_case(case)
        trace = Recorded(data, split).trace(sample)
        return data.parameters(split)[sample], lambda: trace


def _require_absent(because: str, **options: object) -> None:
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise CaseError(f"{because}: leave out {', '.join(given)}")


def _commands(
    case: Path,
    dataset: Path,
    generator: Path | None,
    boundary: BoundaryKind,
    interface: Interface | None,
    split: Split,
) -> tuple[str, ...]:
    """Command lines that lead to a validation, for its report."""
    made = [["mpirun", "-n", "2", "submodel", "generate", str(case), "-o", str(dataset)]]
    last = ["submodel", "validate", str(case), "--dataset", str(dataset)]
    if generator is not None:
        made.append(["submodel", "train", str(case), "--dataset", str(dataset), "-o", str(generator)])
        last += ["--generator", str(generator)]
    else:
        last += ["--boundary", boundary]
    if interface is not None:
        last += ["--interface", interface]
    if split != "test":
        last += ["--split", split]
    return tuple("./run " + shlex.join(command) for command in [*made, last])
