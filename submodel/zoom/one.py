"""One zoomed run: boundary data for an excitation, a zone run, its fields and pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.gamma.trace import Trace
from solvers.problems.zone import ZoneModel, ZoneRun
from submodel.case.case import Case
from submodel.case.excitation import Excitation
from submodel.data.outputs import require_folder
from submodel.geometry.scene import Scene
from submodel.predict.prediction import Prediction
from submodel.report import pictures
from submodel.zoom import paraview
from submodel.zoom.setup import ZoneSetup
from submodel.zoom.streaming import CHUNK, StreamedBoundary


@dataclass(frozen=True)
class Zoomed:
    """Files and figures of a zoomed run.

    Args:
        files: What was written, by what it is.
        parts: Steps of the zone to one level of the boundary data.
        peak: Largest |u| in the zone over the run.
        seconds: Time of the zone run alone.
        num_chunks: In how many chunks of levels the boundary data were predicted, if not at once.
    """

    files: dict[str, Path]
    parts: int
    peak: float
    seconds: float
    num_chunks: int | None = None


@dataclass(frozen=True)
class BoundaryData:
    """Boundary data of a zoomed run, and where they come from.

    Args:
        excitation: The sources; a warning tells where their waves have too few nodes.
        make: Gives the data, recorded or predicted; called on the root.
        record: Entries of the record: the sources, and whatever else is to be kept.
    """

    excitation: Excitation
    make: Callable[[], Trace | Prediction]
    record: Mapping[str, Any]


def zoom(
    case: Case,
    data: BoundaryData,
    folder: Path,
    *,
    comm: MPI.Comm,
    setup: ZoneSetup,
    chunk: int | None = CHUNK,
    progress: Callable[[int, int], None] | None = None,
) -> Zoomed | None:
    """Run the zone and write its fields, a picture of the final state and an animation. Collective on comm.

    Args:
        case: The case.
        data: What drives the zone.
        folder: Where the files go; made if need be.
        comm: Communicator that shares the zone.
        setup: The zone.
        chunk: Levels of predicted data that are predicted at once, as the zone comes to them; ``None`` predicts all
            of them first.
        progress: Called on the root with the frames of the animation done and their number.

    Returns:
        On the root what was written, ``None`` elsewhere.

    Raises:
        CaseError: The folder cannot be written, or a source lies in the zone or outside the domain.
        ValueError: The zone cannot be built, or the boundary data do not fit it.
        DivergenceError: The run diverged.
    """
    require_folder(folder)
    omega = max(signal.highest_omega for signal in data.excitation.signals)
    model = setup.build(case, comm, data.excitation.points, omega)
    run, seconds, num_chunks = _run(model, data.make() if comm.rank == 0 else None, chunk, comm)
    fields = paraview.write_fields(model, run, folder)
    disc = None if setup.defect is None else (*setup.defect.center, setup.defect.radius)
    scene = Scene.of_case(case, model.gamma, model.points, defect=disc, triangles=model.triangles())
    displacement = model.gather(run.displacement)
    if displacement is None:
        return None
    files = {"fields for ParaView": fields} | _draw(scene, run, displacement, folder, progress)
    peak = float(np.abs(displacement).max())
    written = {"case": case.name, **data.record, **setup.record(model)}
    written |= {"levels_per_block": chunk if num_chunks is not None else None, "peak_displacement": peak}
    files["record"] = folder / "zoom.json"
    files["record"].write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return Zoomed(files, model.parts, peak, seconds, num_chunks)


def _run(
    model: ZoneModel, data: Trace | Prediction | None, chunk: int | None, comm: MPI.Comm
) -> tuple[ZoneRun, float, int | None]:
    """Run the zone on the root's data: the run, its seconds, and in how many chunks they came. Collective on comm."""
    if chunk is None or not comm.bcast(isinstance(data, Prediction)):
        trace = data.trace() if isinstance(data, Prediction) else data
        source = model.boundary_source(comm.bcast(trace))
        start = time.perf_counter()
        return model.run(source), time.perf_counter() - start, None
    streamed = StreamedBoundary(model, data if isinstance(data, Prediction) else None, chunk=chunk)
    start = time.perf_counter()
    return model.run(streamed), time.perf_counter() - start, streamed.num_chunks


def _draw(
    scene: Scene,
    run: ZoneRun,
    displacement: NDArray[np.float64],
    folder: Path,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Path]:
    final = pictures.field_png(scene, displacement[-1], folder / "final.png", time=float(run.times[-1]))
    animation = pictures.run_gif(
        scene, run.times, {"displacement u": displacement}, folder / "run.gif", progress=progress
    )
    return {"final field": final, "animation": animation}
