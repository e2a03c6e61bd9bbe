"""Zoomed runs of many parameter sets: those of single runs, whatever was there before and on any number of ranks."""

from __future__ import annotations

import csv
import json
import warnings
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact_generator import exact
from mpi4py import MPI
from numpy.typing import NDArray
from roof_problems import TOY, done, refused, submodel, toy
from test_submodel_dataset import toy_case

from networks import checkpoint
from solvers.mesh.domain import Defect
from solvers.problems.zone_batch import ZoneBatch
from solvers.stepping.schemes import DivergenceError
from submodel.case.case import Case, CaseError
from submodel.case.parameter_sets import ParameterTable
from submodel.data import zoom_file
from submodel.data.hdf5 import laid_out
from submodel.data.manifest import DatasetError
from submodel.data.zoom_file import ZoomedFile
from submodel.predict.generator import Generator
from submodel.solve import from_case as build
from submodel.zoom.batch import Zoomer, require_table
from submodel.zoom.many import zoom_many
from submodel.zoom.setup import ZoneSetup

SETS = ((2.5, 0.6, 0.7), (2.1, 0.5, 0.8), (2.9, 0.8, 0.5), (2.3, 0.6, 0.7), (2.7, 0.5, 0.8))
# Single precision: 2^-24 = 6e-8 a step, 41 steps, tenfold where slow modes enlarge rounding errors.
SINGLE = 5e-5


@cache
def known() -> tuple[Case, Generator]:
    """The toy case, and a generator that knows the sources of the sets."""
    import tomllib

    case = Case.from_dict(tomllib.loads(TOY))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return case, exact(case, np.array(sorted({(x, y) for _, x, y in SETS})))


def table_in(folder: Path, sets: object = SETS, name: str = "sets.csv", header: str = "omega,x,y") -> Path:
    lines = [",".join(map(str, each)) for each in sets]  # type: ignore[attr-defined]
    path = folder / name
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def single(case: Case, generated: Generator, vector: tuple[float, float, float], **how: Any) -> NDArray[np.float64]:
    """A zoomed run by itself."""
    model = build.zone_model(case, MPI.COMM_SELF, **how)
    trace = generated.predict_vectors(np.array([vector])).trace()
    found = model.gather(model.run(trace).displacement)
    assert found is not None
    return found


def require_close(found: NDArray[Any], wanted: NDArray[np.float64], tolerance: float = SINGLE) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0.0, atol=tolerance * np.abs(wanted).max())


@dataclass(frozen=True)
class Shop:
    """A case file, a file that stands for a generator, and a folder."""

    folder: Path
    case: Path
    generator: Path


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    case, generated = known()
    file = tmp_path / "exact.safetensors"
    file.write_bytes(b"exact")
    monkeypatch.setattr(
        checkpoint, "load", lambda path, device="cpu": (generated.generator, generated.file.to_document())
    )
    return Shop(tmp_path, toy(tmp_path), file)


def zoom(shop: Shop, table: Path, *options: object, out: str = "zoomed") -> tuple[object, ...]:
    given = ("--generator", shop.generator, "--parameters", table, "-o", shop.folder / out)
    return ("zoom", shop.case, *given, *options)


@pytest.mark.mpi
@pytest.mark.parametrize("interface", ["dirichlet", "impedance"])
def test_many_sets_are_single_runs(interface: str, comm: MPI.Comm, shared_path: Path) -> None:
    case, generated = known()
    file = shared_path / "exact.safetensors"
    if comm.rank == 0:
        file.write_bytes(b"exact")
        table_in(shared_path)
    comm.Barrier()
    table = ParameterTable.read(shared_path / "sets.csv", case)
    told: list[tuple[int, int]] = []
    out = zoom_many(
        case,
        replace(generated, path=file),
        table,
        shared_path / "out",
        comm=comm,
        setup=ZoneSetup(interface),
        progress=lambda *each: told.append(each),
    )
    comm.Barrier()
    assert (out is None) == (comm.rank > 0) and bool(told) == (comm.rank == 0)
    stored = ZoomedFile(shared_path / "out" / "zoomed.h5")
    assert not len(stored.pending())
    for number, vector in enumerate(SETS):
        wanted = single(case, generated, vector, condition=interface)
        require_close(stored.array("displacement")[number], wanted)
        assert stored.array("peak")[number] == pytest.approx(np.abs(wanted).max(), rel=SINGLE)
    if out is not None:
        assert told[-1] == (5, 5) and (out.num_sets, out.num_found) == (5, 0)


def test_the_file_describes_itself(shop: Shop) -> None:
    h5py = pytest.importorskip("h5py")
    text = done(*zoom(shop, table_in(shop.folder)))
    assert "5 sets in " in text and "zoomed.h5" in text
    case, _ = known()
    model = build.zone_model(case, MPI.COMM_SELF)
    with h5py.File(shop.folder / "zoomed" / "zoomed.h5") as file:
        np.testing.assert_array_equal(file["parameters"][:], SETS)
        np.testing.assert_array_equal(file["time"][:], case.time.times)
        np.testing.assert_array_equal(file["points"][:], model.points)
        assert file["displacement"].shape == (5, case.time.levels, len(model.points))
        assert file["displacement"].attrs["axes"] == "set,time,node" and file["time"].attrs["unit"] == "s"
        assert Case.from_json(file.attrs["case"]) == case
        settings = json.loads(file.attrs["settings"])
    assert settings["interface"] == "impedance" and settings["boundary"] == "predicted by exact.safetensors"
    told = done("info", shop.folder / "zoomed" / "zoomed.h5")
    assert "5 of 5 finished" in told and "predicted by exact.safetensors" in told
    with (shop.folder / "zoomed" / "zoomed.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["omega"]) for row in rows] == [each[0] for each in SETS]
    assert all(float(row["peak"]) > 0.0 and row["bound"] == "" for row in rows)
    assert (shop.folder / "zoomed" / "zoomed.png").stat().st_size > 1000
    assert json.loads((shop.folder / "zoomed" / "zoomed.json").read_text())["sets"] == 5


def test_a_job_goes_on_where_it_was(shop: Shop) -> None:
    table = table_in(shop.folder)
    done(*zoom(shop, table))
    path = shop.folder / "zoomed" / "zoomed.h5"
    stored = ZoomedFile(path)
    before = np.array(stored.array("displacement"))
    places = laid_out(path).arrays
    with path.open("r+b") as file:  # what a killed run leaves: two sets begun, not marked
        for number in (1, 4):
            file.seek(places["finished"][0] + number)
            file.write(b"\0")
            file.seek(places["displacement"][0] + number * before[0].nbytes)
            file.write(np.full(50, np.nan, np.float32).tobytes())
    assert list(stored.pending()) == [1, 4]
    text = done(*zoom(shop, table))
    assert "3 of 5 sets were there already" in text and "2 sets in " in text
    np.testing.assert_array_equal(stored.array("displacement"), before)
    assert "sets in " not in done(*zoom(shop, table))
    refused(submodel(*zoom(shop, table, "--interface", "dirichlet")), "holds the runs of other arguments")
    refused(submodel(*zoom(shop, table_in(shop.folder, SETS[:3]))), "holds the runs of other arguments")


@pytest.mark.parametrize("refine", [1, 4])
def test_finer_zones_and_defects(refine: int, tmp_path: Path) -> None:
    case, generated = known()
    file = tmp_path / "exact.safetensors"
    file.write_bytes(b"exact")
    how: dict[str, Any] = {"refine": refine, "defect": Defect((0.0, 0.0), 0.1, 0.5), "condition": "impedance"}
    table = ParameterTable.read(table_in(tmp_path, SETS[:2]), case)
    zoom_many(case, replace(generated, path=file), table, tmp_path, comm=MPI.COMM_SELF, setup=ZoneSetup(**how))
    stored = ZoomedFile(tmp_path / "zoomed.h5").array("displacement")
    for number, vector in enumerate(SETS[:2]):
        require_close(np.asarray(stored[number]), single(case, generated, vector, **how))


def test_a_generator_that_gives_fields_serves_too(tmp_path: Path) -> None:
    """One of [A] knows the case's signal only: its traces are carried to the zone."""
    case, _ = known()
    data, file = tmp_path / "data.h5", tmp_path / "g.safetensors"
    done("generate", toy(tmp_path), "-o", data)
    done("train", toy(tmp_path), "--dataset", data, "-o", file, "--device", "cpu")
    generated: Generator = Generator.load(file, case, "cpu")
    assert not generated.family.takes_signals
    for refine in (1, 2):
        model = build.zone_model(case, MPI.COMM_SELF, refine=refine)
        found = Zoomer(generated, model).displacements(np.array(SETS[:2]))
        for one, vector in zip(found, SETS, strict=False):
            require_close(np.asarray(one), single(case, generated, vector, refine=refine))


def test_sets_that_were_not_trained_are_refused_or_warned_of(shop: Shop) -> None:
    table = table_in(shop.folder, [*SETS[:2], (6.0, 0.6, 0.7), (7.0, 0.6, 0.7)])
    refused(submodel(*zoom(shop, table)), "sets.csv, line 4: omega 6, source (0.6, 0.7) lie outside", "--extrapolate")
    assert not (shop.folder / "zoomed").exists()
    text = done(*zoom(shop, table, "--extrapolate"))
    assert "warning: 2 of 4 sets lie outside" in text and "first " in text and "line 4: nothing is known" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("the first line is ''", "omega,x,y")),
        ("2.5,0.6,0.7\n", ("the first line is '2.5,0.6,0.7'", "begin the file with the line omega,x,y")),
        ("omega,x,z\n2.5,0.6,0.7\n", ("the first line is 'omega,x,z'",)),
        ("omega,x,y\n\n", ("holds no parameter sets",)),
        ("omega,x,y\n2.5,0.6\n", ("line 2 has 2 values, expected 3",)),
        ("omega,x,y\n2.5,0.6,0.7\n\n2.5,here,0.7\n", ("line 4: '2.5,here,0.7' are not numbers", "'here'")),
        ("omega,x,y\n2.5,0.1,0.1\n", ("line 2: the source (0.1, 0.1) lies in the zone",)),
        ("omega,x,y\n2.5,0.6,1.7\n", ("line 2: the source (0.6, 1.7) lies outside the domain",)),
        ("omega,x,y\n-1,0.6,0.7\n", ("line 2: omega is -1 rad/s: give a positive one",)),
        ("omega,x,y\nnan,0.6,0.7\n", ("line 2: omega nan", "give finite numbers")),
    ],
)
def test_a_bad_table_is_refused_with_its_line(text: str, words: tuple[str, ...], shop: Shop) -> None:
    table = shop.folder / "sets.csv"
    table.write_text(text, encoding="utf-8")
    refused(submodel(*zoom(shop, table)), *words)


def test_columns_stand_in_any_order(tmp_path: Path) -> None:
    case, _ = known()
    path = table_in(tmp_path, [(0.7, 2.5, 0.6)], header="\ufeffy, omega ,x")
    assert ParameterTable.read(path, case).values.tolist() == [[2.5, 0.6, 0.7]]
    with pytest.raises(CaseError, match="cannot read the parameters .*none.csv"):
        ParameterTable.read(tmp_path / "none.csv", case)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CaseError, match="it is no text"):
        ParameterTable.read(tmp_path / "bytes.csv", case)


def test_what_many_sets_refuse(shop: Shop) -> None:
    table = table_in(shop.folder)
    given = ("--source", 0.6, 0.7, "--omega", 2.5, "--signal", "sine")
    refused(submodel(*zoom(shop, table, *given)), "leave out --source, --omega, --signal")
    refused(submodel(*zoom(shop, table, "--no-stream")), "leave out --no-stream")
    refused(submodel(*zoom(shop, table, "--boundary", "recorded")), "leave out --boundary")
    refused(submodel("zoom", shop.case, "--parameters", table, "-o", shop.folder / "none"), "need --generator G")


@pytest.mark.parametrize("num_written", range(6))
def test_a_set_counts_once_all_of_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_written: int
) -> None:
    """Writing stops before each of the six writes of two sets: field, peak and mark of both."""
    path, random = tmp_path / "zoomed.h5", np.random.default_rng(0)
    case, fields = toy_case(), random.standard_normal((3, 4, 5)).astype(np.float32)
    arrays: dict[str, Any] = {"parameters": np.ones((3, 3)), "times": np.arange(4.0), "points": np.ones((5, 2))}
    file = ZoomedFile.prepared(path, "key", {}, case, **arrays)
    put, calls = zoom_file._put, iter(range(6))

    def stop(*arguments: Any) -> None:
        if next(calls) == num_written:
            raise OSError(28, "No space left on device")
        put(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr(zoom_file, "_put", stop)
        with pytest.raises(OSError, match="No space left on device"):
            file.write(np.array([0, 2]), fields[[0, 2]])
    again = ZoomedFile.prepared(path, "key", {}, case, **arrays)
    pending = {int(number) for number in again.pending()}
    assert len(pending) == (2 if num_written == 5 else 3)  # one mark is there before the last write
    for number in {0, 1, 2} - pending:
        assert np.array_equal(again.array("displacement")[number], fields[number])
        assert again.array("peak")[number] == np.abs(fields[number]).max()
    again.write(np.array(sorted(pending)), fields[sorted(pending)])
    assert not len(again.pending()) and np.array_equal(again.array("displacement"), fields)


def test_files_that_are_something_else_are_left_alone(shop: Shop) -> None:
    folder = shop.folder / "zoomed"
    folder.mkdir()
    (folder / "zoomed.h5").write_bytes(b"something else")
    refused(submodel(*zoom(shop, table_in(shop.folder))), "zoomed.h5 exists and is no file of the sort zoomed runs")
    done("generate", shop.case, "-o", shop.folder / "data.h5", "--train", 1, "--test", 0)
    with pytest.raises(DatasetError, match="holds no zoomed runs|cannot be read"):
        ZoomedFile(shop.folder / "data.shards" / "train-0000.h5")


def test_a_disk_without_room_is_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    refused(submodel(*zoom(shop, table_in(shop.folder))), "cannot write", "No space left on device", "more room")
    assert not list((shop.folder / "zoomed").glob("*.h5*"))


def test_a_set_that_diverges_is_named_by_its_line(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(self: ZoneBatch, data: NDArray[Any], out: object) -> NDArray[Any]:
        raise DivergenceError(32, 1.6, 1e9, 3)

    monkeypatch.setattr(ZoneBatch, "run", diverging)
    refused(submodel(*zoom(shop, table_in(shop.folder))), "sets.csv, line 5: the run diverged: at level 32")


def test_sparse_sources_are_warned_of(tmp_path: Path) -> None:
    class Away:
        class training:  # noqa: N801
            @staticmethod
            def distance(sources: NDArray[np.float64]) -> NDArray[np.float64]:
                return np.asarray(np.where(sources[:, 0] > 0.7, 1.0, 0.0))

            @staticmethod
            def spacing() -> tuple[float, float]:
                return 0.1, 0.2

    case, generated = known()

    class Trusted(Generator):
        trust = Away()  # type: ignore[assignment]

    trusted = Trusted(generated.generator, generated.file, generated.path, "cpu")
    told = require_table(trusted, ParameterTable.read(table_in(tmp_path), case))
    assert len(told) == 1 and "the sources of 1 of 5 sets are farther" in told[0] and "line 4" in told[0]
