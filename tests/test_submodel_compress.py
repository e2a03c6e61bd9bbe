"""Compression through the command line at toy size, for both families, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mpi4py import MPI
from roof_problems import done, refused, submodel, toy

from networks import checkpoint
from networks.compression.layer.base import CompressedLayer
from networks.execution.layers import executions
from networks.training.plan import Progress
from submodel.case.case import Case, CaseError
from submodel.case.excitation import Excitation
from submodel.learn import fine_tuning
from submodel.learn.compress import Aim, compress_generator
from submodel.learn.fine_tuning import FineTuning
from submodel.predict.generator import Generator
from submodel.solve import from_case as build

OPERATOR = {"model": 'model = "operator"', "fields": "", "variant": "", "batch_size": "", "validation": ""}
FAMILIES = ("paper", "operator")
RANKS = {"paper": (5, 3), "operator": (12, 4)}


@dataclass(frozen=True)
class Shop:
    """A folder with the case, the data and a trained generator of each family."""

    folder: Path

    def case(self, family: str) -> Path:
        return self.folder / f"{family}.toml"

    def generator(self, family: str) -> Path:
        return self.folder / f"{family}.safetensors"

    @property
    def dataset(self) -> Path:
        return self.folder / "data.h5"

    def aim(self, family: str, execution: str = "factorised") -> Aim:
        return Aim("ctd", rank=RANKS[family], execution=execution)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    made = Shop(tmp_path_factory.mktemp("shop"))
    toy(made.folder, "paper.toml", model='model = "conv1d-t-boundary"', variant='variant = "sl"')
    toy(made.folder, "operator.toml", **OPERATOR)
    done("generate", made.case("paper"), "-o", made.dataset, "--train", 8, "--test", 2, "--calibration", 20)
    data = ("--dataset", made.dataset, "--device", "cpu")
    for family, epochs in (("paper", 3), ("operator", 40)):
        done("train", made.case(family), *data, "-o", made.generator(family), "--epochs", epochs)
    return made


def num_shared(model: Any) -> int:
    """Names in the state beyond the tensors there are."""
    return len(model.state_dict()) - len(dict(model.named_parameters())) - len(dict(model.named_buffers()))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_compressed_generator_zooms_as_before_it_was_saved(shop: Shop, tmp_path: Path, family: str) -> None:
    target = tmp_path / "small.safetensors"
    made = compress_generator(shop.generator(family), target, shop.aim(family), device="cpu")
    case = Case.load(shop.case(family))
    found = Generator.load(target, case, "cpu")
    assert num_shared(found.generator) == num_shared(made.generator)
    assert found.generator.num_parameters < checkpoint.load(shop.generator(family))[0].num_parameters
    excitation = Excitation.of_parameters(case, np.array([2.5, 0.6, 0.7]))
    model = build.zone_model(case, MPI.COMM_SELF)
    runs = []
    for generated in (Generator(made.generator, found.file, target, "cpu"), found):
        runs.append(model.run(model.boundary_source(generated.predict([excitation]).trace())).displacement)
    assert np.array_equal(runs[0], runs[1]) and np.abs(runs[0]).max() > 0
    text = done(
        "zoom", shop.case(family), "--generator", target, *("--omega", 2.5, "--source", 0.6, 0.7), "-o", tmp_path
    )
    how = "folded with their neighbours" if family == "operator" else "factorised, as its file says"
    assert how in text and "not calibrated" in text


def test_both_executions_give_the_same_numbers(shop: Shop, tmp_path: Path) -> None:
    case = Case.load(shop.case("paper"))
    p = np.array([[2.5, 0.6, 0.7]])
    traces = []
    for execution in ("factorised", "dense", "auto"):
        target = tmp_path / f"{execution}.safetensors"
        compress_generator(shop.generator("paper"), target, shop.aim("paper", execution), device="cpu")
        found = Generator.load(target, case, "cpu")
        said = set(executions(found.generator).values())
        assert said == {execution} if execution != "auto" else said <= {"factorised", "dense"}
        traces.append(found.predict_vectors(p).trace())
    for trace in traces[1:]:
        scale = np.abs(traces[0].displacement).max()
        np.testing.assert_allclose(trace.displacement, traces[0].displacement, atol=1e-5 * scale)


def test_the_command_from_end_to_end(shop: Shop, tmp_path: Path) -> None:
    target = tmp_path / "small.safetensors"
    common = ("compress", shop.generator("operator"), "-o", target, "--device", "cpu")
    text = done(*common, "--method", "ctd", "--rank", "12,4")
    assert "net.layers.1" in text and "weight error" in text and "for one source" in text
    assert "no error bound, the original's does not hold" in text
    before, after = (checkpoint.read_metadata(path)[1] for path in (shop.generator("operator"), target))
    assert "trust" in before and "trust" not in after
    assert after["compression"]["from"]["file"] == "operator.safetensors"
    assert after["compression"]["report"]["method"] == "ctd" and after["compression"]["fine_tuning"] is None
    text = done(*common, "--method", "tt", "--rank", 16, "--fine-tune", 0.3, "--dataset", shop.dataset)
    assert "fine-tuned: " in text and "bound of epsilon with 90 % coverage" in text
    _, after = checkpoint.read_metadata(target)
    tuned = after["compression"]["fine_tuning"]
    assert tuned["history"]["train"] and tuned["dataset"] == "data.h5" and "trust" in after
    assert tuned["plan"]["seed"] == before["plan"]["seed"] and after["history"] == before["history"]
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]
    text = done("info", target)
    assert "tt, from operator.safetensors" in text and "measured here for one source" in text
    assert "on data.h5" in text
    refused(submodel("compress", target, "-o", tmp_path / "again.safetensors", "--ratio", 2), "is compressed already")


@pytest.mark.parametrize("family", FAMILIES)
def test_fine_tuning_is_training_and_keeps_what_is_shared(shop: Shop, tmp_path: Path, family: str) -> None:
    target = tmp_path / "small.safetensors"
    tuning = FineTuning(shop.dataset, epochs=12)
    plain = compress_generator(shop.generator(family), target, shop.aim(family), device="cpu")
    tuned = compress_generator(shop.generator(family), target, shop.aim(family), tuning=tuning, device="cpu")
    found, metadata = checkpoint.load(target)
    for model in (tuned.generator, found):
        assert num_shared(model) == num_shared(plain.generator)
        layers = [m for m in model.modules() if isinstance(m, CompressedLayer) and getattr(m, "shared", None)]
        assert len(layers) > 1 and len({id(layer.shared) for layer in layers}) < len(layers)
    history = metadata["compression"]["fine_tuning"]["history"]["train"]
    assert len(history) == 12 and (history[-1] < history[0] or family == "paper")  # whose levels are drawn anew
    scaler = "feature_mean" if family == "operator" else "input_scaler.mean"
    original, _ = checkpoint.load(shop.generator(family))
    assert torch.equal(found.get_buffer(scaler), original.get_buffer(scaler))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_interrupted_fine_tuning_resumes_to_the_bit(
    shop: Shop, tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, tuning = shop.generator(family), FineTuning(shop.dataset, epochs=4)
    whole, halves = tmp_path / "whole.safetensors", tmp_path / "halves.safetensors"
    plan = fine_tuning.with_entries

    def eager(*given: Any) -> Any:
        made = plan(*given)
        object.__setattr__(made, "checkpoint_every", 0.0)
        return made

    def kill(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(fine_tuning, "with_entries", eager)
    options: dict[str, Any] = {"tuning": tuning, "device": "cpu"}
    compress_generator(source, whole, shop.aim(family), **options)
    with pytest.raises(KeyboardInterrupt):
        compress_generator(source, halves, shop.aim(family), progress=kill, **options)
    assert "unfinished" in done("info", halves)  # what was compressed is there, and so is the state
    with pytest.raises(CaseError, match="was compressed otherwise, or from another file"):
        compress_generator(source, halves, Aim("tt", rank=4), **options)
    told: list[int] = []
    again = compress_generator(source, halves, shop.aim(family), progress=lambda now: told.append(now.epoch), **options)
    assert told == [3, 4] and again.report is None
    first, second = (checkpoint.load(path)[0].state_dict() for path in (whole, halves))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_bad_input_is_told_before_the_work(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr("submodel.learn.compress.compress", unexpected)
    out = tmp_path / "small.safetensors"
    base = ("compress", shop.generator("operator"), "-o", out)
    tune = ("--ratio", 2, "--fine-tune")
    other = toy(tmp_path, "other.toml", levels="levels = 51", **OPERATOR)
    data = tmp_path / "other.h5"
    done("generate", other, "-o", data, "--train", 1, "--test", 1)
    (tmp_path / "folder").mkdir()
    for options, words in (
        (("--ratio", 2, "--rank", 3), "give one of --ratio, --rank and --error, got --ratio and --rank"),
        ((), "give one of --ratio, --rank and --error, got none"),
        (("--ratio", 0.5), "--ratio must be greater than 1, got 0.5"),
        (("--error", 5), "--error must be between 0 and 1, got 5"),
        (("--rank", "a"), "--rank takes one rank, or two with a comma such as 16,5, got 'a'"),
        (("--rank", 8, "--method", "ctd"), "ctd needs two ranks, shared and own: --rank 8,8"),
        (("--rank", "8,4", "--method", "svd"), "svd has one rank: --rank 8"),
        (("--ratio", 2, "--fine-tune", 5), "--fine-tune needs what to learn from: give --dataset D"),
        ((*tune, 0, "--dataset", shop.dataset), "--fine-tune must be positive, got 0"),
        ((*tune, 1, "--dataset", data), "generated for another case"),
        (("--ratio", 2, "-o", tmp_path / "folder"), "is a folder"),
        (("--ratio", 2, "-o", shop.generator("operator")), "is read, and would be overwritten"),
    ):
        refused(submodel(*base, *options), words)
    refused(submodel("compress", tmp_path / "none.safetensors", "-o", out, "--ratio", 2), "does not exist")
    with pytest.raises(ValueError, match="the method must be one of svd, cp, tucker, tt, ctd, pctd, got 'mps'"):
        Aim("mps", ratio=2)
    assert not out.exists()


def test_a_rank_that_no_layer_can_have(shop: Shop, tmp_path: Path) -> None:
    said = submodel("compress", shop.generator("operator"), "-o", tmp_path / "a.safetensors", "--rank", 500)
    refused(said, "no layer is smaller with the rank 500 and the method tt: give a smaller rank")
