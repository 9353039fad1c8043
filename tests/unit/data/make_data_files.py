"""Small data sets in the official file formats."""

import dataclasses
import gzip
import io
import pickle
import tarfile

import numpy as np

from joulebit.data.cifar import CIFAR10, CIFAR100
from joulebit.data.idx import MNIST

SMALL_MNIST = dataclasses.replace(MNIST, train_count=12, test_count=5)
SMALL_CIFAR10 = dataclasses.replace(
    CIFAR10,
    binary_train=(("data_batch_1.bin", 7), ("data_batch_2.bin", 4)),
    binary_test=(("test_batch.bin", 5),),
    python_train=(("data_batch_1", 7), ("data_batch_2", 4)),
    python_test=(("test_batch", 5),),
)
SMALL_CIFAR100 = dataclasses.replace(
    CIFAR100,
    binary_train=(("train.bin", 9),),
    binary_test=(("test.bin", 4),),
    python_train=(("train", 9),),
    python_test=(("test", 4),),
)


def idx_bytes(array, magic):
    return b"".join(n.to_bytes(4, "big") for n in (magic, *array.shape)) + array.tobytes()


def write_mnist(folder, layout=SMALL_MNIST, compress=True):
    """Writes four IDX files of random content; returns {part: (images, labels)}."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    content = {}
    for part, prefix, count in (("train", "train", layout.train_count), ("test", "t10k", layout.test_count)):
        images = rng.integers(0, 256, (count, layout.side, layout.side), np.uint8)
        labels = rng.integers(0, layout.classes, count, np.uint8)
        content[part] = (images, labels)
        for kind, data in (
            ("images-idx3", idx_bytes(images, 0x803)),
            ("labels-idx1", idx_bytes(labels, 0x801)),
        ):
            if compress:
                (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(data))
            else:
                (folder / f"{prefix}-{kind}-ubyte").write_bytes(data)
    return content


def cifar_content(layout):
    """{file stem: (planes uint8 [n, 3072], coarse or None, labels)} with random pixels."""
    rng = np.random.default_rng(2)
    content = {}
    for name, count in (*layout.python_train, *layout.python_test):
        planes = rng.integers(0, 256, (count, 3072), np.uint8)
        coarse = rng.integers(0, 20, count, np.uint8) if layout.label_bytes == 2 else None
        content[name] = (planes, coarse, rng.integers(0, layout.classes, count, np.uint8))
    return content


def binary_file(planes, coarse, labels):
    columns = [labels[:, None], planes] if coarse is None else [coarse[:, None], labels[:, None], planes]
    return np.concatenate(columns, axis=1).tobytes()


def python_file(layout, planes, labels):
    """A pickle as the official ones: protocol 2, a dict of bytes keys, one byte array, a list of labels."""
    filenames = [b"picture_%d.png" % i for i in range(len(labels))]
    content = {b"data": planes, layout.label_key: labels.tolist(), b"filenames": filenames}
    return pickle.dumps(content, protocol=2)


def write_cifar(data_dir, layout, binary=True, archive=False):
    """Writes one version of the data set; returns what is in it, as ``cifar_content``."""
    content = cifar_content(layout)
    folder = layout.binary_folder if binary else layout.python_folder
    files = {
        f"{folder}/{name}{'.bin' if binary else ''}": (
            binary_file(planes, coarse, labels) if binary else python_file(layout, planes, labels)
        )
        for name, (planes, coarse, labels) in content.items()
    }
    data_dir.mkdir(parents=True, exist_ok=True)
    if archive:
        path = data_dir / (layout.binary_archive if binary else layout.python_archive)
        with tarfile.open(path, "w:gz") as tar:
            for name, data in {f"{folder}/readme.html": b"text", **files}.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    else:
        (data_dir / folder).mkdir()
        for name, data in files.items():
            (data_dir / name).write_bytes(data)
    return content
