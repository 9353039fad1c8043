"""Mirroring and shifting against a plain loop, and independence of the batch."""

import numpy as np
import pytest

from joulebit.data import NO_AUGMENTATION, STANDARD_AUGMENTATION, Augmentation, augment
from joulebit.fixed.philox import Purpose, uniform_words


def ref_augment(image, sample_id, seed, epoch, policy):
    """One image, pixel by pixel, from the documented definition."""
    w0, w1, w2, _ = (int(word) for word in uniform_words(seed, Purpose.AUGMENT, epoch, 0, sample_id))
    height, width, channels = image.shape
    span = 2 * policy.shift + 1
    up, left = (w1 * span >> 32) - policy.shift, (w2 * span >> 32) - policy.shift
    out = np.full((height, width, channels), 128, np.uint8)
    for y in range(height):
        for x in range(width):
            row, column = y + up, x + left
            if 0 <= row < height and 0 <= column < width:
                mirrored = policy.mirror and w0 >= 2**31
                out[y, x] = image[row, width - 1 - column if mirrored else column]
    return out


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (20, 8, 10, 3), np.uint8)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("shift", [0, 1, 4, 12])
def test_augmented_images_equal_the_plain_loop(images, mirror, shift):
    policy = Augmentation(mirror, shift)
    ids = np.arange(100, 120)
    got = augment(images, ids, 7, 3, policy)
    assert got.dtype == np.uint8
    assert got.shape == images.shape
    for image, sample_id, result in zip(images, ids.tolist(), got):
        assert np.array_equal(result, ref_augment(image, sample_id, 7, 3, policy))


def test_one_channel_images_are_augmented_too(images):
    grey = images[..., :1]
    got = augment(grey, np.arange(20), 0, 0)
    assert np.array_equal(got[4], ref_augment(grey[4], 4, 0, 0, STANDARD_AUGMENTATION))


def test_result_does_not_depend_on_the_rest_of_the_batch(images):
    ids = np.array([5, 2**40, 17, 0, *range(1000, 1016)])
    whole = augment(images, ids, 1, 2)
    order = np.random.default_rng(1).permutation(20)
    assert np.array_equal(augment(images[order], ids[order], 1, 2), whole[order])
    for i in range(20):
        assert np.array_equal(augment(images[i : i + 1], ids[i : i + 1], 1, 2)[0], whole[i])


def test_seed_and_epoch_change_the_result(images):
    ids = np.arange(20)
    results = {augment(images, ids, seed, epoch).tobytes() for seed in (0, 1) for epoch in (0, 1)}
    assert len(results) == 4


def test_input_is_left_alone(images):
    before = images.copy()
    images.flags.writeable = False
    augment(images, np.arange(20), 0, 0)
    assert np.array_equal(images, before)
    assert augment(images, np.arange(20), 0, 0, NO_AUGMENTATION) is images


def test_every_shift_and_both_orientations_are_equally_likely():
    n = 16_200
    image = np.zeros((1, 3, 3, 1), np.uint8)
    image[0, 1, 0, 0] = 255  # left of the middle; a mirrored image has it on the right
    got = augment(np.broadcast_to(image, (n, 3, 3, 1)), np.arange(n), 0, 0, Augmentation(True, 4))
    assert (got == 128).all(axis=(1, 2, 3)).mean() > 0.5  # a shift of 3 or more leaves nothing
    mirrored = augment(np.broadcast_to(image, (n, 3, 3, 1)), np.arange(n), 0, 0, Augmentation(mirror=True))
    assert abs(int((mirrored[:, 1, 2, 0] == 255).sum()) - n / 2) < 5 * (n / 4) ** 0.5
    wide = np.zeros((1, 9, 9, 1), np.uint8)
    wide[0, 4, 4, 0] = 255
    moved = augment(np.broadcast_to(wide, (n, 9, 9, 1)), np.arange(n), 0, 0, Augmentation(shift=4))
    places = (moved[..., 0] == 255).sum(axis=0)
    assert places.sum() == n
    assert np.abs(places - n / 81).max() < 5 * (n / 81) ** 0.5


def test_wrong_arguments_are_refused(images):
    with pytest.raises(ValueError, match=r"shift must be in \[0, 255\], got -1"):
        Augmentation(shift=-1)
    with pytest.raises(TypeError, match="shift must be an integer, got float"):
        Augmentation(shift=1.5)
    with pytest.raises(ValueError, match=r"sample_ids must hold 20 numbers, got shape \[19\]"):
        augment(images, np.arange(19), 0, 0)
    with pytest.raises(TypeError, match="images must be uint8, got float64"):
        augment(images / 1.0, np.arange(20), 0, 0)
    with pytest.raises(ValueError, match=r"images must be \[N, H, W, C\]"):
        augment(images[0], np.arange(8), 0, 0)
    with pytest.raises(ValueError, match="index must be in"):
        augment(images, np.arange(-1, 19), 0, 0)
