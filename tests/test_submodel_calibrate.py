"""The error bound: which runs it is made from, how often it holds, and that each interface condition has its own."""

from __future__ import annotations

import csv
import json
import tomllib
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exact_generator import exact
from mpi4py import MPI
from roof_problems import TOY, done, toy

from networks import checkpoint
from solvers.time.signals import Sine
from submodel.case.case import Case
from submodel.case.excitation import Excitation
from submodel.case.parameter_sets import ParameterTable
from submodel.case.sampling import SPLITS
from submodel.data.dataset import Dataset
from submodel.predict.error_bound import Training, Trust
from submodel.predict.error_model import ErrorModel, num_sorted, rank_of
from submodel.predict.generator import Generator
from submodel.predict.signal_error import ResidualSpectrum
from submodel.report import pictures
from submodel.validate.calibrate import calibrate, calibrate_held_out
from submodel.validate.validate import bounds
from submodel.zoom.many import zoom_many
from submodel.zoom.setup import ZoneSetup

HERE = (0.6, 0.7)
TENFOLD = 10.0


@pytest.mark.parametrize("num", [13, 40, 100])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_the_coverage_counted_exactly(num: int, coverage: float) -> None:
    """Of exchangeable scores each is as likely the fresh one: the bound of the others must hold for exactly
    ceil((n + 1) coverage) of n + 1. Nothing is left to chance, so that a rank of ceil(n coverage) is one too few."""
    features = {"place": np.zeros((num, 3))}  # an error model that tells nothing: the scores are the errors
    epsilon = np.exp(np.random.default_rng(num).normal(size=num))
    first = ErrorModel.fit(features, epsilon)
    scale = float(first.expected(features)[0])
    rest = [int(np.abs(epsilon - scale * quotient).argmin()) for quotient in first.quotients]
    assert len(set(rest)) == num_sorted(num)
    scores = np.append(epsilon[rest], np.exp(1.234))  # n of the calibration and a fresh one
    held = 0
    for fresh in range(len(scores)):
        changed = epsilon.copy()
        changed[rest] = np.delete(scores, fresh)
        model = ErrorModel.fit(features, changed)
        held += scores[fresh] <= model.factor(coverage) * scale
    assert held == np.ceil(len(scores) * coverage)


def test_quotients_are_of_runs_that_the_error_model_has_not_seen() -> None:
    rng = np.random.default_rng(1)
    columns = rng.normal(size=(30, 3))
    features, epsilon = {"place": columns}, np.exp(2.0 * columns[:, 0] + rng.normal(size=30))
    model = ErrorModel.fit(features, epsilon)
    assert model.groups == ("place",)
    all_quotients = epsilon / model.expected(features)
    rest = np.array([int(np.abs(all_quotients - quotient).argmin()) for quotient in model.quotients])
    np.testing.assert_allclose(all_quotients[rest], model.quotients, rtol=1e-12)
    fitted = np.setdiff1d(np.arange(30), rest)
    assert len(fitted) + len(rest) == 30 and len(rest) == num_sorted(30)
    np.testing.assert_allclose(model.centre, columns[fitted].mean(axis=0), rtol=1e-12)
    assert model.coefficients[0] == pytest.approx(np.log(epsilon[fitted]).mean(), rel=1e-12)


def test_the_rank() -> None:
    assert [rank_of(0.9, num) for num in (9, 10, 19, 69, 70, 71)] == [9, 10, 18, 63, 64, 65]


def two_models() -> Trust:
    """Errors under ``dirichlet`` are ten times those under ``impedance``, whatever the parameters."""
    rng = np.random.default_rng(0)
    parameters = np.column_stack([rng.uniform(2.0, 3.0, 40), rng.uniform(0.45, 0.85, (40, 2))])
    axes, zone = Case.from_dict(tomllib.loads(TOY)).parameters, np.array([[0.0, 0.0], [0.25, 0.25]])
    training = Training(axes, rng.uniform(0.45, 0.85, (10, 2)), zone)
    epsilon = 0.001 * np.exp(rng.normal(size=40))
    return Trust.calibrate(training, parameters, {"impedance": epsilon, "dirichlet": TENFOLD * epsilon})


@pytest.fixture(scope="module")
def shop() -> tuple[Case, Generator]:
    case = Case.from_dict(tomllib.loads(TOY))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = exact(case, np.array([HERE]))
    stored = json.loads(json.dumps(two_models().to_json()))
    return case, replace(known, file=replace(known.file, trust=stored))


def test_each_condition_has_its_own_bound(shop: tuple[Case, Generator]) -> None:
    """Whoever asks for one: the error model, a generator, a validation."""
    case, generator = shop
    trust, vectors = two_models(), np.array([[2.5, *HERE], [2.2, 0.5, 0.8]])
    for order in (("dirichlet", "impedance"), ("impedance", "dirichlet")):
        again = replace(trust, models={name: trust.models[name] for name in order})
        np.testing.assert_allclose(
            again.bound(vectors, "dirichlet"), TENFOLD * again.bound(vectors, "impedance"), rtol=1e-9
        )
    excitation = Excitation((HERE,), (Sine(2.5),))
    large, small = (generator.bound(excitation, name).value for name in ("dirichlet", "impedance"))
    assert large is not None and small is not None and large == pytest.approx(TENFOLD * small, rel=1e-9)
    promised = [bounds(generator, vectors, name) for name in ("dirichlet", "impedance")]
    assert promised[0] is not None and promised[1] is not None
    np.testing.assert_allclose(promised[0].values, TENFOLD * promised[1].values, rtol=1e-9)


def test_zoomed_runs_tell_the_bound_of_their_condition(
    shop: tuple[Case, Generator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, generator = shop
    monkeypatch.setattr(pictures, "run_gif", lambda scene, times, fields, path, **_: path)
    monkeypatch.setattr(
        checkpoint, "load", lambda path, device="cpu": (generator.generator, generator.file.to_document())
    )
    file, sets = tmp_path / "g.safetensors", tmp_path / "sets.csv"
    file.write_bytes(b"g")
    sets.write_text(f"omega,x,y\n2.5,{HERE[0]},{HERE[1]}\n", encoding="utf-8")
    table = ParameterTable.read(sets, case)
    one, many = {}, {}
    for name in ("dirichlet", "impedance"):
        out = tmp_path / name
        given = ("--generator", file, "--source", *HERE, "--omega", 2.5, "--interface", name, "-o", out)
        text = done("zoom", toy(tmp_path), *given)
        one[name] = json.loads((out / "zoom.json").read_text())["bound"]["epsilon"]
        assert f"epsilon <= {100 * one[name]:.3g} %" in text
        zoom_many(case, replace(generator, path=file), table, out / "many", comm=MPI.COMM_SELF, setup=ZoneSetup(name))
        with (out / "many" / "zoomed.csv").open() as stream:
            many[name] = float(next(csv.DictReader(stream))["bound"])
    assert one["dirichlet"] == pytest.approx(TENFOLD * one["impedance"], rel=1e-9)
    for name, value in one.items():
        assert many[name] == pytest.approx(value, rel=1e-3)


def test_calibration_takes_its_own_split_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that is right on the test samples and 5 % wrong on those of the calibration."""
    path = tmp_path / "d.h5"
    done("generate", toy(tmp_path), "-o", path, "--train", 1, "--test", 14, "--calibration", 14)
    case = Case.load(tmp_path / "toy.toml")
    with Dataset.open(path) as dataset:
        places = [dataset.parameters(split)[:, 1:] for split in SPLITS[1:]]
        wrong = np.repeat([1e-4, 0.05], 14)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = exact(case, np.concatenate(places), wrong)
        monkeypatch.setattr(checkpoint, "load", lambda path, device="cpu": (known.generator, known.file.to_document()))
        monkeypatch.setattr(checkpoint, "update_metadata", lambda path, changes: None)
        found = calibrate(case, dataset, tmp_path / "g.safetensors", MPI.COMM_SELF, device="cpu", coverage=0.8)
    assert found is not None and found.num_runs == 14
    for name in ("dirichlet", "impedance"):
        assert 0.02 < found.epsilon[name] < 0.08
        assert found.bound[name] >= 0.9 * found.epsilon[name]


def test_runs_held_out_make_a_bound(shop: tuple[Case, Generator]) -> None:
    """Traces that are off by a factor: the zone is linear, so is its error; ten runs do where a spectrum is known."""
    case, generator = shop
    true = generator.predict_vectors(np.array([[2.5, *HERE]])).trace()
    sizes = np.linspace(0.01, 0.1, 10)
    wrong = [
        replace(true, displacement=(1 + e) * true.displacement, velocity=(1 + e) * true.velocity, load=(1 + e) * load)
        for e, load in ((size, np.asarray(true.load)) for size in sizes)
    ]
    spectrum = ResidualSpectrum(np.array([2.0, 3.0]), np.array([0.01, 0.01]), np.ones(2), 2.0, case.time.dt, 10)
    vectors = np.tile([2.5, *HERE], (10, 1))
    found = calibrate_held_out(case, generator, vectors, [(each, true) for each in wrong], spectrum, MPI.COMM_SELF)
    assert found.num_runs == 10 and set(found.epsilon) == {"dirichlet", "impedance"}
    for name, model in found.trust.models.items():
        assert (model.num_fitted, model.num_sorted) == (0, 10)
        share = np.array(model.quotients) / sizes
        np.testing.assert_allclose(share, share[0], rtol=1e-6)
        assert found.bound[name] == pytest.approx(found.epsilon[name] * sizes.max() / sizes.mean(), rel=1e-6)
        assert found.epsilon[name] < sizes.mean()  # a mean over nodes of what is at most that
    few = [(wrong[0], true)] * 8
    with pytest.raises(ValueError, match="a coverage of 90 % needs 9 calibration runs"):
        calibrate_held_out(case, generator, vectors[:8], few, spectrum, MPI.COMM_SELF)
