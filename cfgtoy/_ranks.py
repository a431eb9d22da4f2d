"""The processes that torchrun started, or this one alone."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous


def pick_device(name: str = "auto") -> torch.device:
    """The device called ``name``; ``auto`` is a GPU where there is one. ``ValueError`` where it is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is not None:
            # first of all: whatever uses CUDA opens a context on the present GPU
            torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, AttributeError, NotImplementedError) as error:
        raise ValueError(f"device: got {name!r}, which is not here ({str(error).splitlines()[0]})") from error
    return device


class Ranks:
    """This process, ``rank`` of ``world``, among those of torchrun: each has a GPU of its own where there are GPUs.

    One waits ``timeout`` seconds for the others before it gives up. Errors as :func:`pick_device`.
    """

    def __init__(self, device: str, timeout: float = 600.0) -> None:
        self.world, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        device = pick_device(device).type if device == "auto" else device
        if device.startswith("cuda"):
            device = f"cuda:{os.environ.get('LOCAL_RANK') or device.partition(':')[2] or 0}"
        self.device = pick_device(device)
        self._started = self.world > 1 and not dist.is_initialized()
        if self._started:
            patience = timedelta(seconds=timeout)
            store, *_ = next(rendezvous("env://", self.rank, self.world, timeout=patience))
            # torchrun may hand a restarted group the store of the one that died, stale addresses included
            store = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            dist.init_process_group(backend, None, patience, self.world, self.rank, store)

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def gpus(self) -> int:
        """GPUs at work, over all processes."""
        return self.world if self.device.type == "cuda" else 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def gather(self, part: Tensor) -> list[Tensor]:
        """The tensors of all ranks, in order, on this rank's device; they may differ in their number of rows."""
        if self.world == 1:
            return [part]
        part = part.to(self.device)
        sizes = torch.zeros(self.world, dtype=torch.int64, device=self.device)
        sizes[self.rank] = len(part)
        counts = self.sum(sizes).tolist()
        padded = torch.cat([part, part.new_zeros(max(counts) - len(part), *part.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return [one[:count] for one, count in zip(parts, counts, strict=True)]

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world > 1:
            dist.barrier()

    def close(self) -> None:
        if self._started and dist.is_initialized():
            dist.destroy_process_group()
