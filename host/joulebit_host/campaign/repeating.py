"""An engine that does each operation of a phase several times, so that a meter can tell what the phase costs.

The operations of an engine are functions of their operands, so doing one again changes nothing: the last result is
taken, and the trained weights are those of the plain run. The one that changes its operands, the update, is done
again on copies, made once for each shape of weights. Which operation belongs to which phase is `PHASE_OF`; what
stands in no phase (the loss, small vectors, data) is done once.

Operations are repeated only while that is `on`: set-up before the first step and evaluation after the last stay as
they are. An evaluation between two steps counts as forward passes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from joulebit.engine.base import Array, Engine
from joulebit.errors import JoulebitError
from joulebit.fixed.arithmetic import Arithmetic

PHASE_OF = {
    **dict.fromkeys(
        ("conv_forward", "adder_forward", "norm_forward", "shortcut_forward", "max_pool", "spatial_sum"), "forward"
    ),
    **dict.fromkeys(
        (
            "conv_input_gradient", "adder_input_gradient", "norm_sums", "norm_backward", "shortcut_gradient",
            "max_pool_gradient", "spread", "mask_gradient", "narrow_gradient",
        ),
        "input_gradient",
    ),
    **dict.fromkeys(
        ("conv_weight_gradient", "conv_weight_gradient_msb", "channel_sums", "predict_signs", "sign"),
        "weight_gradient",
    ),
    **dict.fromkeys(("update", "quantise_weights", "quantise_weights_at"), "update"),
}  # fmt: skip


class Repetition:
    """Which phases are executed how often, and how often they were.

    Args:
        executions: how often each phase is done; 1 where a phase is not named.

    Attributes:
        on: whether operations are repeated now.
        asked, done: operations that the training asked for, and that were done, by phase, while it was on.
    """

    def __init__(self, executions: Mapping[str, int]) -> None:
        self.executions = dict(executions)
        for phase, count in self.executions.items():
            if phase not in PHASE_OF.values() or count < 1:
                known = ", ".join(dict.fromkeys(PHASE_OF.values()))
                raise JoulebitError(f"executions of {known} must be at least 1, got {phase} = {count}")
        self.on = False
        self.asked: Counter[str] = Counter()
        self.done: Counter[str] = Counter()

    def wrap(self, engine: Engine) -> Engine:
        """The engine, its operations repeated; for `joulebit.engine.sessions.wrapped_engines`."""
        repeating: Any = RepeatingEngine(engine, self)
        return repeating  # type: ignore[no-any-return]

    def start(self) -> None:
        """From now on operations are repeated, and counted from 0."""
        self.on = True
        self.asked.clear()
        self.done.clear()

    def stop(self) -> dict[str, int]:
        """How often each phase of the mix was really executed since `start`."""
        self.on = False
        found = {}
        for phase in self.executions:
            if not self.asked[phase] or self.done[phase] % self.asked[phase]:
                raise JoulebitError(f"phase {phase} was not executed: this run has none of it")
            found[phase] = self.done[phase] // self.asked[phase]
        return found


class RepeatingEngine:
    """`joulebit.engine.base.Engine`: another one whose operations are repeated."""

    def __init__(self, engine: Engine, repetition: Repetition) -> None:
        self._engine = engine
        self._repetition = repetition
        self._scratch: dict[tuple[int, ...], tuple[Array, Array]] = {}

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._engine, name)
        if name not in PHASE_OF:
            return operation
        return self._repeated(PHASE_OF[name], operation, self._elsewhere if name == "update" else None)

    def with_arithmetic(self, arithmetic: Arithmetic) -> Engine:
        """The same with other widths."""
        return self._repetition.wrap(self._engine.with_arithmetic(arithmetic))

    def _repeated(
        self, phase: str, operation: Callable[..., Any], elsewhere: Callable[..., tuple[Any, ...]] | None
    ) -> Callable[..., Any]:
        """elsewhere: operands for all but the last time, of an operation that changes its own."""
        repetition = self._repetition

        def repeated(*operands: Any, **named: Any) -> Any:
            if repetition.on:
                times = repetition.executions.get(phase, 1)
                repetition.asked[phase] += 1
                repetition.done[phase] += times
                again = elsewhere(*operands) if elsewhere is not None and times > 1 else operands
                for _ in range(times - 1):
                    operation(*again, **named)
            return operation(*operands, **named)

        return repeated

    def _elsewhere(self, master: Array, momentum: Array, *rest: Any) -> tuple[Any, ...]:
        """Operands of an update that nobody sees. What it costs does not depend on their values."""
        shape = tuple(master.shape)
        if shape not in self._scratch:
            self._scratch[shape] = (self._engine.copy(master), self._engine.copy(momentum))
        return (*self._scratch[shape], *rest)
