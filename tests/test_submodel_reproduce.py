"""The paper's tables from trained models: the same however often the work was cut off, and however it was shared."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from mpi4py import MPI
from roof_problems import toy
from typer.testing import CliRunner

from networks.paper.printed_tables import MODEL_TITLES, TABLES, VARIANT_TITLES
from networks.training.fit import TrainingError
from submodel.case.case import Case, CaseError
from submodel.cli.commands import models as command
from submodel.data.dataset import Dataset
from submodel.data.manifest import DatasetError, Request
from submodel.generate.generate import generate
from submodel.predict.generator import RecordedTraces
from submodel.solve import from_case as build
from submodel.studies.paper import bench as reproduce_job
from submodel.studies.paper.chart import error_against_parameters
from submodel.studies.paper.jobs import Errors, Job, Outcome, read_outcome, select, write_outcome
from submodel.studies.paper.run import MODELS_FOLDER, Options, Reproduced, ReproductionError, reproduce
from submodel.studies.paper.side_by_side import compare, markdown

ALONE = MPI.COMM_SELF
MODELS, VARIANTS = ("conv2d", "conv1.5d-boundary"), ("bn", "e-sl")
JOBS = select(MODELS, VARIANTS)
OPTIONS = Options(epochs=1, device="cpu", train_samples=3)


@pytest.fixture(scope="module")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path]:
    """The toy case and its dataset, one on each rank."""
    folder = tmp_path_factory.mktemp("toy")
    case = Case.load(toy(folder))
    generate(case, folder / "toy.h5", comm=ALONE)
    return case, folder / "toy.h5"


def run(toy_data: tuple[Case, Path], folder: Path, jobs: tuple[Job, ...] = JOBS, **options: Any) -> Reproduced:
    case, dataset = toy_data
    done = reproduce(case, dataset, folder, jobs, options=replace(OPTIONS, **options), comm=ALONE)
    assert done is not None
    return done


@pytest.fixture(scope="module")
def whole(toy_data: tuple[Case, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Reproduced, Path]:
    """An uninterrupted reproduction; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    return run(toy_data, folder), folder


def errors(outcomes: tuple[Outcome, ...]) -> dict[str, Any]:
    """What must not depend on how the work was done: all but times."""
    return {outcome.job.name: {**outcome.to_json(), "epoch_seconds": 0.0} for outcome in outcomes}


def test_every_model_is_trained_and_validated(whole: tuple[Reproduced, Path]) -> None:
    outcomes = whole[0].outcomes
    assert [outcome.job for outcome in outcomes] == list(JOBS)
    for outcome in outcomes:
        stages = ("full", "zoom") if outcome.job.model == "conv2d" else ("zoom",)
        expected = {f"{s}.{g}.{f}" for s in ("train", "test") for g in stages for f in ("displacement", "velocity")}
        assert set(outcome.errors) == expected
        assert all(0 < error.epsilon < 10 and 0 < error.relative_l2 < 10 for error in outcome.errors.values())
        assert (outcome.planned_epochs, outcome.epochs, outcome.best_epoch) == (1, 1, 1)
        assert outcome.num_samples == {"train": 3, "test": 2} and outcome.epoch_seconds > 0


def test_the_pages_hold_our_figures_beside_the_papers(whole: tuple[Reproduced, Path]) -> None:
    done, folder = whole
    text, page = (folder / "tables.md").read_text(), (folder / "tables.html").read_text()
    for number, table in TABLES.items():
        assert f"Table {number}. {table.title}" in text and f'id="table-{number}"' in page
    outcome = done.outcomes[0]  # conv2d, bn
    found = f"{outcome.errors['test.zoom.displacement'].epsilon:.3g}".rstrip("0")
    row = re.search(r"Table 8\..*?(\| Conv2D \|[^\n]*)", text, re.S)
    assert row is not None
    cells = [cell.strip(" *") for cell in row[1].split("|")[1:-1]]
    assert len(cells) == 1 + 2 * len(VARIANT_TITLES)
    assert cells[:3] == ["Conv2D", "3.25", "–"] and cells[3] == "0.24" and cells[4].startswith(found)
    assert "Conv2D, Conv1.5D Boundary; variants: BN, E &amp; SL" in page
    assert "1 epochs at most (reduced from 1000 in [A])" in text
    assert "Tables 11 to 18 (10000 epochs in [A]): not run." in text
    runs = [line for line in text.partition("Our runs, test samples")[2].splitlines() if line.startswith("| Conv")]
    assert len(runs) == 4 and runs[0].startswith("| Conv2D, BN, short |") and runs[0].count("%") == 4
    assert "Train errors of ours are over 3 of 6 training samples" in text
    assert "data:image/png;base64," in page and (folder / "error-against-parameters.png").stat().st_size > 10_000
    assert json.loads((folder / "tables.json").read_text())["records"][0]["job"]["model"] == "conv2d"


def test_predicting_nothing_stands_beside_the_figures(
    whole: tuple[Reproduced, Path], toy_data: tuple[Case, Path]
) -> None:
    still = json.loads((whole[1] / "tables.json").read_text())["predicting_nothing"]
    with Dataset.open(toy_data[1]) as dataset:
        true = np.abs(dataset.zone_fields("test", 0)[0].astype(float))
        other = np.abs(dataset.zone_fields("test", 1)[0].astype(float))
    means = []
    for field in (true, other):
        peak = field.max(1)
        kept = peak >= 1e-2 * peak.max()
        means.append((field.mean(1)[kept] / peak[kept]).mean())
    assert still["displacement"] == pytest.approx(np.mean(means), rel=1e-6)


def test_a_generator_can_be_used_for_a_zoom(whole: tuple[Reproduced, Path], toy_data: tuple[Case, Path]) -> None:
    from submodel.predict.generator import Generator

    case, dataset = toy_data
    generated = Generator.load(whole[1] / MODELS_FOLDER / "conv1.5d-boundary.bn.short.safetensors", case, "cpu")
    with Dataset.open(dataset) as data:
        trace = generated.predict_vectors(data.parameters("test")[:1]).trace()
    assert trace.displacement.shape == (41, 16)


def test_recorded_traces_replay_to_an_error_of_rounding(toy_data: tuple[Case, Path], tmp_path: Path) -> None:
    """The zone, the error and the order of nodes of a job, with a prediction that is exact."""
    case, path = toy_data
    zone = build.zone_model(case, ALONE, condition="dirichlet")
    with Dataset.open(path) as dataset:
        bench = reproduce_job.Bench(case, dataset, tmp_path, OPTIONS, zone)
        exact = np.stack(dataset.zone_fields("test", 1)).astype(np.float64)
        errors = dict(bench._errors(Job("conv2d", "bn", "short"), "test", 1, exact))
        trace = RecordedTraces(dataset, "test").trace(1)
        on_curve = np.stack([trace.displacement, trace.velocity])
        errors |= dict(bench._errors(Job("conv1.5d-boundary", "bn", "short"), "test", 1, on_curve))
    assert errors["test.full.displacement"].mean_epsilon == 0
    assert max(error.relative_l2 for error in errors.values()) < 2e-6  # fields are stored in single precision


def test_what_is_done_is_left_alone(
    whole: tuple[Reproduced, Path], toy_data: tuple[Case, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(reproduce_job, "train", train)
    again = run(toy_data, whole[1])
    assert [r.to_json() for r in again.outcomes] == [r.to_json() for r in whole[0].outcomes]


@pytest.mark.parametrize("when", ["in training", "in validation"])
def test_a_killed_run_goes_on(
    whole: tuple[Reproduced, Path],
    toy_data: tuple[Case, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    """Cut off in the second model; the first is not redone, and of the second what is left."""
    calls: list[str] = []

    class Killed(BaseException):
        pass

    train, errors_of = reproduce_job.train, reproduce_job.Bench._errors

    def counted(spec: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(spec.model)
        if when == "in training" and len(calls) == 2:
            progress = options["progress"]

            def kill(now: Any) -> None:
                progress(now)
                raise Killed

            options["progress"] = kill
        return train(spec, *arguments, **options)

    def cut(self: Any, job: Job, *arguments: Any) -> Any:
        if when == "in validation" and len(calls) == 2:
            raise Killed
        return errors_of(self, job, *arguments)

    monkeypatch.setattr(reproduce_job, "train", counted)
    monkeypatch.setattr(reproduce_job.Bench, "_errors", cut)
    with pytest.raises(Killed):
        run(toy_data, tmp_path)
    folder = tmp_path / MODELS_FOLDER
    assert len(list(folder.glob("*.json"))) == 1
    assert len(list(folder.glob("*.unfinished.safetensors"))) == (when == "in training")
    calls.clear()
    monkeypatch.setattr(reproduce_job.Bench, "_errors", errors_of)
    num_left = 3 if when == "in training" else 2
    when = "not again"
    done = run(toy_data, tmp_path)
    assert len(calls) == num_left
    assert errors(done.outcomes) == errors(whole[0].outcomes)
    assert not list(folder.glob("*.unfinished*"))


def test_damaged_files_are_made_anew(
    whole: tuple[Reproduced, Path], toy_data: tuple[Case, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, folder = JOBS[2:3], tmp_path / MODELS_FOLDER
    run(toy_data, tmp_path, jobs)
    (folder / f"{jobs[0].name}.json").write_text("{")
    generator = folder / f"{jobs[0].name}.safetensors"
    generator.write_bytes(generator.read_bytes()[:1000])
    train, calls = reproduce_job.train, iter(range(2))

    def spoilt(*arguments: Any, checkpoint: Path, **options: Any) -> Any:
        if next(calls) == 0:
            checkpoint.write_bytes(b"half a file")
        return train(*arguments, checkpoint=checkpoint, **options)

    monkeypatch.setattr(reproduce_job, "train", spoilt)
    done = run(toy_data, tmp_path, jobs)
    assert next(calls, None) is None
    assert errors(done.outcomes) == errors(whole[0].outcomes[2:3])


def test_each_rank_of_a_machine_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from submodel.studies.paper import run as module

    class Local:
        rank = 3

        def Free(self) -> None:
            pass

    class Comm:
        def Split_type(self, _: Any) -> Local:
            return Local()

    taken: list[int] = []
    monkeypatch.setattr(module, "select_device", lambda name: torch.device(name))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    module._choose_device("cuda", Comm())  # type: ignore[arg-type]
    module._choose_device("cpu", Comm())  # type: ignore[arg-type]
    assert taken == [1]


def test_a_device_that_is_not_there_is_refused(toy_data: tuple[Case, Path], tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="no CUDA device"):
        run(toy_data, tmp_path, device="cuda")


def test_other_options_make_other_models(toy_data: tuple[Case, Path], tmp_path: Path) -> None:
    jobs = JOBS[2:3]
    first = run(toy_data, tmp_path, jobs).outcomes[0]
    evaluated = run(toy_data, tmp_path, jobs, train_samples=2).outcomes[0]  # trained as before
    assert evaluated.num_samples["train"] == 2 and evaluated.epoch_seconds == first.epoch_seconds
    assert evaluated.errors["test.zoom.velocity"] == first.errors["test.zoom.velocity"]
    other = run(toy_data, tmp_path, jobs, seed=1).outcomes[0]
    assert other.errors["test.zoom.velocity"] != first.errors["test.zoom.velocity"]


def test_a_training_that_diverges_is_an_entry_of_its_own(
    toy_data: tuple[Case, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise TrainingError("the loss is not finite in epoch 1")

    monkeypatch.setattr(reproduce_job, "train", train)
    done = run(toy_data, tmp_path, JOBS[2:3])
    assert done.outcomes[0].failure == "the loss is not finite in epoch 1"
    text = (tmp_path / "tables.md").read_text()
    assert "| failed |" in text and "Conv1.5D Boundary, BN, short: the loss is not finite" in text
    assert "chart" not in done.files


def test_a_job_that_fails_is_named(
    toy_data: tuple[Case, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(reproduce_job, "train", train)
    with pytest.raises(ReproductionError, match="Conv2D, BN, short: no space left; what was done before is kept"):
        run(toy_data, tmp_path)
    assert (tmp_path / "tables.md").exists()


def test_datasets_that_do_not_serve_are_refused(toy_data: tuple[Case, Path], tmp_path: Path) -> None:
    case, _ = toy_data
    generate(case, tmp_path / "bare.h5", Request(train=1, test=1, fields=False), comm=ALONE)
    with pytest.raises(DatasetError, match="no fields in the zone"):
        reproduce(case, tmp_path / "bare.h5", tmp_path / "out", JOBS, comm=ALONE)
    generate(case, tmp_path / "short.h5", Request(train=1, test=0), comm=ALONE)
    with pytest.raises(DatasetError, match="no test samples.*--test 1"):
        reproduce(case, tmp_path / "short.h5", tmp_path / "out", JOBS, comm=ALONE)
    other = Case.load(toy(tmp_path, speed="speed = 0.5"))
    with pytest.raises(CaseError, match="generated for another case"):
        reproduce(other, tmp_path / "short.h5", tmp_path / "out", JOBS, comm=ALONE)


def test_a_zone_on_several_ranks_is_refused(toy_data: tuple[Case, Path], tmp_path: Path) -> None:
    class Run:
        displacement = velocity = None

    class Zone:
        def run(self, _: Any) -> Run:
            return Run()

        def at(self, *_: Any) -> None:
            return None

    case, path = toy_data
    with Dataset.open(path) as dataset:
        bench = reproduce_job.Bench(case, dataset, tmp_path, OPTIONS, Zone())  # type: ignore[arg-type]
        trace = RecordedTraces(dataset, "test").trace(0)
        with pytest.raises(RuntimeError, match="COMM_SELF"):
            list(bench._errors(JOBS[2], "test", 0, np.stack([trace.displacement, trace.velocity])))


def test_a_selection_is_in_the_papers_order() -> None:
    assert len(select()) == 66 and len(select(schedule="both")) == 132
    assert [job.name for job in select(["conv2d-boundary", "fc-t"], ["sl", "basic"])] == [
        "fc-t.basic.short",
        "fc-t.sl.short",
        "conv2d-boundary.basic.short",
        "conv2d-boundary.sl.short",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["conv9d"], []), "unknown model 'conv9d': there are fc-t, conv2d, .*conv1.5d-boundary"),
        (([], ["dropout"]), "unknown variant 'dropout'; there are basic, bn, e, sl, bn-sl, e-sl"),
        (([], ["bn-e"]), "'bn-e' is refused: the Euler.*erroneous"),
        (([], [], "endless"), "unknown schedule 'endless': there are short, long"),
    ],
)
def test_unknown_names_are_refused_with_those_there_are(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        select(*arguments)


def test_records_of_another_key_or_damaged_are_none(tmp_path: Path) -> None:
    outcome = Outcome(JOBS[0], 7, 1, errors={"test.zoom.velocity": Errors(0.5, 0.25)}, failure="x")
    path = tmp_path / "a.json"
    write_outcome(path, "key", outcome)
    found = read_outcome(path, "key")
    assert found is not None and found.errors == outcome.errors and found.job == outcome.job
    assert read_outcome(path, "other") is None and read_outcome(tmp_path / "b.json", "key") is None
    path.write_text("{")
    assert read_outcome(path, "key") is None


def record_of(model: str, variant: str, schedule: Any, epsilon: float) -> Outcome:
    keys = {table.key for table in TABLES.values()}
    return Outcome(
        Job(model, variant, schedule),
        100_000,
        10,
        epochs=10,
        best_epoch=9,
        epoch_seconds=0.125,
        errors={key: Errors(epsilon, epsilon) for key in keys},
    )


def test_each_figure_goes_into_its_table() -> None:
    outcomes = [record_of("fc-t", "e", "short", 0.25), record_of("fc-t", "bn", "long", 0.125)]
    tables = {compared.table.number: compared for compared in compare(outcomes, {("fc-t", "sl"): 14_000_000})}
    columns = list(VARIANT_TITLES)

    def entry(number: int, variant: str) -> tuple[str, str, bool]:
        found = dict(tables[number].rows)[MODEL_TITLES["fc-t"]][columns.index(variant)]
        return found.paper, found.ours, found.best

    assert entry(1, "sl") == ("14.22", "14.00", True) and entry(1, "e") == ("14.34", "–", False)
    assert entry(2, "e") == ("2.28", "0.250", True) and entry(2, "bn") == ("0.54", "–", False)
    assert entry(11, "bn") == ("0.21", "0.125", True) and entry(11, "e") == ("0.86", "–", False)
    assert entry(10, "e") == ("0.53", "0.125", True) and entry(10, "bn") == ("0.49", "0.125", True)
    assert [tables[number].num_values for number in (1, 2, 8, 10, 18)] == [1, 1, 1, 2, 1]
    assert markdown(tables[2]).splitlines()[4].startswith("| FC t | 2.27 | – | 0.54 | – | 2.28 | **0.250** |")


def test_the_chart_draws_both_schedules() -> None:
    figure = error_against_parameters(
        [record_of("conv2d", "e", "short", 0.3), record_of("conv2d-boundary", "bn", "long", 0.2)]
    )
    assert [axes.get_title() for axes in figure.axes] == ["short schedule", "long schedule"]
    with pytest.raises(ValueError, match="no model has errors"):
        error_against_parameters([Outcome(JOBS[0], 1, 1, failure="x")])


def invoke(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(command.reproduce)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command(toy_data: tuple[Case, Path], tmp_path: Path) -> None:
    _, dataset = toy_data
    case = toy(tmp_path)
    said = (case, "--dataset", dataset, "--out", tmp_path / "out", "--epochs", 1, "--train-samples", 1)
    result = invoke(*said, "--models", "FC-t-boundary", "--variants", "bn, sl", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "2 of 2 models are trained and validated" in result.output
    assert "reproduce: 2 of 2 models" in result.output
    assert "FC t Boundary; variants: BN, SL" in (tmp_path / "out" / "tables.md").read_text()
    result = invoke(*said, "--models", "conv7d")
    assert result.exit_code == 2 and "error: unknown model 'conv7d': there are fc-t" in result.output


@pytest.mark.mpi
def test_ranks_share_the_models_and_agree_with_one(
    comm: MPI.Comm, shared_path: Path, toy_data: tuple[Case, Path]
) -> None:
    case, path = toy_data
    path = Path(comm.bcast(str(path)))
    shared = reproduce(case, path, shared_path / "shared", JOBS, options=OPTIONS, comm=comm)
    assert (shared is None) == (comm.rank > 0)
    if shared is not None:
        serial = reproduce(case, path, shared_path / "serial", JOBS, options=OPTIONS, comm=ALONE)
        assert serial is not None and errors(shared.outcomes) == errors(serial.outcomes)
    comm.barrier()


@pytest.mark.mpi
def test_ranks_agree_on_a_failure(comm: MPI.Comm, shared_path: Path, toy_data: tuple[Case, Path]) -> None:
    case, path = toy_data
    path = Path(comm.bcast(str(path)))
    with pytest.raises(ValueError, match="cannot write into the folder"):
        reproduce(case, path, path / "below", JOBS, options=OPTIONS, comm=comm)
