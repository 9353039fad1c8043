"""Data sets by name: the packaged digits, the choice of the data directory, and the real files where present."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from joulebit.data import DATASETS, DataError, load_dataset, resolve_data_dir
from joulebit.data.digits import FILE, scale_levels
from joulebit.data.resize import enlarge_bilinear

real_files = [
    pytest.mark.dataset,
    pytest.mark.skipif(not os.environ.get("JOULEBIT_DATA_DIR"), reason="JOULEBIT_DATA_DIR is not set"),
]


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_digits_are_the_1797_of_scikit_learn():
    from sklearn.datasets import load_digits

    source = load_digits()
    with np.load(FILE, allow_pickle=False) as stored:
        assert np.array_equal(stored["images"], source.images)
        assert np.array_equal(stored["labels"], source.target)


def test_digits_have_a_fixed_stratified_split():
    dataset = load_dataset("digits")
    assert (dataset.classes, dataset.image_shape) == (10, (8, 8, 1))
    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    together = np.bincount(dataset.train.labels) + np.bincount(dataset.test.labels)
    assert together.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.abs(np.bincount(dataset.test.labels) - together * 360 / 1797).max() < 1
    assert int(dataset.train.images.max()) == 255


def test_digits_split_never_changes():
    """Accuracies of different versions compare only on the same test images."""
    dataset = load_dataset("digits")
    assert sha256(dataset.test.images) == "5f910a6106105bef100f4705f80a48b761ad161b87f2e3f280dd48a6414d69a1"
    assert sha256(dataset.train.images) == "47ea6bb388bffe977f0d289819c3580cb2ce33729c90950686f14dbb82dca558"


def test_levels_scale_to_bytes_by_rounding():
    levels = np.arange(17, dtype=np.uint8)
    assert scale_levels(levels).tolist() == [(255 * v + 8) // 16 for v in range(17)]
    assert scale_levels(levels)[[0, 16]].tolist() == [0, 255]


def test_digits32_are_the_digits_enlarged():
    small, large = load_dataset("digits"), load_dataset("digits32")
    assert (large.name, large.image_shape) == ("digits32", (32, 32, 3))
    assert np.array_equal(large.train.labels, small.train.labels)
    expected = enlarge_bilinear(small.test.images, 4)
    assert all(np.array_equal(large.test.images[..., c], expected[..., 0]) for c in range(3))


@pytest.mark.parametrize(
    ("name", "nearest"), [("cifar-10", "'cifar10'"), ("MNIST32", "'mnist32'"), ("digit", "'digits'")]
)
def test_an_unknown_name_gets_the_nearest_known_one(name, nearest):
    with pytest.raises(DataError, match=f"did you mean {nearest}"):
        load_dataset(name)


def test_a_name_like_no_other_gets_the_list():
    with pytest.raises(DataError, match="unknown data set 'imagenet'; known: digits, digits32, mnist"):
        load_dataset("imagenet")


def test_the_argument_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert resolve_data_dir() == Path("/home/someone/.cache/joulebit")
    monkeypatch.setenv("JOULEBIT_DATA_DIR", "~/sets")
    assert resolve_data_dir() == Path("/home/someone/sets")
    assert resolve_data_dir("here") == Path("here")


@pytest.mark.parametrize("name", [name for name in DATASETS if not name.startswith("digits")])
def test_a_missing_data_directory_is_named(tmp_path, name):
    missing = tmp_path / "none"
    with pytest.raises(DataError, match=f"{missing} does not exist; .*JOULEBIT_DATA_DIR") as caught:
        load_dataset(name, missing)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=f"in {tmp_path}.*https://"):
        load_dataset(name, tmp_path)


def test_digits_and_batches_need_numpy_only():
    """On the board there is no scikit-learn, scipy, torch or numba."""
    program = (
        "import sys\n"
        "for name in ('sklearn', 'scipy', 'torch', 'numba', 'rich'): sys.modules[name] = None\n"
        "from joulebit.data import *\n"
        "d = load_dataset('digits32')\n"
        "for i in epoch_batches(len(d.train), 128, 0, 0): augment(d.train.images[i], i, 0, 0)\n"
        "print(len(d.train))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1437\n"


class TestRealFiles:
    pytestmark = real_files

    def test_mnist_has_its_published_class_counts(self):
        dataset = load_dataset("mnist")
        counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert np.bincount(dataset.train.labels).tolist() == counts
        assert np.bincount(dataset.test.labels).tolist() == [
            980,
            1135,
            1032,
            1010,
            982,
            892,
            958,
            1028,
            974,
            1009,
        ]
        assert dataset.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]

    def test_mnist32_is_mnist_with_a_black_border(self):
        small, large = load_dataset("mnist"), load_dataset("mnist32")
        assert large.train.images.shape == (60_000, 32, 32, 3)
        assert np.array_equal(large.test.images[:, 2:30, 2:30, 1], small.test.images[..., 0])
        assert int(large.test.images.sum(dtype=np.int64)) == 3 * int(small.test.images.sum(dtype=np.int64))

    def test_cifar10_has_its_published_counts(self):
        dataset = load_dataset("cifar10")
        assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
        assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
        assert dataset.train.images.shape == (50_000, 32, 32, 3)
        means = dataset.train.images[:5000].mean(axis=(0, 1, 2)) / 255
        assert np.abs(means - [0.4914, 0.4822, 0.4465]).max() < 0.01
