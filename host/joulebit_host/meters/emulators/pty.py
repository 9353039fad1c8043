"""An emulator in real time behind a pseudo-terminal, which programs open like a serial port.

    with PtyServer(emulator, link="/tmp/ttyINA226"):
        ...                                     # joulebit meter read ina226:/tmp/ttyINA226

The link's name is stable: when the emulated device is unplugged, the pseudo-terminal is closed and the link
removed; when it is plugged in again, the link points to a new pseudo-terminal.
"""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from pathlib import Path

from joulebit_host.meters.emulators.emulator import Emission, Emulator

_LONGEST_WAIT_S = 0.05


class PtyServer:
    """Runs one emulator in a thread of its own.

    Attributes:
        path: what to open: the link, or the pseudo-terminal itself without one.
    """

    def __init__(self, emulator: Emulator, link: Path | str | None = None) -> None:
        """Opens the pseudo-terminal; the emulator's time begins with `start`."""
        self.emulator = emulator
        self._link = Path(link) if link is not None else None
        self._stop = threading.Event()
        self._unplugged = threading.Event()
        self._thread: threading.Thread | None = None
        self._pending: list[Emission] = []
        self._started_s = 0.0
        self._plug_in()
        self.path = str(self._link or self._name)

    def start(self) -> PtyServer:
        """Begins to play."""
        self._started_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"emulator-{self.emulator.kind}", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends playing and removes the link."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._unplug()

    def unplug(self) -> None:
        """As if somebody pulled the plug, until `plug_in`."""
        self._unplugged.set()

    def plug_in(self) -> None:
        """Ends `unplug`."""
        self._unplugged.clear()

    @property
    def started_s(self) -> float:
        """The host's monotonic clock when the emulator's time was 0."""
        return self._started_s

    def __enter__(self) -> PtyServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _now(self) -> float:
        return time.monotonic() - self._started_s

    def _run(self) -> None:
        while not self._stop.is_set():
            now_s = self._now()
            away = self._unplugged.is_set() or self.emulator.faults.during("unplug", now_s) is not None
            if away:
                self._unplug()
                self.emulator.advance(now_s)
                self._pending.clear()
                self._stop.wait(0.01)
                continue
            if self._master is None:
                self.emulator.powered_up(now_s)
                self._plug_in()
            self._pending += self.emulator.advance(now_s)
            self._send_due(now_s)
            next_s = min([e.t_s for e in self._pending] + [self.emulator.next_s() or now_s + _LONGEST_WAIT_S])
            self._listen(max(0.0, min(_LONGEST_WAIT_S, next_s - self._now())))

    def _send_due(self, now_s: float) -> None:
        due = [e for e in self._pending if e.t_s <= now_s]
        self._pending = [e for e in self._pending if e.t_s > now_s]
        for emission in sorted(due, key=lambda e: e.t_s):
            self._write(emission.data)

    def _write(self, data: bytes) -> None:
        assert self._master is not None
        try:
            os.write(self._master, data)
        except OSError:
            return  # nobody reads, and the terminal's buffer is full: lost, as on a real line

    def _listen(self, timeout_s: float) -> None:
        assert self._master is not None
        if not select.select([self._master], [], [], timeout_s)[0]:
            return
        try:
            data = os.read(self._master, 4096)
        except OSError:
            return
        self._pending += self.emulator.receive(data, self._now())

    def _plug_in(self) -> None:
        self._master: int | None
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)
        tty.setraw(self._slave)
        self._name = os.ttyname(self._slave)
        if self._link is not None:
            fresh = self._link.with_name(self._link.name + ".new")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self._name)
            fresh.replace(self._link)

    def _unplug(self) -> None:
        if self._master is None:
            return
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)
        self._master = None
