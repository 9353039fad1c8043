"""The float32 baseline in PyTorch: the same models, initial weights and update rule as the integer network.

What makes it a fair rival: channels_last memory, in-place activations, fused batch norm, and autograd without
hooks. Where the integer network differs from common practice, this one follows the integer network: weight decay
acts on the weights of convolutions and of the classifier only, batch norm has epsilon 2^-16 and takes its
evaluation statistics from a list of images (spec, section 8) instead of running averages, and a block closed by
stochastic depth is neither computed nor updated (no momentum, no decay).

**Determinism.** Two runs of one configuration give the same bits on one machine with the same PyTorch build,
device and number of threads (`torch.get_num_threads()`); so does a run resumed from `state`. Nothing is promised
across machines, builds, devices or thread counts: the order of floating-point sums differs. On CUDA, cuDNN is held
to deterministic algorithms, and all products to float32 proper instead of TF32; only the gradient of pooling
windows that overlap is summed in no fixed order there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters, counted_as
from joulebit.engine.torch_device import named_device
from joulebit.fixed.arithmetic import MASTER_FRACTION_BITS
from joulebit.fixed.weights import CLIPPED
from joulebit.nn.graph import ConvPlan, MaxPoolPlan, NetworkPlan, ResidualPlan
from joulebit.nn.init import initial_masters
from joulebit.nn.loss import TEMPERATURE_BITS, Lesson
from joulebit.techniques.adam import Adam
from joulebit.techniques.stochastic_depth import ONE_Q16, StochasticDepth
from joulebit.train.float32_layers import FEW, few_values
from joulebit.train.float32_update import Float32Optimiser, Rule
from joulebit.train.network import Batch, StepResult
from joulebit.train.weights import check_same

EPSILON = 2.0**-16  # of batch norm, as in the specification
_PIXEL_MIDDLE = 128
_PIXEL_SCALE = 1 / 64
_UPDATES = ("sgd", "sign")


@dataclass(frozen=True)
class Float32Method:
    """What one training step does; the fields mean what they mean in `joulebit.train.integer.TrainingMethod`."""

    update: str = "sgd"  #: of the convolutions' weights: sgd, or sign (SignSGD); all else is updated by SGD
    momentum: float = 0.9
    sign_momentum: float = 0.9
    weight_decay: float = 1e-4
    sign_weight_decay: float = 0.0  #: of convolutions with a sign update
    head_only: bool = False  #: train the classifier alone
    stochastic_depth: StochasticDepth | None = None
    weight_bits: int = 8  #: of weights that are powers of two: they have weight_bits - 1 exponents
    adam: Adam | None = None  #: None: SGD with momentum

    def __post_init__(self) -> None:
        if self.update not in _UPDATES:
            raise ValueError(f"update must be one of {', '.join(_UPDATES)} in float32, got {self.update!r}")


class _Mode(Enum):
    TRAIN = "train"
    STATISTICS = "statistics"  # batch statistics, kept
    EVALUATE = "evaluate"  # those kept


class Float32Network:
    """The float32 implementation of `joulebit.train.network.Network`.

    Args:
        plan: the network.
        seed: of the initial weights and of stochastic depth.
        method: what a training step does.
        device: see `joulebit.engine.torch_device.named_device`.
        channels_last: memory format of activations and weights; False is NCHW.
    """

    def __init__(
        self,
        plan: NetworkPlan,
        seed: int,
        method: Float32Method | None = None,
        device: str = "cpu",
        channels_last: bool = True,
    ) -> None:
        self.plan = plan
        self.seed = seed
        self.method = method or Float32Method()
        self.counters = Counters()
        self._accountant = Accountant(self.counters, None)
        self._device = named_device(device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._blocks = sum(1 for _ in plan.blocks())
        self._conv_weights = {f"{conv.name}.weight" for conv in plan.convs()}
        self._kinds = {f"{conv.name}.weight": conv.kind for conv in plan.convs()}
        self._parameters: dict[str, Any] = {}
        for name, master in initial_masters(plan, seed).items():
            value = self._to_torch(name, np.ldexp(master.astype(np.float64), -MASTER_FRACTION_BITS))
            trained = name.startswith("head.") or not self.method.head_only
            self._parameters[name] = value.requires_grad_(trained)
        self._optimiser = Float32Optimiser(self._parameters, self.method.adam)
        self._statistics: dict[str, tuple[Any, Any]] = {}  # mean and variance for evaluation

    def _add_parameter(self, name: str, value: NDArray[Any]) -> None:
        """One more parameter, that trains with the others."""
        self._parameters[name] = self._to_torch(name, value).requires_grad_(True)
        self._optimiser.add(name)

    # --- training ------------------------------------------------------------------------------------

    def train_step(self, batch: Batch, learning_rate: float, sign_learning_rate: float) -> StepResult:
        """Forward, backward and update on one batch (see `Network.train_step`)."""
        method, samples = self.method, len(batch.labels)
        opened = [True] * self._blocks
        if method.stochastic_depth:
            opened = method.stochastic_depth.open_blocks(self.seed, batch.step, self._blocks)
        with self._backend():
            labels = torch.tensor(batch.labels, dtype=torch.int64, device=self._device)
            with torch.set_grad_enabled(not method.head_only):
                features = self._features(batch.images, _Mode.TRAIN, opened)
            with torch.enable_grad():
                logits = self._classify(features)
                loss = F.cross_entropy(logits, labels)
                self._objective(loss, logits, labels, batch).backward()
            changed = self._update(learning_rate, sign_learning_rate)
            correct = int((logits.detach().argmax(1) == labels).sum())
        self._count(samples, opened, changed)
        details = {
            block.name: {"entered": samples if opened[block.index] else 0, "samples": samples}
            for block in self.plan.blocks()
        }
        return StepResult(loss.item(), correct, details)

    def _objective(self, loss: Any, logits: Any, labels: Any, batch: Batch) -> Any:
        """What the step minimises: the mean cross-entropy `loss`, or that of a batch with a teacher's lesson."""
        return loss if batch.lesson is None else _taught(loss, logits, batch.lesson)

    def skip_batch(self, samples: int) -> None:
        """Count a batch that was dropped before it was loaded."""
        self._accountant.skip_batch(self.plan, samples)

    def skip_samples(self, samples: int, reason: str) -> None:
        """Count samples that were left out of their batch before it was loaded."""
        self._accountant.skip_samples(self.plan, samples, reason)

    def _update(self, learning_rate: float, sign_learning_rate: float) -> int:
        """v = momentum v + (g + decay m); m = m - rate v (spec, section 7).

        Parameters without a gradient (of closed blocks) stay as they are. Returns the number of those changed.
        """
        changed = 0
        for name, parameter in self._parameters.items():
            gradient = parameter.grad
            if gradient is not None:
                parameter.grad = None
                rule = self._rule(name, gradient, learning_rate, sign_learning_rate)
                changed += self._optimiser.step(name, gradient, rule, self._rows(name))
                if self._kinds.get(name) in CLIPPED:
                    with torch.no_grad():
                        parameter.clamp_(-1, 1)
        return changed

    def _rule(self, name: str, gradient: Any, learning_rate: float, sign_learning_rate: float) -> Rule:
        """How a parameter moves; of a sign update the gradient becomes its signs."""
        method = self.method
        if name in self._conv_weights and method.update == "sign":
            gradient.sign_()
            return Rule(sign_learning_rate, method.sign_momentum, method.sign_weight_decay)
        return Rule(learning_rate, method.momentum, method.weight_decay if name.endswith(".weight") else 0.0)

    def _rows(self, name: str) -> Any:
        """Which positions along a parameter's first dimension move; None: all."""
        return None

    def _count(self, samples: int, opened: list[bool], changed: int) -> None:
        self._count_passes(samples, opened)
        self._accountant.update(changed, second_moment=self.method.adam is not None)
        self.counters.add("steps", 1)
        self.counters.add("batches.seen", 1)
        self.counters.add("samples.seen", samples)

    def _count_passes(self, samples: int, opened: list[bool]) -> None:
        """The forward and backward pass of one step."""
        accountant = self._accountant
        for position, node in enumerate(self.plan.nodes):
            backward = self._needs_gradient(position)
            if isinstance(node, ConvPlan):
                self._count_conv(node, samples)
            elif isinstance(node, MaxPoolPlan):
                accountant.pool(node.in_shape, node.out_shape, samples, backward=False)
                if backward:
                    accountant.pool(node.in_shape, node.out_shape, samples, backward=True)
            elif opened[node.index]:
                for conv in node.convs:
                    self._count_conv(conv, samples)
            else:
                accountant.skip_block(node, samples, "sd")
                accountant.shortcut(node, samples, backward=False)
                if backward:
                    accountant.shortcut(node, samples, backward=True)
        accountant.head(self.plan.head, samples, backward=False)
        needed = self._needs_gradient(len(self.plan.nodes) - 1)
        accountant.head(self.plan.head, samples, backward=True, input_needed=needed)

    def _needs_gradient(self, position: int) -> bool:
        """Whether the gradient of a node's output is formed."""
        return not self.method.head_only

    def _count_conv(self, conv: ConvPlan, samples: int) -> None:
        self._accountant.forward(conv, samples)
        if self.method.head_only:
            return
        self._accountant.norm_backward(conv, samples)
        self._accountant.weight_gradient(conv, samples)
        if conv.index:
            self._accountant.input_gradient(conv, samples)

    # --- forward pass --------------------------------------------------------------------------------

    def _features(self, images: NDArray[np.uint8], mode: _Mode, opened: list[bool]) -> Any:
        """The classifier's input [N, features]."""
        pixels = torch.tensor(images, device=self._device).permute(0, 3, 1, 2)
        x = pixels.to(torch.float32, memory_format=self._format)
        x = x.sub_(_PIXEL_MIDDLE).mul_(_PIXEL_SCALE)
        for position, node in enumerate(self.plan.nodes):
            if isinstance(node, ConvPlan):
                x = _activate(self._conv(node, x, mode), node.activation)
            elif isinstance(node, MaxPoolPlan):
                x = F.max_pool2d(x, node.size, node.stride, node.padding)
            else:
                x = self._block(node, x, mode, opened[node.index])
            self._passed(position, x)
        if self.plan.head.pooled:
            return x.mean((2, 3))
        return x.permute(0, 2, 3, 1).flatten(1)  # the classifier's features are in NHWC order

    def _passed(self, position: int, x: Any) -> None:
        """The output x of a node is there."""

    def _block(self, block: ResidualPlan, x: Any, mode: _Mode, is_open: bool) -> Any:
        shortcut = x
        if block.projection:
            shortcut = self._conv(block.projection, x, mode)
        elif block.stride > 1:
            shortcut = shortcut[:, :, :: block.stride, :: block.stride]
        if (added := block.out_shape[2] - block.in_shape[2]) and not block.projection:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, added))
        if not is_open:
            return _activate(shortcut, block.activation, in_place=False)
        y = x
        for conv in block.body[:-1]:
            y = _activate(self._conv(conv, y, mode), conv.activation)
        y = self._conv(block.body[-1], y, mode)
        if mode is not _Mode.TRAIN and self.method.stochastic_depth:
            y = y.mul_(self.method.stochastic_depth.survival_q16(block.index, self._blocks) / ONE_Q16)
        return _activate(y.add_(shortcut), block.activation)

    def _conv(self, conv: ConvPlan, x: Any, mode: _Mode) -> Any:
        """Convolution with batch norm or bias; the result may be changed in place."""
        geometry, parameters = conv.geometry, self._parameters
        bias = None if conv.norm else parameters[f"{conv.name}.bias"]
        padding = (geometry.padding_h, geometry.padding_w)
        z = F.conv2d(x, self._weight(conv), bias, geometry.stride, padding, 1, geometry.groups)
        self._convolved(conv, z)
        if not conv.norm:
            return z
        gamma, beta = parameters[f"{conv.name}.gamma"], parameters[f"{conv.name}.beta"]
        if mode is _Mode.TRAIN:
            # F.batch_norm does the same but refuses one value per channel, which the specification allows.
            return torch.batch_norm(z, gamma, beta, None, None, True, 0.0, EPSILON, True)
        if mode is _Mode.STATISTICS:
            variance, mean = torch.var_mean(z, (0, 2, 3), correction=0)
            self._statistics[conv.name] = (mean, variance)
        if conv.name not in self._statistics:
            raise ValueError("batch norm has no statistics yet: call prepare_evaluation before logits")
        mean, variance = self._statistics[conv.name]
        return torch.batch_norm(z, gamma, beta, mean, variance, False, 0.0, EPSILON, True)

    def _convolved(self, conv: ConvPlan, z: Any) -> None:
        """The output z of a convolution is there, before its batch norm."""

    def _weight(self, conv: ConvPlan) -> Any:
        """What a convolution computes with."""
        weight = self._parameters[f"{conv.name}.weight"]
        return few_values(weight, conv.kind, self.method.weight_bits) if conv.kind in FEW else weight

    def _classifier(self) -> Any:
        """What the classifier computes with."""
        return self._parameters["head.weight"]

    def _classify(self, features: Any) -> Any:
        return F.linear(features, self._classifier(), self._parameters["head.bias"])

    @contextmanager
    def _backend(self) -> Iterator[None]:
        if self._device.type != "cuda":
            yield
            return
        matmul = torch.backends.cuda.matmul
        precision, matmul.fp32_precision = matmul.fp32_precision, "ieee"
        try:
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
                yield
        finally:
            matmul.fp32_precision = precision

    # --- evaluation ----------------------------------------------------------------------------------

    def prepare_evaluation(self, images: NDArray[np.uint8], costs: bool = False) -> None:
        """Take the statistics of batch norm from these images, which run through the network as one batch.

        With stochastic depth every branch counts with its survival probability, as in `logits`. costs: count it.
        """
        with self._backend(), torch.no_grad():
            self._features(images, _Mode.STATISTICS, [True] * self._blocks)
        if costs:
            self._count_forward(len(images), head=False)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 [N, classes]; nothing changes. How images are cut into batches may change the last bits.

        Raises:
            ValueError: there was no prepare_evaluation, and the network has batch norm.
        """
        with self._backend(), torch.no_grad():
            found: NDArray[np.float32] = (
                self._classify(self._features(images, _Mode.EVALUATE, [True] * self._blocks)).cpu().numpy()
            )
        return found

    def sample_losses(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        statistics: NDArray[np.uint8],
        batch_size: int = 500,
    ) -> NDArray[np.int64]:
        """int64 [N]: the bits of each sample's float32 cross-entropy, which order like it; phase selection."""
        found = [np.zeros(0, np.int64)]
        with counted_as(self.counters, "selection"):
            self.prepare_evaluation(statistics, costs=True)
            for start in range(0, len(images), batch_size):
                part = slice(start, start + batch_size)
                logits = torch.tensor(self.logits(images[part]))
                loss = F.cross_entropy(logits, torch.tensor(labels[part]), reduction="none")
                self._count_forward(len(logits))
                found.append(loss.clamp(min=0).add(0.0).numpy().view(np.int32).astype(np.int64))
        return np.concatenate(found)

    def _count_forward(self, samples: int, head: bool = True) -> None:
        """One forward pass with every block open; head=False: not through the classifier."""
        for node in self.plan.nodes:
            if isinstance(node, MaxPoolPlan):
                self._accountant.pool(node.in_shape, node.out_shape, samples, backward=False)
            else:
                for conv in (node,) if isinstance(node, ConvPlan) else node.convs:
                    self._accountant.forward(conv, samples)
        if head:
            self._accountant.head(self.plan.head, samples, backward=False)

    # --- state ---------------------------------------------------------------------------------------

    def weights(self) -> dict[str, NDArray[Any]]:
        """float32 copies by name, in network order; names, shapes and layout of `joulebit.nn.init`."""
        return {name: self._to_numpy(name, value) for name, value in self._parameters.items()}

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Replace the weights (momentum stays): an average, or a pre-trained network.

        Integers are masters in Q3.28, everything else is taken as it is.
        """
        check_same(self.weights(), weights)
        for name in self._parameters:
            value = weights[name]
            if value.dtype.kind == "i":
                value = np.ldexp(value.astype(np.float64), -MASTER_FRACTION_BITS)
            self._copy(self._parameters[name], name, value)

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights, and momentum as <name>.momentum; float32 copies. Of Adam also <name>.square, and its steps."""
        tensors = self._optimiser.tensors()
        state = self.weights() | {key: self._to_numpy(_owner(key), value) for key, value in tensors.items()}
        if steps := self._optimiser.steps():
            state["steps"] = np.array(steps, np.int64)
        return state

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """The reverse of `state`; ValueError names what is missing or of another shape."""
        check_same(self.state(), state)
        for name in self._parameters:
            self._copy(self._parameters[name], name, state[name])
        for key, value in self._optimiser.tensors().items():
            self._copy(value, _owner(key), state[key])
        if "steps" in state:
            self._optimiser.load_steps(state["steps"].tolist())
        self._statistics.clear()

    def _to_torch(self, name: str, value: NDArray[Any]) -> Any:
        """A tensor of this network's device and memory format; a convolution's weight becomes [out, in, h, w]."""
        tensor = torch.tensor(value.astype(np.float32), device=self._device)
        if name in self._conv_weights:
            tensor = tensor.permute(3, 2, 0, 1).contiguous(memory_format=self._format)
        return tensor

    def _to_numpy(self, name: str, tensor: Any) -> NDArray[Any]:
        value = tensor.detach()
        if name in self._conv_weights:
            value = value.permute(2, 3, 1, 0)
        return np.array(value.cpu().numpy(), np.float32, order="C")

    def _copy(self, target: Any, name: str, value: NDArray[Any]) -> None:
        with torch.no_grad():
            target.copy_(self._to_torch(name, value))


def _owner(key: str) -> str:
    """The parameter to which a tensor of the optimiser belongs."""
    return key.rpartition(".")[0]


def _taught(loss: Any, logits: Any, lesson: Lesson) -> Any:
    """Cross-entropy `loss` and a teacher's lesson together (`joulebit.techniques.distillation`)."""
    weight, temperature = lesson.weight_q15 / (1 << 15), lesson.temperature_q4 / (1 << TEMPERATURE_BITS)
    teacher = torch.tensor(np.ldexp(lesson.logits.astype(np.float64), lesson.exponent).astype(np.float32))
    target = F.log_softmax(teacher.to(logits.device) / temperature, 1)
    own = F.log_softmax(logits / temperature, 1)
    soft = F.kl_div(own, target, reduction="batchmean", log_target=True)
    return (1 - weight) * loss + weight * temperature**2 * soft


def _activate(x: Any, activation: str | None, in_place: bool = True) -> Any:
    if activation == "relu":
        return F.relu(x, inplace=in_place)
    if activation == "relu6":
        return F.relu6(x, inplace=in_place)
    return x
