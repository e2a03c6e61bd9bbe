"""Facts about a case, a dataset or a generator, in a few lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from submodel.case.case import Case, CaseError
from submodel.case.quantities import box, quantity
from submodel.data.generator_file import GeneratorFile
from submodel.report.wording import speed_words


def describe(path: Path) -> dict[str, Any]:
    """Facts about a file, by name, told by its ending.

    Raises:
        CaseError: The file is not there, or none of the three.
        DatasetError: The dataset cannot be read.
        CheckpointError: The generator cannot be read.
    """
    if not path.exists():
        raise CaseError(f"there is no file {path}: name a case (.toml), a dataset (.h5) or a generator (.safetensors)")
    if path.suffix == ".toml":
        return {"file": f"{path}, a case"} | of_case(Case.load(path))
    if path.suffix == ".h5":
        return _of_zoomed(path) or _of_dataset(path)
    if path.suffix == ".safetensors":
        return {"file": f"{path}, a generator"} | _of_generator(path)
    raise CaseError(f"{path} is neither a case (.toml) nor a dataset (.h5) nor a generator (.safetensors)")


def of_case(case: Case) -> dict[str, Any]:
    """Facts about a case."""
    length, second = case.units.length, case.units.time
    parameters, discretization = case.parameters, case.discretization
    place = "" if (corners := case.domain.box) is None else f"{box(*corners, length)}, "
    facts: dict[str, Any] = {"name": case.name, "fingerprint": case.fingerprint()}
    facts["domain"] = place + case.domain.mesh_words
    if case.zone is not None:
        facts["zone"] = box(case.zone.lower, case.zone.upper, length)
    omega = box(parameters.omega[:1], parameters.omega[1:], f"rad/{second}")
    return facts | {
        "speed": speed_words(case),
        "time": f"{quantity(case.time.final, second)} in {case.time.levels} levels, "
        f"dt = {quantity(case.time.dt, second)}",
        "discretization": f"{discretization.element}, degree {discretization.degree}, {discretization.stepper}",
        "interface": case.interface.kind,
        "source": f"{case.source.signal}, omega in {omega}, position in "
        f"{box(parameters.source_lower, parameters.source_upper, length)}{parameters.other_words(case.units)}",
        "samples": f"{_counts(parameters.train, parameters.test, parameters.calibration)}, seed {parameters.seed}",
        "training": f"{case.training.model}, fields {', '.join(case.training.fields)}",
    }


def _counts(train: int, test: int, calibration: int) -> str:
    return f"{train} training, {test} test" + (f", {calibration} calibration" if calibration else "")


def _of_zoomed(path: Path) -> dict[str, Any]:
    """Facts about zoomed runs; none where the file holds something else."""
    from submodel.data.manifest import DatasetError
    from submodel.data.zoom_file import ZoomedFile

    try:
        file = ZoomedFile(path)
    except DatasetError:
        return {}
    finished = file.array("finished") > 0
    case, settings = Case.from_json(file.attributes["case"]), json.loads(file.attributes["settings"])
    facts: dict[str, Any] = {"file": f"{path}, zoomed runs", "case": case.name}
    facts |= {"sets": f"{finished.sum()} of {len(finished)} finished"}
    if finished.any():
        peaks = file.array("peak")[finished]
        facts["largest |u|"] = f"{peaks.min():.4g} to {peaks.max():.4g}, by set"
    return facts | {name.replace("_", " "): value for name, value in settings.items() if value is not None}


def _of_dataset(path: Path) -> dict[str, Any]:
    """Facts about a dataset of any kind."""
    from submodel.data.dataset import reader_of

    with reader_of(path).open(path) as dataset:
        return {"file": f"{path}, {dataset.TITLE}"} | dataset.describe()


def _of_generator(path: Path) -> dict[str, Any]:
    from networks import checkpoint, family
    from networks.execution.layers import settle

    generator, metadata = checkpoint.load(path)
    settle(generator)
    spec, facts = generator.spec, dict[str, Any]()
    facts["model"] = spec.model
    facts["parameters"] = f"{generator.num_parameters} ({path.stat().st_size / 1024:.0f} KiB)"
    facts["predicts"] = f"{', '.join(spec.fields)} at {spec.num_levels} levels x {spec.num_arc} nodes"
    facts |= family.of(generator).facts(spec)
    if "case" in metadata:
        file = GeneratorFile.from_document(metadata, path)
        facts["case"] = f"{file.case.name} ({file.case.fingerprint()})"
        if file.reached is None:
            facts["trained on"] = f"{len(file.parameters)} samples of {file.dataset}"
        else:
            facts["made from"] = file.dataset
        if file.training is not None:
            facts["training"] = f"{len(file.training.train)} epochs in {file.training.seconds:.0f} s"
            facts |= {"note": "; ".join(file.training.remarks)} if file.training.remarks else {}
        if file.reached is not None:
            facts |= file.reached.facts
        if file.compression is not None:
            facts |= _of_compression(generator, file.compression)
        facts["error bound"] = _bound(file)
    return facts


def _of_compression(generator: Any, compression: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about the compression of a generator, and what came after."""
    from networks.execution.layers import AUTO, policy, words

    report, tuning = compression["report"], compression["fine_tuning"]
    tuned = "none"
    if tuning is not None:
        dataset = tuning["dataset"]
        tuned = (
            f"unfinished, on {dataset}"
            if tuning.get("unfinished")
            else (f"{len(tuning['history']['train'])} epochs in {tuning['seconds']:.0f} s on {dataset}")
        )
    num_layers = sum(layer["method"] != "dense" for layer in report["layers"])
    choice = "measured here for one source" if policy(generator) == AUTO else "as asked for"
    return {
        "compressed": f"{report['method']}, from {compression['from']['file']}: {report['parameters_before']} -> "
        f"{report['parameters_after']} trainable numbers, {report['model_ratio']:.2f} times fewer",
        "compressed layers": f"{num_layers}, {report['ratio']:.2f} times fewer; {words(generator)}, {choice}",
        "output error": f"{report['output_error']:.3g} before fine-tuning, relative to the original",
        "fine-tuning": tuned,
    }


def _bound(file: GeneratorFile) -> str:
    """The calibration in words."""
    if not file.trust:
        return "none: run `submodel calibrate`"
    from submodel.predict.error_bound import Trust

    trust = Trust.from_json(dict(file.trust), file.case.parameters)
    each = "; ".join(f"{name}: {trust.basis(name)}" for name in trust.models)
    return f"{100 * trust.coverage:g} % coverage; {each}"
