"""How fast neurons change what they compute: similarities, their changes and velocities, in integers.

With z_t the outputs of one neuron (H x W integers per sample) at the t-th measurement, over V validation samples:

    c      = sign(d) * isqrt((d^2 << 60) // (n n')),  d = z_t . z_{t-1},  n = z_t . z_t,  n' = z_{t-1} . z_{t-1}
             2^30 where n = n' = 0, and 0 where one of them is
    phi_t  = sum of c over the samples                              unit 2^-30 / V;  phi_0 = V << 30
    d_t    = phi_t - phi_{t-1},  d_0 = 0                            equation (2)
    v_t    = d_t - d_{t-1} + RND(v_{t-1} * mu_q15, 15),  v_0 = 0     equation (3)

A cosine does not depend on the exponents of z, so the integers alone are compared, exactly. The paper's text lacks
its equations (1) to (3); they and the cases of zero follow its released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.rounding import shift_round

Int64Array = NDArray[np.int64]
Outputs = Mapping[str, NDArray[np.int16]]  #: [V, H, W, C] by layer, in network order
ONE_Q30 = 1 << 30


class NeuronVelocity:
    """The velocities of all neurons of a network, measurement by measurement.

    mu: the weight of the previous velocity, 0..1.
    """

    def __init__(self, neurons: int, mu: float) -> None:
        self._mu_q15 = round(mu * (1 << 15))
        self.measurements = 0
        self.outputs: dict[str, NDArray[np.int16]] = {}  #: of the last measurement
        self.similarity = np.zeros(neurons, np.int64)  #: phi of the last measurement
        self.change = np.zeros(neurons, np.int64)
        self.velocity = np.zeros(neurons, np.int64)

    @property
    def measured(self) -> bool:
        """Whether there are velocities: after the second measurement."""
        return self.measurements > 1

    def measure(self, outputs: Outputs) -> None:
        """Take the outputs of one more measurement; the first one only begins."""
        if self.measurements:
            samples = len(next(iter(outputs.values())))
            before = self.similarity if self.measured else np.full(len(self.similarity), samples << 30, np.int64)
            similarity = np.concatenate([similarities(outputs[name], self.outputs[name]) for name in outputs])
            change = similarity - before
            self.velocity = change - self.change + shift_round(self.velocity * self._mu_q15, 15)
            self.similarity, self.change = similarity, change
        self.outputs = dict(outputs)
        self.measurements += 1

    def state(self) -> dict[str, NDArray[np.generic]]:
        """For a checkpoint: everything but the outputs, which are large."""
        numbers = {"similarity": self.similarity, "change": self.change, "velocity": self.velocity}
        return {**numbers, "measurements": np.array(self.measurements)}

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """The reverse of `state`; whoever resumes puts the outputs back."""
        self.measurements = int(state["measurements"])
        self.similarity, self.change, self.velocity = (
            state[name].astype(np.int64) for name in ("similarity", "change", "velocity")
        )


def similarities(now: NDArray[np.int16], before: NDArray[np.int16]) -> Int64Array:
    """int64 [C]: sums over the samples of the cosine similarities of the channels' outputs [V, H, W, C], Q.30."""
    products = [_dot(now, before), _dot(now, now), _dot(before, before)]
    shape = products[0].shape
    each = [cosine_q30(*three) for three in zip(*(product.reshape(-1).tolist() for product in products))]
    return np.asarray(np.array(each, np.int64).reshape(shape).sum(0))


def cosine_q30(dot: int, square: int, other_square: int) -> int:
    """The cosine similarity of two vectors, in units of 2^-30, from their inner products; rounded toward zero."""
    if not square or not other_square:
        return ONE_Q30 if square == other_square else 0
    root = isqrt((dot * dot << 60) // (square * other_square))
    return root if dot >= 0 else -root


def _dot(a: NDArray[np.int16], b: NDArray[np.int16]) -> Int64Array:
    """int64 [V, C]: inner products over H and W."""
    return np.stack([(x.astype(np.int64) * y).sum((0, 1)) for x, y in zip(a, b)])
