"""The chart of a reproduction: error after the zoom against parameters, the paper's models and ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from networks.paper.printed_tables import MODEL_TITLES, SCHEDULES, TABLES, VARIANT_TITLES, ZONE_MODELS, Schedule
from submodel.report import drawing
from submodel.studies.paper.jobs import Outcome

COLORS = {True: drawing.BEFORE, False: drawing.AFTER}  # by whether the model predicts the zone
KIND = {True: "predicts the zone", False: "predicts Γ"}
INSIDE: dict[str, Any] = {
    "ha": "center",
    "va": "center_baseline",
    "color": "white",
    "fontsize": 7.5,
    "fontweight": "bold",
}
AFTER_ZOOM: dict[Schedule, int] = {"short": 8, "long": 17}
"""[A]'s tables of the test error on displacement after the zoom."""


def error_against_parameters(outcomes: Sequence[Outcome]) -> Figure:
    """ε of the displacement after the zoom on test samples, by schedule; ours filled, the paper's hollow.

    Args:
        outcomes: of which those without errors are left out.

    Raises:
        ValueError: none has any.
    """
    done = [outcome for outcome in outcomes if outcome.errors]
    if not done:
        raise ValueError("no model has errors to be drawn: train and validate one first")
    schedules = [schedule for schedule in SCHEDULES if any(outcome.job.schedule == schedule for outcome in done)]
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(10.5, 4.8)
        panels = figure.subplots(1, len(schedules), sharey=True, squeeze=False)[0]
        for axes, schedule in zip(panels, schedules, strict=True):
            _draw_paper(axes, schedule)
            _draw_ours(axes, [outcome for outcome in done if outcome.job.schedule == schedule])
            axes.set(xscale="log", yscale="log", xlabel="trainable parameters, millions", title=f"{schedule} schedule")
            axes.grid(True, which="major")
        panels[0].set_ylabel("ε of displacement after the zoom, test")
        handles, labels = panels[0].get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=4)
        names = [f"{number} {title}" for number, title in enumerate(MODEL_TITLES.values(), 1)]
        handles = [Line2D([], [], linestyle="none") for _ in names]
        figure.legend(handles, names, loc="outside right center", handlelength=0, title="best variant of")
    return figure


def _draw_paper(axes: Axes, schedule: Schedule) -> None:
    """[A]'s models."""
    sizes, errors = TABLES[1], TABLES[AFTER_ZOOM[schedule]]
    for zone in (True, False):
        pairs = [(m, v) for m in MODEL_TITLES if (m in ZONE_MODELS) == zone for v in VARIANT_TITLES]
        x, y = [sizes.value(*pair) for pair in pairs], [errors.value(*pair) for pair in pairs]
        style: dict[str, Any] = {"s": 26, "facecolors": "none", "edgecolors": COLORS[zone], "linewidths": 0.8}
        axes.scatter(x, y, alpha=0.6, label=f"[A], {KIND[zone]}", **style)


def _draw_ours(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    """Our models; the best variant of each is a large dot with the model's number."""
    key = TABLES[AFTER_ZOOM["short"]].key
    for zone in (True, False):
        chosen = [outcome for outcome in outcomes if outcome.job.predicts_zone == zone]
        if chosen:
            x, y = [r.num_parameters / 1e6 for r in chosen], [r.errors[key].epsilon for r in chosen]
            axes.scatter(x, y, s=22, color=COLORS[zone], zorder=3, label=f"ours, {KIND[zone]}")
    for number, model in enumerate(MODEL_TITLES, 1):
        own = [outcome for outcome in outcomes if outcome.job.model == model]
        if own:
            best = min(own, key=lambda outcome: outcome.errors[key].epsilon)
            place = (best.num_parameters / 1e6, best.errors[key].epsilon)
            axes.scatter(*place, s=130, color=COLORS[best.job.predicts_zone], edgecolors="white", zorder=4 + number)
            axes.text(*place, str(number), zorder=4 + number, **INSIDE)
