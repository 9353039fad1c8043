"""Processes that tests start: every wait for them has a time limit."""

import queue
import threading

LIMIT_S = 60  #: for what takes seconds on a machine that is not busy


def ended(process):
    """A process that a test has started has ended by now; what it printed is read: it never waits for us."""
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=LIMIT_S)


def first_line(process):
    """The first line that a process prints; its errors where none comes."""
    lines = queue.SimpleQueue()
    threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
    try:
        line = lines.get(timeout=LIMIT_S)
    except queue.Empty:
        line = ""
    if not line:
        process.kill()
        raise AssertionError(f"a process printed nothing: {process.communicate(timeout=LIMIT_S)[1][-3000:]}")
    return line
