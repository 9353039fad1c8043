"""What a data set is in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from joulebit.data.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images. Both arrays are read-only.

    Attributes:
        images: uint8 [N, H, W, C], C-contiguous; may be a memory-mapped file.
        labels: int64 [N].

    Raises:
        DataError: wrong type or shape, no image, or not as many labels as images.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(f"images must be uint8 [N, H, W, C], got {images.dtype} {list(images.shape)}")
        if labels.dtype != np.int64 or labels.ndim != 1:
            raise DataError(f"labels must be int64 [N], got {labels.dtype} {list(labels.shape)}")
        if 0 in images.shape:
            raise DataError(f"images must not be empty, got shape {list(images.shape)}")
        if len(labels) != len(images):
            raise DataError(f"images and labels must be equally many, got {len(images)} and {len(labels)}")
        object.__setattr__(self, "images", _frozen(images))
        object.__setattr__(self, "labels", _frozen(labels))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split of images of one shape, perhaps with validation samples held out of training.

    Attributes:
        name: as given to ``load_dataset``.
        classes: number of classes; labels are 0 .. classes - 1.
        train, test, validation: the splits; validation is None where nothing is held out.
        image_shape: (H, W, C).

    Raises:
        DataError: a label is outside the classes, or an image shape differs.
    """

    name: str
    classes: int
    train: Split
    test: Split
    image_shape: tuple[int, int, int]
    validation: Split | None = None

    def __post_init__(self) -> None:
        for part, split in (("train", self.train), ("test", self.test), ("validation", self.validation)):
            if split is None:
                continue
            if split.images.shape[1:] != tuple(self.image_shape):
                got = list(split.images.shape[1:])
                raise DataError(f"{self.name}: {part} images are {got}, expected {list(self.image_shape)}")
            check_labels(split.labels, self.classes, f"{self.name} ({part})")


def check_labels(labels: npt.NDArray[np.int64], classes: int, where: object, source: str = "") -> None:
    """Raises DataError, naming the first record whose label is outside [0, classes)."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        advice = f"; get it from {source}" if source else ""
        raise DataError(
            f"{where}: label {int(labels[wrong[0]])} at record {int(wrong[0])}, "
            f"expected 0 to {classes - 1}{advice}"
        )


def _frozen(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A read-only, C-contiguous view (a copy where the layout differs); the caller's array stays writable."""
    view = np.ascontiguousarray(array)[...]
    view.flags.writeable = False
    return view
