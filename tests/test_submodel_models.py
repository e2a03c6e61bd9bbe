"""[A]'s tables as data, and the list of models."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from networks.paper.printed_tables import MODEL_TITLES, TABLES, VARIANT_TITLES, ZONE_MODELS
from submodel.cli.commands import models as command
from submodel.geometry.zone_target import Sizes, gamma_nodes, grid_shape
from submodel.studies.paper.sizes import TOLERANCE, Listing, count_all, listing


@pytest.fixture(scope="module")
def known() -> Listing:
    return listing()


def test_all_tables_of_the_paper_are_there() -> None:
    assert list(TABLES) == list(range(1, 19))
    entries = 0
    for table in TABLES.values():
        assert tuple(table.printed) == table.models
        assert all(tuple(row) == tuple(VARIANT_TITLES) for row in table.printed.values())
        entries += sum(map(len, table.printed.values()))
    assert entries == 10 * 11 * 6 + 8 * 6 * 6


@pytest.mark.parametrize(
    ("number", "model", "variant", "value"),
    [
        (1, "fc-t", "basic", 14.34),
        (1, "conv1.5d-boundary", "e-sl", 0.61),
        (2, "conv2d-t", "e-sl", 26.92),
        (5, "conv3d", "bn", 0.17),
        (8, "conv1d-boundary", "bn-sl", 0.08),
        (9, "conv1d-boundary", "bn-sl", 0.07),
        (10, "conv2.5db", "e", 1.67),
        (12, "conv2d", "bn-sl", 0.08),
        (14, "conv3d", "bn-sl", 0.20),
        (17, "conv1d-t-boundary", "e", 0.11),
        (18, "conv1.5d-boundary", "basic", 0.75),
    ],
)
def test_entries_are_those_of_the_paper(number: int, model: str, variant: str, value: float) -> None:
    assert TABLES[number].value(model, variant) == value


@pytest.mark.parametrize(
    ("number", "title", "schedule", "key"),
    [
        (2, "Train error on full displacement", "short", "train.full.displacement"),
        (5, "Test error on full velocity", "short", "test.full.velocity"),
        (8, "Test error on displacement after zoom", "short", "test.zoom.displacement"),
        (11, "Train error on full displacement", "long", "train.full.displacement"),
        (16, "Train error on velocity after zoom", "long", "train.zoom.velocity"),
        (18, "Test error on velocity after zoom", "long", "test.zoom.velocity"),
    ],
)
def test_tables_say_what_they_show(number: int, title: str, schedule: str, key: str) -> None:
    table = TABLES[number]
    assert (table.title, table.schedule, table.key) == (title, schedule, key)
    assert table.models == (ZONE_MODELS if ".full." in key else tuple(MODEL_TITLES))


def test_the_paper_copies_two_tables_as_the_page_says() -> None:
    for full, zoom in ((4, 8), (13, 17)):
        assert {model: TABLES[zoom].printed[model] for model in ZONE_MODELS} == TABLES[full].printed
    assert TABLES[5].printed["fc-t"] != TABLES[9].printed["fc-t"]


def test_a_table_refuses_what_it_does_not_hold() -> None:
    with pytest.raises(KeyError, match="conv1d-boundary"):
        TABLES[2].value("conv1d-boundary", "basic")


def test_every_model_and_variant_is_listed(known: Listing) -> None:
    assert [(s.model, s.variant) for s in known.sizes] == [(m, v) for m in MODEL_TITLES for v in VARIANT_TITLES]
    with pytest.raises(KeyError, match="conv9d"):
        known.size("conv9d", "basic")
    for model in MODEL_TITLES:  # what each variant adds or saves
        basic, bn, sl = (known.size(model, variant).ours for variant in ("basic", "bn", "sl"))
        assert basic < bn < 1.1 * basic and sl < basic
        assert known.size(model, "e").ours == basic and known.size(model, "e-sl").ours == sl


def test_sizes_and_ratios_follow_the_paper_or_say_why_not(known: Listing) -> None:
    assert len(known.ratios) == 3 * 6 + 11 * 3
    assert all(abs(size.ratio - 1) <= TOLERANCE or size.remark for size in known.sizes)
    # [A] prints two decimals: of 0.24 / 0.45 that alone is 2 %
    assert all(abs(ratio.deviation) <= TOLERANCE or ratio.remark for ratio in known.ratios)


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(command.models)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_prints_lines_where_it_is_piped(known: Listing) -> None:
    lines = run().splitlines()
    assert sum(line.startswith(tuple(MODEL_TITLES)) for line in lines) >= 66
    size = known.size("conv2d-boundary", "sl")
    line = next(line for line in lines if line.split()[:2] == ["conv2d-boundary", "sl"])
    assert line.split()[2:5] == [f"{size.ours / 1e6:.3f}", "1.13", f"{size.ratio:.2f}"]
    assert any(line.startswith("conv1.5d-boundary basic / conv2d-boundary basic") for line in lines)


def test_the_command_draws_tables_in_a_terminal(known: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    text = run()
    assert "[A] Table 1" in text and "conv1.5d-boundary" in text and "━" in text


def test_the_command_prints_json(known: Listing) -> None:
    document = json.loads(run("--json"))
    assert len(document["models"]) == 66
    assert document["models"][0].keys() >= {"model", "variant", "ours", "paper", "ratio", "remark"}
    assert document["ratios"][0].keys() >= {"what", "above", "below", "ours", "paper", "deviation", "remark"}
    assert document["reference"]["grid"] == [33, 33]


def zone(num_x: int, num_y: int) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-0.25, 0.25, num_x), np.linspace(0.0, 0.25, num_y))
    return np.stack([x.ravel(), y.ravel()], 1)


def test_a_grid_of_nodes_is_recognised() -> None:
    points = zone(5, 3)
    assert grid_shape(points) == (3, 5)
    assert np.array_equal(points[:, 0].reshape(3, 5)[0], points[:5, 0])


def test_nodes_that_form_no_grid_are_told_apart() -> None:
    points = zone(5, 3)
    assert grid_shape(points[:-1]) is None and grid_shape(points[:5]) is None
    assert grid_shape(points + [0.0, 0.01] * (points[:, :1] > 0.1)) is None


def test_without_a_grid_only_convolutions_on_the_zone_are_left_out() -> None:
    counts = count_all(Sizes(num_levels=41, num_arc=16, num_zone=30, grid=None))
    assert {model for model, _ in counts} == {"fc-t", *(m for m in MODEL_TITLES if m.endswith("boundary"))}


def test_values_on_the_interface_are_those_of_its_nodes() -> None:
    points = zone(4, 3)
    wanted = np.array([7, 3, 0, 11])
    assert np.array_equal(gamma_nodes(points, points[wanted]), wanted)
    with pytest.raises(ValueError, match=r"\(0.1, 0.1\) on Γ is no node of the zone"):
        gamma_nodes(points, [[0.1, 0.1]])
