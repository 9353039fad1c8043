"""Tensors that lie in board memory already, so that a second pass need not move them again."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray

from joulebit_host.boards.base import BoardMemoryError
from joulebit_host.driver import Accelerator, DeviceTensor

__all__ = ["Operands"]


class Operands:
    """Uploads tensors and remembers them as long as the array lives and there is room.

    An activation is read by the forward pass and by the weight gradient, dz by both backward passes. Arrays must
    not change while they are remembered; whoever changes one in place calls `forget`.

    Attributes:
        uploads: tensors moved; reuses: moves saved.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._known: OrderedDict[int, tuple[weakref.ref[Any], DeviceTensor]] = OrderedDict()
        self.uploads = 0
        self.reuses = 0

    def get(self, array: NDArray[Any]) -> DeviceTensor:
        """The array in board memory. BoardMemoryError only when it does not fit an empty memory either."""
        name = id(array)
        known = self._known.get(name)
        if known is not None and known[0]() is array:
            self._known.move_to_end(name)
            self.reuses += 1
            return known[1]
        while True:
            try:
                tensor = self._accelerator.upload(array)
                break
            except BoardMemoryError:
                if not self.drop_oldest():
                    raise
        self._known[name] = (weakref.ref(array, lambda _: self._known.pop(name, None)), tensor)
        self.uploads += 1
        return tensor

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
