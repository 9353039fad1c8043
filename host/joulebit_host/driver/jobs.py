"""Passes that run as one list: operands, and what a job keeps of them until it has run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.tiling import Layer
from joulebit.spec.accelerator import Operation
from joulebit_host.driver.memory import Region
from joulebit_host.driver.packing import tensor_bytes
from joulebit_host.driver.plans import PassKey, Template, template_of
from joulebit_host.driver.results import PassResult

if TYPE_CHECKING:
    from joulebit_host.driver.accelerator import Accelerator

__all__ = ["DeviceTensor", "Entry", "Job"]

_MOST = 0xFFFF  #: descriptors in a list


class DeviceTensor:
    """An NHWC tensor in board memory, channels padded with zeros to a multiple of 8.

    Attributes:
        shape: without the padding.
        dtype: uint8, int8 or int16.
    """

    def __init__(self, region: Region, shape: tuple[int, ...], dtype: Any, offset: int = 0) -> None:
        self.region = region
        self.address = region.address + offset
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._offset = offset

    def flush(self) -> None:
        """Makes what the processor wrote to the tensor visible to the accelerator."""
        self.region.flush(self._offset, self._offset + tensor_bytes(self.shape, self.dtype))

    def part(self, first: int, last: int) -> DeviceTensor:
        """Samples first..last-1: the same memory."""
        sample = tensor_bytes((1, *self.shape[1:]), self.dtype)
        return DeviceTensor(
            self.region, (last - first, *self.shape[1:]), self.dtype, self._offset + first * sample
        )

    @property
    def unsigned(self) -> bool:
        return bool(self.dtype.kind == "u")


class Entry(NamedTuple):
    """A pass of a list: where x, dz, weights, mask and result lie (0: not used), and what the caller chose."""

    result: PassResult
    addresses: tuple[int, ...]
    shift: int
    threshold_q12: int


class Job:
    """Passes that run as one list. They must not read what others of the same job write.

    Operands may be shared: upload them once. A job runs once.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._entries: list[Entry] = []
        self._keep: list[Any] = []  # operands, until the list has run
        self._last: list[Entry] = []  # of the lists that were started
        self._last_first = 0  # number of its first pass

    def forward(
        self, x: DeviceTensor, w: NDArray[np.int8], layer: Layer, shift: int = 0, rounding: int = 0,
        raw: bool = False, relu: bool = False,
    ) -> PassResult:  # fmt: skip
        """z = SAT16(RND*(conv(x, w), shift)), or the raw sums. w: int8 [kernel_h, kernel_w, c_in, c_out]."""
        key = PassKey(layer, Operation.FORWARD, x.unsigned, rounding, raw=raw, relu=relu)
        return self.add(self._template(key), x=x, w=w, shift=shift)

    def input_gradient(
        self, dz: DeviceTensor, w: NDArray[np.int8], layer: Layer, shift: int = 0, rounding: int = 0,
        raw: bool = False, mask: DeviceTensor | None = None, mask_below: int = 0,
        predict: DeviceTensor | None = None,
    ) -> PassResult:  # fmt: skip
        """The gradient of x: 16 bits, or raw sums. mask: x (uint8). predict: x, for the predictor beside it."""
        key = PassKey(
            layer, Operation.INPUT_GRADIENT, predict is not None and predict.unsigned, rounding, raw=raw,
            masked=mask is not None, mask_below=mask_below, predict=predict is not None,
        )  # fmt: skip
        return self.add(self._template(key), x=predict, g=dz, w=w, mask=mask, shift=shift)

    def predict(self, x: DeviceTensor, dz: DeviceTensor, layer: Layer) -> PassResult:
        """The predictor alone; its sums stay on the chip for the next `weight_signs` of the same layer."""
        return self.add(self._template(PassKey(layer, Operation.PREDICT, x.unsigned)), x=x, g=dz)

    def weight_gradient(self, x: DeviceTensor, dz: DeviceTensor, layer: Layer) -> PassResult:
        """Sum of x * dz: `PassResult.gradient`."""
        key = PassKey(layer, Operation.WEIGHT_GRADIENT, x.unsigned)
        return self.add(self._template(key), x=x, g=dz)

    def weight_signs(self, x: DeviceTensor, dz: DeviceTensor, layer: Layer, threshold_q12: int) -> PassResult:
        """Signs of the weight gradient, predicted where decided: `PassResult.signs`. Must follow a prediction."""
        key = PassKey(layer, Operation.WEIGHT_GRADIENT, x.unsigned, selective=True)
        return self.add(self._template(key), x=x, g=dz, threshold_q12=threshold_q12)

    def _template(self, key: PassKey) -> Template:
        return template_of(key, self._accelerator.config)

    def add(
        self, template: Template, x: DeviceTensor | None = None, g: DeviceTensor | None = None,
        w: NDArray[np.int8] | None = None, mask: DeviceTensor | None = None, shift: int = 0,
        threshold_q12: int = 0,
    ) -> PassResult:  # fmt: skip
        """A pass by its plan, with what it reads: g is dz, w int8 [kernel_h, kernel_w, c_in, c_out]."""
        accelerator = self._accelerator
        packed = None if w is None else accelerator.packed_weights(w, template, x is not None and x.unsigned)
        out = accelerator.allocate(template.plan.out_bytes) if template.plan.out_bytes else None
        result = PassResult(template, accelerator.config, out)
        parts = (x, g, packed, mask, out)
        self._keep.append(parts)
        addresses = tuple([0 if part is None else part.address for part in parts])
        self._entries.append(Entry(result, addresses, shift, threshold_q12))
        return result

    def __len__(self) -> int:
        """Descriptors so far."""
        return sum(len(entry.result.template) for entry in self._entries)

    @property
    def passes(self) -> int:
        """How many were added and have not started."""
        return len(self._entries)

    def drop(self, passes: int) -> None:
        """Forgets all but the first so many passes."""
        del self._entries[passes:]

    def run(self) -> None:
        """Runs all passes; BoardError when something fails, then no result is valid."""
        self.start()
        self.finish()

    def start(self) -> None:
        """Lets the accelerator begin; operands must not change, nor results be read, before `finish`.

        Another job may run meanwhile: the accelerator ends this one first.
        """
        entries, self._entries = self._entries, []
        keep, self._keep = self._keep, []
        part: list[Entry] = []
        count = 0
        for number, entry in enumerate(entries):
            tiles = len(entry.result.template)
            if count + tiles > _MOST:
                self._accelerator.start(part, keep)
                part, count, self._last_first = [], 0, number
            part.append(entry)
            count += tiles
        if part:
            self._accelerator.start(part, keep)
        self._last = part

    def reach(self, passes: int) -> None:
        """Waits until the first passes have run: their results can be read while the others still run."""
        if passes <= self._last_first:
            return
        self._accelerator.reach(self._last, passes - self._last_first)
        self._accelerator.check_usable()

    def finish(self) -> None:
        """Waits until all passes have run."""
        self._accelerator.finish(self._last)
        self._accelerator.check_usable()
