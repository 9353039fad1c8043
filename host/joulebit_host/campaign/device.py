"""The device under test, as a campaign sees it.

Settings go down (`prepare`), work is done as often as asked (`run`), results come back (`outcome`). A device
knows nothing of meters. Whatever is wrong with it is a JoulebitError; the campaign then tries the cell again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from joulebit.errors import JoulebitError
from joulebit_host.campaign.plan import Workload
from joulebit_host.campaign.schema import DevicePlan
from joulebit_host.session.clock import Exchange
from joulebit_host.session.session import Marks
from joulebit_host.session.timing import Clock


class DeviceError(JoulebitError):
    """The device did not do what was asked. One line."""

    exit_code = 1


class Device(Protocol):
    """A device that is open. `close` must be safe at any time, more than once."""

    @property
    def clock(self) -> Clock:
        """That the session is to run on: the host's, or the virtual bench's."""
        ...

    @property
    def temperature(self) -> Callable[[], float] | None:
        """Reads degrees Celsius quickly, while work is being done; None if it cannot."""
        ...

    @property
    def exchange(self) -> Callable[[], Exchange] | None:
        """One exchange with the device's clock, at rest; None if its marks come on the session's clock."""
        ...

    def prepare(self, work: Workload) -> None:
        """Sends the settings. Raises DeviceError if they do not arrive."""
        ...

    def run(self, repeats: int, marks: Marks) -> None:
        """Does the work this many times and returns when it is done; marks what happens on the way."""
        ...

    def outcome(self) -> dict[str, Any]:
        """What came back, of one run, as plain JSON values.

        config_hash, weights_sha256: of what was really done; "" where there is none. counters: by the keys of
        `joulebit.energy.counters`. executions: of each phase, where the work is a mix. Anything else belongs to
        the kind of device.
        """
        ...

    def close(self) -> None:
        """Ends all that still runs."""
        ...


def open_device(plan: DevicePlan, seed: int, tries: int) -> Device:
    """The device of a plan's entry.

    Args:
        plan: the entry.
        seed: of what a virtual device draws.
        tries: attempts at this cell that have come to their end before.
    """
    if plan.kind == "local":
        from joulebit_host.campaign.local import LocalDevice

        return LocalDevice(plan)
    if plan.kind == "command":
        from joulebit_host.campaign.command import CommandDevice

        return CommandDevice(plan)
    if plan.kind == "board":
        from joulebit_host.campaign.board import BoardBench, BoardDevice

        return BoardBench(plan, seed, tries) if plan.table else BoardDevice(plan)
    from joulebit_host.campaign.virtual import VirtualDevice

    return VirtualDevice(plan, seed, tries)
