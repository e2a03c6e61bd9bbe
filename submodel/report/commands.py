"""Command lines that make a validation again, from what its files say of themselves; they overwrite none of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from submodel.case.case import Case
from submodel.case.models import family_of

if TYPE_CHECKING:
    from submodel.data.dataset import Dataset
    from submodel.data.generator_file import GeneratorFile
    from submodel.predict.generator import Generator

AGAIN = Path("again")
"""Folder of what the command lines make."""
DEFAULTS = {"--ranks-per-sample": 1, "--precision": "double"}
WITH_OPTION = ("rays", "variant", "tolerance", "basis", "numbers")
"""Keys of [training] that are options of `submodel train` by the same name."""
WITHOUT_OPTION = ("fields", "size", "batch_size", "validation")
"""Keys of [training] that `submodel train` has no option for."""


def reproduction(
    case: Path, dataset: Dataset, generator: Generator | None, condition: str | None, split: str
) -> tuple[str, ...]:
    """Command lines from the case to the validation; a line with # says what none of them can.

    Args:
        case: The file of the case.
        dataset: What was validated on.
        generator: What predicted, None for recorded boundary data.
        condition: Interface condition that was asked for, None for the case's.
        split: Which samples were validated.
    """
    again = _Again(case)
    data = again.generate(dataset.path.name, dataset.manifest.key, dataset.manifest.options())
    last = ["submodel", "validate", case, "--dataset", data]
    if generator is None:
        last += ["--boundary", "recorded"]
    else:
        made = again.make(generator)
        built = generator.file.reached is not None and generator.file.reached.built is not None  # with its bound
        if generator.trust is not None and not built and dataset.num_samples("calibration"):
            coverage = ["--coverage", generator.trust.coverage]
            again.run("submodel", "calibrate", case, "--dataset", data, "--generator", made, *coverage)
        last += ["--generator", made]
    last += [] if condition is None else ["--interface", condition]
    last += [] if split == "test" else ["--split", split]
    again.run(*last, "--report", AGAIN)
    return tuple(again.lines)


class _Again:
    """Command lines as they come, and the datasets that they make, by key."""

    def __init__(self, case: Path) -> None:
        self.case = case
        self.lines = [f"mkdir -p {AGAIN}"]
        self._datasets: dict[str, Path] = {}

    def run(self, *words: Any) -> None:
        """Add a command line."""
        self.lines.append("./run " + shlex.join(map(str, words)))

    def generate(self, name: str, key: str, options: Mapping[str, Any] | None) -> Path:
        """Make a dataset, unless it is made already.

        Args:
            name: of its file.
            key: of its manifest.
            options: of its generation, None where they are not known.
        """
        if key in self._datasets:
            return self._datasets[key]
        taken = AGAIN / name in self._datasets.values()
        path = self._datasets[key] = AGAIN / (f"training-{name}" if taken else name)
        if options is None:
            self.lines.append(f"# how {name} was generated is not known")
            return path
        words = ["mpirun", "-n", max(2, options["--ranks-per-sample"])]
        words += ["submodel", "generate", self.case, "-o", path]
        for option, value in options.items():
            if DEFAULTS.get(option) != value:
                words += [option] if value is True else [option, value]
        self.run(*words)
        return path

    def make(self, generator: Generator) -> Path:
        """Train a generator, and compress it where it was."""
        file, made = generator.file, AGAIN / generator.path.name
        compression = file.compression
        self._train(file, made if compression is None else AGAIN / compression["from"]["file"])
        if compression is not None:
            self._compress(compression, made)
        return made

    def _train(self, file: GeneratorFile, output: Path) -> None:
        if file.reached is not None and file.reached.built is not None:
            wishes = {"--tolerance": file.reached.tolerance, **file.reached.built}
            words = [word for name, value in wishes.items() if value is not None for word in (name, value)]
            self.run("mpirun", "-n", 2, "submodel", "build", self.case, "-o", output, *words)
            return
        options = file.dataset_options
        if options is not None and file.reciprocal:
            options = {**options, "--reciprocal": True}
        data = self.generate(file.dataset, file.dataset_key, options)
        trained, now = file.case.training, Case.load(self.case).training
        for key in WITHOUT_OPTION:
            if getattr(trained, key) != getattr(now, key):
                self.lines.append(f"# the case then had [training] {key} = {getattr(trained, key)}")
        taken = family_of(trained.model).keys
        keys = [key for key in WITH_OPTION if key in taken and getattr(trained, key) is not None]
        words = [word for key in keys for word in (f"--{key}", getattr(trained, key))]
        words += ["--compressible"] * trained.compressible
        seed = trained.seed
        if file.reached is None:
            plan = file.trained().plan
            words += ["--epochs", plan["epochs"]] if plan["seconds"] is None else ["--seconds", plan["seconds"]]
            seed = plan["seed"]
        begin = ["submodel", "train", self.case, "--dataset", data, "-o", output, "--model", trained.model]
        self.run(*begin, *words, "--seed", seed)

    def _compress(self, compression: Mapping[str, Any], output: Path) -> None:
        words = ["submodel", "compress", AGAIN / compression["from"]["file"], "-o", output]
        for name, value in compression["aim"].items():
            if value is not None:
                words += [f"--{name}", ",".join(map(str, value)) if isinstance(value, list) else value]
        tuning = compression["fine_tuning"]
        if tuning is not None and tuning.get("plan"):
            data = self.generate(tuning["dataset"], tuning["key"], None)
            words += ["--fine-tune", tuning["plan"]["seconds"], "--dataset", data]
        self.run(*words)
