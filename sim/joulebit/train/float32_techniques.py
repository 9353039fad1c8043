"""What techniques ask of a float32 network beside training: frozen neurons, pruned weights, other sizes, exits.

`Float32Network` with the operations of `joulebit.train.adaptable.Adaptable`, so that every technique of the
training loop runs in float32 as its own reference. Where a technique works on integers (scores of SNIP,
similarities of outputs), it gets the floating-point numbers as integers of 31 or 16 bits with one exponent per
tensor. PyTorch forms the gradient of a whole weight tensor even where some of its neurons are frozen; they are
counted as the integer engines count them: what a device would not compute is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from joulebit.energy.counters import counted_as
from joulebit.fixed.arithmetic import MASTER_FRACTION_BITS
from joulebit.fixed.philox import initial_normal
from joulebit.nn.graph import ConvPlan, HeadPlan, NetworkPlan
from joulebit.nn.structure import Snapshot
from joulebit.nn.trained import GradientFlow, Trained, check_selection, gradient_flow, outputs_per_group
from joulebit.techniques.exits import STREAM, Exits, classifier_deviation_q30, exit_head
from joulebit.train.float32 import Float32Method, Float32Network, _Mode
from joulebit.train.network import Batch

Int64Array = NDArray[np.int64]
_LOGIT_BITS = 24  # of the fraction of logits as integers


class Float32TechniqueNetwork(Float32Network):
    """The float32 implementation of `joulebit.train.adaptable.Adaptable`.

    exits: auxiliary classifiers (`joulebit.techniques.exits`); None: none. The others: as for Float32Network.
    """

    bytes_per_parameter = 8  #: a weight and its momentum

    def __init__(
        self,
        plan: NetworkPlan,
        seed: int,
        method: Float32Method | None = None,
        device: str = "cpu",
        channels_last: bool = True,
        exits: Exits | None = None,
    ) -> None:
        super().__init__(plan, seed, method, device, channels_last)
        self._options = (device, channels_last, exits)
        self._kept: dict[str, Any] = {}  # 1 where a weight may differ from 0, by the name of the convolution
        self._pruned: dict[str, Int64Array] = {}  # pruned weights of each output channel
        self._trained: Mapping[str, Trained] | None = None
        self._flow = gradient_flow(plan, None)
        self._outputs: dict[str, Any] | None = None  # of the convolutions, where asked for
        self._policy = exits
        self._exits: dict[int, tuple[str, HeadPlan]] = {}  # by position
        self._answers: list[Any] = []  # logits of the exits in the last pass
        if exits:
            self._add_exits(exits)

    def like(self, plan: NetworkPlan) -> Float32TechniqueNetwork:
        """A new network of another plan that trains and counts as this one does (into its counters)."""
        network = Float32TechniqueNetwork(plan, self.seed, self.method, *self._options)
        network.counters = self.counters
        network._accountant.counters = self.counters
        return network

    # --- exits ---------------------------------------------------------------------------------------

    def _add_exits(self, policy: Exits) -> None:
        for number, position in enumerate(policy.places(self.plan)):
            head, name = exit_head(self.plan, position), f"exit{number + 1}"
            count = head.classes * head.features
            values = initial_normal(self.seed, STREAM + number, count, classifier_deviation_q30(head))
            weight = np.ldexp(values.astype(np.float64), -MASTER_FRACTION_BITS)
            self._add_parameter(f"{name}.weight", weight.reshape(head.classes, head.features))
            self._add_parameter(f"{name}.bias", np.zeros(head.classes))
            self._exits[position] = (name, head)

    def _passed(self, position: int, x: Any) -> None:
        if position in self._exits:
            if position == next(iter(self._exits)):
                self._answers = []
            name, _ = self._exits[position]
            weight, bias = (self._parameters[f"{name}.{kind}"] for kind in ("weight", "bias"))
            self._answers.append(F.linear(x.mean((2, 3)), weight, bias))

    def _objective(self, loss: Any, logits: Any, labels: Any, batch: Batch) -> Any:
        total = super()._objective(loss, logits, labels, batch)
        policy = self._policy
        if policy is None:
            return total
        teacher = F.log_softmax(logits.detach() / policy.temperature, 1)
        for answers in self._answers:
            own = F.log_softmax(answers / policy.temperature, 1)
            soft = policy.temperature**2 * F.kl_div(own, teacher, reduction="batchmean", log_target=True)
            hard = F.cross_entropy(answers, labels)
            total = total + policy.weight * ((1 - policy.teaching) * hard + policy.teaching * soft)
        return total

    def exit_logits(self, images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """float32 [N, classes] of every exit, with the statistics of the last prepare_evaluation."""
        self.logits(images)
        return [answers.cpu().numpy() for answers in self._answers]

    # --- frozen neurons, pruned weights ----------------------------------------------------------------

    def select(self, trained: Mapping[str, Trained] | None) -> None:
        """From the next step on train these neurons alone, by the name of their convolution; None: all.

        Raises:
            ValueError: a convolution is missing, or unknown, or has no such channels.
        """
        if trained is not None:
            check_selection(self.plan, trained)
        self._trained, self._flow = trained, gradient_flow(self.plan, trained)
        for name, parameter in self._parameters.items():
            rows = self._rows(name)
            parameter.requires_grad_(rows is None or len(rows) > 0)

    def _rows(self, name: str) -> Any:
        owner, _, kind = name.rpartition(".")
        chosen = (self._trained or {}).get(owner)
        if chosen is None or (chosen.shifts and kind in ("beta", "bias")):
            return None
        return torch.tensor(chosen.channels, dtype=torch.int64, device=self._device)

    def prune(self, kept: Mapping[str, NDArray[np.bool_]]) -> None:
        """Weights outside `kept` are 0 from now on; by the name of the convolution, in its weights' shape."""
        for name, mask in kept.items():
            self._kept[name] = self._to_torch(f"{name}.weight", mask)
            self._pruned[name] = np.asarray((~mask).sum((0, 1, 2)), np.int64)
        self._clear_pruned()

    def _clear_pruned(self) -> None:
        with torch.no_grad():
            for name, mask in self._kept.items():
                self._parameters[f"{name}.weight"].mul_(mask)
                self._optimiser.momentum[f"{name}.weight"].mul_(mask)

    def _update(self, learning_rate: float, sign_learning_rate: float) -> int:
        changed = super()._update(learning_rate, sign_learning_rate)
        self._clear_pruned()
        return changed

    def _weight(self, conv: ConvPlan) -> Any:
        weight = super()._weight(conv)
        return weight * self._kept[conv.name] if conv.kind == "binary" and conv.name in self._kept else weight

    # --- counting --------------------------------------------------------------------------------------

    def _needs_gradient(self, position: int) -> bool:
        lowest = self._flow.lowest
        return super()._needs_gradient(position) and lowest is not None and position >= lowest

    def _count_conv(self, conv: ConvPlan, samples: int) -> None:
        if self._trained is None:
            super()._count_conv(conv, samples)
            formed: tuple[str, ...] = ("weight_gradient", "input_gradient")[: 2 if conv.index else 1]
            formed = () if self.method.head_only else formed
        else:
            self._accountant.forward(conv, samples)
            formed = self._count_partly(conv, self._trained[conv.name], self._flow, samples)
        if conv.name in self._pruned:
            per_channel = samples * conv.out_shape[0] * conv.out_shape[1] * self._pruned[conv.name]
            for phase in ("forward", *formed):
                chosen = per_channel
                if phase == "weight_gradient" and self._trained is not None:
                    chosen = per_channel[self._trained[conv.name].channels]
                self._accountant.pruned(phase, int(chosen.sum()))

    def _count_partly(self, conv: ConvPlan, trained: Trained, flow: GradientFlow, samples: int) -> tuple[str, ...]:
        """The backward pass of a convolution with frozen neurons, and what is left out; returns what is formed."""
        accountant, each = self._accountant, conv.macs // conv.out_shape[2]
        reached, passing = conv.name in flow.reached, conv.name in flow.passing
        weights = reached and len(trained.channels) > 0
        formed: list[str] = []
        if reached:
            accountant.norm_backward(conv, samples, shifts_only=not weights and not passing)
        if passing:
            accountant.input_gradient(conv, samples)
            formed.append("input_gradient")
        elif conv.index:
            accountant.skip("input_gradient", "frozen", samples * conv.macs)
        if weights:
            accountant.weight_gradient(conv, samples, None, outputs_per_group(conv, trained.channels))
            formed.append("weight_gradient")
        accountant.skip("weight_gradient", "frozen", samples * each * (conv.out_shape[2] - len(trained.channels)))
        return tuple(formed)

    def _count_passes(self, samples: int, opened: list[bool]) -> None:
        super()._count_passes(samples, opened)
        for position, (_, head) in self._exits.items():
            needed = self._needs_gradient(position)
            self._accountant.head(head, samples, backward=False)
            self._accountant.head(head, samples, backward=True, input_needed=needed)
            if needed:
                self._accountant.join(samples * int(np.prod(head.in_shape)))

    # --- what techniques look at -------------------------------------------------------------------------

    def answers(self, images: NDArray[np.uint8], whole: int) -> tuple[Int64Array, int]:
        """(logits [N, classes] as integers, their exponent); counted. whole: N, as there is one worker."""
        logits = self.logits(images).astype(np.float64)
        self._count_forward(whole)
        return np.rint(np.ldexp(logits, _LOGIT_BITS)).astype(np.int64), -_LOGIT_BITS

    def conv_weights(self) -> dict[str, tuple[NDArray[Any], int]]:
        """What every convolution computes with, as 31-bit integers and their exponent, by its name."""
        with torch.no_grad():
            return {conv.name: self._as_integers(conv, self._weight(conv)) for conv in self.plan.convs()}

    def _as_integers(self, conv: ConvPlan, tensor: Any) -> tuple[Int64Array, int]:
        """A tensor in the shape of a convolution's weights, in 31 bits."""
        return _integers(self._to_numpy(f"{conv.name}.weight", tensor), 31)

    def weight_gradients(self, batch: Batch) -> dict[str, tuple[Int64Array, int]]:
        """Gradient of every convolution's weights, as 31-bit integers and their exponent, by its name.

        Plain gradients of all weights with all blocks open; nothing moves. Their cost counts in phase selection.
        """
        trained, opened = self._trained, [True] * self._blocks
        self.select(None)
        labels = torch.tensor(batch.labels, dtype=torch.int64, device=self._device)
        with self._backend(), torch.enable_grad():
            features = self._features(batch.images, _Mode.TRAIN, opened)
            F.cross_entropy(self._classify(features), labels).backward()
        with counted_as(self.counters, "selection"):
            Float32Network._count_passes(self, len(batch.labels), opened)
        found = {
            conv.name: self._as_integers(conv, self._parameters[f"{conv.name}.weight"].grad)
            for conv in self.plan.convs()
        }
        for parameter in self._parameters.values():
            parameter.grad = None
        self.select(trained)
        return found

    def channel_outputs(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.int16]]:
        """The output of every convolution before its batch norm, [N, H, W, C], by its name, in 16 bits.

        The images run through the network as one batch, all blocks open. It counts in phase selection.
        """
        self._outputs = {}
        with self._backend(), torch.no_grad():
            self._features(images, _Mode.STATISTICS, [True] * self._blocks)
        found, self._outputs = self._outputs, None
        with counted_as(self.counters, "selection"):
            self._count_forward(len(images), head=False)
        each = {conv.name: found[conv.name].permute(0, 2, 3, 1).cpu().numpy() for conv in self.plan.convs()}
        return {name: _integers(z, 16)[0].astype(np.int16) for name, z in each.items()}

    def _convolved(self, conv: ConvPlan, z: Any) -> None:
        if self._outputs is not None:
            self._outputs[conv.name] = z.clone()  # batch norm may work in place

    # --- snapshots ---------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Weights and momenta by name, as copies; exponents are 0."""
        momentum = {name: self._to_numpy(name, value) for name, value in self._optimiser.momentum.items()}
        parameters = {name: (value, momentum[name]) for name, value in self.weights().items()}
        exponents = {conv.name: np.zeros(1, np.int64) for conv in self.plan.convs()}
        return Snapshot(parameters, exponents, np.zeros(1, np.int64))

    def load_snapshot(self, snapshot: Snapshot) -> None:
        """The reverse of `snapshot`; ValueError names what is missing or of another shape."""
        self.load_weights({name: master for name, (master, _) in snapshot.parameters.items()})
        for name, value in self._optimiser.momentum.items():
            self._copy(value, name, snapshot.parameters[name][1])


def _integers(values: NDArray[Any], bits: int) -> tuple[Int64Array, int]:
    """(values as integers of so many bits, their exponent): the largest takes all bits."""
    wide = values.astype(np.float64)
    largest = float(np.abs(wide).max(initial=0.0))
    exponent = (int(np.frexp(largest)[1]) if largest else 0) - (bits - 1)
    limit = (1 << (bits - 1)) - 1
    return np.clip(np.rint(np.ldexp(wide, -exponent)), -limit, limit).astype(np.int64), exponent
