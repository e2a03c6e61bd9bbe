"""The chart of a build: error against runs."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from submodel.report import drawing
from submodel.report.charts import percent
from submodel.studies.build.search import Step


def error_against_runs(steps: Sequence[Step], tolerance: float, title: str) -> Figure:
    """Errors that a build estimated on its way, with their standard errors, and the tolerance.

    Args:
        steps: In order.
        tolerance: Asked for.
        title: Of the chart.
    """
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(7.5, 4.2)
        axes = figure.subplots()
        kinds = (
            (False, drawing.AFTER, "o-", "direct runs held out in turn"),
            (True, drawing.BEFORE, "s", "direct runs predicted before they were added"),
        )
        for check, color, marker, label in kinds:
            mine = [step for step in steps if step.check == check]
            if not mine:
                continue
            runs, errors = [step.num_runs for step in mine], [step.error for step in mine]
            spread = [min(step.spread, 0.9 * step.error) for step in mine]  # a logarithm has no negative end
            axes.errorbar(runs, errors, spread, fmt=marker, color=color, capsize=3, label=label, zorder=3 + check)
        for step in steps:
            if not step.check:
                place = (step.num_runs, step.upper)
                axes.annotate(
                    f"{step.num_direct} + {step.num_reciprocal}",
                    place,
                    xytext=(0, 5),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                )
        axes.axhline(tolerance, color=drawing.GOOD, linestyle="--", linewidth=1.2, label="tolerance")
        axes.set(yscale="log", xlabel="runs, direct + reciprocal", ylabel="relative L2 error of u on Γ", title=title)
        axes.yaxis.set_major_formatter(FuncFormatter(percent))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.08, y=0.12)
        axes.grid(True)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
