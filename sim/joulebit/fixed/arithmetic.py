"""The widths and rounding modes of a training run: one frozen object that every engine is made with."""

from __future__ import annotations

from dataclasses import dataclass

from joulebit.fixed.rounding import Rounding

NORM_FRACTION_BITS = 11  # x-hat is Q4.11 in 16 bits
SCALE_FRACTION_BITS = 12  # gamma and beta are Q3.12 in 16 bits
SUM_FRACTION_BITS = NORM_FRACTION_BITS + SCALE_FRACTION_BITS  # gamma * x-hat, Q.23
MASTER_FRACTION_BITS = 28  # master weights are Q3.28 in 32 bits
CONV_OUTPUT_BITS = 16  # z, the quantised convolution output
PEAK_LIMIT = 1 << 30  # the peak of dz is tracked up to here


@dataclass(frozen=True)
class Arithmetic:
    """Widths in bits and rounding modes (spec/numerics.md, section 2).

    The defaults are those of E2-Train, section 4.4: 8-bit activations and weights, 16-bit gradients,
    4- and 10-bit predictors, with the 48-bit accumulator of a DSP48E1.
    """

    x_bits: int = 8  #: activations, 2..16
    w_bits: int = 8  #: weights, 2..16
    g_bits: int = 16  #: gradients of activations, 2..16
    accumulator_bits: int = 48  #: where a convolution's sum saturates, 16..48
    x_signed: bool = False  #: keep the sign bit after a ReLU (the paper's form): 0..2^(x_bits-1)-1
    rounding: str = "half_up"  #: of convolution outputs, activations and gradients
    x_msb_bits: int = 4  #: predictor's activation, 1..x_bits
    g_msb_bits: int = 10  #: predictor's gradient, 1..g_bits
    msb_rounding: str = "half_up"  #: of the predictor's operands; floor biases them (see the notes there)
    input_gradient_bits: int = 0  #: width of dz in the input-gradient pass; 0 = g_bits

    def __post_init__(self) -> None:
        for name in ("x_bits", "w_bits", "g_bits"):
            _check_range(name, getattr(self, name), 2, 16)
        _check_range("accumulator_bits", self.accumulator_bits, 16, 48)
        _check_range("x_msb_bits", self.x_msb_bits, 1, self.x_bits)
        _check_range("g_msb_bits", self.g_msb_bits, 1, self.g_bits)
        if self.input_gradient_bits:
            _check_range("input_gradient_bits", self.input_gradient_bits, 2, self.g_bits)
        Rounding.parse(self.rounding)
        if Rounding.parse(self.msb_rounding) is Rounding.STOCHASTIC:
            raise ValueError("msb_rounding must not be stochastic: choose half_up or toward_zero")

    @property
    def rounding_mode(self) -> Rounding:
        return Rounding.parse(self.rounding)

    @property
    def msb_rounding_mode(self) -> Rounding:
        return Rounding.parse(self.msb_rounding)

    def activation_range(self, signed: bool) -> tuple[int, int]:
        """(lo, hi) of an activation: signed=True for a layer without ReLU, else after a ReLU."""
        if signed:
            limit = (1 << (self.x_bits - 1)) - 1
            return -limit, limit
        return 0, (1 << (self.x_bits - (1 if self.x_signed else 0))) - 1

    def msb_activation_range(self, signed: bool) -> tuple[int, int]:
        """(lo, hi) of the predictor's activation (spec, section 6): signed as in `activation_range`."""
        limit = max(1, (1 << (self.x_msb_bits - 1)) - 1)
        if signed:
            return -limit, limit
        return 0, limit if self.x_signed else (1 << self.x_msb_bits) - 1

    def msb_gradient_range(self) -> tuple[int, int]:
        """(lo, hi) of the predictor's output gradient."""
        limit = max(1, (1 << (self.g_msb_bits - 1)) - 1)
        return -limit, limit

    def activation_exponent(self, range_log2: int, signed: bool) -> int:
        """Exponent of an activation whose range is about 2^range_log2."""
        return range_log2 - (self.x_bits - (1 if signed or self.x_signed else 0))


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be an integer in [{low}, {high}], got {value!r}")
