"""The float32 baseline against an independent PyTorch model in float64, and what the loop relies on."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from joulebit.data.digits import load_digits
from joulebit.nn.graph import Conv, Dense, GlobalPool, MaxPool, Model, Residual, plan
from joulebit.nn.init import initial_masters, parameter_shapes
from joulebit.nn.models import resnet
from joulebit.techniques.stochastic_depth import StochasticDepth
from joulebit.train.float32 import Float32Method, Float32Network
from joulebit.train.network import Batch

EPSILON = 2.0**-16
SHAPE = (8, 8, 3)

MIXED = Model(
    "mixed",
    (
        Conv(8),
        Residual((Conv(8), Conv(8, activation=None))),
        Residual((Conv(12, stride=2), Conv(12, activation=None))),
        Residual(
            (
                Conv(24, 1, activation="relu6"),
                Conv(24, groups=0, activation="relu6"),
                Conv(12, 1, activation=None),
            ),
            activation=None,
        ),
        Conv(16, 1, activation="relu6"),
        MaxPool(2),
        Dense(20),
    ),
    5,
)


@pytest.fixture(autouse=True)
def one_thread():
    """Small layers are fastest on one thread, and on a busy machine much so."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class RefMixed(nn.Module):
    """MIXED written as anyone would in PyTorch, in float64 and NCHW; survival scales the three branches."""

    def __init__(self, survival=(1.0, 1.0, 1.0)):
        super().__init__()
        self.survival = survival
        shapes = {  # c_in, c_out, kernel, stride, groups
            "conv1": (3, 8, 3, 1, 1),
            "block1.conv1": (8, 8, 3, 1, 1),
            "block1.conv2": (8, 8, 3, 1, 1),
            "block2.conv1": (8, 12, 3, 2, 1),
            "block2.conv2": (12, 12, 3, 1, 1),
            "block3.conv1": (12, 24, 1, 1, 1),
            "block3.conv2": (24, 24, 3, 1, 24),
            "block3.conv3": (24, 12, 1, 1, 1),
            "conv9": (12, 16, 1, 1, 1),
        }
        self.layers = {
            name: nn.Sequential(
                nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
                nn.BatchNorm2d(c_out, eps=EPSILON, track_running_stats=False),
            ).double()
            for name, (c_in, c_out, kernel, stride, groups) in shapes.items()
        }
        self.dense = nn.Linear(2 * 2 * 16, 20).double()
        self.head = nn.Linear(20, 5).double()

    def named(self):
        """Parameters by the names of the package, with the permutation from its layout to PyTorch's."""
        for name, layer in self.layers.items():
            yield f"{name}.weight", layer[0].weight, (3, 2, 0, 1)
            yield f"{name}.gamma", layer[1].weight, None
            yield f"{name}.beta", layer[1].bias, None
        yield "dense10.bias", self.dense.bias, None
        yield "head.weight", self.head.weight, None
        yield "head.bias", self.head.bias, None

    def load(self, weights):
        with torch.no_grad():
            for name, parameter, order in self.named():
                value = weights[name] if order is None else weights[name].transpose(order)
                parameter.copy_(torch.tensor(value))
            # [2, 2, 16, 20] -> rows of (channel, y, x), the order of nn.Flatten in NCHW
            self.dense.weight.copy_(torch.tensor(weights["dense10.weight"].transpose(3, 2, 0, 1).reshape(20, 64)))
        return self

    def gradients(self):
        found = {}
        for name, parameter, order in self.named():
            gradient = parameter.grad.numpy()
            found[name] = gradient if order is None else gradient.transpose(np.argsort(order))
        found["dense10.weight"] = self.dense.weight.grad.numpy().reshape(20, 16, 2, 2).transpose(2, 3, 1, 0)
        return found

    def forward(self, images):
        relu, relu6 = functional.relu, functional.relu6
        run = self.layers
        x = (torch.tensor(images).double().permute(0, 3, 1, 2) - 128) / 64
        x = relu(run["conv1"](x))
        x = relu(x + self.survival[0] * run["block1.conv2"](relu(run["block1.conv1"](x))))
        narrow = x[:, :, ::2, ::2]
        shortcut = torch.cat([narrow, torch.zeros_like(narrow[:, :4])], 1)
        x = relu(shortcut + self.survival[1] * run["block2.conv2"](relu(run["block2.conv1"](x))))
        branch = relu6(run["block3.conv2"](relu6(run["block3.conv1"](x))))
        x = x + self.survival[2] * run["block3.conv3"](branch)
        x = functional.max_pool2d(relu6(run["conv9"](x)), 2)
        return self.head(relu(self.dense(x.flatten(1))))


def mixed_network(**settings):
    options = {key: settings.pop(key) for key in ("channels_last",) if key in settings}
    return Float32Network(plan(MIXED, SHAPE), 7, Float32Method(**settings), **options)


def some_batch(samples=16, step=0, classes=5, shape=SHAPE):
    rng = np.random.default_rng(step)
    images = rng.integers(0, 256, (samples, *shape), dtype=np.uint8)
    return Batch(images, rng.integers(0, classes, samples), np.arange(samples), step)


def ref_gradients(weights, batch):
    model = RefMixed().load(weights)
    loss = functional.cross_entropy(model(batch.images), torch.tensor(batch.labels))
    loss.backward()
    return model.gradients(), loss.item()


def assert_near(got, expected, relative=5e-5):
    """Within a share of the largest element, or of 0.01 where everything cancels (a scale before a batch norm)."""
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        bound = relative * max(np.abs(value).max(), 1e-2)
        assert np.abs(got[name] - value).max() <= bound, name


def momenta(network):
    suffix = ".momentum"
    return {name.removesuffix(suffix): value for name, value in network.state().items() if name.endswith(suffix)}


def assert_same_bits(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), name


@pytest.mark.parametrize("channels_last", [True, False])
def test_gradients_are_those_of_an_independent_model(channels_last):
    network = mixed_network(weight_decay=0.0, channels_last=channels_last)
    batch = some_batch()
    expected, loss = ref_gradients(network.weights(), batch)
    result = network.train_step(batch, 0.1, 0.1)
    assert result.loss == pytest.approx(loss, rel=1e-5)
    assert_near(momenta(network), expected)  # the first momentum is the gradient


def test_the_update_is_that_of_the_specification():
    mu, decay, rate = 0.9, 0.01, 0.05
    network = mixed_network(momentum=mu, weight_decay=decay)
    m = {name: value.astype(float) for name, value in network.weights().items()}
    v = {name: np.zeros_like(value) for name, value in m.items()}
    for step in range(3):
        batch = some_batch(step=step)
        g, _ = ref_gradients(m, batch)
        network.train_step(batch, rate, 0.0)
        for name, value in m.items():
            decayed = decay if name.endswith("weight") else 0.0
            v[name] = mu * v[name] + (g[name] + decayed * value)
        m = {name: value - rate * v[name] for name, value in m.items()}
    assert_near(network.weights(), m)
    assert_near(momenta(network), v, relative=2e-4)


def test_a_sign_update_moves_convolutions_by_their_momentum_of_signs():
    network = mixed_network(update="sign", sign_momentum=0.5)
    first = network.weights()
    g, _ = ref_gradients(first, some_batch())
    network.train_step(some_batch(), 0.1, 2.0**-7)
    second, v = network.weights(), momenta(network)
    for name, value in first.items():
        if name.endswith("weight") and name != "head.weight":
            clear = np.abs(g[name]) > 1e-5
            assert clear.mean() > 0.8
            assert np.array_equal(v[name][clear], np.sign(g[name][clear]))
            assert set(np.unique(v[name])) <= {-1.0, 0.0, 1.0}
            assert np.array_equal(second[name], value - np.float32(2.0**-7) * v[name])
        else:
            decay = 1e-4 * value if name == "head.weight" else 0.0
            assert np.abs(v[name] - (g[name] + decay)).max() < 1e-5
    network.train_step(some_batch(step=1), 0.1, 2.0**-7)
    assert set(np.unique(momenta(network)["conv1.weight"])) <= {-1.5, -1, -0.5, 0, 0.5, 1, 1.5}


def test_an_unknown_update_is_refused():
    with pytest.raises(ValueError, match="update must be one of sgd, sign in float32, got 'psg'"):
        Float32Method(update="psg")


def test_initial_weights_are_the_integer_masters():
    described = plan(MIXED, SHAPE)
    weights = Float32Network(described, 3).weights()
    assert list(weights) == list(parameter_shapes(described))
    for name, master in initial_masters(described, 3).items():
        assert weights[name].dtype == np.float32
        assert np.array_equal(weights[name], np.float32(master / 2**28))


def digits_run(network, steps, first=0):
    digits = load_digits()
    losses = []
    for step in range(first, first + steps):
        chosen = np.random.default_rng(step).integers(0, len(digits.train), 64)
        batch = Batch(digits.train.images[chosen], digits.train.labels[chosen], chosen, step)
        losses.append(network.train_step(batch, 0.1, 2.0**-7).loss)
    return losses


def digits_network(**settings):
    return Float32Network(plan(resnet(8, width=8), (8, 8, 1)), 0, Float32Method(**settings))


@pytest.mark.parametrize("update", ["sgd", "sign"])
def test_the_digits_are_learnt(update):
    network = digits_network(update=update)
    losses = digits_run(network, 60)
    assert losses[0] > 1.8
    assert np.mean(losses[-10:]) < 0.6
    digits = load_digits()
    network.prepare_evaluation(digits.train.images[:256])
    correct = network.logits(digits.test.images).argmax(1) == digits.test.labels
    assert correct.mean() > 0.85


@pytest.mark.parametrize("settings", [{}, {"stochastic_depth": StochasticDepth(0.5)}, {"update": "sign"}])
def test_a_resumed_run_goes_on_to_the_same_bits(settings):
    whole = digits_network(**settings)
    digits_run(whole, 8)
    first = digits_network(**settings)
    digits_run(first, 4)
    saved = first.state()
    digits_run(first, 1)  # the state is a copy
    second = digits_network(**settings)
    second.load_state(saved)
    digits_run(second, 4, first=4)
    assert_same_bits(whole.state(), second.state())


def test_stochastic_depth_leaves_closed_blocks_alone():
    policy, samples = StochasticDepth(0.2), 12
    network = mixed_network(stochastic_depth=policy)
    described = network.plan
    skipped = entered = closed_blocks = 0
    for step in range(12):
        before = network.state()
        opened = policy.open_blocks(7, step, 3)
        result = network.train_step(some_batch(samples, step), 0.1, 0.1)
        after = network.state()
        for block in described.blocks():
            is_open = opened[block.index]
            assert result.details[block.name] == {"entered": samples * is_open, "samples": samples}
            names = [name for name in before if name.startswith(block.name)]
            changed = [not np.array_equal(before[name], after[name]) for name in names]
            assert all(changed) if is_open else not any(changed)
            skipped += 0 if is_open else samples * block.macs
            closed_blocks += not is_open
        entered += samples * described.macs
    assert 0 < closed_blocks < 36
    counters = network.counters
    assert counters["skipped.forward.sd"] == skipped == counters["skipped.weight_gradient.sd"]
    assert counters["macs.forward.fp32"] == entered - skipped
    assert counters["steps"] == counters["batches.seen"] == 12
    assert counters["samples.seen"] == 12 * samples


def test_a_closed_block_passes_values_and_gradients_by_its_shortcut():
    network = mixed_network(stochastic_depth=StochasticDepth(0.0), weight_decay=0.0)
    step = next(i for i in range(999) if StochasticDepth(0.0).open_blocks(7, i, 3) == [False, False, False])
    model = RefMixed((0.0, 0.0, 0.0)).load(network.weights())
    batch = some_batch(step=step)
    loss = functional.cross_entropy(model(batch.images), torch.tensor(batch.labels))
    loss.backward()
    assert network.train_step(batch, 0.1, 0.1).loss == pytest.approx(loss.item(), rel=1e-5)
    expected = {
        name: np.zeros_like(value) if name.startswith("block") else value
        for name, value in model.gradients().items()
    }
    assert_near(momenta(network), expected)


def test_evaluation_uses_the_statistics_of_the_list():
    network = mixed_network()
    network.train_step(some_batch(), 0.1, 0.1)
    listed, tested = some_batch(40, 1).images, some_batch(10, 2).images
    before, counted = network.state(), network.counters.as_dict()
    network.prepare_evaluation(listed)
    logits = network.logits(tested)
    assert logits.dtype == np.float32 and logits.shape == (10, 5)
    halves = np.concatenate([network.logits(tested[:3]), network.logits(tested[3:])])
    assert np.abs(halves - logits).max() < 1e-5
    with torch.no_grad():
        expected = RefMixed().load(network.weights())(listed).numpy()
    assert np.abs(network.logits(listed) - expected).max() < 1e-4
    assert_same_bits(before, network.state())
    assert network.counters.as_dict() == counted


def test_evaluation_scales_branches_by_their_survival():
    network = mixed_network(stochastic_depth=StochasticDepth(0.25))
    images = some_batch(32, 1).images
    network.prepare_evaluation(images)
    with torch.no_grad():
        expected = RefMixed((0.75, 0.5, 0.25)).load(network.weights())(images).numpy()
    assert np.abs(network.logits(images) - expected).max() < 1e-4


def test_logits_need_statistics():
    with pytest.raises(ValueError, match="call prepare_evaluation before logits"):
        mixed_network().logits(some_batch().images)


def test_batch_norm_of_one_value_per_channel_gives_its_shift():
    network = Float32Network(plan(Model("t", (Conv(4), GlobalPool()), 3), (1, 1, 2)), 0)
    result = network.train_step(some_batch(1, classes=3, shape=(1, 1, 2)), 0.1, 0.1)
    assert result.loss == pytest.approx(np.log(3), rel=1e-6)


def test_every_pass_is_counted():
    network, samples = mixed_network(), 6
    network.train_step(some_batch(samples), 0.1, 0.1)
    network.skip_batch(samples)
    counters, macs = network.counters, network.plan.macs
    first = next(network.plan.convs()).macs
    assert counters["macs.forward.fp32"] == samples * macs == counters["macs.weight_gradient.fp32"]
    assert counters["macs.input_gradient.fp32"] == samples * (macs - first)
    assert counters["skipped.forward.smd"] == samples * macs
    assert counters["updated"] == network.plan.parameters
    assert counters["batches.dropped"] == counters["batches.seen"] == 1


def test_head_only_trains_the_classifier_alone():
    network = mixed_network(head_only=True)
    before = network.weights()
    network.train_step(some_batch(), 0.1, 0.1)
    after = network.weights()
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {
        "head.weight",
        "head.bias",
    }
    head = network.plan.head
    assert network.counters["macs.weight_gradient.fp32"] == 16 * head.macs
    assert network.counters["updated"] == head.macs + head.classes


def test_weights_are_replaced_by_floats_or_masters():
    network, other = mixed_network(), Float32Network(plan(MIXED, SHAPE), 8)
    network.load_weights(other.weights())
    assert_same_bits(network.weights(), other.weights())
    network.load_weights(initial_masters(network.plan, 7))
    assert_same_bits(network.weights(), mixed_network().weights())


def test_a_foreign_state_is_refused():
    network = mixed_network()
    state = network.state()
    with pytest.raises(ValueError, match=r"'conv1.weight' has shape \(3, 3, 1, 8\), this network needs"):
        network.load_state(state | {"conv1.weight": np.zeros((3, 3, 1, 8), np.float32)})
    del state["head.bias.momentum"]
    with pytest.raises(ValueError, match=r"'head\.bias\.momentum' is missing"):
        network.load_state(state)
    assert_same_bits(network.state(), mixed_network().state())
