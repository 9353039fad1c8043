"""Curves and layer maps from the metrics of a run, as arrays that figures draw."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.energy.counters import Counters
from joulebit.experiments.results import Result

FloatArray = NDArray[np.float64]

TENSORS = (
    "z",
    "activation",
    "dz",
    "gradient",
)  #: whose clamped elements are counted, in the order of a layer's work
_BINS = 60  # columns of a layer map at most


def column(records: Sequence[Mapping[str, Any]], key: str) -> FloatArray:
    return np.array([np.nan if record[key] is None else record[key] for record in records], float)


def smooth(values: FloatArray) -> FloatArray:
    """A running mean over about a fifteenth of the values."""
    half = len(values) // 30
    if half < 1:
        return values
    known = ~np.isnan(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    with np.errstate(invalid="ignore"):
        return np.asarray((total[high] - total[low]) / (count[high] - count[low]))


def layers_with(result: Result, key: str) -> list[str]:
    """Layers in network order for which a figure was recorded."""
    names: dict[str, None] = {}
    for record in result.train:
        names.update(dict.fromkeys(layer for layer, values in record["layers"].items() if key in values))
    return sorted(names, key=network_order)


def network_order(name: str) -> list[tuple[int, int, str]]:
    """conv1 before block1 before block2 before block10 before head."""
    first = {"conv": 0, "stem": 0, "block": 1, "fc": 2, "head": 3}
    words = re.findall(r"([A-Za-z_]+)(\d*)", name)
    return [(first.get(word, 1), int(number or 0), word) for word, number in words]


def network_share(result: Result, part: str, whole: str) -> tuple[FloatArray, FloatArray]:
    """Over epochs: part / whole, summed over the layers of each line."""
    shares = []
    for record in result.train:
        layers = [values for values in record["layers"].values() if whole in values]
        total = sum(values[whole] for values in layers)
        shares.append(sum(values.get(part, 0) for values in layers) / total if total else np.nan)
    return column(result.train, "epoch"), np.array(shares, float)


def skip_share(result: Result) -> tuple[FloatArray, FloatArray]:
    """Over epochs: forward products that closed blocks left out, of all in the batches computed since."""
    done = [Counters(record["counters"]) for record in result.train]
    skipped = np.array([0, *(c["skipped.forward.slu"] + c["skipped.forward.sd"] for c in done)], float)
    computed = np.array([0, *(c.total("macs.forward.") for c in done)], float)
    left_out, all_products = np.diff(skipped), np.diff(skipped + computed)
    with np.errstate(invalid="ignore"):
        return column(result.train, "epoch"), left_out / all_products


def layer_map(result: Result, part: str, whole: str, inverse: bool) -> tuple[list[str], FloatArray]:
    """Layers, and their share in equal bins of time; NaN where a bin has no figure."""
    layers = layers_with(result, whole)
    end = max(result.epoch, 1e-9)
    bins = max(1, min(_BINS, len(result.train)))
    parts, wholes = np.zeros((len(layers), bins)), np.zeros((len(layers), bins))
    begin = 0.0
    for record in result.train:
        first = min(int(begin / end * bins), bins - 1)
        last = min(max(int(np.ceil(float(record["epoch"]) / end * bins - 1e-9)), first + 1), bins)
        begin = float(record["epoch"])
        for row, layer in enumerate(layers):
            values = record["layers"].get(layer, {})
            if values.get(whole):
                parts[row, first:last] += values.get(part, 0)
                wholes[row, first:last] += values[whole]
    with np.errstate(invalid="ignore", divide="ignore"):
        cells = parts / wholes
    return layers, 1 - cells if inverse else cells


def layer_sums(result: Result, layer: str, needed: str) -> dict[str, float]:
    """Sums over the lines of metrics in which the layer has the figure `needed`."""
    sums: dict[str, float] = {}
    for record in result.train:
        values = record["layers"].get(layer, {})
        if needed in values:
            for key, value in values.items():
                sums[key] = sums.get(key, 0) + value
    return sums


def layer_sign_errors(result: Result) -> tuple[list[str], FloatArray, FloatArray]:
    """Layers, their share of wrong signs among the predicted, and the mean bound (NaN: not known).

    Where the bound was evaluated at some steps, the wrong signs are those of the same lines of metrics.
    """
    layers = layers_with(result, "total")
    wrong, bound = np.zeros(len(layers)), np.full(len(layers), np.nan)
    for row, layer in enumerate(layers):
        sums = layer_sums(result, layer, "bound_decided")
        if sums.get("bound_decided"):
            bound[row] = sums["bound_sum"] / sums["bound_decided"]
        else:
            sums = layer_sums(result, layer, "total")
        wrong[row] = sums.get("wrong", np.nan) / sums["decided"] if sums.get("decided") else 0.0
    return layers, wrong, bound


def saturation_rates(result: Result) -> tuple[list[str], FloatArray]:
    """Layers, and the share of clamped elements per tensor kind (NaN: the layer has no such tensor)."""
    layers = sorted({n for kind in TENSORS for n in layers_with(result, f"{kind}_elements")}, key=network_order)
    cells = np.full((len(layers), len(TENSORS)), np.nan)
    for row, layer in enumerate(layers):
        for place, kind in enumerate(TENSORS):
            sums = layer_sums(result, layer, f"{kind}_elements")
            if sums.get(f"{kind}_elements"):
                cells[row, place] = sums[f"{kind}_saturated"] / sums[f"{kind}_elements"]
    return layers, cells
