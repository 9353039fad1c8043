"""Integer image sizes against exact fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from joulebit.data.resize import enlarge_bilinear, grey_to_rgb, pad_to


def ref_bilinear(image, factor):
    """Bilinear interpolation with half-pixel centres and clamped borders, in fractions."""
    height, width = image.shape

    def weights(position, size):
        source = Fraction(2 * position + 1, 2 * factor) - Fraction(1, 2)
        low = floor(source)
        part = source - low
        return [(min(max(low, 0), size - 1), 1 - part), (min(max(low + 1, 0), size - 1), part)]

    out = np.empty((height * factor, width * factor), np.uint8)
    for y in range(height * factor):
        for x in range(width * factor):
            value = sum(
                wy * wx * int(image[iy, ix]) for iy, wy in weights(y, height) for ix, wx in weights(x, width)
            )
            out[y, x] = floor(value + Fraction(1, 2))
    return out


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_enlarging_equals_exact_fractions(factor):
    image = np.random.default_rng(factor).integers(0, 256, (5, 4), np.uint8)
    got = enlarge_bilinear(image[None, :, :, None], factor)
    assert got.dtype == np.uint8
    assert np.array_equal(got[0, :, :, 0], ref_bilinear(image, factor))


def test_enlarging_keeps_flat_images_and_extremes():
    for value in (0, 7, 255):
        assert (enlarge_bilinear(np.full((1, 3, 3, 2), value, np.uint8), 4) == value).all()
    with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
        enlarge_bilinear(np.zeros((1, 3, 3, 1), np.uint8), 0)


def test_padding_centres_the_image_on_black():
    image = np.full((1, 3, 2, 1), 9, np.uint8)
    got = pad_to(image, 6)
    assert got.shape == (1, 6, 6, 1)
    assert got.sum() == image.sum()
    assert (got[0, 1:4, 2:4] == 9).all()
    with pytest.raises(ValueError, match="size must be at least 3, got 2"):
        pad_to(image, 2)


def test_grey_becomes_three_equal_channels():
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    got = grey_to_rgb(image)
    assert got.shape == (1, 2, 2, 3)
    assert all(np.array_equal(got[..., c], image[..., 0]) for c in range(3))
    with pytest.raises(ValueError, match="images must have 1 channel, got 3"):
        grey_to_rgb(got)
