"""What the passes of `pynq_client.passes` must give, by the NumPy engine."""

import hashlib

import accelerator_bench
import numpy as np

from joulebit.accelerator.tiling import Layer
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.fixed.arithmetic import Arithmetic


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def expected_passes(seed):
    """The digests that the client's `passes` prints, by the NumPy engine."""
    rng = np.random.default_rng(seed)
    layer = Layer(2, 8, 8, 8, 8, 3, 3, 1, 1, 1)
    x = rng.integers(0, 256, (2, 8, 8, 8)).astype(np.uint8)
    w = rng.integers(-127, 128, (3, 3, 8, 8)).astype(np.int8)
    dz = rng.integers(-3000, 3000, (2, 8, 8, 8)).astype(np.int16)
    engine, geometry = NumpyEngine(Arithmetic(rounding="half_up")), accelerator_bench.geometry(layer)
    z = engine.conv_forward(x, w, geometry, 7).z
    g = engine.conv_input_gradient(dz, w, geometry, (8, 8), 9).data
    dw, _ = engine.conv_weight_gradient(x, dz, geometry)
    guess = engine.conv_weight_gradient_msb(x, dz, geometry)
    signs, counts = engine.predict_signs(dw, guess, 200)
    decided = np.abs(guess) >= counts["threshold"]
    return [
        digest(z.astype(np.int16)),
        digest(g.astype(np.int16)),
        digest(dw.astype(np.int64)),
        digest(signs.astype(np.int8), decided),
    ]
