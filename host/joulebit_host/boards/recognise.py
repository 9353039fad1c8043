"""Which pass over which layer a list of descriptors is, if it is exactly what the planner makes.

The layer is recovered from sizes and strides, planned again, and compared word by word: what differs anywhere is
not recognised. Lists are told apart without their addresses, shifts and thresholds, so that a layer is planned
once and found again in every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.tiling import Layer
from joulebit.errors import JoulebitError
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ArrayConfig, Flag, Operation
from joulebit.spec.descriptor import seal
from joulebit_host.driver.plans import PassKey, Template, template_of

__all__ = ["Found", "Recogniser", "segments"]

ADDRESSES = tuple(f"{name}_address" for name in ("x", "g", "w", "mask", "out", "result"))
_FREE = ("shift", "threshold_q12", "check")  #: free besides addresses: they are the caller's choice


@dataclass(frozen=True)
class Found:
    """A pass and where its tensors lie.

    Attributes:
        bases: addresses by field name (`ADDRESSES`); 0 where the pass has no such tensor.
    """

    template: Template
    bases: dict[str, int]
    shift: int
    threshold_q12: int

    @property
    def key(self) -> PassKey:
        return self.template.key


def segments(descriptors: NDArray[Any]) -> list[slice]:
    """Runs of descriptors that may be one pass: of one operation, with result blocks that follow one another."""
    if len(descriptors) == 0:
        return []
    result = descriptors["result_address"].astype(np.int64)
    breaks = (np.diff(result) != spec.RESULT_BYTES) | (np.diff(descriptors["operation"].astype(int)) != 0)
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(descriptors)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


class Recogniser:
    """Recognises the planner's lists of one configuration."""

    def __init__(self, config: ArrayConfig, most: int = 512) -> None:
        self._config = config
        self._most = most
        self._known: dict[bytes, Template | None] = {}

    def find(self, descriptors: NDArray[Any]) -> Found | None:
        """The pass that these descriptors are, or None."""
        first = descriptors[0]
        bases = {name: int(first[name]) for name in ADDRESSES}
        shift, threshold = int(first["shift"]), int(first["threshold_q12"])
        if (
            shift > 47
            or threshold > 4096
            or any(base % 8 for base in bases.values())
            or (descriptors["shift"] != shift).any()
            or (descriptors["threshold_q12"] != threshold).any()
            or not np.array_equal(seal(descriptors.copy())["check"], descriptors["check"])
        ):
            return None
        relative = _relative(descriptors)
        name = relative.tobytes()
        if name not in self._known:
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[name] = self._plan(descriptors, relative)
        template = self._known[name]
        if template is None or not _fits(template, shift, threshold, bases):
            return None
        return Found(template, bases, shift, threshold)

    def _plan(self, descriptors: NDArray[Any], relative: NDArray[Any]) -> Template | None:
        """The template with these descriptors."""
        key = _key(descriptors)
        if key is None:
            return None
        try:
            template = template_of(key, self._config)
        except JoulebitError:
            return None
        planned = _relative(template.plan.descriptors)
        same = len(planned) == len(relative) and planned.tobytes() == relative.tobytes()
        starts = template.plan.descriptors[0]
        return template if same and not any(int(starts[name]) for name in ADDRESSES) else None


def _relative(descriptors: NDArray[Any]) -> NDArray[Any]:
    """A copy with addresses from the first tile's on, and without what is free."""
    copy = descriptors.copy()
    for name in ADDRESSES:
        copy[name] -= copy[name][0]
    for name in _FREE:
        copy[name] = 0
    return copy


def _fits(template: Template, shift: int, threshold: int, bases: dict[str, int]) -> bool:
    """Whether what the caller chose is what a plan can have: tensors that a pass lacks stay at 0."""
    used = {"w_address": template.weights, "mask_address": template.mask, "out_address": template.out}
    if any(bases[name] and not use for name, use in used.items()):
        return False
    weight_gradient = template.key.operation == Operation.WEIGHT_GRADIENT
    return (template.weights or shift == 0) and (weight_gradient or threshold == 0)


def _key(descriptors: NDArray[Any]) -> PassKey | None:
    """The pass that these descriptors would be, by their sizes and strides; None where they cannot be one."""
    d = {name: int(descriptors[0][name]) for name in descriptors.dtype.names or ()}
    if d["operation"] not in list(Operation):
        return None
    operation = Operation(d["operation"])
    x_pixel, g_pixel = d["x_pixel_stride"] or 8 * d["x_words"], d["g_pixel_stride"] or 8 * d["g_words"]
    strides = (x_pixel, g_pixel, d["x_row_stride"], d["g_row_stride"], d["x_image_stride"], d["g_image_stride"])
    if not all(strides) or g_pixel % 16:
        return None
    width, out_w = d["x_row_stride"] // x_pixel, d["g_row_stride"] // g_pixel
    height, out_h = d["x_image_stride"] // d["x_row_stride"], d["g_image_stride"] // d["g_row_stride"]
    last = descriptors[-1]
    images = (int(last["x_address"]) - d["x_address"]) // d["x_image_stride"] + int(last["images"])
    layer = Layer(
        images, height, width, x_pixel, g_pixel // 2, d["kernel_h"], d["kernel_w"], d["stride"],
        d["pad_top"], d["pad_left"],
    )  # fmt: skip
    if min(images, height, width) < 1 or d["stride"] < 1 or (layer.out_h, layer.out_w) != (out_h, out_w):
        return None

    def on(flag: Flag) -> bool:
        return bool(d["flags"] >> flag & 1)

    return PassKey(
        layer,
        operation,
        x_unsigned=on(Flag.X_UNSIGNED),
        rounding=d["rounding"],
        raw=on(Flag.RAW) and operation != Operation.WEIGHT_GRADIENT,
        relu=on(Flag.RELU),
        masked=on(Flag.MASK),
        mask_below=d["mask_below"],
        predict=on(Flag.PREDICT),
        selective=on(Flag.SELECTIVE),
    )
