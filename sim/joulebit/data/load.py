"""Data sets by name."""

from __future__ import annotations

import dataclasses
import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from joulebit.data.cifar import CIFAR10, CIFAR100, find_cifar, load_cifar
from joulebit.data.dataset import Dataset, Split
from joulebit.data.digits import load_digits
from joulebit.data.download import download as download_files
from joulebit.data.errors import DataError
from joulebit.data.idx import find_mnist, load_mnist
from joulebit.data.npz import load_npz
from joulebit.data.resize import enlarge_bilinear, grey_to_rgb, pad_to
from joulebit.data.sources import RESOURCES

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

ENVIRONMENT_VARIABLE = "JOULEBIT_DATA_DIR"
NPZ_PREFIX = "npz:"
DATASETS = ("digits", "digits32", "mnist", "mnist32", "cifar10", "cifar100")


def resolve_data_dir(data_dir: Path | str | None = None) -> Path:
    """The argument, else the environment variable JOULEBIT_DATA_DIR, else ``~/.cache/joulebit``."""
    chosen = data_dir if data_dir is not None else os.environ.get(ENVIRONMENT_VARIABLE) or "~/.cache/joulebit"
    return Path(chosen).expanduser()


def load_dataset(
    name: str, data_dir: Path | str | None = None, download: bool = False, show_progress: bool = True
) -> Dataset:
    """A data set by name.

    ========== ============ ======= ==============================================================
    name       image shape  classes what
    ========== ============ ======= ==============================================================
    digits     (8, 8, 1)    10      1,437 + 360 real handwritten digits, shipped with the package
    digits32   (32, 32, 3)  10      the same, enlarged by bilinear interpolation in integers
    mnist      (28, 28, 1)  10      60,000 + 10,000, from the IDX files
    mnist32    (32, 32, 3)  10      the same with a black border of 2, three equal channels
    cifar10    (32, 32, 3)  10      50,000 + 10,000, from the binary or Python files
    cifar100   (32, 32, 3)  100     50,000 + 10,000, fine labels
    npz:PATH   any          any     a file with x_train, y_train, x_test, y_test
    ========== ============ ======= ==============================================================

    Args:
        name: as in the table.
        data_dir: where the files lie; see :func:`resolve_data_dir`.
        download: fetch missing files of mnist and CIFAR (binary version) into the data directory.
        show_progress: show a bar on stderr while downloading.

    Raises:
        DataError: unknown name, or files that are missing or damaged.
    """
    if name.startswith(NPZ_PREFIX):
        return load_npz(Path(name[len(NPZ_PREFIX) :]).expanduser())
    if name not in DATASETS:
        nearest = difflib.get_close_matches(name.lower(), DATASETS, 1, 0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        known = ", ".join(DATASETS)
        raise DataError(f"unknown data set {name!r}; {hint}known: {known}, or npz:PATH for a file of your own")
    folder = resolve_data_dir(data_dir)
    base = name[:-2] if name.endswith("32") else name
    if base != "digits":
        _require(base, folder, download, show_progress)
    if base == "digits":
        dataset = load_digits()
    elif base == "mnist":
        dataset = load_mnist(folder)
    else:
        dataset = load_cifar(folder, CIFAR10 if base == "cifar10" else CIFAR100)
    if name == "digits32":
        return _converted(dataset, name, lambda images: grey_to_rgb(enlarge_bilinear(images, 4)))
    if name == "mnist32":
        return _converted(dataset, name, lambda images: grey_to_rgb(pad_to(images, 32)))
    return dataset


def _require(base: str, folder: Path, download: bool, show_progress: bool) -> None:
    """Downloads what is missing, where that is allowed; else a missing data directory is an error."""
    if download:
        if base == "mnist":
            found = find_mnist(folder)
            names = {path.name.replace(".idx", "-idx").removesuffix(".gz") for path in found.values()}
            missing = [r for r in RESOURCES[base] if Path(r.path).name.removesuffix(".gz") not in names]
        else:
            present = find_cifar(folder, CIFAR10 if base == "cifar10" else CIFAR100) is not None
            missing = [] if present else list(RESOURCES[base])
        download_files(missing, folder, show_progress)
    elif not folder.is_dir():
        raise DataError(
            f"data directory {folder} does not exist; name one by data_dir or {ENVIRONMENT_VARIABLE}, "
            "or let `joulebit train --download` fetch it (load_dataset(..., download=True))"
        )


def _converted(
    dataset: Dataset, name: str, convert: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
) -> Dataset:
    """The data set with other images, under another name."""
    train = Split(convert(dataset.train.images), dataset.train.labels)
    test = Split(convert(dataset.test.images), dataset.test.labels)
    height, width, channels = train.images.shape[1:]
    return dataclasses.replace(dataset, name=name, train=train, test=test, image_shape=(height, width, channels))
