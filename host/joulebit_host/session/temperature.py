"""Temperature of the device under test: leakage, and so idle power, moves with it."""

from __future__ import annotations

from pathlib import Path

from joulebit.errors import JoulebitError

IIO = Path("/sys/bus/iio/devices")


class XadcTemperature:
    """The die temperature of a Zynq-7000 through Linux's XADC driver; call it for deg C.

    deg C = (raw + offset) * scale / 1000 (Linux ABI, sysfs-bus-iio: in_temp0_raw, in_temp0_offset,
    in_temp0_scale).
    """

    def __init__(self, folder: Path | None = None) -> None:
        """folder: of the IIO device; found by its channels when None. Raises JoulebitError if there is none."""
        self.folder = folder or self._find()
        self._scale = self._number("in_temp0_scale")
        self._offset = self._number("in_temp0_offset")

    @staticmethod
    def _find() -> Path:
        for folder in sorted(IIO.glob("iio:device*")):
            if (folder / "in_temp0_raw").is_file():
                return folder
        raise JoulebitError(f"no XADC temperature under {IIO}: is this the board, with the xilinx-xadc driver?")

    def _number(self, name: str) -> float:
        try:
            return float((self.folder / name).read_text())
        except (OSError, ValueError) as error:
            raise JoulebitError(f"{self.folder / name} cannot be read: {error}") from None

    def __call__(self) -> float:
        """Degrees Celsius now."""
        return (self._number("in_temp0_raw") + self._offset) * self._scale / 1000
