"""The demo at toy size: every step as its own process, generation on two ranks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from roof_problems import done, submodel, toy

import submodel.cli.commands.demo as demo
from submodel.case.case import Case


def test_the_demo_leaves_what_it_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = toy(tmp_path)
    monkeypatch.setattr(demo, "case_file", lambda: case)
    out = tmp_path / "demo-output"
    text = done("demo", "-o", out)
    names = ("dataset.h5", "generator.safetensors", "validation.json", "report.html")
    assert all((out / name).is_file() for name in names) and list((out / "pictures").glob("*.png"))
    assert json.loads((out / "validation.json").read_text())["samples"] == 2
    assert text.rstrip().endswith(f"The report: {out / 'report.html'}")
    assert "[4/4]" in text and "mpirun -n 2 submodel generate" in text


def test_a_failing_step_ends_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = toy(tmp_path, levels="levels = 5")
    monkeypatch.setattr(demo, "case_file", lambda: case)
    said = submodel("demo", "-o", tmp_path / "out")
    assert said.status == 2 and "step 1 failed" in said.text and "[2/4]" not in said.text


def test_the_demo_runs_the_reference_problem() -> None:
    case = Case.load(demo.case_file())
    said = case.parameters
    assert case.name == "paper2d" and case.training.model == "operator"
    assert (said.train, said.test, said.calibration) == (100, 25, 100)
    assert said.omega == pytest.approx((2 * math.pi, 6 * math.pi)) and said.source_upper == (0.9, 0.9)


def test_the_reference_problem_keeps_its_documented_error(tmp_path: Path) -> None:
    """Six runs and one pass, as the rays do most here; README has 0.12, 0.27 and 1.28 % from a hundred: thrice that."""
    data, generator, errors = tmp_path / "data.h5", tmp_path / "generator.safetensors", tmp_path / "errors.json"
    case = demo.case_file()
    done("generate", case, "-o", data, "--train", 6, "--test", 3, "--calibration", 0)
    done("train", case, "--dataset", data, "-o", generator, "--epochs", 1)
    done("validate", case, "--dataset", data, "--generator", generator, "--json", errors)
    after = json.loads(errors.read_text())["after"]
    assert after["displacement"]["epsilon"] < 0.0036 and after["displacement"]["relative_l2"] < 0.0081
    assert after["velocity"]["relative_l2"] < 0.0384
