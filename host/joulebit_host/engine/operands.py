"""Tensors that lie in board memory already, so that a second pass need not move them again."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray

from joulebit_host.boards.base import BoardMemoryError
from joulebit_host.driver import Accelerator, DeviceTensor
from joulebit_host.engine.shared import SharedMemory

__all__ = ["Operands"]


class Operands:
    """Uploads tensors and remembers them as long as the array lives and there is room.

    An activation is read by the forward pass and by the weight gradient, dz by both backward passes. Arrays must
    not change while they are remembered; whoever changes one in place calls `forget`.

    Attributes:
        uploads: tensors moved; in_place: tensors that lay in board memory already; reuses: of either kind.
    """

    def __init__(self, accelerator: Accelerator, shared: SharedMemory) -> None:
        self._accelerator = accelerator
        self._shared = shared
        self._known: OrderedDict[int, tuple[weakref.ref[Any], DeviceTensor]] = OrderedDict()
        self.uploads = self.in_place = self.reuses = 0

    def get(self, array: NDArray[Any]) -> DeviceTensor:
        """The array in board memory. BoardMemoryError only when it does not fit an empty memory either."""
        name = id(array)
        known = self._known.get(name)
        if known is not None and known[0]() is array:
            self._known.move_to_end(name)
            self.reuses += 1
            return known[1]
        tensor = self._shared.holder(array)
        if tensor is None:
            tensor = self._uploaded(array)
            self.uploads += 1
        else:
            tensor.flush()
            self.in_place += 1
        self._known[name] = (weakref.ref(array, lambda _: self._known.pop(name, None)), tensor)
        return tensor

    def _uploaded(self, array: NDArray[Any]) -> DeviceTensor:
        while True:
            try:
                return self._accelerator.upload(array)
            except BoardMemoryError:
                if not self.drop_oldest():
                    raise

    def drop_oldest(self) -> bool:
        """Forgets the tensor that was used longest ago; False when there is none."""
        if not self._known:
            return False
        self._known.popitem(last=False)
        return True

    def forget(self, array: NDArray[Any]) -> None:
        """The array is about to change."""
        self._known.pop(id(array), None)

    def clear(self) -> None:
        self._known.clear()
