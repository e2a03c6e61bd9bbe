"""Training through the command line at toy size: both families, every kind of data, and what follows from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from roof_problems import done, refused, submodel, toy

from networks import checkpoint
from networks.training.fit import Fit
from networks.training.plan import TrainingPlan
from submodel.case.case import Case, CaseError
from submodel.case.excitation import Excitation
from submodel.data.dataset import Dataset
from submodel.data.generator_file import GeneratorFile
from submodel.learn import paper as train_paper
from submodel.learn.budget import Length
from submodel.learn.operator import band, prepare, rays_of
from submodel.learn.train import with_training
from submodel.predict.generator import Generator

OPERATOR = {"model": 'model = "operator"', "fields": "", "variant": "", "batch_size": "", "validation": ""}

FINE = {"cells": "cells = [32, 32]", "levels": "levels = 81"}


@dataclass(frozen=True)
class Shop:
    """A case of the operator generator, its data of both kinds and a trained generator."""

    folder: Path
    case: Path
    dataset: Path
    reciprocal: Path
    generator: Path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    case = toy(folder, **OPERATOR, test="test = 4\ncalibration = 20")
    made = Shop(folder, case, folder / "data.h5", folder / "reciprocal.h5", folder / "generator.safetensors")
    done("generate", case, "-o", made.dataset, "--train", 12)
    done("generate", case, "-o", made.reciprocal, "--reciprocal", "--train", 24)
    text = done("train", case, "--dataset", made.dataset, "-o", made.generator, "--epochs", 60)
    assert "bound of epsilon with 90 % coverage" in text
    return made


def errors(shop: Shop, generator: Path, *more: object) -> dict[str, Any]:
    target = shop.folder / "errors.json"
    done("validate", shop.case, "--dataset", shop.dataset, "--generator", generator, "--json", target, *more)
    found: dict[str, Any] = json.loads(target.read_text())
    return found


def test_the_default_generator_learns_from_a_dozen_runs(shop: Shop) -> None:
    """A dozen runs are enough for a box whose rays are known; the samples' fields are half a wave in size."""
    found = errors(shop, shop.generator)
    assert found["after"]["displacement"]["relative_l2"] < 0.06  # measured 0.037
    assert found["bound"]["coverage"] == 0.9
    spec, metadata = checkpoint.read_metadata(shop.generator)
    assert (spec.model, spec.rays) == ("operator", "walls")
    assert set(metadata["trust"]["models"]) == {"dirichlet", "impedance"}


@pytest.mark.parametrize("number", [1, 12])
def test_a_loss_is_called_a_loss(shop: Shop, tmp_path: Path, number: int) -> None:
    dataset, case, target = shop.dataset, shop.case, tmp_path / "g.safetensors"
    few = "test = 4\ncalibration = 20"
    if number == 1:
        dataset = tmp_path / "one.h5"
        done("generate", case, "-o", dataset, "--train", 1, "--test", 0, "--calibration", 0)
    else:
        case = toy(tmp_path, **OPERATOR | {"validation": "validation = 0.0"}, test=few)
    text = done("train", case, "--dataset", dataset, "-o", target, "--epochs", 2)
    assert "2 epochs, loss " in text and "validation" not in text and "best" not in text
    training = GeneratorFile.from_document(checkpoint.read_metadata(target)[1], target).trained()
    assert len(training.train) == training.weights_epoch == 2 and training.validation == ()
    for share in ("", "validation = 0.25") if number > 1 else ():  # a fifth of so few by default
        held = toy(tmp_path, **OPERATOR | {"validation": share}, test=few)
        text = done("train", held, "--dataset", dataset, "-o", target, "--epochs", 2)
        training = GeneratorFile.from_document(checkpoint.read_metadata(target)[1], target).trained()
        assert ", validation " in text and len(training.validation) == 2 and training.validation != training.train


def test_reciprocal_data_train_the_same_generator(shop: Shop) -> None:
    target = shop.folder / "reciprocal.safetensors"
    text = done("train", shop.case, "--dataset", shop.reciprocal, "-o", target, "--epochs", 30)
    assert "no error bound yet" in text
    assert errors(shop, target)["after"]["displacement"]["relative_l2"] < 0.08
    assert "calibrate" in text and "dirichlet" in done(
        "calibrate", shop.case, "--dataset", shop.dataset, "--generator", target
    )
    assert "a reciprocal dataset" in done("info", shop.reciprocal)
    paper = ("train", shop.case, "--dataset", shop.reciprocal, "-o", target, "--model", "conv1.5d-boundary")
    refused(submodel(*paper, "--epochs", 1), "made without --reciprocal")


def test_a_ricker_pulse_is_learnt_too(shop: Shop, tmp_path: Path) -> None:
    case = toy(tmp_path, **OPERATOR, signal='signal = "ricker"', omega="omega = [7.0, 8.0]", **FINE)
    dataset, generator = tmp_path / "data.h5", tmp_path / "g.safetensors"
    done("generate", case, "-o", dataset, "--train", 12)
    done("train", case, "--dataset", dataset, "-o", generator, "--epochs", 60)
    target = tmp_path / "errors.json"
    done("validate", case, "--dataset", dataset, "--generator", generator, "--json", target)
    assert json.loads(target.read_text())["after"]["displacement"]["relative_l2"] < 0.2
    assert band(Case.load(case)) == pytest.approx((1.4, 17.6))


def test_an_interrupted_training_of_the_operator_resumes_to_the_bit(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, halves = tmp_path / "whole.safetensors", tmp_path / "halves.safetensors"
    common = ("train", shop.case, "--dataset", shop.dataset, "--epochs", 4, "--device", "cpu")
    done(*common, "-o", whole)
    epoch = Fit.epoch

    def stop(run: Any) -> None:
        if len(run.history) == 2:
            raise KeyboardInterrupt
        epoch(run)

    monkeypatch.setattr(TrainingPlan, "__post_init__", lambda plan: object.__setattr__(plan, "checkpoint_every", 0.0))
    monkeypatch.setattr(Fit, "epoch", stop)
    assert submodel(*common, "-o", halves).status != 0 and not halves.exists()
    monkeypatch.undo()
    done(*common, "-o", halves)
    case = Case.load(shop.case)
    excitation = Excitation.of_parameters(case, np.array([2.5, 0.6, 0.7]))
    first, second = (Generator.load(path, case, "cpu").predict([excitation]).trace() for path in (whole, halves))
    for name in ("displacement", "velocity", "load"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_a_model_of_the_zone_hands_its_values_to_the_zoom(shop: Shop, tmp_path: Path) -> None:
    target = tmp_path / "zone.safetensors"
    done("train", shop.case, "--dataset", shop.dataset, "-o", target, "--model", "conv2d-t", "--epochs", 1)
    drive = ("--generator", target, "--omega", 2.5, "--source", 0.6, 0.7, "-o", tmp_path / "out")
    refused(submodel("zoom", shop.case, *drive), "use --interface dirichlet")
    done("zoom", shop.case, *drive, "--interface", "dirichlet")
    load = toy(tmp_path, "load.toml", model='model = "conv2d"', fields='fields = ["displacement", "load"]')
    refused(submodel("train", load, "--dataset", shop.dataset, "-o", target, "--epochs", 1), "there is no load")


def test_rays_of_walls_need_a_box_of_one_speed(shop: Shop) -> None:
    case = Case.load(shop.case)
    with Dataset.open(shop.dataset) as dataset:
        medium = dataset.medium
        slow = medium.speed.copy()
        slow[:4] *= 0.5
        layered = type(medium)(medium.x, medium.y, slow)
        assert rays_of(case, medium) == "walls" and rays_of(case, layered) == "direct"
        assert rays_of(with_training(case, rays="none"), medium) == "none"
        with pytest.raises(CaseError, match='write rays = "direct"'):
            rays_of(with_training(case, rays="walls"), layered)
        job = prepare(with_training(case, rays="direct"), dataset, Length(1, None, 0, "cpu", 1))
    assert job.spec.rays == "direct" and len(job.spec.symmetries) == 8 and job.data.displacement.shape[0] == 12


def test_a_case_sizes_its_operator_generator(shop: Shop) -> None:
    case = with_training(Case.load(shop.case), size={"frequencies": 7, "period": 1.5, "rank": 3, "width": 5})
    with Dataset.open(shop.dataset) as dataset:
        spec = prepare(case, dataset, Length(1, None, 0, "cpu", 1)).spec
    assert (spec.num_frequencies, spec.period, spec.rank, spec.width, spec.depth) == (7, 1.5, 3, 5, 6)
    assert with_training(case, model="conv2d").training.size is None


def test_words_about_training_must_go_together(shop: Shop) -> None:
    case = Case.load(shop.case)
    assert with_training(case) is case
    assert with_training(case, model="conv2d", variant="e").training.variant == "e"
    with pytest.raises(CaseError, match="does not go with model"):
        with_training(case, variant="sl")
    with pytest.raises(CaseError, match="compressible = true does not go with model"):
        with_training(case, compressible=True)
    narrow = with_training(case, model="conv2d-boundary", compressible=True)
    assert with_training(narrow, model="operator").training.compressible is False


def test_a_compressible_training_is_the_plans(shop: Shop) -> None:
    case = with_training(Case.load(shop.case), model="conv2d-boundary", compressible=True)
    with Dataset.open(shop.dataset) as dataset:
        plan = train_paper.prepare(case, dataset, Length(1, None, 0, "cpu", 1)).plan
    assert (plan.initial_scale, plan.weight_decay) == (0.2, 3.0)
