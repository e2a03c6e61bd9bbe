"""The pages of a reproduction: Tables 1 to 18 as Markdown and HTML, what was reduced, a chart, and JSON."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from networks.paper.printed_tables import MODEL_TITLES, SCHEDULES, VARIANT_TITLES
from submodel import __version__
from submodel.case.case import Case
from submodel.data.storage.whole import write_json, write_whole
from submodel.report import drawing
from submodel.report.wording import amount
from submodel.studies.paper.bench import Options
from submodel.studies.paper.chart import error_against_parameters
from submodel.studies.paper.jobs import Job, Outcome
from submodel.studies.paper.side_by_side import DETAILS, Sizes, compare, details, markdown, markdown_details

PAPER_EPOCHS = {"short": 1000, "long": 10000}
CHART = "error-against-parameters.png"
UNIT_NOTE = (
    "[A] prints no unit. Its figures are set beside ours as they stand, as the fractions that its eq. 22 defines "
    "(0.08 is 8 %). Models that learnt nothing stand at 22 to 27 there, where eq. 22 never exceeds 1 for a prediction "
    "of zero: either [A] counts levels before the wave's arrival, where the quotient has no bound, or its figures are "
    "per cent. We leave out such levels (largest |u| below 1 % of the sample's own)."
)
COPY_NOTE = (
    "[A] prints the same figures for the zone's models before and after the zoom of the displacement (Tables 4 and 8, "
    "13 and 17), so one of each pair is a copy."
)


@dataclass(frozen=True)
class Setting:
    """Settings of a reproduction.

    Attributes:
        case: the case.
        dataset: name of its file.
        num_samples: by split.
        num_nodes: of Γ, and of the zone.
        options: of the training and validation.
        jobs: the selection.
        sizes: trainable numbers of all models at the case's sizes.
        still: error of predicting nothing, by field.
        command: that reproduces it.
    """

    case: Case
    dataset: str
    num_samples: dict[str, int]
    num_nodes: tuple[int, int]
    options: Options
    jobs: tuple[Job, ...]
    sizes: Sizes
    still: dict[str, float]
    command: str = ""


def write_page(setting: Setting, outcomes: Sequence[Outcome], folder: Path) -> dict[str, Path]:
    """Write ``tables.md``, ``tables.html``, ``tables.json`` and the chart. Local.

    Args:
        setting: what was run.
        outcomes: what the jobs left.
        folder: where to.

    Returns:
        What was written, by what it is.
    """
    compared = compare(outcomes, setting.sizes)
    files = {"Markdown": folder / "tables.md", "HTML": folder / "tables.html", "JSON": folder / "tables.json"}
    chart: bytes | None = None
    if any(outcome.errors for outcome in outcomes):
        chart = drawing.png(error_against_parameters(outcomes))
        files["chart"] = folder / CHART
        write_whole(files["chart"], chart)
    facts, notes = reductions(setting, outcomes), remarks(setting, outcomes)
    text = ["# Tables 1 to 18 of [A], the paper's figures and ours", ""]
    text += [f"- {fact}" for fact in [*facts, *notes]]
    text += ["", f"    {setting.command}", ""] if setting.command else [""]
    text += [f"![Error after the zoom against parameters]({CHART})", ""] if chart else []
    text += [markdown(table) for table in compared] + [markdown_details(outcomes)]
    write_whole(files["Markdown"], "\n".join(text))
    page = _template().render(
        setting=setting,
        facts=facts,
        notes=notes,
        tables=compared,
        variants=list(VARIANT_TITLES.values()),
        detail_columns=DETAILS,
        details=details(outcomes),
        chart=None if chart is None else f"data:image/png;base64,{base64.b64encode(chart).decode()}",
        written=date.today().isoformat(),
    )
    write_whole(files["HTML"], page)
    write_json(files["JSON"], _document(setting, outcomes, facts))
    return files


def reductions(setting: Setting, outcomes: Sequence[Outcome]) -> list[str]:
    """Sentences for the top of the page: the part of [A]'s programme that was run, and the rest."""
    case, options = setting.case, setting.options
    chosen = {job.schedule for job in setting.jobs}
    models = [model for model in MODEL_TITLES if any(job.model == model for job in setting.jobs)]
    variants = [variant for variant in VARIANT_TITLES if any(job.variant == variant for job in setting.jobs)]
    facts = [
        f"Case {case.name}: [A] gives no sizes, so the problem is ours; {case.time.levels} levels, "
        f"{setting.num_nodes[0]} nodes on Γ, {setting.num_nodes[1]} in Ω′; dataset {setting.dataset} with "
        f"{setting.num_samples['train']} training and {setting.num_samples['test']} test samples.",
        f"Models: {_some(models, MODEL_TITLES)}; variants: {_some(variants, VARIANT_TITLES)}.",
    ]
    for schedule in SCHEDULES:
        factor = 1 if schedule == "short" else 10
        ours, theirs = factor * options.epochs, PAPER_EPOCHS[schedule]
        tables = "Tables 2 to 10" if schedule == "short" else "Tables 11 to 18"
        if schedule not in chosen:
            facts.append(f"{tables} ({theirs} epochs in [A]): not run.")
        else:
            reduced = "as in [A]" if ours == theirs else f"reduced from {theirs} in [A]"
            facts.append(f"{tables}: {ours} epochs at most ({reduced}), {_stopping(schedule, outcomes)}.")
    done = {outcome.job for outcome in outcomes}
    if left := [job for job in setting.jobs if job not in done]:
        facts.append(f"{len(left)} of {len(setting.jobs)} models are not done yet: entries marked –.")
    if failed := [outcome for outcome in outcomes if outcome.failure is not None]:
        facts += [f"{outcome.job}: {outcome.failure}." for outcome in failed]
    if devices := sorted({outcome.device for outcome in outcomes if outcome.device}):
        facts.append(f"Trained on {'; '.join(devices)}; seed {options.seed}.")
    return facts


def remarks(setting: Setting, outcomes: Sequence[Outcome]) -> list[str]:
    """Remarks that a reader needs to compare the figures."""
    counts = next((outcome.num_samples for outcome in outcomes if outcome.num_samples), None)
    notes = [
        "Each entry is the mean of ε over samples and time levels ([A] eq. 22 and 23), a fraction. Train errors of "
        f"ours are over {setting.num_samples['train'] if counts is None else counts['train']} of "
        f"{setting.num_samples['train']} training samples, test errors over all {setting.num_samples['test']} test "
        "samples. The zone is run with the predicted displacement prescribed on Γ, as in [A].",
        UNIT_NOTE,
        "Predicting nothing (u = v = 0) gives "
        + " and ".join(f"{amount(value)} ({name})" for name, value in setting.still.items())
        + " on our test samples; a model with such an entry has learnt nothing of use.",
        COPY_NOTE,
    ]
    return notes


def _stopping(schedule: str, outcomes: Sequence[Outcome]) -> str:
    """The real lengths of the trainings of a schedule."""
    epochs = [outcome.epochs for outcome in outcomes if outcome.job.schedule == schedule and outcome.failure is None]
    rate = "learning rate 1e-3" if schedule == "short" else "learning rate from 1e-3 to 1e-4"
    if not epochs:
        return rate
    span = str(max(epochs)) if min(epochs) == max(epochs) else f"{min(epochs)} to {max(epochs)}"
    return f"{rate}; trainings ended after {span} epochs"


def _some(names: Sequence[str], titles: dict[str, str]) -> str:
    """Names by their titles, or that they are all."""
    return f"all {len(titles)}" if len(names) == len(titles) else ", ".join(titles[name] for name in names)


def _document(setting: Setting, outcomes: Sequence[Outcome], facts: list[str]) -> dict[str, Any]:
    return {
        "version": __version__,
        "case": setting.case.name,
        "command": setting.command,
        "facts": facts,
        "predicting_nothing": setting.still,
        "records": [outcome.to_json() for outcome in outcomes],
    }


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("submodel.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("tables.html.j2")
