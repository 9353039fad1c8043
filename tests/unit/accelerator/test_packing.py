import numpy as np
import pytest

from joulebit.accelerator.packing import pack_tensor, pack_weights, pad8, unpack_tensor, weight_order
from joulebit.spec.accelerator import CONFIGS, Operation
from joulebit.spec.descriptor import weight_bytes

TINY = CONFIGS["tiny"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int64])
def test_tensors_come_back(dtype):
    rng = np.random.default_rng(1)
    tensor = rng.integers(-100 if np.iinfo(dtype).min else 0, 100, (2, 3, 4, 5)).astype(dtype)
    data = pack_tensor(tensor)
    assert data.dtype == np.uint8
    assert len(data) == 2 * 3 * 4 * 8 * np.dtype(dtype).itemsize
    np.testing.assert_array_equal(unpack_tensor(data, tensor.shape, dtype), tensor)


def place(lane, i, k):
    return (lane * 4 + i) * 3 + k


def test_the_first_groups_of_a_3x3_kernel_byte_by_byte():
    rng = np.random.default_rng(2)
    w = rng.integers(-127, 128, (3, 3, 8, 6)).astype(np.int8)
    data = pack_weights(w, TINY, Operation.FORWARD, 1, 0, x_unsigned=True)
    block = weight_bytes(Operation.FORWARD, (3, 3), 0, 1, 2, TINY)
    assert len(data) == 2 * block
    initial = data[: 8 * 4].view("<i8")
    assert initial.tolist() == [128 * int(w[..., lane].astype(int).sum()) for lane in range(4)]
    for number, (four, row) in enumerate((four, row) for four in range(2) for row in range(3)):
        group = data[32 + 48 * number :][:48].view(np.int8)
        for lane in range(4):
            for i in range(4):
                for k in range(3):
                    assert group[place(lane, i, k)] == w[row, k, 4 * four + i, lane]
    second = data[block + 32 :][:48].view(np.int8)
    assert second[place(1, 2, 0)] == w[0, 0, 2, 5]
    assert second[place(2, 2, 0)] == 0


def test_twelve_channels_of_a_tap_byte_by_byte():
    rng = np.random.default_rng(3)
    w = rng.integers(-127, 128, (1, 1, 20, 4)).astype(np.int8)
    data = pack_weights(w, TINY, Operation.FORWARD, 1, 1)
    assert not data[:32].any()
    second = data[32 + 48 :][:48].view(np.int8)
    for i in range(4):
        for k in range(3):
            channel = 12 + 4 * k + i
            assert second[place(0, i, k)] == (w[0, 0, channel, 0] if channel < 20 else 0)


def test_the_input_gradient_with_stride_2_goes_by_parities_of_taps():
    order = weight_order(Operation.INPUT_GRADIENT, (3, 3), 2, 1, 3)
    taps = list(zip(order.row[:, 0, 0].tolist(), order.column[:, 0, 0].tolist()))
    assert taps == [(0, 0), (0, 2), (2, 0), (2, 2), (0, 1), (2, 1), (1, 0), (1, 2), (1, 1)]


@pytest.mark.parametrize(("stride", "lane_mode"), [(1, 0), (1, 1), (2, 1)])
def test_every_weight_is_in_the_stream_once(stride, lane_mode):
    w = np.arange(5 * 3 * 8 * 2, dtype=np.int64).reshape(5, 3, 8, 2)
    order = weight_order(Operation.INPUT_GRADIENT, (5, 3), stride, lane_mode, pad8(8) // 4)
    seen = w[order.row[order.valid], order.column[order.valid], order.channel[order.valid], 0]
    assert sorted(seen.tolist()) == sorted(w[..., 0].ravel().tolist())
