"""CIFAR's official files in all four forms: whole ones are read exactly, damaged ones named."""

import gzip
import pickle

import numpy as np
import pytest
from make_data_files import SMALL_CIFAR10, SMALL_CIFAR100, cifar_content, python_file, write_cifar

from joulebit.data import DataError
from joulebit.data.cifar import load_cifar

LAYOUTS = [SMALL_CIFAR10, SMALL_CIFAR100]
IDS = ["cifar10", "cifar100"]


def ref_pixels(planes):
    """[n, 3072] in planes to [n, 32, 32, 3], as the data set's page describes."""
    out = np.empty((len(planes), 32, 32, 3), np.uint8)
    for channel in range(3):
        for row in range(32):
            out[:, row, :, channel] = planes[:, channel * 1024 + row * 32 : channel * 1024 + row * 32 + 32]
    return out


@pytest.mark.parametrize("layout", LAYOUTS, ids=IDS)
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "python"])
@pytest.mark.parametrize("archive", [True, False], ids=["archive", "folder"])
@pytest.mark.parametrize("below", ["", "name", "folder"])
def test_all_official_forms_are_read_exactly(tmp_path, layout, binary, archive, below):
    place = tmp_path / layout.name if below == "name" else tmp_path
    content = write_cifar(place, layout, binary, archive)
    data_dir = tmp_path
    if below == "folder" and not archive:
        data_dir = tmp_path / (layout.binary_folder if binary else layout.python_folder)
    dataset = load_cifar(data_dir, layout)
    assert (dataset.name, dataset.classes, dataset.image_shape) == (layout.name, layout.classes, (32, 32, 3))
    for split, files in ((dataset.train, layout.python_train), (dataset.test, layout.python_test)):
        planes = np.concatenate([content[name][0] for name, _ in files])
        labels = np.concatenate([content[name][2] for name, _ in files])
        assert np.array_equal(split.images, ref_pixels(planes))
        assert np.array_equal(split.labels, labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-5], "21506 bytes, expected 21511"),
        (lambda data: data[:3073], "3073 bytes, expected 21511"),
        (lambda data: data + b"\0", "21512 bytes, expected 21511"),
        (lambda data: data[:3073] + b"\x0a" + data[3074:], "label 10 at record 1, expected 0 to 9"),
    ],
    ids=["truncated", "too few records", "too long", "label"],
)
def test_damaged_binary_files_are_named(tmp_path, change, message):
    write_cifar(tmp_path, SMALL_CIFAR10)
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        load_cifar(tmp_path, SMALL_CIFAR10)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    write_cifar(tmp_path, SMALL_CIFAR10)
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"test_batch\.bin: no such file; get it from https://"):
        load_cifar(tmp_path, SMALL_CIFAR10)


def test_an_empty_directory_says_what_belongs_there(tmp_path):
    with pytest.raises(DataError, match=r"cifar100: no cifar-100-binary, .*tar\.gz in .*https://.*download=True"):
        load_cifar(tmp_path, SMALL_CIFAR100)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "python"])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 2],
        lambda _: b"not an archive",
        lambda _: b"",
        lambda data: data[:500] + bytes(byte ^ 0x55 for byte in data[500:900]) + data[900:],
        lambda _: gzip.compress(b"no tar inside" * 100),
    ],
    ids=["truncated", "not gzip", "empty", "flipped bits", "not tar"],
)
def test_broken_archives_are_named(tmp_path, binary, change):
    write_cifar(tmp_path, SMALL_CIFAR10, binary, archive=True)
    path = tmp_path / (SMALL_CIFAR10.binary_archive if binary else SMALL_CIFAR10.python_archive)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=r"expected .*; get it from https://") as caught:
        load_cifar(tmp_path, SMALL_CIFAR10)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_one_flipped_bit_of_a_pixel_in_an_archive_is_noticed(tmp_path):
    planes = write_cifar(tmp_path, SMALL_CIFAR10, archive=True)["test_batch"][0]
    path = tmp_path / SMALL_CIFAR10.binary_archive
    data = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), 0))
    data[data.index(planes[4].tobytes()[-100:])] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"broken archive \(CRC check failed .* expected a whole tar\.gz"):
        load_cifar(tmp_path, SMALL_CIFAR10)


def test_an_archive_of_something_else_is_named(tmp_path):
    write_cifar(tmp_path, SMALL_CIFAR100, archive=True)
    path = tmp_path / SMALL_CIFAR10.binary_archive
    (tmp_path / SMALL_CIFAR100.binary_archive).rename(path)
    with pytest.raises(DataError, match=r"no data_batch_1\.bin, data_batch_2\.bin, test_batch\.bin in it"):
        load_cifar(tmp_path, SMALL_CIFAR10)


def write_python(tmp_path, data):
    write_cifar(tmp_path, SMALL_CIFAR10, binary=False)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(data)
    return path


def pickled(**changes):
    planes, _, labels = cifar_content(SMALL_CIFAR10)["data_batch_1"]
    content = {"data": planes, "labels": labels.tolist(), **changes}
    return pickle.dumps({key.encode(): value for key, value in content.items() if value is not None}, 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a plain pickle"),
        (b"no pickle", "not a plain pickle"),
        (pickled()[:-100], "not a plain pickle"),
        (pickle.dumps([1, 2]), "a pickled list, expected a dict"),
        (pickled(data=None), "no key 'data'"),
        (pickled(labels=None), "no key 'labels'"),
        (pickled(data=np.zeros((6, 3072), np.uint8)), r"data \[6, 3072\], expected bytes \[7, 3072\]"),
        (pickled(data=b"x"), "data bytes, expected"),
        (pickled(data=np.zeros((7, 3072), np.float32)), "array type .*f4.*, expected u1"),
        (pickled(labels=[0] * 6), "6 labels, expected a list of 7 integers"),
        (pickled(labels=[0.5] * 7), "expected a list of 7 integers"),
        (pickled(labels=7), "labels of type int"),
        (pickled(labels=[0, 1, 10, 3, 4, 5, 6]), "label 10 at record 2, expected 0 to 9"),
        (pickled(labels=[-1, 1, 1, 3, 4, 5, 6]), "label -1 at record 0"),
        (pickled(labels=[2**80, 1, 1, 3, 4, 5, 6]), "label 1208925819614629174706176 at record 0"),
        (b"\0" * 2_000_000, "2000000 bytes, expected about 21504"),
    ],
)
def test_damaged_python_files_are_named(tmp_path, data, message):
    path = write_python(tmp_path, data)
    with pytest.raises(DataError, match=message) as caught:
        load_cifar(tmp_path, SMALL_CIFAR10)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_python_files_pickled_anew_are_read(tmp_path):
    """Text keys and newer protocols, as a Python 3 program would write them."""
    planes, _, labels = cifar_content(SMALL_CIFAR10)["data_batch_1"]
    for protocol in (2, 3, 4):
        place = tmp_path / str(protocol)
        write_python(place, pickle.dumps({"data": planes, "labels": labels.tolist()}, protocol))
        assert np.array_equal(load_cifar(place, SMALL_CIFAR10).train.images[:7], ref_pixels(planes))


def test_column_major_arrays_are_read(tmp_path):
    planes, _, labels = cifar_content(SMALL_CIFAR10)["data_batch_1"]
    write_python(tmp_path, python_file(SMALL_CIFAR10, np.asfortranarray(planes), labels))
    assert np.array_equal(load_cifar(tmp_path, SMALL_CIFAR10).train.images[:7], ref_pixels(planes))
