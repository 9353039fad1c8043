"""Runs layers on an accelerator (the functional model or the RTL) and compares with an engine.

A device has `config`, `memory` (uint8, first byte at address `base`) and `run(address, count) -> Status`.
`Job` lays a layer's tensors out between guard bytes, plans, runs and unpacks, `expected_*` ask an engine.
"""

import runpy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from joulebit.accelerator import tiling
from joulebit.accelerator.functional import Functional
from joulebit.accelerator.packing import pack_tensor, pack_weights, unpack_gradient, unpack_signs, unpack_tensor
from joulebit.accelerator.tiling import Addresses, Layer
from joulebit.engine.base import ConvGeometry
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import Rounding
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import Operation
from joulebit.spec.descriptor import DESCRIPTOR_DTYPE, RESULT_DTYPE

GOLDEN = Path(__file__).with_name("golden") / "accelerator.npz"
GUARD = 64
GUARD_BYTE = 0xA5
PASSES = ("forward", "input_gradient", "weight_gradient", "signs")


def geometry(layer):
    return ConvGeometry(layer.kernel_h, layer.kernel_w, layer.stride, layer.padding_h, layer.padding_w)


@dataclass
class Data:
    """Operands of a layer and options of its passes."""

    layer: Layer
    x: Any
    w: Any
    dz: Any
    shift: int = 0
    rounding: int = 0
    masked: bool = False
    mask_below: int = 0
    relu: bool = False
    raw: bool = False
    predict_beside: bool = True  #: the predictor runs beside the input gradient, not alone
    beta_q12: int = 200

    @property
    def x_unsigned(self):
        return self.x.dtype == np.uint8


def random_data(layer, rng, extreme=False, **options):
    """Random operands; extreme: all at the ends of their ranges."""
    unsigned = bool(rng.integers(2))
    low, high, dtype = (0, 256, np.uint8) if unsigned else (-127, 128, np.int8)
    shapes = {
        "x": (layer.images, layer.height, layer.width, layer.c_in),
        "w": (layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out),
        "dz": (layer.images, layer.out_h, layer.out_w, layer.c_out),
    }
    if extreme:
        x = rng.choice(np.array([low, high - 1], dtype), shapes["x"])
        w = rng.choice(np.array([-127, 127], np.int8), shapes["w"])
        dz = rng.choice(np.array([-32767, 32767], np.int16), shapes["dz"])
    else:
        x = rng.integers(low, high, shapes["x"]).astype(dtype)
        w = rng.integers(-127, 128, shapes["w"]).astype(np.int8)
        dz = (rng.integers(-32767, 32768, shapes["dz"]) >> rng.integers(0, 6)).astype(np.int16)
        x[rng.random(x.shape) < 0.2] = 0
    chosen = {
        "shift": int(rng.integers(0, 16)),
        "rounding": int(rng.integers(0, 5)),
        "masked": bool(rng.integers(2)),
        "mask_below": int(rng.choice([0, 200])),
        "relu": bool(rng.integers(2)),
        "raw": bool(rng.integers(4) == 0),
        "predict_beside": bool(rng.integers(2)),
        "beta_q12": int(rng.choice([0, 200, 1000, 4096])),
    }
    return Data(layer, x, w, dz, **(chosen | options))


@dataclass
class Job:
    """A descriptor list in a device's memory, between guard bytes."""

    device: Any
    start: int = 0  #: first free offset
    used: list = field(default_factory=list)  #: (start, stop) of everything that may be read or written

    def __post_init__(self):
        self.device.memory[:] = GUARD_BYTE

    def place(self, data_or_size, align=8):
        """Address of a copy of these bytes, or of so many guard bytes that may be written."""
        size = data_or_size if isinstance(data_or_size, int) else len(data_or_size)
        begin = -(-(self.start + GUARD) // align) * align
        assert begin + size + GUARD <= len(self.device.memory), "the bench's memory is too small for this layer"
        if not isinstance(data_or_size, int):
            self.device.memory[begin : begin + size] = data_or_size
        self.start = begin + size
        self.used.append((begin, begin + size))
        return self.device.base + begin

    def read(self, address, size):
        return self.device.memory[address - self.device.base :][:size].copy()

    def guards_intact(self):
        mask = np.ones(len(self.device.memory), bool)
        for begin, end in self.used:
            mask[begin:end] = False
        return bool((self.device.memory[mask] == GUARD_BYTE).all())


@dataclass
class Outcome:
    """What came back: result blocks, the status, and tensors by name."""

    blocks: Any
    status: Any
    tensors: dict = field(default_factory=dict)

    def total(self, name):
        return int(self.blocks[name].astype(np.int64).sum())

    @property
    def peak(self):
        return int(self.blocks["peak"].max())


def prepared(device, data, operation, job=None, selective=False):
    """(job, plan, address of descriptors, address of results, address of the result)."""
    layer, config = data.layer, device.config
    job = job or Job(device)
    count = 4096
    rough = Addresses(0)
    draft = _plan(data, config, operation, rough, selective)
    count = len(draft.descriptors)
    x = job.place(pack_tensor(data.x))
    g = job.place(pack_tensor(data.dz)) if operation != Operation.FORWARD else 0
    weights = 0
    if operation in (Operation.FORWARD, Operation.INPUT_GRADIENT):
        packed = pack_weights(
            data.w, config, operation, layer.stride, draft.lane_mode, data.x_unsigned, draft.ranges
        )
        weights = job.place(packed)
    out = job.place(draft.out_bytes) if draft.out_bytes else 0
    results = job.place(spec.RESULT_BYTES * count)
    addresses = Addresses(results, x, g, weights, x, out)
    plan = _plan(data, config, operation, addresses, selective)
    assert len(plan.descriptors) == count
    descriptors = job.place(plan.descriptors.view(np.uint8).reshape(-1))
    return job, plan, descriptors, results, out


def _plan(data, config, operation, addresses, selective):
    layer, unsigned = data.layer, data.x_unsigned
    if operation == Operation.FORWARD:
        relu = data.relu and not data.raw
        return tiling.plan_forward(layer, config, addresses, data.shift, data.rounding, unsigned, relu, data.raw)
    if operation == Operation.INPUT_GRADIENT:
        return tiling.plan_input_gradient(
            layer, config, addresses, data.shift, data.rounding, data.raw, data.masked and unsigned,
            data.mask_below, selective, unsigned,
        )  # fmt: skip
    if operation == Operation.PREDICT:
        return tiling.plan_predict(layer, config, addresses, unsigned)
    return tiling.plan_weight_gradient(layer, config, addresses, unsigned, selective, data.beta_q12)


def execute(device, data, operation, selective=False):
    """Runs one pass as one list and unpacks its result."""
    job, plan, descriptors, results, out = prepared(device, data, operation, selective=selective)
    count = len(plan.descriptors)
    status = device.run(descriptors, count)
    blocks = job.read(results, spec.RESULT_BYTES * count).view(RESULT_DTYPE)
    outcome = Outcome(blocks, status)
    raw = job.read(out, plan.out_bytes) if out else None
    layer = data.layer
    shape = (layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out)
    if operation == Operation.FORWARD:
        dtype = "<i8" if data.raw else np.uint8 if data.relu else "<i2"
        outcome.tensors["z"] = unpack_tensor(raw, (layer.images, layer.out_h, layer.out_w, layer.c_out), dtype)
    elif operation == Operation.INPUT_GRADIENT:
        dtype = "<i8" if data.raw else "<i2"
        outcome.tensors["g"] = unpack_tensor(raw, (layer.images, layer.height, layer.width, layer.c_in), dtype)
    elif operation == Operation.WEIGHT_GRADIENT and selective:
        outcome.tensors["signs"], outcome.tensors["decided"] = unpack_signs(raw, plan.pieces, shape, device.config)
    elif operation == Operation.WEIGHT_GRADIENT:
        outcome.tensors["dw"] = unpack_gradient(raw, plan.pieces, shape, device.config)
    assert job.guards_intact(), "memory that no descriptor names was written"
    return outcome


def engine(data):
    return NumpyEngine(Arithmetic(rounding=Rounding(data.rounding).name.lower()))


def expected(data, operation):
    """(tensor, peak, saturated) of a pass by the engine; the weight gradient has no saturation."""
    layer, g = data.layer, geometry(data.layer)
    if operation == Operation.FORWARD:
        if data.raw or data.relu:
            zero = NumpyEngine(Arithmetic())
            # conv_forward narrows to 16 bits; the exact sums are those of a transposed convolution's adjoint.
            sums = exact_forward(zero, data)
            if data.raw:
                return sums, int(np.abs(sums).max()), 0
            rounded = shifted(sums, data)
            return np.clip(rounded, 0, 255).astype(np.uint8), int(np.abs(sums).max()), int((rounded > 255).sum())
        z = engine(data).conv_forward(data.x, data.w, g, data.shift)
        return z.z, z.peak, z.saturated
    if operation == Operation.INPUT_GRADIENT:
        mask = data.x if data.masked and data.x_unsigned else None
        below = data.mask_below if mask is not None else 0
        if data.raw:
            from joulebit.engine.numpy_engine import _convolve_transposed

            sums = _convolve_transposed(data.dz, data.w, g, (layer.height, layer.width))
            if mask is not None:
                sums = np.where((mask > 0) & ((below == 0) | (mask < below)), sums, 0)
            return sums, int(np.abs(sums).max()), 0
        got = engine(data).conv_input_gradient(
            data.dz, data.w, g, (layer.height, layer.width), data.shift, mask=mask, mask_below=below
        )
        return got.data, got.peak, got.saturated
    dw, _ = engine(data).conv_weight_gradient(data.x, data.dz, g)
    return dw, int(np.abs(dw).max()), 0


def exact_forward(numpy_engine, data):
    """Sums of the forward pass: each output is the weight gradient of one-hot dz, done at once by int64 einsum."""
    layer = data.layer
    padded = np.pad(
        data.x.astype(np.int64),
        ((0, 0), (layer.padding_h, layer.padding_h), (layer.padding_w, layer.padding_w), (0, 0)),
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, (layer.kernel_h, layer.kernel_w), axis=(1, 2))
    windows = windows[:, :: layer.stride, :: layer.stride][:, : layer.out_h, : layer.out_w]
    return np.einsum("nrcikl,kliv->nrcv", windows, data.w.astype(np.int64))


def shifted(sums, data):
    from joulebit.fixed.rounding import shift_round

    return shift_round(sums, data.shift, Rounding(data.rounding))


def check_pass(device, data, which):
    """Runs one of PASSES and compares everything; returns the outcomes."""
    layer = data.layer
    if which != "signs":
        operation = Operation[which.upper()]
        outcome = execute(device, data, operation)
        tensor, peak, saturated = expected(data, operation)
        (got,) = outcome.tensors.values()
        assert outcome.status.error == 0
        np.testing.assert_array_equal(got, tensor)
        assert outcome.peak == peak
        assert outcome.total("saturated") == saturated
        assert (outcome.blocks["status"] == 1).all()
        assert (outcome.blocks["error"] == 0).all()
        return [outcome]
    outcomes = []
    operation = Operation.INPUT_GRADIENT if data.predict_beside else Operation.PREDICT
    outcomes.append(execute(device, data, operation, selective=True))
    if data.predict_beside:
        tensor, peak, saturated = expected(data, operation)
        np.testing.assert_array_equal(outcomes[0].tensors["g"], tensor)
    outcome = execute(device, data, Operation.WEIGHT_GRADIENT, selective=True)
    outcomes.append(outcome)
    assert all(one.status.error == 0 for one in outcomes)
    numpy_engine, g = engine(data), geometry(layer)
    exact, _ = numpy_engine.conv_weight_gradient(data.x, data.dz, g)
    guess = numpy_engine.conv_weight_gradient_msb(data.x, data.dz, g)
    signs, counts = numpy_engine.predict_signs(exact, guess, data.beta_q12)
    np.testing.assert_array_equal(outcome.tensors["signs"], signs)
    decided = np.abs(guess) >= counts["threshold"]
    np.testing.assert_array_equal(outcome.tensors["decided"], decided)
    assert outcome.total("decided") == counts["decided"]
    assert outcome.peak == int(np.abs(guess).max())
    return outcomes


def random_layer(rng, config):
    """A layer that every configuration can run, with odd sizes, strides, paddings and kernels."""
    while True:
        kernel_h, kernel_w = (int(v) for v in rng.choice([1, 2, 3, 3, 3, 5, 7], 2))
        layer = Layer(
            images=int(rng.integers(1, 4)), height=int(rng.integers(1, 13)), width=int(rng.integers(1, 13)),
            c_in=int(rng.integers(1, 21)), c_out=int(rng.integers(1, 21)), kernel_h=kernel_h, kernel_w=kernel_w,
            stride=int(rng.integers(1, 3)), padding_h=int(rng.integers(0, kernel_h // 2 + 1)),
            padding_w=int(rng.integers(0, kernel_w // 2 + 1)),
        )  # fmt: skip
        if layer.out_h >= 1 and layer.out_w >= 1 and layer.height * layer.width * layer.images < 250:
            return layer


RESNET20 = {
    "stem": (32, 3, 16, 3, 1, 1),
    "stage 1": (32, 16, 16, 3, 1, 1),
    "to 2": (32, 16, 32, 3, 2, 1),
    "stage 2": (16, 32, 32, 3, 1, 1),
    "to 3": (16, 32, 64, 3, 2, 1),
    "stage 3": (8, 64, 64, 3, 1, 1),
}
LENET5 = {
    "conv 1": (28, 1, 6, 5, 1, 2),
    "conv 2": (14, 6, 16, 5, 1, 0),
    "dense 1": (5, 16, 120, 5, 1, 0),
    "dense 2": (1, 120, 84, 1, 1, 0),
}


def network_layer(row, images):
    size, c_in, c_out, kernel, stride, padding = row
    return Layer(images, size, size, c_in, c_out, kernel, kernel, stride, padding, padding)


class Mirror:
    """A device that also runs every list on the functional model, and compares memory, results and counters."""

    def __init__(self, device):
        self.device, self.config = device, device.config
        self.memory, self.base = device.memory, device.base
        self.model = Functional(device.config, np.zeros(0, np.uint8), device.base)

    def run(self, address, count):
        model, device = self.model, self.device
        model.memory = device.memory.copy()
        before = model.counters.copy()
        started = device.counters()
        wanted = model.run(address, count)
        status = device.run(address, count, max_cycles=20_000 + 60_000 * count)
        ended = device.counters()
        assert (status.error, status.error_index, status.done) == (wanted.error, wanted.error_index, wanted.done)
        compare_memory(device.memory, model.memory, device.base, address, count)
        for name, value in model.counters.items():
            counted = ended[name] - started[name]
            assert counted == value - before[name], f"counter {name}: {counted}, expected {value - before[name]}"
        return status


def compare_memory(got, wanted, base, address, count):
    """Equal but for the cycle counts in the list's result blocks."""
    got, wanted = got.copy(), wanted.copy()
    begin = address - base
    descriptors = wanted[begin : begin + spec.DESCRIPTOR_BYTES * count].view(DESCRIPTOR_DTYPE)
    timing = np.zeros(1, RESULT_DTYPE)
    for name in ("cycles", "compute_cycles", "stall_cycles"):
        timing[name] = 0xFFFFFFFF
    timing = timing.view(np.uint8) == 0
    for result in descriptors["result_address"]:
        block = slice(int(result) - base, int(result) - base + spec.RESULT_BYTES)
        if block.start >= 0 and block.stop <= len(got):
            got[block] *= timing
            wanted[block] *= timing
    different = np.flatnonzero(got != wanted)
    assert not len(different), (
        f"{len(different)} bytes differ, the first at 0x{different[0] + base:X}: "
        f"got {got[different[0]]}, expected {wanted[different[0]]}"
    )


def mirrored(device):
    """The device itself where it is a model, else with the functional model at its side."""
    return device if isinstance(device, Functional) else Mirror(device)


def golden_names():
    """Layers of tests/golden/accelerator.npz."""
    with np.load(GOLDEN) as arrays:
        return sorted({key.split("/")[0] for key in arrays})


def check_golden(device, name):
    """Runs all passes on a golden layer's operands and compares with the results of plain Python integers."""
    make = runpy.run_path(str(GOLDEN.with_name("make_accelerator.py")), run_name="golden")
    with np.load(GOLDEN) as arrays:
        golden = {key.split("/")[1]: value for key, value in arrays.items() if key.split("/")[0] == name}
    layer, unsigned = make["LAYERS"][name]
    operands = (golden["x"], golden["w"], golden["dz"])
    data = Data(layer, *operands, shift=make["SHIFT"], masked=unsigned, beta_q12=make["BETA_Q12"])
    forward = execute(device, data, Operation.FORWARD)
    backward = execute(device, data, Operation.INPUT_GRADIENT, selective=True)
    signs = execute(device, data, Operation.WEIGHT_GRADIENT, selective=True)
    exact = execute(device, data, Operation.WEIGHT_GRADIENT)
    got = forward.tensors | backward.tensors | exact.tensors | signs.tensors
    for key, tensor in got.items():
        np.testing.assert_array_equal(tensor, golden[key], err_msg=key)
    assert [one.peak for one in (forward, backward, exact, signs)] == golden["peaks"].tolist()
    assert [one.total("saturated") for one in (forward, backward)] == golden["saturated"].tolist()
