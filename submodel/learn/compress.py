"""Compression: a generator's file in, the file of a smaller one out. Needs torch and h5py, not FEniCS.

What comes out is a generator like any other. Fine-tuning is the ordinary training, started from the compressed model;
until it is done, the file holds the model as it was compressed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from networks import checkpoint, family
from networks.compression.choice.ranks import COUPLED, METHODS, chosen_ranks, count
from networks.compression.compress import CompressionOptions, compress, units_of
from networks.compression.report import Report
from networks.compression.tensor.coupled import Minimisation
from networks.core.device import select_device
from networks.core.distributed import current_group
from networks.core.rebuildable import is_compressed
from networks.execution.layers import AUTO, executions, settle
from networks.training.plan import Progress
from submodel.case.case import Case, CaseError
from submodel.data.generator_file import GeneratorFile, GeneratorFileError
from submodel.data.outputs import require_file
from submodel.learn.fine_tuning import FineTuning, fine_tune
from submodel.learn.train import Trained, open_training_data, unfinished_path

SAMPLE = 32
"""Parameter vectors of the training that output errors are taken over, at most."""


@dataclass(frozen=True)
class Aim:
    """Aim of a compression; exactly one of `ratio`, `rank` and `error` is given.

    Args:
        method: svd, cp, tucker, tt, ctd or pctd.
        ratio: Trainable numbers before to those after.
        rank: Of every layer that can have it; for a coupled method the pair of the shared and the own rank, for tt and
            tucker one rank or the pair of both.
        error: Relative error of the output that is allowed, over the parameters of the training.
        weighting: Whether errors are those of the weights, or of the layers' outputs (activations).
        execution: auto, factorised or dense.
        seed: Of random starts.

    Raises:
        ValueError: None or several of the three, an unknown method, or a number out of range.
    """

    method: str
    ratio: float | None = None
    rank: int | tuple[int, int] | None = None
    error: float | None = None
    weighting: str = "activations"
    execution: str = AUTO
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"the method must be one of {', '.join(METHODS)}, got {self.method!r}")
        named = [name for name in ("ratio", "rank", "error") if getattr(self, name) is not None]
        if len(named) != 1:
            got = " and ".join(f"--{name}" for name in named) or "none"
            raise ValueError(f"give one of --ratio, --rank and --error, got {got}")
        if self.ratio is not None and not self.ratio > 1:
            raise ValueError(f"--ratio must be greater than 1, got {self.ratio:g}: 15 leaves one number of fifteen")
        if self.error is not None and not 0 < self.error < 1:
            raise ValueError(f"--error must be between 0 and 1, got {self.error:g}: 0.05 allows 5 % of the output")
        if self.method in COUPLED and isinstance(self.rank, int):
            raise ValueError(f"{self.method} needs two ranks, shared and own: --rank {self.rank},{self.rank}")
        if self.method in ("svd", "cp") and isinstance(self.rank, tuple):
            raise ValueError(f"{self.method} has one rank: --rank {self.rank[0]}")


@dataclass(frozen=True)
class Compressed:
    """A finished compression.

    Args:
        path: The file.
        case: Of the generator.
        generator: The compressed network, on its device.
        report: What was done, layer by layer; None where a fine-tuning was resumed.
        trained: The fine-tuning, if there was one.
    """

    path: Path
    case: Case
    generator: Any
    report: Report | None
    trained: Trained | None


def compress_generator(
    source: Path,
    output: Path,
    aim: Aim,
    *,
    tuning: FineTuning | None = None,
    device: str = "auto",
    restart: bool = False,
    report_to: Callable[[Report, Any], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Compressed:
    """Compress a generator, fine-tune it where that is wanted, and write it; an unfinished fine-tuning goes on.

    Under `torchrun` all processes fine-tune one generator, and the first writes it.

    Args:
        source: The generator's file.
        output: File to write; it stands from the compression on, and is replaced when the fine-tuning is done.
        aim: How to compress.
        tuning: How to fine-tune, or None.
        device: auto, cpu or cuda.
        restart: Throw away an unfinished fine-tuning.
        report_to: Called with the report and the compressed generator before the fine-tuning.
        progress: Called after every epoch of it.

    Raises:
        CaseError: The generator is compressed already, the dataset belongs to another case, or another fine-tuning is
            unfinished there.
        CheckpointError: A file cannot be read.
        DatasetError: The dataset cannot be used.
        TrainingError: The loss is not finite.
        ValueError: Ranks or a ratio that the generator cannot have, or a device that is not there.
    """
    chosen = select_device(device)
    if output.resolve() == source.resolve():
        raise CaseError(f"{output} is the generator itself: give the compressed one another name")
    require_file(output, "small.safetensors")
    generator, document = checkpoint.load(source)
    file = GeneratorFile.from_document(document, source)
    file.trained()
    case = file.case
    if is_compressed(generator):
        raise CaseError(f"{source} is compressed already: compress the generator that it came from")
    if tuning is not None:
        open_training_data(tuning.dataset, case).close()  # another case's dataset is told before the work
    report = None
    unfinished = None if restart else _unfinished(source, output, aim, tuning)
    if unfinished is not None:
        model, about = unfinished
    else:
        model, report = _compressed(generator, file, aim)
        model.to(chosen)
        settle(model)
        report = _as_run(report, model)
        about = _about(source, file, aim, report, tuning)
        if current_group().leads:
            unfinished_path(output).unlink(missing_ok=True)
            checkpoint.save(output, model, metadata=about.to_document())
        if report_to is not None:
            report_to(report, model)
    if tuning is None:
        return Compressed(output, case, model, report, None)
    trained = fine_tune(model, about, output, tuning, device=device, progress=progress)
    return Compressed(output, case, trained.generator, report, trained)


def ranks_of(generator: Any, method: str, rank: int | tuple[int, int]) -> dict[str, Any]:
    """A rank for each layer that can have it and is smaller with it, by name; one name stands for a whole group.

    Raises:
        ValueError: No layer can have the rank.
    """
    ranks_by_layer = {}
    for unit in units_of(generator, method):
        try:
            (ranks,) = chosen_ranks(method, rank, [unit])
        except ValueError:
            continue
        if ranks is not None and count(method, unit, ranks) < unit.numel:
            ranks_by_layer[unit.group.name] = rank
    if not ranks_by_layer:
        raise ValueError(f"no layer is smaller with the rank {rank} and the method {method}: give a smaller rank")
    return ranks_by_layer


def sample_of(generator: Any, file: GeneratorFile) -> tuple[Tensor, ...]:
    """Inputs that the generator was trained with, evenly taken from its file."""
    every = file.parameters
    chosen = every[np.linspace(0, len(every) - 1, min(SAMPLE, len(every))).round().astype(int)]
    places = file.case.parameters.sources(chosen)
    inputs: tuple[Tensor, ...] = family.of(generator).inputs(generator.spec, chosen, places)
    return inputs


def _compressed(generator: Any, file: GeneratorFile, aim: Aim) -> tuple[Any, Report]:
    model, report = compress(
        generator,
        aim.method,  # type: ignore[arg-type]
        ranks=None if aim.rank is None else ranks_of(generator, aim.method, aim.rank),
        ratio=aim.ratio,
        error=aim.error,
        sample=sample_of(generator, file),
        options=CompressionOptions(
            minimisation=Minimisation(seed=aim.seed),
            weighting=aim.weighting,  # type: ignore[arg-type]
            execution="factorised" if aim.execution == AUTO else aim.execution,  # type: ignore[arg-type]
        ),
    )
    compressed: Any = model
    compressed.compression["execution"] = aim.execution
    return compressed.eval(), report


def _as_run(report: Report, model: Any) -> Report:
    """The report with the executions that were chosen for one source."""
    chosen = executions(model)
    layers = tuple(replace(layer, execution=chosen.get(layer.name, layer.execution)) for layer in report.layers)
    return replace(report, layers=layers, measured=model.compression["execution"] == AUTO)


def _about(source: Path, file: GeneratorFile, aim: Aim, report: Report, tuning: FineTuning | None) -> GeneratorFile:
    """The document of the compressed generator."""
    return file.compressed(
        {
            "from": {"file": source.name, "sha256": _digest(source)},
            "aim": _plain(aim),
            "report": report.to_dict(),
            "fine_tuning": None if tuning is None else {"unfinished": True, **tuning.words()},
        }
    )


def _unfinished(source: Path, output: Path, aim: Aim, tuning: FineTuning | None) -> tuple[Any, GeneratorFile] | None:
    """The generator as it was compressed before its fine-tuning was interrupted, and its document; None without one.

    Raises:
        CaseError: Another generator, or another aim, was compressed there.
    """
    try:
        model, document = checkpoint.load(output)
        about = GeneratorFile.from_document(document, output)
    except (checkpoint.CheckpointError, GeneratorFileError):  # there is none
        return None
    compression = about.compression or {}
    if not (compression.get("fine_tuning") or {}).get("unfinished"):
        return None
    same = compression["from"]["sha256"] == _digest(source) and compression["aim"] == _plain(aim)
    if not same or tuning is None:
        wanted = "this is without" if tuning is None else "it was compressed otherwise, or from another file"
        raise CaseError(
            f"{output} has an unfinished fine-tuning, and {wanted}: finish it with its own options, throw it away with "
            "--restart, or choose another -o"
        )
    return model, about


def _plain(aim: Aim) -> dict[str, Any]:
    """As JSON gives it back."""
    return asdict(aim) | {"rank": list(aim.rank) if isinstance(aim.rank, tuple) else aim.rank}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
