"""The laws that growth is measured against, what memory a data set takes, and what a sweep of nothing leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from joulebit.bench.data import bench_data, write_images
from joulebit.bench.fresh_process import measured_by
from joulebit.bench.growth import fitted
from joulebit.bench.sweep import bench_sweep
from joulebit.bench.workers import bench_workers
from joulebit.errors import JoulebitError

MIB = 2**20


def test_the_law_of_points_on_a_line_is_that_line() -> None:
    law = fitted([1, 10, 200], [7.5, 12.0, 107.0])
    assert law["overhead"] == pytest.approx(7.0) and law["slope"] == pytest.approx(0.5)
    assert law["off_by"] < 1e-9


def test_neither_overhead_nor_slope_is_negative_and_the_worst_point_is_told() -> None:
    x = np.array([1.0, 2.0, 3.0])
    law = fitted(x, x**2)
    assert law["overhead"] == 0.0
    assert law["off_by"] == pytest.approx(np.abs(x**2 / (law["slope"] * x) - 1).max())
    assert fitted(x, [5.0, 4.0, 3.0])["slope"] == 0.0


def test_a_measurement_that_fails_is_one_line() -> None:
    with pytest.raises(JoulebitError, match=r"a measurement failed: .*no-such\.npz") as caught:
        measured_by("joulebit.bench.data", "no-such.npz")
    assert "\n" not in str(caught.value)


def test_a_sweep_of_runs_that_do_nothing_is_listed_done_and_found_again() -> None:
    found = bench_sweep(40)
    assert found["runs"] == 40
    assert found["again_s"] < found["list_s"] + found["run_s"] + found["table_s"]
    assert found["peak_memory_bytes"] > 10 * MIB


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_mapped_images(tmp_path: Path) -> None:
    found = {}
    for images in (2_000, 8_000, 32_000):
        path = tmp_path / "images.npz"
        write_images(path, images)
        found[images] = bench_data(path)
    data = 30_000 * 32 * 32 * 3  # bytes that the largest has more than the smallest
    grown = found[32_000]["memory_bytes"] - found[2_000]["memory_bytes"]
    assert grown < 0.1 * data
    assert (
        found[32_000]["mapped_bytes"] - found[2_000]["mapped_bytes"] > 0.8 * data
    )  # it was looked at, every page


@pytest.mark.slow
def test_images_that_are_read_into_memory_are_seen_there(tmp_path: Path) -> None:
    sizes = []
    for images in (2_000, 32_000):
        write_images(tmp_path / "images.npz", images, compressed=True)
        sizes.append(bench_data(tmp_path / "images.npz")["memory_bytes"])
    assert sizes[1] - sizes[0] > 0.9 * 30_000 * 32 * 32 * 3


@pytest.mark.slow
def test_workers_of_any_number_end_with_the_same_weights() -> None:
    result = bench_workers("resnet8", batch=10, workers=(1, 3), steps=2, rounds=1)
    assert result["identical"] and [row["workers"] for row in result["launches"]] == [None, 1, 3]
