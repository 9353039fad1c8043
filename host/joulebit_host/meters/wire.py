"""Meters on a serial port: those that are asked and those that stream; both survive that the device vanishes.

A `Dialogue` says what a kind of meter wants to hear; this file does the waiting, the time stamps and the coming
back. When the port fails, `read` returns one "unplugged" record, tries to open the port again (0.1 s, 0.2 s, ... 2
s apart), sets the device up as before, and returns "replugged". A device that then calls itself something else is
not taken.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Reading, Received
from joulebit_host.meters.kind import Options
from joulebit_host.meters.options import as_settings
from joulebit_host.meters.transports.serial_port import PortGone

FIRST_RETRY_S, LAST_RETRY_S = 0.1, 2.0


class Port(Protocol):
    """What this file needs of a port; see `transports.serial_port.SerialPort`."""

    address: str

    def open(self) -> None: ...
    def read(self, timeout_s: float) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def discard_input(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Step:
    """One question of a poll.

    Attributes:
        request: bytes to send.
        complete: whether these bytes are the whole answer; None for a command without answer.
    """

    request: bytes
    complete: Callable[[bytes], bool] | None


def lines_complete(count: int) -> Callable[[bytes], bool]:
    """For answers of `count` lines."""
    return lambda data: data.count(b"\n") >= count


class Conversation:
    """Questions and answers outside of the sampling: identification, set-up."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def send(self, data: bytes) -> None:
        """Sends, expecting no answer."""
        self._port.write(data)

    def ask(self, data: bytes, complete: Callable[[bytes], bool], timeout_s: float = 1.0) -> bytes:
        """The answer, or as much of it as came in time."""
        self._port.discard_input()
        self._port.write(data)
        return self.listen(complete, timeout_s)

    def listen(self, complete: Callable[[bytes], bool], timeout_s: float) -> bytes:
        """What comes until it is complete, or as much of it as came in time."""
        end_s = time.monotonic() + timeout_s
        answer = b""
        while not complete(answer) and (left_s := end_s - time.monotonic()) > 0:
            answer += self._port.read(left_s)
        return answer


class Dialogue(Protocol):
    """What one kind of meter wants to hear."""

    def begin(self, talk: Conversation) -> str:
        """Identifies and sets up the device; its identity. Raises JoulebitError if it is not the right one."""
        ...

    def start(self, talk: Conversation) -> None:
        """Begins sampling."""
        ...

    def stop(self, talk: Conversation) -> None:
        """Ends sampling and leaves the device as it was found."""
        ...


class SerialMeter:
    """What polled and streaming meters share; see `base.Meter`."""

    def __init__(self, kind: str, port: Port, options: Options, dialogue: Dialogue) -> None:
        """Opens the port and identifies the device; raises JoulebitError."""
        self.kind = kind
        self.settings: Mapping[str, Any] = as_settings(options)
        self.reading: Reading = options.reading()
        self.accuracy: Accuracy = options.accuracy()
        self.interval_s = options.interval()
        self._port = port
        self._dialogue = dialogue
        self._talk = Conversation(port)
        self._running = False
        self._gone = False
        self._retry_at_s = 0.0
        self._retry_s = FIRST_RETRY_S
        port.open()
        try:
            self.identity = dialogue.begin(self._talk)
        except PortGone as error:
            port.close()
            raise JoulebitError(f"{port.address} vanished while the meter was set up: {error}") from None
        except BaseException:
            port.close()
            raise

    def start(self) -> None:
        """Begins sampling; see `base.Meter`."""
        self._running = True
        try:
            self._port.discard_input()
            self._dialogue.start(self._talk)
        except PortGone:
            return  # the next read says so
        self.started()

    def started(self) -> None:
        """The device has just begun to sample."""

    def stop(self) -> None:
        """Ends sampling; see `base.Meter`."""
        if self._running and not self._gone:
            with contextlib.suppress(PortGone):
                self._dialogue.stop(self._talk)
        self._running = False

    def close(self) -> None:
        """Stops and closes the port."""
        self.stop()
        self._port.close()

    def read(self, timeout_s: float) -> Received:
        """See `base.Meter`."""
        began_s = time.monotonic()
        end_s = began_s + timeout_s
        if self._gone:
            return self._wait_for_return(began_s, end_s)
        try:
            return self.receive(end_s)
        except PortGone:
            self._port.close()
            self._gone = True
            self._retry_s = FIRST_RETRY_S
            now_s = time.monotonic()
            self._retry_at_s = now_s + self._retry_s
            return Received(began_s, now_s, self.half_received(), "unplugged")

    def receive(self, end_s: float) -> Received:
        """The next piece of data before this time; raises PortGone."""
        raise TypeError(f"{type(self).__name__} must define receive")

    def half_received(self) -> bytes:
        """What had come of an answer when the port broke off."""
        return b""

    def _wait_for_return(self, began_s: float, end_s: float) -> Received:
        while (now_s := time.monotonic()) < end_s:
            if now_s < self._retry_at_s:
                time.sleep(min(self._retry_at_s, end_s) - now_s)
                continue
            if self._reopen():
                self._gone = False
                return Received(began_s, time.monotonic(), b"", "replugged")
            self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
            self._retry_at_s = time.monotonic() + self._retry_s
        return Received(began_s, time.monotonic(), b"")

    def _reopen(self) -> bool:
        try:
            self._port.open()
        except JoulebitError:
            return False
        try:
            if self._dialogue.begin(self._talk) == self.identity:
                if self._running:
                    self._port.discard_input()
                    self._dialogue.start(self._talk)
                    self.started()
                return True
        except (JoulebitError, PortGone):
            pass
        self._port.close()
        return False


class StreamMeter(SerialMeter):
    """A meter that sends by itself. A silence of `overdue_s` is a timeout, said once per such time.

    Sampling begins in the middle of whatever the device is sending: all up to the first `sync` is left out, so
    that half a line at the start is not taken for damage.
    """

    def __init__(
        self,
        kind: str,
        port: Port,
        options: Options,
        dialogue: Dialogue,
        overdue_s: float = 2.0,
        sync: bytes = b"",
    ) -> None:
        """overdue_s, sync: see the class."""
        self._sync = sync
        self._in_step = not sync
        self._overdue_s = max(overdue_s, 3 * options.interval())
        self._heard_s = time.monotonic()
        super().__init__(kind, port, options, dialogue)

    def started(self) -> None:
        """See `SerialMeter`."""
        self._heard_s = time.monotonic()
        self._in_step = not self._sync

    def receive(self, end_s: float) -> Received:
        """See `SerialMeter`."""
        began_s = time.monotonic()
        data = self._port.read(max(0.0, min(end_s, self._heard_s + self._overdue_s) - began_s))
        now_s = time.monotonic()
        if data:
            self._heard_s = now_s
            if not self._in_step:
                _, found, data = data.partition(self._sync)
                self._in_step = bool(found)
        elif now_s - self._heard_s >= self._overdue_s:
            self._heard_s = now_s
            return Received(began_s, now_s, b"", "timeout")
        return Received(began_s, now_s, data)


class PolledMeter(SerialMeter):
    """A meter that is asked. The times between polls vary by `jitter`, so that no rhythm of the load is
    followed.
    """

    def __init__(
        self,
        kind: str,
        port: Port,
        options: Options,
        dialogue: Dialogue,
        steps: tuple[Step, ...],
        *,
        answer_s: float = 1.0,
        jitter: float = 0.25,
        pace_s: float | None = None,
        least_s: float = 0.0,
        seed: int = 0,
    ) -> None:
        """One poll is all `steps`; their answers make one record.

        Args:
            answer_s: an answer that takes longer is overdue.
            jitter: share of the pace by which a poll comes earlier or later.
            pace_s: mean time between polls; the options' interval by default, 0 to poll without a pause.
            least_s: polls are never closer to each other than this.
            seed: of the jitter.
        """
        self._steps = steps
        self._answer_s = answer_s
        self._pace_s = options.interval() if pace_s is None else pace_s
        self._jitter = jitter
        self._least_s = least_s
        self._random = random.Random(seed)
        self._due_s = 0.0
        self._step = -1  # of the poll under way; -1 between polls
        self._sent_s = self._overdue_at_s = 0.0
        self._answer = b""  # of this step
        self._answers = b""  # of the steps before
        super().__init__(kind, port, options, dialogue)

    def started(self) -> None:
        """See `SerialMeter`."""
        self._step = -1
        self._due_s = time.monotonic()

    def half_received(self) -> bytes:
        """See `SerialMeter`."""
        data = self._answers + self._answer
        self._answers = self._answer = b""
        self._step = -1
        return data

    def receive(self, end_s: float) -> Received:
        """See `SerialMeter`. A poll under way at `end_s` goes on in the next call."""
        began_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            if self._step < 0:
                if self._due_s > now_s:
                    if now_s >= end_s:
                        return Received(began_s, now_s, b"")
                    time.sleep(min(self._due_s, end_s) - now_s)
                    continue
                self._port.discard_input()
                self._sent_s = time.monotonic()
                self._next_step()
            elif self._is_complete():
                if self._step + 1 == len(self._steps):
                    return self._finish("")
                self._next_step()
            elif now_s >= self._overdue_at_s:
                return self._finish("" if self._answers + self._answer else "timeout")
            elif now_s >= end_s:
                return Received(began_s, now_s, b"")
            else:
                self._answer += self._port.read(min(end_s, self._overdue_at_s) - now_s)

    def _is_complete(self) -> bool:
        complete = self._steps[self._step].complete
        return complete is None or complete(self._answer)

    def _next_step(self) -> None:
        self._answers += self._answer
        self._answer = b""
        self._step += 1
        self._overdue_at_s = time.monotonic() + self._answer_s
        self._port.write(self._steps[self._step].request)

    def _finish(self, event: str) -> Received:
        now_s = time.monotonic()
        varied_s = self._pace_s * (1 + self._random.uniform(-self._jitter, self._jitter))
        self._due_s = max(self._due_s + varied_s, self._sent_s + self._least_s, now_s)
        return Received(self._sent_s, now_s, self.half_received(), event)
