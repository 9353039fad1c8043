"""What an engine is: the tensor operations of a training step.

Everything that touches a whole activation, gradient or weight tensor goes through an `Engine`; what is
left (per-channel scalars, gates, the loss over classes) is numpy int64 code that all engines share. An
engine holds its tensors in arrays of its own kind (`Array`: numpy for `numpy` and `numba`, torch for
`torch`); layers pass them on without looking inside.

Layout is NHWC, contiguous; weights are [kernel_h, kernel_w, c_in / groups, c_out]. dtypes of the tensors:
x after a ReLU uint8 (uint16 for more than 8 bits), x without a ReLU int8 (int16); w int8 (int16);
z, g, dz int16; masters int32; momentum int64. Every result is defined by `joulebit/spec/numerics.md`;
`joulebit verify` and the tests hold all engines to the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.update import UpdateRule

__all__ = [
    "Array",
    "ConvGeometry",
    "ConvOutput",
    "Engine",
    "Int64Array",
    "NormConstants",
    "NormGradientConstants",
    "Quantised",
    "UpdateRule",
]

Array = Any
Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class ConvGeometry:
    """Kernel, stride, zero padding and groups of a 2-D convolution (cross-correlation, as in torch)."""

    kernel_h: int
    kernel_w: int
    stride: int = 1
    padding_h: int = 0
    padding_w: int = 0
    groups: int = 1

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(H_out, W_out) for an input of height x width; ValueError when nothing is left."""
        out_h = (height + 2 * self.padding_h - self.kernel_h) // self.stride + 1
        out_w = (width + 2 * self.padding_w - self.kernel_w) // self.stride + 1
        if out_h < 1 or out_w < 1:
            raise ValueError(
                f"a {self.kernel_h}x{self.kernel_w} kernel with padding {self.padding_h},{self.padding_w} "
                f"does not fit an input of {height}x{width}: use a larger image or a smaller kernel"
            )
        return out_h, out_w


class ConvOutput(NamedTuple):
    """Result of `Engine.conv_forward`."""

    z: Array  #: int16 [N, H_out, W_out, C_out]
    peak: int  #: max |accumulator| before the shift
    saturated: int  #: elements that did not fit 16 bits after the shift, or the accumulator
    total: Int64Array  #: sum of z per channel [C_out]
    total_squares: Int64Array  #: sum of z^2 per channel [C_out]


class Quantised(NamedTuple):
    """A requantised tensor with what the exponent rule needs to know."""

    data: Array
    peak: int  #: largest magnitude, before the shift (conv_input_gradient, spread) or after it (norm_backward)
    saturated: int  #: elements clamped


@dataclass(frozen=True)
class NormConstants:
    """Per-channel integers of a normalisation (spec, section 4).

    x-hat = SAT16(RND(((z << 8) - mean) * rsqrt, 35 - scale)).
    All arrays are int64 [C]. y = gamma * x-hat + (beta << 11), in Q.23. Without batch norm (a bias only):
    mean = 0, rsqrt = 2^15, scale = 23 + e_z, gamma = 4096.
    """

    mean: Int64Array  #: mean of z in Q.8
    rsqrt: Int64Array  #: 2^46 / isqrt(D * 4^scale): 2^15 < rsqrt <= 2^16 (or = 2^15 for a bias)
    scale: Int64Array  #: j of the specification, -27..30, so that 5 <= 35 - j <= 62
    gamma: Int64Array  #: Q3.12, 16 bits
    beta: Int64Array  #: Q3.12, 16 bits


@dataclass(frozen=True)
class NormGradientConstants:
    """Per-channel integers of the backward pass of a normalisation (spec, section 5). int64 [C] each.

    T = (g<<8) - mean_g - RND(x-hat * mean_gx, 19); dz = SAT(RND(T * multiplier, shift)).
    """

    mean_g: Int64Array  #: c1, Q.8 of g, |c1| <= 2^23
    mean_gx: Int64Array  #: c2, |c2| < 2^31
    multiplier: Int64Array  #: km, |km| <= 2^15
    shift: Int64Array  #: ks, 0..62


class Engine(Protocol):
    """The operations. `key` is the 64-bit key of stochastic rounding; other modes ignore it."""

    name: str
    arithmetic: Arithmetic

    def with_arithmetic(self, arithmetic: Arithmetic) -> Engine:
        """An engine of the same kind, on the same device and threads, that computes with other widths."""
        ...

    def from_numpy(self, array: NDArray[Any]) -> Array:
        """The engine's own array with the same dtype, shape and values (may share memory)."""
        ...

    def to_numpy(self, array: Array) -> NDArray[Any]:
        """The numpy array with the same dtype, shape and values (may share memory)."""
        ...

    def conv_forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int = 0) -> ConvOutput:
        """z = SAT16(RND(SAT_acc(conv(x, w)), shift)), with the sums that batch norm needs; shift 0..47.

        The sums are of the saturated z. `peak` is of SAT_acc(conv).
        """
        ...

    def norm_forward(
        self,
        z: Array,
        norm: NormConstants,
        shift: int,
        bounds: tuple[int, int],
        shortcut: Array | None = None,
        shortcut_stride: int = 1,
        shortcut_shift: int = 0,
        key: int = 0,
    ) -> tuple[Array, int]:
        """Activation a = clamp(RND(y + (shortcut << shortcut_shift), shift), lo, hi) and how many exceeded hi (or,
        with lo < 0, fell below lo).

        y is Q.23, so shift = 23 + e_a and shortcut_shift = 23 + e_shortcut, each 0..31. shortcut
        [N, >=(H_out-1)*stride+1, ..., C_s <= C] is subsampled by shortcut_stride; its missing channels are zero.
        The sum is exact (64 bits where 32 do not hold it).
        Returns a in uint8/uint16 when lo == 0, else int8/int16 (8 bits or fewer: 8-bit storage).
        """
        ...

    def shortcut_forward(
        self,
        x: Array,
        stride: int,
        channels: int,
        shift: int,
        bounds: tuple[int, int],
        key: int = 0,
    ) -> tuple[Array, int]:
        """What a closed residual block passes on: x subsampled by stride, zero channels added, requantised.

        a = clamp(RND(x << 23, shift + 23), lo, hi), so shift = e_a - e_x, -23..23. Counts as norm_forward does.
        """
        ...

    def shortcut_gradient(
        self,
        g: Array,
        input_shape: tuple[int, int, int],
        stride: int,
        shift: int,
        align: int = 0,
        mask: Array | None = None,
        mask_below: int = 0,
        key: int = 0,
    ) -> Quantised:
        """conv_input_gradient with a zero convolution: the gradient of a closed block's input (H, W, C).

        v = ALIGN(g, align) on every stride-th row and column, 0 elsewhere; channels of g above C are dropped.
        """
        ...

    def norm_sums(self, g: Array, z: Array, norm: NormConstants) -> tuple[Int64Array, Int64Array]:
        """(sum of g, sum of g * x-hat) per channel, exact in 64 bits."""
        ...

    def norm_backward(
        self, g: Array, z: Array, norm: NormConstants, gradient: NormGradientConstants, key: int = 0
    ) -> Quantised:
        """dz in g_bits bits (int16). `peak` = max over min(|RND(T * multiplier, shift)|, 2^30)."""
        ...

    def conv_input_gradient(
        self,
        dz: Array,
        w: Array,
        geometry: ConvGeometry,
        input_hw: tuple[int, int],
        shift: int,
        align: int = 0,
        add: Array | None = None,
        add_stride: int = 1,
        add_align: int = 0,
        mask: Array | None = None,
        mask_below: int = 0,
        key: int = 0,
    ) -> Quantised:
        """Gradient of the convolution's input, with the shortcut's gradient added and the ReLU mask applied.

        v = ALIGN(SAT_acc(conv_transpose(dz, w)), align) + ALIGN(add, add_align), where ALIGN(u, s) is u << s for
        s >= 0 (s <= 20) and RND(u, -s) half-up for s < 0. add [N, H_s, W_s, C_s] lands on every add_stride-th
        row and column and may have more channels than the input (those above are dropped: zero-padded shortcut).
        mask (the activation itself, shape of the input): v = 0 unless mask > 0 and, when mask_below > 0,
        mask < mask_below. Result SAT_g(RND(v, shift)) as int16; `peak` = max |v|.
        """
        ...

    def adder_forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int = 0) -> ConvOutput:
        """conv_forward with -sum |x - w| in place of the products; x is 0 in the padding. One group."""
        ...

    def adder_input_gradient(
        self,
        dz: Array,
        x: Array,
        w: Array,
        geometry: ConvGeometry,
        clip: int,
        shift: int,
        align: int = 0,
        add: Array | None = None,
        add_stride: int = 1,
        add_align: int = 0,
        mask: Array | None = None,
        mask_below: int = 0,
        key: int = 0,
    ) -> Quantised:
        """conv_input_gradient with sums of dz * clamp(w - x, +-clip) in place of the transposed convolution."""
        ...

    def channel_sums(self, dz: Array, msb: bool = False) -> Int64Array:
        """Sum of dz over samples, H and W, as a numpy int64 array [C]; msb: of the predictor's operand."""
        ...

    def quantise_weights_at(self, master: Array, exponent: int) -> Array:
        """SAT_w(RND(m, exponent + 28)): weights with a given exponent (at least -28), linear ones' dtype."""
        ...

    def conv_weight_gradient(self, x: Array, dz: Array, geometry: ConvGeometry) -> tuple[Array, int]:
        """int64 [kernel_h, kernel_w, c_in / groups, c_out]: exact sums saturated to the accumulator; how often."""
        ...

    def conv_weight_gradient_msb(self, x: Array, dz: Array, geometry: ConvGeometry) -> Array:
        """The predictor's product: conv_weight_gradient of the most significant bits (spec, section 6)."""
        ...

    def predict_signs(self, exact: Array, predicted: Array, threshold_q12: int) -> tuple[Array, dict[str, int]]:
        """Equation (2) of E2-Train: int64 signs, and counts {"total", "decided", "wrong", "threshold"}.

        threshold = max(1, (threshold_q12 * max|predicted|) >> 12). The sign of `predicted` is taken where
        |predicted| >= threshold ("decided"), else that of `exact`; wrong: decided with another sign than `exact`.
        An engine that does not form exact sums of decided elements leaves "wrong" out.
        """
        ...

    def sign(self, exact: Array) -> Array:
        """int64 signs, sign(0) = 0."""
        ...

    def max_pool(self, x: Array, size: int) -> Array:
        """Maximum over size x size windows, stride = size, remainder rows and columns dropped."""
        ...

    def max_pool_gradient(self, g: Array, x: Array, size: int) -> Array:
        """g routed to the first (row-major) maximal element of each window, zero elsewhere. int16, shape of x."""
        ...

    def spatial_sum(self, x: Array) -> Int64Array:
        """Sum over H and W, as a numpy int64 array [N, C]."""
        ...

    def matmul(self, a: Int64Array, b: Int64Array) -> Int64Array:
        """a @ b of numpy int64 matrices [M, K] and [K, L] whose sums fit 63 bits: the linear layer's products."""
        ...

    def spread(
        self, value: Int64Array, like: Array, shift: int, masked: bool, mask_below: int = 0, key: int = 0
    ) -> Quantised:
        """The reverse of spatial_sum: g[n,h,w,c] = SAT_g(RND(value[n,c], shift)), zero where `like` masks.

        value: numpy int64 [N, C] with |value| < 2^62. `peak` = max |value| over the elements left by the mask.
        """
        ...

    def mask_gradient(self, g: Array, a: Array, mask_below: int = 0) -> Array:
        """g where a > 0 (and a < mask_below, when that is > 0), else 0."""
        ...

    def narrow_gradient(self, dz: Array, shift: int, bits: int) -> Array:
        """SAT_bits(RND(dz, shift)), half-up: dz for an input-gradient pass of fewer bits."""
        ...

    def sample_dot(self, g: Array, a: Array, base: Array) -> Int64Array:
        """Per sample: sum of g * (a - base) over H, W and C, exact, numpy int64 [N]. a and base have one shape."""
        ...

    def take(self, x: Array, index: Int64Array) -> Array:
        """Samples of x in the order of index."""
        ...

    def put(self, target: Array, index: Int64Array, value: Array) -> Array:
        """target with its samples at index replaced by value (target may be changed in place)."""
        ...

    def take_channels(self, x: Array, index: Int64Array) -> Array:
        """Entries of x's last dimension in the order of index, contiguous."""
        ...

    def put_channels(self, target: Array, index: Int64Array, value: Array) -> Array:
        """target with the entries of its last dimension at index replaced by value (perhaps in place)."""
        ...

    def copy(self, x: Array) -> Array:
        """A copy of x."""
        ...

    def zeros_like_gradient(self, x: Array) -> Array:
        """int16 zeros in the shape of x."""
        ...

    def quantise_weights(self, master: Array, kind: str = "linear") -> tuple[Array, int]:
        """(w, e_w): w = SAT_w(RND(m, s)), s = max(0, bl(max|m|) - (w_bits - 1)), e_w = s - 28.

        Of another kind (binary, ternary, shift) as `joulebit.fixed.weights` defines it; binary and ternary weights
        are int8 whatever w_bits is.
        """
        ...

    def limit_masters(self, master: Array, limit: int) -> None:
        """master clamped to -limit .. limit, in place."""
        ...

    def update(
        self,
        master: Array,
        momentum: Array,
        gradient: Array,
        exponent: int,
        samples: int,
        rule: UpdateRule,
    ) -> None:
        """One optimiser step in place (spec, section 7) by int64 gradient * 2^exponent / samples."""
        ...

    def zeros_like_momentum(self, master: Array) -> Array:
        """int64 zeros in the shape of master."""
        ...
