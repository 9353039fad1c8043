"""The functional model, quicker: whole layers at once where a descriptor list is one of the planner's.

Memory, result blocks, counters and the state on the chip are then what `joulebit.accelerator.functional` would
have left; whatever is not recognised, or unusual in any way, is executed by it, tile by tile.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.functional import Functional, Status
from joulebit.fixed.rounding import peak
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ArrayConfig, Flag, Operation
from joulebit.spec.descriptor import DESCRIPTOR_DTYPE, RESULT_DTYPE, ceil_div
from joulebit_host.boards.recognise import Found, Recogniser, segments
from joulebit_host.boards.whole_layers import Tiles, WholeLayers, tiles_of
from joulebit_host.driver.packing import WeightPacker, tensor_view
from joulebit_host.driver.plans import Template

__all__ = ["FastFunctional"]

Int64Array = NDArray[np.int64]
_LISTS = 4096  #: lists that are remembered
_PLACES = 512  #: of lists, whose bytes are remembered too
_SUM_LIMIT = (1 << 47) - 1  #: beyond it the engine's weight gradient would be clamped


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
        self._lists: dict[bytes, list[tuple[slice, Found | None]]] = {}
        self._places: dict[
            tuple[int, int], tuple[NDArray[np.uint64], list[tuple[slice, Found | None]]]
        ] = {}  #: the last list at each
        self._weights_seen: tuple[WeightPacker, bool, NDArray[np.uint8], NDArray[np.int8] | None] | None = None
        self._views: dict[int, tuple[Found, tuple[int, int], Any]] = {}
        self._cuts: dict[int, tuple[Template, Tiles | None]] = {}

    def run(self, address: int, count: int) -> Status:
        size = spec.DESCRIPTOR_BYTES * count
        start = address - self.base
        if self.faults or start < 0 or start + size > len(self.memory):
            self.tiles += count
            return super().run(address, count)
        if not count:
            return super().run(address, count)
        status = Status()
        for part, found in self._recognised(start, size):
            if found and self._compute(found, (start, start + size)):
                status.done += part.stop - part.start
                self.whole += 1
                continue
            self.tiles += part.stop - part.start
            done = super().run(address + spec.DESCRIPTOR_BYTES * part.start, part.stop - part.start)
            status.done += done.done
            if done.error:
                return Status(done.error, part.start + done.error_index, status.done)
        return status

    def _recognised(self, start: int, size: int) -> list[tuple[slice, Found | None]]:
        """The passes of the list at this offset; the same bytes are looked at once."""
        data = self.memory[start : start + size]
        last = self._places.get((start, size))
        if last is not None and (last[0] == data.view(np.uint64)).all():
            return last[1]
        raw = data.tobytes()
        digest = hashlib.blake2b(raw, digest_size=16).digest()
        known = self._lists.get(digest)
        if known is None:
            listed = np.frombuffer(raw, DESCRIPTOR_DTYPE)
            known = [(part, self._recogniser.find(listed[part])) for part in segments(listed)]
            if len(self._lists) >= _LISTS:
                self._lists.clear()
            self._lists[digest] = known
        if len(self._places) >= _PLACES:
            self._places.clear()
        self._places[start, size] = (np.frombuffer(raw, np.uint64), known)
        return known

    # --- one pass

    def _compute(self, found: Found, listed: tuple[int, int]) -> bool:
        """Computes a recognised pass; False where it must go tile by tile, then nothing has changed."""
        key = found.key
        layer = key.layer
        tensors = self._tensors(found, listed)
        if tensors is None:
            return False
        x, g, w, mask, out = tensors
        if key.operation in (Operation.FORWARD, Operation.INPUT_GRADIENT):
            tiles = self._tiles(found.template)
            assert out is not None
            if tiles is None or w is None:
                return False
            if key.operation == Operation.FORWARD:
                peaks, saturated = self._layers.forward(key, x, w, found.shift, out, tiles)
            else:
                if key.predict:
                    self._keep_prediction(self._layers.predicted(x, g, layer))
                peaks, saturated = self._layers.input_gradient(key, g, w, mask, found.shift, out, tiles)
            self._finish(found, {"peak": peaks, "saturated": saturated})
            return True
        products = layer.images * layer.out_h * layer.out_w * 255 * 32768
        if products > _SUM_LIMIT:
            return False
        if key.operation == Operation.PREDICT:
            self._keep_prediction(self._layers.predicted(x, g, layer))
            self._finish(found, {})
            return True
        return self._compute_gradient(found, x, g)

    def _compute_gradient(self, found: Found, x: NDArray[Any], g: NDArray[np.int16]) -> bool:
        """A weight gradient: sums, or signs."""
        layer, template = found.key.layer, found.template
        pieces = template.plan.pieces
        selective = found.key.selective
        if selective:
            shape = self._prediction_shape(layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out)
            if self._predicted is None or self._predicted.shape != shape:
                return False
        dw = self._by_lane(self._layers.weight_gradient(x, g, layer))
        start = found.bases["out_address"] - self.base
        flags, costs = template.plan.descriptors["flags"], template.costs
        fields = {
            name: np.zeros(len(template), np.int64) for name in ("peak", "decided", "undecided", "macs_gated")
        }
        lasts = np.flatnonzero(flags >> Flag.LAST & 1)
        piece_of_tile = np.cumsum(flags >> Flag.FIRST & 1) - 1
        for number, (piece, last) in enumerate(zip(pieces, lasts)):
            where = tuple(slice(*ends) for ends in piece[1:])
            part = dw[where]
            data = self.memory[start + piece.offset :]
            if not selective:
                fields["peak"][last] = self._layers.store_sums(part, data[: 8 * part.size])
                continue
            assert self._predicted is not None
            threshold = max(1, (found.threshold_q12 * self._predicted_max) >> 12)
            count = self._layers.sign_bytes(part, self._predicted[where], threshold, data[: part.size])
            elements = int(costs.macs[last]) // int(costs.positions[last])
            own = piece_of_tile == number
            fields["macs_gated"][own] = count * costs.positions[own]
            fields["decided"][last], fields["undecided"][last] = count, elements - count
            fields["peak"][last] = self._predicted_max
        self._finish(found, fields)
        return True

    def _finish(self, found: Found, fields: dict[str, Any]) -> None:
        """Result blocks and counters."""
        template = found.template
        key, counters = found.key, self.counters
        start = found.bases["result_address"] - self.base
        data = self.memory[start : start + spec.RESULT_BYTES * len(template)]
        words = data.view(np.uint64).reshape(len(template), -1)
        words[...] = template.blank_results
        if key.operation in (Operation.FORWARD, Operation.INPUT_GRADIENT):
            words[:, 1], words[:, 2] = fields["peak"], fields["saturated"]  # beside the latter nothing is decided
        else:
            blocks = data.view(RESULT_DTYPE)
            for name, values in fields.items():
                blocks[name] = values
        gated = 0
        if "macs_gated" in fields:
            gated = int(fields["macs_gated"].sum())
            words[:, 5] -= words[:, 6]  # the gated ones are not among the products
            counters["DECIDED"] += int(fields["decided"].sum())
            counters["UNDECIDED"] += int(fields["undecided"].sum())
        totals = template.totals
        counters["MACS_8X8" if key.operation == Operation.FORWARD else "MACS_8X16"] += totals.macs - gated
        counters["MACS_GATED"] += gated
        counters["MACS_4X10"] += totals.macs_4x10
        counters["PORT0_READ_BYTES"] += totals.port0_read
        counters["PORT0_WRITE_BYTES"] += totals.port0_write
        counters["PORT1_READ_BYTES"] += totals.port1_read
        counters["PORT1_WRITE_BYTES"] += totals.port1_write

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

    def _keep_prediction(self, predicted: Int64Array) -> None:
        self._predicted = np.ascontiguousarray(self._by_lane(predicted))
        self._predicted_max = peak(predicted)

    # --- memory

    def _tiles(self, template: Template) -> Tiles | None:
        known = self._cuts.get(id(template))
        if known is None or known[0] is not template:
            tiles = tiles_of(template.plan.descriptors, template.key.operation == Operation.INPUT_GRADIENT)
            known = self._cuts[id(template)] = (template, tiles)
        return known[1]

    def _tensors(self, found: Found, listed: tuple[int, int]) -> Any:
        """(x, dz, weights, mask, result) of a pass as arrays.

        None where one lies outside the memory or on another, or the weights are not as `pack_weights` packs them.
        """
        known = self._views.get(id(found))
        if known is None or known[0] is not found or known[1] != listed:
            if len(self._views) >= _LISTS:
                self._views.clear()
            known = self._views[id(found)] = (found, listed, self._placed(found, listed))
        if known[2] is None:
            return None
        x, g, packed, mask, out, packer = known[2]
        w = None
        if packer is not None:
            key, layer = found.key, found.key.layer
            shape = (layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out)
            w = self._unpacked(packer, packed, shape, key.x_unsigned and key.operation == Operation.FORWARD)
            if w is None:
                return None
        return x, g, w, mask, out

    def _unpacked(
        self, packer: WeightPacker, packed: NDArray[np.uint8], shape: tuple[int, int, int, int], x_unsigned: bool
    ) -> NDArray[np.int8] | None:
        """`WeightPacker.unpack`; weights that are the last ones' are not unpacked again."""
        known = self._weights_seen
        same = known is not None and known[0] is packer and known[1] == x_unsigned
        if known is None or not same or not np.array_equal(known[2], packed):
            known = self._weights_seen = (
                packer, x_unsigned, packed.copy(), self._layers.unpack(packer, packed, shape, x_unsigned),
            )  # fmt: skip
        return known[3]

    def _placed(self, found: Found, listed: tuple[int, int]) -> Any:
        """(x, dz, packed weights, mask, result, packer): views of the memory; or None."""
        key, layer, template = found.key, found.key.layer, found.template
        forward, backward = key.operation == Operation.FORWARD, key.operation == Operation.INPUT_GRADIENT
        x_shape = (layer.images, layer.height, layer.width, layer.c_in)
        z_shape = (layer.images, layer.out_h, layer.out_w, layer.c_out)
        packer = template.packer if template.weights else None
        x_type = np.uint8 if key.x_unsigned else np.int8
        read: list[tuple[str, tuple[int, ...] | None, Any]] = [
            ("x_address", x_shape if not backward or key.predict else None, x_type),
            ("g_address", None if forward else z_shape, np.int16),
            ("w_address", (1, 1, 1, packer.size) if packer else None, np.uint8),
            ("mask_address", x_shape if key.masked else None, np.uint8),
        ]
        arrays: list[Any] = []
        spans = [listed]
        for name, shape, dtype in read:
            if shape is None:
                arrays.append(None)
                continue
            start = found.bases[name] - self.base
            stop = start + int(np.prod(shape)) * np.dtype(dtype).itemsize
            if start < 0 or stop > len(self.memory):
                return None
            spans.append((start, stop))
            arrays.append(tensor_view(self.memory[start:stop], shape, dtype))
        written = [(found.bases["result_address"] - self.base, spec.RESULT_BYTES * len(template))]
        if template.out:
            written.append((found.bases["out_address"] - self.base, template.plan.out_bytes))
        for start, size in written:
            if start < 0 or start + size > len(self.memory):
                return None
            if any(start < stop and begin < start + size for begin, stop in spans):
                return None
            spans.append((start, start + size))
        out = None
        if template.weights:
            kind = np.int64 if key.raw else np.uint8 if key.relu else np.int16
            start, size = written[1]
            out = tensor_view(self.memory[start : start + size], z_shape if forward else x_shape, kind)
        x, g, packed, mask = arrays
        return x, g, packed.reshape(-1) if packer else None, mask, out, packer
