"""Compiler cache, processor detection, threads and memory of the kernels."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from joulebit.kernels import compile as compiler
from joulebit.kernels import cpu
from joulebit.kernels.memory import Pool
from joulebit.kernels.scratch import address
from joulebit.kernels.workers import Workers


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
