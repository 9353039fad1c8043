"""Adam: its settings. The updates are `joulebit.train.float32_update`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Adam:
    """`[training.adam]`: Adam instead of SGD with momentum (float32 alone).

    Source: D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1. Weight decay is
    added to the gradient, as in torch.optim.Adam.
    """

    enabled: bool = False
    beta1: float = 0.9  #: decay of the mean, [0, 1)
    beta2: float = 0.999  #: decay of the mean square, [0, 1)
    epsilon: float = 1e-8  #: beside the root, above 0

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not self.epsilon > 0:
            raise ValueError(f"epsilon must be above 0, got {self.epsilon}")


NO_ADAM = Adam()
