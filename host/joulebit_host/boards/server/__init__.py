"""`joulebit board serve`: pynq's remote protocol with a virtual ZedBoard behind it."""

from joulebit_host.boards.server.limits import Limits
from joulebit_host.boards.server.serve import PORT, Server, is_loopback

__all__ = ["PORT", "Limits", "Server", "is_loopback"]
