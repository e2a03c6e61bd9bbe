"""A case is read whole, and what cannot be used is refused in one sentence with the remedy."""

from __future__ import annotations

import copy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from submodel.case.case import Case, CaseError
from submodel.case.sections import BoxDomain, GmshDomain

CASES = Path(__file__).parent.parent / "cases"
ABSENT = object()


def reference() -> dict[str, Any]:
    """The reference case as nested values, free to change."""
    return tomllib.loads((CASES / "paper2d.toml").read_text())


def changed(key: str, value: Any) -> dict[str, Any]:
    """The reference case with one key, dotted, set or taken away."""
    data = reference()
    *path, last = key.split(".")
    table = data
    for name in path:
        table = table[name]
    if value is ABSENT:
        del table[last]
    else:
        table[last] = value
    return data


def gmsh_case(**domain: Any) -> dict[str, Any]:
    data = changed("zone", ABSENT)
    data["domain"] = {"kind": "gmsh", "file": "a.msh"} | domain
    return data


def test_a_training_lasts_as_long_as_is_said_or_two_minutes() -> None:
    assert Case.from_dict(changed("training", ABSENT)).training.seconds == 120.0
    assert Case.from_dict(changed("training", {})).training.seconds == 120.0
    by_epochs = Case.from_dict(changed("training", {"epochs": 3}))
    assert (by_epochs.training.epochs, by_epochs.training.seconds) == (3, None)
    assert Case.from_json(by_epochs.to_json()) == by_epochs


@pytest.mark.parametrize(
    ("text", "fraction"), [("1%", 0.01), (" 2.5 % ", 0.025), ("0.01", 0.01), (0.3, 0.3), ("1e-3", 1e-3)]
)
def test_a_tolerance_is_a_fraction_or_in_percent(text: str | float, fraction: float) -> None:
    training = Case.from_dict(changed("training", {"model": "table", "tolerance": text})).training
    assert training.tolerance == pytest.approx(fraction, rel=1e-15)
    assert training.seconds is None  # a table is not trained for a time unless that is asked for


@pytest.mark.parametrize("text", ["one", "1 percent", "%", "0%", "100%", "-1%", "nan", 0, 1, 2.0, True, [0.1]])
def test_what_is_no_tolerance_is_refused(text: object) -> None:
    with pytest.raises(CaseError, match="tolerance"):
        Case.from_dict(changed("training", {"model": "table", "tolerance": text}))


def test_the_keys_of_a_table_go_with_a_table_only() -> None:
    with pytest.raises(CaseError, match="training.tolerance = 0.02 does not go with .*choose the wave table"):
        Case.from_dict(changed("training", {"tolerance": "2%"}))
    with pytest.raises(CaseError, match='training.rays = "direct" does not go with model = "table"'):
        Case.from_dict(changed("training", {"model": "table", "rays": "direct"}))


def test_the_large_case_is_the_reference_in_a_domain_whose_walls_are_not_heard() -> None:
    large, small = Case.load(CASES / "large2d.toml"), Case.load(CASES / "paper2d.toml")
    assert (large.zone, large.medium, large.interface) == (small.zone, small.medium, small.interface)
    assert large.time.dt == pytest.approx(small.time.dt, rel=1e-15) and large.time.final == 2 * small.time.final
    assert isinstance(large.domain, BoxDomain) and isinstance(small.domain, BoxDomain) and large.zone is not None
    wide = large.domain.upper[0]
    assert wide / large.domain.cells[0] == small.domain.upper[0] / small.domain.cells[0]
    reach = large.medium.speed * large.time.final  # type: ignore[operator]
    source, zone = large.parameters.source_upper[0], large.zone.upper[0]
    assert 2**0.5 * (source + zone) < reach < 2 * wide - source - zone  # all is heard, no echo is


@pytest.mark.parametrize("name", ["paper2d", "corner", "large2d"])
def test_a_shipped_case_is_read_and_survives_json(name: str) -> None:
    case = Case.load(CASES / f"{name}.toml")
    assert case.name == name
    assert Case.from_json(case.to_json()) == case
    assert Case.from_json(case.to_json()).fingerprint() == case.fingerprint()
    assert hash(Case.from_json(case.to_json())) == hash(case)


def test_a_case_does_not_change() -> None:
    case = Case.load(CASES / "corner.toml")
    with pytest.raises(Exception, match="frozen"):
        case.time.levels = 3  # type: ignore[misc]


def test_the_corner_is_the_reference_with_other_parameters() -> None:
    keys = [key for key, *_ in Case.load(CASES / "paper2d.toml").differences(Case.load(CASES / "corner.toml"))]
    assert keys
    assert all(key.startswith("parameters.") for key in keys)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("units", ABSENT, r"units is missing: add a section \[units\] .*length = \"m\""),
        ("units.time", ABSENT, r"units\.time is missing: add `time = \"s\"` .* to \[units\]"),
        ("units.length", "", r"units\.length should have at least 1 character"),
        ("time.levls", 3, r"unknown key time\.levls: did you mean levels\? \[time\] takes final, levels"),
        ("colour", "red", r"unknown key colour: the top of the file takes name, units, "),
        ("time", 3, r"time should be an object, got 3: write a section \[time\]"),
        ("time.levels", "3", r"time\.levels should be a valid integer, got \"3\": write for example `levels = 256`"),
        ("time.levels", 3, r"time\.levels should be greater than or equal to 4, got 3"),
        ("domain.kind", ABSENT, r"domain\.kind is missing: add `kind = \"box\"`"),
        ("domain.kind", "sphere", r"domain\.kind = \"sphere\" is not known: write one of \"box\", \"gmsh\""),
        ("domain.cells", [3, -1], r"domain\.cells should be greater than 0, got -1"),
        ("domain.upper", [-2.0, 1.0], r"domain\.upper = \[-2\.0, 1\.0\] is not above and to the right"),
        ("zone", ABSENT, r"zone is missing: add a section \[zone\]"),
        ("zone.lower", [-0.26, -0.25], r"zone\.lower = .* is not on a grid line: .* write -0\.265625 for -0\.26"),
        ("zone.upper", [2.0, 0.25], r"zone\.upper = \[2\.0, 0\.25\] lies outside the domain: move it between"),
        ("zone.upper", [0.25, 1.0], r"zone\.upper = .* touches the domain's boundary along y: leave at least one"),
        ("zone.upper", [-0.25, -0.5], r"zone\.upper = .* is not above and to the right"),
        ("medium.speed", -1.0, r"medium\.speed should be greater than 0, got -1\.0"),
        ("medium.speed", "fast", r"medium\.speed: \"fast\" has the name fast, which is not known: a formula knows"),
        ("medium.speed", float("inf"), r"medium\.speed should be a finite number"),
        ("medium.speed", {"steel": 5.0}, r"medium\.speed is given per physical group, which a box does not have"),
        ("medium.speed", {"steel": -5.0}, r"medium\.speed should be greater than 0, got -5\.0"),
        ("discretization.degree", 2, r"discretization\.degree = 2 does not go with element = \"p1\""),
        ("discretization.element", "p2", r"discretization\.element should be 'p1' or 'gll', got \"p2\""),
        ("interface", {"kind": "dirichlet", "alpha": 1.0}, r"interface\.alpha = 1 has no meaning with kind"),
        ("interface.kind", "robin", r"interface\.kind should be 'dirichlet' or 'impedance'"),
        ("source.signal", "square", r"source\.signal should be 'sine' or 'ricker', got \"square\""),
        ("parameters.omega", [3.0, 1.0], r"parameters\.omega = \[3\.0, 1\.0\] runs backwards"),
        ("parameters.omega", [0.0, 1.0], r"parameters\.omega should be greater than 0"),
        ("parameters.source_upper", [-1.0, 0.9], r"parameters\.source_upper = .* is not above"),
        ("parameters.source_upper", [1.1, 0.9], r"sources from .* lie partly outside the domain"),
        ("parameters.exclude_lower", ABSENT, r"parameters\.exclude_lower is missing: give .* together, or neither"),
        ("parameters.exclude_lower", [-0.2, -0.35], r"may fall inside the zone: exclude it with"),
        ("parameters.train", -1, r"parameters\.train should be greater than or equal to 0, got -1"),
        ("parameters.seed", 1.5, r"parameters\.seed should be a valid integer, got 1\.5"),
        ("training.fields", ["u"], r"training\.fields should be 'displacement', 'velocity' or 'load'"),
        (
            "training",
            {"model": "conv3d", "fields": ["load", "load"]},
            r"training\.fields = .* names a field twice",
        ),
        *(
            ("training", {key: value}, rf"training\.{key} = .* does not go with model = \"operator\", which has no use")
            for key, value in (
                ("batch_size", 4),
                ("fields", ["displacement"]),
                ("compressible", False),
                ("variant", "basic"),
            )
        ),
        ("training", {"model": "fc-t", "rays": "auto"}, r"does not go with .* or choose the operator generator"),
        ("parameters.calibration", -1, r"parameters\.calibration should be greater than or equal to 0, got -1"),
        ("symmetry", {"maps": "all"}, r"symmetry\.maps should be .*got \"all\""),
        ("symmetry", {"maps": ["mirror"]}, r"symmetry\.maps should be 'mirror-x', .*got \"mirror\""),
        ("training.model", "conv9d", r"training\.model = \"conv9d\" is not known: write one of operator, table, fc"),
        ("training.variant", "sl", r"training\.variant = \"sl\" does not go with model = \"operator\""),
        (
            "training",
            {"model": "conv3d", "rays": "none"},
            r"training\.rays = \"none\" does not go with model = \"conv3d\"",
        ),
        (
            "training",
            {"model": "conv3d", "size": {"rank": 4}},
            r"training\.size does not go with model = \"conv3d\"",
        ),
        (
            "training",
            {"model": "conv3d", "fields": ["displacement", "load"]},
            r"conv3d predicts the zone's inside, where there is no load on Γ: write fields = ",
        ),
        (
            "training",
            {"model": "conv3d", "variant": "e", "fields": ["displacement"]},
            r"training\.variant = \"e\" compares displacement with velocity: write both",
        ),
        ("medium.speed", {}, r"medium\.speed should be a valid number, got {}"),
        ("training.size", {"period": 1.0}, r"training\.size\.period should be greater than 1, got 1"),
        ("training.size", {"rank": 0}, r"training\.size\.rank should be greater than 0, got 0"),
        ("training.shared", True, r"unknown key training\.shared: .*\[training\] takes model, variant"),
        ("training.epochs", 5, r"training\.epochs = 5 and seconds = .* exclude each other"),
    ],
)
def test_what_cannot_be_used_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(CaseError, match=message) as refusal:
        Case.from_dict(changed(key, value))
    assert "\n" not in str(refusal.value)


def test_keys_that_were_left_out_are_no_fault_of_a_stored_case() -> None:
    """A file holds every key with its value, those that the model has no use for as well."""
    case = Case.from_dict(changed("training", {"epochs": 3}))
    assert '"batch_size":4' in case.to_json() and Case.from_json(case.to_json()) == case


def test_an_excluded_box_must_leave_room() -> None:
    data = reference()
    data["parameters"] |= {"exclude_lower": [-2.0, -2.0], "exclude_upper": [2.0, 2.0]}
    with pytest.raises(CaseError, match="leave no place for a source"):
        Case.from_dict(data)


def test_several_faults_are_counted() -> None:
    data = changed("units.time", ABSENT)
    data["time"]["levels"] = 1
    with pytest.raises(CaseError, match=r"\(and 1 more\)$"):
        Case.from_dict(data)


def test_a_misspelt_key_comes_before_the_one_it_causes() -> None:
    data = reference()
    data["time"]["level"] = data["time"].pop("levels")
    with pytest.raises(CaseError, match=r"unknown key time\.level: did you mean levels"):
        Case.from_dict(data)


def test_a_file_that_is_no_case_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"cannot read the case .*absent\.toml \(No such file"):
        Case.load(tmp_path / "absent.toml")
    (tmp_path / "odd.toml").write_text("name = ")
    with pytest.raises(CaseError, match=r"odd\.toml is not TOML"):
        Case.load(tmp_path / "odd.toml")
    with pytest.raises(CaseError, match="name is missing"):
        Case.from_json("{}")


def test_the_fingerprint_tells_physics_from_the_rest() -> None:
    first = Case.from_dict(reference()).fingerprint()
    for key, value in (("name", "other"), ("parameters.train", 1), ("parameters.seed", 7), ("training.seed", 7)):
        assert Case.from_dict(changed(key, value)).fingerprint() == first, key
    assert Case.from_dict(changed("interface", {"kind": "dirichlet"})).fingerprint() == first
    assert Case.from_dict(changed("symmetry", {"maps": ["transpose"]})).fingerprint() == first
    assert Case.from_dict(changed("parameters.calibration", 7)).fingerprint() == first == "e1f3664b7c6cf9bf"
    physics: dict[str, Any] = {"medium.speed": 1.5, "time.levels": 512, "parameters.omega": [7.0, 8.0]}
    for key, value in physics.items():
        other = Case.from_dict(changed(key, value))
        assert other.fingerprint() != first, key
        assert next(iter(other.differences(Case.from_dict(reference()))))[0] == key


@pytest.mark.parametrize(
    ("omega", "x", "y", "message"),
    [
        (7.0, 0.0, 0.1, "lies in the zone"),
        (7.0, 0.25, 0.0, "lies in the zone"),
        (7.0, 1.0, 0.0, "lies outside the domain"),
        (7.0, 0.5, -3.0, "lies outside the domain"),
        (0.0, 0.5, 0.5, "omega is 0 rad/s: give a positive one"),
        (float("nan"), 0.5, 0.5, "give finite numbers"),
    ],
)
def test_parameters_that_cannot_be_run_are_refused(omega: float, x: float, y: float, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        Case.from_dict(reference()).require((omega, x, y))


def test_parameters_beyond_the_samples_are_told() -> None:
    case = Case.from_dict(reference())
    case.require((50.0, 0.3, 0.0))
    assert case.parameters.contains((7.0, 0.5, 0.5))
    assert not case.parameters.contains((50.0, 0.5, 0.5))
    assert not case.parameters.contains((7.0, 0.95, 0.5))
    assert not case.parameters.contains((7.0, 0.3, 0.0))


def test_a_mesh_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.msh").write_text("mesh")
    case = Case.from_dict(gmsh_case(), directory=tmp_path)
    assert case.mesh_file() == tmp_path / "a.msh"
    assert isinstance(case.domain, GmshDomain)
    assert case.domain.sha256 is not None
    (tmp_path / "b.msh").write_text("mesh")
    assert Case.from_dict(gmsh_case(file="b.msh"), directory=tmp_path).fingerprint() == case.fingerprint()
    (tmp_path / "b.msh").write_text("other mesh")
    assert Case.from_dict(gmsh_case(file="b.msh"), directory=tmp_path).fingerprint() != case.fingerprint()
    assert Case.from_json(case.to_json()).fingerprint() == case.fingerprint()
    with pytest.raises(CaseError, match="the mesh has changed; leave sha256 out"):
        Case.from_dict(gmsh_case(file="b.msh", sha256=case.domain.sha256), directory=tmp_path)


def test_a_mesh_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"domain\.file = \"a\.msh\": there is no file .*; make the mesh, or"):
        Case.from_dict(gmsh_case(), directory=tmp_path)
    with pytest.raises(CaseError, match="only a gmsh domain has a mesh file"):
        Case.from_dict(reference()).mesh_file()
    with pytest.raises(CaseError, match='rays = "walls" is for a box of one wave speed'):
        Case.from_dict(gmsh_case() | {"training": {"rays": "walls"}}, directory=tmp_path)
    with pytest.raises(CaseError, match="domain.zone should have at least 1 item"):
        Case.from_dict(gmsh_case(zone=[]), directory=tmp_path)
    both = copy.deepcopy(gmsh_case())
    both["zone"] = {"lower": [0.0, 0.0], "upper": [1.0, 1.0]}
    with pytest.raises(CaseError, match=r"\[zone\] is for a box"):
        Case.from_dict(both, directory=tmp_path)


def test_a_case_is_read_without_the_heavy_packages() -> None:
    heavy = "dolfinx", "torch", "h5py", "mpi4py", "petsc4py"
    code = f"import sys, submodel.case.sampling; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
