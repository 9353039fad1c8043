"""Has the runs of a sweep done on a Dask cluster: this machine's processors by default.

At most a few runs per worker wait at the scheduler, so that 100,000 of them burden nobody. A worker that dies has
its run taken up by another, from the last checkpoint; a run that fails is tried again, and at last written down as
failed while the others go on.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from joulebit.errors import JoulebitError
from joulebit.experiments.config import as_table
from joulebit.experiments.rundir import RunDirectoryBusyError
from joulebit.experiments.sweep.grid import Point
from joulebit.experiments.sweep.journal import Journal
from joulebit.experiments.sweep.worker import NEWS, run_point

__all__ = ["ClusterLostError", "SweepProgress", "cluster", "execute"]

_DEATHS = 20  # of workers that one run may see before it counts as failed
_WAITING = 2  # runs at the scheduler for each worker
_CONNECT_S = 20
_PATIENCE_S = 1.0  # between looks at a cluster that is silent
_RESIZED_S = 5.0  # between looks at how large it is
_RETRY_S = 1.0  # before a run that failed is tried again
_BUSY_S = 10.0  # before one that another process works on


class ClusterLostError(JoulebitError):
    """The scheduler is gone. What was finished is kept."""


class SweepProgress(Protocol):
    """Receives news of a sweep."""

    def ended(self, row: Mapping[str, Any]) -> None:
        """A run is done or has failed for good."""
        ...

    def failed(self, key: str, error: str, attempt: int) -> None:
        """A run failed and is tried again."""
        ...

    def running(self, shares: Mapping[str, float]) -> None:
        """How far the runs in hand are, as fractions of 1 by key."""
        ...


@contextmanager
def cluster(workers: int, scheduler: str | None = None) -> Iterator[Any]:
    """A Dask client: of the scheduler at an address, or of `workers` processes on this machine.

    Raises:
        JoulebitError: Dask is not installed, or the scheduler does not answer.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise JoulebitError(
            f"sweeps need the package {error.name!r}, which is not installed: pip install 'joulebit[sweep]'"
        ) from None
    settings = {"distributed.scheduler.allowed-failures": _DEATHS, "distributed.comm.timeouts.connect": _CONNECT_S}
    with dask.config.set(settings):
        if scheduler:
            try:
                client = Client(scheduler, timeout=_CONNECT_S)
            except (OSError, asyncio.TimeoutError, ValueError) as error:
                raise JoulebitError(
                    f"no Dask scheduler answers at {scheduler!r} ({error}): start one by `dask scheduler`, and "
                    "give its address such as tcp://host:8786"
                ) from None
            with client:
                yield client
            return
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        environment = {"NUMBA_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address=None,
                env=environment,
            ) as local,
            Client(local) as client,
        ):
            yield client


def execute(
    client: Any,
    points: list[Point],
    journal: Journal,
    folder: Path,
    data_dir: Path | None,
    progress: SweepProgress,
    retries: int = 2,
    task: Callable[[str, dict[str, Any], str, str | None], dict[str, Any]] = run_point,
) -> None:
    """Does every run that the journal does not have as done, and writes each result there.

    Args:
        client: of `cluster`. folder: where the runs' directories go, shared with all workers.
        retries: how often a run that raised an error is tried again.
        task: what a worker does; `run_point`.

    Raises:
        ClusterLostError: the scheduler is gone.
    """
    from distributed import CancelledError

    waiting = deque((point, 1, 0.0) for point in points if not journal.done(point.key))
    in_hand: dict[str, tuple[Point, int]] = {}
    shares: dict[str, float] = {}
    submissions = itertools.count()

    def heard(event: tuple[float, Any]) -> None:
        news = event[1]
        if isinstance(news, dict) and news.get("key") in in_hand:
            shares[news["key"]] = float(news["share"])

    def submit(point: Point, attempt: int) -> Any:
        in_hand[point.key] = (point, attempt)
        return client.submit(
            task,
            point.key,
            _table(point),
            str(run_folder(folder, point.key)),
            str(data_dir.resolve()) if data_dir else None,
            # one prefix for all: the scheduler keeps statistics of each prefix for ever
            key=f"run-{point.key}-{attempt}-{next(submissions)}",
        )

    futures: dict[Any, str] = {}
    client.subscribe_topic(NEWS, heard)
    try:
        room = _Room(client)
        while waiting or futures:
            for _ in range(min(len(waiting), room() - len(futures))):
                if waiting[0][2] > time.monotonic():
                    waiting.rotate(-1)  # tried a moment ago
                    continue
                point, attempt, _ = waiting.popleft()
                futures[submit(point, attempt)] = point.key
            for future in _ended(futures, client):
                key = futures.pop(future)
                point, attempt = in_hand.pop(key)
                shares.pop(key, None)
                row = {"key": key, "settings": point.settings, "seed": point.seed}
                if future.status == "finished":
                    row |= future.result()
                elif future.status != "error":
                    raise ClusterLostError(f"the cluster gave up a run (its state: {future.status})")
                else:
                    error = future.exception()
                    busy = isinstance(error, RunDirectoryBusyError)
                    if busy or attempt <= retries:
                        progress.failed(key, _one_line(error), attempt)
                        again = time.monotonic() + (_BUSY_S if busy else _RETRY_S)
                        waiting.append((point, attempt if busy else attempt + 1, again))
                        continue
                    folder_of_run = str(run_folder(folder, key))
                    row |= {"status": "failed", "run_dir": folder_of_run, "error": _one_line(error)}
                journal.add(row)
                progress.ended(row)
            progress.running(shares)
    except (CancelledError, OSError, asyncio.TimeoutError) as error:
        raise ClusterLostError(f"the cluster is gone: {_one_line(error)}") from error


def run_folder(folder: Path, key: str) -> Path:
    """Where a run lies: a folder for each of the first two digits keeps listings short."""
    return folder / "runs" / key[:2] / key[:16]


def _table(point: Point) -> dict[str, Any]:
    table = as_table(point.config)
    del table["training"]["epochs" if point.config.training.iterations else "iterations"]
    return table


class _Room:
    """How many runs may be at the scheduler; the cluster's size is asked for now and then, since it may change."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._asked = -math.inf
        self._room = 0

    def __call__(self) -> int:
        now = time.monotonic()
        if now - self._asked >= _RESIZED_S and self._client.status == "running":
            self._asked = now
            self._room = max(2, _WAITING * sum(self._client.nthreads().values()))
        return self._room


def _ended(futures: Mapping[Any, str], client: Any) -> list[Any]:
    """The futures that ended within a second, perhaps none."""
    from distributed import wait

    if not futures:
        time.sleep(_PATIENCE_S / 10)  # every run that is left was tried a moment ago
        return []
    try:
        return list(wait(list(futures), timeout=_PATIENCE_S, return_when="FIRST_COMPLETED").done)
    except asyncio.TimeoutError:  # Dask's; another than the built-in one in Python 3.10
        if client.status in ("closed", "closing"):
            raise ClusterLostError("the connection to the scheduler is closed") from None
        return []


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, JoulebitError) else f"{type(error).__name__}: {text}"[:500]
