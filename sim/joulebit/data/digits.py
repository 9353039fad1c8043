"""The digits data set: 1,797 real handwritten digits of 8x8 pixels, shipped with the package.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, licence CC BY 4.0; the test part of it, as in scikit-learn's ``load_digits``.
``digits.npz`` is made from there by ``make_digits.py``, values unchanged (0 to 16).
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from joulebit.data.dataset import Dataset, Split
from joulebit.data.errors import DataError
from joulebit.data.splits import stratified_indices

if TYPE_CHECKING:
    import numpy.typing as npt

FILE = Path(__file__).with_name("digits.npz")
TEST_COUNT = 360
SPLIT_SEED = 0
_LEVELS = 16


def load_digits() -> Dataset:
    """1,437 training and 360 test images [N, 8, 8, 1], 10 classes, 35 to 37 test images each.

    Pixels are (255 v + 8) div 16 of the original v = 0 .. 16. The test samples are those of
    ``stratified_indices(labels, 360, seed=0)``; both splits keep the original order.

    Raises:
        DataError: the packaged file is damaged.
    """
    try:
        with np.load(FILE, allow_pickle=False) as stored:
            values, labels = stored["images"], stored["labels"].astype(np.int64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{FILE}: cannot be read ({error}); install joulebit again") from None
    images = scale_levels(values)[..., None]
    test, train = stratified_indices(labels, TEST_COUNT, SPLIT_SEED)
    return Dataset("digits", 10, Split(images[train], labels[train]), Split(images[test], labels[test]), (8, 8, 1))


def scale_levels(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """0 .. 16 to 0 .. 255, rounded half up: (255 v + 8) div 16."""
    return ((values.astype(np.int32) * 255 + _LEVELS // 2) // _LEVELS).astype(np.uint8)
