"""Signs that the accelerator predicts: weight gradients that nobody forms before somebody asks for their numbers.

`OverlayEngine.conv_weight_gradient` and `conv_weight_gradient_msb` return promises. Once `predict_signs` asks for
directions, one list forms the prediction and then the weight gradient of undecided elements only. Where that saves
time (`OverlaySession.beside`) the prediction runs beside the input gradient's sums, from which the gradient that
the network asks for next is finished.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import ConvGeometry, Int64Array
from joulebit.spec.accelerator import Operation
from joulebit_host.driver import Job, PassResult
from joulebit_host.engine.mapping import Choice, Mapped
from joulebit_host.engine.session import Begun, OverlaySession

__all__ = ["Promise", "SignPredictor", "SumsBeside"]


class Former(Protocol):
    """Who forms the sums of a promise: `OverlayEngine`."""

    def exact_sums(self, x: Any, dz: Any, geometry: ConvGeometry) -> Int64Array: ...

    def predicted_sums(self, x: Any, dz: Any, geometry: ConvGeometry) -> Int64Array: ...


class Promise:
    """A weight gradient (or its predicted sums) that is formed when somebody asks for its numbers."""

    def __init__(
        self, former: Former, x: NDArray[Any], dz: NDArray[np.int16], geometry: ConvGeometry, predicted: bool
    ) -> None:
        self._former = former
        self.x, self.dz, self.geometry = x, dz, geometry
        self.predicted = predicted
        self._value: Int64Array | None = None

    def value(self) -> Int64Array:
        """int64 [kernel_h, kernel_w, c_in, c_out]."""
        if self._value is None:
            form = self._former.predicted_sums if self.predicted else self._former.exact_sums
            self._value = form(self.x, self.dz, self.geometry)
        return self._value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.value(), dtype)


class SumsBeside(NamedTuple):
    """An input gradient's exact sums that were formed beside a prediction."""

    dz: weakref.ref[Any]
    w: weakref.ref[Any]
    result: PassResult
    mapped: Mapped


_Results = tuple[PassResult, PassResult, PassResult | None]  #: prediction, signs, and all sums if asked for


class _Expected(NamedTuple):
    """Signs that the accelerator forms before anybody asks for them."""

    x: NDArray[Any]
    dz: NDArray[Any]
    geometry: ConvGeometry
    threshold_q12: int
    passes: Begun[_Results]

    def is_for(self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry, threshold_q12: int) -> bool:
        same = self.x is x and self.dz is dz
        return same and (self.geometry, self.threshold_q12) == (geometry, threshold_q12)


class SignPredictor:
    """Predicts signs on the accelerator of a session.

    Args:
        acc_limit: of the run's accumulator: what may exceed it is not predicted here.
    """

    def __init__(self, session: OverlaySession, acc_limit: int) -> None:
        self._session = session
        self._acc_limit = acc_limit
        self._layers: dict[tuple[int, ConvGeometry, tuple[int, ...]], tuple[Any, Any]] = {}
        self._inputs: dict[int, weakref.ref[Any]] = {}
        self._beside: SumsBeside | None = None
        self._expected: list[_Expected] = []
        self._known_plans: dict[tuple[Any, ...], tuple[Choice, ...]] = {}
        self._threshold_q12: int | None = None  #: that was asked for last

    def takes(self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry) -> bool:
        """Whether the accelerator can predict these signs, and no exact sum can be clamped."""
        products = dz.shape[0] * dz.shape[1] * dz.shape[2] * 255 * 32767
        if x.itemsize != 1 or dz.dtype != np.int16 or products > self._acc_limit:
            return False
        plans = self._plans(x, dz, geometry)
        return all(plan.template is not None for plan in plans)

    def begin(self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry) -> None:
        """Lets the accelerator form what `signs` will ask for, by the threshold that it asked for last."""
        if self._threshold_q12 is not None and not self._session.beside:
            plans = self._plans(x, dz, geometry)
            passes = self._passes(x, dz, plans[0], None, plans, self._threshold_q12)
            begun = _Expected(x, dz, geometry, self._threshold_q12, self._session.begin(passes))
            self._expected = [*self._expected[-1:], begun]  # that of the layer before is still to be asked for

    def signs(
        self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry, threshold_q12: int
    ) -> tuple[Int64Array, dict[str, int]] | None:
        """Directions and counts by one list; None where the board's memory does not hold the layer."""
        session = self._session
        self._beside, self._threshold_q12 = None, threshold_q12
        plans = prediction, gradient, _ = self._plans(x, dz, geometry)
        w = self._weights_of(x, geometry, dz.shape[3]) if session.beside else None
        beside = None
        if w is not None:
            unsigned = x.dtype == np.uint8
            beside = session.mapper.choose(
                Operation.INPUT_GRADIENT, x.shape, geometry, dz.shape[3], unsigned, raw=True, predict=True
            )
        if beside is None or beside.mapped is None or beside.template is None:
            w, beside = None, prediction
        assert beside.mapped and gradient.mapped
        weights = None if w is None else beside.mapped.weights(w)
        begun = next((one for one in self._expected if one.is_for(x, dz, geometry, threshold_q12)), None)
        if begun is None:
            found = session.run(self._passes(x, dz, beside, weights, plans, threshold_q12))
        else:
            self._expected.remove(begun)
            found = begun.passes.result()
        if found is None:
            return None
        first, second, sums = found
        if w is not None:
            self._beside = SumsBeside(weakref.ref(dz), weakref.ref(w), first, beside.mapped)
            session.passes["input gradient and prediction"] += 1
        else:
            session.passes["prediction"] += 1
        session.passes["weight signs"] += 1
        signs = gradient.mapped.gradient(second.directions(session.recycled.empty))
        counts = {
            "total": signs.size,
            "decided": second.total("decided"),
            "threshold": max(1, (threshold_q12 * second.peak) >> 12),
        }
        if sums is not None:
            directions, decided = second.signs()
            counts["wrong"] = int(np.count_nonzero(decided & (directions != np.sign(sums.gradient()))))
            session.passes["weight gradient"] += 1
        return signs, counts

    def _passes(
        self, x: NDArray[Any], dz: NDArray[Any], first: Choice, weights: NDArray[np.int8] | None,
        plans: tuple[Choice, ...], threshold_q12: int,
    ) -> Callable[[Job], _Results]:  # fmt: skip
        """What adds a prediction by the plan `first` and the undecided gradient to a job; if asked, all of it."""
        session, (_, gradient, exact) = self._session, plans
        predicts, forms, counts = first.template, gradient.template, exact.template
        assert predicts is not None and forms is not None

        def add(job: Job) -> _Results:
            on_x, on_dz = session.operands.get(x), session.operands.get(dz)
            prediction = job.add(predicts, x=on_x, g=on_dz, w=weights)
            signs = job.add(forms, x=on_x, g=on_dz, threshold_q12=threshold_q12)
            if counts is None or not session.count_wrong:
                return prediction, signs, None
            return prediction, signs, job.add(counts, x=on_x, g=on_dz)

        return add

    def sums_beside(self, dz: NDArray[Any], w: NDArray[Any]) -> SumsBeside | None:
        """The sums that a prediction left for this input gradient."""
        found = self._beside
        return found if found and found.dz() is dz and found.w() is w else None

    # --- which weights met which activations, so that the input gradient can be formed beside the prediction

    def entered(self, images: NDArray[Any]) -> None:
        """The network's images: nobody asks for their gradient."""
        name = id(images)
        self._inputs[name] = weakref.ref(images, lambda _: self._inputs.pop(name, None))

    def met(self, x: NDArray[Any], w: NDArray[np.int8], geometry: ConvGeometry) -> None:
        """A forward pass of x by these weights."""
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

    def _plans(self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry) -> tuple[Choice, ...]:
        """Of the prediction alone, of the undecided weight gradient, and of all of it."""
        name = (x.shape, geometry, dz.shape[3], x.dtype == np.uint8)
        known = self._known_plans.get(name)
        if known is None:
            choose = self._session.mapper.choose
            known = self._known_plans[name] = (
                choose(Operation.PREDICT, *name),
                choose(Operation.WEIGHT_GRADIENT, *name, selective=True),
                choose(Operation.WEIGHT_GRADIENT, *name),
            )
        return known
