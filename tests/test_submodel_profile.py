"""The profile of a case: its parts and shares, limits from counted bytes, and what it refuses. No time is tested."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from exact_generator import exact
from mpi4py import MPI
from roof_problems import done, refused, submodel, toy

from networks import checkpoint
from networks.operator.network import OperatorGenerator
from solvers.batch import bandwidth
from solvers.batch.bandwidth import step_bytes
from solvers.batch.ensemble import Ensemble
from submodel.case.case import Case, CaseError
from submodel.case.sampling import sample
from submodel.learn.operator import specification
from submodel.solve import from_case as build
from submodel.studies.profile import full as profile_full
from submodel.studies.profile import timing as profile
from submodel.studies.profile.timing import Part, Profile, least, require_serial, steps_limit
from submodel.studies.profile.zoom import _largest, _multiply_adds
from submodel.zoom.batch import boundary_data

SETUP = ("packages", "compiled steps", "mesh", "matrices and records")
WORK = ("stepping", "recording: difference", "recording: trace, load", "I/O: shards")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round of each timing."""
    monkeypatch.setattr(profile, "BUDGET", 0.0)
    monkeypatch.setattr(profile, "LEAST_ROUNDS", 1)


def profiled(folder: Path, *options: object) -> tuple[dict[str, Any], str]:
    """The JSON that a profile wrote, and what it printed."""
    text = done("profile", *options, "--json", folder / "profile.json")
    return dict(json.loads((folder / "profile.json").read_text())), text


def test_a_full_run_and_a_batch_are_divided_into_parts(tmp_path: Path) -> None:
    said, text = profiled(tmp_path, toy(tmp_path))
    assert (said["case"], said["precision"], len(said["jobs"])) == ("toy", "double", 1)
    columns = said["jobs"][0]["columns"]
    assert [column["runs"] for column in columns] == [1, 8]
    for column in columns:
        parts = column["parts"]
        setup = [f"set-up: {name}" for name in (*SETUP, "stability limit", "medium on a grid")]
        assert tuple(parts) == (*setup, *WORK)
        # the total is the sum of the parts in another order than here: round-off
        assert sum(part["seconds"] for part in parts.values()) == pytest.approx(column["seconds"], rel=1e-12)
        assert sum(part["share"] for part in parts.values()) == pytest.approx(1.0, rel=1e-12)
        assert parts["stepping"]["of_limit"] > 0.0 and parts["I/O: shards"]["of_limit"] > 0.0
        assert parts["set-up: mesh"]["of_limit"] is None
    assert "1 run " in text and "8 runs" in text and "stepping" in text
    assert "plain step of 8 lane(s) must move (289 rows, " in text
    assert "the 8 samples of the case on one rank, by the last column: " in text
    assert "give --generator G" in text


def test_single_precision_has_more_lanes_and_a_batch_may_have_any_size(tmp_path: Path) -> None:
    said, text = profiled(tmp_path, toy(tmp_path), "--precision", "single", "--samples", 17)
    assert [column["runs"] for column in said["jobs"][0]["columns"]] == [1, 17] and said["precision"] == "single"
    assert "16 lane(s)" in text and "float32" in text


def test_implicit_steps_have_no_limit_here(tmp_path: Path) -> None:
    said, text = profiled(tmp_path, toy(tmp_path, stepper='stepper = "newmark"'), "--samples", 2)
    for column, num in zip(said["jobs"][0]["columns"], (1, 2), strict=True):
        assert column["runs"] == num
        setup = [f"set-up: {name}" for name in (*SETUP, "medium on a grid")]
        assert tuple(column["parts"]) == (*setup, "stepping", "recording", "I/O: shards")
        assert column["parts"]["stepping"]["of_limit"] is None
    assert "no limit is known" in text


@pytest.mark.parametrize("stepper", ["explicit", "newmark"])
def test_zoomed_runs_stand_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stepper: str) -> None:
    path, file = toy(tmp_path, stepper=f'stepper = "{stepper}"'), tmp_path / "exact.safetensors"
    file.write_bytes(b"")
    case = Case.load(path)
    known = exact(case, sample(case, 3, case.parameters.seed, "train")[:, 1:])
    spec = specification(case, known.gamma, build.medium_map(case, build.domain(case, MPI.COMM_SELF)))[0]
    network = OperatorGenerator(replace(spec, width=8, depth=1, rank=4)).eval()
    monkeypatch.setattr(checkpoint, "load", lambda path, device: (network, known.file.to_document()))
    said, text = profiled(tmp_path, path, "--generator", file, "--samples", 3)
    zoomed = said["jobs"][1]
    assert zoomed["title"] == "zoomed runs of toy with exact.safetensors"
    assert [column["runs"] for column in zoomed["columns"]] == [1, 3]
    for column in zoomed["columns"]:
        assert tuple(column["parts"]) == (
            *(f"set-up: {name}" for name in ("torch", "generator", "zone")),
            "network",
            "zone",
        )
        assert column["parts"]["network"]["of_limit"] > 0.0
        assert (column["parts"]["zone"]["of_limit"] is None) == (stepper == "newmark")
    assert "million multiply-adds" in text and "give --generator G" not in text


def test_all_ways_to_the_zone_give_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case.load(toy(tmp_path))
    vectors = sample(case, 2, 0, "train")
    known, zone = exact(case, vectors[:, 1:]), build.zone_model(case, MPI.COMM_SELF)
    at_once, alone = (boundary_data(known.predict_vectors(v), zone) for v in (vectors, vectors[1:]))
    monkeypatch.setattr(zone, "datum_weights", lambda: None)
    scale = np.abs(at_once).max()  # sums in another order
    np.testing.assert_allclose(alone[0], at_once[1], rtol=0.0, atol=1e-9 * scale)
    for chosen in (vectors[1:], vectors):
        found = boundary_data(known.predict_vectors(chosen), zone)
        np.testing.assert_allclose(found, at_once[-len(chosen) :], rtol=0.0, atol=1e-9 * scale)


def test_shares_and_limits_of_parts() -> None:
    parts = (Part("a", (1.0, 2.0), (0.5, 0.5)), Part("b", (3.0, 6.0)), Part("c", (0.0, 0.0), (1.0, 1.0)))
    measured = Profile("some runs", (1, 4), parts, ("a note",))
    assert measured.total(1) == 8.0
    assert measured.rows(0) == [(1.0, 0.25, 0.5), (3.0, 0.75, None), (0.0, 0.0, None)]
    assert measured.rows(1)[0] == (2.0, 0.25, 0.25)
    assert measured.to_json()["columns"][1]["parts"]["b"] == {"seconds": 6.0, "share": 0.75, "of_limit": None}


def test_the_limit_of_steps_is_their_bytes_at_the_rate_of_the_triad(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {bandwidth.step_footprint(5, 13, 8, 8): 1e9}
    monkeypatch.setattr(profile, "triad_bandwidth", rates.__getitem__)
    assert steps_limit(10, 5, 13, 8, 8) == 10 * step_bytes(5, 13, 8, 8) / 1e9


def test_calls_are_made_once_more_than_they_count() -> None:
    made = []
    assert least({"a": lambda: made.append("a"), "b": lambda: made.append("b")}).keys() == {"a", "b"}
    assert made == ["a", "b"] * 2


def test_what_is_recorded_for_the_difference_is_the_zone(tmp_path: Path) -> None:
    case = Case.load(toy(tmp_path))
    model = build.full_model(case, MPI.COMM_SELF)
    runs = profile_full._Runs(case, model, sample(case, 9, 0, "train"), np.float64)
    assert [ensemble.lanes for ensemble in runs._batches] == [8, 1]  # as run_many makes nine runs
    ensemble = Ensemble(model.stepper, 1)  # type: ignore[arg-type]
    record = runs._zone_rows(ensemble)
    nodes = model.V.tabulate_dof_coordinates()[ensemble.order, :2]
    np.testing.assert_allclose(nodes[record.rows], model.zone_points, atol=1e-12)  # the same nodes: round-off
    assert len(record.slots) == model.time.num_levels + 1


def test_products_are_counted() -> None:
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    assert _multiply_adds(lambda: [a @ b]) == 60.0
    assert _largest(torch.nn.Sequential(torch.nn.Linear(7, 3), torch.nn.Conv2d(2, 5, 3))) == (18, 5)
    assert _largest(object()) == (128, 128)


def test_what_cannot_be_profiled_is_refused(tmp_path: Path) -> None:
    case = toy(tmp_path)
    refused(submodel("profile", case, "--samples", 0), "--samples is 0: give the runs of a batch, 1 or more")
    refused(submodel("profile", tmp_path / "none.toml"), "cannot read the case")
    refused(submodel("profile", case, "--json", tmp_path), "is a folder")
    refused(submodel("profile", case, "--generator", tmp_path / "none.safetensors"), "none.safetensors")
    with pytest.raises(CaseError, match="submodel profile is serial, and there are 2 ranks: run it without mpirun"):
        require_serial(SimpleNamespace(size=2))  # type: ignore[arg-type]
