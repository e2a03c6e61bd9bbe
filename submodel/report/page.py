"""The report of a validation: one self-contained HTML page, and its pictures as PNG beside it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from submodel.case.quantities import Scale, seconds
from submodel.data.storage.whole import write_whole
from submodel.report import charts, drawing, pictures
from submodel.report.wording import amount, count, facts, percent, size, verdict
from submodel.validate.result import FIELDS, STAGES, ValidationResult

Progress = Callable[[int, int], None]

PAGE = "report.html"
PICTURES = "pictures"


def write_report(result: ValidationResult, directory: Path | str, *, progress: Progress | None = None) -> Path:
    """Write ``report.html`` and ``pictures/*.png`` into a folder, which is made if need be.

    Args:
        result: The validation.
        directory: The folder; files of an earlier report are replaced.
        progress: Called with the number of pictures drawn and the number in all.

    Returns:
        The path of the page.
    """
    directory = Path(directory)
    drawn = draw_pictures(result, progress=progress)
    (directory / PICTURES).mkdir(parents=True, exist_ok=True)
    for name, content in drawn.items():
        write_whole(directory / PICTURES / f"{name}.png", content)
    page = directory / PAGE
    write_whole(page, render(result, drawn))
    return page


def draw_pictures(result: ValidationResult, *, progress: Progress | None = None) -> dict[str, bytes]:
    """All pictures of the report as contents of PNG files, by name."""
    best, worst, generator = result.best, result.worst, result.setting.generator
    drawings = {
        "error-over-time": lambda: charts.error_over_time(result),
        "worst-snapshots": lambda: pictures.snapshots(result.scene, result.times, worst.full, worst.zoomed),
        "best-snapshots": lambda: pictures.snapshots(result.scene, result.times, best.full, best.zoomed),
        "worst-traces": lambda: charts.traces(result, worst),
        "worst-space-time": lambda: charts.space_time(result, worst),
        "samples": lambda: charts.sample_map(result),
    }
    median = result.median
    if median is not None and median.index != worst.index:
        drawings["median-traces"] = lambda: charts.traces(result, median)
    if result.bounds is not None:
        drawings["bounds"] = lambda: charts.bounds(result)
    if best.index == worst.index:
        del drawings["best-snapshots"]
    overview = result.overview
    if overview is not None:
        source = result.setting.case.parameters.source(result.sample(worst.index).parameters)
        drawings["overview"] = lambda: pictures.hero(
            result.scene,
            overview.points,
            overview.values,
            worst.full[overview.level],
            worst.zoomed[overview.level],
            time=result.times[overview.level],
            source=source,
            triangles=overview.triangles,
        )
    if generator is not None and generator.history is not None:
        history = generator.history
        drawings["training"] = lambda: charts.training_curve(history)
    drawn: dict[str, bytes] = {}
    for name, draw in drawings.items():
        drawn[name] = drawing.png(draw())
        if progress is not None:
            progress(len(drawn), len(drawings))
    return drawn


def render(result: ValidationResult, drawn: Mapping[str, bytes]) -> str:
    """The page as a string, with the pictures inside as data URIs.

    Args:
        result: The validation.
        drawn: Pictures as contents of PNG files, as of `draw_pictures`.
    """
    environment = Environment(
        loader=PackageLoader("submodel.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, seconds=seconds, size=size, count=count, amount=amount)
    case = result.setting.case
    units, vectors = case.units, np.array([sample.parameters for sample in result.samples])
    uris = {name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in drawn.items()}
    return environment.get_template("report.html.j2").render(
        result=result,
        setting=result.setting,
        case=case,
        generator=result.setting.generator,
        verdict=verdict(result),
        facts=facts(result),
        scores={(stage, name): result.scores(stage, name) for stage in STAGES for name in FIELDS},
        stages=STAGES,
        fields=FIELDS,
        stage_labels=charts.STAGE_LABELS,
        pictures=uris,
        mean_bound=None if result.bounds is None else float(result.bounds.values.mean()),
        num_levels=len(result.times) * len(result.samples),
        omegas=Scale.of(f"rad/{units.time}", case.parameters.omegas(vectors)),
        places=Scale.of(units.length, case.parameters.sources(vectors)),
        written=date.today().isoformat(),
    )
