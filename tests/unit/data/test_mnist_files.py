"""MNIST's IDX files: whole ones are read exactly, damaged ones named."""

import gzip

import numpy as np
import pytest
from make_data_files import SMALL_MNIST, idx_bytes, write_mnist

from joulebit.data import DataError
from joulebit.data.idx import load_mnist

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw", "."])
def test_files_are_read_exactly(tmp_path, compress, folder):
    content = write_mnist(tmp_path / folder, compress=compress)
    dataset = load_mnist(tmp_path, SMALL_MNIST)
    assert (dataset.name, dataset.classes, dataset.image_shape) == ("mnist", 10, (28, 28, 1))
    for part, split in (("train", dataset.train), ("test", dataset.test)):
        images, labels = content[part]
        assert np.array_equal(split.images[..., 0], images)
        assert np.array_equal(split.labels, labels)


def test_plain_images_are_memory_mapped(tmp_path):
    write_mnist(tmp_path, compress=False)
    images = load_mnist(tmp_path, SMALL_MNIST).train.images
    base = images
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_names_with_a_dot_are_found(tmp_path):
    write_mnist(tmp_path, compress=False)
    (tmp_path / TRAIN_IMAGES).rename(tmp_path / "train-images.idx3-ubyte")
    assert len(load_mnist(tmp_path, SMALL_MNIST).train) == 12


def damage(path, change):
    """Applies ``change`` to a file's bytes, below the compression if it has one."""
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    else:
        path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (TRAIN_IMAGES, lambda data: data[:-1], "9407 bytes after the header, expected 9408"),
        (TRAIN_IMAGES, lambda data: data + b"\0", "bytes after the header, expected 9408"),
        (TRAIN_IMAGES, lambda data: data[:7], "7 bytes in all, expected an IDX header of 16"),
        (TRAIN_IMAGES, lambda _: b"", "0 bytes in all"),
        (
            TRAIN_IMAGES,
            lambda data: b"\0\0\x08\x01" + data[4:],
            "magic number 0x00000801, expected 0x00000803",
        ),
        (
            TRAIN_IMAGES,
            lambda data: data[:7] + b"\x63" + data[8:],
            r"sizes \[99, 28, 28\], expected \[12, 28, 28\]",
        ),
        (TRAIN_IMAGES, lambda data: data[:15] + b"\x1b" + data[16:], r"sizes \[12, 28, 27\]"),
        (TRAIN_LABELS, lambda data: data[:11] + b"\x0a" + data[12:], "label 10 at record 3, expected 0 to 9"),
        (
            TRAIN_LABELS,
            lambda data: b"\0\0\x08\x03" + data[4:],
            "magic number 0x00000803, expected 0x00000801",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path, compress, name, change, message):
    write_mnist(tmp_path, compress=compress)
    path = tmp_path / (name + (".gz" if compress else ""))
    damage(path, change)
    with pytest.raises(DataError, match=message) as caught:
        load_mnist(tmp_path, SMALL_MNIST)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert "https://" in text


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"\x1f\x8b" + b"\xff" * 30,
        lambda _: b"not gzip at all",
        lambda data: data[:200] + bytes(byte ^ 0x55 for byte in data[200:260]) + data[260:],
        lambda data: data[:-8] + b"\0\0\0\0" + data[-4:],
    ],
    ids=["truncated", "bad header", "not gzip", "flipped bits", "wrong checksum"],
)
def test_broken_compression_is_named(tmp_path, change):
    write_mnist(tmp_path)
    path = tmp_path / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=r"broken gzip data .* expected a whole gzip file") as caught:
        load_mnist(tmp_path, SMALL_MNIST)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_is_named_with_where_to_get_it(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"no t10k-labels-idx1-ubyte or .*\.gz in .*https://.*download=True"):
        load_mnist(tmp_path, SMALL_MNIST)


def test_a_short_set_is_not_taken_for_the_official_one(tmp_path):
    write_mnist(tmp_path)
    with pytest.raises(DataError, match=r"sizes \[12, 28, 28\], expected \[60000, 28, 28\]"):
        load_mnist(tmp_path)


def test_an_idx_header_is_big_endian():
    assert idx_bytes(np.zeros((1, 2, 3), np.uint8), 0x803)[:8] == b"\0\0\x08\x03\0\0\0\x01"
