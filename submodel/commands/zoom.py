"""Run the zone for one excitation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from submodel.case import Case, CaseError
from submodel.commands.options import (
    BoundaryOption,
    CaseArgument,
    DeviceOption,
    InterfaceOption,
    SplitOption,
)
from submodel.refusals import parallel
from submodel.sampling import Split

EPILOG = "Example: submodel zoom cases/demo.toml --generator demo.safetensors --omega 5 --source 0.6 0.7 -o zoomed"


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
