"""The functional model, quicker: whole layers at once where a descriptor list is one of the planner's.

Memory, result blocks, counters and the state on the chip are then what `joulebit.accelerator.functional` would
have left; whatever is not recognised, or unusual in any way, is executed by it, tile by tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.functional import Functional, Status
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ArrayConfig, Operation
from joulebit.spec.descriptor import DESCRIPTOR_DTYPE, ceil_div
from joulebit_host.boards.placed import Placed, placed
from joulebit_host.boards.recognise import Recogniser, segments
from joulebit_host.boards.whole_layers import WholeLayers
from joulebit_host.driver.packing import WeightPacker

__all__ = ["FastFunctional"]

Int64Array = NDArray[np.int64]
_LISTS = 1024  #: that are remembered


class FastFunctional(Functional):
    """`Functional` with the same results.

    Attributes:
        whole: passes that were computed as a whole; tiles: descriptors that were executed one by one.
    """

    def __init__(
        self,
        config: ArrayConfig,
        memory: NDArray[np.uint8],
        base: int = 0,
        compiled: bool = True,
        threads: int | None = None,
    ) -> None:
        super().__init__(config, memory, base)
        self.whole = self.tiles = 0
        self._recogniser = Recogniser(config)
        self._layers = WholeLayers(compiled, threads)
        #: the last list at each place: its bytes, and its passes
        self._lists: dict[tuple[int, int], tuple[bytes, list[tuple[slice, Placed | None]]]] = {}
        self._begun: dict[int, Callable[[], Int64Array]] = {}  #: by the `id` of the pass
        self._weights_seen: tuple[WeightPacker, bool, bytes, NDArray[np.int8] | None] | None = None

    def run(self, address: int, count: int) -> Status:
        *_, status = self.start(address, count)
        return status

    def start(self, address: int, count: int) -> Iterator[Status]:
        """As `run`, pass by pass: what it would return if the list ended there.

        Helper threads work on the products of weight gradients from now on; what the list reads must not change.
        """
        self._begun.clear()
        passes = self._passes(address, count)
        for _, found in passes or ():
            if found and found.tiles is None:
                assert found.x is not None and found.dz is not None
                self._begun[id(found)] = self._layers.begin_gradient(found.key, found.x, found.dz)
        return self._steps(address, count, passes)

    def _steps(
        self, address: int, count: int, passes: list[tuple[slice, Placed | None]] | None
    ) -> Iterator[Status]:
        if passes is None or self.faults:
            self.tiles += count
            yield super().run(address, count)
            return
        done = 0
        for part, found in passes:
            tiles = part.stop - part.start
            if found and self._compute(found):
                self.whole += 1
                done += tiles
                yield Status(0, 0, done)
                continue
            self.tiles += tiles
            status = super().run(address + spec.DESCRIPTOR_BYTES * part.start, tiles)
            done += status.done
            if status.error:
                yield Status(status.error, part.start + status.error_index, done)
                return
            yield Status(0, 0, done)

    def _passes(self, address: int, count: int) -> list[tuple[slice, Placed | None]] | None:
        """The passes of a list; None where all of it must go tile by tile.

        A list that has not changed is not looked at again.
        """
        start = address - self.base
        stop = start + spec.DESCRIPTOR_BYTES * count
        if self.faults or start < 0 or stop > len(self.memory) or not count:
            return None
        raw = self.memory[start:stop].tobytes()
        known = self._lists.get((start, stop))
        if known is not None and known[0] == raw:
            return known[1]
        listed = np.frombuffer(raw, DESCRIPTOR_DTYPE)
        passes: list[tuple[slice, Placed | None]] = []
        for part in segments(listed):
            found = self._recogniser.find(listed[part])
            passes.append((part, placed(found, self.memory, self.base, (start, stop)) if found else None))
        if len(self._lists) >= _LISTS:
            self._lists.clear()
        self._lists[start, stop] = (raw, passes)
        return passes

    # --- one pass

    def _compute(self, found: Placed) -> bool:
        """Computes a recognised pass; False where it must go tile by tile, then nothing has changed."""
        if found.tiles is not None:
            return self._compute_convolution(found)
        if found.key.operation == Operation.PREDICT:
            self._predict_all(found)
            found.results[...] = found.template.blank_results
            self._count(found)
            return True
        return self._compute_gradient(found)

    def _compute_convolution(self, found: Placed) -> bool:
        """Forward or input gradient; False where the weights are not as `pack_weights` packs them."""
        w = self._unpacked(found)
        if w is None:
            return False
        key, layers, tiles = found.key, self._layers, found.tiles
        assert tiles is not None and found.out is not None
        if key.operation == Operation.FORWARD:
            assert found.x is not None
            peaks, saturated = layers.forward(key, found.x, w, found.shift, found.out, tiles)
        else:
            assert found.dz is not None
            if key.predict:
                self._predict_all(found)
            peaks, saturated = layers.input_gradient(key, found.dz, w, found.mask, found.shift, found.out, tiles)
        words = found.results
        words[...] = found.template.blank_results
        words[:, 1], words[:, 2] = peaks, saturated  # beside the latter nothing is decided
        self._count(found)
        return True

    def _compute_gradient(self, found: Placed) -> bool:
        """A weight gradient: sums, or signs."""
        layer, selective = found.key.layer, found.key.selective
        if selective:
            shape = self._prediction_shape(layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out)
            if self._predicted is None or self._predicted.shape != shape:
                return False
        dw = self._by_lane(self._gradient(found))
        words, positions = found.results, found.template.costs.positions
        words[...] = found.template.blank_results
        threshold = max(1, (found.threshold_q12 * self._predicted_max) >> 12)
        for part in found.parts:
            sums = dw[part.where]
            if not selective:
                words[part.last, 1] = self._layers.store_sums(sums, part.data[: 8 * part.count])
                continue
            assert self._predicted is not None
            guess = self._predicted[part.where]
            count = self._layers.sign_bytes(sums, guess, threshold, part.data[: part.count])
            gated = count * positions[part.tiles]
            words[part.tiles, 5] -= gated.view(np.uint64)
            words[part.tiles, 6] = gated
            words[part.last, 1:4] = self._predicted_max, count << 32, part.elements - count
            self._count_gated(count, part.elements - count, int(gated.sum()))
        self._count(found)
        return True

    def _gradient(self, found: Placed) -> Int64Array:
        """The sums of a weight gradient, or those of the predictor."""
        begun = self._begun.pop(id(found), None)
        if begun is None:
            assert found.x is not None and found.dz is not None
            begun = self._layers.begin_gradient(found.key, found.x, found.dz)
        return begun()

    def _count(self, found: Placed) -> None:
        for name, amount in found.counts:
            self.counters[name] += amount

    def _count_gated(self, decided: int, undecided: int, products: int) -> None:
        counters = self.counters
        counters["DECIDED"] += decided
        counters["UNDECIDED"] += undecided
        counters["MACS_GATED"] += products
        counters["MACS_8X16"] -= products

    # --- the sums on the chip

    def _by_lane(self, dw: Int64Array) -> Int64Array:
        """[block, word of x, kernel row, kernel column, 8, lane] of [kernel_h, kernel_w, c_in, c_out]."""
        height, width, c_in, c_out = dw.shape
        lanes = self.config.out_lanes
        blocks = ceil_div(c_out, lanes)
        if blocks * lanes != c_out:
            wide = np.zeros((height, width, c_in, blocks * lanes), np.int64)
            wide[..., :c_out] = dw
            dw = wide
        return dw.reshape(height, width, c_in // 8, 8, blocks, lanes).transpose(4, 2, 0, 1, 3, 5)

    def _prediction_shape(self, height: int, width: int, c_in: int, c_out: int) -> tuple[int, ...]:
        lanes = self.config.out_lanes
        return ceil_div(c_out, lanes), c_in // 8, height, width, 8, lanes

    def _predict_all(self, found: Placed) -> None:
        """The predictor's sums of a layer, which stay on the chip."""
        sums = self._by_lane(self._gradient(found))
        self._predicted = np.empty(sums.shape, np.int64)
        self._predicted_max = self._layers.store_sums(sums, self._predicted.reshape(-1).view(np.uint8))

    # --- weights

    def _unpacked(self, found: Placed) -> NDArray[np.int8] | None:
        """`WeightPacker.unpack`; weights that are the last ones' are not unpacked again."""
        key, layer, packer, packed = found.key, found.key.layer, found.template.packer, found.packed
        assert packed is not None
        x_unsigned = key.x_unsigned and key.operation == Operation.FORWARD
        raw = packed.tobytes()
        known = self._weights_seen
        if known is None or known[0] is not packer or known[1] != x_unsigned or known[2] != raw:
            shape = (layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out)
            w = self._layers.unpack(packer, packed, shape, x_unsigned)
            known = self._weights_seen = (packer, x_unsigned, raw, w)
        return known[3]
