"""Results of the accelerator beside the processor's."""

from __future__ import annotations

from typing import Any

import numpy as np

from joulebit_host.driver.faults import ResultError

__all__ = ["check_same"]


def check_same(name: str, got: Any, expected: Any) -> None:
    """ResultError where two tuples of arrays and numbers differ; it names the first element that does."""
    fields = getattr(got, "_fields", None) or tuple(str(index) for index in range(len(got)))
    for field, ours, theirs in zip(fields, got, expected):
        a, b = np.asarray(ours), np.asarray(theirs)
        if a.shape == b.shape and np.array_equal(a, b):
            continue
        if a.shape != b.shape:
            raise ResultError(f"{name}: {field} has shape {a.shape}, the processor computes {b.shape}")
        place = tuple(int(index) for index in np.argwhere(a != b)[0]) if a.ndim else ()
        raise ResultError(
            f"the accelerator's result is wrong: {name}, {field}{list(place) if place else ''} is {a[place]}, "
            f"the processor computes {b[place]} ({int(np.count_nonzero(a != b))} of {a.size} elements differ): "
            "run `joulebit board check`"
        )
