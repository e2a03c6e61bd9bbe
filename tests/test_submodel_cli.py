"""The commands in their order on a toy problem, and what each refuses before it works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from roof_problems import Said, done, errors_of, refused, submodel, toy, written

from networks import checkpoint
from networks.training import fit as fitting
from networks.training.plan import TrainingPlan
from submodel.case.case import Case
from submodel.cli.app import app
from submodel.cli.terminal.options import join_numbers
from submodel.predict.generator import Generator

COMMANDS = (
    "generate",
    "check",
    "train",
    "build",
    "compress",
    "calibrate",
    "zoom",
    "validate",
    "models",
    "reproduce",
    "profile",
    "info",
    "demo",
)


@dataclass(frozen=True)
class Workshop:
    """A case, its dataset and a barely trained generator."""

    folder: Path
    case: Path
    dataset: Path
    generator: Path


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    made = Workshop(folder, toy(folder), folder / "data.h5", folder / "generator.safetensors")
    assert "8 samples made" in done("generate", made.case, "-o", made.dataset)
    assert "best of 2 epochs" in done("train", made.case, "--dataset", made.dataset, "-o", made.generator)
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    text = done(command, "--help")
    assert re.search(rf"Example: (mpirun -n 2 )?(\./run )?submodel {command}", " ".join(text.split()))


def test_the_help_names_every_command() -> None:
    assert {command.callback.__name__ for command in app.registered_commands if command.callback} == set(COMMANDS)


def test_a_dataset_is_checked(workshop: Workshop) -> None:
    assert json.loads(done("check", workshop.dataset, "--json"))["ok"] is True
    missing = submodel("check", workshop.folder / "none.h5")
    assert missing.status == 1 and "make it with `submodel generate`" in missing.text


def test_info_describes_case_dataset_and_generator(workshop: Workshop) -> None:
    fingerprint = Case.load(workshop.case).fingerprint()
    for file, fact in (
        (workshop.case, "16 x 16 cells"),
        (workshop.dataset, "6 training, 2 test"),
        (workshop.generator, "conv1.5d-boundary"),
    ):
        text = done("info", file)
        assert fact in text and fingerprint in text
        assert json.loads(done("info", file, "--json"))["file"].startswith(str(file))


def test_validation_with_a_generator_writes_its_json_and_report(workshop: Workshop) -> None:
    target, report = workshop.folder / "validation.json", workshop.folder / "report"
    text = done(
        *("validate", workshop.case, "--dataset", workshop.dataset, "--generator", workshop.generator),
        *("--json", target, "--report", report),
    )
    errors: Any = errors_of(target)
    generator, _ = checkpoint.load(workshop.generator)
    assert errors["samples"] == 2 and errors["parameters"] == generator.num_parameters
    assert errors["interface"] == "impedance" and errors["levels_left_out"] > 0
    for stage in ("before", "after"):
        for field in ("displacement", "velocity"):
            assert errors[stage][field]["epsilon"] > 0 and errors[stage][field]["relative_l2"] > 0
    assert (
        errors["worst"]["sample"] in (0, 1) and errors["worst"]["epsilon"] >= errors["after"]["displacement"]["epsilon"]
    )
    assert str(report / "report.html") in text and len(list((report / "pictures").glob("*.png"))) >= 5


@pytest.mark.parametrize("interface", ["dirichlet", "impedance"])
@pytest.mark.parametrize(
    "method",
    [
        {},
        {"element": 'element = "gll"\ndegree = 2', "cells": "cells = [8, 8]", "levels": "levels = 61"},
        {"stepper": 'stepper = "newmark"'},
    ],
    ids=["p1", "gll2", "newmark"],
)
def test_recorded_traces_replay_the_full_runs(tmp_path: Path, method: dict[str, str], interface: str) -> None:
    case = toy(tmp_path, train="train = 0", **method)
    done("generate", case, "-o", tmp_path / "data.h5")
    recorded = ("--boundary", "recorded", "--interface", interface, "--json", tmp_path / "errors.json")
    done("validate", case, "--dataset", tmp_path / "data.h5", *recorded)
    errors: Any = errors_of(tmp_path / "errors.json")
    # the dataset is float32: 6e-8 a value, and a velocity is a difference over dt of such values
    assert errors["after"]["displacement"]["relative_l2"] < 1e-6
    assert errors["after"]["velocity"]["relative_l2"] < 1e-6
    assert errors["parameters"] is None and errors["before"]["displacement"]["relative_l2"] == 0.0


def test_a_zoomed_run_leaves_fields_pictures_and_a_record(workshop: Workshop) -> None:
    out = workshop.folder / "zoomed"
    predicted = ("--generator", workshop.generator, "--omega", 2.5, "--source", 0.6, 0.7)
    text = done("zoom", workshop.case, *predicted, "-o", out, "--refine", 2, "--defect", 0, 0, 0.1, 0.5)
    assert {path.name for path in out.iterdir()} == {"fields.xdmf", "fields.h5", "final.png", "run.gif", "zoom.json"}
    assert "steps a level" in text
    record = json.loads((out / "zoom.json").read_text())
    assert record["parameters"] == {"omega": 2.5, "x": 0.6, "y": 0.7} and record["refine"] == 2
    assert record["defect"] == {"center": [0.0, 0.0], "radius": 0.1, "speed": 0.5}


def test_a_recorded_trace_is_replayed_by_zoom(workshop: Workshop) -> None:
    out = workshop.folder / "replayed"
    recorded = ("--boundary", "recorded", "--dataset", workshop.dataset, "--sample", 1)
    done("zoom", workshop.case, *recorded, "-o", out, "--interface", "dirichlet")
    record = json.loads((out / "zoom.json").read_text())
    assert record["boundary"].startswith("recorded, sample 1") and "alpha" not in record


def test_fields_of_a_higher_degree_keep_it(tmp_path: Path) -> None:
    method = {"element": 'element = "gll"\ndegree = 2', "cells": "cells = [8, 8]", "levels": "levels = 61"}
    case = toy(tmp_path, train="train = 0", **method)
    done("generate", case, "-o", tmp_path / "data.h5")
    recorded = ("--boundary", "recorded", "--dataset", tmp_path / "data.h5", "--sample", 0)
    done("zoom", case, *recorded, "-o", tmp_path / "out")
    assert (tmp_path / "out" / "fields.bp").is_dir()


def test_parameters_outside_the_training_are_refused_or_warned_of(workshop: Workshop) -> None:
    predicted = ("--generator", workshop.generator, "--omega", 9.0, "--source", 0.6, 0.7)
    far = ("zoom", workshop.case, *predicted, "-o", workshop.folder / "far")
    refused(submodel(*far), "lie outside what", "--extrapolate")
    assert "lie outside what" in done(*far, "--extrapolate")


def test_an_interrupted_training_resumes_to_the_same_generator(workshop: Workshop, monkeypatch: Any) -> None:
    whole, halves = workshop.folder / "whole.safetensors", workshop.folder / "halves.safetensors"
    common = ("train", workshop.case, "--dataset", workshop.dataset, "--epochs", 4, "--device", "cpu")
    done(*common, "-o", whole)
    epoch = fitting.Fit.epoch

    def stop(run: Any) -> None:
        if len(run.history) == 2:
            raise KeyboardInterrupt
        epoch(run)

    monkeypatch.setattr(TrainingPlan, "__post_init__", lambda plan: object.__setattr__(plan, "checkpoint_every", 0.0))
    monkeypatch.setattr(fitting.Fit, "epoch", stop)
    assert submodel(*common, "-o", halves).status != 0 and not halves.exists()
    left = workshop.folder / "halves.unfinished.safetensors"
    state = left.read_bytes()
    monkeypatch.undo()
    another = (*common, "-o", halves, "--seed", 9)
    refused(submodel(*another), "an unfinished training lies here", "seed = 0, this one has 9", "--restart")
    assert left.read_bytes() == state and not halves.exists()
    anew = workshop.folder / "anew.safetensors"
    left.with_name("anew.unfinished.safetensors").write_bytes(state)
    assert "of 4 epochs" in done(*common, "-o", anew, "--seed", 9, "--restart")
    assert not left.with_name("anew.unfinished.safetensors").exists()
    assert "best of 4 epochs" in done(*common, "-o", halves)
    first, second = (Generator.load(path, Case.load(workshop.case), "cpu") for path in (whole, halves))
    parameters = np.array([[2.5, 0.6, 0.7]])
    for field in ("displacement", "velocity", "load"):
        assert np.array_equal(*(getattr(one.predict_vectors(parameters).traces()[0], field) for one in (first, second)))


def plate(folder: Path, **replaced: str) -> Path:
    """The case of the plate on a coarse mesh, few levels and slow waves, lines of it replaced."""
    root = Path(__file__).parents[1]
    mesh = [sys.executable, str(root / "meshes" / "generate.py"), str(root / "meshes" / "plate.geo")]
    subprocess.run([*mesh, str(folder / "plate.msh"), "--size", "0.1"], check=True, timeout=60)
    coarse = {"file": 'file = "plate.msh"', "levels": "levels = 81", "omega": "omega = [2.0, 3.0]"}
    text = (root / "cases" / "plate.toml").read_text()
    return written(folder / "plate.toml", text, coarse | replaced)


@pytest.mark.filterwarnings("ignore:at omega")  # the mesh is coarse on purpose
@pytest.mark.parametrize("interface", ["dirichlet", "impedance"])
def test_a_gmsh_domain_with_a_speed_for_each_group(tmp_path: Path, interface: str) -> None:
    case = plate(tmp_path)
    done("generate", case, "-o", tmp_path / "data.h5", "--train", 0, "--test", 1)
    recorded = ("--boundary", "recorded", "--interface", interface, "--json", tmp_path / "errors.json")
    done("validate", case, "--dataset", tmp_path / "data.h5", *recorded)
    errors: Any = errors_of(tmp_path / "errors.json")
    assert errors["after"]["displacement"]["relative_l2"] < 1e-6  # from float32 values
    assert "zone zone + zone-inclusion" in done("info", case)


def test_a_source_in_the_zone_of_a_mesh_is_refused_before_any_run(tmp_path: Path) -> None:
    case = plate(tmp_path, source_upper="source_upper = [0.2, 0.2]")
    said = submodel("generate", case, "-o", tmp_path / "data.h5", "--train", 0, "--test", 8)
    refused(said, "may fall inside the zone", "exclude_lower")
    assert not list((tmp_path / "data.shards").glob("*.h5"))


def test_a_mesh_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "cases" / "plate.toml").read_text().replace("../meshes/plate.msh", "plate.msh")
    case = tmp_path / "plate.toml"
    case.write_text(text)
    refused(submodel("generate", case, "-o", tmp_path / "data.h5"), "there is no file", "make the mesh")
    (tmp_path / "plate.msh").write_text("$MeshFormat\nnothing\n")
    refused(submodel("generate", case, "-o", tmp_path / "data.h5"), "gmsh cannot read")


def test_faulty_cases_are_refused(tmp_path: Path) -> None:
    for change, words in (
        ({"seed": "sead = 1"}, ("sead",)),
        ({"time": 'tame = "s"'}, ("time",)),
        ({"source_lower": "source_lower = [-0.45, -0.45]"}, ("inside the zone", "exclude")),
        ({"lower": "lower = [0.5, 0.5]"}, ("zone",)),
    ):
        refused(submodel("generate", toy(tmp_path, **change), "-o", tmp_path / "data.h5"), *words)
    refused(
        submodel("generate", toy(tmp_path, levels="levels = 5"), "-o", tmp_path / "data.h5"), "stability limit", "more"
    )
    refused(submodel("generate", tmp_path / "none.toml", "-o", tmp_path / "data.h5"), "cannot read")


def test_other_cases_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    other = toy(tmp_path, final="final = 1.9")
    predicted = ("--generator", workshop.generator, "--omega", 2.5, "--source", 0.6, 0.7, "-o", tmp_path / "out")
    refused(submodel("zoom", other, *predicted), "trained for another case", "time.final is 2.0, here 1.9")
    dataset = ("--dataset", workshop.dataset)
    refused(submodel("validate", other, *dataset, "--boundary", "recorded"), "generated for another case")
    refused(submodel("train", other, *dataset, "-o", tmp_path / "g.safetensors"), "generated for another case")


def test_a_source_in_the_zone_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    predicted = ("--generator", workshop.generator, "--omega", 2.5, "-o", tmp_path / "out")
    refused(submodel("zoom", workshop.case, *predicted, "--source", 0.0, 0.1), "lies in the zone", "outside the zone")
    refused(submodel("zoom", workshop.case, *predicted, "--source", 0.0, 1.1), "outside the domain")


def test_unclear_boundary_data_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    zoom, out = ("zoom", workshop.case), ("-o", tmp_path / "out")
    refused(submodel(*zoom, *out), "--generator G, --omega W and --source X Y")
    refused(submodel(*zoom, *out, "--boundary", "recorded"), "--dataset D and --sample I")
    both = ("--boundary", "recorded", "--generator", workshop.generator)
    refused(submodel(*zoom, *out, *both), "leave out --generator")
    refused(submodel(*zoom, *out, "--generator", workshop.generator, "--sample", 1), "leave out --sample")
    refused(submodel("validate", workshop.case, "--dataset", workshop.dataset), "either --generator G or")


def test_a_generator_without_load_is_refused_under_impedance(workshop: Workshop, tmp_path: Path) -> None:
    case = toy(tmp_path, fields='fields = ["displacement", "velocity"]')
    bare = tmp_path / "bare.safetensors"
    done("train", case, "--dataset", workshop.dataset, "-o", bare, "--epochs", 1)
    predicted = ("--generator", bare, "--omega", 2.5, "--source", 0.6, 0.7, "-o", tmp_path / "out")
    refused(submodel("zoom", case, *predicted), "needs the load", "--interface dirichlet")
    done("zoom", case, *predicted, "--interface", "dirichlet")
    displacement = toy(tmp_path, "u.toml", fields='fields = ["displacement"]')
    done("train", displacement, "--dataset", workshop.dataset, "-o", bare, "--epochs", 1)
    done("zoom", displacement, *predicted, "--interface", "dirichlet")


def test_training_refuses_what_it_cannot_do(workshop: Workshop, tmp_path: Path) -> None:
    train = ("train", workshop.case, "--dataset", workshop.dataset)
    refused(submodel(*train, "-o", tmp_path), "is a folder")
    target = tmp_path / "g.safetensors"
    refused(submodel(*train, "-o", target, "--epochs", 1, "--seconds", 1), "exclude each other")
    refused(submodel(*train, "-o", target, "--epochs", 0), "positive")
    refused(submodel(*train, "-o", target, "--model", "operator", "--variant", "sl"), "does not go with model")
    refused(submodel(*train, "-o", target, "--rays", "direct"), "does not go with model")
    test_only = tmp_path / "test.h5"
    done("generate", workshop.case, "-o", test_only, "--train", 0, "--test", 1, "--seed", 7)
    refused(submodel("train", workshop.case, "--dataset", test_only, "-o", target), "no training samples")
    done("validate", workshop.case, "--dataset", test_only, "--boundary", "recorded")


def test_a_validation_needs_the_truth(workshop: Workshop, tmp_path: Path) -> None:
    bare = tmp_path / "bare.h5"
    done("generate", workshop.case, "-o", bare, "--train", 1, "--test", 1, "--no-fields")
    refused(submodel("validate", workshop.case, "--dataset", bare, "--boundary", "recorded"), "without --no-fields")
    recorded = ("--boundary", "recorded", "--dataset", bare, "-o", tmp_path / "out")
    refused(submodel("zoom", workshop.case, *recorded, "--sample", 5), "sample")


def test_damaged_and_foreign_files_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray(workshop.generator.read_bytes())
    content[-10] ^= 1
    damaged.write_bytes(content)
    refused(submodel("info", damaged), "damaged")
    refused(submodel("info", tmp_path / "none.h5"), "there is no file")
    (tmp_path / "notes.txt").write_text("nothing")
    refused(submodel("info", tmp_path / "notes.txt"), "neither a case")
    refused(
        submodel("zoom", workshop.case, "--generator", workshop.dataset, "--omega", 2, "--source", 0.6, 0.7, "-o", "x")
    )


def without(packages: str, *arguments: object) -> Said:
    """Run a command in a process where some packages are absent."""
    code = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = sys.argv.pop(1).split(",")
sys.meta_path.insert(0, Absent())
from submodel.cli.app import main
main()
"""
    command = [sys.executable, "-c", code, packages, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return Said(done.returncode, done.stdout + done.stderr)


def test_each_command_needs_only_its_own_packages(workshop: Workshop, tmp_path: Path) -> None:
    fe, nn, case = "basix,dolfinx,gmsh,mpi4py,petsc4py,ufl", "safetensors,torch", workshop.case
    dataset, target = ("--dataset", workshop.dataset), tmp_path / "g.safetensors"
    for packages, arguments in (
        (fe, ("train", case, *dataset, "-o", target, "--epochs", 1)),
        (fe, ("info", workshop.generator)),
        (fe, ("check", workshop.dataset)),
        (nn, ("generate", case, "-o", tmp_path / "data.h5", "--train", 1, "--test", 0)),
        (nn, ("validate", case, *dataset, "--boundary", "recorded")),
        (nn, ("zoom", case, *dataset, "--boundary", "recorded", "--sample", 0, "-o", tmp_path / "zoomed")),
    ):
        said = without(packages, *arguments)
        assert said.status == 0, said.text
    said = without(nn, "train", case, *dataset, "-o", target)
    refused(said, "needs torch, which is not installed here", "submodel[nn]")
    said = without(fe, "generate", case, "-o", tmp_path / "data.h5")
    refused(said, "which is not installed here", "environment.yml")


def test_places_that_cannot_be_written_are_refused_before_the_work(workshop: Workshop, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    validate = ("validate", workshop.case, "--dataset", workshop.dataset, "--boundary", "recorded")
    refused(submodel(*validate, "--report", taken), "cannot write into the folder", "choose another place")
    refused(submodel(*validate, "--json", taken / "errors.json"), "cannot write into the folder")
    refused(submodel(*validate, "--json", tmp_path), "is a folder: give a file name such as errors.json")
    recorded = ("--boundary", "recorded", "--dataset", workshop.dataset, "--sample", 1)
    refused(submodel("zoom", workshop.case, *recorded, "-o", taken), "cannot write into the folder")
    refused(submodel("demo", "-o", taken), "cannot write into the folder")


def test_refinements_and_defects_that_cannot_be_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    recorded = ("--boundary", "recorded", "--dataset", workshop.dataset, "--sample", 1, "-o", tmp_path / "out")
    zoom = ("zoom", workshop.case, *recorded)
    refused(submodel(*zoom, "--refine", 0), "1 or more")
    refused(submodel(*zoom, "--defect", 0.6, 0.6, 0.1, 0.5), "covers no cell")
    refused(submodel(*zoom, "--defect", 0, 0, 0.1, -1), "positive radius and speed")


def test_wrong_choices_and_numbers_are_usage_errors(workshop: Workshop, tmp_path: Path) -> None:
    zoom = ("zoom", workshop.case, "-o", tmp_path / "out", "--generator", workshop.generator)
    for words, reason in (
        (("--device", "gpu"), "'gpu' is not one of auto, cpu, cuda"),
        (("--source", 0.6, "--omega", 2.5), "got '0.6 --omega'"),
        (("--source", 0.6), "got '0.6'"),
        (("--source", 0.6, "north"), "got '0.6 north'"),
    ):
        said = submodel(*zoom, *words)
        assert said.status == 2 and reason in " ".join(said.text.replace("│", " ").split()), said.text


def test_the_numbers_of_an_option_may_follow_in_every_way() -> None:
    words = ["zoom", "--source", "0.6", "-0.7", "--omega", "2", "--source=1", "2", "--source", "3"]
    expected = ["zoom", "--source", "0.6 -0.7", "--omega", "2", "--source", "1 2", "--source", "3"]
    assert join_numbers(words, {"--source": 2}) == expected
