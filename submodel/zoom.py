"""One zoomed run: boundary data for a parameter vector, a zone run, its fields and pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.mesh import Defect
from solvers.trace import Trace
from solvers.zone import ZoneModel, ZoneRun
from submodel import build, paraview, pictures
from submodel.case import Case
from submodel.outputs import require_folder
from submodel.scene import Scene


@dataclass(frozen=True)
class Zoomed:
    """What a zoomed run left behind.

    Args:
        files: What was written, by what it is.
        parts: Steps of the zone to one level of the boundary data.
        peak: Largest |u| in the zone over the run.
        seconds: Time of the zone run alone.
    """

    files: dict[str, Path]
    parts: int
    peak: float
    seconds: float


def zoom(
    case: Case,
    trace: Callable[[], Trace],
    parameters: NDArray[np.float64],
    folder: Path,
    *,
    comm: MPI.Comm,
    boundary: str,
    interface: str | None = None,
    refine: int = 1,
    defect: Defect | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Zoomed | None:
    """Run the zone and write its fields, a picture of the final state and an animation. Collective on comm.

    Args:
        case: The case.
        trace: Gives the boundary data; called on the root.
        parameters: (omega, x_s, y_s), for the record.
        folder: Where the files go; made if need be.
        comm: Communicator that shares the zone.
        boundary: Words for where the boundary data came from, for the record.
        interface: Interface condition, the case's by default.
        refine: How many cells each cell's edge is divided into.
        defect: A disc with another wave speed.
        progress: Called on the root with the frames of the animation done and their number.

    Returns:
        On the root what was written, ``None`` elsewhere.

    Raises:
        CaseError: The folder cannot be written.
        ValueError: The zone cannot be built, or the boundary data do not fit it.
        DivergenceError: The run diverged.
    """
    require_folder(folder)
    model = build.zone_model(case, comm, interface=interface, refine=refine, defect=defect)
    data = model.boundary_source(comm.bcast(trace() if comm.rank == 0 else None))
    start = time.perf_counter()
    run = model.run(data)
    seconds = time.perf_counter() - start
    fields = paraview.write_fields(model, run, folder)
    displacement = model.gather(run.displacement)
    if displacement is None:
        return None
    files = {"fields for ParaView": fields} | _draw(case, model, run, displacement, folder, defect, progress)
    peak = float(np.abs(displacement).max())
    record = {
        "case": case.name,
        "parameters": dict(zip(("omega", "x", "y"), map(float, parameters), strict=True)),
        "boundary": boundary,
        "interface": model.condition,
        "alpha": model.alpha if model.condition == "impedance" else None,
        "refine": refine,
        "defect": None if defect is None else {"center": defect.center, "radius": defect.radius, "speed": defect.speed},
        "steps_per_level": model.parts,
        "peak_displacement": peak,
    }
    files["record"] = folder / "zoom.json"
    files["record"].write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Zoomed(files, model.parts, peak, seconds)


def _draw(
    case: Case,
    model: ZoneModel,
    run: ZoneRun,
    displacement: NDArray[np.float64],
    folder: Path,
    defect: Defect | None,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Path]:
    disc = None if defect is None else (*defect.center, defect.radius)
    scene = Scene.of_case(case, model.interface, model.points, defect=disc)
    final = pictures.field_png(scene, displacement[-1], folder / "final.png", time=float(run.times[-1]))
    animation = pictures.run_gif(
        scene, run.times, {"displacement u": displacement}, folder / "run.gif", progress=progress
    )
    return {"final field": final, "animation": animation}
