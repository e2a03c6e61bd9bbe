"""Training: a dataset in, a generator file out. Needs torch and h5py, not FEniCS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from networks import checkpoint
from networks.core.distributed import current_group
from networks.training.plan import History, Progress, TrainingPlan
from networks.training.state import AnotherTrainingError
from submodel.case.case import Case, CaseError
from submodel.case.errors import explain
from submodel.case.models import COMMON, family_of
from submodel.case.parameters import OMEGA, X, Y
from submodel.case.training import Training
from submodel.data.cross import CrossDataset
from submodel.data.dataset import Dataset, ReciprocalDataset, reader_of
from submodel.data.generator_file import GeneratorFile, Reached, TrainingRecord
from submodel.data.manifest import DatasetError
from submodel.data.outputs import require_file
from submodel.geometry.source_region import DomainMap
from submodel.learn.budget import Length
from submodel.learn.preparation import AnyDataset, Preparation, prepare

MOST_PLACES = 300
"""Source nodes that a file names, at most."""


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Args:
        path: The generator's file.
        generator: The network, with the weights that were kept.
        history: Its passes.
        reached: Form and error of one that was made to an error.
    """

    path: Path
    generator: Any
    history: History
    reached: Reached | None = None

    @property
    def words(self) -> str:
        """Its size, and what came of its making, in a line."""
        made = self.history.words if self.reached is None else f"{self.reached.form}: {self.reached.words()}"
        return f"{self.generator.num_parameters} parameters, {made}"


def with_training(case: Case, **changes: Any) -> Case:
    """The case with some keys of its training changed; what is ``None`` stays.

    Raises:
        CaseError: The keys do not go together.
    """
    changed = {name: value for name, value in changes.items() if value is not None}
    if not changed:
        return case
    before = case.training.model_dump(exclude_unset=True)
    try:
        if changed.get("model", case.training.model) != case.training.model:  # keys that only the other family takes
            own = family_of(changed["model"])
            before = {name: value for name, value in before.items() if name in own.keys | COMMON}
        training = Training.model_validate({**before, **changed})
    except ValidationError as error:
        raise CaseError(explain(error, Training)) from error
    return case.model_copy(update={"training": training})


def train_generator(
    case: Case,
    dataset_path: Path,
    output: Path,
    length: Length | None = None,
    *,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train the case's model on a dataset and write the generator; an unfinished training of the same goes on.

    Under `torchrun` all processes train one generator, and the first writes it.

    Args:
        case: Says which model and how long.
        dataset_path: Its training split is used; or a reciprocal dataset, for the operator generator.
        output: The generator's file; beside it, the state of an unfinished training.
        length: How long, where and from which seed; by default as the case says.
        restart: Throw away an unfinished training.
        progress: Called after every epoch, and while long work precedes the first.

    Raises:
        CaseError: The dataset belongs to another case, or an unfinished training is another one.
        DatasetError: The dataset cannot be used.
        CheckpointError: The unfinished training is damaged.
        TrainingError: The loss is not finite.
        ValueError: The device is not there, or numbers are out of range.
    """
    length = training_length(case) if length is None else length
    unfinished = unfinished_path(output)
    require_file(output, "generator.safetensors")
    with open_training_data(dataset_path, case) as dataset:
        ready = prepare(case, dataset, length)
        file = generator_file(with_training(case, seed=length.seed) if ready.computes else case, dataset)
    generator, history = run_training(ready, unfinished, restart=restart, progress=progress)
    if current_group().leads:
        record = None if ready.computes else training_record(ready.plan, history)
        document = replace(file, training=record, reached=ready.reached()).to_document()
        checkpoint.save(output, generator, metadata=document)
        unfinished.unlink(missing_ok=True)
    return Trained(output, generator, history, ready.reached())


def unfinished_path(output: Path) -> Path:
    """File of the state of an unfinished training of a generator."""
    return output.with_name(f"{output.stem}.unfinished.safetensors")


def run_training(ready: Preparation, unfinished: Path, *, restart: bool, **options: Any) -> tuple[Any, History]:
    """Train, going on from the state of an unfinished training of the same. Collective over torchrun's processes.

    Raises:
        CaseError: The state belongs to another training.
    """
    group = current_group()
    if restart and group.leads:
        unfinished.unlink(missing_ok=True)
    group.agree(0.0)  # no rank looks before it is gone
    try:
        return ready.train(checkpoint=unfinished, resume=True, **options)
    except AnotherTrainingError as error:
        raise CaseError(
            f"an unfinished training lies here, and {str(error).partition(';')[0]}: finish it with its own options and "
            "data, throw it away with --restart, or choose another -o"
        ) from error


def open_training_data(path: Path, case: Case) -> AnyDataset:
    """Open a dataset of any kind, and see that it belongs to the case and has something to learn from.

    Raises:
        CaseError: It belongs to another case.
        DatasetError: It cannot be used, or holds no training samples.
    """
    dataset = reader_of(path).open(path)
    try:
        dataset.require_case(case)
        if len(dataset.training_parameters()) == 0:
            raise DatasetError(f"{path} has no training samples: generate it with --train 1 or more")
    except ValueError:
        dataset.close()
        raise
    return dataset


def generator_file(case: Case, dataset: AnyDataset) -> GeneratorFile:
    """The document of a generator that learns from a dataset, before its training."""
    options = dataset.manifest.options()
    if isinstance(dataset, CrossDataset):
        options["--cross"] = f"{len(dataset.places)}+{len(dataset.manifest.loads)}"
    return GeneratorFile(
        case=case,
        gamma=dataset.gamma,
        domain=DomainMap.of(dataset.medium),
        zone_points=dataset.zone_points if isinstance(dataset, Dataset) else np.empty((0, 2)),
        dataset=dataset.path.name,
        dataset_key=dataset.manifest.key,
        dataset_options=options,
        reciprocal=isinstance(dataset, ReciprocalDataset),
        parameters=covered(dataset) if isinstance(dataset, CrossDataset) else dataset.training_parameters(),
    )


def covered(dataset: CrossDataset) -> NDArray[np.float64]:
    """Parameters of places that reciprocal runs know, which are all source nodes, (place, axis): NaN but for the place.

    A few hundred of them tell where sources may stand.
    """
    axes = dataset.case.parameters
    nodes = np.array([place for place in dataset.source_mesh["nodes"] if axes.contains_source(*place)]).reshape(-1, 2)
    chosen = np.random.default_rng(0).permutation(len(nodes))[:MOST_PLACES]
    places: NDArray[np.float64] = np.concatenate((dataset.places, nodes[chosen]))
    return axes.vectors({OMEGA: np.full(len(places), np.nan), X: places[:, 0], Y: places[:, 1]})


def training_record(plan: TrainingPlan, history: History) -> TrainingRecord:
    """A training that is over, as a generator's file holds it: six digits of each figure."""
    return TrainingRecord(
        plan=asdict(plan),
        train=tuple(float(f"{epoch.loss:.6g}") for epoch in history),
        validation=tuple(float(f"{epoch.validation:.6g}") for epoch in history if epoch.validation is not None),
        weights_epoch=history.weights_epoch,
        remarks=history.remarks,
        seconds=history[-1].elapsed,
    )


def training_length(
    case: Case,
    *,
    epochs: int | None = None,
    seconds: float | None = None,
    device: str = "auto",
    threads: int = 1,
    seed: int | None = None,
) -> Length:
    """The length of a case's training; what is given stands in place of what the case says.

    Args:
        case: Says how long, and from which seed.
        epochs, seconds: One of them, or neither.
        device: auto, cpu or cuda.
        threads: CPU threads; the steps of a generator are too small to gain from more than one.
        seed: Of weights and batches.

    Raises:
        CaseError: Both epochs and seconds are given.
    """
    training = case.training
    if epochs is None and seconds is None:
        epochs, seconds = training.epochs, training.seconds
    if epochs is not None and seconds is not None:
        raise CaseError("--epochs and --seconds exclude each other: give one of them")
    return Length(epochs, seconds, training.seed if seed is None else seed, device, threads)
