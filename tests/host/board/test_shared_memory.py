"""Tensors that stay in board memory: nothing is copied, and caches that are not coherent do no harm."""

import accelerator_bench as bench
import numpy as np
import pytest
from faulty_board import CachedBoard

from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit_host.engine.session import OverlaySession

LAYER = bench.Layer(4, 16, 16, 16, 16, 3, 3, 1, 1, 1)
GEOMETRY = bench.geometry(LAYER)


@pytest.fixture
def session():
    made = OverlaySession(CachedBoard(memory_bytes=16 << 20))
    yield made
    made.close()


def operands(session, seed):
    """x and dz in board memory, as the processor's engine leaves them, and weights."""
    data = bench.random_data(LAYER, np.random.default_rng(seed), raw=False, relu=False)
    x = session.pool.empty((4, 16, 16, 16), np.uint8)
    dz = session.pool.empty((4, 16, 16, 16), np.int16)
    x[...], dz[...] = np.abs(data.x.astype(np.int16)).astype(np.uint8), data.dz
    return x, data.w, dz


def test_operands_and_results_are_not_copied(session):
    engine = session.make(Arithmetic(), 1)
    x, w, dz = operands(session, 1)
    z = engine.conv_forward(x, w, GEOMETRY, 9).z
    g = engine.conv_input_gradient(dz, w, GEOMETRY, (16, 16), 9, mask=x).data
    engine.conv_weight_gradient(x, dz, GEOMETRY)
    assert (session.operands.uploads, session.operands.in_place) == (0, 2)
    for array in (x, dz, z, g):
        assert session.shared.holder(array) is not None


def test_what_a_tensor_left_in_the_caches_does_not_come_down_on_results(session):
    engine, reference = session.make(Arithmetic(), 1), NumpyEngine(Arithmetic())
    for seed in range(3):
        x, w, dz = operands(session, seed)
        for kind in (np.int16, np.int16, np.uint8):
            session.pool.empty((4, 16, 16, 16), kind)[...] = 0x55  # written, never flushed, and given back
        z = engine.conv_forward(x, w, GEOMETRY, 9)
        right = reference.conv_forward(x, w, GEOMETRY, 9)
        for mine, wanted in zip(z, right, strict=True):
            np.testing.assert_array_equal(mine, wanted)
        for extra in ({"mask": x}, {"add": dz, "add_align": 3}):
            session.pool.empty((4, 16, 16, 16), np.int16)[...] = 0x55
            g = engine.conv_input_gradient(dz, w, GEOMETRY, (16, 16), 9, **extra)
            wanted = reference.conv_input_gradient(dz, w, GEOMETRY, (16, 16), 9, **extra)
            np.testing.assert_array_equal(g.data, wanted.data)
        dw = engine.conv_weight_gradient(x, dz, GEOMETRY)[0]
        np.testing.assert_array_equal(dw, reference.conv_weight_gradient(x, dz, GEOMETRY)[0])


def test_parts_of_a_batch_and_arrays_from_elsewhere(session):
    x, _, _ = operands(session, 2)
    part = session.shared.holder(x[1:3])
    assert (part.shape, part.address) == ((2, 16, 16, 16), session.shared.holder(x).address + 16 * 16 * 16)
    assert session.shared.holder(x[:, ::2]) is None
    assert session.shared.holder(x.copy()) is None
    assert session.shared.holder(session.pool.empty((4, 16, 16, 15), np.uint8)) is None


def test_beyond_the_limit_tensors_are_the_processors(session):
    held = [session.pool.empty((4, 64, 64, 16), np.int16) for _ in range(40)]  # 512 KiB each
    places = [session.shared.holder(array) is not None for array in held]
    assert places == sorted(places, reverse=True)
    assert 20 <= sum(places) < 30
    assert session.accelerator.memory.used <= session.shared.limit == 12 << 20
    session.shared.retreat()
    assert session.shared.holder(session.pool.empty((4, 64, 64, 16), np.int16)) is None


def test_tensors_of_an_accelerator_that_was_closed_are_not_taken_for_anothers(session):
    x, w, _ = operands(session, 3)
    other = OverlaySession(CachedBoard(memory_bytes=16 << 20))
    assert other.shared.holder(x) is None
    right = NumpyEngine(Arithmetic()).conv_forward(x, w, GEOMETRY, 9)
    np.testing.assert_array_equal(other.make(Arithmetic(), 1).conv_forward(x, w, GEOMETRY, 9).z, right.z)
    other.close()
