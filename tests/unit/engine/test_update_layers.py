"""The optimiser's step of many layers at once, against the oracle's layer by layer."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from oracle import Oracle

from joulebit.engine.channel_constants import CompiledConstants
from joulebit.engine.numba_engine import NumbaEngine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.update import LayerUpdate, UpdateRule

RULES = (UpdateRule(104858, 29491, 1678), UpdateRule(2**20, 32768, 0), UpdateRule(0, 0, 2**24))
EXPONENTS = (-90, -60, -29, -28, -27, -8, 0, 11, 12, 13, 40)
ENDS = (2**47 - 1, 2**43, 2**43 - 1, 2**40, 2**31, 2**16, 2**15 + 1, 1, 0)


def numbers(size: int, seed: int, largest_master: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masters, momenta and gradients over their ranges, the ends of which come first."""
    rng = np.random.default_rng(seed)
    master = rng.integers(-largest_master, largest_master + 1, size).astype(np.int32)
    momentum = rng.integers(-(2**41) + 1, 2**41, size) >> rng.integers(0, 40, size)
    gradient = rng.integers(-(2**47) + 1, 2**47, size) >> rng.integers(0, 47, size)
    for array, ends in ((master, (largest_master,)), (momentum, (2**41 - 1,)), (gradient, ENDS)):
        both = [sign * end for end in ends for sign in (1, -1)][:size]
        array[: len(both)] = both
    return master, momentum, gradient


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bits", [2, 8, 12])
def test_each_layer_moves_and_is_quantised_as_alone(threads: int, bits: int) -> None:
    arithmetic = Arithmetic(w_bits=bits)
    engine, oracle = NumbaEngine(arithmetic, threads), Oracle(arithmetic)
    sizes = (1, 15, 16, 17, 40, 63, 64, 65)
    peaks = (2**31 - 1, 2**30, 1, 0, 127, 128, 255, 2**20)
    for number, (exponent, rule, samples) in enumerate(product(EXPONENTS, RULES, (1, 3, 128))):
        given = [numbers(size, number, peak) for size, peak in zip(sizes, peaks)]
        layers = [
            LayerUpdate(*(array.reshape(1, 1, 1, -1).copy() for array in arrays), exponent + place, samples, rule)
            for place, arrays in enumerate(given)
        ]
        quantised = engine.update_layers(layers)
        assert len(quantised) == len(layers)
        for layer, arrays, (w, w_exponent) in zip(layers, given, quantised):
            before = [array.reshape(1, 1, 1, -1).tolist() for array in arrays]
            master, momentum = oracle.update(*before, layer.exponent, samples, rule)
            assert layer.master.tolist() == master
            assert layer.momentum.tolist() == momentum
            assert (w.tolist(), w_exponent) == oracle.quantise_weights(master)
            assert w.dtype == (np.int8 if bits <= 8 else np.int16)


def test_a_gradient_need_not_lie_dense_in_memory() -> None:
    arithmetic = Arithmetic()
    engine, oracle = NumbaEngine(arithmetic), Oracle(arithmetic)
    shape = (3, 3, 2, 5)
    master, momentum, gradient = (array.reshape(shape) for array in numbers(90, 1, 2**30))
    turned = np.asfortranarray(gradient)
    expected = oracle.update(master.tolist(), momentum.tolist(), gradient.tolist(), -20, 32, RULES[0])
    engine.update_layers([LayerUpdate(master, momentum, turned, -20, 32, RULES[0])])
    assert [master.tolist(), momentum.tolist()] == list(expected)


def test_small_parameters_have_exponents_of_their_own() -> None:
    oracle = Oracle(Arithmetic())
    for rule, samples in product(RULES, (1, 100, 1000)):
        master, momentum, gradient = numbers(len(EXPONENTS) * 20, samples, 2**31 - 1)
        exponents = np.repeat(EXPONENTS, 20).astype(np.int64)
        moved, velocity = master.copy(), momentum.copy()
        CompiledConstants().update(moved, velocity, gradient, exponents, samples, rule)
        for i, exponent in enumerate(exponents.tolist()):
            one = slice(i, i + 1)
            given = [array[one].reshape(1, 1, 1, 1).tolist() for array in (master, momentum, gradient)]
            expected = oracle.update(*given, exponent, samples, rule)
            assert [[[[value]]] for value in (moved[one].tolist(), velocity[one].tolist())] == list(expected)
