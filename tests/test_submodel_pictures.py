"""Pictures: what they show, that they leave no state behind, and that their files can be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import QuadMesh, TriMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image
from synthetic_validation import TIMES, ZONE_POINTS, calibrated, recorded, result

from solvers.gamma.chart import ClosedLoops
from submodel.geometry.scene import Scene, outlines, rectangle
from submodel.report import charts, drawing, pictures
from submodel.validate.result import TrainingHistory

RESULT = result()
WORST = RESULT.worst


def meshes(figure: Figure) -> list[Any]:
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    return [item for axes in panels for item in axes.collections if isinstance(item, TriMesh | QuadMesh)]


def titles(figure: Figure) -> list[str]:
    return [text for axes in figure.axes for text in (axes.get_title(), axes.get_title("left")) if text]


def area(scene: Scene) -> float:
    triangles = drawing.triangulate(scene)
    corners = np.column_stack([triangles.x, triangles.y])[triangles.triangles]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return float(0.5 * np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum())


def scene_of(*outlines: np.ndarray, spacing: float = 0.25) -> Scene:
    """A lattice over the first outline's box, with closed polygons as Γ."""
    lower, upper = outlines[0].min(axis=0), outlines[0].max(axis=0)
    axes = [np.arange(a, b + spacing / 2, spacing) for a, b in zip(lower, upper, strict=True)]
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    loop = np.concatenate([np.full(len(outline) - 1, number) for number, outline in enumerate(outlines)])
    corners = np.concatenate([outline[:-1] for outline in outlines])
    return Scene(points, ClosedLoops.polygon(corners, loop))


def test_snapshots_share_one_symmetric_scale() -> None:
    figure = pictures.snapshots(RESULT.scene, TIMES, WORST.full, WORST.zoomed)
    shown = meshes(figure)
    assert len(shown) == 4 * 4
    limits = {(mesh.norm.vmin, mesh.norm.vmax) for mesh in shown}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == -high
    assert [label.get_text() for label in (axes.yaxis.label for axes in figure.axes[:13:4])][-1] == "t = 2.00 s"
    assert "zoomed − full" in titles(figure)


def test_snapshots_show_the_difference_magnified_by_what_the_title_says() -> None:
    figure = pictures.snapshots(RESULT.scene, TIMES, WORST.full, WORST.zoomed, num_times=1)
    _, _, difference, magnified = (np.asarray(mesh.get_array()) for mesh in meshes(figure))
    factor = float(titles(figure)[3].rpartition("×")[2])
    assert factor > 1
    np.testing.assert_allclose(magnified, factor * difference, rtol=1e-12)
    np.testing.assert_allclose(difference, WORST.zoomed[-1] - WORST.full[-1], rtol=1e-12)


def test_snapshots_of_an_exact_replay_have_no_magnified_column() -> None:
    figure = pictures.snapshots(RESULT.scene, TIMES, WORST.full, WORST.full)
    assert titles(figure) == ["full FE", "zoomed", "zoomed − full"]


@pytest.mark.parametrize(
    ("largest", "factor", "label"),
    [(0.3, 2, "×2"), (0.011, 50, "×50"), (1.0, 1, "×1"), (3.0, 1, "×1"), (0.0, 1, "×1")],
)
def test_magnification_fills_the_scale_but_does_not_leave_it(largest: float, factor: float, label: str) -> None:
    found = drawing.magnification(np.array([-largest, 0.0]), Normalize(-1, 1))
    assert found == pytest.approx(factor, rel=1e-12)
    assert drawing.times_label(found) == label


def test_very_large_factors_are_written_as_powers() -> None:
    assert drawing.times_label(1e15) == "×$10^{15}$"
    assert drawing.times_label(2e15) == r"×$2\cdot 10^{15}$"


def test_percent_labels() -> None:
    assert [charts.percent(value) for value in (0.0, 0.05, 1e-5, 1.0)] == ["0 %", "5 %", "0.001 %", "100 %"]
    assert charts.percent(1e-16) == "$10^{-14}$ %"
    assert charts.percent(3.5e-17) == r"$3.5\cdot 10^{-15}$ %"


def test_triangles_fill_the_zone_and_no_more() -> None:
    square = rectangle((0.0, 0.0), (2.0, 2.0))
    corner = np.array([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 0)], dtype=float)
    exact = 1e-12  # sums of a few dozen triangles
    assert area(scene_of(square)) == pytest.approx(4.0, rel=exact)
    assert area(scene_of(corner)) == pytest.approx(3.0, rel=exact)
    assert area(scene_of(square, rectangle((0.5, 0.5), (1.0, 1.5)))) == pytest.approx(3.5, rel=exact)


def test_given_triangles_are_used() -> None:
    square = scene_of(rectangle((0.0, 0.0), (1.0, 1.0)), spacing=1.0)
    one = Scene(square.zone_points, square.gamma, triangles=np.array([[0, 1, 2]]))
    assert area(one) == pytest.approx(0.5, rel=1e-12)


def test_nodes_outside_the_interface_are_refused() -> None:
    square = scene_of(rectangle((0.0, 0.0), (1.0, 1.0)))
    with pytest.raises(ValueError, match="no triangle of the zone's nodes lies inside the interface"):
        drawing.triangulate(Scene(square.zone_points + 5.0, square.gamma))


def test_field_png_has_the_units_of_the_case(tmp_path: Path) -> None:
    figure = pictures.field(RESULT.scene, WORST.zoomed[-1], time=2.0)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("x (m)", "y (m)")
    assert titles(figure) == ["displacement u at t = 2 s"]
    path = pictures.field_png(RESULT.scene, WORST.zoomed[-1], tmp_path / "new" / "final.png", time=2.0)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 400


def test_gif_has_the_frames_and_reports_its_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = pictures.run_gif(
        RESULT.scene,
        TIMES,
        {"full FE": WORST.full, "zoomed": WORST.zoomed},
        tmp_path / "new" / "run.gif",
        max_frames=5,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 5) for done in range(1, 6)]
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 5
        assert image.info["loop"] == 0
        first = np.asarray(image.convert("RGB")).astype(int)
        image.seek(4)
        last = np.asarray(image.convert("RGB")).astype(int)
    assert tuple(first[-1, 0]) == (255, 255, 255)
    assert np.abs(last - first).max() > 100  # the wave has come in


def test_gif_refuses_fields_of_another_shape(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a panel has shape \(25 levels, 81 nodes\), got {'u': \(25, 80\)}"):
        pictures.run_gif(RESULT.scene, TIMES, {"u": WORST.full[:, 1:]}, tmp_path / "run.gif")
    with pytest.raises(ValueError, match="got no panels"):
        pictures.run_gif(RESULT.scene, TIMES, {}, tmp_path / "run.gif")


def test_hero_shows_domain_zone_and_error() -> None:
    grid = np.linspace(-1, 1, 11)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    values = np.sin(3 * points[:, 0])
    full = np.sin(3 * ZONE_POINTS[:, 0])
    figure = pictures.hero(RESULT.scene, points, values, full, 1.009 * full, time=1.5, source=(0.6, 0.7))
    assert titles(figure) == ["full FE in Ω", "zoomed run in Ω′", "its error ×100"]
    assert drawing.png(figure).startswith(b"\x89PNG")


def test_error_over_time_shades_what_is_left_out() -> None:
    figure = charts.error_over_time(RESULT)
    assert titles(figure) == ["displacement", "velocity"]
    _, labels = figure.axes[0].get_legend_handles_labels()
    assert labels[:2] == ["before, on Γ", "after, in Ω′"]
    assert labels[-1] == "left out by all samples"
    line = figure.axes[0].get_lines()[1]
    curve = np.asarray(line.get_ydata(), dtype=float)
    np.testing.assert_allclose(curve, np.mean(RESULT.curves("after", "displacement"), axis=0), rtol=1e-12)
    assert np.isnan(curve[0])
    assert figure.axes[0].get_yscale() == "log"


def test_an_exact_replay_is_drawn_and_said_to_be_exact() -> None:
    exact = recorded()
    _, labels = charts.error_over_time(exact).axes[0].get_legend_handles_labels()
    assert labels[:2] == ["before, on Γ: exactly 0", "after, in Ω′: exactly 0"]
    for figure in (charts.sample_map(exact), charts.traces(exact, exact.worst), charts.space_time(exact, exact.worst)):
        assert drawing.png(figure).startswith(b"\x89PNG")


def test_training_curve_marks_the_weights_that_were_kept() -> None:
    train, validation = (1.0, 0.1, 0.01), (1.1, 0.05, 0.2)
    _, labels = charts.training_curve(TrainingHistory(train, validation)).axes[0].get_legend_handles_labels()
    assert labels == ["training", "validation", "kept: epoch 2, 0.05"]
    _, labels = charts.training_curve(TrainingHistory(train)).axes[0].get_legend_handles_labels()
    assert labels == ["training", "kept: epoch 3, 0.01"]


def test_sample_map_names_best_and_worst() -> None:
    place, frequency = charts.sample_map(RESULT).axes
    assert [text.get_text() for text in place.texts] == ["best (2)", "worst (1)"]
    np.testing.assert_allclose(np.asarray(place.collections[0].get_offsets())[1], (0.6, 0.7))
    assert frequency.get_xlabel() == "ω (rad/s)"


def test_traces_show_three_nodes_with_the_boundary_data_on_the_truth() -> None:
    figure = charts.traces(RESULT, WORST)
    assert len(titles(figure)) == 4
    panel = figure.axes[1]
    true, predicted = (np.asarray(line.get_ydata()) for line in panel.get_lines())
    node = int(np.linalg.norm(RESULT.scene.gamma.points - (0.6, 0.7), axis=1).argmin())
    np.testing.assert_array_equal(true, WORST.trace_true[:, node])
    np.testing.assert_array_equal(predicted, WORST.trace_predicted[:, node])


def test_bounds_show_every_sample_once_held_or_not() -> None:
    validated = calibrated()
    assert validated.bounds is not None
    against, frequency, place, _ = charts.bounds(validated).axes
    held, exceeded = (np.asarray(dots.get_offsets()) for dots in against.collections)
    assert (len(held), len(exceeded)) == (3, 1)
    np.testing.assert_allclose(exceeded[0], (validated.bounds.values[1], validated.epsilon[1]))
    assert np.all(held[:, 1] <= held[:, 0])
    vectors = np.array([sample.parameters for sample in validated.samples])
    drawn = np.concatenate([np.asarray(dots.get_offsets()) for dots in frequency.collections])
    order = np.argsort(drawn[:, 1])
    assert sorted(drawn[:, 0]) == sorted(vectors[:, 0])
    np.testing.assert_allclose(drawn[order, 1], np.sort(validated.epsilon))
    np.testing.assert_array_equal(frequency.get_lines()[0].get_ydata(), validated.bounds.values)
    (dots,) = (each for each in place.collections if each.get_array() is not None)
    np.testing.assert_allclose(np.asarray(dots.get_offsets()), vectors[:, 1:])
    np.testing.assert_allclose(np.asarray(dots.get_array()), validated.epsilon / validated.bounds.values)
    with pytest.raises(ValueError, match="no bounds to draw: the generator was not calibrated"):
        charts.bounds(RESULT)


def test_space_time_covers_the_interface_and_all_times() -> None:
    true, predicted, difference = meshes(charts.space_time(RESULT, WORST))
    np.testing.assert_array_equal(np.asarray(true.get_array()), WORST.trace_true)
    np.testing.assert_array_equal(np.asarray(predicted.get_array()), WORST.trace_predicted)
    assert difference.norm is true.norm


def test_no_state_is_left_behind() -> None:
    before = dict(mpl.rcParams)
    drawing.png(charts.error_over_time(RESULT))
    assert dict(mpl.rcParams) == before
    code = "import sys, submodel.report.page, submodel.report.pictures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


def test_outlines_of_a_square_ring_are_two_closed_loops() -> None:
    """Eight squares around a hole: an outer loop of 12 edges and an inner one of 4."""
    x, y = np.meshgrid(np.arange(4.0), np.arange(4.0))
    corner = [4 * row + column for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    triangles = np.array([t for c in corner for t in ((c, c + 1, c + 5), (c, c + 5, c + 4))])
    loops = outlines(np.column_stack([x.ravel(), y.ravel()]), triangles)
    assert sorted(len(loop) for loop in loops) == [5, 13]
    assert all(np.array_equal(loop[0], loop[-1]) for loop in loops)
    lengths = sorted(float(np.linalg.norm(np.diff(loop, axis=0), axis=1).sum()) for loop in loops)
    assert lengths == [4.0, 12.0]
