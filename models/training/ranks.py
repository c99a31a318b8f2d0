"""Several processes that train one network, as ``torchrun`` starts them; a process by itself is one of one."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ...common.errors import UserError

__all__ = ["CPU", "Ranks", "started_ranks"]

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that train.

    Attributes
    ----------
    rank : 0..``count`` - 1
    device : that this process computes on
    """

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    @property
    def rows(self) -> slice:
        """The images of a batch that are this process's."""
        return slice(self.rank, None, self.count)

    def check(self, batch: int) -> None:
        """Raise `UserError` where a batch cannot be dealt out evenly, or not two images to each process."""
        if batch % self.count or batch < 2 * self.count:
            raise UserError(
                f"a batch of {batch} images cannot be dealt out evenly to {self.count} processes, two to each at least"
            )

    def shared(self, module: nn.Module, *, parted: bool = False) -> nn.Module:
        """``module``, whose gradients are the mean over all processes after ``backward``; ``parted``: a pass may leave
        some of its parameters out, the same in all processes."""
        if self.count == 1:
            return module
        devices = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=parted)

    def alone(self, shared: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """While the block runs, ``backward`` leaves each process with the gradients of its own images."""
        return shared.no_sync() if isinstance(shared, DistributedDataParallel) else contextlib.nullcontext()

    def summed(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()


@contextlib.contextmanager
def started_ranks() -> Iterator[Ranks]:
    """The processes that ``torchrun`` started, or this one; on its GPU where torch sees one."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else CPU
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(device=device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(rank=distributed.get_rank(), count=count, device=device)
    finally:
        distributed.destroy_process_group()
