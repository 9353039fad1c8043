"""MNIST's own IDX files, gzip-compressed or not.

Format: a big-endian magic number (2051 for images, 2049 for labels), the sizes as 32-bit big-endian
integers, then the bytes (Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits").
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from joulebit.data.dataset import Dataset, Split, check_labels
from joulebit.data.errors import DataError, damaged

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

IMAGES_MAGIC = 0x803
LABELS_MAGIC = 0x801


@dataclass(frozen=True)
class MnistLayout:
    """What the official files hold."""

    side: int = 28
    classes: int = 10
    train_count: int = 60_000
    test_count: int = 10_000
    source: str = "https://ossci-datasets.s3.amazonaws.com/mnist/"


MNIST = MnistLayout()
_PREFIXES = {"train": "train", "test": "t10k"}


def read_idx(path: Path, magic: int, shape: tuple[int, ...], source: str = "") -> npt.NDArray[np.uint8]:
    """The bytes of one IDX file of known magic number and shape: uint8 of that shape.

    A plain file is memory-mapped, a ``.gz`` one decompressed into memory.

    Raises:
        DataError: the file has another magic number, shape or length, or is not valid gzip.
    """
    header_size = 4 + 4 * len(shape)
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as stream:
                _check_header(path, stream.read(header_size), magic, shape, source)
                data = bytearray(int(np.prod(shape)))
                length = 0
                view = memoryview(data)
                while length < len(data) and (part := stream.readinto(view[length:])):
                    length += part
                length += len(stream.read(1))
        else:
            with path.open("rb") as stream:
                _check_header(path, stream.read(header_size), magic, shape, source)
            length = path.stat().st_size - header_size
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(path, f"broken gzip data ({error})", "a whole gzip file", source) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    expected = int(np.prod(shape))
    if length != expected:
        came = f"more than {expected}" if path.suffix == ".gz" and length > expected else str(length)
        raise damaged(path, f"{came} bytes after the header", str(expected), source)
    if path.suffix == ".gz":
        return np.frombuffer(data, np.uint8).reshape(shape)
    return np.memmap(path, np.uint8, "r", header_size, shape)


def _check_header(path: Path, header: bytes, magic: int, shape: tuple[int, ...], source: str) -> None:
    if len(header) != 4 + 4 * len(shape):
        raise damaged(path, f"{len(header)} bytes in all", f"an IDX header of {4 + 4 * len(shape)}", source)
    got_magic, *sizes = (int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4))
    if got_magic != magic:
        raise damaged(path, f"magic number {got_magic:#010x}", f"{magic:#010x}", source)
    if tuple(sizes) != shape:
        raise damaged(path, f"sizes {sizes}", str(list(shape)), source)


def find_mnist(data_dir: Path) -> dict[str, Path]:
    """The files found, by ``train-images``, ``train-labels``, ``test-images`` and ``test-labels``.

    Looked for in ``mnist``, ``MNIST/raw`` and the directory itself; a plain file before a compressed one.
    """
    found: dict[str, Path] = {}
    for folder in (data_dir / "mnist", data_dir / "MNIST" / "raw", data_dir):
        for part, prefix in _PREFIXES.items():
            for kind, ending in (("images", "idx3-ubyte"), ("labels", "idx1-ubyte")):
                for name in (f"{prefix}-{kind}-{ending}", f"{prefix}-{kind}.{ending}"):
                    for candidate in (folder / name, folder / f"{name}.gz"):
                        if candidate.is_file():
                            found.setdefault(f"{part}-{kind}", candidate)
    return found


def load_mnist(data_dir: Path, layout: MnistLayout = MNIST) -> Dataset:
    """MNIST from its four files under ``data_dir``: images [N, 28, 28, 1].

    Raises:
        DataError: a file is missing or damaged.
    """
    found = find_mnist(data_dir)
    splits = {}
    for part, count in (("train", layout.train_count), ("test", layout.test_count)):
        for kind, ending in (("images", "idx3-ubyte"), ("labels", "idx1-ubyte")):
            if f"{part}-{kind}" not in found:
                name = f"{_PREFIXES[part]}-{kind}-{ending}"
                raise DataError(
                    f"mnist: no {name} or {name}.gz in {data_dir / 'mnist'}, {data_dir / 'MNIST' / 'raw'} or "
                    f"{data_dir}; get it from {layout.source}, "
                    "or fetch it: joulebit train --download (load_dataset(..., download=True))"
                )
        images = read_idx(found[f"{part}-images"], IMAGES_MAGIC, (count, layout.side, layout.side), layout.source)
        labels = read_idx(found[f"{part}-labels"], LABELS_MAGIC, (count,), layout.source).astype(np.int64)
        check_labels(labels, layout.classes, found[f"{part}-labels"], layout.source)
        splits[part] = Split(images[..., None], labels)
    return Dataset("mnist", layout.classes, splits["train"], splits["test"], (layout.side, layout.side, 1))
