"""Phases that are executed several times by a training run: the bits stay, the operations are counted."""

from typing import Any

import pytest

from joulebit.engine.base import Engine
from joulebit.engine.factory import make_engine
from joulebit.engine.sessions import wrapped_engines
from joulebit.errors import JoulebitError
from joulebit.fixed.arithmetic import Arithmetic
from joulebit_host.campaign.board import BoardDevice
from joulebit_host.campaign.device import DeviceError
from joulebit_host.campaign.local import LocalDevice
from joulebit_host.campaign.plan import Workload, workload
from joulebit_host.campaign.repeating import PHASE_OF, RepeatingEngine, Repetition
from joulebit_host.campaign.schema import DevicePlan, Method
from joulebit_host.campaign.worker import train_once
from joulebit_host.session.phases import PHASES
from joulebit_host.session.session import Marks
from joulebit_host.session.timing import HostClock

SMALL = (
    "training.iterations=2",
    "training.batch_size=16",
    "data.train_limit=64",
    "data.test_limit=20",
    "training.statistics_samples=16",
)
EXECUTIONS = {"forward": 2, "input_gradient": 1, "weight_gradient": 3, "update": 4}


def config_of(source: str, *changes: str) -> dict[str, Any]:
    config = dict(workload(Method("m", source, (*SMALL, *changes)), "").config or {})
    config["training"] = {k: v for k, v in config["training"].items() if k not in ("iterations", "epochs") or v}
    return config


def repeated(config: dict[str, Any], executions: dict[str, int]) -> tuple[dict[str, Any], Repetition]:
    repetition = Repetition(executions)
    with wrapped_engines(repetition.wrap):
        found = train_once(config, None, repetition.start, lambda: None)
    return found, repetition


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("digits-resnet8-fixed", ()),
        ("digits-resnet8-psg", ()),
        ("digits-resnet8-fixed", ("method.slu.target_skip=0.3",)),
        ("digits-resnet8-fixed", ('model.name="resnet8-adder"',)),
    ],
)
def test_the_weights_are_those_of_the_plain_run(source: str, changes: tuple[str, ...]) -> None:
    """Stochastic rounding, gates and predicted signs included."""
    config = config_of(source, *changes)
    plain = train_once(config)
    found, repetition = repeated(config, EXECUTIONS)
    assert found["weights_sha256"] == plain["weights_sha256"]
    assert found["config_hash"] == plain["config_hash"]
    assert found["counters"] == plain["counters"]
    assert repetition.stop() == EXECUTIONS


def test_every_operation_of_an_engine_belongs_to_a_phase_or_is_done_once() -> None:
    """A new one must be thought of."""
    once = {
        "with_arithmetic", "from_numpy", "to_numpy", "sample_dot", "take", "put", "take_channels", "put_channels",
        "copy", "zeros_like_gradient", "zeros_like_momentum", "limit_masters", "matmul",
    }  # fmt: skip
    operations = {name for name, found in vars(Engine).items() if callable(found) and not name.startswith("_")}
    assert operations == once | set(PHASE_OF)


def test_every_operation_is_done_as_often_as_asked() -> None:
    calls: dict[str, int] = {}

    class Counting:
        """An engine that counts its calls and changes `update`'s operands."""

        def __getattr__(self, name: str) -> Any:
            def operation(*operands: Any) -> Any:
                calls[name] = calls.get(name, 0) + 1
                if name == "update":
                    operands[0][0] += 1
                return operands[0].copy() if name == "copy" else calls[name]

            return operation

    import numpy as np

    repetition = Repetition(EXECUTIONS)
    engine: Any = repetition.wrap(Counting())  # type: ignore[arg-type]
    master, momentum = np.zeros(3, np.int32), np.zeros(3, np.int64)
    assert {PHASE_OF[name] for name in PHASE_OF} == set(PHASES)
    engine.conv_forward(0)
    assert calls.pop("conv_forward") == 1, "nothing is repeated before the steps begin"
    repetition.start()
    for _ in range(5):
        engine.conv_forward(0)
        engine.conv_weight_gradient(0)
        engine.sample_dot(0)
        engine.update(master, momentum, 0)
        engine.conv_input_gradient(0)
    assert calls["conv_forward"] == 10
    assert calls["conv_weight_gradient"] == 15
    assert calls["conv_input_gradient"] == calls["sample_dot"] == 5
    assert calls["update"] == 20
    assert master[0] == 5, "the repeated updates go elsewhere"
    assert calls["copy"] == 2, "copies are made once"
    assert repetition.stop() == EXECUTIONS
    assert repetition.asked["update"] == 5


def test_a_phase_that_did_not_happen_is_no_execution() -> None:
    repetition = Repetition({"update": 2})
    repetition.start()
    with pytest.raises(JoulebitError, match="phase update was not executed"):
        repetition.stop()
    with pytest.raises(JoulebitError, match="at least 1, got update = 0"):
        Repetition({"update": 0})


def test_engines_are_wrapped_only_inside() -> None:
    with wrapped_engines(Repetition({}).wrap):
        assert isinstance(make_engine("numpy", Arithmetic()), RepeatingEngine)
    assert not isinstance(make_engine("numpy", Arithmetic()), RepeatingEngine)


def prepared(device: LocalDevice, config: dict[str, Any], executions: dict[str, int]) -> dict[str, Any]:
    clock = HostClock()
    device.prepare(Workload("m", config, "", executions=executions))
    device.run(1, Marks(clock))
    return device.outcome()


def test_the_worker_executes_a_mix_and_tells_it() -> None:
    config = config_of("digits-resnet8-fixed")
    device = LocalDevice(DevicePlan("here", "local"))
    try:
        plain = prepared(device, config, {})
        mix = prepared(device, config, EXECUTIONS)
        again = prepared(device, config, {})
        with pytest.raises(DeviceError, match="float32 cannot be executed one by one"):
            prepared(device, {**config, "engine": "float32"}, EXECUTIONS)
    finally:
        device.close()
    assert "executions" not in plain
    assert mix["executions"] == EXECUTIONS
    assert mix["weights_sha256"] == plain["weights_sha256"] == again["weights_sha256"]
    for key, count in plain["counters"].items():
        phase = key.split(".")[1] if key.startswith(("macs.", "ops.", "bytes.")) else ""
        assert mix["counters"][key] == count * EXECUTIONS.get(phase, 1), key
    assert again["counters"] == plain["counters"]


def test_a_boards_accelerator_counts_the_executions_itself() -> None:
    """Its products: of forward, input gradient and weight gradient, so many times those of the plain run."""
    config = config_of("digits-resnet8-fixed")
    device = BoardDevice(DevicePlan("bench", "board", board="virtual"))
    found: dict[str, dict[str, Any]] = {}
    try:
        for name, mix in (("plain", {}), ("all", dict.fromkeys(PHASES, 3)), ("forward", {"forward": 2})):
            found[name] = prepared(device, config, mix)
        with pytest.raises(DeviceError, match="predicted signs cannot be executed one by one on a board"):
            prepared(device, config_of("digits-resnet8-psg"), EXECUTIONS)
    finally:
        device.close()
    work = {name: outcome["accelerator"]["work"] for name, outcome in found.items()}
    assert all(found[name]["weights_sha256"] == found["plain"]["weights_sha256"] for name in found)
    products = [key for key in work["plain"] if key.startswith("macs.")]
    assert products
    for key in products:
        assert work["all"][key] == 3 * work["plain"][key]
    more = work["forward"]["macs.all.8x8"] - work["plain"]["macs.all.8x8"]
    assert 0 < more < work["plain"]["macs.all.8x8"] + work["plain"].get("macs.all.8x16", 0), "one pass of several"
    assert found["all"]["accelerator"]["counters"]["MACS_8X8"] == work["all"]["macs.all.8x8"]
