"""The clock of the RTL tier shares the model with register accesses: nobody waits for a list to end."""

import threading
import time

import numpy as np
import pytest

from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS, Register
from joulebit_host.boards import fabric as fabrics

BUSY, DONE = 1, 2
SLICE_S = 0.005


class SlowModel:
    """A list of so many slices, each of which takes its time without the interpreter's lock."""

    def __init__(self, config, memory_bytes, base, clock_hz):
        self.config, self.memory = CONFIGS[config], np.zeros(memory_bytes, np.uint8)
        self.left, self.slices, self.closed, self.fails = 600, 0, False, False

    def read(self, offset):
        return (BUSY if self.left else DONE) if offset == Register.STATUS else offset

    def write(self, offset, value):
        pass

    def cycles(self, count):
        assert not self.closed
        time.sleep(SLICE_S)
        self.slices += 1
        self.left -= 1

    def check_bus(self):
        if self.fails:
            raise JoulebitError("the design broke a rule of the bus")

    def reset(self):
        self.left = 0

    def close(self):
        self.closed = True


class PartialLock:
    """A lock that the clock gets at once and others only where they happen to find it free.

    So it goes on a machine that is busy: whoever waits is woken long after the clock has taken the lock again.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self.release = self._lock.release

    def acquire(self):
        if threading.current_thread().name.startswith("fabric"):
            self._lock.acquire()
            return
        while not self._lock.acquire(blocking=False):
            time.sleep(SLICE_S / 3)


@pytest.fixture
def fabric(monkeypatch):
    monkeypatch.setattr("joulebit.accelerator.rtl.RtlModel", SlowModel)
    made = fabrics.make_fabric("rtl", "tiny", 4096)
    made._lock = PartialLock()
    yield made
    made.close()


def test_a_register_access_waits_for_one_slice_not_for_the_list(fabric):
    fabric.write(Register.CTRL, 1)
    for _ in range(10):
        before = fabric._model.slices
        assert fabric.read(Register.STATUS) & BUSY
        assert fabric._model.slices - before < 20
    fabric.write(Register.SCRATCH, 7)
    assert fabric._model.left > 300


def test_several_threads_get_their_turns(fabric):
    fabric.write(Register.CTRL, 1)
    seen = []

    def look():
        for _ in range(5):
            seen.append(fabric.read(Register.STATUS))

    threads = [threading.Thread(target=look, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == [BUSY] * 20
    assert fabric._model.left > 300


def test_a_wait_that_is_too_short_finds_the_list_at_work_and_it_goes_on(fabric):
    fabric._model.left = 60
    fabric.write(Register.CTRL, 1)
    assert fabric.wait(DONE, 0.02) == BUSY
    assert fabric.wait(DONE, 20) == DONE


def test_a_reset_ends_a_list_at_once(fabric):
    fabric.write(Register.CTRL, 1)
    started = time.monotonic()
    fabric.reset()
    assert time.monotonic() - started < 2
    assert fabric._model.slices < 300
    assert fabric.read(Register.STATUS) == DONE


def test_a_rule_that_the_design_broke_is_told(fabric):
    fabric._model.fails = True
    fabric.write(Register.CTRL, 1)
    with pytest.raises(JoulebitError, match="broke a rule"):
        fabric.wait(DONE, 10)


def test_a_list_that_does_not_end_is_told_and_the_model_is_not_taken_from_under_it(monkeypatch):
    monkeypatch.setattr("joulebit.accelerator.rtl.RtlModel", SlowModel)
    monkeypatch.setattr(fabrics, "_END_S", 0.05)
    made = fabrics.make_fabric("rtl", "tiny", 4096)
    held = made._turn()
    made.write(Register.CTRL, 1)
    with held, pytest.raises(JoulebitError, match=r"has not ended after 0\.05 s"):
        made.reset()
    made.close()
    assert made._model.closed
