"""The folder of one run: plain files, complete in themselves, safe against a crash at any moment.

    config.toml          the resolved configuration
    run.json             versions, platform, engine, hashes; one entry per start
    metrics.jsonl        one JSON object per line, append-only
    checkpoints/         step-0000001234.npz, the last two
    weights.npz          the trained parameters
    summary.json         the result; present when the run is finished
    .lock                held by the process that writes here

What was appended to metrics.jsonl before a checkpoint belongs to it: a resumed run cuts the file there, so that it
goes on exactly as an uninterrupted one would have. Checkpoints, the summary and the weights appear whole or not at
all.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import joulebit
from joulebit.errors import JoulebitError
from joulebit.experiments.arrays import Arrays, DamagedFileError, read_arrays, replace_file, write_arrays
from joulebit.experiments.config import RunConfig, config_hash, differences, load_config, to_toml

CONFIG, RUN, METRICS, SUMMARY = "config.toml", "run.json", "metrics.jsonl", "summary.json"
WEIGHTS, CHECKPOINTS, LOCK = "weights.npz", "checkpoints", ".lock"
CHECKPOINTS_KEPT = 2
PACKAGES = ("numpy", "numba", "torch", "scipy", "attrs", "cattrs")


class RunDirectoryError(JoulebitError):
    """A run directory cannot be used as asked. One line: which, why, what to do."""


class RunDirectoryBusyError(RunDirectoryError):
    """Another process writes there."""


class RunDirectoryWarning(UserWarning):
    """Something in a run directory was damaged and could be made good."""


class Checkpoint(NamedTuple):
    """The state of a run after `step` steps."""

    step: int
    arrays: Arrays
    meta: dict[str, Any]


class RunDirectory:
    """One run's folder, opened by `create` or `open_for_resume`; a context manager that releases the lock."""

    def __init__(self, path: Path, config: RunConfig, lock: IO[bytes]) -> None:
        self.path = path
        self.config = config
        self._lock = lock
        self._metrics: IO[bytes] | None = None

    @classmethod
    def create(cls, path: Path | str, config: RunConfig, workers: int = 1) -> RunDirectory:
        """A new run in an absent or empty folder, to be trained by so many workers."""
        path = Path(path)
        with _explained(path, "create"):
            path.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(path)
        try:
            if (path / CONFIG).exists():
                state = "a finished run" if (path / SUMMARY).exists() else "an unfinished run"
                raise RunDirectoryError(f"{path} holds {state}: go on with --resume, or name another by --run-dir")
            others = sorted(file.name for file in path.iterdir() if file.name != LOCK)
            if others:
                raise RunDirectoryError(f"{path} is not empty (it holds {others[0]}): name another by --run-dir")
            run = cls(path, config, lock)
            with _explained(path, "write"):
                (path / CHECKPOINTS).mkdir()
                _write_json(path / RUN, {**_start(config, workers), "resumed": []})
                # Last, since it is what makes this folder a run.
                replace_file(path / CONFIG, lambda file: file.write(to_toml(config).encode()))
        except BaseException:
            lock.close()
            raise
        return run

    @classmethod
    def open_for_resume(cls, path: Path | str, config: RunConfig | None = None, workers: int = 1) -> RunDirectory:
        """An existing run, to be continued; with `config`, only if that describes the same run.

        Another integer engine and another number of workers are the same run, since they compute the same bits.
        """
        path = Path(path)
        if not holds_run(path):
            raise RunDirectoryError(f"{path} holds no run to resume ({CONFIG} is missing)")
        saved = load_config(path / CONFIG)
        if config is not None and config_hash(config) != config_hash(saved):
            changed = "; ".join(differences(saved, config))
            raise RunDirectoryError(f"{path} holds another run, which cannot be resumed with: {changed}")
        lock = _take_lock(path)
        try:
            run = cls(path, config or saved, lock)
            if not run.finished:
                run._note_resume(workers)
        except BaseException:
            lock.close()
            raise
        return run

    def close(self) -> None:
        """Releases the lock; nothing can be written any more."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        self._lock.close()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def discard_if_unused(self) -> None:
        """Removes the folder if no step was ever saved in it: a run that could not start leaves nothing behind."""
        if self._checkpoints() or (self.path / METRICS).exists() or self.finished:
            return
        with _explained(self.path, "remove"):
            for name in (CONFIG, RUN, LOCK):
                (self.path / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (self.path / CHECKPOINTS).rmdir()
                self.path.rmdir()

    @property
    def finished(self) -> bool:
        return (self.path / SUMMARY).is_file()

    # --- metrics -------------------------------------------------------------------------------------------------

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl. numpy values become numbers and lists; NaN and infinity become null."""
        line = json.dumps(jsonable(record), allow_nan=False, separators=(", ", ": ")) + "\n"
        with _explained(self.path, "write"):
            if self._metrics is None:
                self._metrics = open(self.path / METRICS, "ab")  # noqa: SIM115  (closed by close)
            self._metrics.write(line.encode())
            self._metrics.flush()

    def _sync_metrics(self) -> int:
        """Puts all lines on the disk for good; the file's size."""
        if self._metrics is not None:
            os.fsync(self._metrics.fileno())
        file = self.path / METRICS
        return file.stat().st_size if file.exists() else 0

    def _cut_metrics(self, size: int) -> None:
        """Forgets what was written after the first `size` bytes, and a last line that is not whole."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        file = self.path / METRICS
        if not file.exists():
            if size:
                warnings.warn(f"{file} is missing: metrics before the checkpoint are lost", RunDirectoryWarning, 3)
            return
        if file.stat().st_size < size:
            warnings.warn(
                f"{file} is shorter than the checkpoint says: some metrics are lost", RunDirectoryWarning, 3
            )
        content = file.read_bytes()[:size]
        whole = content.rfind(b"\n") + 1
        with open(file, "r+b") as handle:
            handle.truncate(whole)
            os.fsync(handle.fileno())

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def save_checkpoint(self, step: int, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> Path:
        """The state after `step` steps; older checkpoints but the one before are removed once it is safe.

        Args:
            step: steps done, at least 0.
            arrays: any names, no object arrays.
            meta: whatever fits JSON: counters, the state of schedules.
        """
        file = self.path / CHECKPOINTS / f"step-{step:010d}.npz"
        with _explained(self.path, "save a checkpoint to", "the checkpoint before is whole"):
            header = {"step": step, "meta": jsonable(meta), "metrics_bytes": self._sync_metrics()}
            write_arrays(file, arrays, header)
            for old in self._checkpoints()[CHECKPOINTS_KEPT:]:
                old.unlink()
        return file

    def load_latest_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that is whole (None: begin at step 0), with metrics.jsonl cut back to it.

        A damaged one is left out with a warning; when all are damaged, that is an error.
        """
        files = self._checkpoints()
        for file in files:
            try:
                arrays, header = read_arrays(file)
                checkpoint = Checkpoint(int(header["step"]), arrays, dict(header["meta"]))
                size = int(header["metrics_bytes"])
            except (DamagedFileError, KeyError) as error:
                warnings.warn(f"{error}; going back to the checkpoint before", RunDirectoryWarning, 2)
                continue
            with _explained(self.path, "write"):
                self._cut_metrics(size)
            return checkpoint
        if files:
            raise RunDirectoryError(
                f"{self.path / CHECKPOINTS}: every checkpoint is damaged: start anew elsewhere"
            )
        with _explained(self.path, "write"):
            self._cut_metrics(0)
        return None

    def _checkpoints(self) -> list[Path]:
        """Newest first."""
        files = (self.path / CHECKPOINTS).glob("step-*.npz")
        return sorted((f for f in files if re.fullmatch(r"step-\d{10}\.npz", f.name)), reverse=True)

    # --- results -------------------------------------------------------------------------------------------------

    def write_weights(self, arrays: Mapping[str, NDArray[Any]]) -> Path:
        """weights.npz: the trained parameters by name."""
        with _explained(self.path, "save the weights to", "the last checkpoint is whole"):
            write_arrays(self.path / WEIGHTS, arrays, {"kind": "weights", "config_hash": config_hash(self.config)})
        return self.path / WEIGHTS

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """summary.json, which marks the run as finished."""
        self._sync_metrics()
        with _explained(self.path, "write the summary to", "the last checkpoint is whole"):
            _write_json(self.path / SUMMARY, jsonable(summary))

    def _note_resume(self, workers: int) -> None:
        """Adds this start to run.json, and warns where it is not like the first one."""
        with _explained(self.path, "write"):
            try:
                record = json.loads((self.path / RUN).read_text())
            except (OSError, ValueError):
                warnings.warn(f"{self.path / RUN} is missing or damaged: written anew", RunDirectoryWarning, 3)
                record = {**_start(self.config, workers), "resumed": []}
            now = _start(self.config, workers)
            if record.get("spec_sha256") != now["spec_sha256"]:
                warnings.warn(
                    f"{self.path} was begun under another numeric specification: its result may belong to neither",
                    RunDirectoryWarning,
                    3,
                )
            _write_json(self.path / RUN, {**record, "resumed": [*record.get("resumed", []), now]})


# --- reading runs, without a lock --------------------------------------------------------------------------------


def holds_run(path: Path | str) -> bool:
    """Whether a folder is a run, finished or not."""
    return (Path(path) / CONFIG).is_file()


def read_summary(path: Path | str) -> dict[str, Any]:
    """summary.json of a finished run; RunDirectoryError when there is none."""
    file = Path(path) / SUMMARY
    try:
        summary = json.loads(file.read_text())
    except FileNotFoundError:
        what = "is not finished: go on with --resume" if holds_run(path) else "holds no run"
        raise RunDirectoryError(f"{path} {what} ({SUMMARY} is missing)") from None
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{file} cannot be read: {error}") from None
    if not isinstance(summary, dict):
        raise RunDirectoryError(f"{file} must hold one JSON object")
    return summary


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """All whole lines of metrics.jsonl; a torn last line is left out, any other damage is an error."""
    file = Path(path) / METRICS
    if not file.exists():
        return []
    lines = file.read_bytes().split(b"\n")[:-1]
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            raise RunDirectoryError(f"{file}: line {number} is no JSON") from None
    return records


def read_config(path: Path | str) -> RunConfig:
    """The resolved configuration of a run."""
    return load_config(Path(path) / CONFIG)


def read_weights(path: Path | str) -> Arrays:
    """The weights of a run directory or of a weights.npz."""
    file = Path(path).expanduser()
    file = file / WEIGHTS if file.is_dir() else file
    try:
        return read_arrays(file)[0]
    except FileNotFoundError:
        raise RunDirectoryError(f"{file}: no such file: weights come from a finished run") from None
    except DamagedFileError as error:
        raise RunDirectoryError(str(error)) from None


# --- helpers -----------------------------------------------------------------------------------------------------


def _take_lock(path: Path) -> IO[bytes]:
    """The lock of a folder, held until the file is closed or the process ends, however it ends."""
    import fcntl

    with _explained(path, "write"):
        lock = open(path / LOCK, "a+b")  # noqa: SIM115  (open as long as it is held)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read(20).decode(errors="replace").strip() or "unknown"
        lock.close()
        raise RunDirectoryBusyError(
            f"{path} is being written by another process (pid {owner}): wait, or stop it"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n".encode())
    lock.flush()
    return lock


@contextlib.contextmanager
def _explained(path: Path, action: str, comfort: str = "") -> Iterator[None]:
    """Turns an OSError (disk full, no permission) into one line."""
    try:
        yield
    except OSError as error:
        tail = f"; {comfort}: make room and go on with --resume" if comfort else ""
        raise RunDirectoryError(f"cannot {action} {path}: {error.strerror or error}{tail}") from error


def _start(config: RunConfig, workers: int) -> dict[str, Any]:
    """Who runs what, where, since when."""
    versions = {"joulebit": joulebit.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "config_hash": config_hash(config),
        "engine": config.engine,
        "workers": workers,
        "spec_sha256": spec_sha256(),
        "versions": versions,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "byteorder": sys.byteorder,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def spec_sha256() -> str:
    """SHA-256 (hex) of the numeric specification that this package implements."""
    file = Path(joulebit.__file__).parent / "spec" / "numerics.md"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    replace_file(path, lambda file: file.write(text.encode()))


def jsonable(value: Any) -> Any:
    """value in what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
