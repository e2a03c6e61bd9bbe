"""The demos at toy size: every step as its own process, generation on two ranks; and the figures that README quotes."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any, get_args

import pytest
from roof_problems import done, submodel, toy

import submodel.cli.commands.demo as demo
from submodel.case.case import Case

ROOT = Path(__file__).parents[1]
CHECK: dict[str, Any] = runpy.run_path(str(ROOT / "environment" / "check_demo.py"))


def test_the_demo_of_the_papers_leaves_what_it_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = toy(tmp_path)
    case.write_text(case.read_text().replace("epochs = 2\n", ""))
    monkeypatch.setattr(demo, "case_file", lambda kind: case)
    monkeypatch.setattr(demo, "TRAINING", "1")
    monkeypatch.setattr(demo, "TUNING", "1")
    monkeypatch.setitem(demo.ZOOM, "paper", ("--omega", "2.5", "--source", "0.6", "0.7"))
    monkeypatch.setattr(demo, "FRESH", ("--train", "0", "--calibration", "0", "--test", "2", "--seed", "7"))
    out = tmp_path / "demo-output"
    text = done("demo", "paper", "-o", out)
    names = ("dataset.h5", "generator.safetensors", "validation.json", "report.html", "zoomed/zoom.json")
    assert all((out / name).is_file() for name in names) and list((out / "pictures").glob("*.png"))
    assert json.loads((out / "validation.json").read_text())["samples"] == 2
    assert text.rstrip().endswith(f"The report: {out / 'report.html'}")
    assert "[6/6]" in text and "mpirun -n 2 submodel generate" in text


def test_a_failing_step_ends_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = toy(tmp_path, levels="levels = 5")
    monkeypatch.setattr(demo, "case_file", lambda kind: case)
    said = submodel("demo", "paper", "-o", tmp_path / "out")
    assert said.status == 2 and "step 1 failed" in said.text and "[2/6]" not in said.text
    other = submodel("demo", "other", "-o", tmp_path / "out")
    assert other.status == 2 and "'other' is not one of plate, paper" in other.text


def test_the_demos_run_the_plate_of_a_user_and_the_problem_of_the_papers() -> None:
    plate, paper = (demo.case_file(kind) for kind in get_args(demo.Kind))
    assert plate.name == "userplate.toml" and (plate.parents[1] / "meshes" / "userplate.geo").is_file()
    said = Case.load(paper).training
    assert said.model == "conv1.5d-boundary"  # decomposed


@pytest.mark.parametrize("kind", get_args(demo.Kind))
def test_readme_quotes_the_figures_of_the_demos_within_their_ranges(kind: str) -> None:
    readme, figures = (ROOT / "README.md").read_text(), CHECK["figures"](kind)
    assert figures
    for figure in figures:
        assert figure["words"] in readme, f"README does not say {figure['words']!r}"
        (percent,) = re.findall(r"([\d.]+) %", figure["words"])
        assert figure["low"] <= float(percent) / 100 <= figure["high"] < 20 * figure["low"] + 1e-9


def test_a_figure_outside_its_range_is_a_fault() -> None:
    figures = {"plate": {"relative_l2": 0.002, "epsilon": 0.001}, "paper": {"relative_l2": 0.05, "epsilon": 0.02}}
    for kind, values in figures.items():
        assert not CHECK["faults"](kind, {"after": {"displacement": values}})
        for name in {figure["key"].rpartition(".")[2] for figure in CHECK["figures"](kind)}:
            for wrong in (0.0, 0.5):
                (fault,) = CHECK["faults"](kind, {"after": {"displacement": values | {name: wrong}}})
                assert name in fault and "should lie in" in fault


def test_the_reference_problem_keeps_its_documented_error(tmp_path: Path) -> None:
    """Six runs and one pass, as the rays do most here; README has 0.105, 0.25, 1.16 % from a hundred."""
    data, generator, errors = tmp_path / "data.h5", tmp_path / "generator.safetensors", tmp_path / "errors.json"
    case = ROOT / "cases" / "paper2d.toml"
    done("generate", case, "-o", data, "--train", 6, "--test", 3, "--calibration", 0)
    done("train", case, "--dataset", data, "-o", generator, "--epochs", 1)
    done("validate", case, "--dataset", data, "--generator", generator, "--json", errors)
    after = json.loads(errors.read_text())["after"]
    assert after["displacement"]["epsilon"] < 0.0036 and after["displacement"]["relative_l2"] < 0.0081
    assert after["velocity"]["relative_l2"] < 0.0384
