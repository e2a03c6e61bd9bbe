"""Time of full and zoomed runs against the size of the domain: where they are equal, when the training has paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from submodel.report import drawing

LARGE2D = 256.0
"""Area of large2d's domain over that of its zone."""


@dataclass(frozen=True)
class Size:
    """Seconds of a run in a domain of some size.

    Args:
        ratio: Of the domain's area to the zone's.
        full: A full run alone.
        zoom: A zoomed run alone.
        full_batched: A full run among others.
        zoom_batched: A zoomed run among others.
    """

    ratio: float
    full: float
    zoom: float
    full_batched: float
    zoom_batched: float


def runs_that_pay(size: Size, num_train: int, seconds: float) -> tuple[float, float]:
    """Zoomed runs after which full runs would have taken longer than training set, training and zoomed runs together.

    Args:
        size: Times of the runs.
        num_train: Runs of the training set, made in batches.
        seconds: Of the training.

    Returns:
        For runs one at a time, and in batches; infinite where zooming saves nothing.
    """
    spent = num_train * size.full_batched + seconds
    saved = (size.full - size.zoom, size.full_batched - size.zoom_batched)
    alone, batched = (spent / each if each > 0 else float("inf") for each in saved)
    return alone, batched


def where_equal(sizes: Sequence[Size]) -> tuple[float, float]:
    """Ratio of areas at which a full run costs as much as a zoomed one: alone, and in batches.

    Between two sizes, times are interpolated as powers of the ratio; beyond all of them they go on as at the end.
    """
    ratios = np.array([size.ratio for size in sizes])
    alone = np.array([size.full / size.zoom for size in sizes])
    batched = np.array([size.full_batched / size.zoom_batched for size in sizes])
    return _crossing(ratios, alone), _crossing(ratios, batched)


def _crossing(ratios: NDArray[np.float64], gains: NDArray[np.float64]) -> float:
    x, y = np.log(ratios), np.log(gains)
    first = int(np.clip((y > 0.0).argmax() - 1 if (y > 0.0).any() else len(y), 0, len(x) - 2))
    slope = (y[first + 1] - y[first]) / (x[first + 1] - x[first])
    return float(np.exp(x[first] - y[first] / slope))


def draw(sizes: Sequence[Size], trained: tuple[int, float], path: Path) -> None:
    """Write the picture.

    Args:
        sizes: Rising.
        trained: Runs of the training set, and seconds of training.
        path: The file.
    """
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(10.5, 4.4)
        left, right = figure.subplots(1, 2)
        _draw_times(left, sizes)
        _draw_payback(right, sizes, trained)
        figure.savefig(path, dpi=150)


def _draw_times(axes: Axes, sizes: Sequence[Size]) -> None:
    ratios = [size.ratio for size in sizes]
    series = {
        "full run": ([size.full for size in sizes], drawing.BEFORE, "-"),
        "full run, 8 at once": ([size.full_batched for size in sizes], drawing.BEFORE, "--"),
        "zoomed run": ([size.zoom for size in sizes], drawing.AFTER, "-"),
        "zoomed run, 8 at once": ([size.zoom_batched for size in sizes], drawing.AFTER, "--"),
    }
    for label, (seconds, color, line) in series.items():
        axes.plot(ratios, 1e3 * np.array(seconds), line, color=color, marker="o", markersize=4, label=label)
    levels = [size.zoom for size in sizes], [size.zoom_batched for size in sizes]
    for place, seconds, words in zip(where_equal(sizes), levels, ("alone", "8 at once"), strict=True):
        height = 1e3 * float(np.interp(np.log(place), np.log(ratios), seconds))
        axes.plot(place, height, "o", markersize=9, markerfacecolor="none", markeredgecolor=drawing.INK)
        axes.annotate(
            f"break-even {words}: {place:.2g}",
            (place, height),
            xytext=(8, -14),
            textcoords="offset points",
            fontsize=8.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0},
        )
    axes.set_ylim(0.5e3 * min(levels[1]), 2e3 * max(size.full for size in sizes))
    large = next((size for size in sizes if size.ratio == LARGE2D), None)
    if large is not None:
        _draw_gain(axes, large.full, large.zoom, LARGE2D)
    axes.set(
        title="a run of 511 levels, one core, assembled matrix",
        xlabel="area of the domain over that of the zone, |Ω| / |Ω′|",
        ylabel="milliseconds",
        xscale="log",
        yscale="log",
    )
    axes.grid(True)
    axes.legend(loc="upper left")


def _draw_gain(axes: Axes, full: float, zoom: float, ratio: float) -> None:
    arrow = {"arrowstyle": "<->", "color": drawing.QUIET, "shrinkA": 4, "shrinkB": 4}
    axes.annotate("", (ratio, 1e3 * full), xytext=(ratio, 1e3 * zoom), arrowprops=arrow)
    middle = 1e3 * float(np.sqrt(full * zoom))
    axes.annotate(
        f"{full / zoom:.0f} times\n(large2d)", (ratio, middle), xytext=(6, 0), textcoords="offset points", fontsize=8.5
    )


def _draw_payback(axes: Axes, sizes: Sequence[Size], trained: tuple[int, float]) -> None:
    pays = np.array([runs_that_pay(size, *trained) for size in sizes])
    for column, line, label in ((0, "-", "runs one at a time"), (1, "--", "runs 8 at once")):
        kept = np.isfinite(pays[:, column])
        ratios = np.array([size.ratio for size in sizes])[kept]
        axes.plot(ratios, pays[kept, column], line, color=drawing.GOOD, marker="o", markersize=4, label=label)
    axes.axhline(trained[0], color=drawing.QUIET, linewidth=1.0, linestyle=":")
    axes.annotate(
        f"the {trained[0]} runs of the training set",
        (0.0, trained[0]),
        xycoords=("axes fraction", "data"),
        xytext=(6, 3),
        textcoords="offset points",
        fontsize=8.5,
    )
    axes.set(
        title=f"zoomed runs that pay for {trained[0]} full runs and {trained[1]:g} s of training",
        xlabel="area of the domain over that of the zone, |Ω| / |Ω′|",
        ylabel="zoomed runs",
        xscale="log",
        yscale="log",
    )
    axes.grid(True)
    axes.legend(loc="upper right")
