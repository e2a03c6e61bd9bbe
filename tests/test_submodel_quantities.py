"""Times, lengths and frequencies are told in units of their size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from roof_problems import done, toy

from submodel.case.quantities import Scale, box, quantity
from submodel.report import charts, pictures


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (300e-6, "s", "300 µs"),
        (6.8e-7, "s", "680 ns"),
        (1.25, "s", "1.25 s"),
        (0.0, "s", "0 s"),
        (7200.0, "s", "7200 s"),
        (4.241e5, "rad/s", "424.1 krad/s"),
        (12.0, "rad/s", "12 rad/s"),
        (5e-5, "m", "50 µm"),
        (-0.4, "m", "−0.4 m"),
        (3e-4, "T", "300·10⁻⁶ T"),
        (5e7, "T", "50·10⁶ T"),
        (0.05, "mm", "0.05 mm"),
    ],
)
def test_a_quantity_is_told_in_a_unit_of_its_size(value: float, unit: str, words: str) -> None:
    assert quantity(value, unit) == words


def test_all_values_of_a_scale_share_unit_and_decimals() -> None:
    scale = Scale.of("s", np.linspace(0.0, 300e-6, 7))
    assert [scale.text(time) for time in (0.0, 50e-6, 300e-6)] == ["0 µs", "50 µs", "300 µs"]
    assert box([2e5], [4.5e5], "rad/s") == "[200, 450] krad/s"
    assert Scale.of("s").text(0.0) == "0.00 s" == Scale.of("s", [np.nan, 0.0]).text(0.0)


SI = {
    "lower": "lower = [-0.2, -0.2]",
    "upper": "upper = [0.2, 0.2]",
    "speed": "speed = 2000.0",
    "final": "final = 300e-6",
    "omega": "omega = [2e4, 3e4]",
    "source_lower": "source_lower = [0.08, 0.08]",
    "source_upper": "source_upper = [0.17, 0.17]",
}


def test_pictures_and_pages_of_a_plate_in_si_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = toy(tmp_path, **SI)
    text = case.read_text().replace("[-0.25, -0.25]\nupper = [0.25, 0.25]", "[-0.05, -0.05]\nupper = [0.05, 0.05]")
    case.write_text(text)
    drawn: list[str] = []
    kept: Any = charts.drawing.png

    def read(figure: Any, dpi: int = 150) -> bytes:
        drawn.extend(str(text.get_text()) for text in figure.findobj(pictures.drawing.Text))
        return bytes(kept(figure, dpi))

    monkeypatch.setattr(charts.drawing, "png", read)
    done("generate", case, "-o", tmp_path / "plate.h5", "--train", 0, "--test", 1)
    recorded = ("--boundary", "recorded", "--dataset", tmp_path / "plate.h5")
    done("validate", case, *recorded, "--report", tmp_path / "report")
    done("zoom", case, *recorded, "--sample", 0, "-o", tmp_path / "out")
    times = {text for text in drawn if text.startswith("t = ")}
    assert len(times) > 3 and all(re.fullmatch(r"t = \d+ µs", text) for text in times), times
    assert "time t (µs)" in drawn and "ω (krad/s)" in drawn and "displacement u at t = 300 µs" in drawn
    page = re.sub(r'"data:image[^"]*"', "", (tmp_path / "report" / "report.html").read_text())
    assert "krad/s" in page and "300 µs" in page and "e+0" not in page and "0.000" not in page
    facts = done("info", case)
    assert "[20, 30] krad/s" in facts and "300 µs in 41 levels, dt = 7.5 µs" in facts
