"""Write accelerator.npz: operands and results of a few layers, in plain Python integers by tests/oracle.py.

Run `PYTHONPATH=tests python tests/golden/make_accelerator.py` after a change of the specification, and say in the
change why the bits moved. The engine, the functional model and the RTL are all held to this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracle
from accelerator_bench import geometry

from joulebit.accelerator.tiling import Layer
from joulebit.fixed.arithmetic import Arithmetic

GOLDEN = Path(__file__).with_name("accelerator.npz")
SHIFT = 7
BETA_Q12 = 1500

#: images, height, width, c_in, c_out, kernel_h, kernel_w, stride, padding_h, padding_w; x unsigned
LAYERS = {
    "3x3": (Layer(2, 5, 6, 5, 6, 3, 3, 1, 1, 1), True),
    "3x3 stride 2": (Layer(1, 7, 6, 8, 5, 3, 3, 2, 1, 1), True),
    "1x1": (Layer(2, 3, 3, 9, 4, 1, 1), False),
    "1x1 stride 2": (Layer(1, 5, 4, 4, 8, 1, 1, 2), True),
    "5x5": (Layer(1, 6, 5, 3, 4, 5, 5, 1, 2, 2), False),
    "7x2": (Layer(1, 8, 4, 2, 3, 7, 2, 1, 3, 0), True),
    "dense": (Layer(3, 1, 1, 16, 10, 1, 1), True),
}


def operands(name: str) -> dict[str, np.ndarray]:
    """x, w and dz, all values of their ranges possible, the extreme ones frequent."""
    layer, unsigned = LAYERS[name]
    rng = np.random.default_rng(len(name) + layer.c_in)
    shapes = (
        (layer.images, layer.height, layer.width, layer.c_in),
        (layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out),
        (layer.images, layer.out_h, layer.out_w, layer.c_out),
    )
    limits = ((0, 255), (-127, 127), (-32767, 32767)) if unsigned else ((-127, 127), (-127, 127), (-32767, 32767))
    types = (np.uint8 if unsigned else np.int8, np.int8, np.int16)
    tensors = []
    for shape, (low, high), dtype in zip(shapes, limits, types):
        values = rng.integers(low, high + 1, shape)
        ends = rng.choice([low, high], shape)
        tensors.append(np.where(rng.random(shape) < 0.25, ends, values).astype(dtype))
    return dict(zip(("x", "w", "dz"), tensors))


def results(name: str, x: np.ndarray, w: np.ndarray, dz: np.ndarray) -> dict[str, np.ndarray]:
    """z and g (masked by x where that is unsigned), peaks, saturations; dw; signs and which were predicted."""
    layer, unsigned = LAYERS[name]
    reference = oracle.Oracle(Arithmetic())
    shape = geometry(layer)
    lists = [tensor.tolist() for tensor in (x, w, dz)]
    z, z_peak, z_saturated, *_ = reference.conv_forward(lists[0], lists[1], shape, SHIFT)
    mask = lists[0] if unsigned else None
    g, g_peak, g_saturated = reference.conv_input_gradient(
        lists[2], lists[1], shape, (layer.height, layer.width), SHIFT, mask=mask
    )
    dw = reference.conv_weight_gradient(lists[0], lists[2], shape)[0]
    guess = reference.conv_weight_gradient_msb(lists[0], lists[2], shape, unsigned)
    signs, counts = reference.predict_signs(dw, guess, BETA_Q12)
    return {
        "z": np.array(z, np.int16),
        "g": np.array(g, np.int16),
        "dw": np.array(dw, np.int64),
        "signs": np.array(signs, np.int8),
        "decided": np.abs(np.array(guess)) >= counts["threshold"],
        "peaks": np.array([z_peak, g_peak, oracle.peak(dw), oracle.peak(guess)]),
        "saturated": np.array([z_saturated, g_saturated]),
    }


def main() -> None:
    arrays = {}
    for name in LAYERS:
        given = operands(name)
        for key, value in (given | results(name, **given)).items():
            arrays[f"{name}/{key}"] = value
    np.savez_compressed(GOLDEN, **arrays)


if __name__ == "__main__":
    main()
