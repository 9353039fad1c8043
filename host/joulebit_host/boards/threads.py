"""The threads of compiled kernels: one set for everything in this process that takes turns.

Threads without work look for some during a fraction of a millisecond before they sleep: a set each for a virtual
board and for the engine that drives it would keep the processors from one another.
"""

from __future__ import annotations

from functools import lru_cache

from joulebit.kernels.workers import Workers, available_cpus

__all__ = ["shared_workers"]

_PATIENCE_S = 1.5e-3  #: longer than the driver's own work between two kernels of a step


def shared_workers(count: int | None) -> Workers:
    """`count` threads, None: as many as there are processors; the same ones for the same number."""
    return _workers(available_cpus() if count is None else count)


@lru_cache(maxsize=4)
def _workers(count: int) -> Workers:
    return Workers(count, _PATIENCE_S)
