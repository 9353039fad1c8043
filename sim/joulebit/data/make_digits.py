"""Makes ``digits.npz`` from scikit-learn's copy: ``python -m joulebit.data.make_digits``.

The file is part of the package because not every machine that trains has scikit-learn.
"""

from __future__ import annotations

import numpy as np

from joulebit.data.digits import FILE


def main() -> None:
    """Writes the images (uint8 [1797, 8, 8], 0 .. 16) and labels (uint8 [1797]) in scikit-learn's order."""
    from sklearn.datasets import load_digits

    source = load_digits()
    images, labels = source.images.astype(np.uint8), source.target.astype(np.uint8)
    if not np.array_equal(images, source.images) or int(images.max()) != 16:
        raise ValueError(f"values must be integers from 0 to 16, got a maximum of {source.images.max()}")
    np.savez_compressed(FILE, images=images, labels=labels)


if __name__ == "__main__":
    main()
