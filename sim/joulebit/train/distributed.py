"""Workers that torchrun started: `joulebit.nn.workers.Workers` over torch.distributed.

    torchrun --nproc-per-node 4 -m joulebit.cli train PRESET

torchrun gives each process RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT; without them there is
one worker, and nothing of torch is imported. All messages are int64 arrays in the memory of the processor, sent by
gloo. With the backend nccl the large sum at the end of a step goes between CUDA devices instead; that was checked
with emulated devices and gloo in nccl's place, not yet between GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from joulebit.errors import JoulebitError
from joulebit.kernels.workers import available_cpus
from joulebit.nn.workers import OneWorker, Workers

Int64Array = NDArray[np.int64]
T = TypeVar("T")

BACKENDS = ("gloo", "nccl")
TIMEOUT_S = 300.0  #: long enough for a first compilation of the kernels on a loaded machine


class WorkerLostError(JoulebitError):
    """Another worker died or does not answer; this one cannot go on."""

    exit_code = 75  #: try again: EX_TEMPFAIL of sysexits.h


@contextmanager
def joined(timeout_s: float = TIMEOUT_S, backend: str = "gloo") -> Iterator[Workers]:
    """The workers of this run: those that torchrun started, or one.

    Of an error that ends several workers, only the first to get here is raised; the others exit with its code and
    say nothing.

    Args:
        timeout_s: how long a worker may keep the others waiting.
        backend: gloo or nccl.

    Raises:
        JoulebitError: the environment is not whole, or the workers do not meet.
    """
    size = _from_environment("WORLD_SIZE", 1)
    if size <= 1:
        yield OneWorker()
        return
    workers = _join(size, timeout_s, backend)
    try:
        yield workers
    except BaseException as error:
        if not workers.is_first_to_end():
            raise SystemExit(getattr(error, "exit_code", 70)) from error
        raise
    workers.leave()


class DistributedWorkers:
    """`Workers` by torch.distributed, whose process group exists."""

    def __init__(self, rank: int, size: int, threads: int, timeout_s: float, store: Any, device: Any) -> None:
        self.rank = rank
        self.size = size
        self.threads: int | None = threads
        self._timeout_s = timeout_s
        self._store = store
        self._device = device

    def sum(self, values: Int64Array) -> Int64Array:
        """`Workers.sum`; WorkerLostError like all exchanges."""
        import torch
        import torch.distributed as dist

        total = torch.from_numpy(np.array(values, np.int64)).to(self._device)
        with self._contact():
            dist.all_reduce(total)
        return np.asarray(total.cpu().numpy())

    def gather(self, values: Int64Array) -> Int64Array:
        import torch
        import torch.distributed as dist

        own = torch.from_numpy(np.ascontiguousarray(values, np.int64))
        every = torch.empty((self.size, own.numel()), dtype=torch.int64)
        with self._contact():
            dist.all_gather(list(every), own)
        return np.asarray(every.numpy())

    def broadcast(self, value: T) -> T:
        import torch.distributed as dist

        box = [value]
        with self._contact():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def leave(self) -> None:
        """After the last exchange."""
        import torch.distributed as dist

        dist.destroy_process_group()

    def is_first_to_end(self) -> bool:
        """Whether no other worker has asked this before; also True where that cannot be found out."""
        try:
            return int(self._store.add("joulebit-ended", 1)) == 1
        except RuntimeError:
            return True

    @contextmanager
    def _contact(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise WorkerLostError(
                f"lost contact with another of {self.size} workers: it died, or kept worker {self.rank} waiting "
                f"for {self._timeout_s:g} s"
            ) from error


def _join(size: int, timeout_s: float, backend: str) -> DistributedWorkers:
    rank, local_rank = _from_environment("RANK"), _from_environment("LOCAL_RANK", 0)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise JoulebitError(f"WORLD_SIZE is {size}, but {name} is not set: start the workers by torchrun")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a lost worker is told in one line, by us
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")  # else nccl ends a process that waits too long
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    neighbours = max(_from_environment("LOCAL_WORLD_SIZE", 1), local_rank + 1)
    threads = max(1, available_cpus() // neighbours)
    torch.set_num_threads(threads)
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if backend == "nccl" and not devices:
        raise JoulebitError("backend nccl needs a CUDA device, and torch finds none: use gloo")
    if backend == "nccl" and neighbours > devices:
        raise JoulebitError(
            f"backend nccl needs a CUDA device for each worker, {neighbours} workers here have {devices}: "
            "start fewer, or use gloo, with which they share"
        )
    if devices:
        torch.cuda.set_device(local_rank % devices)
    device = torch.device("cuda", local_rank) if backend == "nccl" else torch.device("cpu")
    timeout = timedelta(seconds=timeout_s)
    try:
        shared, _, _ = next(rendezvous("env://", rank, size, timeout=timeout))
        shared.set_timeout(timeout)
        # After a restart by torchrun the store may still hold the addresses of workers that are gone.
        store = dist.PrefixStore(f"joulebit{_from_environment('TORCHELASTIC_RESTART_COUNT', 0)}", shared)
        kinds = "cpu:gloo,cuda:nccl" if backend == "nccl" else "gloo"
        dist.init_process_group(kinds, store=store, rank=rank, world_size=size, timeout=timeout)
        if backend == "nccl":  # which connects the workers at their first sum
            dist.all_reduce(torch.zeros(1, dtype=torch.int64, device=device))
    except (RuntimeError, ValueError) as error:
        raise JoulebitError(
            f"the {size} workers did not meet at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} within "
            f"{timeout_s:g} s: {str(error).splitlines()[0]}"
        ) from error
    return DistributedWorkers(rank, size, threads, timeout_s, store, device)


def _from_environment(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "")
    if not text and default is not None:
        return default
    if not text.isdecimal():
        raise JoulebitError(f"{name} must be an integer, got {text!r}: start the workers by torchrun")
    return int(text)
