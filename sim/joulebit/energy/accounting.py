"""What a pass over a layer costs: shapes and samples in, exact counter increments out.

Nothing here looks at a tensor, so the same call counts for every engine, and a schedule can be counted
without computing it. One call is one layer in one step of one phase; `samples` are those that really entered
the layer.

**Multiply-accumulates** are keyed by the widths of their operands, in bits:

    forward            x_bits x w_bits                      8x8
    input gradient     w_bits x (input_gradient_bits or g)  8x16
    weight gradient    x_bits x g_bits                      8x16
    predictor          x_msb x g_msb                        4x10
    gates              16x16, phase other
    float32            fp32

In a layer with weights of fewer values w_bits is what one of them takes: 1 (binary), 2 (ternary),
1 + clog2(w_bits) (powers of two: `shift8x4` forward, `shift16x4` in the input gradient). An adder layer has
`add8x8` forward and `diff8x8x16` in the input gradient: the clipped difference of activation and weight, formed
again, times the gradient; its operands' widths are bounds. What each costs: `joulebit.energy.table`. Gradients of
weights are products of full width in all of them (straight through).

Padding is counted as in every published figure. **Operations** (`ops`) are element-wise steps of one
multiplication and one addition at most: OPERATIONS below.

**Bytes.** One simple dataflow, the same for fixed point and float32. DRAM: each pass reads its operands and
writes its result once per step; nothing of an activation's size stays on the chip from one pass to the next
(ResNet-74 at batch 128 holds about 88 MB of 8-bit activations; the XC7Z020 has 0.6 MB). Weights are read once
per pass and step.

    pass                          reads                              writes
    forward                       x, w                               z, or a where there is no batch norm
      batch norm, activation      z (and the shortcut)               a
    batch norm backward: sums     g, z                               -
      and dz                      g, z                               dz
      a bias instead              g                                  -     (dz is g)
    input gradient                dz, w, x (mask) (and g, shortcut)  g
    weight gradient               x, dz                              dw (and the update's reading of it)
      predicted: first sweep      x_msb, dz_msb                      -
                 second sweep     the other bits of x and dz         signs (and the update's reading of them)
    update                        m, v                               m, v
    weights                       m                                  w

z is 16 bits wide (32 in float32) and batch norm is what forces it out: its statistics need the whole batch.
Its sums are taken while z leaves the array. The gradient of a shortcut and its activation are counted at the
size of the block's output, with the convolution that ends the block. The second sweep of a predicted gradient
happens when any element is undecided, and then needs all of x and dz: the undecided elements are strewn over
all channels. Its first sweep reads the leading bits only, held as a bit plane of their own, so that together
each operand crosses once; that is also the upper bound for a predictor which runs beside the input gradient,
where x and dz pass by anyway.

SRAM: the array is 16 output channels x 4 input channels x 3 kernel columns (192 multipliers; spec of the
overlay). A feature is fetched once for 16 channels and, through a shift register, for 3 columns; 12 products
are added up before a partial sum is touched. With P = output positions * samples, groups of Ci -> Co channels
and a Kh x Kw kernel, T(n, t) = ceil(n / t):

    moving operand (x forward, dz in the input gradient with Ci and Co exchanged)
                                     P * groups * Ci * T(Co, 16) * Kh * T(Kw, 3)
    stationary operand (w)           weights * samples                      (loaded again for every image)
    partial sums, read and written   2 * P * groups * Co * T(Ci, 4) * Kh * T(Kw, 3)
    weight gradient: x               P * groups * Ci * T(Co, 16) * Kh * T(Kw, 3)
                     dz              P * groups * Co * T(Ci, 4) * Kh * T(Kw, 3)
                     dw registers    2 * weights * samples                  of accumulator_bits, read and written
                     predicted       the same at x_msb and g_msb bits, then the undecided share at full width

and every bit that crosses DRAM passes a buffer (line buffer, FIFO) once on its way. Vectors without reuse
(the classifier, gates) fetch both operands for every multiply-accumulate.

Bits (`joulebit.energy.widths`) are summed over a call and level, then rounded up to whole bytes, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from joulebit.energy.counters import Counters
from joulebit.energy.widths import SIGN_BITS, Widths
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import ConvPlan, HeadPlan, NetworkPlan, ResidualPlan, Shape

ARRAY_OUT = 16  #: output channels of the array
ARRAY_IN = 4  #: input channels of the array
ARRAY_COLUMNS = 3  #: kernel columns of the array

#: Element-wise operations per element.
OPERATIONS = {
    "norm": 5,  # sum, sum of squares, x-hat, gamma and beta, activation
    "bias": 2,  # bias, activation
    "shortcut": 1,
    "norm_backward": 7,  # x-hat, two sums; x-hat again, two subtractions, scale
    "bias_backward": 1,
    "mask": 1,
    "pool": 1,
    "update": 4,  # mean, decay, momentum, master
    "adam": 9,  # mean, decay, both moments (3), root, bias, division, master
}


@dataclass(frozen=True)
class Fetches:
    """Operand fetches and partial-sum accesses of the array, in elements per sample."""

    moving: int
    sums: int  #: reads plus writes


def array_fetches(conv: ConvPlan, transposed: bool = False) -> Fetches:
    """Of a pass of a convolution; transposed=True for the input gradient (input and output channels exchanged)."""
    groups, c_in, c_out = _channels(conv)
    if transposed:
        c_in, c_out = c_out, c_in
    steps = conv.out_shape[0] * conv.out_shape[1] * groups * _kernel_steps(conv)
    return Fetches(steps * c_in * _tiles(c_out, ARRAY_OUT), 2 * steps * c_out * _tiles(c_in, ARRAY_IN))


class Accountant:
    """Adds what passes cost to `counters`.

    Args:
        counters: where to count.
        arithmetic: widths of the run; None counts float32. `Widths` are taken as they are (for arithmetics that no
            engine computes).

    Every method counts one layer in one step; `backward=False` is its forward pass, `backward=True` its backward
    pass alone. The first convolution (index 0) has no input gradient: do not call it there.
    """

    def __init__(self, counters: Counters, arithmetic: Arithmetic | Widths | None) -> None:
        self.counters = counters
        self.widths = arithmetic if isinstance(arithmetic, Widths) else Widths.of(arithmetic)

    # -- convolutions ----------------------------------------------------------------------------------------

    def forward(self, conv: ConvPlan, samples: int) -> None:
        """Convolution, batch norm (or bias) and activation of `samples` samples; phase forward."""
        if not samples:
            return
        bits = self.widths
        weights, entered, left = _weights(conv), samples * _size(conv.in_shape), samples * _size(conv.out_shape)
        w = bits.weight(conv)
        self._macs("forward", bits.layer_kind(conv, bits.x), samples * conv.macs)
        operations = OPERATIONS["norm" if conv.norm else "bias"]
        dram = entered * bits.x + weights * w + left * bits.x
        if conv.norm:
            dram += 2 * left * bits.z
        if conv.ends_block:
            dram += left * bits.x
            operations += OPERATIONS["shortcut"]
        self._ops("forward", bits.operation(bits.z), operations * left)
        fetches = array_fetches(conv)
        sums = bits.sum(bits.x, 1 if conv.kind == "adder" else w, conv.macs // _size(conv.out_shape))
        sram = samples * (fetches.moving * bits.x + weights * w + fetches.sums * sums)
        self._bytes("forward", dram, sram)

    def input_gradient(self, conv: ConvPlan, samples: int) -> None:
        """Gradient of a convolution's input, the mask and the shortcut's gradient; phase input_gradient."""
        if not samples:
            return
        bits = self.widths
        weights, entered, left = _weights(conv), samples * _size(conv.in_shape), samples * _size(conv.out_shape)
        w = bits.weight(conv)
        self._macs(
            "input_gradient", bits.layer_kind(conv, bits.input_gradient, backward=True), samples * conv.macs
        )
        self._ops("input_gradient", bits.operation(bits.g), OPERATIONS["mask"] * entered)
        dram = left * bits.input_gradient + weights * w + entered * (bits.x + bits.g)
        if conv.ends_block:
            dram += left * bits.g
            self._ops("input_gradient", bits.operation(bits.g), OPERATIONS["shortcut"] * left)
        fetches = array_fetches(conv, transposed=True)
        kernel_h, kernel_w, _, c_out = conv.weight_shape
        sums = bits.sum(w, bits.input_gradient, kernel_h * kernel_w * c_out // conv.geometry.groups)
        sram = samples * (fetches.moving * bits.input_gradient + weights * w + fetches.sums * sums)
        self._bytes("input_gradient", dram, sram)

    def weight_gradient(
        self,
        conv: ConvPlan,
        samples: int,
        predictor: tuple[int, int] | None = None,
        outputs: Sequence[int] | None = None,
    ) -> None:
        """Gradient of a convolution's weights; phase weight_gradient.

        predictor = (decided, total) weight elements: every product is done at the predictor's widths, those of the
        total - decided undecided elements again at full width, and the rest counts as skipped.weight_gradient.psg.
        outputs: in each group of the convolution, the number of output channels whose weights have a gradient at
        all; None: all of them. Groups without one are not read.

        Raises:
            ValueError: total is not the number of weights with a gradient, decided not in [0, total], there is no
                predictor, or outputs are not those of the groups.
        """
        if not samples:
            return
        bits = self.widths
        positions = samples * conv.out_shape[0] * conv.out_shape[1]
        groups, c_in, c_out = _channels(conv)
        if outputs is None:
            chosen, x_tiles, read = groups * c_out, groups * _tiles(c_out, ARRAY_OUT), groups * c_in
        elif len(outputs) == groups and all(0 <= chosen <= c_out for chosen in outputs):
            chosen = sum(outputs)
            x_tiles = sum(_tiles(count, ARRAY_OUT) for count in outputs)
            read = c_in * sum(count > 0 for count in outputs)
        else:
            raise ValueError(
                f"{conv.name} has {groups} groups of {c_out} output channels: outputs must be {groups} numbers in "
                f"[0, {c_out}], got {list(outputs)}"
            )
        weights = _weights(conv) // conv.out_shape[2] * chosen
        steps = positions * _kernel_steps(conv)
        x_fetches = steps * c_in * x_tiles
        dz_fetches = steps * chosen * _tiles(c_in, ARRAY_IN)
        entered, left = samples * conv.in_shape[0] * conv.in_shape[1] * read, positions * chosen
        full_dram = entered * bits.x + left * bits.g
        full_fetches = x_fetches * bits.x + dz_fetches * bits.g
        kind = bits.kind(bits.x, bits.g)
        if conv.kind == "adder":  # sums of dz, and per weight: the product with a sum, and the adaptive rate's two
            self._ops("weight_gradient", bits.operation(bits.accumulator), left + 3 * weights)
        if predictor is None:
            self._macs("weight_gradient", kind, positions * weights)
            sums = 2 * samples * weights * bits.accumulator
            self._bytes("weight_gradient", full_dram + 2 * weights * bits.accumulator, full_fetches + sums)
            return
        decided, total = predictor
        if not bits.x_msb:
            raise ValueError("a gradient cannot be predicted without predictor widths (float32 has none)")
        if total != weights or not 0 <= decided <= total:
            raise ValueError(
                f"{conv.name} has {weights} weights: predictor must be (decided, {weights}) with decided "
                f"in [0, {weights}], got {predictor}"
            )
        undecided = total - decided
        self._macs("weight_gradient", bits.kind(bits.x_msb, bits.g_msb), positions * weights)
        self._macs("weight_gradient", kind, positions * undecided)
        self._skip("weight_gradient", "psg", positions * decided)
        dram = full_dram if undecided else entered * bits.x_msb + left * bits.g_msb
        msb_fetches = x_fetches * bits.x_msb + dz_fetches * bits.g_msb
        sums = 2 * samples * (weights + undecided) * bits.accumulator
        sram = msb_fetches + -(-full_fetches * undecided // total) + sums
        self._bytes("weight_gradient", dram + 2 * weights * SIGN_BITS, sram)

    def norm_backward(self, conv: ConvPlan, samples: int, shifts_only: bool = False) -> None:
        """dz and the sums for gamma and beta (or the bias); phase input_gradient.

        shifts_only: no more than the gradient's sums, for beta or the bias: nothing below needs dz.
        """
        bits = self.widths
        left = samples * _size(conv.out_shape)
        if shifts_only:
            self._ops("input_gradient", bits.operation(bits.g), OPERATIONS["bias_backward"] * left)
            self._bytes("input_gradient", left * bits.g)
            return
        operations = OPERATIONS["norm_backward" if conv.norm else "bias_backward"]
        self._ops("input_gradient", bits.operation(bits.g), operations * left)
        dram = left * (2 * (bits.g + bits.z) + bits.g) if conv.norm else left * bits.g
        self._bytes("input_gradient", dram)

    def weights(self, conv: ConvPlan) -> None:
        """w from the master weights after an update; phase update. float32 computes with the masters."""
        bits = self.widths
        if bits.fp32:
            return
        weights = _weights(conv)
        self._ops("update", bits.operation(bits.master), weights)
        self._bytes("update", weights * (bits.master + bits.weight(conv)))

    # -- other layers ----------------------------------------------------------------------------------------

    def head(self, head: HeadPlan, samples: int, backward: bool, input_needed: bool = True) -> None:
        """The classifier, and the pooling before it. Its gradient is never predicted.

        input_needed=False: only the classifier trains, no gradient goes back (backward pass alone).
        """
        if not samples:
            return
        bits = self.widths
        entered, macs = samples * _size(head.in_shape), samples * head.macs
        pooled = bits.x
        if head.pooled and not bits.fp32:
            pooled += (head.in_shape[0] * head.in_shape[1] - 1).bit_length()
        features, outputs = samples * head.features, samples * head.classes
        if not backward:
            self._macs("forward", bits.kind(pooled, bits.w), macs)
            if head.pooled:
                self._ops("forward", bits.operation(pooled), OPERATIONS["pool"] * entered)
            dram = entered * bits.x + head.macs * bits.w + outputs * 32
            self._bytes("forward", dram, macs * (pooled + bits.w))
            return
        if input_needed:
            self._macs("input_gradient", bits.kind(bits.w, bits.g), macs)
            self._ops("input_gradient", bits.operation(bits.g), OPERATIONS["mask"] * entered)
            dram = outputs * bits.g + head.macs * bits.w + entered * (bits.x + bits.g)
            self._bytes("input_gradient", dram, macs * (bits.w + bits.g))
        self._macs("weight_gradient", bits.kind(pooled, bits.g), macs)
        dram = features * pooled + outputs * bits.g + 2 * head.macs * bits.accumulator
        self._bytes("weight_gradient", dram, macs * (pooled + bits.g))

    def join(self, elements: int) -> None:
        """Two gradients of so many elements are added up; phase input_gradient."""
        self._ops("input_gradient", self.widths.operation(self.widths.g), elements)
        self._bytes("input_gradient", 3 * elements * self.widths.g)

    def pool(self, in_shape: Shape, out_shape: Shape, samples: int, backward: bool) -> None:
        """Maximum pooling: one comparison per input element."""
        bits = self.widths
        entered, left = samples * _size(in_shape), samples * _size(out_shape)
        if backward:
            self._ops("input_gradient", bits.operation(bits.g), OPERATIONS["pool"] * entered)
            self._bytes("input_gradient", left * bits.g + entered * (bits.x + bits.g))
        else:
            self._ops("forward", bits.operation(bits.x), OPERATIONS["pool"] * entered)
            self._bytes("forward", (entered + left) * bits.x)

    def shortcut(self, block: ResidualPlan, samples: int, backward: bool) -> None:
        """What a closed block still moves: its input to its output, and the gradient back."""
        bits = self.widths
        entered, left = samples * _size(block.in_shape), samples * _size(block.out_shape)
        kept = samples * block.out_shape[0] * block.out_shape[1] * block.in_shape[2]
        if backward:
            self._ops("input_gradient", bits.operation(bits.g), OPERATIONS["mask"] * entered)
            self._bytes("input_gradient", kept * bits.g + entered * (bits.x + bits.g))
        else:
            self._ops("forward", bits.operation(bits.x), OPERATIONS["shortcut"] * left)
            self._bytes("forward", (kept + left) * bits.x)

    def gate(self, macs: int, samples: int, backward: bool) -> None:
        """A gate of `macs` multiply-accumulates per sample and pass, about one per parameter; phase other.

        The backward pass forms two products for each of the forward pass.
        """
        if not samples:
            return
        bits = self.widths
        passes = 2 if backward else 1
        self._macs("other", bits.kind(bits.gate, bits.gate), passes * samples * macs)
        self._bytes("other", passes * macs * bits.gate, 2 * passes * samples * macs * bits.gate)

    def other(self, operations: int, dram_bits: int) -> None:
        """Element-wise operations on numbers of the masters' width, and bits over DRAM; phase other."""
        if operations:
            self._ops("other", self.widths.operation(self.widths.master), operations)
        self._bytes("other", dram_bits)

    def update(self, elements: int, second_moment: bool = False) -> None:
        """`elements` parameters change: masters and momentum are read and written; phase update.

        second_moment: by Adam, which keeps a second number of the momentum's width.
        """
        bits = self.widths
        self.counters.add("updated", elements)
        operations = OPERATIONS["adam" if second_moment else "update"]
        self._ops("update", bits.operation(bits.master), operations * elements)
        self._bytes("update", 2 * elements * (bits.master + (1 + second_moment) * bits.momentum))

    # -- what was not done -----------------------------------------------------------------------------------

    def skip(self, phase: str, reason: str, macs: int) -> None:
        """Multiply-accumulates of a phase that were not done."""
        self._skip(phase, reason, macs)

    def pruned(self, phase: str, macs: int) -> None:
        """Multiply-accumulates of a phase that were done though the weight is pruned: they count as done, too.

        Zeros strewn over a kernel save no cycle of an array that works on 16 x 4 channels at a time.
        """
        self._count(f"pruned.{phase}", macs)

    def skip_block(self, block: ResidualPlan, samples: int, reason: str) -> None:
        """A block that `samples` samples did not enter; reason slu, sd or another of the counters' reasons."""
        self._skip("forward", reason, samples * block.macs)
        backward = sum(conv.macs for conv in block.convs if conv.index)
        self._skip("input_gradient", reason, samples * backward)
        self._skip("weight_gradient", reason, samples * block.macs)

    def skip_gradients(
        self, convs: Iterable[ConvPlan], samples: int, reason: str, input_gradient: bool = True
    ) -> None:
        """Convolutions whose gradients were not formed, though their forward pass ran; reason frozen, say.

        input_gradient=False: the gradient still went through them.
        """
        for conv in convs:
            self._skip("weight_gradient", reason, samples * conv.macs)
            if input_gradient and conv.index:
                self._skip("input_gradient", reason, samples * conv.macs)

    def skip_batch(self, plan: NetworkPlan, samples: int) -> None:
        """A batch that was dropped before it was loaded: reason smd, batches.dropped."""
        self._skip_network(plan, samples, "smd")
        self.counters.add("batches.dropped", 1)

    def skip_samples(self, plan: NetworkPlan, samples: int, reason: str) -> None:
        """Samples that were left out of their batch before it was loaded: samples.skipped."""
        if not samples:
            return
        self._skip_network(plan, samples, reason)
        self._count("samples.skipped", samples)

    def _skip_network(self, plan: NetworkPlan, samples: int, reason: str) -> None:
        first = sum(conv.macs for conv in plan.convs() if not conv.index)
        self._skip("forward", reason, samples * plan.macs)
        self._skip("input_gradient", reason, samples * (plan.macs - first))
        self._skip("weight_gradient", reason, samples * plan.macs)

    # -- keys ------------------------------------------------------------------------------------------------

    def _macs(self, phase: str, kind: str, amount: int) -> None:
        self._count(f"macs.{phase}.{kind}", amount)

    def _ops(self, phase: str, kind: str, amount: int) -> None:
        self._count(f"ops.{phase}.{kind}", amount)

    def _skip(self, phase: str, reason: str, amount: int) -> None:
        self._count(f"skipped.{phase}.{reason}", amount)

    def _bytes(self, phase: str, dram_bits: int, array_bits: int = 0) -> None:
        """Bits over DRAM, which also pass an on-chip buffer, and bits between the buffers and the array."""
        self._count(f"bytes.{phase}.dram", -(-dram_bits // 8))
        self._count(f"bytes.{phase}.sram", -(-(dram_bits + array_bits) // 8))

    def _count(self, key: str, amount: int) -> None:
        if amount < 0:
            raise ValueError(f"{key} cannot shrink, got {amount}: samples and elements must not be negative")
        if amount:
            self.counters.add(key, amount)


def _size(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]


def _weights(conv: ConvPlan) -> int:
    kernel_h, kernel_w, c_in, c_out = conv.weight_shape
    return kernel_h * kernel_w * c_in * c_out


def _channels(conv: ConvPlan) -> tuple[int, int, int]:
    """(groups, input channels of a group, output channels of a group)."""
    groups = conv.geometry.groups
    return groups, conv.in_shape[2] // groups, conv.out_shape[2] // groups


def _tiles(size: int, tile: int) -> int:
    return -(-size // tile)


def _kernel_steps(conv: ConvPlan) -> int:
    """Array steps that one output position and pair of channel tiles takes."""
    return conv.geometry.kernel_h * _tiles(conv.geometry.kernel_w, ARRAY_COLUMNS)
