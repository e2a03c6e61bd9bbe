"""Run the zone for one excitation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from submodel.case.case import Case, CaseError
from submodel.case.quantities import seconds
from submodel.case.sampling import Split
from submodel.cli.commands.zoom_many import many_sets
from submodel.cli.terminal.errors import parallel
from submodel.cli.terminal.options import (
    BoundaryOption,
    CaseArgument,
    DeviceOption,
    InterfaceOption,
    SplitOption,
    numbers,
)

if TYPE_CHECKING:
    from submodel.case.excitation import Excitation
    from submodel.predict.generator import Generator

EPILOG = (
    "Example: submodel zoom cases/paper2d.toml --generator paper2d.safetensors --omega 12 --source 0.6 0.7 -o zoomed"
)

SourceOption = Annotated[
    list[Any] | None,  # typer knows no list of pairs
    numbers("--source", "X Y", "Position of a source; again for each source."),
]


def zoom(
    case: CaseArgument,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to write.")],
    generator: Annotated[Path | None, typer.Option(metavar="G", help="Generator (.safetensors).")] = None,
    source: SourceOption = None,
    signal: Annotated[
        list[str] | None,
        typer.Option(metavar="S", help="sine, ricker, chirp or a CSV file (t, s); the case's by default."),
    ] = None,
    omega: Annotated[
        list[float] | None, typer.Option(help="Angular frequency of the source, rad per unit of time; a chirp's first.")
    ] = None,
    omega_end: Annotated[list[float] | None, typer.Option(help="A chirp's angular frequency at the end.")] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Value of another parameter of the case; again for each."),
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Run though parameters or signal lie outside the training.")
    ] = False,
    interface: InterfaceOption = None,
    refine: Annotated[int, typer.Option(help="Split every cell edge into this many parts.")] = 1,
    defect: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="X Y R SPEED", help="A disc in the zone with another wave speed."),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Overlap network and FE (default), or predict all at first.")
    ] = True,
    block: Annotated[int | None, typer.Option(metavar="LEVELS", help="Time levels of a block.")] = None,
    boundary: BoundaryOption = "generator",
    dataset: Annotated[Path | None, typer.Option(metavar="D", help="Dataset of a recorded trace.")] = None,
    split: SplitOption = "test",
    sample: Annotated[int | None, typer.Option(metavar="I", help="Number of the recorded sample.")] = None,
    device: DeviceOption = "auto",
    parameters: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Many sets instead, from a CSV file with the columns omega,x,y: one file."),
    ] = None,
) -> None:
    """Run the zone alone, for one or several sources, and write its fields and pictures."""
    from solvers.mesh.domain import Defect
    from submodel.cli.terminal.progress import count_progress
    from submodel.zoom.one import BoundaryData
    from submodel.zoom.one import zoom as zoom_in
    from submodel.zoom.setup import ZoneSetup
    from submodel.zoom.streaming import CHUNK

    with parallel() as comm:
        read = Case.load(case)
        disc = None if defect is None else Defect((defect[0], defect[1]), defect[2], defect[3])
        setup = ZoneSetup(interface, refine, disc)
        if parameters is not None:
            single = {"source": source, "omega": omega, "omega-end": omega_end, "signal": signal, "axis": axis}
            recorded = {"dataset": dataset, "sample": sample, "boundary": None if boundary == "generator" else boundary}
            _require_absent("--parameters gives many sets to a generator", **single, **recorded, block=block)
            if not stream:
                raise CaseError("--parameters predicts whole histories: leave out --no-stream")
            if generator is None:
                raise CaseError("zoomed runs of many sets need --generator G")
            many_sets(read, parameters, generator, output, comm, device, setup, extrapolate=extrapolate)
            return
        bound, execution = None, None
        if boundary == "recorded":
            given = {"generator": generator, "omega": omega, "source": source, "signal": signal, "axis": axis}
            _require_absent("--boundary recorded replays a sample", **given, omega_end=omega_end, block=block)
            record, data, excitation = _recorded(read, dataset, split, sample)
            record["boundary"] = f"recorded, sample {sample} of the {split} split of {dataset}"
        else:
            _require_absent("a generator predicts the boundary data", dataset=dataset, sample=sample)
            if not stream and block is not None:
                raise CaseError("--no-stream predicts all levels at first: leave out --block")
            if generator is None or not source:
                raise CaseError("a zoomed run needs --generator G, --omega W and --source X Y (or --boundary recorded)")
            excitation = _excitation(read, source, signal, omega, omega_end, axis)
            kind = read.interface.kind if interface is None else interface
            generated = _generated(read, generator, excitation, kind, device, extrapolate, warn=comm.rank == 0)
            execution = generated.execution
            record, bound = _record_and_bound(
                read, generated, excitation, kind, refined=refine != 1, changed=disc is not None
            )
            data = partial(generated.predict, [excitation])
            record["boundary"] = f"predicted by {generator}"
        with count_progress("animate", "frames", shown=comm.rank == 0) as progress:
            zoomed = zoom_in(
                read,
                BoundaryData(excitation, data, record),
                output,
                comm=comm,
                setup=setup,
                chunk=(block if block is not None else CHUNK) if stream else None,
                progress=progress,
            )
    if zoomed is None:
        return
    each = "one step" if zoomed.parts == 1 else f"{zoomed.parts} steps"
    typer.echo(f"zone run in {seconds(zoomed.seconds)} ({each} a level), largest |u| {zoomed.peak:.4g}")
    if zoomed.num_chunks is not None:
        typer.echo(f"boundary data predicted in {zoomed.num_chunks} blocks of levels, as the zone came to them")
    for line in (execution, bound):
        if line is not None:
            typer.echo(line)
    for what, path in zoomed.files.items():
        typer.echo(f"  {what}: {path}")


def _excitation(
    case: Case,
    source: list[Any],
    signal: list[str] | None,
    omega: list[float] | None,
    omega_end: list[float] | None,
    axis: list[str] | None,
) -> Excitation:
    from submodel.case.excitation import read_excitation

    values = {}
    for text in axis or ():
        name, _, value = text.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError as error:
            raise CaseError(f"--axis {text}: give a name and a number, such as --axis amplitude=1.5") from error
    return read_excitation(case, source, signal or (), omega or (), omega_end or (), values)


def _generated(
    case: Case,
    path: Path,
    excitation: Excitation,
    interface: str,
    device: str,
    extrapolate: bool,
    *,
    warn: bool,
) -> Generator:
    """The generator, once it is seen that it serves; what it was not trained for is warned of."""
    from submodel.predict.generator import Generator

    generated: Generator = Generator.load(path, case, device)
    generated.require(interface)
    for warning in generated.require_excitation(excitation, extrapolate=extrapolate):
        if warn:
            typer.echo(f"warning: {warning}", err=True)
    return generated


def _record_and_bound(
    case: Case, generated: Generator, excitation: Excitation, interface: str, *, refined: bool, changed: bool
) -> tuple[dict[str, Any], str]:
    """The excitation for the record, and the bound of the error in words for the terminal."""
    record: dict[str, Any] = {"sources": excitation.words()}
    parameters = excitation.parameters(case)
    if parameters is not None and len(parameters) == 1:
        record["parameters"] = case.parameters.named(parameters[0])
    if changed:
        return record | {"bound": None}, "no bound for epsilon: it is calibrated without a defect"
    bound = generated.bound(excitation, interface)
    record["bound"] = None if bound.value is None else {"epsilon": bound.value, "coverage": bound.coverage}
    if bound.expected is not None:
        record["expected_error"] = {"epsilon": bound.expected, "calibrated": False}
    note = " for the zone without --refine" if refined and bound.value is not None else ""
    return record, bound.words() + note


def _recorded(
    case: Case, dataset: Path | None, split: Split, sample: int | None
) -> tuple[dict[str, Any], Callable[[], Any], Excitation]:
    """The record of a recorded sample, a call that gives its trace, and its source; everything is checked first."""
    from submodel.case.excitation import Excitation
    from submodel.data.dataset import Dataset
    from submodel.predict.generator import RecordedTraces

    if dataset is None or sample is None:
        raise CaseError("a recorded trace needs --dataset D and --sample I")
    with Dataset.open(dataset) as data:
        data.require_case(case)
        trace = RecordedTraces(data, split).trace(sample)
        parameters = data.parameters(split)[sample]
    excitation = Excitation.of_parameters(case, parameters)
    return {"parameters": case.parameters.named(parameters)}, lambda: trace, excitation


def _require_absent(because: str, **options: object) -> None:
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise CaseError(f"{because}: leave out {', '.join(given)}")
