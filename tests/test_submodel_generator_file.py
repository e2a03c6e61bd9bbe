"""The document of a generator's file: read as it was written, and refused where it is none."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from network_problems import SQUARE
from roof_problems import TOY

from solvers.gamma.chart import ClosedLoops
from submodel.case.case import Case
from submodel.data.generator_file import GeneratorFile, GeneratorFileError, Reached, TrainingRecord

TRAINING = TrainingRecord({"seconds": 3.0}, (2.0, 1.0), (2.5, 1.5), 1, ("the fit of the rays was cut short",), 3.25)
REACHED = Reached(
    form="wave table, helmholtz basis",
    tolerance=0.01,
    error=0.004,
    spread=0.0003,
    floor=0.0008,
    runs=(15, 30),
    lines=("the operator generator left 3 %",),
    steps=({"num_direct": 5, "error": 0.1},),
    built={"--budget": "60"},
)
FILE = GeneratorFile(
    case=Case.from_dict(tomllib.loads(TOY)),
    gamma=ClosedLoops.polygon(SQUARE),
    parameters=np.array([[2.0, 0.5, 0.6]]),
    dataset="data.h5",
    dataset_key="abc",
    training=TRAINING,
    reached=REACHED,
    compression={"report": {"ratio": 2.0}},
    trust={"coverage": 0.9},
)


def document(**changes: Any) -> dict[str, Any]:
    """As JSON gives it back; a change to None leaves the entry out."""
    entries = FILE.to_document() | changes
    found: dict[str, Any] = json.loads(json.dumps({key: value for key, value in entries.items() if value is not None}))
    return found


def test_a_document_comes_back_whole() -> None:
    again = GeneratorFile.from_document(document(), Path("g"))
    assert again.to_document() == FILE.to_document() and again.trained() == TRAINING
    assert again.reached == REACHED and REACHED.kept and not replace(REACHED, error=0.011).kept
    assert REACHED.words().endswith("± 0.03 % on held-out runs, from 15 direct + 30 reciprocal runs; asked 1 %")
    assert again.case == FILE.case and not again.reciprocal and again.domain is None
    assert replace(again, training=None).to_document().keys() == again.to_document().keys() - TRAINING.to_document()


def test_what_was_compressed_has_no_calibration() -> None:
    made = FILE.compressed({"report": {"ratio": 3.0}})
    assert made.trust is None and "trust" not in made.to_document() and made.training == TRAINING


def test_older_files_are_read() -> None:
    """Without the pass that was kept, remarks, the sort of data and the domain."""
    old = document(weights_epoch=None, remarks=None, domain=None, dataset={"file": "r.h5", "key": "1"})
    old["parameters"] = [[float("nan"), 0.5, 0.6]]
    again = GeneratorFile.from_document(old, Path("g"))
    assert again.reciprocal and again.trained().weights_epoch == 2 and again.trained().remarks == ()


@pytest.mark.parametrize("key", ["case", "gamma", "parameters", "dataset", "zone_points", "plan", "seconds"])
def test_a_document_without_an_entry_is_refused_by_the_files_name(key: str) -> None:
    with pytest.raises(GeneratorFileError, match="g.safetensors does not say .*: make it with `submodel train`"):
        GeneratorFile.from_document(document(**{key: None}), Path("g.safetensors"))


def test_a_generator_that_was_made_without_a_training_says_so() -> None:
    with pytest.raises(GeneratorFileError, match="computed, not trained: make a smaller one by --tolerance"):
        replace(FILE, training=None).trained()
    with pytest.raises(GeneratorFileError, match="does not say how it was trained"):
        replace(FILE, training=None, reached=None).trained()
