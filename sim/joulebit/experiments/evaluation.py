"""Accuracy on a test set."""

from __future__ import annotations

import numpy as np

from joulebit.data import Split
from joulebit.train.network import Network

_BATCH = 500  # of the specification, section 8


def accuracy(network: Network, split: Split) -> tuple[float, float]:
    """(top-1, top-5) in percent; the statistics must have been prepared. Ties count as wrong beyond the label."""
    first = fifth = 0
    for start in range(0, len(split), _BATCH):
        part = slice(start, start + _BATCH)
        logits, labels = network.logits(split.images[part]), split.labels[part]
        own = logits[np.arange(len(labels)), labels][:, None]
        position = np.arange(logits.shape[1])[None, :]
        ahead = (logits > own) | ((logits == own) & (position < labels[:, None]))
        rank = ahead.sum(1)
        first += int(np.count_nonzero(rank < 1))
        fifth += int(np.count_nonzero(rank < 5))
    return 100.0 * first / len(split), 100.0 * fifth / len(split)
