"""A network of [A] that learns from samples of a wave table, made while it trains, against one that learns from runs.

Every pass meets samples that no pass has met before; the runs of the dataset are the validation split alone. Both have
the same seconds and one thread. `docs/generator.md` has what came of it.

    OMP_NUM_THREADS=1 ./run python3 benchmarks/teacher.py CASE RUNS.h5 TABLE.safetensors --seconds 180
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from networks import checkpoint, family
from networks.core.distributed import Group
from networks.core.prediction import SourceSets
from networks.paper.predict import predict
from networks.paper.task import SampleTask
from networks.training.fit import run
from submodel.case.case import Case
from submodel.case.excitation import signals_of
from submodel.data.dataset import Dataset
from submodel.learn.budget import Length
from submodel.learn.preparation import prepare
from submodel.learn.train import with_training


class Endless(SampleTask):
    """A training whose samples are made anew for each pass.

    Args:
        case: says where sources are drawn from.
        teacher: a generator that takes any signal.
        arguments: those of `SampleTask`.
    """

    def __init__(self, case: Case, teacher: Any, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._case, self._family = case, family.of(teacher)
        self._teacher, self.num_made = self._family.ready(teacher), 0

    def learn(self, batches: torch.Generator, rate: float) -> torch.Tensor:
        """One pass over new samples; its mean loss."""
        number, ranges = len(self.train_split[0]), self._case.parameters
        lower = np.array([ranges.omega[0], *ranges.source_lower])
        upper = np.array([ranges.omega[1], *ranges.source_upper])
        vectors = lower + (upper - lower) * torch.rand(number, 3, generator=batches, dtype=torch.float64).numpy()
        sets = SourceSets(vectors[:, None, 1:], signals_of(self._case, vectors)[:, None])
        fields = self._family.predictor(self._teacher, sets).levels(0, self._case.time.levels)
        inputs = torch.as_tensor(self.spec.relative(vectors), dtype=torch.float32)
        scores = self.model.target_scaler(torch.as_tensor(fields, dtype=torch.float32))
        self.train_split, self.num_made = (inputs, scores), self.num_made + number
        return super().learn(batches, rate)


def errors(generator: Any, dataset: Dataset) -> NDArray[np.float64]:
    """Mean relative L2 errors of u, v and r on Γ over the test samples, %."""
    traces, found = dataset.traces("test"), predict(generator, dataset.parameters("test"))
    every = []
    for place, name in enumerate(("displacement", "velocity", "load")):
        miss = np.linalg.norm((found[:, place] - traces[name]).reshape(len(found), -1), axis=1)
        every.append(miss / np.linalg.norm(traces[name].reshape(len(found), -1), axis=1))
    return 100.0 * np.array(every).mean(1)


def main() -> None:
    """Train both and print their errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("runs", type=Path, help="dataset of the case, for example of --train 100 --test 50")
    parser.add_argument("table", type=Path, help="generator of the case that takes any signal")
    parser.add_argument("--seconds", type=float, default=180.0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    fields = ("displacement", "velocity", "load")
    network: dict[str, Any] = {"model": "conv1.5d-boundary", "variant": "sl", "fields": fields}
    case = with_training(Case.load(asked.case), **network, batch_size=4, validation=0.1)
    with Dataset.open(asked.runs) as dataset:
        ready = prepare(case, dataset, Length(None, asked.seconds, 0, "cpu", 1))
        data = (ready.data.parameters, ready.data.targets)
        teacher = checkpoint.load(asked.table)[0]
        made: list[Endless] = []

        def endless(group: Group) -> Endless:
            made.append(Endless(case, teacher, ready.spec, data, ready.plan, group))
            return made[-1]

        def recorded(group: Group) -> SampleTask:
            return SampleTask(ready.spec, data, ready.plan, group)

        for title, task in (("runs", recorded), ("table", endless)):
            generator, history = run(task, ready.plan)
            number = made[-1].num_made if made else len(data[0])
            u, v, r = errors(generator, dataset)
            print(f"from {title}, {number} samples: u {u:.3g} %, v {v:.3g} %, r {r:.3g} %; {history.words}", flush=True)


if __name__ == "__main__":
    main()
