"""Compiler cache, processor detection, threads and memory of the kernels."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from joulebit.kernels import compile as compiler
from joulebit.kernels import cpu
from joulebit.kernels.compile import kernel
from joulebit.kernels.launch import INTERRUPTED, read_word, waits, write_word
from joulebit.kernels.memory import Pool
from joulebit.kernels.portions import PORTION, ahead_of_row, following, portions, units_ahead
from joulebit.kernels.scratch import address
from joulebit.kernels.vector import fetch_add
from joulebit.kernels.workers import Begun, Workers


@pytest.fixture
def fresh_detection():
    cpu.cpu_level.cache_clear()
    yield
    cpu.cpu_level.cache_clear()


def test_the_highest_level_of_the_processor_is_taken(fresh_detection, monkeypatch) -> None:
    monkeypatch.delenv("JOULEBIT_CPU", raising=False)
    monkeypatch.setattr(cpu, "host_features", lambda: frozenset({"avx2"}))
    assert cpu.cpu_level() is cpu.CpuLevel.AVX2
    cpu.cpu_level.cache_clear()
    monkeypatch.setattr(cpu, "host_features", frozenset)
    assert cpu.cpu_level() is cpu.CpuLevel.GENERIC


def test_asking_for_missing_features_names_them(fresh_detection, monkeypatch) -> None:
    monkeypatch.setenv("JOULEBIT_CPU", "avx512vnni")
    monkeypatch.setattr(cpu, "host_features", lambda: frozenset({"avx2", "avx512f", "avx512bw"}))
    with pytest.raises(ValueError, match="avx512vnni"):
        cpu.cpu_level()


def test_an_unknown_level_names_the_known_ones(fresh_detection, monkeypatch) -> None:
    monkeypatch.setenv("JOULEBIT_CPU", "sse9")
    with pytest.raises(ValueError, match="generic, avx2, avx512vnni"):
        cpu.cpu_level()


def test_kernels_are_kept_where_the_user_wants_them(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from joulebit.kernels import parameters;"
        "print(parameters.peak_of(np.array([3, -7, 5])))"
    )
    environment = {**os.environ, "JOULEBIT_CACHE_DIR": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "7"
        assert len(list(tmp_path.glob("*/*/*.nbc"))) == 1


def test_an_edit_of_any_kernel_source_changes_the_cache(tmp_path: Path, monkeypatch) -> None:
    names = []
    for text in ("a = 1", "a = 2"):
        (tmp_path / "scalar.py").write_text(text)
        monkeypatch.setattr(compiler, "__file__", str(tmp_path / "compile.py"))
        compiler.cache_directory.cache_clear()
        names.append(compiler.cache_directory().name)
    compiler.cache_directory.cache_clear()
    assert names[0] != names[1]


def test_memory_is_reused_only_when_nobody_looks_at_it() -> None:
    pool = Pool()
    first = pool.empty((100, 100), np.int32)
    address = first.ctypes.data
    assert address % 64 == 0
    view = first[10:, ::2]
    del first
    gc.collect()
    second = pool.empty((100, 100), np.int32)
    assert second.ctypes.data != address
    del view
    gc.collect()
    third = pool.empty((99, 101), np.float32)
    assert third.ctypes.data == address
    assert third.flags.writeable
    assert third.shape == (99, 101)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("samples", [0, 1, 2, 7])
def test_every_sample_is_worked_on_once(threads: int, samples: int) -> None:
    seen = np.zeros(samples, np.int64)

    def work(first: int, last: int) -> int:
        seen[first:last] += 1
        return last - first

    assert sum(Workers(threads).over_samples(samples, work)) == samples
    assert (seen == 1).all()


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    def work(thread: int) -> int:
        return 1 // thread if thread else 0

    def fail(thread: int) -> int:
        raise RuntimeError(f"thread {thread}")

    assert Workers(2).each(work, 2) == [0, 1]
    with pytest.raises(RuntimeError, match="thread"):
        Workers(2).each(fail, 2)


@kernel
def count_up(counter: int, turns: int, start: int) -> tuple[int, int]:
    """Take numbers from a shared counter and add them up; where it started."""
    total = 0
    number = fetch_add(counter, 1)
    while number < turns:
        total += number
        number = fetch_add(counter, 1)
    return total, start


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_kernel_runs_on_every_thread_whether_it_slept_or_not(threads: int) -> None:
    workers = Workers(threads)
    for pause_s in (0.0, 0.0, 0.0, 0.01, 0.0, 0.01):
        for turns in (0, 1, 1000):
            rows = [(workers.counter, turns, -thread) for thread in range(threads)]
            results = workers.run(count_up, rows)
            assert sum(result[0] for result in results) == turns * (turns - 1) // 2
            assert [result[1] for result in results] == [-thread for thread in range(threads)]
        time.sleep(pause_s)


def test_kernels_and_python_functions_take_turns() -> None:
    workers = Workers(3)
    for number in range(200):
        rows = [(workers.counter, number, 0)] * (1 + number % 3)
        assert sum(result[0] for result in workers.run(count_up, rows)) == number * (number - 1) // 2
        assert workers.each(lambda thread: thread * number, 3) == [0, number, 2 * number]  # noqa: B023


def test_callers_take_turns() -> None:
    workers = Workers(2)
    wrong = []

    def call() -> None:
        for turns in range(300):
            results = workers.run(count_up, [(workers.counter, turns, 0)] * 2)
            if sum(result[0] for result in results) != turns * (turns - 1) // 2:
                wrong.append(turns)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_helpers_of_its_own() -> None:
    workers = Workers(2)
    workers.run(count_up, [(workers.counter, 10, 0)] * 2)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # instead of waiting for helpers that it does not have
        results = workers.run(count_up, [(workers.counter, 10, 0)] * 2)
        os._exit(0 if sum(result[0] for result in results) == 45 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert workers.each(lambda thread: thread, 2) == [0, 1]


def test_helpers_end_with_their_workers() -> None:
    before = set(threading.enumerate())
    workers = Workers(3)
    workers.run(count_up, [(workers.counter, 10, 0)] * 3)
    helpers = set(threading.enumerate()) - before
    assert len(helpers) == 2
    del workers
    gc.collect()
    for helper in helpers:
        helper.join(5)
        assert not helper.is_alive()


@kernel
def count_patiently(counter: int, turns: int, box: int, state: int) -> tuple[int, int]:
    """As `count_up`, and how often it was interrupted: [total, interruptions, whether it goes on] at `state`."""
    total = read_word(state)
    number = fetch_add(counter, 1)
    while number < turns:
        total += number
        if waits(box):
            write_word(state, total)
            write_word(state + 8, read_word(state + 8) + 1)
            return np.int64(INTERRUPTED), np.int64(0)
        number = fetch_add(counter, 1)
    return total, read_word(state + 8)


def begun_count(workers: Workers, turns: int, threads: int) -> Begun:
    state = np.zeros((threads, 2), np.int64)

    def rows(begun: Begun) -> list[tuple[int, ...]]:
        return [(begun.counter, turns, begun.boxes[i], address(state) + 16 * i) for i in range(threads)]

    return workers.begin(count_patiently, rows, state)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_what_was_begun_is_finished_between_other_kernels(threads: int) -> None:
    workers = Workers(threads)
    for pause_s in (0.0, 0.003, 0.0):
        for turns in (0, 1, 100_000):
            begun = begun_count(workers, turns, threads)
            for other in (0, 1, 50, 2000):
                results = workers.run(count_up, [(workers.counter, other, 0)] * threads)
                assert sum(result[0] for result in results) == other * (other - 1) // 2
            assert workers.each(lambda thread: thread, threads) == list(range(threads))
            time.sleep(pause_s)
            results = workers.finish(begun)
            assert sum(result[0] for result in results) == turns * (turns - 1) // 2
            assert workers.finish(begun) == results


def test_what_was_begun_keeps_its_arrays_until_it_is_finished() -> None:
    workers = Workers(2)
    begun = begun_count(workers, 1000, 2)
    kept = weakref.ref(begun.keep)
    gc.collect()
    assert kept() is not None
    workers.finish(begun)
    gc.collect()
    assert kept() is None and begun.results is not None


def test_a_helper_leaves_what_was_begun_for_its_own_box() -> None:
    workers = Workers(2)
    interruptions = 0
    for _ in range(100):
        begun = begun_count(workers, 2_000_000, 2)
        time.sleep(1e-3)  # the helper takes it
        workers.run(count_up, [(workers.counter, 500_000, 0)] * 2)  # long enough for the helper to look
        results = workers.finish(begun)
        assert sum(result[0] for result in results) == 2_000_000 * 1_999_999 // 2
        interruptions += results[1][1]
        if interruptions:
            return
    raise AssertionError("it never did")


def test_more_kernels_may_be_begun_than_there_are_places_for() -> None:
    workers = Workers(3)
    begun = [begun_count(workers, turns, 1 + turns % 3) for turns in range(100)]
    for turns, one in reversed(list(enumerate(begun))):
        assert sum(result[0] for result in workers.finish(one)) == turns * (turns - 1) // 2


def test_what_nobody_finishes_keeps_nobody_from_anything() -> None:
    workers = Workers(2)
    for _ in range(5):
        begun_count(workers, 1000, 2)
    assert workers.each(lambda thread: thread, 2) == [0, 1]
    del workers
    gc.collect()


@kernel
def looks_beyond(index: int) -> int:
    if index > 2:
        raise IndexError
    return index


def test_a_kernel_that_fails_is_an_error_for_the_caller() -> None:
    workers = Workers(2)
    for rows in ([(3,), (0,)], [(0,), (3,)]):
        failing = workers.begin(looks_beyond, lambda begun: rows, None)  # noqa: B023
        with pytest.raises(RuntimeError, match="failed"):
            workers.finish(failing)
    for rows in ([(3,), (0,)], [(0,), (3,)]):
        with pytest.raises(RuntimeError, match="failed"):
            workers.run(looks_beyond, rows)
    assert workers.run(looks_beyond, [(1,), (2,)]) == [[1, 0], [2, 0]]


@kernel
def returns_too_much(value: int) -> tuple[int, int, int]:
    return value, value, value


def test_a_kernel_for_threads_returns_at_most_two_integers() -> None:
    with pytest.raises(TypeError, match="returns_too_much"):
        Workers(1).run(returns_too_much, [(1,)])


@pytest.mark.parametrize(("units", "elements"), [(1, 1), (7, 5000), (1000, 16), (131072, 16), (2048, 1024)])
@pytest.mark.parametrize("threads", [1, 2, 16])
def test_portions_cover_everything_once(units: int, elements: int, threads: int) -> None:
    grain, run, used = portions(units, elements, threads)
    assert 1 <= used <= threads
    assert grain * elements <= max(PORTION, elements)
    seen, asked = np.zeros(units, np.int64), np.zeros(units + grain, np.int64)
    take_portions(address(np.zeros(1, np.int64)), seen, asked, grain, run)
    assert (seen == 1).all()
    assert (asked[grain:units] == 1).all(), "memory of every portion but the first is asked for ahead"


@kernel
def take_portions(counter: int, seen: int, asked: int, grain: int, run: int) -> None:
    first = grain * run * fetch_add(counter, 1)
    while first < seen.size:
        after = following(counter, first, grain, run)
        ahead = units_ahead(first, after, seen.size)
        for unit in range(first, min(seen.size, first + grain)):
            seen[unit] += 1
        if ahead != 0:
            for unit in range(first, first + grain):
                asked[unit + ahead] += 1
        first = after


@kernel
def distance(size: int) -> int:
    return ahead_of_row(size)


def test_memory_is_asked_for_a_row_ahead_and_some_kilobytes_at_least() -> None:
    assert [distance(size) for size in (64, 4096, 9216)] == [4096, 4096, 9216]


def test_threads_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Workers(0)


def test_addresses_are_those_of_the_array_interface() -> None:
    pool = Pool()
    whole = np.zeros((40, 50), np.int16)
    arrays = [
        whole,
        whole[3:, 7:],
        whole.T,
        np.zeros(0),
        pool.empty((300, 300), np.uint8),
        np.float64(3) + np.zeros(1),
    ]
    for array in arrays:
        assert address(array) == array.__array_interface__["data"][0]
