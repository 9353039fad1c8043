"""A convolution layer as the accelerator sees it: sizes, and what no descriptor can say."""

from __future__ import annotations

from dataclasses import dataclass

from joulebit.accelerator.packing import pad8
from joulebit.errors import JoulebitError
from joulebit.spec import accelerator as spec
from joulebit.spec.descriptor import ceil_div

__all__ = ["MAX_KERNEL", "MAX_PADDING", "Layer"]

MAX_KERNEL = 7
MAX_PADDING = 7


@dataclass(frozen=True)
class Layer:
    """A convolution of a batch: sizes of x, channels, kernel, stride, zero padding (rows, columns)."""

    images: int
    height: int
    width: int
    c_in: int
    c_out: int
    kernel_h: int
    kernel_w: int
    stride: int = 1
    padding_h: int = 0
    padding_w: int = 0

    @property
    def out_h(self) -> int:
        return (self.height + 2 * self.padding_h - self.kernel_h) // self.stride + 1

    @property
    def out_w(self) -> int:
        return (self.width + 2 * self.padding_w - self.kernel_w) // self.stride + 1

    @property
    def x_words(self) -> int:
        """8-channel words of a pixel of x."""
        return ceil_div(self.c_in, spec.ACTIVATIONS_PER_WORD)

    @property
    def g_words(self) -> int:
        """4-channel words of a pixel of z or dz: tensors have channels in eights."""
        return pad8(self.c_out) // spec.GRADIENTS_PER_WORD

    def flattened(self) -> Layer:
        """The same layer as 1x1 over all values of an image where its kernel covers the image; else itself.

        Its c_in is height * width * (c_in padded to 8): weights [h, w, c_in, c_out] must be padded likewise and
        reshaped to [1, 1, ...].
        """
        whole = (self.kernel_h, self.kernel_w) == (self.height, self.width)
        if not whole or self.padding_h or self.padding_w or self.kernel_h * self.kernel_w == 1:
            return self
        return Layer(self.images, 1, 1, self.height * self.width * pad8(self.c_in), self.c_out, 1, 1)

    def check(self) -> None:
        """JoulebitError for what no descriptor can say."""
        allowed = (
            ("stride", self.stride, self.stride in (1, 2), "1 or 2"),
            ("kernel", max(self.kernel_h, self.kernel_w), max(self.kernel_h, self.kernel_w) <= MAX_KERNEL,
             f"at most {MAX_KERNEL}x{MAX_KERNEL}, unless it covers an unpadded image"),
            ("padding", max(self.padding_h, self.padding_w), max(self.padding_h, self.padding_w) <= MAX_PADDING,
             f"at most {MAX_PADDING}"),
        )  # fmt: skip
        for name, value, good, what in allowed:
            if not good:
                raise JoulebitError(f"the accelerator cannot run a convolution with {name} {value}: {what}")
        if min(self.images, self.out_h, self.out_w, self.c_in, self.c_out) < 1:
            raise JoulebitError(f"a convolution needs images, channels and a result of at least 1, got {self}")
