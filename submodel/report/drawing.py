"""Parts that all pictures share: style, colours, scales, the triangulated zone. No pyplot, so no state is left."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import TriMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.path import Path as Polygon
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.tri import Triangulation
from scipy.spatial import Delaunay

from submodel.case.quantities import Scale
from submodel.data.storage.whole import write_whole
from submodel.geometry.scene import Scene

Array = npt.NDArray[np.floating]
Layout = Literal["constrained", "compressed"]

WAVE = "RdBu_r"  # diverging, symmetric about a light zero, safe for colour-blind readers (ColorBrewer)
ERROR = "viridis"  # perceptually uniform

INK, QUIET = "#1b1f24", "#6b7280"
BEFORE, AFTER, GOOD = "#d55e00", "#0072b2", "#009e73"  # Okabe and Ito's colours

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "legend.fontsize": 9.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "#d9dde3",
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-3, 4),
}


def new_figure(width: float, height: float, *, layout: Layout = "constrained") -> Figure:
    """An empty figure of this size in inches, to be drawn inside ``matplotlib.rc_context(STYLE)``.

    The compressed layout is for panels of fixed aspect: it leaves no gaps between them.
    """
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as the content of a PNG file."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save(figure: Figure, path: Path | str, dpi: int = 150) -> Path:
    """Write the figure as PNG; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, png(figure, dpi))
    return path


def triangulate(scene: Scene) -> Triangulation:
    """The zone's triangles: those of the scene, else Delaunay's that lie inside Γ."""
    points = np.asarray(scene.zone_points, dtype=float)
    if scene.triangles is not None:
        return Triangulation(points[:, 0], points[:, 1], np.asarray(scene.triangles))
    triangles = Delaunay(points).simplices
    corners = points[triangles]
    edges = corners[:, 1:] - corners[:, :1]
    area = 0.5 * np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0])
    inside = np.zeros(len(triangles), dtype=bool)
    for outline in scene.gamma.outlines():  # even-odd rule: a loop inside another one is a hole
        inside ^= Polygon(outline).contains_points(corners.mean(axis=1))
    chosen = inside & (area > 1e-9 * area.max())
    if not chosen.any():
        raise ValueError("no triangle of the zone's nodes lies inside the interface; pass the scene's triangles")
    return Triangulation(points[:, 0], points[:, 1], triangles[chosen])


def symmetric_scale(*fields: Array) -> Normalize:
    """One colour scale, symmetric about zero, for all these values."""
    largest = max(float(np.max(np.abs(values))) for values in fields)
    return Normalize(-largest, largest) if largest > 0 else Normalize(-1.0, 1.0)


def magnification(difference: Array, scale: Normalize) -> float:
    """The largest factor 1, 2, 5, 10, ... that keeps a difference within the scale; 1 if none does."""
    largest = float(np.max(np.abs(difference)))
    if not scale.vmax or not 0.0 < largest < scale.vmax:
        return 1.0
    room = scale.vmax / largest
    power = 10.0 ** np.floor(np.log10(room))
    return float(max(step * power for step in (1.0, 2.0, 5.0) if step == 1.0 or step * power <= room))


def times_label(factor: float) -> str:
    """A factor for a title: ``×20``, or ``×2·10¹³`` in mathematical type."""
    if 1e-3 < factor < 1e4:
        return f"×{factor:g}"
    power = int(np.floor(np.log10(factor) + 1e-9))
    leading = factor / 10.0**power
    return rf"×$10^{{{power}}}$" if abs(leading - 1) < 1e-6 else rf"×${leading:.0f}\cdot 10^{{{power}}}$"


def extension(scale: Normalize, *fields: Array) -> str:
    """The ends of a colour bar that have arrows, as some values lie beyond its scale."""
    largest = max(float(np.max(np.abs(values))) for values in fields)
    return "both" if largest > (scale.vmax or 0.0) * (1 + 1e-12) else "neither"


def draw_field(axes: Axes, triangles: Triangulation, values: Array, scale: Normalize) -> TriMesh:
    """A smooth picture of nodal values; returns the mesh, whose values an animation replaces."""
    mesh = axes.tripcolor(triangles, np.asarray(values, dtype=float), shading="gouraud", cmap=WAVE, norm=scale)
    axes.set_aspect("equal")
    return mesh


def draw_outlines(axes: Axes, scene: Scene, *, domain: bool = False) -> None:
    """Γ, the defect if there is one and, on demand, ∂Ω."""
    for outline in scene.gamma.outlines():
        axes.plot(*outline.T, color=INK, linewidth=1.0)
    for outline in scene.domain_outline if domain else ():
        axes.plot(*outline.T, color=QUIET, linewidth=1.0)
    if scene.defect is not None:
        x, y, radius = scene.defect
        axes.add_patch(Circle((x, y), radius, fill=False, edgecolor=INK, linestyle="--", linewidth=1.0))


def bare(axes: Axes) -> None:
    """Take ticks and frame off an axes that only shows a field."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def frame_space(axes: Axes, scene: Scene) -> None:
    """Axes in the length unit, close around what was drawn; the outlines stand for the frame."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_aspect("equal")
    axes.margins(0.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    for axis, name in ((axes.xaxis, "x"), (axes.yaxis, "y")):
        measure(axis, name, scene.length_unit, axes.dataLim.get_points())


def measure(axis: Axis, name: str, unit: str, values: Any) -> None:
    """Label an axis by name and unit, which has a prefix where the values are small or large; ticks count in it.

    Args:
        axis: of a picture.
        name: of the quantity.
        unit: of the values.
        values: all that the axis shows.
    """
    scale = Scale.of(unit, values)
    axis.set_label_text(f"{name} ({scale.label})")
    if scale.factor != 1.0:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / scale.factor:g}".replace("-", "−")))


def halo(text: Text) -> None:
    """Make a text legible on any colour."""
    text.set_path_effects([withStroke(linewidth=3.0, foreground="white", alpha=0.85)])


def draw_source(axes: Axes, place: tuple[float, float] | Array) -> None:
    """A star at the source."""
    axes.plot(*place, "*", markersize=13, color="#f0e442", markeredgecolor=INK, zorder=5)


def color_bar(
    figure: Figure, axes: Any, scale: Normalize, label: str, *, cmap: str = WAVE, extend: str = "neither"
) -> None:
    """A colour bar for all these axes."""
    bar = figure.colorbar(
        ScalarMappable(scale, cmap), ax=axes, label=label, extend=extend, extendfrac=0.025, aspect=35, pad=0.02
    )
    bar.outline.set_linewidth(0.6)  # type: ignore[operator]
