"""`Engine` whose convolution passes run on an accelerator; everything else runs on the processor's engine.

The bits are those of every other engine. Which passes the accelerator takes is in `mapping`; the others are
computed by the processor, and counted by reason in the session.

* Forward: z leaves the accelerator requantised; the processor adds up what batch norm needs.
* Input gradient: masked and requantised by the accelerator where nothing is added; else its exact sums come back,
  and the processor adds the shortcut's gradient, masks and requantises.
* Weight gradient: exact sums.
* Predicted signs (`selective`): `conv_weight_gradient` and `conv_weight_gradient_msb` return promises. Once
  `predict_signs` asks for directions, one list forms the input gradient's sums with the predictor beside them
  (`OverlaySession.beside`; else the prediction alone), and then the weight gradient of undecided elements only.
  The input gradient that the network asks for next is finished from those sums. How many decided signs are wrong
  is not known then, and not counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.tiling import Layer
from joulebit.engine.base import Array, ConvGeometry, ConvOutput, Int64Array, Quantised
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import Rounding, saturate
from joulebit.spec.accelerator import Operation
from joulebit_host.boards.base import BoardMemoryError
from joulebit_host.driver import DeviceTensor, Job, PassResult
from joulebit_host.driver.plans import PassKey
from joulebit_host.engine.finishing import Addend, Finisher
from joulebit_host.engine.mapping import Mapped, predictor_matches
from joulebit_host.engine.session import OverlaySession
from joulebit_host.engine.verifying import check_same

__all__ = ["OverlayEngine", "Promise"]

T = TypeVar("T")


class Promise:
    """A weight gradient (or its predicted sums) that is formed when somebody asks for its numbers."""

    def __init__(
        self,
        engine: OverlayEngine,
        x: NDArray[Any],
        dz: NDArray[np.int16],
        geometry: ConvGeometry,
        predicted: bool,
    ) -> None:
        self._engine = engine
        self.x, self.dz, self.geometry = x, dz, geometry
        self.predicted = predicted
        self._value: Int64Array | None = None

    def value(self) -> Int64Array:
        """int64 [kernel_h, kernel_w, c_in, c_out]."""
        if self._value is None:
            form = self._engine.predicted_sums if self.predicted else self._engine.exact_sums
            self._value = form(self.x, self.dz, self.geometry)
        return self._value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.value(), dtype)


class _Sums(NamedTuple):
    """An input gradient's exact sums that were formed beside a prediction."""

    dz: weakref.ref[Any]
    w: weakref.ref[Any]
    result: PassResult
    mapped: Mapped


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
        self._processor = processor or _processor_engine(self.arithmetic, threads)
        self._finisher = Finisher(self.arithmetic, threads, compiled=self._processor.name == "numba")
        self._promises = session.selective and predictor_matches(self.arithmetic)
        self._layers: dict[tuple[int, ConvGeometry, tuple[int, ...]], tuple[Any, Any]] = {}
        self._inputs: dict[int, weakref.ref[Any]] = {}
        self._beside: _Sums | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def with_arithmetic(self, arithmetic: Arithmetic) -> OverlayEngine:
        """The same accelerator with other widths."""
        return OverlayEngine(self.session, arithmetic, self._threads)

    # --- arrays

    def from_numpy(self, array: NDArray[Any]) -> Array:
        own = self._processor.from_numpy(array)
        if own.dtype == np.int8:  # the network's images: nobody asks for their gradient
            name = id(own)
            self._inputs[name] = weakref.ref(own, lambda _: self._inputs.pop(name, None))
        return own

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return array.value() if isinstance(array, Promise) else self._processor.to_numpy(array)

    def put(self, target: Array, index: Int64Array, value: Array) -> Array:
        self.session.operands.forget(target)
        return self._processor.put(target, index, value)

    # --- forward

    def conv_forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int = 0) -> ConvOutput:
        mapped, why = self._mapped(x, w.shape, geometry, w)
        exact = self._rounds_itself and _largest_forward(w) <= self._acc_limit and 0 <= shift <= 47
        if mapped:
            why = self._refusal(PassKey(
                mapped.layer, Operation.FORWARD, x.dtype == np.uint8, self._mode if exact else 0, raw=not exact
            ))  # fmt: skip
        if not mapped or why:
            return self._by_processor("forward", why).conv_forward(x, w, geometry, shift, key)  # type: ignore[no-any-return]
        if self._promises:
            self._remember(x, w, geometry)
        weights = mapped.weights(w)

        def build(job: Job) -> PassResult:
            tensor = self._uploaded(x)
            return job.forward(
                tensor, weights, mapped.layer, shift if exact else 0, self._mode if exact else 0, raw=not exact
            )

        result = self._fitting(build)
        if result is None:
            return self._forward_in_parts(x, w, geometry, shift, key)
        if exact:
            z, total, squares = self._finisher.with_sums(result.tensor())
            output = ConvOutput(z, result.peak, result.saturated, total, squares)
        else:
            values, peak, saturated = self._finisher.forward(result.tensor(), shift, key)
            z, total, squares = self._finisher.with_sums(values)
            output = ConvOutput(z, peak, saturated, total, squares)
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
        sums = self._sums_beside(dz, w)
        if sums is not None:
            gradient = self._finished(sums, input_hw, shift, align, addend, mask, mask_below, key)
            if self.session.verifies():
                self._verify("input gradient", gradient, self._processor.conv_input_gradient(*arguments))
            return gradient
        c_in = w.shape[2] * geometry.groups
        shape = (dz.shape[0], *input_hw, c_in)
        mapped, why = self._mapped(dz, w.shape, geometry, w, shape)
        masks = mask is None or mask.dtype == np.uint8
        direct = (
            add is None
            and align == 0
            and masks
            and self._rounds_itself
            and self.arithmetic.g_bits == 16
            and 0 <= shift <= 47
            and _largest_backward(w) <= self._acc_limit
        )
        if mapped:
            why = self._refusal(PassKey(
                mapped.layer, Operation.INPUT_GRADIENT, rounding=self._mode if direct else 0, raw=not direct,
                masked=direct and mask is not None, mask_below=mask_below if direct and mask is not None else 0,
            ))  # fmt: skip
        if not mapped or why:
            processor = self._by_processor("input gradient", why)
            return processor.conv_input_gradient(*arguments)  # type: ignore[no-any-return]
        weights = mapped.weights(w)
        if direct:
            found = self._direct(mapped, dz, weights, shift, mask, mask_below, shape)
        else:
            found = self._by_sums(mapped, dz, weights, shape, shift, align, addend, mask, mask_below, key)
        if found is None:
            return self._input_gradient_in_parts(arguments)
        gradient = found
        self._done("input gradient")
        if self.session.verifies():
            self._verify("input gradient", gradient, self._processor.conv_input_gradient(*arguments))
        return gradient

    def _direct(
        self, mapped: Mapped, dz: NDArray[np.int16], weights: NDArray[np.int8], shift: int,
        mask: NDArray[np.uint8] | None, mask_below: int, shape: tuple[int, ...],
    ) -> Quantised | None:  # fmt: skip
        """An input gradient that the accelerator masks and requantises; None where its memory is too small."""

        def build(job: Job) -> PassResult:
            return job.input_gradient(
                self._uploaded(dz), weights, mapped.layer, shift, self._mode,
                mask=None if mask is None else self._uploaded(mask),
                mask_below=0 if mask is None else mask_below,
            )  # fmt: skip

        result = self._fitting(build)
        if result is None:
            return None
        gradient = self._finisher.empty(shape)
        np.copyto(gradient, _unflattened(result.tensor(), shape))
        return Quantised(gradient, result.peak, result.saturated)

    def _by_sums(
        self, mapped: Mapped, dz: NDArray[np.int16], weights: NDArray[np.int8], shape: tuple[int, ...], shift: int,
        align: int, add: Addend, mask: NDArray[Any] | None, mask_below: int, key: int,
    ) -> Quantised | None:  # fmt: skip
        """An input gradient that the processor finishes, some samples at a time; None as `_direct`."""
        gradient = self._finisher.empty(shape)
        samples, each = shape[0], int(np.prod(shape[1:]))
        step = max(1, min(samples, self.session.part_bytes // (8 * each)))
        peak = saturated = 0
        for first in range(0, samples, step):
            part = slice(first, min(first + step, samples))
            layer = replace(mapped.layer, images=part.stop - first)

            def build(job: Job, part: slice = part, layer: Layer = layer) -> PassResult:
                tensor = self._uploaded(dz)
                return job.input_gradient(tensor.part(part.start, part.stop), weights, layer, raw=True)

            result = self._fitting(build)
            if result is None:
                return None
            done = self._finisher.input_gradient(
                _unflattened(result.tensor(), (layer.images, *shape[1:])), result.peak, shift, align,
                add._replace(value=None if add.value is None else add.value[part]),
                None if mask is None else mask[part], mask_below, _moved(key, first * each), gradient[part],
            )  # fmt: skip
            peak, saturated = max(peak, done.peak), saturated + done.saturated
        return Quantised(gradient, peak, saturated)

    def _sums_beside(self, dz: Array, w: Array) -> _Sums | None:
        """The sums that a prediction left for this gradient."""
        found = self._beside
        return found if found and found.dz() is dz and found.w() is w else None

    def _finished(
        self, sums: _Sums, input_hw: tuple[int, int], shift: int, align: int, add: Addend, mask: Array | None,
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
        if self._promises and self._can_promise(x, dz, geometry):
            return Promise(self, x, dz, geometry, False), 0
        exact = self._exact_gradient(x, dz, geometry)
        if exact is None:
            return self._processor.conv_weight_gradient(x, dz, geometry)  # type: ignore[no-any-return]
        clamped = saturate(exact, self.arithmetic.accumulator_bits)
        lost = int(np.count_nonzero(clamped != exact))
        if self.session.verifies():
            expected = self._processor.conv_weight_gradient(x, dz, geometry)
            self._verify("weight gradient", (clamped, lost), expected)
        return clamped, lost

    def _exact_gradient(self, x: NDArray[Any], dz: NDArray[np.int16], geometry: ConvGeometry) -> Int64Array | None:
        """The sums before they are clamped; None (and counted) where the processor must form them."""
        mapped, why = self._mapped(x, (geometry.kernel_h, geometry.kernel_w, 0, dz.shape[3]), geometry, None)
        if mapped:
            why = self._refusal(PassKey(mapped.layer, Operation.WEIGHT_GRADIENT, x.dtype == np.uint8))
        if not mapped or why or dz.dtype != np.int16:
            self._by_processor("weight gradient", why)
            return None

        def build(job: Job) -> PassResult:
            return job.weight_gradient(self._uploaded(x), self._uploaded(dz), mapped.layer)

        result = self._fitting(build)
        if result is None:
            (x1, x2), (dz1, dz2) = self._halves(x), self._halves(dz)
            first, second = self._exact_gradient(x1, dz1, geometry), self._exact_gradient(x2, dz2, geometry)
            return None if first is None or second is None else first + second
        self._done("weight gradient")
        return mapped.gradient(result.gradient())

    def conv_weight_gradient_msb(self, x: Array, dz: Array, geometry: ConvGeometry) -> Array:
        if self._promises and self._can_promise(x, dz, geometry):
            return Promise(self, x, dz, geometry, True)
        return self.predicted_sums(x, dz, geometry)

    def exact_sums(self, x: Array, dz: Array, geometry: ConvGeometry) -> Int64Array:
        """`conv_weight_gradient` for a promise: sums that no accumulator clamps."""
        exact = self._exact_gradient(x, dz, geometry)
        return exact if exact is not None else self._processor.conv_weight_gradient(x, dz, geometry)[0]

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
            found = self._signs(exact, threshold_q12)
            if found is not None:
                return found
        return self._processor.predict_signs(  # type: ignore[no-any-return]
            self.to_numpy(exact), self.to_numpy(predicted), threshold_q12
        )

    def _can_promise(self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry) -> bool:
        """Whether the accelerator can predict these signs, and no exact sum can be clamped."""
        mapped, why = self._mapped(x, (geometry.kernel_h, geometry.kernel_w, 0, dz.shape[3]), geometry, None)
        if not mapped or why or dz.dtype != np.int16:
            return False
        unsigned = x.dtype == np.uint8
        products = dz.shape[0] * dz.shape[1] * dz.shape[2] * 255 * 32767
        return products <= self._acc_limit and not any(
            self._refusal(
                PassKey(mapped.layer, operation, unsigned, selective=operation == Operation.WEIGHT_GRADIENT)
            )
            for operation in (Operation.PREDICT, Operation.WEIGHT_GRADIENT)
        )

    def _signs(self, promise: Promise, threshold_q12: int) -> tuple[Int64Array, dict[str, int]] | None:
        """Directions by one list; None where the board's memory does not hold the layer."""
        x, dz, geometry = promise.x, promise.dz, promise.geometry
        mapped, _ = self._mapped(x, (geometry.kernel_h, geometry.kernel_w, 0, dz.shape[3]), geometry, None)
        assert mapped is not None
        self._beside = None
        w = self._weights_of(x, geometry, dz.shape[3]) if self.session.beside else None
        if w is not None and self._refusal(
            PassKey(mapped.layer, Operation.INPUT_GRADIENT, x.dtype == np.uint8, raw=True, predict=True)
        ):
            w = None
        weights = None if w is None else mapped.weights(w)

        def build(job: Job) -> tuple[PassResult, PassResult]:
            operands: tuple[DeviceTensor, DeviceTensor] = self._uploaded(x), self._uploaded(dz)
            if weights is None:
                first = job.predict(*operands, mapped.layer)
            else:
                first = job.input_gradient(operands[1], weights, mapped.layer, raw=True, predict=operands[0])
            return first, job.weight_signs(*operands, mapped.layer, threshold_q12)

        found = self._fitting(build)
        if found is None:
            self._by_processor(
                "signs", "the threshold needs the whole batch, which the board's memory does not hold"
            )
            return None
        first, second = found
        if w is not None:
            self._beside = _Sums(weakref.ref(dz), weakref.ref(w), first, mapped)
            self._done("input gradient and prediction")
        else:
            self._done("prediction")
        directions, _ = second.signs()
        signs = mapped.gradient(directions.astype(np.int64))
        self._done("weight signs")
        peak = second.peak
        counts = {
            "total": signs.size,
            "decided": second.total("decided"),
            "threshold": max(1, (threshold_q12 * peak) >> 12),
        }
        if self.session.verifies():
            exact, _ = self._processor.conv_weight_gradient(x, dz, geometry)
            guess = self._processor.conv_weight_gradient_msb(x, dz, geometry)
            expected, expected_counts = self._processor.predict_signs(exact, guess, threshold_q12)
            known = {name: expected_counts[name] for name in counts}
            self._verify("weight signs", (signs, *counts.values()), (expected, *known.values()))
        return signs, counts

    # --- small parts

    def _fitting(self, build: Callable[[Job], T]) -> T | None:
        """`OverlaySession.run`, None where the board's memory is too small; by then all operands have left it."""
        try:
            return self.session.run(build)
        except BoardMemoryError:
            return None

    @property
    def _mode(self) -> int:
        return int(self.arithmetic.rounding_mode)

    @property
    def _rounds_itself(self) -> bool:
        """Whether the accelerator knows the run's rounding mode."""
        return self.arithmetic.rounding_mode is not Rounding.STOCHASTIC

    @property
    def _acc_limit(self) -> int:
        return (1 << (self.arithmetic.accumulator_bits - 1)) - 1

    def _mapped(
        self, values: NDArray[Any], w_shape: tuple[int, ...], geometry: ConvGeometry, w: NDArray[Any] | None,
        x_shape: tuple[int, ...] | None = None,
    ) -> tuple[Mapped | None, str]:  # fmt: skip
        """The layer for the accelerator; None and why where widths or shapes are not its."""
        if x_shape is None and values.dtype not in (np.dtype(np.uint8), np.dtype(np.int8)):
            return None, f"activations of type {values.dtype}"
        if w is not None and w.dtype != np.int8:
            return None, f"weights of type {w.dtype}"
        return self.session.mapper.describe(x_shape or values.shape, geometry, w_shape[3])

    def _refusal(self, key: PassKey) -> str:
        return self.session.mapper.refusal(key)

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

    def _remember(self, x: NDArray[Any], w: NDArray[np.int8], geometry: ConvGeometry) -> None:
        """Which weights met x, so that its input gradient can be formed beside the prediction."""
        if id(x) in self._inputs:
            return
        name = (id(x), geometry, w.shape[3:])
        self._layers[name] = (weakref.ref(x, lambda _: self._layers.pop(name, None)), weakref.ref(w))

    def _weights_of(self, x: NDArray[Any], geometry: ConvGeometry, c_out: int) -> NDArray[np.int8] | None:
        found = self._layers.get((id(x), geometry, (c_out,)))
        if found is None or found[0]() is not x:
            return None
        w: NDArray[np.int8] | None = found[1]()
        return w


def _processor_engine(arithmetic: Arithmetic, threads: int | None) -> Any:
    try:
        from joulebit.engine.numba_engine import NumbaEngine

        return NumbaEngine(arithmetic, threads)
    except ModuleNotFoundError:
        from joulebit.engine.numpy_engine import NumpyEngine

        return NumpyEngine(arithmetic)


def _largest_forward(w: NDArray[Any]) -> int:
    """A bound on |sum| of a forward pass."""
    return 255 * 127 * int(np.prod(w.shape[:3]))


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
