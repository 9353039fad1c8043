"""Explicit download of a data set's official files."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from contextlib import nullcontext, suppress
from typing import IO, TYPE_CHECKING, Any

from joulebit.data.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from joulebit.data.sources import Resource

_BLOCK = 1 << 16
_TIMEOUT_S = 30.0


def download(resources: Iterable[Resource], data_dir: Path, show_progress: bool = True) -> list[Path]:
    """Fetches files that are not there yet into ``data_dir``; returns where they lie.

    Each comes from the first of its mirrors that sends it with the published size and checksum. It is
    written beside its place under another name and renamed when checked, so a file of the right name is
    always whole. Progress goes to stderr.

    Raises:
        DataError: no mirror sent the file, or it cannot be written.
    """
    return [_fetch(resource, data_dir / resource.path, show_progress) for resource in resources]


def _fetch(resource: Resource, target: Path, show_progress: bool) -> Path:
    if target.is_file():
        return target
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    reasons = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in resource.urls:
            reason = _try_mirror(url, resource, part, show_progress)
            if reason is None:
                os.replace(part, target)
                return target
            reasons.append(f"{url}: {reason}")
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error.strerror or error})") from None
    finally:
        with suppress(OSError):
            part.unlink()
    raise DataError(f"{target}: no mirror sent it; " + "; ".join(reasons))


def _try_mirror(url: str, resource: Resource, part: Path, show_progress: bool) -> str | None:
    """Downloads to ``part``; None if all is well, else what went wrong. An OSError is one of writing."""
    algorithm, expected = ("sha256", resource.sha256) if resource.sha256 else ("md5", resource.md5)
    digest = hashlib.new(algorithm, usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "joulebit"})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _one_line(error)
    length = 0
    with response, part.open("wb") as out, _progress(part, resource.size, show_progress) as advance:
        while length <= resource.size:
            block = _read(response)
            if isinstance(block, str):
                return block
            if not block:
                break
            length += len(block)
            digest.update(block)
            out.write(block)
            advance(len(block))
    if length != resource.size:
        came = f"more than {resource.size}" if length > resource.size else str(length)
        return f"sent {came} bytes, expected {resource.size}"
    if digest.hexdigest() != expected:
        return f"{algorithm} {digest.hexdigest()}, expected {expected}"
    return None


def _read(response: IO[bytes]) -> bytes | str:
    """The next block, or what kept it from coming."""
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        return f"broke off ({_one_line(error)})"


def _one_line(error: BaseException) -> str:
    reason = getattr(error, "reason", None) if isinstance(error, urllib.error.URLError) else None
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    return " ".join(str(reason or error or type(error).__name__).split())


def _progress(part: Path, size: int, show: bool) -> AbstractContextManager[Callable[[int], object]]:
    """A context whose value is called with the number of bytes that came."""
    if not show:
        return nullcontext(lambda _: None)
    return _Bar(part.name.partition(".part-")[0], size)


class _Bar:
    """A progress bar of rich on stderr."""

    def __init__(self, name: str, size: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self.progress = Progress(*columns, console=Console(file=sys.stderr))
        self.task = self.progress.add_task(name, total=size)

    def __enter__(self) -> Callable[[int], object]:
        self.progress.start()
        return lambda count: self.progress.advance(self.task, count)

    def __exit__(self, *_: Any) -> None:
        self.progress.stop()
