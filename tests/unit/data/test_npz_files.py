"""A user's own .npz file."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from joulebit.data import DataError, load_dataset

RNG = np.random.default_rng(4)
GOOD = {
    "x_train": RNG.integers(0, 256, (6, 5, 4, 2), np.uint8),
    "y_train": np.array([0, 1, 2, 2, 1, 0]),
    "x_test": RNG.integers(0, 256, (3, 5, 4, 2), np.uint8),
    "y_test": np.array([2, 0, 1]),
}


def write(path, **changes):
    arrays = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    np.savez_compressed(path, **arrays)
    return path


def test_arrays_come_back(tmp_path):
    path = write(tmp_path / "mine.npz", extra=np.zeros(1))
    dataset = load_dataset(f"npz:{path}")
    assert (dataset.name, dataset.classes, dataset.image_shape) == (f"npz:{path}", 3, (5, 4, 2))
    assert np.array_equal(dataset.train.images, GOOD["x_train"])
    assert np.array_equal(dataset.test.labels, GOOD["y_test"])


def test_grey_images_and_small_label_types_are_taken(tmp_path):
    grey = {key: GOOD[key][..., 0] for key in ("x_train", "x_test")}
    path = write(tmp_path / "grey.npz", **grey, y_train=GOOD["y_train"].astype(np.uint8))
    dataset = load_dataset(f"npz:{path}")
    assert dataset.image_shape == (5, 4, 1)
    assert dataset.train.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "no y_test in it"),
        ({"x_train": None, "y_train": None}, "no x_train, y_train in it"),
        ({"x_train": GOOD["x_train"] / 255.0}, r"x_train is float64 \[6, 5, 4, 2\], expected uint8"),
        ({"x_train": np.zeros((6, 20), np.uint8)}, r"x_train is uint8 \[6, 20\]"),
        ({"x_test": np.zeros((0, 5, 4, 2), np.uint8), "y_test": np.zeros(0, int)}, "not empty"),
        (
            {"x_test": np.zeros((3, 5, 5, 2), np.uint8)},
            r"x_test \[3, 5, 5, 2\], expected images like x_train",
        ),
        ({"y_train": GOOD["y_train"][:5]}, r"y_train is int64 \[5\], expected integers \[6\]"),
        ({"y_train": GOOD["y_train"] / 1.0}, "y_train is float64"),
        ({"y_train": np.eye(6, dtype=int)}, r"y_train is int64 \[6, 6\]"),
        ({"y_test": np.array([0, 1, 3])}, r"\(y_test\): label 3 at record 2, expected 0 to 2"),
        ({"y_train": np.array([0, -1, 2, 2, 1, 0])}, r"\(y_train\): label -1 at record 1"),
        ({"y_test": np.array([0, 1, 2**63], np.uint64)}, "y_test has label 9223372036854775808"),
        ({"y_test": np.array([0, 1, {}], object)}, "cannot be read"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, changes, message):
    path = write(tmp_path / "mine.npz", **changes)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(f"npz:{path}")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def npy_bytes():
    stream = io.BytesIO()
    np.save(stream, GOOD["x_train"])
    return stream.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[: len(data) // 2], "cannot be read"),
        (
            lambda data: data[:120] + bytes(byte ^ 0x55 for byte in data[120:160]) + data[160:],
            "cannot be read",
        ),
        (lambda _: b"", "cannot be read"),
        (lambda _: b"text", "cannot be read"),
        (lambda _: b"cos\nsystem\n(S'false'\ntR.", "cannot be read"),
        (lambda _: npy_bytes(), "a single array, expected an .npz file"),
    ],
    ids=["truncated", "flipped bits", "empty", "text", "pickle", "npy"],
)
def test_damaged_files_are_named(tmp_path, change, message):
    path = write(tmp_path / "mine.npz")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(f"npz:{path}")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.npz: no such file, expected an \.npz file with uint8 images"):
        load_dataset(f"npz:{tmp_path / 'none.npz'}")


# --- images that stay in the file ------------------------------------------------------------------------------


def stored(path, **changes):
    np.savez(path, **{**GOOD, **changes})
    return path


def is_mapped(array):
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = getattr(array, "base", None)
    return False


def test_images_that_are_not_compressed_are_mapped(tmp_path):
    dataset = load_dataset(f"npz:{stored(tmp_path / 'mine.npz')}")
    assert is_mapped(dataset.train.images) and is_mapped(dataset.test.images)
    assert np.array_equal(dataset.train.images, GOOD["x_train"])
    assert np.array_equal(dataset.test.images, GOOD["x_test"])
    assert not is_mapped(load_dataset(f"npz:{write(tmp_path / 'compressed.npz')}").train.images)


def test_grey_images_are_mapped_and_other_orders_are_copied(tmp_path):
    grey = {key: GOOD[key][..., 0] for key in ("x_train", "x_test")}
    dataset = load_dataset(f"npz:{stored(tmp_path / 'grey.npz', **grey)}")
    assert is_mapped(dataset.train.images) and np.array_equal(dataset.train.images[..., 0], grey["x_train"])
    columns = np.asfortranarray(GOOD["x_train"])
    dataset = load_dataset(f"npz:{stored(tmp_path / 'fortran.npz', x_train=columns)}")
    assert not is_mapped(dataset.train.images) and np.array_equal(dataset.train.images, columns)


@pytest.mark.parametrize("key", ["x_train", "x_test"])
def test_one_changed_byte_of_mapped_images_is_found(tmp_path, key):
    path = stored(tmp_path / "mine.npz")
    data = bytearray(path.read_bytes())
    at = data.index(GOOD[key].tobytes())
    data[at + 7] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"CRC-32 of {key}"):
        load_dataset(f"npz:{path}")


def test_memory_does_not_grow_with_the_file(tmp_path):
    program = """
import sys
import numpy as np
from joulebit.data import load_dataset

def anonymous():
    return int(next(l for l in open("/proc/self/status") if l.startswith("RssAnon")).split()[1])

before = anonymous()
train = load_dataset("npz:" + sys.argv[1]).train
for step in range(20):
    assert train.images[np.arange(64) * 250 + step].sum() > 0
print(anonymous() - before)
"""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs /proc")
    images = np.full((16_100, 64, 64, 1), 3, np.uint8)  # 63 MiB
    path = stored(
        tmp_path / "large.npz",
        x_train=images,
        y_train=np.zeros(len(images), int),
        x_test=images[:1],
        y_test=np.zeros(1, int),
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 16 * 1024  # KiB
