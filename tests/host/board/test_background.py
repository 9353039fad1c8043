"""Lists that the processor does not wait for: what runs behind, what is known before their end, what is kept."""

from __future__ import annotations

import accelerator_bench as bench
import numpy as np
import pytest
from faulty_board import FaultyBoard, ShadowBoard

from joulebit.accelerator.tiling import Layer
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.spec.accelerator import Register
from joulebit_host.boards.base import BoardError, BoardMemoryError, BoardTimeoutError
from joulebit_host.boards.virtual import VirtualBoard
from joulebit_host.driver import Accelerator, default_bitstream
from joulebit_host.driver import lists as lists_module
from joulebit_host.driver.faults import ResultError
from joulebit_host.engine.background import BackgroundEngine
from joulebit_host.engine.overlay import OverlayEngine
from joulebit_host.engine.session import OverlaySession

LAYER = Layer(4, 8, 8, 8, 8, 3, 3, 1, 1, 1)
BETA_Q12 = 205


def layers(count, seed=0):
    rng = np.random.default_rng(seed)
    return [bench.random_data(LAYER, rng, raw=False, relu=False, rounding=0) for _ in range(count)]


def sums(data):
    return NumpyEngine(Arithmetic()).conv_weight_gradient(data.x, data.dz, bench.geometry(LAYER))[0]


def both(accelerator, data):
    """A job of an input gradient and a weight gradient, and the two results."""
    job, dz = accelerator.job(), accelerator.upload(data.dz)
    first = job.input_gradient(dz, data.w, LAYER, data.shift, data.rounding)
    return job, first, job.weight_gradient(accelerator.upload(data.x), dz, LAYER)


def input_gradient(data):
    engine, size = NumpyEngine(Arithmetic()), (LAYER.height, LAYER.width)
    return engine.conv_input_gradient(data.dz, data.w, bench.geometry(LAYER), size, data.shift)


@pytest.mark.parametrize("tier", ["functional", pytest.param("rtl", marks=pytest.mark.rtl)])
def test_the_first_pass_of_a_list_is_known_before_the_last(tier):
    (data,) = layers(1)
    board = ShadowBoard("tiny", tier)
    accelerator = Accelerator(board, default_bitstream("tiny"))
    job, first, last = both(accelerator, data)
    job.start()
    job.reach(1)
    right = input_gradient(data)
    np.testing.assert_array_equal(first.tensor(), right.data)
    assert (first.peak, first.saturated) == (right.peak, right.saturated)
    assert len(last.blocks) == 0
    job.finish()
    np.testing.assert_array_equal(last.gradient(), sums(data))
    assert accelerator.submissions == 1
    accelerator.close()
    board.close()


def test_a_list_waits_for_the_one_before():
    one, two = layers(2)
    accelerator = Accelerator(VirtualBoard("tiny"), default_bitstream("tiny"))
    job, _, last = both(accelerator, one)
    job.start()
    other, first, _ = both(accelerator, two)
    other.run()
    np.testing.assert_array_equal(last.gradient(), sums(one))
    np.testing.assert_array_equal(first.tensor(), input_gradient(two).data)
    job.finish()
    assert accelerator.submissions == 2


def test_counters_are_those_of_whole_lists():
    (data,) = layers(1)
    accelerator = Accelerator(VirtualBoard("tiny"), default_bitstream("tiny"))
    job, first, last = both(accelerator, data)
    job.start()
    job.reach(1)
    assert accelerator.counters()["MACS_8X16"] == first.total("macs") + last.total("macs")


@pytest.mark.parametrize("when", ["reach", "finish", "next"])
def test_an_error_of_a_list_that_nobody_waited_for_is_raised(when):
    data, other = layers(2)
    board = FaultyBoard("tiny")
    accelerator = Accelerator(board, default_bitstream("tiny"))
    job, _, _ = both(accelerator, data)
    following, _, _ = both(accelerator, other)
    board.fabric.fault(board.fabric.base, board.fabric.base + len(board.fabric.memory))
    job.start()
    with pytest.raises(BoardError, match="BUS_READ"):
        {"reach": lambda: job.reach(1), "finish": job.finish, "next": following.run}[when]()
    with pytest.raises(BoardError, match="given up"):
        job.finish()


def test_a_first_pass_that_contradicts_itself_is_not_believed():
    (data,) = layers(1)
    board = FaultyBoard("tiny")
    accelerator = Accelerator(board, default_bitstream("tiny"))
    job, _, _ = both(accelerator, data)
    board.hangs = True
    board.registers[Register.DESC_DONE] = 1000  # said, and nothing is done
    job.start()
    with pytest.raises(ResultError, match="result block 0 of a input_gradient"):
        job.reach(1)


def test_a_first_pass_that_never_ends_is_a_timeout():
    (data,) = layers(1)
    board = FaultyBoard("tiny")
    accelerator = Accelerator(board, default_bitstream("tiny"), timeout_s=0.05)
    job, _, _ = both(accelerator, data)
    board.hangs = True
    board.registers |= {Register.DESC_DONE: 0, Register.STATUS: 1}
    job.start()
    with pytest.raises(BoardTimeoutError, match=r"not done after 0\.05 s"):
        job.reach(1)


@pytest.mark.parametrize("moves_ranges", [True, False])
def test_lists_are_kept_and_the_oldest_give_way(monkeypatch, moves_ranges):
    """Eight lists where few have room, again and again, one of them still running when it gives way."""
    board = ShadowBoard("tiny", moves_ranges=moves_ranges)
    accelerator = Accelerator(board, default_bitstream("tiny"))
    data = layers(8)
    size = 192 * len(both(accelerator, data[0])[0]) + 128
    monkeypatch.setattr(lists_module, "_SHELF_BYTES", size)
    monkeypatch.setattr(lists_module, "_KEPT_BYTES", 3 * size)
    operands = [(accelerator.upload(one.x), accelerator.upload(one.dz)) for one in data]
    before, held = None, []
    for _ in range(2):
        for one, (x, dz) in zip(data, operands):
            job = accelerator.job()
            result = job.weight_gradient(x, dz, LAYER)
            job.start()
            if before is not None:
                np.testing.assert_array_equal(before[0].gradient(), before[1])
            before = result, sums(one)
        accelerator.finish()
        held.append(accelerator.memory.held)
    assert held[0] == held[1]


def test_no_list_gives_way_while_the_accelerator_works(monkeypatch):
    accelerator = Accelerator(VirtualBoard("tiny"), default_bitstream("tiny"))
    cache, known = lists_module.ListCache(accelerator.memory), []
    jobs = [both(accelerator, one)[0] for one in layers(4)]
    size = 192 * len(jobs[0]) + 128
    monkeypatch.setattr(lists_module, "_SHELF_BYTES", size)
    monkeypatch.setattr(lists_module, "_KEPT_BYTES", 3 * size)
    kept = [cache.get(job._entries, lambda: known.append(len(cache))) for job in jobs[:3]]
    assert not known and len({one.address for one in kept}) == 3
    last = cache.get(jobs[3]._entries, lambda: known.append(len(cache)))
    assert known == [3] and last.address == kept[0].address


def test_a_list_of_another_threshold_is_another_list():
    accelerator = Accelerator(VirtualBoard("tiny"), default_bitstream("tiny"))
    (data,) = layers(1)
    x, dz = accelerator.upload(data.x), accelerator.upload(data.dz)
    numpy = NumpyEngine(Arithmetic())
    guess = numpy.conv_weight_gradient_msb(data.x, data.dz, bench.geometry(LAYER))
    for threshold in (BETA_Q12, 10 * BETA_Q12, BETA_Q12):
        job = accelerator.job()
        job.predict(x, dz, LAYER)
        signs = job.weight_signs(x, dz, LAYER, threshold)
        job.run()
        counts = numpy.predict_signs(sums(data), guess, threshold)[1]
        assert signs.total("decided") == counts["decided"]
        del job, signs


def test_the_same_list_is_not_written_again():
    accelerator = Accelerator(VirtualBoard("tiny"), default_bitstream("tiny"))
    (data,) = layers(1)
    x, dz = accelerator.upload(data.x), accelerator.upload(data.dz)
    known = []
    for _ in range(4):
        job = accelerator.job()
        result = job.weight_gradient(x, dz, LAYER)
        job.run()
        np.testing.assert_array_equal(result.gradient(), sums(data))
        del job, result
        known.append(len(accelerator._lists))
    assert known == [1, 1, 1, 1]


def engine(board, **options):
    return OverlaySession(board, board.fabric.config.name, **options).make(Arithmetic(), 1)


def test_weight_gradients_come_layer_by_layer():
    """As the network asks: begun before the input gradient, asked for after the next layer's was begun."""
    overlay, reference = engine(VirtualBoard("tiny")), NumpyEngine(Arithmetic())
    assert isinstance(overlay, BackgroundEngine)
    geometry, waiting = bench.geometry(LAYER), None
    data = layers(4)
    for one in data:
        later = overlay.begin_weight_gradient(one.x, one.dz, geometry)
        if waiting is not None:
            np.testing.assert_array_equal(waiting[0]()[0], waiting[1])
        gradient = overlay.conv_input_gradient(one.dz, one.w, geometry, (8, 8), one.shift)
        right = reference.conv_input_gradient(one.dz, one.w, geometry, (8, 8), one.shift)
        np.testing.assert_array_equal(gradient.data, right.data)
        waiting = later, sums(one)
    np.testing.assert_array_equal(waiting[0]()[0], waiting[1])
    assert overlay.session.accelerator.submissions == len(data)
    assert overlay.session.passes == {"input gradient": 4, "weight gradient": 4}


def test_a_weight_gradient_that_no_list_takes_along_runs_alone():
    overlay = engine(VirtualBoard("tiny"))
    first, second = layers(2)
    one = overlay.begin_weight_gradient(first.x, first.dz, bench.geometry(LAYER))
    two = overlay.begin_weight_gradient(second.x, second.dz, bench.geometry(LAYER))
    np.testing.assert_array_equal(two()[0], sums(second))
    np.testing.assert_array_equal(one()[0], sums(first))


@pytest.mark.parametrize("change", [False, True])
def test_signs_are_formed_by_the_threshold_that_was_asked_for_last(change):
    overlay, reference = engine(VirtualBoard("default"), selective=True), NumpyEngine(Arithmetic())
    geometry = bench.geometry(LAYER)
    for number, one in enumerate(layers(3)):
        exact = overlay.begin_weight_gradient(one.x, one.dz, geometry)
        guess = overlay.begin_weight_gradient(one.x, one.dz, geometry, msb=True)
        overlay.conv_input_gradient(one.dz, one.w, geometry, (8, 8), one.shift)
        beta = BETA_Q12 + 300 * number * change
        signs, counts = overlay.predict_signs(exact()[0], guess()[0], beta)
        msb = reference.conv_weight_gradient_msb(one.x, one.dz, geometry)
        right, expected = reference.predict_signs(sums(one), msb, beta)
        np.testing.assert_array_equal(signs, right)
        assert counts == {name: expected[name] for name in counts}
    lists = overlay.session.accelerator.submissions
    assert lists == (6 if change else 4)  # the first threshold is never known, then only one that changes


def test_predictions_beside_the_input_gradient_are_asked_for_before_it():
    board = VirtualBoard("default")
    session = OverlaySession(board, selective=True)
    session.beside = True
    assert type(session.make(Arithmetic(), 1)) is OverlayEngine


def test_a_pass_too_large_for_the_memory_beside_another_one_runs_alone():
    """The input gradient fits, the weight gradient behind it does not find room for its operand."""
    (data,) = layers(1)
    board = VirtualBoard("tiny", memory_bytes=1 << 21)
    overlay = engine(board)
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (4, 160, 160, 8)).astype(np.uint8)
    dz = rng.integers(-9, 9, (4, 160, 160, 8)).astype(np.int16)
    geometry = bench.geometry(LAYER)
    later = overlay.begin_weight_gradient(x, dz, geometry)
    overlay.conv_input_gradient(data.dz, data.w, geometry, (8, 8), data.shift)
    right, _ = NumpyEngine(Arithmetic()).conv_weight_gradient(x, dz, geometry)
    np.testing.assert_array_equal(later()[0], right)
    assert overlay.session.split > 0


def test_what_joined_a_list_that_found_no_room_runs_later(monkeypatch):
    overlay = engine(VirtualBoard("tiny"))
    (one,) = layers(1)
    accelerator, full = overlay.session.accelerator, [True]

    def prepared(entries, original=accelerator._prepared):
        if full.pop():
            full.append(False)
            raise BoardMemoryError("no room")
        full.append(False)
        return original(entries)

    monkeypatch.setattr(accelerator, "_prepared", prepared)
    later = overlay.begin_weight_gradient(one.x, one.dz, bench.geometry(LAYER))
    gradient = overlay.conv_input_gradient(one.dz, one.w, bench.geometry(LAYER), (8, 8), one.shift)
    np.testing.assert_array_equal(gradient.data, input_gradient(one).data)
    np.testing.assert_array_equal(later()[0], sums(one))
    assert accelerator.submissions == 2
