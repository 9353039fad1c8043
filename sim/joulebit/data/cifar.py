"""CIFAR-10 and CIFAR-100 from their official files: binary or Python version, archive or unpacked.

Binary record: CIFAR-10 one label byte, CIFAR-100 a coarse and a fine one; then 3,072 pixel bytes, the red,
green and blue planes row by row. The Python version holds the same pixels in pickles, which are read
without unpickling objects (A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009).
"""

from __future__ import annotations

import gzip
import pickle
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from joulebit.data.dataset import Dataset, Split, check_labels
from joulebit.data.errors import DataError, damaged
from joulebit.data.safe_pickle import load_plain_pickle

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Records = npt.NDArray[np.uint8]

SIDE, CHANNELS = 32, 3
PIXELS = SIDE * SIDE * CHANNELS
_BLOCK = 1000  # records rearranged at a time


@dataclass(frozen=True)
class CifarLayout:
    """What the official files are called and hold. ``*_files``: (name, records), in order."""

    name: str
    classes: int
    label_bytes: int  # in a binary record; the last one is the label used
    label_key: bytes  # in a Python file
    binary_folder: str
    python_folder: str
    binary_archive: str
    python_archive: str
    binary_train: tuple[tuple[str, int], ...]
    binary_test: tuple[tuple[str, int], ...]
    python_train: tuple[tuple[str, int], ...]
    python_test: tuple[tuple[str, int], ...]
    source: str = "https://www.cs.toronto.edu/~kriz/cifar.html"


CIFAR10 = CifarLayout(
    name="cifar10",
    classes=10,
    label_bytes=1,
    label_key=b"labels",
    binary_folder="cifar-10-batches-bin",
    python_folder="cifar-10-batches-py",
    binary_archive="cifar-10-binary.tar.gz",
    python_archive="cifar-10-python.tar.gz",
    binary_train=tuple((f"data_batch_{i}.bin", 10_000) for i in range(1, 6)),
    binary_test=(("test_batch.bin", 10_000),),
    python_train=tuple((f"data_batch_{i}", 10_000) for i in range(1, 6)),
    python_test=(("test_batch", 10_000),),
)
CIFAR100 = CifarLayout(
    name="cifar100",
    classes=100,
    label_bytes=2,
    label_key=b"fine_labels",
    binary_folder="cifar-100-binary",
    python_folder="cifar-100-python",
    binary_archive="cifar-100-binary.tar.gz",
    python_archive="cifar-100-python.tar.gz",
    binary_train=(("train.bin", 50_000),),
    binary_test=(("test.bin", 10_000),),
    python_train=(("train", 50_000),),
    python_test=(("test", 10_000),),
)


@dataclass(frozen=True)
class _Found:
    """One place that has the data set."""

    path: Path
    binary: bool
    archive: bool


def find_cifar(data_dir: Path, layout: CifarLayout) -> _Found | None:
    """The first of: binary folder, binary archive, Python folder, Python archive.

    Each is looked for in ``data_dir`` and ``data_dir/<name>``; ``data_dir`` may also be the unpacked folder.
    """
    for binary, folder, archive in (
        (True, layout.binary_folder, layout.binary_archive),
        (False, layout.python_folder, layout.python_archive),
    ):
        if data_dir.name == folder and data_dir.is_dir():
            return _Found(data_dir, binary, archive=False)
        for place in (data_dir, data_dir / layout.name):
            if (place / folder).is_dir():
                return _Found(place / folder, binary, archive=False)
            if (place / archive).is_file():
                return _Found(place / archive, binary, archive=True)
    return None


def load_cifar(data_dir: Path, layout: CifarLayout) -> Dataset:
    """CIFAR-10 or CIFAR-100 from the files under ``data_dir``: images [N, 32, 32, 3].

    Binary files are memory-mapped and rearranged 1,000 records at a time; archives are read as a stream and never
    unpacked to disk. Peak memory is about that of the result (184 MB), for the Python version one file more.

    Raises:
        DataError: the files are missing or damaged, or a Python file is not plain data.
    """
    found = find_cifar(data_dir, layout)
    if found is None:
        raise DataError(
            f"{layout.name}: no {layout.binary_folder}, {layout.binary_archive}, {layout.python_folder} or "
            f"{layout.python_archive} in {data_dir}; get one from {layout.source}, "
            "or fetch it: joulebit train --download (load_dataset(..., download=True))"
        )
    train, test = (
        (layout.binary_train, layout.binary_test) if found.binary else (layout.python_train, layout.python_test)
    )
    splits = [_Buffer(layout, files) for files in (train, test)]
    if found.archive:
        _read_archive(found, layout, splits)
    else:
        _read_folder(found, layout, splits)
    done = [Split(buffer.images, buffer.labels) for buffer in splits]
    return Dataset(layout.name, layout.classes, done[0], done[1], (SIDE, SIDE, CHANNELS))


class _Buffer:
    """The arrays of one split, filled file by file."""

    def __init__(self, layout: CifarLayout, files: tuple[tuple[str, int], ...]) -> None:
        self.layout = layout
        total = sum(count for _, count in files)
        self.images = np.empty((total, SIDE, SIDE, CHANNELS), np.uint8)
        self.labels = np.empty(total, np.int64)
        self.places: dict[str, tuple[int, int]] = {}
        start = 0
        for name, count in files:
            self.places[name] = (start, count)
            start += count

    def put(self, name: str, where: str, first: int, pixels: Records, labels: npt.NDArray[Any]) -> None:
        """Stores records ``first`` .. of file ``name``; ``pixels`` [n, 3072] in planes."""
        start = self.places[name][0] + first
        stop = start + len(pixels)
        self.labels[start:stop] = labels
        planes = pixels.reshape(-1, CHANNELS, SIDE, SIDE)
        for channel in range(CHANNELS):  # one plane at a time is twice as fast as one transposed copy
            self.images[start:stop, :, :, channel] = planes[:, channel]
        if first + len(pixels) == self.places[name][1]:
            whole = self.labels[self.places[name][0] : stop]
            check_labels(whole, self.layout.classes, where, self.layout.source)


def _read_folder(found: _Found, layout: CifarLayout, splits: list[_Buffer]) -> None:
    for buffer in splits:
        for name in buffer.places:
            path = found.path / name
            try:
                size = path.stat().st_size
                _check_size(path, size, buffer, name, found.binary)
                if found.binary:
                    mapped = np.memmap(path, np.uint8, "r")
                    _put_binary(buffer, name, str(path), iter([mapped]))
                else:
                    with path.open("rb") as stream:
                        _put_python(buffer, name, str(path), stream)
            except FileNotFoundError:
                raise DataError(f"{path}: no such file; get it from {layout.source}") from None
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read_archive(found: _Found, layout: CifarLayout, splits: list[_Buffer]) -> None:
    wanted = {name: buffer for buffer in splits for name in buffer.places}
    try:
        # gzip.open, because tarfile's own stream mode does not compare gzip's checksum.
        with gzip.open(found.path) as unzipped, tarfile.open(fileobj=unzipped, mode="r|") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if not member.isfile() or name not in wanted:
                    continue
                buffer, where = wanted.pop(name), f"{found.path}:{member.name}"
                _check_size(where, member.size, buffer, name, found.binary)
                stream = archive.extractfile(member)
                assert stream is not None  # a regular file
                if found.binary:
                    _put_binary(buffer, name, where, _blocks(stream, layout))
                else:
                    _put_python(buffer, name, where, stream)
            while unzipped.read(1 << 20):  # the checksum comes last
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(found.path, f"broken archive ({error})", "a whole tar.gz", layout.source) from None
    except OSError as error:
        raise DataError(f"{found.path}: cannot be read ({error.strerror or error})") from None
    if wanted:
        raise damaged(found.path, f"no {', '.join(sorted(wanted))} in it", "every file", layout.source)


def _check_size(where: Path | str, size: int, buffer: _Buffer, name: str, binary: bool) -> None:
    count = buffer.places[name][1]
    if binary:
        expected = count * (buffer.layout.label_bytes + PIXELS)
        if size != expected:
            raise damaged(where, f"{size} bytes", f"{expected} ({count} records)", buffer.layout.source)
    elif size > 2 * count * PIXELS + (1 << 20):  # pixels, labels and file names take far less
        raise damaged(where, f"{size} bytes", f"about {count * PIXELS}", buffer.layout.source)


def _blocks(stream: IO[bytes], layout: CifarLayout) -> Iterator[Records]:
    """A stream's bytes, some records at a time."""
    while block := stream.read(_BLOCK * (layout.label_bytes + PIXELS)):
        yield np.frombuffer(block, np.uint8)


def _put_binary(buffer: _Buffer, name: str, where: str, blocks: Iterator[Records]) -> None:
    skip = buffer.layout.label_bytes
    first = 0
    for block in blocks:
        records = block.reshape(-1, skip + PIXELS)
        for start in range(0, len(records), _BLOCK):
            part = records[start : start + _BLOCK]
            buffer.put(name, where, first, part[:, skip:], part[:, skip - 1])
            first += len(part)


def _put_python(buffer: _Buffer, name: str, where: str, stream: IO[bytes]) -> None:
    layout, count = buffer.layout, buffer.places[name][1]
    try:
        content = load_plain_pickle(stream)
    except pickle.UnpicklingError as error:
        raise damaged(where, f"not a plain pickle ({error})", "one of byte arrays only", layout.source) from None
    if not isinstance(content, dict):
        raise damaged(where, f"a pickled {type(content).__name__}", "a dict", layout.source)
    content = {key.encode() if isinstance(key, str) else key: value for key, value in content.items()}
    for key in (b"data", layout.label_key):
        if key not in content:
            raise damaged(where, f"no key {key.decode()!r}", "data and labels", layout.source)
    data, labels = content[b"data"], content[layout.label_key]
    if not isinstance(data, np.ndarray) or data.shape != (count, PIXELS):
        shape = list(data.shape) if isinstance(data, np.ndarray) else type(data).__name__
        raise damaged(where, f"data {shape}", f"bytes [{count}, {PIXELS}]", layout.source)
    if not isinstance(labels, list) or len(labels) != count or not all(type(n) is int for n in labels):
        came = f"{len(labels)} labels" if isinstance(labels, list) else f"labels of type {type(labels).__name__}"
        raise damaged(where, came, f"a list of {count} integers", layout.source)
    outside = next((i for i, n in enumerate(labels) if not 0 <= n < layout.classes), None)
    if outside is not None:
        expected = f"0 to {layout.classes - 1}"
        raise damaged(where, f"label {labels[outside]} at record {outside}", expected, layout.source)
    buffer.put(name, where, 0, data, np.array(labels, np.int64))
