"""One training on several processes or GPUs, as torchrun starts them.

    torchrun --nproc-per-node 2 -m submodel train cases/paper2d.toml ...

Every process holds the whole model and the whole data, takes its share of every batch, and ends each step with the
same averaged gradients; rank 0 writes files and reports. Without torchrun the group has one member and no call here
does anything.
"""

import os
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from networks.core.errors import NetworkError
from networks.core.sharing import unique_tensors


class DistributedError(NetworkError, RuntimeError):
    """The processes of one training cannot talk to each other; the message says why and what to do."""


class Group:
    """The processes of one training. Collective: every rank makes the same calls in the same order.

    Args:
        rank: of this process, from 0.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        if not 0 <= rank < size:
            raise ValueError(f"rank must be within 0..{size - 1}, got {rank}")
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """True on the process that writes files and reports. Local."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This rank's part of a batch (entry, ...): every `size`-th entry, none where there are too few. Local."""
        return batch[self.rank :: self.size] if self.size > 1 else batch

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their mean over the ranks, in place; one message for each dtype and device.

        Collective. Call it with the gradients between `backward` and the optimiser's step.

        Args:
            tensors: the same shapes in the same order on every rank.
        """
        if self.size == 1:
            return
        buckets: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            buckets.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        with torch.no_grad():
            for bucket in buckets.values():
                flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
                self.total(flat)
                flat /= self.size
                for tensor, values in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                    tensor.copy_(values.view(tensor.shape))

    def average_gradients(self, module: nn.Module) -> None:
        """Replace every parameter's gradient by its mean over the ranks; a missing one counts as zero. Collective."""
        if self.size == 1:
            return
        for parameter in module.parameters():
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.average(p.grad for p in module.parameters() if p.grad is not None)

    def total(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over the ranks, in place, and give it back. Collective."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def broadcast(self, module: nn.Module) -> None:
        """Give every rank the parameters and buffers of rank 0. Collective."""
        if self.size == 1:
            return
        with torch.no_grad():
            for tensor in unique_tensors(module).values():
                values = tensor.contiguous().clone()
                torch.distributed.broadcast(values, 0)
                tensor.copy_(values)

    def agree(self, value: float) -> float:
        """Rank 0's number on every rank: for clocks, limits and choices that differ between processes. Collective."""
        if self.size == 1:
            return value
        box = torch.tensor([value], dtype=torch.float64)
        torch.distributed.broadcast(box, 0)
        return float(box)


class _Sum(torch.autograd.Function):
    """Sum over the ranks; its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total


def sum_over_ranks(x: Tensor, group: Group) -> Tensor:
    """Sum of every rank's tensor, differentiable: statistics of a whole batch from its shares. Collective."""
    return x if group.size == 1 else cast(Tensor, _Sum.apply(x))


_current: Group | None = None


def current_group() -> Group:
    """The group that this process belongs to; of size 1 unless torchrun started it.

    The first call connects the processes: gloo for tensors on a CPU and nccl for those on a GPU, each process with
    a GPU of its own; gloo for both where processes share a GPU. Collective on the first call.

    Raises:
        DistributedError: torchrun's variables are not numbers, or this torch cannot connect processes.
    """
    global _current
    if _current is None:
        _current = _connect()
    return _current


def _connect() -> Group:
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Group()
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_RANK", "0"))
        neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", str(size)))
    except ValueError as error:
        raise DistributedError(
            f"RANK, WORLD_SIZE and LOCAL_RANK must be integers ({error}); start with torchrun"
        ) from None
    if size == 1:
        return Group()
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        raise DistributedError("this torch is built without gloo and cannot connect processes; train with one process")
    num_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if num_devices:
        torch.cuda.set_device(local % num_devices)
    own_device = 0 < neighbours <= num_devices and torch.distributed.is_nccl_available()
    if not torch.distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if own_device else "gloo"
        torch.distributed.init_process_group(backend, store=_store(rank, size), rank=rank, world_size=size)
    return Group(rank, size)


def _store(rank: int, size: int) -> torch.distributed.Store:
    """Store by which processes find each other: torchrun's own, or one of rank 0 where torchrun leaves it to us.

    Torch would ask for libuv here, which not every build has (Debian's has not); nothing is faster with it.
    """
    address, port = os.environ.get("MASTER_ADDR", "localhost"), os.environ.get("MASTER_PORT", "29500")
    theirs = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = torch.distributed.TCPStore(address, int(port), size, rank == 0 and not theirs, use_libuv=False)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store outlives a restart of the processes
    return torch.distributed.PrefixStore(f"submodel/{attempt}", store)
