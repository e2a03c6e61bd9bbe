"""Sources where no run can have one: refused by everything that predicts, whatever is asked."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from exact_generator import exact
from mpi4py import MPI
from roof_problems import TOY, done, refused, submodel, toy
from solver_problems import generate_plate

from networks import checkpoint
from networks.operator.network import OperatorGenerator
from solvers.time.signals import Sine
from submodel.case.case import Case, CaseError
from submodel.case.excitation import Excitation
from submodel.data.dataset import Dataset
from submodel.data.generator_file import GeneratorFile
from submodel.geometry.source_region import DomainMap
from submodel.learn.operator import specification
from submodel.learn.train import generator_file
from submodel.predict.generator import Generator
from submodel.solve import from_case as build
from submodel.studies.profile.zoom import profile_zoom
from submodel.validate.calibrate import calibrate
from submodel.validate.validate import validate
from submodel.zoom.setup import ZoneSetup

HERE = (0.6, 0.7)
IN_BOX = ((0.0, 0.0), (0.25, 0.25), (0.25, 0.1), (-0.25, -0.25), (1.0, 0.3), (0.5, -1.7))
PLATE = Path(__file__).parents[1] / "cases" / "plate.toml"
HOLE = (-0.55, 0.5)  # its radius is 0.15
CORNER = (0.3 * (np.cos(np.pi / 9) - np.sin(np.pi / 9)), 0.3 * (np.cos(np.pi / 9) + np.sin(np.pi / 9)))  # of the zone
ON_PLATE = ((0.0, 0.0), HOLE, CORNER, (1.0, 0.2), (1.4, 0.0), (-0.42, 0.5))
# the last is in the hole too, 0.02 from its edge: nearer than the points of the map, so that only the mesh tells


@cache
def known() -> tuple[Case, Generator]:
    import tomllib

    case = Case.from_dict(tomllib.loads(TOY))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return case, exact(case, np.array([HERE]))


def require_refused(generator: Generator, place: tuple[float, float]) -> None:
    """Every way to predict refuses a place, alone and among others."""
    omega = 0.5 * sum(generator.case.parameters.omega)
    vectors = np.array([[omega, *place]])
    excitation = Excitation.of_parameters(generator.case, vectors[0])
    words = "lies in the zone|lies outside the domain"
    for call in (
        lambda: generator.require_excitation(excitation, extrapolate=True),
        lambda: generator.predict([excitation]),
        lambda: generator.predict([Excitation((HERE, place), (Sine(omega), Sine(omega)))]),
        lambda: generator.predict_vectors(vectors),
    ):
        with pytest.raises(CaseError, match=words):
            call()


@pytest.mark.parametrize("place", IN_BOX)
def test_a_box_is_known_without_its_mesh(place: tuple[float, float]) -> None:
    require_refused(known()[1], place)


@pytest.mark.parametrize("place", IN_BOX)
def test_zoomed_runs_of_a_box(place: tuple[float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, generator = known()
    monkeypatch.setattr(
        checkpoint, "load", lambda path, device="cpu": (generator.generator, generator.file.to_document())
    )
    file, table, out = tmp_path / "g.safetensors", tmp_path / "sets.csv", tmp_path / "out"
    file.write_bytes(b"g")
    table.write_text(f"omega,x,y\n2.5,{place[0]},{place[1]}\n", encoding="utf-8")
    given = ("zoom", toy(tmp_path), "--generator", file, "-o", out, "--extrapolate")
    said = submodel(*given, "--omega", 2.5, "--source", *place)
    refused(said, "the source (", "lies in the zone" if max(map(abs, place)) < 0.5 else "lies outside the domain")
    refused(submodel(*given, "--parameters", table), "line 2: the source (")
    assert not out.exists()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    done("generate", toy(folder), "-o", folder / "d.h5", "--train", 1, "--test", 1, "--calibration", 15)
    return folder / "d.h5"


@pytest.mark.parametrize("place", IN_BOX)
def test_a_dataset_that_was_changed(
    place: tuple[float, float], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation, calibration and profile take their sources from elsewhere than a command's options."""
    case, generator = known()
    path, file = data, tmp_path / "g.safetensors"
    monkeypatch.setattr(Dataset, "parameters", lambda self, split: np.array([[2.5, *place]] * self.num_samples(split)))
    monkeypatch.setattr(
        checkpoint, "load", lambda path, device="cpu": (generator.generator, generator.file.to_document())
    )
    words = "lies in the zone|lies outside the domain"
    with Dataset.open(path) as dataset:
        with pytest.raises(CaseError, match=words):
            validate(case, dataset, generator, comm=MPI.COMM_SELF)
        with pytest.raises(CaseError, match=words):
            calibrate(case, dataset, file, MPI.COMM_SELF, device="cpu")
    with pytest.raises(CaseError, match=words):
        profile_zoom(case, file, np.array([[2.5, *place]]))


@pytest.fixture(scope="module")
def plate_case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plate on a mesh that is coarse."""
    folder = tmp_path_factory.mktemp("plate")
    (folder / "meshes").mkdir()
    generate_plate(MPI.COMM_SELF, folder, size=0.1, quads=False).rename(folder / "meshes" / "plate.msh")
    (folder / "cases").mkdir()
    text = PLATE.read_text(encoding="utf-8").replace("levels = 301", "levels = 101")
    target = folder / "cases" / "plate.toml"
    target.write_text(text, encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def plate_generator(plate_case: Path) -> Generator:
    """One of the plate that was never trained; its file holds what any file holds."""
    case = Case.load(plate_case)
    full = build.full_model(case, MPI.COMM_SELF)
    medium = build.medium_map(case, full.domain)
    spec = specification(case, full.gamma, medium)[0]
    domain = DomainMap.from_json(json.loads(json.dumps(DomainMap.of(medium).to_json())))
    file = GeneratorFile(case, full.gamma, np.empty((0, 3)), domain=domain)
    return Generator(OperatorGenerator(replace(spec, width=4, depth=1, rank=2)).eval(), file, Path("g"), "cpu")


@pytest.mark.filterwarnings("ignore:at omega")
@pytest.mark.parametrize("place", ON_PLATE)
def test_a_plate_with_a_hole(
    place: tuple[float, float],
    plate_case: Path,
    plate_generator: Generator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = (plate_generator.generator, plate_generator.file.to_document())
    monkeypatch.setattr(checkpoint, "load", lambda path, device="cpu": loaded)
    file, table, out = tmp_path / "g.safetensors", tmp_path / "sets.csv", tmp_path / "out"
    file.write_bytes(b"g")
    table.write_text(f"omega,x,y\n7,{place[0]},{place[1]}\n", encoding="utf-8")
    given = ("zoom", plate_case, "--generator", file, "-o", out, "--extrapolate")
    text = submodel(*given, "--omega", 7, "--source", *place)
    assert text.status == 2 and "lies " in text.text and "Traceback" not in text.text
    text = submodel(*given, "--parameters", table)
    assert text.status == 2 and "lies " in text.text
    assert not out.exists() or not list(out.iterdir())
    case = Case.load(plate_case)
    with pytest.raises(CaseError, match="lies in the zone|lies outside the domain"):
        ZoneSetup().build(case, MPI.COMM_SELF, np.array([place]))
    with pytest.raises(CaseError, match="lies in the zone|lies outside the domain"):
        profile_zoom(case, file, np.array([[7.0, *place]]))
    if place != ON_PLATE[-1]:
        require_refused(plate_generator, place)


@pytest.mark.filterwarnings("ignore:at omega")
def test_places_beside_zone_hole_and_edge_are_taken(plate_case: Path, plate_generator: Generator) -> None:
    outward = np.array(CORNER) * (1.0 + 1e-6)
    places = np.array([outward, [-0.55, 0.5 + 0.151], [0.9999, 0.2], [-0.7, -0.7]])
    plate_generator.source_region.require(places)
    assert ZoneSetup().build(Case.load(plate_case), MPI.COMM_SELF, places).parts >= 1


@pytest.mark.filterwarnings("ignore:at omega")
def test_what_a_generators_file_holds_of_the_domain(plate_case: Path, tmp_path: Path) -> None:
    """A trained generator's file carries the map of its dataset, to the bit."""
    folder = shutil.copytree(plate_case.parent.parent, tmp_path / "plate")
    small = ("--train", 1, "--test", 0, "--calibration", 0)
    done("generate", folder / "cases" / "plate.toml", "-o", tmp_path / "d.h5", *small)
    with Dataset.open(tmp_path / "d.h5") as dataset:
        written = json.loads(json.dumps(generator_file(Case.load(plate_case), dataset).to_document()["domain"]))
        found, medium = DomainMap.from_json(written), dataset.medium
    assert np.array_equal(found.inside, medium.inside) and not found.inside.all()
    assert np.allclose(found.x, medium.x) and np.allclose(found.y, medium.y)
    with pytest.raises(ValueError, match="shape of the domain cannot be read"):
        DomainMap.from_json({"x": [0.0, 1.0, 3]})
