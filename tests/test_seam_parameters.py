"""Seam of the parameters: an amplitude, registered here, is sampled, learnt, zoomed and validated like omega."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import ArrayLike, NDArray
from roof_problems import done, errors_of, refused, submodel, toy

from networks import checkpoint
from solvers.time.signals import PointSource, Signal, Sine
from submodel.case.case import Case, CaseError
from submodel.case.parameters import AXES, AxisKind
from submodel.data.dataset import Dataset
from submodel.data.zoom_file import ZoomedFile
from submodel.solve import from_case as build

OPERATOR = {"model": 'model = "operator"', "fields": "", "variant": "", "batch_size": "", "validation": ""}
SETS = ((2.5, 0.6, 0.7, 0.75), (2.5, 0.6, 0.7, 1.5), (2.2, 0.5, 0.8, 1.0))


@dataclass(frozen=True)
class Scaled:
    """A signal times a factor."""

    signal: Signal
    factor: float

    @property
    def highest_omega(self) -> float:
        """That of the signal."""
        return self.signal.highest_omega

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        return self.factor * self.signal(t)


@dataclass(frozen=True)
class Shop:
    """A case with the axis, its data, and a generator of each family."""

    folder: Path
    case: Path
    dataset: Path
    generators: dict[str, Path]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    AXES["amplitude"] = AxisKind("amplitude", unit="", excite=Scaled)
    folder = tmp_path_factory.mktemp("shop")
    case = toy(folder, **OPERATOR, omega="omega = [2.0, 3.0]\namplitude = [0.5, 2.0]")
    dataset, generators = folder / "data.h5", {}
    done("generate", case, "-o", dataset, "--train", 10)
    for model, epochs in (("operator", 40), ("conv1.5d-boundary", 2)):
        generators[model] = folder / f"{model}.safetensors"
        training = ("--model", model, "--epochs", epochs)
        done("train", case, "--dataset", dataset, "-o", generators[model], *training)
    yield Shop(folder, case, dataset, generators)
    del AXES["amplitude"]


def zoomed(shop: Shop, model: str, folder: Path) -> NDArray[np.float32]:
    """Displacements of `SETS`, (set, time, node), from a file whose columns are in an order of their own."""
    table = folder / "sets.csv"
    rows = [f"{amplitude},{y},{omega},{x}" for omega, x, y, amplitude in SETS]
    table.write_text("\n".join(["amplitude,y,omega,x", *rows]) + "\n", encoding="utf-8")
    done("zoom", shop.case, "--generator", shop.generators[model], "--parameters", table, "-o", folder)
    file = ZoomedFile(folder / "zoomed.h5")
    assert np.array_equal(file.array("parameters"), SETS)
    return np.array(file.array("displacement"))


def test_its_samples_have_a_column_more_and_scale_the_full_runs(shop: Shop) -> None:
    case = Case.load(shop.case)
    space = case.parameters
    assert space.names == ("omega", "x", "y", "amplitude") and space.dimension == 4
    with Dataset.open(shop.dataset) as dataset:
        vectors, trace = dataset.parameters("train"), dataset.traces("train")["displacement"]
    assert vectors.shape == (10, 4) and all(space.contains(vector) for vector in vectors)
    strata = np.sort((space.column(vectors, "amplitude") - 0.5) / 1.5 * 10).astype(int)
    assert np.array_equal(strata, np.arange(10)), "a Latin hypercube has one sample in each tenth of an axis"
    omega, x, y, amplitude = map(float, vectors[0])
    plain = build.full_model(case, MPI.COMM_SELF).run(PointSource((x, y), Sine(omega)), fields=False)
    assert plain is not None and abs(amplitude - 1.0) > 0.1
    np.testing.assert_allclose(trace[0], amplitude * plain.trace.displacement, atol=1e-7)
    assert not space.contains((2.5, 0.6, 0.7, 2.5)) and space.contains((2.5, 0.6, 0.7, 1.5))


def test_the_operator_generator_is_linear_in_it_and_accurate(shop: Shop, tmp_path: Path) -> None:
    single, double, other = zoomed(shop, "operator", tmp_path)
    np.testing.assert_allclose(double, 2.0 * single, atol=1e-5 * np.abs(double).max())
    assert np.abs(other - single).max() > 0.1 * np.abs(single).max()
    target = tmp_path / "errors.json"
    done("validate", shop.case, "--dataset", shop.dataset, "--generator", shop.generators["operator"], "--json", target)
    found: Any = errors_of(target)
    assert found["after"]["displacement"]["relative_l2"] < 0.04  # measured 0.019


def test_a_model_of_the_paper_has_an_input_more(shop: Shop, tmp_path: Path) -> None:
    single, double, _ = zoomed(shop, "conv1.5d-boundary", tmp_path)
    assert not np.array_equal(single, double)
    assert checkpoint.read_metadata(shop.generators["conv1.5d-boundary"])[0].num_parameters == 4
    target = tmp_path / "errors.json"
    model = shop.generators["conv1.5d-boundary"]
    done("validate", shop.case, "--dataset", shop.dataset, "--generator", model, "--json", target, "--report", tmp_path)


def test_one_zoomed_run_is_told_its_value(shop: Shop, tmp_path: Path) -> None:
    run = ("zoom", shop.case, "--generator", shop.generators["operator"], "-o", tmp_path, "--source", 0.6, 0.7)
    refused(submodel(*run, "--omega", 2.5), "the case has the axis amplitude, 0.5 to 2: give --axis amplitude=VALUE")
    refused(submodel(*run, "--omega", 2.5, "--axis", "loudness=2"), "the case has amplitude beside omega")
    refused(submodel(*run, "--omega", 2.5, "--axis", "amplitude"), "give a name and a number")
    refused(submodel(*run, "--omega", 2.5, "--axis", "amplitude=3"), "amplitude 3 lie outside", "0.5 to 2")
    text = done(*run, "--omega", 2.5, "--axis", "amplitude=1.5")
    peak = float(text.partition("largest |u| ")[2].split()[0])
    assert peak == pytest.approx(np.abs(zoomed(shop, "operator", tmp_path)[1]).max(), rel=1e-3)
    assert "amplitude in [0.5, 2]" in done("info", shop.case)


@pytest.mark.parametrize("name", ["x", "omega", "train"])
def test_a_name_that_is_taken_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AXES, name, AxisKind(name, "", Scaled))
    with pytest.raises(CaseError, match=f"the name {name} of a parameter is taken"):
        Case.load(toy(tmp_path))


def test_names_that_are_not_registered_are_refused(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"unknown key parameters.amplitud: did you mean amplitude\?"):
        Case.load(toy(tmp_path, omega="omega = [2.0, 3.0]\namplitud = [0.5, 2.0]"))
    with pytest.raises(CaseError, match=r"parameters.amplitude = \[2.0, 0.5\] runs backwards"):
        Case.load(toy(tmp_path, omega="omega = [2.0, 3.0]\namplitude = [2.0, 0.5]"))
