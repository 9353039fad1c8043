"""Weight gradients that the accelerator forms while the processor does other things.

Nobody needs a layer's weight gradient before the update. It is listed behind the layer's input gradient, with
which the processor goes on as soon as that is done: shortcuts, batch norm and its gradient.
"""

from __future__ import annotations

from collections.abc import Callable

from joulebit.engine.base import Array, ConvGeometry
from joulebit_host.engine.overlay import OverlayEngine
from joulebit_host.engine.predicted import Promise

__all__ = ["BackgroundEngine"]


class BackgroundEngine(OverlayEngine):
    """`OverlayEngine` that need not wait for weight gradients."""

    def begin_weight_gradient(
        self, x: Array, dz: Array, geometry: ConvGeometry, msb: bool = False
    ) -> Callable[[], tuple[Array, int]]:
        """conv_weight_gradient, or with `msb` conv_weight_gradient_msb, once what is returned is called.

        x and dz must not change before.
        """
        if self._predictor and self._predictor.takes(x, dz, geometry):
            if msb:
                self._predictor.begin(x, dz, geometry)
            promise = Promise(self, x, dz, geometry, msb)
            return lambda: (promise, 0)
        if msb:
            sums = self.predicted_sums(x, dz, geometry)
            return lambda: (sums, 0)
        found = self._gradient_pass(x, dz, geometry)
        if found is None:
            formed = self._processor.conv_weight_gradient(x, dz, geometry)
            return lambda: formed
        mapped, passes = found
        begun = self.session.begin(passes)

        def gradient() -> tuple[Array, int]:
            exact = self._gradient_of(mapped, begun.result(), x, dz, geometry)
            if exact is None:
                return self._processor.conv_weight_gradient(x, dz, geometry)  # type: ignore[no-any-return]
            return self._accumulated(exact, x, dz, geometry)

        return gradient
