"""Pictures of fields in the zone: snapshots, the final field, the run as a GIF, the picture of the README."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import TriMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from matplotlib.tri import Triangulation
from PIL import Image

from submodel.case.quantities import Scale, quantity
from submodel.data.storage.whole import write_whole
from submodel.geometry.metrics import QUIET_FRACTION
from submodel.geometry.scene import Integers, Scene
from submodel.report import drawing

Array = npt.NDArray[np.floating]
Progress = Callable[[int, int], None]


def snapshots(scene: Scene, times: Array, full: Array, zoomed: Array, *, num_times: int = 4) -> Figure:
    """Full, zoomed and their difference side by side at a few times, all in one colour scale.

    Where the difference is too small to be seen in that scale, a fourth column shows it magnified.

    Args:
        scene: Geometry.
        times: Time levels, shape (L,).
        full: Displacement of the full run in the zone, shape (L, N_z).
        zoomed: Displacement of the zone run, shape (L, N_z).
        num_times: Number of snapshots, spread evenly from the arrival of the wave to the end.
    """
    levels = _telling_levels(full, num_times)
    clock = Scale.of(scene.time_unit, times)
    difference = zoomed[levels] - full[levels]
    scale = drawing.symmetric_scale(full[levels], zoomed[levels])
    factor = drawing.magnification(difference, scale)
    columns = {"full FE": full[levels], "zoomed": zoomed[levels], "zoomed − full": difference}
    if factor > 1.0:
        columns[f"(zoomed − full) {drawing.times_label(factor)}"] = factor * difference
    width, height = _extent(scene)
    panel = 2.35
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(
            4 * panel + 1.1,
            (panel * min(height / width, 2.0) + 0.04) * len(levels) + 0.2,
            layout="compressed",
        )
        axes = figure.subplots(len(levels), len(columns), squeeze=False)
        triangles = drawing.triangulate(scene)
        for column, (title, values) in enumerate(columns.items()):
            axes[0, column].set_title(title)
            for row, level in enumerate(levels):
                drawing.draw_field(axes[row, column], triangles, values[row], scale)
                drawing.draw_outlines(axes[row, column], scene)
                drawing.bare(axes[row, column])
                if column == 0:
                    axes[row, 0].set_ylabel(f"t = {clock.text(times[level])}")
        extend = drawing.extension(scale, *columns.values())
        drawing.color_bar(figure, axes, scale, "displacement u", extend=extend)
    return figure


def field(scene: Scene, values: Array, *, time: float, title: str = "displacement u") -> Figure:
    """One field in the zone at one time, with axes in the length unit.

    Args:
        scene: Geometry.
        values: Nodal values, shape (N_z,).
        time: Its time.
        title: What the field is; also the label of the colour bar.
    """
    scale = drawing.symmetric_scale(values)
    width, height = _extent(scene)
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(6.4, 5.2 * min(max(height / width, 0.4), 1.8) + 0.3)
        axes = figure.subplots()
        drawing.draw_field(axes, drawing.triangulate(scene), values, scale)
        drawing.draw_outlines(axes, scene)
        drawing.frame_space(axes, scene)
        axes.set_title(f"{title} at t = {quantity(time, scene.time_unit, 4)}")
        drawing.color_bar(figure, axes, scale, title)
    return figure


def field_png(scene: Scene, values: Array, path: Path | str, *, time: float, title: str = "displacement u") -> Path:
    """Write `field` as a PNG."""
    return drawing.save(field(scene, values, time=time, title=title), path)


def run_gif(
    scene: Scene,
    times: Array,
    panels: Mapping[str, Array],
    path: Path | str,
    *,
    max_frames: int = 60,
    frames_per_second: float = 15.0,
    progress: Progress | None = None,
) -> Path:
    """Write a run as a GIF that repeats.

    Args:
        scene: Geometry.
        times: Time levels, shape (L,).
        panels: Title to field, each of shape (L, N_z), drawn side by side in one colour scale.
        path: The file; folders are made.
        max_frames: At most this many levels are drawn, evenly spread.
        frames_per_second: Speed.
        progress: Called with the number of frames done and the number in all.
    """
    if not panels or any(np.shape(values) != (len(times), len(scene.zone_points)) for values in panels.values()):
        shapes = {title: np.shape(values) for title, values in panels.items()}
        raise ValueError(
            f"a panel has shape ({len(times)} levels, {len(scene.zone_points)} nodes), "
            f"got {shapes or 'no panels'}; give one value a level and node"
        )
    levels = np.unique(np.linspace(0, len(times) - 1, min(len(times), max_frames)).round().astype(int))
    frames: list[Image.Image] = []
    with mpl.rc_context(drawing.STYLE):
        figure, meshes = _animated_figure(scene, panels, drawing.symmetric_scale(*panels.values()))
        heading, clock = figure.suptitle(" ", fontsize=10.5), Scale.of(scene.time_unit, times)
        for level in levels:
            for mesh, values in zip(meshes, panels.values(), strict=True):
                mesh.set_array(np.asarray(values[level], dtype=float))
            heading.set_text(f"t = {clock.text(times[level])}")
            frames.append(_frame(figure))
            if progress is not None:
                progress(len(frames), len(levels))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    still = [frame.quantize(palette=_palette(), dither=Image.Dither.NONE) for frame in frames]
    pause = round(1000 / frames_per_second)
    still[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=still[1:],
        duration=[pause] * (len(still) - 1) + [1000],
        loop=0,
        optimize=False,
    )
    write_whole(path, content.getvalue())
    return path


def hero(
    scene: Scene,
    domain_points: Array,
    domain_values: Array,
    full: Array,
    zoomed: Array,
    *,
    time: float,
    source: tuple[float, float],
    triangles: Integers | None = None,
) -> Figure:
    """The idea in one picture: Ω with the zone outlined, the zoomed run of the zone, its error.

    Args:
        scene: Geometry.
        domain_points: Nodes of Ω, shape (N, 2).
        domain_values: Displacement of the full run there, shape (N,).
        full: Displacement of the full run in the zone, shape (N_z,).
        zoomed: Displacement of the zone run, shape (N_z,).
        time: Time of all of them.
        source: Place of the source.
        triangles: Triangles of the nodes of Ω, shape (T, 3); None triangulates them.
    """
    difference = zoomed - full
    scale = drawing.symmetric_scale(full)
    factor = drawing.magnification(difference, scale)
    with mpl.rc_context(drawing.STYLE):
        figure = drawing.new_figure(12.0, 3.9, layout="compressed")
        left, middle, right = figure.subplots(1, 3)
        x, y = np.asarray(domain_points).T
        drawing.draw_field(left, Triangulation(x, y, triangles), domain_values, scale)
        drawing.draw_outlines(left, scene, domain=True)
        drawing.draw_source(left, source)
        drawing.halo(left.annotate("source", source, xytext=(0, 9), textcoords="offset points", ha="center"))
        zone = drawing.triangulate(scene)
        drawing.draw_field(middle, zone, zoomed, scale)
        drawing.draw_field(right, zone, factor * difference, scale)
        for axes, title in (
            (left, "full FE in Ω"),
            (middle, "zoomed run in Ω′"),
            (right, f"its error {drawing.times_label(factor)}"),
        ):
            axes.set_title(title)
            drawing.bare(axes)
        for axes in (middle, right):
            drawing.draw_outlines(axes, scene)
        _zoom_lines(figure, scene, left, middle)
        extend = drawing.extension(scale, domain_values)
        label = f"displacement u at t = {quantity(time, scene.time_unit, 4)}"
        drawing.color_bar(figure, [left, middle, right], scale, label, extend=extend)
    return figure


def _telling_levels(full: Array, num_times: int) -> npt.NDArray[np.intp]:
    """Levels spread evenly from the arrival of the wave, which is left out, to the end."""
    peak = np.abs(full).max(axis=1)
    loud = np.flatnonzero(peak >= QUIET_FRACTION * peak.max())
    return np.unique(np.linspace(loud[0], loud[-1], num_times + 1).round().astype(int)[1:])


def _extent(scene: Scene) -> tuple[float, float]:
    """Width and height of the zone."""
    width, height = np.ptp(np.asarray(scene.zone_points), axis=0)
    return float(width), float(height)


def _animated_figure(scene: Scene, panels: Mapping[str, Array], scale: Normalize) -> tuple[Figure, list[TriMesh]]:
    """A figure of one panel a field, and the meshes whose values make the animation."""
    width, height = _extent(scene)
    figure = drawing.new_figure(
        3.4 * len(panels) + 1.1, 3.4 * min(max(height / width, 0.4), 1.8) + 0.7, layout="compressed"
    )
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    triangles = drawing.triangulate(scene)
    meshes = []
    for panel, (title, values) in zip(axes, panels.items(), strict=True):
        meshes.append(drawing.draw_field(panel, triangles, values[0], scale))
        drawing.draw_outlines(panel, scene)
        drawing.bare(panel)
        panel.set_title(title)
    drawing.color_bar(figure, axes, scale, "displacement u")
    return figure, meshes


def _frame(figure: Figure) -> Image.Image:
    """The figure as it stands, as a picture without transparency."""
    canvas = figure.canvas
    if not isinstance(canvas, FigureCanvasAgg):
        raise ValueError(f"a frame is drawn by Agg, got {type(canvas).__name__}; make figures by drawing.new_figure")
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _palette() -> Image.Image:
    """The 256 colours of a GIF: the wave's colours, and grey levels for frame and letters."""
    colors = np.vstack(
        [mpl.colormaps[drawing.WAVE](np.linspace(0, 1, 224)), mpl.colormaps["gray"](np.linspace(0, 1, 32))]
    )
    image = Image.new("P", (1, 1))
    image.putpalette((255 * colors[:, :3]).round().astype(np.uint8).tobytes())
    return image


def _zoom_lines(figure: Figure, scene: Scene, whole: Axes, part: Axes) -> None:
    """Lines from the right-hand corners of the zone in Ω to the left-hand corners of its own picture."""
    lower = scene.gamma.points.min(axis=0)
    upper = scene.gamma.points.max(axis=0)
    for y in (lower[1], upper[1]):
        line = ConnectionPatch((upper[0], y), (lower[0], y), "data", "data", axesA=whole, axesB=part)
        line.set(color=drawing.INK, linewidth=0.7, linestyle=":")
        line.set_in_layout(False)
        figure.add_artist(line)
