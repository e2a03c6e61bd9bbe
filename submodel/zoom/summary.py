"""Summary of many zoomed runs: a table, a record, and a picture of the largest displacements."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from solvers.problems.zone import ZoneModel
from submodel.case.case import Case
from submodel.case.parameter_sets import ParameterTable
from submodel.case.parameters import Parameters
from submodel.data.zoom_file import ZoomedFile
from submodel.geometry.scene import Scene
from submodel.predict.generator import Generator
from submodel.report import drawing

Array = NDArray[np.float64]


def write_summary(
    case: Case,
    generated: Generator,
    table: ParameterTable,
    file: ZoomedFile,
    model: ZoneModel,
    settings: Mapping[str, Any],
    folder: Path,
    *,
    plain: bool,
) -> dict[str, Path]:
    """A table, a picture and a record of all sets. Root.

    Args:
        case: The case.
        generated: Has predicted the boundary data.
        table: The sets.
        file: Their fields.
        model: The zone.
        settings: Further entries of the record.
        folder: Where the files go.
        plain: Whether the zone is that of the calibration, without a defect.

    Returns:
        What was written, by what it is.
    """
    peaks = np.array(file.array("peak"), dtype=np.float64)
    bounds = _bounds(generated, table, model.condition.name) if plain else [None] * len(peaks)
    endings = {"table": "csv", "picture": "png", "record": "json"}
    files = {name: folder / f"zoomed.{ending}" for name, ending in endings.items()}
    with files["table"].open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["set", *case.parameters.names, "peak", "bound"])
        for number, (peak, bound) in enumerate(zip(peaks, bounds, strict=True)):
            promised = "" if bound is None else f"{bound:.4g}"
            writer.writerow([number, *(f"{value:.10g}" for value in table.values[number]), f"{peak:.7g}", promised])
    scene = Scene.of_case(case, model.gamma, model.points, triangles=model.triangles())
    drawing.save(peaks_figure(scene, case.parameters, table.values, peaks), files["picture"])
    record = {"case": case.name, "parameters": table.path.name, "sets": len(peaks), **settings}
    record["peak_displacement"] = {"smallest": peaks.min(), "largest": peaks.max()}
    files["record"].write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return files


def _bounds(generated: Generator, table: ParameterTable, interface: str) -> list[float | None]:
    """A bound of epsilon for each set, where there is one."""
    promised = generated.bounds(table.values, interface)
    if promised is None:
        return [None] * len(table.values)
    return [None if np.isnan(bound) else float(bound) for bound in promised]


def peaks_figure(scene: Scene, parameters: Parameters, vectors: Array, largest: Array) -> Figure:
    """The largest |u| of each run at the place of its source, and over its frequency.

    Args:
        scene: Geometry.
        parameters: Axes of the case.
        vectors: Shape ``(set, axis)``.
        largest: Shape ``(set,)``.
    """
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(10.4, 4.4)
        left, right = figure.subplots(1, 2)
        drawing.draw_outlines(left, scene, domain=True)
        size = float(np.clip(4000.0 / len(largest), 6.0, 60.0))
        drawn = left.scatter(*parameters.sources(vectors).T, c=largest, s=size, cmap="viridis", edgecolors="none")
        drawing.frame_space(left, scene)
        left.autoscale()
        left.set_aspect("equal")
        left.set_title(f"largest |u| in the zone, {len(largest)} sources")
        figure.colorbar(drawn, ax=left, label="largest |u|", shrink=0.85)
        right.scatter(parameters.omegas(vectors), largest, s=size, color=drawing.INK, edgecolors="none")
        drawing.measure(right.xaxis, "omega", f"rad/{scene.time_unit}", parameters.omegas(vectors))
        right.set_ylabel("largest |u|")
        right.set_ylim(bottom=0.0)
    return figure
