"""Charts of a validation: error against time, training curve, map of the samples, traces on Γ."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from submodel.case.parameters import Parameters
from submodel.geometry.metrics import mean_over_samples
from submodel.report import drawing
from submodel.validate.result import FIELDS, STAGES, SampleTrace, TrainingHistory, ValidationResult

Array = npt.NDArray[np.floating]

STAGE_LABELS = {"before": "before, on Γ", "after": "after, in Ω′"}
STAGE_COLORS = {"before": drawing.BEFORE, "after": drawing.AFTER}


def error_over_time(result: ValidationResult) -> Figure:
    """ε(t) of [A] eq. 23 with the range over the samples, before and after the zoom, for both fields.

    Times at which some or all samples leave a level out (in Ω') are shaded.
    """
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(10.5, 3.9)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, name in zip(panels, FIELDS, strict=True):
            for stage in STAGES:
                curves = result.curves(stage, name)
                if np.nanmax(curves) == 0.0:
                    axes.plot([], [], color=STAGE_COLORS[stage], label=f"{STAGE_LABELS[stage]}: exactly 0")
                    continue
                _draw_band(axes, result.times, curves, STAGE_COLORS[stage], STAGE_LABELS[stage])
            axes.set(title=name, yscale="log")
            drawing.measure(axes.xaxis, "time t", result.scene.time_unit, result.times)
            _shade_left_out(axes, result.times, np.isnan(result.curves("after", name)))
            axes.set_xlim(result.times[0], result.times[-1])
            axes.yaxis.set_major_formatter(FuncFormatter(percent))
            axes.grid(True)
        panels[0].set_ylabel("error indicator ε(t)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def training_curve(history: TrainingHistory) -> Figure:
    """Losses against epochs, with the epoch whose weights were kept."""
    epochs = np.arange(1, len(history.train) + 1)
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(10.5, 3.4)
        axes = figure.subplots()
        axes.plot(epochs, history.train, color=drawing.AFTER, linewidth=1.1, label="training")
        if history.validation:
            axes.plot(epochs, history.validation, color=drawing.BEFORE, linewidth=1.1, label="validation")
        best, loss = history.best + 1, history.choice[history.best]
        axes.axvline(best, color=drawing.QUIET, linestyle=":", linewidth=1.0)
        label = f"kept: epoch {best}, {loss:.2g}"
        axes.plot(best, loss, "o", color=drawing.GOOD, markeredgecolor="white", label=label)
        axes.set(xlabel="epoch", ylabel="loss", yscale="log", xlim=(0, len(epochs) + 1))
        axes.grid(True)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


def sample_map(result: ValidationResult) -> Figure:
    """Places of the sources in Ω, and ε after the zoom against their frequency."""
    scene, split = result.scene, result.setting.split
    axes_of, vectors = result.setting.case.parameters, np.array([sample.parameters for sample in result.samples])
    epsilon = np.array([sample.epsilon for sample in result.samples])
    scale = _positive_scale(epsilon)
    dots: dict[str, Any] = {
        "c": epsilon,
        "cmap": drawing.ERROR,
        "norm": scale,
        "edgecolors": "white",
        "linewidths": 0.8,
    }
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(10.5, 4.7)
        place, frequency = figure.subplots(1, 2, width_ratios=(1.0, 1.1))
        drawing.draw_outlines(place, scene, domain=True)
        place.scatter(*axes_of.sources(vectors).T, s=64, label=split, zorder=3, **dots)
        frequency.scatter(axes_of.omegas(vectors), epsilon, s=64, zorder=3, **dots)
        _draw_training(place, frequency, axes_of, result.setting.training_parameters)
        drawing.frame_space(place, scene)
        place.set_title("place of the source in Ω (inner outline: Γ)")
        drawing.measure(frequency.xaxis, "ω", f"rad/{scene.time_unit}", axes_of.omegas(vectors))
        frequency.set(ylabel="ε, time mean", title="frequency of the source")
        frequency.set_ylim(0.0, float(epsilon.max()) * 1.2 or 1.0)
        frequency.yaxis.set_major_formatter(FuncFormatter(percent))
        frequency.grid(True)
        for index, word in _named(result).items():
            vector = result.sample(index).parameters
            _mark(place, axes_of.source(vector), word, below=index == result.worst.index)
            _mark(frequency, (float(axes_of.omegas(vector)), result.sample(index).epsilon), word)
        figure.legend(*place.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_training(place: Axes, frequency: Axes, parameters: Parameters, vectors: Array | None) -> None:
    """Sources of the training split as rings, their frequencies as ticks at the foot."""
    if vectors is None or not len(vectors):
        return
    color = drawing.QUIET
    style: dict[str, Any] = {"s": 14, "facecolors": "none", "edgecolors": color, "linewidths": 0.7}
    place.scatter(*parameters.sources(vectors).T, label="training", **style)
    foot = np.full(len(vectors), 0.015)
    ticks: dict[str, Any] = {"color": color, "markersize": 9, "transform": frequency.get_xaxis_transform()}
    frequency.plot(parameters.omegas(vectors), foot, "|", **ticks)


def bounds(result: ValidationResult) -> Figure:
    """ε of every sample beside the bound that the generator promised for it: against it, over ω and by place.

    Raises:
        ValueError: The result has no bounds.
    """
    if result.bounds is None:
        raise ValueError("this validation has no bounds to draw: the generator was not calibrated")
    promised, epsilon = result.bounds.values, result.epsilon
    held = result.bounds.held(epsilon)
    axes_of, vectors = result.setting.case.parameters, np.array([sample.parameters for sample in result.samples])
    omega, sources = axes_of.omegas(vectors), axes_of.sources(vectors)
    both = np.concatenate([promised, epsilon[epsilon > 0.0]])
    ends = (both.min() / 1.3, both.max() * 1.3)
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(13.5, 4.6)
        against, frequency, place = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 1.1))
        against.plot(ends, ends, color=drawing.QUIET, linestyle=":", linewidth=1.2, label="error = bound")
        frequency.plot(omega, promised, "_", color=drawing.INK, markersize=11, markeredgewidth=1.6, label="bound")
        for mask, color, label in ((held, drawing.GOOD, "held"), (~held, drawing.BEFORE, "exceeded")):
            if mask.any():
                dots: dict[str, Any] = {"s": 34, "color": color, "edgecolors": "white", "linewidths": 0.6, "zorder": 3}
                against.scatter(promised[mask], epsilon[mask], label=label, **dots)
                frequency.scatter(omega[mask], epsilon[mask], **dots)
        against.set(xlabel="bound of ε", ylabel="ε, time mean", title="error against bound")
        frequency.set_title("errors and bounds by frequency")
        drawing.measure(frequency.xaxis, "ω", f"rad/{result.scene.time_unit}", omega)
        for axes in (against, frequency):
            _scale_by_percent(axes, "y", ends)
            axes.grid(True)
        _scale_by_percent(against, "x", ends)
        drawing.draw_outlines(place, result.scene, domain=True)
        share = epsilon / promised
        scale = Normalize(0.0, max(1.0, float(share.max())))
        edges = np.where(held, "white", drawing.BEFORE)
        place.scatter(
            *sources.T, c=share, cmap=drawing.ERROR, norm=scale, s=64, edgecolors=edges, linewidths=1.2, zorder=3
        )
        drawing.frame_space(place, result.scene)
        place.set_title("error over bound, by place of the source")
        drawing.color_bar(figure, place, scale, "ε / bound", cmap=drawing.ERROR)
        labelled = [axes.get_legend_handles_labels() for axes in (against, frequency)]
        handles, labels = (first + second for first, second in zip(*labelled, strict=True))
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def traces(result: ValidationResult, fields: SampleTrace) -> Figure:
    """Predicted against true displacement at three nodes of Γ, and where these are."""
    scene = result.scene
    source = result.setting.case.parameters.source(result.sample(fields.index).parameters)
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(10.5, 5.2)
        grid = figure.add_gridspec(3, 2, width_ratios=(2.6, 1.0))
        place = figure.add_subplot(grid[:, 1])
        drawing.draw_outlines(place, scene, domain=True)
        drawing.draw_source(place, source)
        panels: list[Axes] = []
        for row, (node, title) in enumerate(_telling_nodes(scene.gamma.points, np.array(source), fields).items()):
            axes = figure.add_subplot(
                grid[row, 0], sharex=panels[0] if row else None, sharey=panels[0] if row else None
            )
            axes.plot(result.times, fields.trace_true[:, node], color=drawing.INK, linewidth=3.0, alpha=0.3)
            axes.plot(result.times, fields.trace_predicted[:, node], color=drawing.BEFORE, linewidth=1.3)
            axes.set_title(f"{'ABC'[row]}: {title}", loc="left")
            axes.tick_params(labelbottom=row == 2)
            axes.grid(True)
            panels.append(axes)
            place.plot(*scene.gamma.points[node], "o", color=drawing.BEFORE, markersize=7, zorder=4)
            place.annotate(
                "ABC"[row],
                scene.gamma.points[node],
                xytext=(7, 5),
                textcoords="offset points",
                weight="bold",
            )
        panels[1].set_ylabel("displacement u on Γ")
        panels[-1].set_xlim(result.times[0], result.times[-1])
        drawing.measure(panels[-1].xaxis, "time t", scene.time_unit, result.times)
        drawing.frame_space(place, scene)
        place.set_title("where they are (star: source)")
        figure.legend(panels[0].get_lines(), ["true (full FE)", _origin(result)], loc="outside lower center", ncols=2)
    return figure


def _telling_nodes(points: Array, source: Array, fields: SampleTrace) -> dict[int, str]:
    """Three nodes of Γ with their descriptions: nearest and farthest from the source, largest error.

    Where the largest error is at one of the first two, the third is halfway between them along Γ.
    """
    distance = np.linalg.norm(np.asarray(points) - source, axis=1)
    near, far = int(distance.argmin()), int(distance.argmax())
    worst = int(np.abs(fields.trace_predicted - fields.trace_true).max(axis=0).argmax())
    nodes = {near: "nearest to the source", far: "farthest from the source"}
    if worst in nodes:
        nodes[worst] += ", and largest error"
        nodes[(near + far) // 2] = "halfway between them along Γ"
    else:
        nodes[worst] = "largest error"
    return nodes


def space_time(result: ValidationResult, fields: SampleTrace) -> Figure:
    """Displacement on Γ over arc length and time: true, predicted, difference, in one colour scale."""
    difference = fields.trace_predicted - fields.trace_true
    scale = drawing.symmetric_scale(fields.trace_true, fields.trace_predicted)
    factor = drawing.magnification(difference, scale)
    panels = {
        "true (full FE)": fields.trace_true,
        _origin(result): fields.trace_predicted,
        f"difference {drawing.times_label(factor) if factor > 1.0 else ''}".rstrip(): factor * difference,
    }
    arc = result.scene.gamma.axis()
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(10.5, 4.3)
        axes = figure.subplots(1, 3, sharex=True, sharey=True)
        for panel, (title, values) in zip(axes, panels.items(), strict=True):
            panel.pcolormesh(
                arc, result.times, values, cmap=drawing.WAVE, norm=scale, shading="nearest", rasterized=True
            )
            panel.set_title(title)
            drawing.measure(panel.xaxis, "arc length", result.scene.length_unit, arc)
        drawing.measure(axes[0].yaxis, "time t", result.scene.time_unit, result.times)
        drawing.color_bar(figure, axes, scale, "displacement u", extend=drawing.extension(scale, *panels.values()))
    return figure


def _draw_band(axes: Axes, times: Array, curves: Array, color: str, label: str) -> None:
    """Mean over the samples as a line, their range as a band."""
    counted = ~np.isnan(curves).all(axis=0)
    low, high = (np.full(len(times), np.nan) for _ in range(2))
    low[counted], high[counted] = np.nanmin(curves[:, counted], axis=0), np.nanmax(curves[:, counted], axis=0)
    floor = np.nanmin(np.where(curves > 0, curves, np.nan))  # a logarithmic axis has no zero
    axes.fill_between(times, np.maximum(low, floor), high, color=color, alpha=0.18, linewidth=0)
    axes.plot(times, mean_over_samples(curves), color=color, label=label)


def _shade_left_out(axes: Axes, times: Array, left_out: npt.NDArray[np.bool_]) -> None:
    """Shade the levels that some samples leave out, and more darkly those that all do."""
    half = 0.5 * (times[1] - times[0])
    for shaded, color, label in (
        (left_out.any(axis=0), "#e9ecf0", "left out by some samples"),
        (left_out.all(axis=0), "#cdd2d9", "left out by all samples"),
    ):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], shaded, [False]]).astype(int)))
        for number, (first, end) in enumerate(edges.reshape(-1, 2)):
            start, stop = times[first] - half, times[end - 1] + half
            axes.axvspan(start, stop, color=color, linewidth=0, zorder=0, label=None if number else label)


def percent(value: float, _: object = None) -> str:
    """A fraction as percent, for an axis."""
    value *= 100
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:g} %"
    power = int(np.floor(np.log10(abs(value)) + 1e-9))
    leading = value / 10.0**power
    factor = "" if abs(leading - 1) < 1e-6 else rf"{leading:.2g}\cdot "
    return rf"${factor}10^{{{power}}}$ %"


def _scale_by_percent(axes: Axes, which: str, ends: tuple[float, float]) -> None:
    """A logarithmic axis in percent, with 2 and 5 labelled where it spans little."""
    axes.set(**{f"{which}scale": "log", f"{which}lim": ends})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(percent))
    size, pad = (mpl.rcParams[f"{which}tick.major.{name}"] for name in ("size", "pad"))
    axis.set_tick_params(which="minor", length=size, pad=pad)  # labels on one line
    axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axis.set_minor_formatter(FuncFormatter(percent) if ends[1] < 100.0 * ends[0] else NullFormatter())


def _positive_scale(epsilon: Array) -> Normalize:
    """A colour scale for errors: from zero up, or logarithmic over decades."""
    low, high = float(epsilon.min()), float(epsilon.max())
    if low > 0 and high / low > 100:
        return LogNorm(low, high)
    return Normalize(0.0, high or 1.0)


def _named(result: ValidationResult) -> dict[int, str]:
    """The samples that the pictures name."""
    if result.best.index == result.worst.index:
        return {result.best.index: f"{result.best.index}"}
    return {
        result.best.index: f"best ({result.best.index})",
        result.worst.index: f"worst ({result.worst.index})",
    }


def _origin(result: ValidationResult) -> str:
    """The origin of the boundary data, for a legend."""
    return "predicted" if result.setting.boundary == "generator" else "recorded"


def _mark(axes: Axes, place: tuple[float, float] | Array, word: str, *, below: bool = False) -> None:
    """Name a dot, on its left where the axes end soon on its right."""
    left, right = axes.get_xlim()
    late = place[0] > left + 0.75 * (right - left)
    offset = (-9 if late else 9, -24 if below else 16)
    text = axes.annotate(
        word,
        (place[0], place[1]),
        xytext=offset,
        textcoords="offset points",
        ha="right" if late else "left",
        arrowprops={"arrowstyle": "-", "color": drawing.INK, "linewidth": 0.8, "shrinkB": 4},
    )
    text.set(weight="bold", zorder=6)
    drawing.halo(text)
