"""One training on several processes: torchrun starts two on the CPU, and the weights are those of one."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from network_problems import DT, toy, waves

from networks.checkpoint import load, save
from networks.core import distributed
from networks.core.distributed import DistributedError, Group, current_group, sum_over_ranks
from networks.paper import task
from networks.paper.task import train
from networks.training.plan import Progress, TrainingPlan

ROOT = Path(__file__).parents[1]
CASES = {  # model, variant, samples, batch size: shares of equal size, unequal, and a last batch with none for a rank
    "plain": ("conv1.5d-boundary", "sl", 10, 4),
    "normalised": ("conv2d-boundary", "bn", 9, 3),
    "empty share": ("conv3d", "bn-sl", 10, 4),
    "sampled": ("conv1d-t-boundary", "e", 10, 3),
    "full": ("fc-t-boundary", "bn", 10, 4),
}


def plan_of(name: str, **options: object) -> TrainingPlan:
    _, variant, _, batch_size = CASES[name]
    own = {"epochs": 3, "batch_size": batch_size, "device": "cpu", "threads": 1, "levels_per_sample": 5}
    own |= {"euler": 0.1 if variant == "e" else 0.0, "dt": DT, "checkpoint_every": 0.0}
    return TrainingPlan(**{**own, **options})  # type: ignore[arg-type]


def squares(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """In place of the loss, whose slope jumps where a difference changes sign by rounding."""
    return (predicted - target).square().mean()


def work(folder: Path) -> None:
    """What each process does; rank 0 writes what it finds."""
    task.mean_absolute = squares
    group = current_group()
    tensors = [torch.full((2, 3), float(group.rank)).T, torch.full((4,), 2.0 * group.rank, dtype=torch.float64)]
    group.average(tensors)
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(layer.weight, float(group.rank + 1))
    group.broadcast(layer)
    x = torch.ones(2, requires_grad=True)
    (sum_over_ranks(x * (group.rank + 1), group).sum() * (group.rank + 1)).backward()  # type: ignore[no-untyped-call]
    found = {
        "size": group.size,
        "average": [tensors[0].unique().tolist(), tensors[1].unique().tolist()],
        "broadcast": layer.weight.unique().tolist(),
        "agree": group.agree(7.5 + group.rank),
        "gradient": x.grad.tolist() if x.grad is not None else [],  # (1 + 2) of the losses, times the own factor
        "share": group.share(torch.arange(5)).tolist(),
    }
    for name, (model, variant, num, _) in CASES.items():
        spec = toy(model, variant=variant)
        told: list[int] = []
        path, copy = folder / f"{name}.state", folder / f"{name}.copy"

        def tell(progress: Progress, told: list[int] = told, path: Path = path, copy: Path = copy) -> None:
            told.append(progress.epoch)
            if progress.epoch == 2:
                shutil.copy(path, copy)

        data = waves(spec, num)
        generator, history = train(spec, *data, plan_of(name), checkpoint=path, progress=tell)
        resumed, _ = train(spec, *data, plan_of(name), checkpoint=copy, resume=True)
        pairs = zip(generator.state_dict().values(), resumed.state_dict().values(), strict=True)
        same = all(torch.equal(a, b) for a, b in pairs)
        found[name] = {"told": told, "same": same, "validation": [epoch.validation for epoch in history]}
        if group.leads:
            save(folder / f"{name}.safetensors", generator)
    spec = toy("conv1.5d-boundary")
    stop = TrainingPlan(epochs=400, patience=3, learning_rate=0.3, final_learning_rate=0.3, device="cpu", threads=1)
    _, history = train(spec, *waves(spec, 10), stop)
    found["stopped"] = len(history)
    if group.rank == 1:
        time.sleep(0.3)  # clocks that differ
    _, history = train(spec, *waves(spec, 10), TrainingPlan(seconds=0.2, device="cpu", threads=1))
    found["timed"] = len(history)
    (folder / f"rank{group.rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have worked."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PMIX_"))}
    environment |= {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, str(ROOT / "environment/bin/torchrun"), "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, __file__, str(folder)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[:3000]
    return folder


def test_ranks_talk(ran: Path) -> None:
    first, second = (json.loads((ran / f"rank{rank}.json").read_text()) for rank in (0, 1))
    for found in (first, second):
        assert found["size"] == 2 and found["agree"] == 7.5 and found["broadcast"] == [1.0]
        assert found["average"] == [[0.5], [1.0]]
    assert (first["share"], second["share"]) == ([0, 2, 4], [1, 3])
    assert (first["gradient"], second["gradient"]) == ([3.0, 3.0], [6.0, 6.0])


def test_ranks_agree_when_to_stop(ran: Path) -> None:
    first, second = (json.loads((ran / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first["stopped"] == second["stopped"] < 400
    assert first["timed"] == second["timed"] > 0


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_the_weights_of_one(ran: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apart from rounding: sums in another order, through three epochs of Adam."""
    monkeypatch.setattr(task, "mean_absolute", squares)
    model, variant, num, _ = CASES[name]
    spec = toy(model, variant=variant)
    single, history = train(spec, *waves(spec, num), plan_of(name))
    both, _ = load(ran / f"{name}.safetensors")
    for entry, tensor in single.state_dict().items():
        torch.testing.assert_close(both.state_dict()[entry], tensor, rtol=1e-4, atol=1e-5, msg=entry)
    first, second = (json.loads((ran / f"rank{rank}.json").read_text())[name] for rank in (0, 1))
    assert first["validation"] == second["validation"]
    assert first["validation"] == pytest.approx([epoch.validation for epoch in history], rel=1e-4)
    assert first["told"] == [1, 2, 3] and second["told"] == []
    assert first["same"] and second["same"]  # resumed after two epochs, to the bit


def test_a_group_of_one_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_current", None)
    monkeypatch.delenv("RANK", raising=False)
    group = current_group()
    assert group.size == 1 and group.leads and current_group() is group
    x = torch.arange(3.0, requires_grad=True)
    assert group.share(x) is x and sum_over_ranks(x, group) is x and group.agree(1.5) == 1.5
    layer = torch.nn.Linear(2, 1)
    group.average([x])
    group.broadcast(layer)
    group.average_gradients(layer)
    assert layer.weight.grad is None
    assert torch.equal(group.total(x), x)


def test_bad_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"rank must be within 0\.\.1, got 2"):
        Group(2, 2)
    monkeypatch.setattr(distributed, "_current", None)
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DistributedError, match="must be integers .*; start with torchrun"):
        current_group()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr("torch.distributed.is_gloo_available", lambda: False)
    with pytest.raises(DistributedError, match="built without gloo and cannot connect processes"):
        current_group()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert current_group().size == 1


if __name__ == "__main__":
    work(Path(sys.argv[1]))
