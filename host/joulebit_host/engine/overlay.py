"""`Engine` whose convolution passes run on an accelerator; everything else runs on the processor's engine.

The bits are those of every other engine. Which passes the accelerator takes is in `mapping`; the others are
computed by the processor, and counted by reason in the session.

* Forward: z leaves the accelerator requantised; the processor adds up what batch norm needs.
* Input gradient: masked and requantised by the accelerator where nothing is added; else its exact sums come back,
  and the processor adds the shortcut's gradient, masks and requantises.
* Weight gradient: exact sums.
* Predicted signs (`selective`): `joulebit_host.engine.predicted`. How many decided signs are wrong is not known
  then, and not counted, unless the session is told to form the exact sums as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, ConvGeometry, ConvOutput, Int64Array, Quantised
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import Rounding, saturate
from joulebit.fixed.rounding import peak as peak_of
from joulebit.fixed.update import LayerUpdate
from joulebit.spec.accelerator import Operation
from joulebit_host.boards.base import BoardMemoryError
from joulebit_host.boards.threads import shared_workers
from joulebit_host.driver import DeviceTensor, Job, PassResult
from joulebit_host.driver.plans import Template
from joulebit_host.engine.finishing import Addend, Finisher
from joulebit_host.engine.mapping import Choice, Mapped, predictor_matches
from joulebit_host.engine.predicted import Promise, SignPredictor, SumsBeside
from joulebit_host.engine.session import OverlaySession
from joulebit_host.engine.verifying import check_same

__all__ = ["OverlayEngine", "Promise"]


_BYTES = (np.dtype(np.uint8), np.dtype(np.int8))


class OverlayEngine:
    """`joulebit.engine.base.Engine` on an accelerator; what is not written here is the processor's engine's.

    Args:
        session: the accelerator and its book-keeping.
        arithmetic: widths and rounding modes.
        threads: of the processor's engine.
        processor: the engine for everything else; by default numba where it is installed, else numpy.
    """

    name = "overlay"

    def __init__(
        self,
        session: OverlaySession,
        arithmetic: Arithmetic | None = None,
        threads: int | None = None,
        processor: Any = None,
    ) -> None:
        self.arithmetic = arithmetic or Arithmetic()
        self.session = session
        self._threads = threads
        self._processor = processor or _processor_engine(session, self.arithmetic, threads)
        self._finisher = Finisher(self.arithmetic, threads, compiled=self._processor.name == "numba")
        self._mode = int(self.arithmetic.rounding_mode)
        #: Whether the accelerator knows the run's rounding mode.
        self._rounds_itself = self.arithmetic.rounding_mode is not Rounding.STOCHASTIC
        self._acc_limit = (1 << (self.arithmetic.accumulator_bits - 1)) - 1
        promises = session.selective and predictor_matches(self.arithmetic)
        self._predictor = SignPredictor(session, self._acc_limit) if promises else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def with_arithmetic(self, arithmetic: Arithmetic) -> OverlayEngine:
        """The same accelerator with other widths."""
        return type(self)(self.session, arithmetic, self._threads)

    # --- arrays

    def from_numpy(self, array: NDArray[Any]) -> Array:
        own = self._processor.from_numpy(array)
        if self._predictor and own.dtype == np.int8:
            self._predictor.entered(own)
        return own

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return array.value() if isinstance(array, Promise) else self._processor.to_numpy(array)

    def put(self, target: Array, index: Int64Array, value: Array) -> Array:
        self.session.operands.forget(target)
        return self._processor.put(target, index, value)

    def update_layers(self, layers: Sequence[LayerUpdate]) -> list[tuple[Array, int]]:
        """`update` and then `quantise_weights` of many layers: at once where the processor's engine can."""
        processor = self._processor
        if hasattr(processor, "update_layers"):
            return processor.update_layers(layers)  # type: ignore[no-any-return]
        for layer in layers:
            processor.update(*layer)
        return [processor.quantise_weights(layer.master) for layer in layers]

    # --- forward

    def conv_forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int = 0) -> ConvOutput:
        exact = self._rounds_itself and _largest_forward(w) <= self._acc_limit and 0 <= shift <= 47
        choice = self._choice(
            Operation.FORWARD, x, w, x.shape, geometry, w.shape[3], x.dtype == np.uint8,
            self._mode if exact else 0, not exact,
        )  # fmt: skip
        mapped, template = choice.mapped, choice.template
        if mapped is None or template is None:
            return self._by_processor("forward", choice.why).conv_forward(x, w, geometry, shift, key)  # type: ignore[no-any-return]
        if self._predictor:
            self._predictor.met(x, w, geometry)
        weights = mapped.weights(w)
        result = self.session.run(
            lambda job: job.add(template, x=self._uploaded(x), w=weights, shift=shift if exact else 0)
        )
        if result is None:
            return self._forward_in_parts(x, w, geometry, shift, key)
        if exact:
            z, peak, saturated = self._kept(result.tensor()), result.peak, result.saturated
        else:
            z, peak, saturated = self._finisher.forward(result.tensor(), shift, key)
        output = ConvOutput(z, peak, saturated, *self._finisher.channel_sums(z))
        self._done("forward")
        if self.session.verifies():
            self._verify("forward", output, self._processor.conv_forward(x, w, geometry, shift, key))
        return output

    def _forward_in_parts(
        self, x: NDArray[Any], w: NDArray[np.int8], geometry: ConvGeometry, shift: int, key: int
    ) -> ConvOutput:
        """As `conv_forward`, half of the samples at a time."""
        first, second = self._halves(x)
        positions = int(np.prod(geometry.output_size(x.shape[1], x.shape[2])))
        a = self.conv_forward(first, w, geometry, shift, key)
        b = self.conv_forward(second, w, geometry, shift, _moved(key, len(first) * positions * w.shape[3]))
        return ConvOutput(
            np.concatenate([a.z, b.z]), max(a.peak, b.peak), a.saturated + b.saturated, a.total + b.total,
            a.total_squares + b.total_squares,
        )  # fmt: skip

    # --- input gradient

    def conv_input_gradient(
        self, dz: Array, w: Array, geometry: ConvGeometry, input_hw: tuple[int, int], shift: int, align: int = 0,
        add: Array | None = None, add_stride: int = 1, add_align: int = 0, mask: Array | None = None,
        mask_below: int = 0, key: int = 0,
    ) -> Quantised:  # fmt: skip
        arguments = (dz, w, geometry, input_hw, shift, align, add, add_stride, add_align, mask, mask_below, key)
        addend = Addend(add, add_stride, add_align)
        sums = self._predictor.sums_beside(dz, w) if self._predictor else None
        if sums is not None:
            finished = self._finished(sums, input_hw, shift, align, addend, mask, mask_below, key)
            if self.session.verifies():
                self._verify("input gradient", finished, self._processor.conv_input_gradient(*arguments))
            return finished
        c_in = w.shape[2] * geometry.groups
        shape = (dz.shape[0], *input_hw, c_in)
        direct = (
            add is None
            and align == 0
            and (mask is None or mask.dtype == np.uint8)
            and self._rounds_itself
            and self.arithmetic.g_bits == 16
            and 0 <= shift <= 47
            and _largest_backward(w) <= self._acc_limit
        )
        masked = direct and mask is not None
        choice = self._choice(
            Operation.INPUT_GRADIENT, None, w, shape, geometry, w.shape[3], False, self._mode if direct else 0,
            not direct, masked, mask_below if masked else 0,
        )  # fmt: skip
        mapped, template = choice.mapped, choice.template
        if mapped is None or template is None:
            processor = self._by_processor("input gradient", choice.why)
            return processor.conv_input_gradient(*arguments)  # type: ignore[no-any-return]
        weights = mapped.weights(w)
        gradient: Quantised | None
        if direct:
            gradient = self._direct(template, dz, weights, shift, mask, shape)
        else:
            gradient = self._by_sums(geometry, dz, weights, shape, shift, align, addend, mask, mask_below, key)
        if gradient is None:
            return self._input_gradient_in_parts(arguments)
        self._done("input gradient")
        if self.session.verifies():
            self._verify("input gradient", gradient, self._processor.conv_input_gradient(*arguments))
        return gradient

    def _direct(
        self, template: Template, dz: NDArray[np.int16], weights: NDArray[np.int8], shift: int,
        mask: NDArray[np.uint8] | None, shape: tuple[int, ...],
    ) -> Quantised | None:  # fmt: skip
        """An input gradient that the accelerator masks and requantises; None where its memory is too small."""

        def add(job: Job) -> PassResult:
            masking = None if mask is None else self._uploaded(mask)
            return job.add(template, g=self._uploaded(dz), w=weights, mask=masking, shift=shift)

        result = self.session.run(add)
        if result is None:
            return None
        return Quantised(self._kept(_unflattened(result.tensor(), shape)), result.peak, result.saturated)

    def _by_sums(
        self, geometry: ConvGeometry, dz: NDArray[np.int16], weights: NDArray[np.int8], shape: tuple[int, ...],
        shift: int, align: int, add: Addend, mask: NDArray[Any] | None, mask_below: int, key: int,
    ) -> Quantised | None:  # fmt: skip
        """An input gradient that the processor finishes, some samples at a time; None as `_direct`."""
        gradient = self._finisher.empty(shape)
        samples, each = shape[0], math.prod(shape[1:])
        step = max(1, min(samples, self.session.part_bytes // (8 * each)))
        peak = saturated = 0
        for first in range(0, samples, step):
            part = slice(first, min(first + step, samples))
            part_shape = (part.stop - first, *shape[1:])
            template = self.session.mapper.choose(
                Operation.INPUT_GRADIENT, part_shape, geometry, dz.shape[3], raw=True
            ).template
            assert template is not None
            result = self.session.run(
                lambda job, template=template, part=part: job.add(  # type: ignore[misc]
                    template, g=self._uploaded(dz).part(part.start, part.stop), w=weights
                ),
                more=part.stop < samples,
            )
            if result is None:
                return None
            done = self._finisher.input_gradient(
                _unflattened(result.tensor(), part_shape), result.peak, shift, align,
                add._replace(value=None if add.value is None else add.value[part]),
                None if mask is None else mask[part], mask_below, _moved(key, first * each), gradient[part],
            )  # fmt: skip
            del result  # the next part's sums go to the same memory, which is in the caches
            peak, saturated = max(peak, done.peak), saturated + done.saturated
        return Quantised(gradient, peak, saturated)

    def _finished(
        self, sums: SumsBeside, input_hw: tuple[int, int], shift: int, align: int, add: Addend, mask: Array | None,
        mask_below: int, key: int,
    ) -> Quantised:  # fmt: skip
        shape = (sums.mapped.layer.images, *input_hw, sums.mapped.kernel[2])
        exact = _unflattened(sums.result.tensor(), shape)
        return self._finisher.input_gradient(exact, sums.result.peak, shift, align, add, mask, mask_below, key)

    def _input_gradient_in_parts(self, arguments: tuple[Any, ...]) -> Quantised:
        """As `conv_input_gradient`, half of the samples at a time."""
        dz, w, geometry, input_hw, shift, align, add, add_stride, add_align, mask, below, key = arguments
        cut = len(self._halves(dz)[0])
        elements = cut * input_hw[0] * input_hw[1] * w.shape[2] * geometry.groups
        parts = [
            self.conv_input_gradient(
                dz[part], w, geometry, input_hw, shift, align, None if add is None else add[part], add_stride,
                add_align, None if mask is None else mask[part], below, moved,
            )
            for part, moved in ((slice(cut), key), (slice(cut, None), _moved(key, elements)))
        ]  # fmt: skip
        return Quantised(
            np.concatenate([part.data for part in parts]),
            max(part.peak for part in parts),
            sum(part.saturated for part in parts),
        )

    # --- weight gradient

    def conv_weight_gradient(self, x: Array, dz: Array, geometry: ConvGeometry) -> tuple[Array, int]:
        if self._predictor and self._predictor.takes(x, dz, geometry):
            return Promise(self, x, dz, geometry, False), 0
        exact = self._exact_gradient(x, dz, geometry)
        if exact is None:
            return self._processor.conv_weight_gradient(x, dz, geometry)  # type: ignore[no-any-return]
        return self._accumulated(exact, x, dz, geometry)

    def _accumulated(
        self, exact: Gradient, x: NDArray[Any], dz: NDArray[np.int16], geometry: ConvGeometry
    ) -> tuple[Int64Array, int]:
        """The sums as the accumulator holds them, and how many it clamped."""
        clamped, lost = exact.value, 0
        if exact.peak > self._acc_limit:
            clamped = saturate(exact.value, self.arithmetic.accumulator_bits)
            lost = int(np.count_nonzero(clamped != exact.value))
        if self.session.verifies():
            expected = self._processor.conv_weight_gradient(x, dz, geometry)
            self._verify("weight gradient", (clamped, lost), expected)
        return clamped, lost

    def _exact_gradient(self, x: NDArray[Any], dz: NDArray[np.int16], geometry: ConvGeometry) -> Gradient | None:
        """The sums before they are clamped; None (and counted) where the processor must form them."""
        found = self._gradient_pass(x, dz, geometry)
        return found and self._gradient_of(found[0], self.session.run(found[1]), x, dz, geometry)

    def _gradient_pass(
        self, x: NDArray[Any], dz: NDArray[np.int16], geometry: ConvGeometry
    ) -> tuple[Mapped, Callable[[Job], PassResult]] | None:
        """A weight gradient as the accelerator sees it, and what adds it to a job; None as `_exact_gradient`."""
        choice = self._choice(
            Operation.WEIGHT_GRADIENT, x, None, x.shape, geometry, dz.shape[3], x.dtype == np.uint8
        )
        mapped, template = choice.mapped, choice.template
        if mapped is None or template is None or dz.dtype != np.int16:
            self._by_processor("weight gradient", choice.why)
            return None
        return mapped, lambda job: job.add(template, x=self._uploaded(x), g=self._uploaded(dz))

    def _gradient_of(
        self,
        mapped: Mapped,
        result: PassResult | None,
        x: NDArray[Any],
        dz: NDArray[np.int16],
        geometry: ConvGeometry,
    ) -> Gradient | None:
        """The sums that a pass left; without a result (too little memory) those of both halves of the samples."""
        if result is None:
            (x1, x2), (dz1, dz2) = self._halves(x), self._halves(dz)
            first, second = self._exact_gradient(x1, dz1, geometry), self._exact_gradient(x2, dz2, geometry)
            return None if first is None or second is None else Gradient.of(first.value + second.value)
        self._done("weight gradient")
        return Gradient(mapped.gradient(result.gradient(self.session.recycled.empty)), result.peak)

    def conv_weight_gradient_msb(self, x: Array, dz: Array, geometry: ConvGeometry) -> Array:
        if self._predictor and self._predictor.takes(x, dz, geometry):
            return Promise(self, x, dz, geometry, True)
        return self.predicted_sums(x, dz, geometry)

    def exact_sums(self, x: Array, dz: Array, geometry: ConvGeometry) -> Int64Array:
        """`conv_weight_gradient` for a promise: sums that no accumulator clamps."""
        exact = self._exact_gradient(x, dz, geometry)
        return exact.value if exact else self._processor.conv_weight_gradient(x, dz, geometry)[0]

    def predicted_sums(self, x: Array, dz: Array, geometry: ConvGeometry) -> Int64Array:
        """`conv_weight_gradient_msb` by the processor: the accelerator keeps these sums to itself."""
        processor = self._by_processor("predicted sums", "sums stay on the chip")
        return processor.conv_weight_gradient_msb(x, dz, geometry)  # type: ignore[no-any-return]

    def sign(self, exact: Array) -> Array:
        return self._processor.sign(self.to_numpy(exact))

    def predict_signs(self, exact: Array, predicted: Array, threshold_q12: int) -> tuple[Array, dict[str, int]]:
        if (
            isinstance(exact, Promise)
            and isinstance(predicted, Promise)
            and exact.x is predicted.x
            and exact.dz is predicted.dz
            and exact.geometry == predicted.geometry
        ):
            assert self._predictor is not None
            found = self._predictor.signs(exact.x, exact.dz, exact.geometry, threshold_q12)
            if found is not None:
                if self.session.verifies():
                    self._verify_signs(exact, threshold_q12, *found)
                return found
            self._by_processor(
                "signs", "the threshold needs the whole batch, which the board's memory does not hold"
            )
        return self._processor.predict_signs(  # type: ignore[no-any-return]
            self.to_numpy(exact), self.to_numpy(predicted), threshold_q12
        )

    def _verify_signs(
        self, promise: Promise, threshold_q12: int, signs: Int64Array, counts: dict[str, int]
    ) -> None:
        operands = promise.x, promise.dz, promise.geometry
        exact, _ = self._processor.conv_weight_gradient(*operands)
        guess = self._processor.conv_weight_gradient_msb(*operands)
        expected, expected_counts = self._processor.predict_signs(exact, guess, threshold_q12)
        known = {name: expected_counts[name] for name in counts}
        self._verify("weight signs", (signs, *counts.values()), (expected, *known.values()))

    # --- small parts

    def _kept(self, result: NDArray[Any]) -> NDArray[Any]:
        """A result in board memory that the processor goes on with: there, or a copy of it."""
        if self.session.shared.keeps(result):
            return result
        copy = self._finisher.empty(result.shape)
        np.copyto(copy, result)
        return copy

    def _choice(
        self, operation: Operation, x: NDArray[Any] | None, w: NDArray[Any] | None, x_shape: tuple[int, ...],
        geometry: ConvGeometry, c_out: int, *flags: Any,
    ) -> Choice:  # fmt: skip
        """`Mapper.choose`; nothing, and why, where an operand is not of the accelerator's type."""
        if x is not None and x.dtype not in _BYTES:
            return Choice(None, None, f"activations of type {x.dtype}")
        if w is not None and w.dtype != np.int8:
            return Choice(None, None, f"weights of type {w.dtype}")
        return self.session.mapper.choose(operation, x_shape, geometry, c_out, *flags)

    def _by_processor(self, name: str, why: str) -> Any:
        self.session.processor[f"{name}: {why}"] += 1
        return self._processor

    def _done(self, name: str) -> None:
        self.session.passes[name] += 1

    def _verify(self, name: str, got: Any, expected: Any) -> None:
        check_same(name, got, expected)
        self.session.verified += 1

    def _uploaded(self, array: NDArray[Any]) -> DeviceTensor:
        return self.session.operands.get(array)

    def _halves(self, array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The samples in two parts; BoardMemoryError where there is only one."""
        if len(array) < 2:
            accelerator = self.session.accelerator
            raise BoardMemoryError(
                f"the memory of board {self.session.board.name} does not hold one sample of a layer with tensors "
                f"of {array[:1].nbytes:,} bytes ({accelerator.memory.held:,} bytes are allocated): use a smaller "
                "network"
            )
        self.session.split += 1
        half = len(array) // 2
        return array[:half], array[half:]


class Gradient(NamedTuple):
    """Exact sums of a weight gradient, and their largest magnitude."""

    value: Int64Array
    peak: int

    @staticmethod
    def of(value: Int64Array) -> Gradient:
        return Gradient(value, peak_of(value))


def _processor_engine(session: OverlaySession, arithmetic: Arithmetic, threads: int | None) -> Any:
    """numba where it is installed, with its tensors in board memory as far as they may be there; else numpy."""
    try:
        from joulebit.engine.numba_engine import NumbaEngine

        return NumbaEngine(arithmetic, workers=shared_workers(threads), pool=session.pool)
    except ModuleNotFoundError:
        from joulebit.engine.numpy_engine import NumpyEngine

        return NumpyEngine(arithmetic)


def _largest_forward(w: NDArray[Any]) -> int:
    """A bound on |sum| of a forward pass."""
    return 255 * 127 * int(math.prod(w.shape[:3]))


def _largest_backward(w: NDArray[Any]) -> int:
    """A bound on |sum| of an input gradient."""
    return int(32767 * 127 * w.shape[0] * w.shape[1] * w.shape[3])


def _moved(key: int, elements: int) -> int:
    """The key of stochastic rounding after so many elements (`joulebit.nn.context.Pass.rounding_key`)."""
    return (key + elements * 0x9E3779B97F4A7C15) & ((1 << 64) - 1)


def _unflattened(tensor: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A gradient [N, 1, 1, H * W * C8] of a flattened layer as [N, H, W, C]."""
    if tensor.shape == shape:
        return tensor
    whole = tensor.reshape(shape[0], shape[1], shape[2], -1)
    return whole[..., : shape[3]]
