"""Media that a case writes as a formula of x and y, or reads from a file: from the case to the zoomed run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI
from roof_problems import done, refused, submodel, toy

from networks.operator.spec import OperatorSpec
from solvers.mesh.domain import cell_midpoints
from submodel.case.case import Case
from submodel.case.speed import Formula, Tabulated, smooth
from submodel.data.dataset import Dataset
from submodel.learn.operator import specification
from submodel.solve import from_case

PLACES = np.random.default_rng(0).uniform(-1, 1, (50, 2))
X, Y = PLACES.T
FORMULA = "0.8 + 0.1 * smooth(3, 0.5)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 0.2*x - y/4", 1 + 0.2 * X - Y / 4),
        ("-x**2 + 3", -(X**2) + 3),
        ("sin(pi*x) * exp(-hypot(x, y))", np.sin(np.pi * X) * np.exp(-np.hypot(X, Y))),
        ("where(0 < x <= 0.5, 1, 2)", np.where((X > 0) & (X <= 0.5), 1.0, 2.0)),
        ("minimum(x, y) + abs(tanh(x)) + sqrt(4)", np.minimum(X, Y) + np.abs(np.tanh(X)) + 2.0),
        ("2.5", np.full(50, 2.5)),
        ("10 ** 10 ** 10 * x", np.copysign(np.inf, X)),
    ],
)
def test_a_formula_is_what_it_says(text: str, expected: Any) -> None:
    np.testing.assert_allclose(Formula(text)(PLACES), expected)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("__import__('os').system('ls')", "is no part of a formula"),
        ("__import__('os')", "has the function __import__, which is not known"),
        ("x.real", '"x.real" is no part of a formula'),
        ("[x for x in y]", "is no part of a formula"),
        ("(lambda: 1)()", "is no part of a formula"),
        ("1 if x < 0 else 2", "is no part of a formula: it takes numbers, x, y, pi"),
        ("x < 1", "is no part of a formula"),
        ("x[0]", "is no part of a formula"),
        ("sin(x=1)", "is no part of a formula"),
        ("'1'", "is no part of a formula"),
        ("True", "is no part of a formula"),
        ("1j", "is no part of a formula"),
        ("x // 2", "is no part of a formula"),
        ("sinn(x)", "did you mean sin"),
        ("speed", "the name speed, which is not known: a formula knows abs, "),
        ("sin(x, y)", "sin takes 1 value, not 2"),
        ("where(x, 1, 2)", "where takes a comparison first, as in"),
        ("smooth(x, 1)", "a whole seed and the shortest wavelength"),
        ("smooth(1, 0)", "a whole seed and the shortest wavelength"),
        ("1 +", "is no formula of x and y: invalid syntax"),
        ("", "is no formula"),
        ("(" * 300 + "1" + ")" * 300, "is no formula"),
        ("-" * 100 + "1", "more than 40 deep"),
        ("1" + " + 1" * 1000, "has 4001 characters"),
    ],
)
def test_a_formula_holds_nothing_else(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Formula(text)


def test_a_smooth_function_has_its_mean_deviation_and_wavelengths() -> None:
    line = np.stack([np.linspace(0, 400, 8001), np.zeros(8001)], axis=-1)
    values = smooth(line, 11, 0.7)
    assert abs(values.mean()) < 0.1 and values.std() == pytest.approx(1.0, abs=0.1)
    power = np.abs(np.fft.rfft(values)) ** 2
    frequency = np.fft.rfftfreq(len(values), 0.05)
    assert power[frequency > 1.05 / 0.7].sum() < 1e-3 * power.sum()
    # the numbers of cases/random.toml: another stream of random numbers would be another problem
    np.testing.assert_allclose(smooth(np.zeros((1, 2)), 11, 0.7), [-1.0496885], atol=1e-6)
    assert not np.allclose(smooth(line, 12, 0.7), values, atol=0.5)


def test_the_random_case_varies_by_a_fifth() -> None:
    case = Case.load(Path(__file__).parents[1] / "cases" / "random.toml")
    speed = from_case.domain(case, MPI.COMM_SELF).speed
    assert (speed.min(), speed.max()) == pytest.approx((0.8144, 1.2), abs=1e-3)
    assert speed.std() == pytest.approx(0.0905, abs=1e-3)


def test_a_case_refuses_a_medium_that_it_cannot_solve(tmp_path: Path) -> None:
    for speed, fault in (
        ('speed = "x"', r"medium.speed: x is -1 at (-1, -1): write a formula that is positive"),
        ('speed = "1 / x"', r"medium.speed: 1 / x is -1 at (-1, -1)"),
        ('speed = "fast"', 'medium.speed: "fast" has the name fast, which is not known'),
        ('file = "none.csv"', 'medium.file = "none.csv": there is no file'),
        ('speed = 1.0\nfile = "none.csv"', "exclude each other"),
        ("", "medium.speed is missing: add `speed = 1.0`"),
    ):
        refused(submodel("info", toy(tmp_path, speed=speed)), fault)


def test_the_formula_is_part_of_the_problem(tmp_path: Path) -> None:
    one, other = (Case.load(toy(tmp_path, f"{n}.toml", speed=f'speed = "1 - 0.{n} * x**2"')) for n in (1, 2))
    assert one.fingerprint() != other.fingerprint()
    assert list(one.differences(other)) == [("medium.speed", "1 - 0.1 * x**2", "1 - 0.2 * x**2")]
    assert Case.from_json(one.to_json()) == one
    assert "1 - 0.1 * x**2 m/s" in done("info", tmp_path / "1.toml")


def test_a_file_of_speeds_is_part_of_the_problem_and_taken_by_each_cell(tmp_path: Path) -> None:
    path = toy(tmp_path, speed='file = "speed.csv"')
    plain = Case.load(toy(tmp_path, "plain.toml"))
    middle = cell_midpoints(from_case.domain(plain, MPI.COMM_SELF).mesh)
    values = np.random.default_rng(1).uniform(0.6, 1.0, len(middle))
    rows = [",".join(map(repr, map(float, row))) for row in np.column_stack([middle, values])]
    (tmp_path / "speed.csv").write_text("\n".join(["x,y,speed", *rows]))
    case = Case.load(path)
    np.testing.assert_array_equal(from_case.domain(case, MPI.COMM_SELF).speed, values)
    zone = from_case.zone_model(case, MPI.COMM_SELF).zone
    np.testing.assert_array_equal(zone.speed, Tabulated(middle, values)(cell_midpoints(zone.mesh)))
    assert np.isin(zone.speed, values).all() and case.medium.sha256 is not None
    (tmp_path / "speed.csv").write_text("\n".join(["x,y,speed", *rows[:-1]]))
    assert Case.load(path).fingerprint() != case.fingerprint()
    for text, fault in (
        ("speed\n1.0", "begins with speed: its first line must be x,y,speed"),
        ("x,y,speed\n0,0", "line 2: '0,0' is not three numbers"),
        ("x,y,speed\n0,0,1\n0,1,-1", "line 3: '0,1,-1' needs finite numbers and a positive speed"),
        ("x,y,speed\n", "holds no places"),
    ):
        (tmp_path / "speed.csv").write_text(text)
        with pytest.raises(ValueError, match=fault):
            from_case.domain(Case.load(path), MPI.COMM_SELF)


def test_a_varying_medium_goes_through_all_of_it(tmp_path: Path) -> None:
    """Generate, replay to round-off of float32, train with travel times, zoom refined."""
    case = toy(tmp_path, speed=f'speed = "{FORMULA}"', model='model = "operator"', fields="", variant="", batch_size="")
    case.write_text(case.read_text().replace("validation = 0.2\n", ""))
    data, generator = tmp_path / "d.h5", tmp_path / "g.safetensors"
    done("generate", case, "-o", data)
    text = done("validate", case, "--dataset", data, "--boundary", "recorded", "--json", tmp_path / "e.json")
    errors = json.loads((tmp_path / "e.json").read_text())["after"]
    assert errors["displacement"]["relative_l2"] < 1e-6, text
    with Dataset.open(data) as dataset:
        spec, travel = specification(dataset.case, dataset.gamma, dataset.medium)
        assert dataset.medium.uniform is None
    assert isinstance(spec, OperatorSpec) and spec.rays == "direct" and travel is not None
    straight = np.hypot(travel.x[-1] - dataset_point(spec, 0)[0], travel.y[-1] - dataset_point(spec, 0)[1])
    assert straight / 1.2 < travel.time[-1, -1, 0] < straight / 0.5
    said = done("train", case, "--dataset", data, "-o", generator, "--epochs", 1)
    assert "note: the fit of the rays " in said
    zone = from_case.zone_model(Case.load(case), MPI.COMM_SELF, refine=2).zone
    np.testing.assert_array_equal(zone.speed, Formula(FORMULA)(cell_midpoints(zone.mesh)))


def dataset_point(spec: OperatorSpec, node: int) -> tuple[float, float]:
    """A node of Γ in the user's coordinates."""
    return spec.points[node][0] + spec.origin[0], spec.points[node][1] + spec.origin[1]
