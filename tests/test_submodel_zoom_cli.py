"""The commands that drive the zone, zoom, validate and calibrate, with a stand-in for an operator generator."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from exact_generator import ExactGenerator, exact
from roof_problems import Said, done, errors_of, refused, submodel, toy
from typer.testing import CliRunner

from networks import checkpoint
from submodel.case.case import Case
from submodel.case.sampling import SPLITS
from submodel.cli.commands.calibrate import calibrate
from submodel.data.dataset import Dataset
from submodel.predict.generator import Generator
from submodel.report import pictures

NUM_RUNS = 16  # 5 for the fit and 11 for a coverage of 90 %, of which 10 are needed


@dataclass(frozen=True)
class Workshop:
    """A case, a dataset with a calibration split, and the file that stands for a generator that knows its sources."""

    folder: Path
    case: Path
    dataset: Path
    generator: Path
    known: Generator

    @property
    def source(self) -> tuple[float, float]:
        """A source that the generator knows."""
        x, y = self.known.file.parameters[0][1:]
        return x, y


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    case, data, file = toy(folder), folder / "data.h5", folder / "exact.safetensors"
    done("generate", case, "-o", data, "--train", 2, "--test", 6, "--calibration", NUM_RUNS)
    with Dataset.open(data) as dataset:
        sources = np.concatenate([dataset.parameters(split)[:, 1:] for split in SPLITS])
    errors = 0.01 * np.random.default_rng(0).uniform(0.5, 1.5, len(sources))
    file.write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Workshop(folder, case, data, file, exact(Case.load(case), sources, errors))


@pytest.fixture(autouse=True)
def files(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Its file gives the stand-in, and takes what is added to its metadata; animations are drawn elsewhere."""
    monkeypatch.setattr(pictures, "run_gif", lambda scene, times, fields, path, **_: path)
    metadata = workshop.known.file.to_document()

    def load(path: Path, device: object = "cpu") -> tuple[ExactGenerator, dict[str, Any]]:
        assert path == workshop.generator
        return workshop.known.generator, metadata

    def update(path: Path, changes: dict[str, Any]) -> None:
        assert path == workshop.generator
        metadata.update(json.loads(json.dumps(changes)))

    monkeypatch.setattr(checkpoint, "load", load)
    monkeypatch.setattr(checkpoint, "update_metadata", update)
    return metadata


def zoom(workshop: Workshop, *options: object, out: str = "zoomed") -> tuple[object, ...]:
    """Arguments of a zoomed run."""
    return ("zoom", workshop.case, "--generator", workshop.generator, "-o", workshop.folder / out, *options)


def record(workshop: Workshop, out: str = "zoomed") -> dict[str, Any]:
    return dict(json.loads((workshop.folder / out / "zoom.json").read_text()))


def run_calibrate(*arguments: object) -> Said:
    """The command by itself, so that its options are tested wherever it is registered."""
    app = typer.Typer()
    app.command()(calibrate)
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Said(found.exit_code, found.output)


def test_signals_sources_and_streaming(workshop: Workshop) -> None:
    (x, y), (x2, y2) = workshop.source, workshop.known.file.parameters[1][1:]
    both = ("--source", x, y, "--source", x2, y2)
    text = done(*zoom(workshop, *both, "--signal", "sine", "--omega", 2.5, "--omega", 2.2, "--block", 10))
    assert "boundary data predicted in 5 blocks of levels" in text
    assert "no bound for epsilon: the generator was not calibrated" in text
    said = record(workshop)
    assert said["levels_per_block"] == 10 and "parameters" not in said
    assert said["sources"].startswith("sine, omega 2.5 at ") and "; sine, omega 2.2 at " in said["sources"]
    once = done(*zoom(workshop, *both, "--omega", 2.5, "--omega", 2.2, "--no-stream", out="once"))
    assert "blocks" not in once and record(workshop, "once")["levels_per_block"] is None
    assert record(workshop, "once")["peak_displacement"] == pytest.approx(said["peak_displacement"], rel=1e-12)


def test_a_table_and_a_chirp_go_in(workshop: Workshop) -> None:
    t = np.linspace(0.0, 2.0, 81)
    table = workshop.folder / "signal.csv"
    table.write_text("t,s\n" + "\n".join(f"{a},{b}" for a, b in zip(t, np.sin(2.5 * t), strict=True)))
    done(*zoom(workshop, "--source", *workshop.source, "--signal", table))
    spelled = record(workshop)
    done(*zoom(workshop, "--source", *workshop.source, "--omega", 2.5, out="sine"))
    assert record(workshop, "sine")["peak_displacement"] == pytest.approx(spelled["peak_displacement"], rel=1e-3)
    assert record(workshop, "sine")["parameters"]["omega"] == 2.5 and "parameters" not in spelled
    chirp = ("--signal", "chirp", "--omega", 2.0, "--omega-end", 3.0)
    done(*zoom(workshop, "--source", *workshop.source, *chirp))
    assert record(workshop)["sources"].startswith("chirp, omega 2 to 3 at")


def test_what_a_zoomed_run_refuses(workshop: Workshop) -> None:
    here = ("--source", *workshop.source)
    refused(submodel(*zoom(workshop, *here)), "--omega is given 0 time(s)")
    refused(submodel(*zoom(workshop, "--omega", 2.5)), "--source X Y")
    refused(submodel(*zoom(workshop, *here, "--signal", "none.csv")), "cannot read the signal none.csv")
    refused(submodel(*zoom(workshop, *here, "--omega", 2.5, "--no-stream", "--block", 3)), "leave out --block")
    refused(submodel(*zoom(workshop, *here, "--omega", 2.5, "--block", 0)), "one level at least")
    recorded = ("zoom", workshop.case, "--boundary", "recorded", "-o", workshop.folder / "none")
    refused(submodel(*recorded, "--omega-end", 2.5, *here), "leave out --source, --omega-end")


def test_extrapolation_is_refused_or_warned_of(workshop: Workshop) -> None:
    here = ("--source", *workshop.source)
    refused(submodel(*zoom(workshop, *here, "--omega", 6)), "omega 6, source", "--extrapolate")
    text = done(*zoom(workshop, *here, "--omega", 6, "--extrapolate"))
    assert "warning: omega 6" in text and "no bound" in text
    pulse = (*here, "--signal", "ricker", "--omega", 9)
    refused(submodel(*zoom(workshop, *pulse)), "% of the energy of the signal (Ricker pulse, omega 9)")
    assert "warning: " in done(*zoom(workshop, *pulse, "--extrapolate"))


def test_a_calibrated_generator_promises_a_bound_and_keeps_it(workshop: Workshop, files: dict[str, Any]) -> None:
    data = ("--dataset", workshop.dataset, "--generator", workshop.generator)
    said = run_calibrate(workshop.case, *data)
    assert said.status == 0, said.text
    assert f"bound of epsilon with 90 % coverage, from {NUM_RUNS} runs" in said.text
    assert "dirichlet: epsilon " in said.text and "impedance: epsilon " in said.text
    assert set(files["trust"]["models"]) == {"dirichlet", "impedance"}
    here = ("--source", *workshop.source, "--omega", 2.5)
    lines = done(*zoom(workshop, *here)).splitlines()
    (told,) = (line for line in lines if line.startswith("epsilon <= "))
    assert "% with 90 % coverage (split conformal on 11 runs, by signal" in told
    assert told.endswith(f"a calibration of {NUM_RUNS} runs, fewer than 50, may miss the coverage by 8 points)")
    assert 0.0 < record(workshop)["bound"]["epsilon"] < 0.01 and record(workshop)["bound"]["coverage"] == 0.9
    pair = (*here, "--source", *workshop.known.file.parameters[1][1:])
    assert "no bound for epsilon: it is calibrated for one source" in (two := done(*zoom(workshop, *pair)))
    expected = record(workshop)["expected_error"]
    assert 0.0 < expected["epsilon"] < 0.01 and expected["calibrated"] is False
    assert f"about {100 * expected['epsilon']:.2g} % is expected by the spectrum of held-out residuals" in two
    assert "for the zone without --refine" in done(*zoom(workshop, *here, "--refine", 2))
    assert "calibrated without a defect" in done(*zoom(workshop, *here, "--defect", 0, 0, 0.1, 0.5))
    target, report = workshop.folder / "errors.json", workshop.folder / "report"
    text = done("validate", workshop.case, *data, "--json", target, "--report", report)
    errors: Any = errors_of(target)
    assert errors["bound"]["coverage"] == 0.9 and errors["bound"]["held"] >= 4 / 6
    assert "bound of epsilon, 90 % coverage promised: held for" in text
    assert {"bounds.png", "median-traces.png"} <= {path.name for path in (report / "pictures").iterdir()}
    assert "takes" in (report / "report.html").read_text()


def test_a_calibration_that_cannot_be_made_is_refused(workshop: Workshop, files: dict[str, Any]) -> None:
    bare = workshop.folder / "bare.h5"
    done("generate", workshop.case, "-o", bare, "--train", 1, "--test", 0)
    both = ("--generator", workshop.generator)
    refused(run_calibrate(workshop.case, "--dataset", bare, *both), "no calibration samples", "--calibration 100")
    full = ("--dataset", workshop.dataset, *both)
    refused(run_calibrate(workshop.case, *full, "--coverage", 0.95), "a coverage of 95 % needs 19 calibration runs")
    assert "trust" not in files


def test_info_describes_an_operator_generator(workshop: Workshop, files: dict[str, Any]) -> None:
    files.pop("trust", None)
    text = done("info", workshop.generator)
    for words in ("operator", "any signal that starts from rest", "the direct one", "run `submodel calibrate`"):
        assert words in text
    assert f"2 training, 6 test, {NUM_RUNS} calibration" in done("info", workshop.dataset)
    full = ("--dataset", workshop.dataset, "--generator", workshop.generator)
    assert run_calibrate(workshop.case, *full).status == 0
    words = done("info", workshop.generator)
    assert "90 % coverage; dirichlet: split conformal on 11 runs, by signal" in words and "fewer than 50" in words


def test_what_the_stand_in_plays_is_the_truth_but_for_its_errors(workshop: Workshop) -> None:
    parameters = np.array([2.5, *workshop.source])
    trace = workshop.known.predict_vectors(parameters[None]).trace()
    assert np.abs(trace.displacement).max() > 1e-3
