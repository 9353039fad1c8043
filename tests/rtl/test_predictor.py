"""The predictor and the weight gradient's scheduler against integers written from numerics.md, section 6."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from joulebit.accelerator.slots import candidates, layer_passes
from joulebit.spec.accelerator import CONFIGS

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "hw" / "tb" / "psg"))
from psg_bench import Device, Shape, build

pytestmark = pytest.mark.rtl


@pytest.fixture(scope="session")
def libraries(tmp_path_factory):
    """Name of a configuration -> its library, compiled on first use."""
    made = {}

    def library(config):
        if config not in made:
            made[config] = build(config, tmp_path_factory.mktemp(config))
        return made[config]

    return library


@pytest.fixture(
    params=["tiny", pytest.param("open", marks=pytest.mark.slow), pytest.param("default", marks=pytest.mark.slow)]
)
def config(request):
    return request.param


@pytest.fixture
def device(libraries, config):
    unit = Device(libraries(config), config)
    yield unit
    assert unit.errors == 0, "wrong address to the x buffer, or a pass that changed while it was offered"
    unit.close()


def operands(rng, shape, images, rows, columns, inputs, outputs, unsigned=True, extreme=False, g_size=None):
    """x and dz of a tile; rows and columns of x, those of dz follow unless given."""
    low, high = (0, 256) if unsigned else (-128, 128)
    kind = np.uint8 if unsigned else np.int8
    if g_size is None:
        g_size = [
            (n + 2 * p - k) // shape.stride + 1
            for n, p, k in ((rows, shape.padding[0], shape.kernel_h), (columns, shape.padding[1], shape.kernel_w))
        ]
    x_shape, g_shape = (images, rows, columns, inputs), (images, *g_size, outputs)
    if extreme:
        x = rng.choice([low, high - 1, high - 1], x_shape).astype(kind)
        dz = rng.choice([-32768, -32767, 32767, 32767, 32767, 32767], g_shape).astype(np.int16)
    else:
        x = rng.integers(low, high, x_shape).astype(kind)
        dz = rng.integers(-32768, 32768, g_shape).astype(np.int16) >> rng.integers(0, 12)
    return x, dz


def fits(device, shape, inputs, outputs):
    """Whether the predictor's memory holds the layer (descriptors are checked for it)."""
    blocks = -(-outputs // device.config.out_lanes)
    return blocks * inputs * shape.kernel_h * shape.kernel_w <= device.config.predictor_depth


def windows_of(shape, inputs, outputs, out_lanes):
    return list(
        itertools.product(
            range(-(-outputs // out_lanes)),
            range(inputs // 8),
            range(0, shape.kernel_h, 3),
            range(0, shape.kernel_w, 3),
        )
    )


def elements(used, counts, windows, out_lanes):
    """Elements (kernel row, column, channel of x, of dz) of the multipliers used, in a list; passes per window."""
    table = candidates()
    window_of_pass = [w for w, count in zip(windows, counts, strict=True) for _ in range(int(count) & 0x7FFFFFFF)]
    found = []
    for number, multiplier, tap, lane in used.tolist():
        block, word, row, column = window_of_pass[number]
        assert table[multiplier % 48, tap >> 8] == tap & 255, "it selects another value of x than its record says"
        assert lane >> 8 == lane & 255, "it selects another channel of dz than its record says"
        tap, lane = tap & 255, lane & 255
        place = (row + tap // 8 // 3, column + tap // 8 % 3, word * 8 + tap % 8)
        found.append((*place, block * out_lanes + multiplier // 48 * 4 + lane))
    return found, [0 if count >> 31 else int(count) for count in counts]


def check_lists(device, shape, x, dz, sums, peak, selective, **timing):
    lanes = device.config.out_lanes
    inputs, outputs = x.shape[3], dz.shape[3]
    tau = max(1, (shape.beta_q12 * peak) >> 12)
    decided = np.abs(sums) >= tau if selective else np.zeros(sums.shape, bool)
    decided = decided.astype(bool)
    windows = windows_of(shape, inputs, outputs, lanes)
    used, counts, stall = device.lists(shape, x, dz, windows, selective, **timing)
    found, passes = elements(used, counts, windows, lanes)
    assert len(found) == len(set(found))
    assert sorted(found) == [tuple(int(i) for i in e) for e in np.argwhere(~decided)]
    assert passes == layer_passes(decided, lanes).reshape(-1).tolist()
    assert (device.decided, device.undecided) == (int(decided.sum()), int((~decided).sum()))
    return decided, passes, stall


def check_signs(device, shape, sums, decided):
    lanes = device.config.out_lanes
    kernel_h, kernel_w, inputs, outputs = sums.shape
    order = [
        (block, word, kr, kc, a)
        for block in range(-(-outputs // lanes)) for word in range(inputs // 8)
        for kr in range(kernel_h) for kc in range(kernel_w) for a in range(8)
    ]  # fmt: skip
    flags, values = device.signs([shape.tap(b, w, kr, kc, inputs // 8) * 8 + a for b, w, kr, kc, a in order])
    for (block, word, kr, kc, a), flag, value in zip(order, flags.tolist(), values.tolist(), strict=True):
        for lane in range(lanes):
            b = block * lanes + lane
            known = b < outputs and bool(decided[kr, kc, word * 8 + a, b])
            assert (flag >> lane & 1) == known
            sign = 0 if not known else 1 if sums[kr, kc, word * 8 + a, b] > 0 else 3
            assert (value >> 2 * lane & 3) == sign


def check_layer(device, shape, tiles, loops=True, **timing):
    """Predicts over the tiles of a layer, then makes its lists and signs; returns decided share and cycles."""
    assert fits(device, shape, tiles[0][0].shape[3], tiles[0][1].shape[3])
    sums = sum((shape.sums if loops else shape.sums_array)(x, dz) for x, dz in tiles)
    cycles = [
        device.predict(shape, x, dz, first=number == 0, last=number == len(tiles) - 1)
        for number, (x, dz) in enumerate(tiles)
    ]
    x, dz = tiles[0]
    assert (device.sums(shape, x.shape[3], dz.shape[3]) == sums).all()
    peak = int(np.abs(sums).max())
    assert device.peak == peak
    decided, passes, stall = check_lists(device, shape, x, dz, sums, peak, True, **timing)
    check_signs(device, shape, sums, decided)
    check_lists(device, shape, x, dz, sums, peak, False, **timing)
    return float(decided.mean()), cycles, passes, stall


KERNELS = [(1, 1), (3, 3), (2, 5), (5, 5), (4, 2), (7, 7), (1, 7)]
KERNELS_OF = [
    pytest.param(config, kernel, marks=[] if config == "tiny" else pytest.mark.slow)
    for config in CONFIGS
    for kernel in KERNELS
    if 8 * kernel[0] * kernel[1] <= CONFIGS[config].predictor_depth
]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("config, kernel", KERNELS_OF)
def test_every_kernel_and_stride(device, kernel, stride):
    rng = np.random.default_rng([*kernel, stride])
    padding = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
    shape = Shape(kernel, stride, padding, beta_q12=int(rng.integers(1, 4097)))
    outputs = 8 if fits(device, shape, 8, 8) else 4
    check_layer(device, shape, [operands(rng, shape, 1, 5, 6, 8, outputs, unsigned=stride == 1)])


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("unsigned", [False, True])
def test_values_at_the_ends_and_several_tiles(device, unsigned, extreme):
    rng = np.random.default_rng([unsigned, extreme])
    shape = Shape((3, 3), 1, (1, 1), beta_q12=2048)
    tiles = [operands(rng, shape, images, 9, 8, 8, 8, unsigned, extreme) for images in (1, 2, 1)]
    check_layer(device, shape, tiles)


@pytest.mark.parametrize(
    "x_value, g_value",
    list(itertools.product([0, 255, 127, -128, 7, 8, -8, -9], [32767, -32768, 31, 32, -32, -33])),
)
def test_all_pixels_alike(device, x_value, g_value):
    """The largest sums of a segment, and roundings at ties."""
    shape = Shape((1, 1), beta_q12=4096)
    kind = np.uint8 if x_value > 127 or x_value == 0 else np.int8
    x = np.full((2, 8, 8, 8), x_value, kind)
    check_layer(device, shape, [(x, np.full((2, 8, 8, 4), g_value, np.int16))])


@pytest.mark.parametrize("inputs, outputs", [(8, 4), (8, 12), (16, 8), (24, 4), (8, 20)])
def test_channels_that_fill_no_block(device, inputs, outputs):
    rng = np.random.default_rng([inputs, outputs])
    shape = Shape((3, 3), 1, (1, 1), beta_q12=900)
    if device.config.name == "tiny":
        shape = Shape((2, 2), 1, (1, 1), beta_q12=900)
    check_layer(device, shape, [operands(rng, shape, 2, 3, 5, inputs, outputs)])


def test_one_pixel(device):
    rng = np.random.default_rng(3)
    shape = Shape((1, 1), beta_q12=1500)
    check_layer(device, shape, [operands(rng, shape, 1, 1, 1, 64, 16, unsigned=False)])
    check_layer(device, shape, [operands(rng, shape, 5, 1, 1, 64, 16)])


def test_tile_of_rows_with_a_halo(device):
    """x has rows above and below the tile that dz does not, and no padding there."""
    rng = np.random.default_rng(4)
    shape = Shape((3, 3), 1, (0, 1), beta_q12=700)
    check_layer(device, shape, [operands(rng, shape, 1, 6, 7, 8, 8, g_size=(4, 7))])
    shape = Shape((3, 3), 2, (0, 1), beta_q12=700)
    check_layer(device, shape, [operands(rng, shape, 2, 7, 8, 8, 8, g_size=(3, 4))])


@pytest.mark.parametrize("beta_q12", [0, 1, 64, 4095, 4096])
def test_thresholds(device, beta_q12):
    rng = np.random.default_rng(beta_q12)
    shape = Shape((3, 2), 1, (1, 0), beta_q12=beta_q12)
    tiles = [operands(rng, shape, 1, 4, 4, 8, 8, unsigned=False)]
    check_layer(device, shape, tiles)


def test_nothing_but_zeros(device):
    """tau is 1 at least: zero sums stay undecided."""
    shape = Shape((3, 3), 1, (1, 1), beta_q12=4096)
    x, dz = np.zeros((1, 4, 4, 8), np.uint8), np.zeros((1, 4, 4, 8), np.int16)
    share, *_ = check_layer(device, shape, [(x, dz)])
    assert share == 0


def test_everything_decided_gives_one_empty_pass_per_window(device):
    shape = Shape((3, 3), 1, (0, 0), beta_q12=1)
    x, dz = np.full((1, 6, 6, 8), 200, np.uint8), np.full((1, 4, 4, 8), 20000, np.int16)
    share, _, passes, _ = check_layer(device, shape, [(x, dz)])
    assert share == 1
    assert set(passes) == {0}


def test_layers_follow_one_another_without_reset(device):
    rng = np.random.default_rng(9)
    for _ in range(6):
        kernel = tuple(int(k) for k in rng.integers(1, 4, 2))
        shape = Shape(kernel, int(rng.integers(1, 3)), (kernel[0] // 2, kernel[1] // 2), int(rng.integers(4097)))
        sizes = [int(n) for n in rng.integers(3, 10, 2)]
        images = int(rng.integers(1, 4))
        tiles = [operands(rng, shape, images, *sizes, 8, 8, bool(rng.integers(2)))] * 2
        if rng.integers(2):  # a predicted layer whose weight gradient never comes
            device.predict(shape, *tiles[0], last=False)
        check_layer(device, shape, tiles)


def test_a_wrong_product_is_found(device):
    """Negative test: the comparison fails when one pixel of the reference differs by one step."""
    rng = np.random.default_rng(10)
    shape = Shape((1, 1))
    x, dz = operands(rng, shape, 1, 3, 3, 8, 4)
    device.predict(shape, x, dz)
    other = x.copy()
    other[0, 1, 1, 5] = 255 if x[0, 1, 1, 5] < 128 else 0
    assert (device.sums(shape, 8, 4) == shape.sums(x, dz)).all()
    assert not (device.sums(shape, 8, 4) == shape.sums(other, dz)).all()


# 3x3 layers of ResNet-20 as the default tiles them: channels of x, of dz, size of x, stride, images of a tile
RESNET20 = [
    (16, 16, 32, 1, 1),
    (16, 32, 32, 2, 1),
    (32, 32, 16, 1, 2),
    (32, 64, 16, 2, 2),
    (64, 64, 8, 1, 1),
    (64, 64, 8, 1, 4),
]


@pytest.mark.slow
@pytest.mark.parametrize("config", ["default"])
@pytest.mark.parametrize("inputs, outputs, size, stride, images", RESNET20)
def test_no_slower_than_the_input_gradient(device, inputs, outputs, size, stride, images):
    rng = np.random.default_rng(11)
    shape = Shape((3, 3), stride, (1, 1), beta_q12=410)
    x = rng.integers(0, 256, (images, size, size, inputs)).astype(np.uint8)
    x[rng.random(x.shape) < 0.5] = 0
    dz = (rng.standard_normal((images, size // stride, size // stride, outputs)) * 3000).astype(np.int16)
    share, cycles, passes, stall = check_layer(device, shape, [(x, dz)], loops=False, work=dz[..., 0].size, wait=0)
    products = 9 * inputs * dz.size
    print(f"{inputs}x{outputs} {size}/{stride} x{images}: {cycles[0]} cycles, ideal {products // 192}; "
          f"decided {share:.3f}, passes {sum(passes)}, stalls {stall}")  # fmt: skip
    assert cycles[0] <= products // 192 + 48  # filling, and the drain of the last segment
