"""What the kernel bench counts: products and bytes of known convolutions, and ceilings that are no less."""

from __future__ import annotations

import numpy as np
import pytest

from joulebit.bench.kernels import MeasuredEngine, bench_kernels
from joulebit.engine.base import ConvGeometry
from joulebit.engine.numba_engine import NumbaEngine


def test_products_and_bytes_of_the_three_passes() -> None:
    engine = MeasuredEngine(NumbaEngine(threads=1))
    x = np.ones((2, 8, 8, 3), np.uint8)
    w = np.ones((3, 3, 3, 5), np.int8)
    geometry = ConvGeometry(3, 3, 2, 1, 1)
    z = engine.conv_forward(x, w, geometry, 0).z
    engine.conv_input_gradient(z, w, geometry, (8, 8), 0)
    engine.conv_weight_gradient(x, z, geometry)
    products = 2 * 4 * 4 * 9 * 3 * 5
    found = {name: calls[0][2:] for (name, _), calls in engine.calls.items()}
    assert found == {
        "conv_forward": (products, x.nbytes + w.nbytes + z.nbytes + 2 * 8 * 5),
        "conv_input_gradient": (products, z.nbytes + w.nbytes + 2 * x.size),
        "conv_weight_gradient": (products, x.nbytes + z.nbytes + 8 * w.size),
    }


def test_a_depthwise_convolution_has_one_product_per_tap() -> None:
    engine = MeasuredEngine(NumbaEngine(threads=1))
    x, w = np.ones((1, 6, 6, 16), np.uint8), np.ones((3, 3, 1, 16), np.int8)
    engine.conv_forward(x, w, ConvGeometry(3, 3, 1, 1, 1, 16), 0)
    ((key, calls),) = engine.calls.items()
    assert calls[0][2] == 6 * 6 * 9 * 16
    assert key[1].endswith("3x3 depthwise")


@pytest.mark.slow
def test_kernels_of_a_step_stay_below_what_memory_and_products_allow() -> None:
    result = bench_kernels("resnet8", batch=8, threads=1, rounds=2)
    names = {row["name"] for row in result["kernels"]}
    assert {"conv_forward", "conv_input_gradient", "conv_weight_gradient", "norm_forward"} <= names
    assert sum(row["cpu_s"] for row in result["kernels"]) <= result["step_cpu_s"] * 1.5
    forward = [row for row in result["kernels"] if row["name"] == "conv_forward"]
    assert all(0 < row["gmac_share"] < 1.1 for row in forward)
