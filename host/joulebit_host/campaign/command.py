"""Any shell command on this machine as the work. If the last line that it prints is a JSON object, then
config_hash, weights_sha256 and counters are taken from it, as `joulebit train --json` prints them, and for a mix
the executions of each phase (see `mixes`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from joulebit_host.campaign.device import DeviceError
from joulebit_host.campaign.mixes import ENVIRONMENT
from joulebit_host.campaign.plan import Workload
from joulebit_host.campaign.schema import DevicePlan
from joulebit_host.session.clock import Exchange
from joulebit_host.session.session import Marks
from joulebit_host.session.timing import Clock, HostClock


class CommandDevice:
    """See the module, and `device.Device`."""

    temperature: Callable[[], float] | None = None
    exchange: Callable[[], Exchange] | None = None

    def __init__(self, plan: DevicePlan) -> None:
        """plan: its entry."""
        self._plan = plan
        self.clock: Clock = HostClock()
        self._command = ""
        self._environment: dict[str, str] = {}
        self._outcome: dict[str, Any] = {"config_hash": "", "weights_sha256": "", "counters": {}}
        self._process: subprocess.Popen[str] | None = None

    def prepare(self, work: Workload) -> None:
        """See `Device`."""
        self._command = work.command
        self._outcome.pop("executions", None)
        self._environment = {ENVIRONMENT: json.dumps(dict(work.executions))} if work.executions else {}

    def run(self, repeats: int, marks: Marks) -> None:
        """See `Device`."""
        for _ in range(repeats):
            marks.step()
            self._once()

    def _once(self) -> None:
        self._process = process = subprocess.Popen(
            self._command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            env={**os.environ, **self._environment},
        )
        try:
            out, err = process.communicate(timeout=self._plan.timeout_s)
        except subprocess.TimeoutExpired:
            self.close()
            raise DeviceError(f"`{self._command}` took longer than {self._plan.timeout_s:g} s") from None
        if process.returncode:
            last = (err.strip() or out.strip() or "it said nothing").splitlines()[-1]
            raise DeviceError(f"`{self._command}` ended with exit code {process.returncode}: {last}")
        self._keep(out)

    def _keep(self, out: str) -> None:
        lines = out.strip().splitlines()
        with contextlib.suppress(ValueError):
            found = json.loads(lines[-1]) if lines else None
            if isinstance(found, dict):
                for key in ("config_hash", "weights_sha256"):
                    if isinstance(found.get(key), str):
                        self._outcome[key] = found[key]
                for key in ("counters", "executions"):
                    if isinstance(found.get(key), dict):
                        self._outcome[key] = {k: int(v) for k, v in found[key].items()}

    def outcome(self) -> dict[str, Any]:
        """See `Device`."""
        return dict(self._outcome)

    def close(self) -> None:
        """See `Device`."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
