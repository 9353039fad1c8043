"""Time and memory of training on more and more images: mapped from their file, and read into memory.

Each measurement is a whole training run in a fresh process, on an .npz file of random images.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from joulebit.bench.fresh_process import measured_by

_SIDE, _CHANNELS, _CLASSES = 32, 3, 10
_TESTED = 500
_LOOK_EVERY = 16  # steps between looks at the memory


def write_images(path: Path, images: int, compressed: bool = False) -> int:
    """An .npz file of random images 32 x 32 x 3, written in pieces; returns the bytes of its training images."""
    rng = np.random.default_rng(0)
    shape = (images, _SIDE, _SIDE, _CHANNELS)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        x = np.lib.format.open_memmap(Path(folder) / "x.npy", "w+", np.uint8, shape)
        for start in range(0, images, 4096):
            x[start : start + 4096] = rng.integers(0, 256, x[start : start + 4096].shape, np.uint8)
        (np.savez_compressed if compressed else np.savez)(
            path,
            x_train=x,
            y_train=rng.permutation(np.arange(images) % _CLASSES),
            x_test=np.array(x[:_TESTED]),
            y_test=np.arange(_TESTED) % _CLASSES,
        )
    return images * _SIDE * _SIDE * _CHANNELS


def bench_data(path: Path) -> dict[str, Any]:
    """One epoch of LeNet-5 on an .npz file.

    Returns:
        epoch_s: seconds of the epoch's steps. memory_bytes: the most that the process had of its own at any look.
        mapped_bytes: the most resident pages of files, the data set's among them, which the system takes back when
        it needs room. peak_bytes: of both at once.
    """
    found: dict[str, Any] = measured_by("joulebit.bench.data", path)
    return found


class _Watch:
    """Implements `joulebit.train.progress.Progress`: the time of the steps, and the memory that Linux reports."""

    def __init__(self) -> None:
        self.memory_bytes = self.mapped_bytes = 0
        self.epoch_s = 0.0
        self._started = 0.0

    def start(self, total_steps: int, done: int) -> None:
        self._started = time.perf_counter()

    def update(self, step: int, loss: float, accuracy: float, energy_j: float) -> None:
        self.epoch_s = time.perf_counter() - self._started
        if step % _LOOK_EVERY == 0:
            self.look()

    def evaluation(self, step: int, top1: float, top5: float) -> None:
        self.look()

    def finish(self) -> None:
        self.look()

    def look(self) -> None:
        """Reads /proc/self/status."""
        self.memory_bytes = max(self.memory_bytes, _status("RssAnon"))
        self.mapped_bytes = max(self.mapped_bytes, _status("RssFile"))


def _status(name: str) -> int:
    """A line of /proc/self/status, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024


def _train(path: Path) -> dict[str, Any]:
    from joulebit.experiments.config import load_config
    from joulebit.experiments.run import run_training
    from joulebit.experiments.rundir import RunDirectory

    config = load_config(
        "digits-lenet-fixed",
        [f'data.name="npz:{path}"', "training.epochs=1", "training.batch_size=128"],
    )
    watch = _Watch()
    with (
        tempfile.TemporaryDirectory() as folder,
        RunDirectory.create(Path(folder) / "run", config) as run,
    ):
        run_training(config, run, progress=watch)
    return {
        "epoch_s": watch.epoch_s,
        "memory_bytes": watch.memory_bytes,
        "mapped_bytes": watch.mapped_bytes,
        "peak_bytes": _status("VmHWM"),
    }


if __name__ == "__main__":
    print(json.dumps(_train(Path(sys.argv[1]))))
