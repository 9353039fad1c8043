"""Which passes of a convolution the accelerator takes, and how the layer is described to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.packing import pad8
from joulebit.accelerator.tiling import Layer
from joulebit.engine.base import ConvGeometry
from joulebit.errors import JoulebitError
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import Rounding
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ArrayConfig, Operation
from joulebit_host.driver.plans import PassKey, Template, template_of

__all__ = ["Choice", "Mapped", "Mapper", "predictor_matches"]


@dataclass(frozen=True)
class Mapped:
    """A convolution as the accelerator sees it.

    Attributes:
        layer: a kernel that covers its image is 1x1 over all values of the image.
        kernel: (kernel_h, kernel_w, c_in, c_out) of the convolution itself.
    """

    layer: Layer
    kernel: tuple[int, int, int, int]
    flat: bool

    def weights(self, w: NDArray[np.int8]) -> NDArray[np.int8]:
        """w [kernel_h, kernel_w, c_in, c_out] as the layer's weights."""
        if not self.flat:
            return w
        height, width, c_in, c_out = w.shape
        padded = np.zeros((height, width, pad8(c_in), c_out), w.dtype)
        padded[:, :, :c_in] = w
        return padded.reshape(1, 1, -1, c_out)

    def gradient(self, dw: NDArray[np.int64]) -> NDArray[np.int64]:
        """The reverse of `weights`, of a weight gradient or of signs."""
        if not self.flat:
            return dw
        height, width, c_in, c_out = self.kernel
        return np.ascontiguousarray(dw.reshape(height, width, pad8(c_in), c_out)[:, :, :c_in])


def predictor_matches(arithmetic: Arithmetic) -> bool:
    """Whether the accelerator's predictor takes the bits that this arithmetic asks for."""
    return (
        arithmetic.x_bits == spec.ACTIVATION_BITS
        and arithmetic.g_bits == spec.GRADIENT_BITS
        and arithmetic.x_msb_bits == spec.ACTIVATION_MSB_BITS
        and arithmetic.g_msb_bits == spec.GRADIENT_MSB_BITS
        and arithmetic.msb_rounding_mode is Rounding.HALF_UP
        and not arithmetic.x_signed
    )


class Choice(NamedTuple):
    """How a pass runs on the accelerator: its layer and its plan; or neither, and why not."""

    mapped: Mapped | None
    template: Template | None
    why: str


class Mapper:
    """Decides for one configuration; what it found stays known."""

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        self._choices: dict[tuple[Any, ...], Choice] = {}

    def choose(
        self, operation: Operation, x_shape: tuple[int, ...], geometry: ConvGeometry, c_out: int,
        x_unsigned: bool = False, rounding: int = 0, raw: bool = False, masked: bool = False, mask_below: int = 0,
        predict: bool = False, selective: bool = False,
    ) -> Choice:  # fmt: skip
        """The plan of a pass (`PassKey`) over a convolution of x [N, H, W, C] to c_out channels."""
        flags = (x_unsigned, rounding, raw, False, masked, mask_below, predict, selective)
        name = (operation, x_shape, geometry, c_out, flags)
        known = self._choices.get(name)
        if known is None:
            known = self._choices[name] = self._chosen(operation, x_shape, geometry, c_out, flags)
        return known

    def _chosen(
        self, operation: Operation, x_shape: tuple[int, ...], geometry: ConvGeometry, c_out: int, flags: Any
    ) -> Choice:
        mapped, why = self._described(x_shape, geometry, c_out)
        if mapped is None:
            return Choice(None, None, why)
        try:
            return Choice(mapped, template_of(PassKey(mapped.layer, operation, *flags), self.config), "")
        except JoulebitError as error:
            return Choice(None, None, str(error))

    def _described(
        self, x_shape: tuple[int, ...], geometry: ConvGeometry, c_out: int
    ) -> tuple[Mapped | None, str]:
        """The layer, or None and why not."""
        images, height, width, c_in = x_shape
        if geometry.groups != 1:
            return None, "groups"
        if images < 1:
            return None, "no samples"
        layer = Layer(
            images, height, width, c_in, c_out, geometry.kernel_h, geometry.kernel_w, geometry.stride,
            geometry.padding_h, geometry.padding_w,
        )  # fmt: skip
        flat = layer.flattened()
        try:
            flat.check()
        except JoulebitError as error:
            return None, str(error)
        kernel = (geometry.kernel_h, geometry.kernel_w, c_in, c_out)
        return Mapped(flat, kernel, flat is not layer), ""
