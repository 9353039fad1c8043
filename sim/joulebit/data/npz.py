"""A user's own images from one .npz file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from joulebit.data.dataset import Dataset, Split, check_labels
from joulebit.data.errors import DataError, damaged
from joulebit.data.mapped import map_member

KEYS = ("x_train", "y_train", "x_test", "y_test")
_CONTENT = "uint8 images x_train, x_test [N, H, W] or [N, H, W, C] and integer labels y_train, y_test [N]"


def load_npz(path: Path) -> Dataset:
    """The data set in an .npz file with ``x_train``, ``y_train``, ``x_test``, ``y_test``; no pickle is loaded.

    Images that `np.savez` wrote (not compressed) stay in the file, mapped into memory, whatever their number.

    Images are uint8 [N, H, W, C], or [N, H, W] for one channel; labels are integers from 0. There are as many
    classes as the largest training label says, plus one.

    Raises:
        DataError: the file is missing or damaged, or an array is missing or of another type or shape.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected an .npz file with {_CONTENT}")
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise damaged(path, "a single array", f"an .npz file with {_CONTENT}")
        with stored:
            missing = [key for key in KEYS if key not in stored.files]
            if missing:
                raise damaged(path, f"no {', '.join(missing)} in it", _CONTENT)
            arrays = {key: _array(path, stored, key) for key in KEYS}
    except DataError:
        raise
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise damaged(path, f"cannot be read ({reason})", f"an .npz file with {_CONTENT}") from None
    train = _split(path, arrays, "train")
    test = _split(path, arrays, "test")
    classes = int(train.labels.max()) + 1
    if test.images.shape[1:] != train.images.shape[1:]:
        raise damaged(path, f"x_test {list(test.images.shape)}", f"images like x_train {list(train.images.shape)}")
    for part, split in (("y_train", train), ("y_test", test)):
        check_labels(split.labels, classes, f"{path} ({part})")
    height, width, channels = train.images.shape[1:]
    return Dataset(f"npz:{path}", classes, train, test, (height, width, channels))


def _array(path: Path, stored: Any, key: str) -> Any:
    """Images stay in the file where that is possible."""
    mapped = map_member(path, key) if key.startswith("x_") else None
    return stored[key] if mapped is None else mapped


def _split(path: Path, arrays: dict[str, Any], part: str) -> Split:
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        expected = "uint8 [N, H, W] or [N, H, W, C], not empty"
        raise damaged(path, f"x_{part} is {images.dtype} {list(images.shape)}", expected)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        came = f"y_{part} is {labels.dtype} {list(labels.shape)}"
        raise damaged(path, came, f"integers [{len(images)}]")
    if labels.dtype == np.uint64 and int(labels.max()) > np.iinfo(np.int64).max:
        raise damaged(path, f"y_{part} has label {int(labels.max())}", "labels counted from 0")
    if images.ndim == 3:
        images = images[..., None]
    return Split(images, labels.astype(np.int64))
