"""Compression ratios of the paper, how weights are counted, and the networks that the benchmarks compress."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from compression_models import ISTANetPlus, num_weights, resnet8, resnet18, resnet34  # noqa: E402
from compression_paper import AS_PRINTED, COUPLED, ISTA_CTD, ISTA_TT, SVD, TT  # noqa: E402
from compression_tables import Line, dense_count, lines, ratio, readings, solved, svd_iv, tt_iv, tt_v, weights  # noqa: E402

from networks.compression.choice.counting import (  # noqa: E402
    coupled_count,
    cp_count,
    folded_shape,
    partly_coupled_count,
    svd_count,
    tt_count,
)

LINES = lines()


def of(table: str, method: str) -> list[Line]:
    return [line for line in LINES if (line.table, line.method) == (table, method)]


def test_every_printed_ratio_is_counted_once() -> None:
    printed = 2 * len(ISTA_TT) + sum(map(len, ISTA_CTD.values())) + len(SVD) + sum(map(len, TT.values()))
    printed += sum(len(rows) for table in COUPLED.values() for rows in table.values())
    assert printed == len(LINES) == len({(line.table, line.method, line.ranks) for line in LINES}) == 87


def test_tables_1_and_2_come_out_to_the_printed_digits() -> None:
    """All 34 rows; two of N = 7 need P_o as it is printed, 4.145 m."""
    rows = [*of("I", "TT"), *of("I", "NC-CTD"), *of("II", "TT"), *of("II", "NC-CTD")]
    assert len(rows) == 34
    assert all(row.exact for row in rows), [row for row in rows if not row.exact]
    assert [(row.table, row.ranks) for row in rows if not row.plain_exact] == [("II", "(8, 2)"), ("II", "(16, 1)")]


def test_a_row_of_table_1_by_hand() -> None:
    before, untouched = 20 * 147_456, 11_520
    assert ratio(before, 20 * (128 * 4 + 9 * 16 + 4 * 128), untouched) == pytest.approx(84.88, abs=5e-3)
    shared = 4 * (128 * 8 + 9 * 64 + 8 * 128)
    assert ratio(before, shared + 20 * (128 * 2 + 9 * 4 + 2 * 128), untouched) == pytest.approx(89.78, abs=5e-3)


def test_table_6_trains_come_out_of_the_text() -> None:
    assert [line.plain_exact for line in of("VI", "TT")] == [True] * 3


@pytest.mark.parametrize(
    ("table", "method", "rows", "exact", "distance"),
    [
        ("IV", "TT", 5, 0, 0.0700),
        ("IV", "SVD", 5, 1, 0.0563),
        ("IV", "coupled", 16, 1, 0.2139),
        ("V", "TT", 5, 2, 0.0070),
        ("V", "coupled", 10, 0, 0.1927),
        ("VI", "coupled", 9, 5, 0.0116),
    ],
)
def test_how_near_the_plain_text_comes(table: str, method: str, rows: int, exact: int, distance: float) -> None:
    """The figures of docs/compression.md."""
    found = of(table, method)
    assert (len(found), sum(line.plain_exact for line in found)) == (rows, exact)
    assert max(abs(line.plain / float(line.printed) - 1) for line in found) == pytest.approx(distance, abs=1e-4)


def test_the_inferred_rules_make_all_printed_digits() -> None:
    assert [line for line in LINES if not line.exact] == []


def test_printed_ranks_are_solved_ones_rounded_down() -> None:
    """All r_i but the two that are known, and the r' of table IV."""
    for table, groups in COUPLED.items():
        rule = readings(table)[2]
        for rank, rows in groups.items():
            size = weights(rule.train, rank)
            for shared, own in set(rows) - {(s, r) for t, s, r in AS_PRINTED if t == table}:
                assert math.floor(solved(rule.coupled(rank), size, shared)) == own, (table, shared, own)
    for rank, (own, _) in SVD.items():
        assert math.floor(solved(svd_iv, weights(tt_iv, rank))) == own


def test_coupled_column_of_table_4_counted_like_its_trains() -> None:
    """The figure of docs/compression.md: what is not compressed on both sides."""
    compressed, _, rule = readings("IV")
    stage = rule.coupled(32)
    after = weights(stage, solved(stage, weights(rule.train, 32), 4), 4)
    assert (compressed + rule.untouched) / (after + rule.untouched) == pytest.approx(7.49, abs=5e-3)


def test_solved_ranks_give_the_size_that_was_asked_for() -> None:
    assert solved(tt_v, weights(tt_v, 32)) == pytest.approx(32, abs=1e-3)


def test_networks_have_the_weights_that_the_paper_gives() -> None:
    """2.961 m and 4.145 m; 4.82 m, 11.164 m, 21.78 m."""
    assert num_weights(ISTANetPlus(5)) == 2_960_640
    assert num_weights(ISTANetPlus(7, cs_ratio=0.1)) == 4_144_896
    assert num_weights(ISTANetPlus(5, share=True)) == 2_960_640 // 5
    assert num_weights(resnet8()) == 4_823_754
    assert num_weights(resnet18()) == 11_164_362
    with torch.device("meta"):
        assert num_weights(resnet34()) == 21_780_648


def test_counts_are_the_sizes_of_the_factors() -> None:
    """Against factors that are made and counted."""

    def size(*shapes: tuple[int, ...]) -> int:
        return sum(torch.empty(shape).numel() for shape in shapes)

    assert folded_shape((7, 5, 3, 2)) == (5, 6, 7)
    assert dense_count((5, 6, 7)) == size((7, 5, 3, 2))
    assert tt_count((5, 6, 7), (2, 3)) == size((5, 2), (2, 6, 3), (3, 7))
    assert tt_count((5, 1, 7), (2, 3)) == size((5, 2), (2, 7))
    assert svd_count((7, 5, 3, 2), 4) == size((4, 5, 3, 1), (7, 4, 1, 2))
    assert svd_count((7, 5), 4) == size((4, 5), (7, 4))
    assert cp_count((5, 6, 7), 4) == size((5, 4), (6, 4), (7, 4))
    assert cp_count((5, 1, 7), 4) == size((5, 4), (7, 4))
    shared, own = [(5, 2), (2, 6, 3), (3, 7)], [(5, 4), (4, 6, 1), (1, 7)]
    assert coupled_count([(5, 6, 7)] * 3, (2, 3), (4, 1)) == size(*shared, *own, *own, *own)
    assert coupled_count([(5, 6, 7)] * 3, (2, 3), (0, 0)) == size(*shared)
    assert coupled_count([(5, 6, 7)] * 2, (0, 0), [(1, 1), (4, 1)]) == size((5, 1), (1, 6, 1), (1, 7), *own)


def test_partly_coupled_counts() -> None:
    shapes = [(5, 6, 7), (8, 6, 7)]
    own = tt_count(shapes[0], (1, 2)) + tt_count(shapes[1], (3, 2))
    assert partly_coupled_count(shapes, (2, 3), [(1, 2), (3, 2)]) == (5 + 8) * 2 + 2 * 6 * 3 + 3 * 7 + own
    turned = [shape[::-1] for shape in shapes]
    assert partly_coupled_count(turned, (3, 2), [(2, 1), (2, 3)], along="out") == partly_coupled_count(
        shapes, (2, 3), [(1, 2), (3, 2)]
    )
    assert partly_coupled_count([(5, 1, 7), (8, 1, 7)], (2, 2), (1, 1)) == (5 + 8) * 2 + 2 * 7 + 5 + 8 + 2 * 7


def test_coupling_everything_costs_one_layer() -> None:
    for number, rank in itertools.product((2, 5), (1, 9)):
        assert coupled_count([(8, 9, 8)] * number, (rank, rank), (0, 0)) == tt_count((8, 9, 8), (rank, rank))


def test_counts_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="partly_coupled_count"):
        coupled_count([(5, 6, 7), (8, 6, 7)], (1, 1), (1, 1))
    with pytest.raises(ValueError, match="equal taps and output depths"):
        partly_coupled_count([(5, 6, 7), (5, 6, 8)], (1, 1), (1, 1))
    with pytest.raises(ValueError, match="equal taps and input depths"):
        partly_coupled_count([(5, 6, 7), (8, 6, 7)], (1, 1), (1, 1), along="out")
    with pytest.raises(ValueError, match='"in" or "out"'):
        partly_coupled_count([(5, 6, 7)], (1, 1), (1, 1), along="up")
    with pytest.raises(ValueError, match="counts from 0"):
        tt_count((5, 6, 7), (-1, 1))
    with pytest.raises(ValueError, match="one for each of the 2 layers"):
        coupled_count([(5, 6, 7)] * 2, (1, 1), [(1, 1)])
    with pytest.raises(ValueError, match="counted from 1"):
        ratio(10, 0)
    with pytest.raises(ValueError, match="channels out"):
        folded_shape((3,))


def test_ista_net_blocks_do_what_the_formula_says() -> None:
    """One phase against r + G(H~(soft(H(D(r)), theta))) written out, and a full set of measurements."""
    torch.manual_seed(0)
    model = ISTANetPlus(1, channels=3, cs_ratio=0.1)
    images = torch.rand(2, 1, 33, 33)
    y = model.measure(images)
    found, residuals = model(y)

    block, conv = model.blocks[0], nn.functional.conv2d
    w = [getattr(block, f"conv{n}").weight for n in range(1, 7)]
    x = y @ model.initial.T
    r = (x - 0.5 * (x @ model.phi.T - y) @ model.phi).view(2, 1, 33, 33)
    d = conv(r, w[0], padding=1)
    h = conv(conv(d, w[1], padding=1).relu(), w[2], padding=1)

    def back(code: Tensor) -> Tensor:
        return conv(conv(code, w[3], padding=1).relu(), w[4], padding=1)

    soft = torch.where(h > 0.01, h - 0.01, torch.where(h < -0.01, h + 0.01, torch.zeros_like(h)))
    torch.testing.assert_close(found, r + conv(back(soft), w[5], padding=1))
    torch.testing.assert_close(residuals[0], back(h) - d)


def test_ista_net_measures_orthonormally_and_begins_with_least_squares() -> None:
    model = ISTANetPlus(2, channels=2, cs_ratio=0.05)
    identity = torch.eye(len(model.phi))
    torch.testing.assert_close(model.phi @ model.phi.T, identity, atol=1e-5, rtol=0)
    generator = torch.Generator().manual_seed(1)
    basis = torch.randn(20, 33 * 33, generator=generator)
    images = (torch.randn(50, 20, generator=generator) @ basis).view(50, 1, 33, 33)
    model.fit_initialisation(images)
    # images of a space smaller than the number of measurements are found exactly
    begun = model.measure(images) @ model.initial.T
    torch.testing.assert_close(begun, images.flatten(1), atol=2e-3, rtol=0)
    assert len(model(model.measure(images[:2]))[1]) == 2
    with pytest.raises(ValueError, match="cs_ratio"):
        ISTANetPlus(1, cs_ratio=0)


@pytest.mark.parametrize(("model", "side"), [(resnet8(), 16), (resnet18(), 16)])
def test_residual_networks_classify(model: nn.Module, side: int) -> None:
    assert model(torch.rand(2, 3, side, side)).shape == (2, 10)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    assert "conv3_x.1.conv1" in names and "conv5_x.0.shortcut" in names
    assert all(module.bias is None for module in model.modules() if isinstance(module, nn.Conv2d))
