"""A serial port that may vanish and come back, perhaps under another name.

Addresses: a path (`/dev/ttyUSB0`, `COM3`, a pseudo-terminal), `socket://HOST:PORT`, or a USB device wherever it
appears: `usb:VID:PID` or `usb:VID:PID:SERIAL` (hexadecimal, as `lsusb` prints them). A port opened by path that
belongs to a USB device with a serial number is found again by that number.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from joulebit.errors import JoulebitError

_TICK_S = 0.05


class PortGone(Exception):
    """The device behind the port vanished."""


@dataclass(frozen=True)
class UsbId:
    """vid, pid: USB vendor and product; serial: the device's own number, "" for any."""

    vid: int
    pid: int
    serial: str = ""

    @classmethod
    def parse(cls, address: str) -> UsbId:
        """From `usb:VID:PID[:SERIAL]`; raises JoulebitError."""
        parts = address.split(":", 3)
        try:
            if parts[0] != "usb" or len(parts) < 3:
                raise ValueError
            return cls(int(parts[1], 16), int(parts[2], 16), parts[3] if len(parts) > 3 else "")
        except ValueError:
            raise JoulebitError(
                f"a USB address is usb:VID:PID or usb:VID:PID:SERIAL in hexadecimal, got {address!r}"
            ) from None

    def matches(self, port: Any) -> bool:
        """Whether an entry of pyserial's list of ports is this device."""
        return (port.vid, port.pid) == (self.vid, self.pid) and self.serial in ("", port.serial_number)


def serial_ports() -> list[Any]:
    """pyserial's list of ports; empty without pyserial, never an exception."""
    try:
        from serial.tools import list_ports

        return list(list_ports.comports())
    except Exception:  # a broken driver or sysfs must not hide the other meters
        return []


class SerialPort:
    """A serial port; every failure after opening is `PortGone`."""

    def __init__(
        self, address: str, baudrate: int, bytesize: int = 8, parity: str = "N", stopbits: float = 1
    ) -> None:
        """address: see the module; the rest as in pyserial. Opens nothing yet."""
        if not address:
            raise JoulebitError(
                "a serial meter needs its port, such as ina226:/dev/ttyUSB0 or ina226:usb:2341:0043"
            )
        self.address = address
        self.path = ""
        self._usb = UsbId.parse(address) if address.startswith("usb:") else None
        self._line = {"baudrate": baudrate, "bytesize": bytesize, "parity": parity, "stopbits": stopbits}
        self._serial: Any = None

    def open(self) -> None:
        """Opens the port; raises JoulebitError saying why not."""
        try:
            import serial
        except ModuleNotFoundError:
            raise JoulebitError("serial meters need pyserial: pip install 'joulebit[meters]'") from None
        path = self._find()
        try:
            port = serial.serial_for_url(path, timeout=_TICK_S, write_timeout=2.0, exclusive=True, **self._line)
        except Exception as error:  # SerialException, ValueError, termios.error
            raise JoulebitError(f"cannot open {path}: {_reason(error)}") from None
        self._serial, self.path = port, path
        self._remember()

    def _find(self) -> str:
        if self._usb is None:
            return self.address
        found = [port.device for port in serial_ports() if self._usb.matches(port)]
        # A port opened by path goes by that path while it exists, so that two like adapters are not swapped.
        if not self.address.startswith("usb:") and (not found or self.address in found):
            return self.address
        if not found:
            raise JoulebitError(f"no serial port belongs to {self.address}; `joulebit meter list` shows the ports")
        if len(found) > 1:
            ports = ", ".join(found)
            raise JoulebitError(
                f"{self.address} fits several ports ({ports}): add the serial number, or name a port"
            )
        return str(found[0])

    def _remember(self) -> None:
        """By what the device can be found again under another name."""
        if self._usb is None:
            real = os.path.realpath(self.path)
            for port in serial_ports():
                if port.device in (self.path, real) and port.vid is not None and port.serial_number:
                    self._usb = UsbId(port.vid, port.pid, port.serial_number)

    def read(self, timeout_s: float) -> bytes:
        """What is there, or comes within this time; empty if nothing does."""
        end_s = time.monotonic() + timeout_s
        while True:
            try:
                data = bytes(self._serial.read(max(1, self._serial.in_waiting)))
            except Exception as error:
                raise PortGone(_reason(error)) from None
            if data or time.monotonic() >= end_s:
                return data

    def write(self, data: bytes) -> None:
        """Sends all of it."""
        try:
            self._serial.write(data)
            self._serial.flush()
        except Exception as error:
            raise PortGone(_reason(error)) from None

    def discard_input(self) -> None:
        """Forgets what came and was not read."""
        try:
            self._serial.reset_input_buffer()
        except Exception as error:
            raise PortGone(_reason(error)) from None

    def close(self) -> None:
        """Closes the port, if it is open."""
        port, self._serial = self._serial, None
        if port is not None:
            try:
                port.close()
            except Exception:  # a vanished device cannot be closed in good order
                return


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno and error.strerror:
        return os.strerror(error.errno)
    return " ".join(str(error).split()) or type(error).__name__
