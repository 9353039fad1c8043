"""Data sets, their files, augmentation and the order of samples."""

from joulebit.data.augment import NO_AUGMENTATION, STANDARD_AUGMENTATION, Augmentation, augment
from joulebit.data.batches import (
    Batch,
    Position,
    batch_stream,
    batches_per_epoch,
    epoch_batches,
    step_position,
)
from joulebit.data.dataset import Dataset, Split
from joulebit.data.errors import DataError
from joulebit.data.load import DATASETS, load_dataset, resolve_data_dir
from joulebit.data.splits import balanced_prefix, first_n, limit_train, stratified_halves, subset

__all__ = [
    "DATASETS",
    "NO_AUGMENTATION",
    "STANDARD_AUGMENTATION",
    "Augmentation",
    "Batch",
    "DataError",
    "Dataset",
    "Position",
    "Split",
    "augment",
    "balanced_prefix",
    "batch_stream",
    "batches_per_epoch",
    "epoch_batches",
    "first_n",
    "limit_train",
    "load_dataset",
    "resolve_data_dir",
    "step_position",
    "stratified_halves",
    "subset",
]
