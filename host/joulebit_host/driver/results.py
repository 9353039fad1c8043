"""What a pass leaves in board memory: its tensor and its result blocks, checked before anybody reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.packing import unpack_signs
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ArrayConfig
from joulebit.spec.descriptor import RESULT_DTYPE
from joulebit_host.driver.faults import ResultError
from joulebit_host.driver.memory import Region
from joulebit_host.driver.packing import Empty, tensor_view, unpack_directions, unpack_sums
from joulebit_host.driver.plans import Template

__all__ = ["PassResult"]

_BITS = {field.name: field.offset for field in spec.RESULT}
_PEAK, _MACS, _GATED, _RESERVED = (_BITS[name] // 64 for name in ("peak", "macs", "macs_gated", "reserved1"))
_TOOK, _COMPUTED = (_BITS[name] // 32 for name in ("cycles", "compute_cycles"))
_DONE = np.uint64(1)  #: status 1, no error
_NO_BLOCKS = np.zeros((0, spec.RESULT_BYTES // 8), np.uint64)


class PassResult:
    """What one pass of a job gives, once the job has run."""

    def __init__(self, template: Template, config: ArrayConfig, out: Region | None) -> None:
        self.template = template
        self._words = _NO_BLOCKS  #: the result blocks as 64-bit words [tiles, 8]
        self._config = config
        self._out = out

    @property
    def blocks(self) -> NDArray[Any]:
        """Its result blocks (RESULT_DTYPE), one per tile."""
        return self._words.view(RESULT_DTYPE).reshape(-1)

    @property
    def peak(self) -> int:
        """max |sum| before the shift; of a selective weight gradient max |predicted sum|."""
        return int(self._words[:, _PEAK].max())

    @property
    def saturated(self) -> int:
        """Elements that were clamped."""
        return self.total("saturated")

    def total(self, name: str) -> int:
        """The sum of a field over all tiles."""
        return int(self.blocks[name].sum(dtype=np.uint64))

    def flush(self) -> None:
        """What the processor wrote to the result's memory before is out of its caches."""
        if self._out is not None:
            self._out.flush()

    def accept(self, data: NDArray[np.uint8]) -> None:
        """Takes the bytes of the result blocks; ResultError where they contradict one another or the plan."""
        self._words = data.view(np.uint64).reshape(-1, spec.RESULT_BYTES // 8)
        _check_blocks(self._words, self)
        if self._out is not None:
            self._out.invalidate()

    @property
    def _data(self) -> NDArray[np.uint8]:
        if self._out is None:
            raise ValueError("a prediction stays on the chip: there is no tensor to read")
        return self._out.array

    def tensor(self) -> NDArray[Any]:
        """z or the gradient of x: int16 (raw: int64; relu: uint8) [N, H, W, C], a view of board memory.

        Copy it to let the memory go.
        """
        key = self.template.key
        dtype = np.int64 if key.raw else np.uint8 if key.relu else np.int16
        return tensor_view(self._data, self.template.shape, dtype)

    def gradient(self, empty: Empty = np.empty) -> NDArray[np.int64]:
        """The weight gradient, int64 [kernel_h, kernel_w, c_in, c_out]. empty: gives the array, as numpy's."""
        return unpack_sums(self._data, self.template.plan.pieces, self._kernel_shape(), self._config, empty)

    def signs(self) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """Of a selective weight gradient: directions -1, 0, 1, and which were predicted."""
        return unpack_signs(self._data, self.template.plan.pieces, self._kernel_shape(), self._config)

    def directions(self, empty: Empty = np.empty) -> NDArray[np.int64]:
        """`signs`, the directions alone as int64; empty: as for `gradient`."""
        return unpack_directions(self._data, self.template.plan.pieces, self._kernel_shape(), self._config, empty)

    def _kernel_shape(self) -> tuple[int, int, int, int]:
        a, b, c, d = self.template.shape
        return a, b, c, d


def _check_blocks(words: NDArray[np.uint64], result: PassResult) -> None:
    """ResultError where result blocks contradict one another or the plan.

    words: the blocks as 64-bit words; as such status 1 beside no error is one number, and there is one sum.
    """
    template, halves = result.template, words.view(np.uint32)
    wrong = words[:, _MACS] + words[:, _GATED]
    wrong ^= template.macs
    wrong |= words[:, 0] ^ _DONE
    wrong |= words[:, _RESERVED]
    wrong |= halves[:, _COMPUTED] > halves[:, _TOOK]
    if np.count_nonzero(wrong):
        index = int(np.flatnonzero(wrong)[0])
        block = result.blocks[index]
        fields = ", ".join(f"{name} {int(block[name])}" for name in ("status", "error", "macs", "macs_gated"))
        raise ResultError(
            f"result block {index} of a {template.key.operation.name.lower()} of {template.key.layer} is not what "
            f"its descriptor asks for ({fields}; {int(template.macs[index])} products expected): the board's "
            "memory was overwritten, or its caches were not invalidated"
        )
