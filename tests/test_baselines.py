"""The baselines' parts on functions that are known, and their measure against that of the validation. Needs FEniCS."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from roof_problems import done, errors_of, toy
from test_networks_operator import SOURCES, make_spec

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import baselines  # noqa: E402
import evaluation  # noqa: E402
import regression  # noqa: E402

from networks import checkpoint  # noqa: E402
from networks.operator.network import OperatorGenerator  # noqa: E402
from submodel.case.case import Case  # noqa: E402
from submodel.data.dataset import Dataset  # noqa: E402

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy dataset; its case lies beside it."""
    folder = tmp_path_factory.mktemp("baselines")
    done("generate", toy(folder), "-o", folder / "toy.h5")
    return folder / "toy.h5"


def smooth(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Fields of two parameters, (sample, 1, 3, 40)."""
    t = np.linspace(0.0, 1.0, 120)
    x, y = points.T[..., None]
    return np.asarray(np.sin(2.0 * x + 3.0 * t) + y * np.cos(t) + x * y).reshape(len(points), 1, 3, 40)


def test_modes_hold_their_snapshots() -> None:
    snapshots = smooth(RNG.uniform(-1, 1, (12, 2)))
    pod = regression.Pod.of(baselines.gram_of(snapshots), tail=1e-6)
    assert len(pod.strength) < 12
    again = baselines.sum_of(pod.weights(pod.coefficients), snapshots)
    assert np.allclose(again, snapshots, rtol=0, atol=1e-4)  # square root of rounding in the Gram matrix
    assert np.allclose(pod.weights(pod.coefficients).sum(1), 1.0)


@pytest.mark.parametrize("method", ["rbf", "matern", "gaussian"])
def test_regression_of_a_smooth_function(method: str) -> None:
    points, wanted = RNG.uniform(-1, 1, (60, 2)), RNG.uniform(-0.8, 0.8, (20, 2))
    snapshots = smooth(points)
    pod = regression.Pod.of(baselines.gram_of(snapshots))
    if method == "rbf":
        rbf, left_out = regression.Rbf.chosen(points, pod.coefficients, np.arange(60))
        assert left_out < 0.05
        found = rbf.predict(points, pod.coefficients, wanted)
    else:
        process = regression.GaussianProcess(points, pod.coefficients, method)
        assert process.describe()[0]["columns"] == [0, 4]
        found = process.predict(wanted)
    error = baselines.sum_of(pod.weights(found), snapshots) - smooth(wanted)
    assert np.sqrt(np.mean(error**2)) < 0.02


def test_the_likelier_kernel_is_taken() -> None:
    points = RNG.uniform(-1, 1, (40, 1))
    values = np.sin(3.0 * points)
    found = {k: regression.GaussianProcess(points, values, k) for k in ("matern", "gaussian")}
    assert regression.most_likely(points, values).kernel == max(found, key=lambda k: found[k].likelihood)


def test_measured_as_validate_measures(data: Path) -> None:
    """Recorded data, wrong by a factor: the errors of `submodel validate` of the right ones, and of a known factor."""
    case = Case.load(data.with_name("toy.toml"))
    with Dataset.open(data) as dataset:
        traces = dataset.traces("test")
        fields = np.stack([traces[name] for name in evaluation.FIELDS], axis=1)
        exact = evaluation.evaluate_all(case, dataset, lambda parameters: fields)
        wrong = evaluation.evaluate(case, dataset, lambda parameters: 1.1 * fields, "impedance")
        alone = evaluation.evaluate_all(case, dataset, lambda parameters: fields[:, :1], fields=("displacement",))
        with pytest.raises(ValueError, match="needs the load"):
            evaluation.evaluate(
                case, dataset, lambda p: fields[:, :2], "impedance", fields=("displacement", "velocity")
            )
        with pytest.raises(ValueError, match="2 samples of 3 fields were to be predicted"):
            evaluation.evaluate(case, dataset, lambda p: fields[:1], "dirichlet")
    assert list(exact) == ["dirichlet", "impedance"] and list(alone) == ["dirichlet"]
    for found in exact.values():
        assert found["zone"]["displacement"]["relative_l2_worst"] < 1e-5  # float32 in the dataset
    assert wrong["zone"]["velocity"]["relative_l2"] == pytest.approx(0.1, rel=1e-4)
    assert wrong["gamma"]["load"]["relative_l2_worst"] == pytest.approx(0.1, rel=1e-4)
    case_file, said_file = data.with_name("toy.toml"), data.with_name("errors.json")
    done(
        "validate",
        case_file,
        "--dataset",
        data,
        "--boundary",
        "recorded",
        "--interface",
        "dirichlet",
        "--json",
        said_file,
    )
    said: Any = errors_of(said_file)
    for name, scores in exact["dirichlet"]["zone"].items():
        assert said["after"][name] == pytest.approx({key: scores[key] for key in ("epsilon", "relative_l2")})


def test_images_keep_a_source_and_its_values_together(data: Path) -> None:
    with Dataset.open(data) as dataset:
        found = baselines.Data.of(dataset)
    assert len(found.maps) == 8
    # a field that knows only the distance to the source is the same seen from any image
    distance = np.linalg.norm(found.points - found.sources[:, None], axis=2)[:, None]
    sources, values, belongs = found.images(found.sources, distance, True)
    assert np.allclose(values[:, 0], np.linalg.norm(found.points - sources[:, None], axis=2))
    assert np.array_equal(np.bincount(belongs), np.full(len(found.sources), 8))
    alone, _, _ = found.images(found.sources, distance, False)
    assert np.array_equal(alone, found.sources)


def test_the_free_wave_is_what_runs_begin_with(data: Path) -> None:
    """As far as this coarse mesh has it, before any echo from a wall comes back."""
    from networks.response.signal_response import LowPass, impulse_responses

    with Dataset.open(data) as dataset:
        found = baselines.Data.of(dataset)
    low_pass = LowPass(5.0, found.dt)
    u, v, r = (found.fields[:, i] for i in range(3))
    y_u, y_r = impulse_responses(u, v, r, None, found.dt, low_pass, omegas=found.parameters[:, 0])
    known = baselines.FreeWave(found, low_pass)(found.sources)
    # straight ways of at most 1.2 in the first 1.2; by a wall 1.15 at least from these sources to the zone
    early = found.levels[:-1] < 0.9
    for truth, free, bound in ((y_u, known[:, 0], 0.2), (y_r, known[:, 1], 0.4)):
        error = np.linalg.norm((free - truth)[:, early]) / np.linalg.norm(truth[:, early])
        assert error < bound


def test_command_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results" / "b.json"
    monkeypatch.setitem(sys.modules, "neuralop", None)
    monkeypatch.setitem(sys.modules, "neuralop.models", None)
    common = ["baselines.py", "--dataset", str(data), "--fresh", str(data), "-o", str(out), "--seconds", "1", "--only"]
    every = list(baselines.forms("conv1.5d-boundary", 1.0))
    for only in (every[:1] + every[3:], every[1:2]):
        monkeypatch.setattr(sys, "argv", [*common, *only])
        runpy.run_path(str(BENCHMARKS / "baselines.py"), run_name="__main__")
    rows = {row["form"]: row for row in json.loads(out.read_text())}
    assert len(rows) == len(every) - 1 and "neuralop" in rows["FNO"]["skipped"]
    assert all(
        np.isfinite(r["errors"]["impedance"]["zone"]["velocity"]["relative_l2"]) for r in rows.values() if "errors" in r
    )
    table = out.with_suffix(".md").read_text()
    assert "benchmarks/baselines.py" in table and "| FNO | skipped: " in table and "| POD + RBF | " in table
    monkeypatch.setattr(sys, "argv", [*common, "magic"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(BENCHMARKS / "baselines.py"), run_name="__main__")
    assert "unknown forms magic; there are POD + RBF" in capsys.readouterr().err


def test_rays_alone_are_the_generator_without_its_network(tmp_path: Path) -> None:
    without = runpy.run_path(str(BENCHMARKS / "rays_alone.py"))["without_network"]
    torch.manual_seed(0)
    generator = OperatorGenerator(make_spec())
    for tensor in (generator.net.last.weight, generator.decoder, *generator.rays.factors):
        torch.nn.init.normal_(tensor, std=0.1)
    sources = torch.as_tensor(SOURCES, dtype=torch.float32)
    checkpoint.save(tmp_path / "g.safetensors", generator, metadata={})
    assert without(tmp_path / "g.safetensors", tmp_path / "r.safetensors") == 80
    alone, _ = checkpoint.load(tmp_path / "r.safetensors")
    with torch.no_grad():
        known = generator.known(sources)
        assert known is not None and not torch.allclose(generator.amplitudes(sources), known, rtol=1e-2)
        torch.testing.assert_close(alone.amplitudes(sources), known)
    checkpoint.save(tmp_path / "g.safetensors", OperatorGenerator(make_spec(rays="none")), metadata={})
    with pytest.raises(ValueError, match="no operator generator with rays"):
        without(tmp_path / "g.safetensors", tmp_path / "r.safetensors")
