"""Random mirroring and shifting of images.

What happens to a sample follows from (seed, epoch, sample id) alone, not from the batch it is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

from joulebit.fixed.philox import Purpose, uniform_words

if TYPE_CHECKING:
    import numpy.typing as npt

PADDING = 128  # the pixel value that the input format (x = pixel - 128) takes for zero


@dataclass(frozen=True)
class Augmentation:
    """Which random changes an image may get.

    Attributes:
        mirror: exchange left and right with probability 1/2.
        shift: move by -shift .. +shift pixels in each direction, uniformly and independently.
    """

    mirror: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.shift, bool) or not isinstance(self.shift, int):
            raise TypeError(f"shift must be an integer, got {type(self.shift).__name__}")
        if not 0 <= self.shift <= 255:
            raise ValueError(f"shift must be in [0, 255], got {self.shift}")


NO_AUGMENTATION = Augmentation()
STANDARD_AUGMENTATION = Augmentation(mirror=True, shift=4)


def augment(
    images: npt.NDArray[np.uint8],
    sample_ids: npt.ArrayLike,
    seed: int,
    epoch: int,
    policy: Augmentation = STANDARD_AUGMENTATION,
) -> npt.NDArray[np.uint8]:
    """Each image mirrored and shifted at random.

    With (w0, w1, w2, _) the random words of (seed, AUGMENT, a=epoch, b=0, index=sample id) and s =
    policy.shift: the image is mirrored if w0 >= 2^31, then moved up by dy = (w1 (2 s + 1) >> 32) - s pixels
    and left by dx = (w2 (2 s + 1) >> 32) - s. Uncovered pixels are 128. This is padding by s, mirroring and
    random cropping.

    Args:
        images: uint8 [N, H, W, C].
        sample_ids: N integers in [0, 2^56): positions in the training split.
        seed: integer in [0, 2^64).
        epoch: integer in [0, 2^32).
        policy: what may happen.

    Returns:
        uint8 [N, H, W, C]; ``images`` itself where the policy allows no change.

    Raises:
        ValueError: not one id for each image, wrong shape or an argument out of range.
        TypeError: images that are not uint8, or ids that are not integers.
    """
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, got {images.dtype}")
    if images.ndim != 4:
        raise ValueError(f"images must be [N, H, W, C], got shape {list(images.shape)}")
    ids = np.asarray(sample_ids)
    if ids.shape != images.shape[:1]:
        raise ValueError(f"sample_ids must hold {len(images)} numbers, got shape {list(ids.shape)}")
    if policy == NO_AUGMENTATION or not len(images):
        return images
    count, height, width, channels = images.shape
    shift = policy.shift
    w0, w1, w2, _ = uniform_words(seed, Purpose.AUGMENT, epoch, 0, ids)

    padded = np.full((count, height + 2 * shift, width + 2 * shift, channels), PADDING, np.uint8)
    inside = padded[:, shift : shift + height, shift : shift + width]
    inside[...] = images
    if policy.mirror:
        mirrored = w0 >= np.uint32(1 << 31)
        inside[mirrored] = images[mirrored][:, :, ::-1]
    if shift == 0:
        return padded
    choices = np.uint64(2 * shift + 1)
    top = (w1.astype(np.uint64) * choices) >> np.uint64(32)
    left = (w2.astype(np.uint64) * choices) >> np.uint64(32)
    # Every window of every padded image as a view, rows of width * channels bytes; one gather copies the
    # chosen ones.
    of_image, of_row, of_pixel, _ = padded.strides
    windows = as_strided(
        padded,
        (count, 2 * shift + 1, 2 * shift + 1, height, width * channels),
        (of_image, of_row, of_pixel, of_row, 1),
        writeable=False,
    )
    crops = windows[np.arange(count), top.astype(np.intp), left.astype(np.intp)]
    return np.ascontiguousarray(crops).reshape(images.shape)
