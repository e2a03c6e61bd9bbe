"""A problem far from the origin: all that is drawn, learnt, matched and predicted is what it is at the origin."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from mpi4py import MPI
from roof_problems import done, refused, submodel, toy

from networks.core.prediction import SourceSets
from networks.operator.family import FAMILY
from networks.operator.spec import OperatorSpec
from networks.operator.task import operator_plan, train_operator
from networks.operator.training_data import ResponseData, TravelTimes
from solvers.gamma.chart import ClosedLoops
from submodel.case.case import Case
from submodel.data.dataset import Dataset
from submodel.geometry.arrays import MediumMap
from submodel.geometry.symmetry import find
from submodel.learn.operator import nodes_of, symmetry_maps
from submodel.predict.error_bound import Trust
from submodel.predict.generator import Generator
from submodel.validate.calibrate import training_of
from submodel.validate.validate import validate

# A kilometre grid's coordinates: powers of two, so that the nodes of the mesh stay what they are to the last bit. The
# sources, drawn between corners, are rounded to 2^-31 of a length, which is 1e-8 of a cell.
FAR = (2.0**19, 2.0**22)
CLOSE = 1e-6
TRAINED = 2e-3  # forty steps of training enlarge what rounding changes in the responses; its errors are 2 %


def moved(folder: Path, shift: tuple[float, float], model: str) -> Path:
    """The toy case beside the origin or far from it."""
    x, y = shift

    def corner(value: float) -> str:
        return f"[{x + value!r}, {y + value!r}]"

    path = toy(
        folder,
        model=f'model = "{model}"',
        variant="epochs = 20" if model == "operator" else 'variant = "bn-sl"',
        source_lower=f"source_lower = {corner(0.45)}",
        source_upper=f"source_upper = {corner(0.85)}",
    )
    text = path.read_text(encoding="utf-8")
    for name, value in (("lower", -1.0), ("upper", 1.0)):
        text = text.replace(f"\n{name} = [{value}, {value}]", f"\n{name} = {corner(value)}", 1)
        text = text.replace(f"\n{name} = [{value / 4}, {value / 4}]", f"\n{name} = {corner(value / 4)}", 1)
    if model == "operator":
        lines = [line for line in text.splitlines() if not line.startswith(("fields", "batch_size", "epochs = 2"))]
        text = "\n".join([*lines, "epochs = 20", "[training.size]", "width = 16", "depth = 2", "rank = 12", ""])
    path.write_text(text, encoding="utf-8")
    return path


@cache
def trained(shift: tuple[float, float], model: str, folder: Path) -> tuple[Case, Path, Path]:
    place = folder / f"{model}-{shift[0]:g}"
    place.mkdir()
    path = moved(place, shift, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done("generate", path, "-o", place / "d.h5", "--train", 12, "--test", 2)
        done("train", path, "--dataset", place / "d.h5", "-o", place / "g.safetensors", "--device", "cpu")
    return Case.load(path), place / "d.h5", place / "g.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("moved")


def close(found: Any, wanted: Any, tolerance: float = CLOSE) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0.0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("model", ["operator", "conv1.5d-boundary"])
def test_training_and_prediction_far_from_the_origin(model: str, folder: Path) -> None:
    found = []
    for shift in ((0.0, 0.0), FAR):
        case, data, file = trained(shift, model, folder)
        generator: Generator = Generator.load(file, case, "cpu")
        vectors = np.array([[2.5, 0.6, 0.7], [2.2, 0.5, 0.8]]) + [0.0, *shift]
        traces = generator.predict_vectors(vectors).traces()
        with Dataset.open(data) as dataset:
            result = validate(case, dataset, generator, comm=MPI.COMM_SELF)
        assert result is not None
        training = training_of(case, generator)
        found.append(
            {
                "history": list(generator.file.trained().train),
                "traces": np.array([[trace.displacement, trace.velocity, trace.load] for trace in traces]),
                "errors": result.epsilon,
                "sources": training.sources - shift,
                "features": np.concatenate(list(Trust(training, {}).features(vectors).values()), axis=1),
            }
        )
    here, there = found
    loose = TRAINED if model == "operator" else CLOSE
    close(there["history"], here["history"], loose)
    close(there["traces"], here["traces"], loose)
    close(there["errors"], here["errors"], 10 * loose)
    close(there["sources"], here["sources"])
    close(there["features"], here["features"])


def test_an_operator_generator_learns_the_same_bits() -> None:
    """Where no coordinate is rounded on the way, all numbers agree to the last bit: trained, folded, played."""
    n, dt = 24, 0.05
    along = np.arange(-4, 4) / 16
    one = np.full(8, 0.25)
    sides = ((along, -one), (one, along), (-along, one), (-one, -along))
    square = np.concatenate([np.stack(side, 1) for side in sides])
    sources = np.random.default_rng(0).integers(300, 900, (10, 2)) / 1024
    rng = np.random.default_rng(1)
    u, r = rng.standard_normal((2, 10, n, len(square))).cumsum(2)
    signals = np.sin(4.0 * dt * np.arange(n + 1))[None]
    rays: tuple[Literal["none", "direct", "walls"], ...] = ("none", "direct", "walls")
    for kind in rays:
        found = []
        for shift in ((0.0, 0.0), FAR):
            gamma = ClosedLoops.polygon(square + shift)
            medium = MediumMap(np.linspace(-1, 1, 9) + shift[0], np.linspace(-1, 1, 9) + shift[1], np.ones((9, 9)))  # type: ignore[arg-type]
            maps = symmetry_maps(find(gamma, medium), nodes_of(gamma)["origin"])
            travel = None
            if kind == "direct":
                time = np.linalg.norm(np.stack(np.meshgrid(medium.x, medium.y), -1)[:, :, None] - gamma.points, axis=-1)
                travel = TravelTimes(medium.x, medium.y, time)
            left, bottom = nodes_of(gamma)["origin"]
            spec = OperatorSpec(
                num_levels=n, dt=dt, rate=8.0, band=(2.0, 6.0), **nodes_of(gamma), speed=1.0, rays=kind, rank=4,
                walls=((medium.x[0] - left, medium.y[0] - bottom), (medium.x[-1] - left, medium.y[-1] - bottom))
                if kind == "walls" else None,
                travel=(9, 9) if kind == "direct" else None, symmetries=maps, num_frequencies=8, width=8, depth=2,
            )  # fmt: skip
            assert len(maps) == 8 and spec.origin == shift
            data = ResponseData(sources + shift, u, r, travel)
            made, history = train_operator(spec, data, operator_plan(epochs=2, batch_size=32))
            sets = SourceSets(sources[:3, None] + shift, np.repeat(signals, 3, 0)[:, None])
            fields = FAMILY.predictor(FAMILY.ready(made), sets).levels(0, n)
            images = np.array(spec.images(sources[:1] + shift)) - shift
            found.append((fields, [epoch.loss for epoch in history], images))
        for here, there in zip(*found, strict=True):
            np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("model", ["operator", "conv1.5d-boundary"])
def test_a_thousand_million_lengths_away(model: str, folder: Path) -> None:
    """There a coordinate has seven digits left of a length: the runs must be right to these, never wrong unsaid."""
    shift = (2.0**30, -(2.0**30))
    case, data, file = trained(shift, model, folder)
    _, near, there = trained((0.0, 0.0), model, folder)
    with Dataset.open(data) as dataset, Dataset.open(near) as other:
        assert np.abs(dataset.parameters("test") - [0.0, *shift] - other.parameters("test")).max() < 2.0**-22
        close(dataset.traces("test")["displacement"], other.traces("test")["displacement"], 1e-5)
        far = validate(case, dataset, Generator.load(file, case, "cpu"), comm=MPI.COMM_SELF)
        at = Case.load(near.parent / "toy.toml")
        here = validate(at, other, Generator.load(there, at, "cpu"), comm=MPI.COMM_SELF)
    assert far is not None and here is not None
    assert far.epsilon.max() < 1.5 * here.epsilon.max()  # another training, as good


def test_where_coordinates_end(tmp_path: Path) -> None:
    path = moved(tmp_path, (2.0**46, 0.0), "operator")
    refused(submodel("generate", path, "-o", tmp_path / "d.h5"), "cells of 0.125 at coordinates up to 7.03687e+13")
