"""This machine as the device under test: training runs in a process of their own, see `worker`."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from joulebit_host.campaign.device import DeviceError
from joulebit_host.campaign.plan import Workload
from joulebit_host.campaign.schema import DevicePlan
from joulebit_host.campaign.worker import HELLO
from joulebit_host.session.clock import Exchange
from joulebit_host.session.session import Marks
from joulebit_host.session.timing import Clock, HostClock

COMMAND = (sys.executable, "-m", "joulebit_host.campaign.worker")
_ANSWER_S = 120.0  #: starting Python and its libraries on a busy machine


class LocalDevice:
    """See the module, and `device.Device`."""

    @property
    def temperature(self) -> Callable[[], float] | None:
        """See `Device`. What the worker told last, if it told any."""
        if self._celsius is None:
            return None
        return lambda: self._celsius or 0.0

    def __init__(self, plan: DevicePlan, command: tuple[str, ...] = COMMAND) -> None:
        """command: that starts a worker; over SSH, say, for one on another machine."""
        self._plan = plan
        self.clock: Clock = HostClock()
        self._outcome: dict[str, Any] = {}
        self._celsius: float | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError as error:
            raise DeviceError(f"device {plan.name}: its worker cannot be started: {error}") from None
        threading.Thread(target=self._listen, daemon=True).start()
        hello = self._answer(_ANSWER_S)
        if hello.get("hello") != HELLO:
            self.close()
            raise DeviceError(f"device {plan.name}: its worker said {hello!r}, {HELLO} was expected")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise DeviceError(f"device {self._plan.name} was silent for {timeout_s:g} s") from None
        if line is None:
            self._lines.put(None)
            raise DeviceError(f"device {self._plan.name} broke off (exit code {self._process.wait()})")
        try:
            message = json.loads(line)
        except ValueError:
            raise DeviceError(f"device {self._plan.name} sent what is no JSON: {line[:80]!r}") from None
        if not isinstance(message, dict):
            raise DeviceError(f"device {self._plan.name} sent {message!r}")
        if "error" in message:
            raise DeviceError(f"device {self._plan.name}: {message['error']}")
        return message

    def _ask(self, question: Mapping[str, Any], timeout_s: float, marks: Marks | None = None) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # ValueError: closed
            raise DeviceError(f"device {self._plan.name} broke off") from None
        while True:
            message = self._answer(timeout_s)
            if "ok" in message:
                answer: dict[str, Any] = message["ok"]
                return answer
            if message.get("mark") == "step" and marks is not None:
                marks.step(message["clock_s"])
            if message.get("mark") == "temperature":
                self._celsius = float(message["celsius"])

    def prepare(self, work: Workload) -> None:
        """See `Device`."""
        assert work.config is not None, "the plan gives local devices nothing but training configurations"
        config = dict(work.config)
        if self._plan.engine:
            config["engine"] = self._plan.engine
        self._prepare(config, work.executions, _ANSWER_S)

    def _prepare(
        self, config: dict[str, Any], executions: Mapping[str, int], timeout_s: float, **more: Any
    ) -> None:
        question = {"do": "prepare", "config": config, "data_dir": self._plan.data_dir or None, **more}
        if executions:
            question["executions"] = dict(executions)
        self._outcome = self._ask(question, timeout_s)

    def exchange(self) -> Exchange:
        """See `Device`."""
        sent_s = time.monotonic()
        remote_s = float(self._ask({"do": "clock"}, _ANSWER_S)["clock_s"])
        return Exchange(sent_s, remote_s, time.monotonic())

    def run(self, repeats: int, marks: Marks) -> None:
        """See `Device`."""
        answer = self._ask({"do": "run", "repeats": repeats}, self._plan.timeout_s, marks)
        marks.window_start(answer.pop("start_s"))
        marks.window_end(answer.pop("end_s"))
        self._outcome = answer

    def outcome(self) -> dict[str, Any]:
        """See `Device`."""
        return dict(self._outcome)

    def close(self) -> None:
        """See `Device`."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
