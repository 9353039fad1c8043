"""A virtual board's server, and the environment in which the unmodified pynq 4 client lives.

pynq 4.0 wants numpy 1 and one version of gRPC, so that it has a Python environment of its own: `make .venv/.pynq`
makes it, JOULEBIT_PYNQ_PYTHON names another. Without one the tests marked `pynq` are left out.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import ended, first_line

from joulebit.accelerator.build import library
from joulebit_host.bitstreams.virtual import virtual_files
from joulebit_host.bitstreams.zedboard import CLOCK_HZ
from joulebit_host.boards.server import Limits, Server

ROOT = Path(__file__).resolve().parents[3]


def _client_python():
    named = os.environ.get("JOULEBIT_PYNQ_PYTHON")
    own = ROOT / ".venv" / "pynq" / "bin" / "python"
    return named or (str(own) if own.exists() else None)


def pytest_collection_modifyitems(items):
    if _client_python() is not None:
        return
    skip = pytest.mark.skip(
        reason="no environment with pynq 4: `make .venv/.pynq`, or name one by JOULEBIT_PYNQ_PYTHON"
    )
    for item in items:
        if item.get_closest_marker("pynq"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def bitstream_folder(tmp_path_factory):
    """A folder with the virtual bitstreams of this very specification."""
    folder = tmp_path_factory.mktemp("bitstreams")
    for name, data in virtual_files().items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def bit_of(bitstream_folder):
    """Configuration -> path of its virtual .bit."""
    return lambda config: next(bitstream_folder.glob(f"joulebit_{config}_virtual_*.bit"))


@pytest.fixture
def server():
    """A virtual board (functional) for one test; `server(...)` makes others."""
    made = []

    def make(tier="functional", config=None, **limits):
        lines = []
        made.append(
            Server(tier, config, port=0, limits=Limits(**({"memory": 8 << 20} | limits)), log=lines.append)
        )
        made[-1].lines = lines
        return made[-1]

    yield make
    for one in made:
        one.close()


def _environment(folder):
    paths = [str(ROOT / part) for part in ("sim", "host", "tests")]
    keep = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TMPDIR")}
    return keep | {
        "PYTHONPATH": os.pathsep.join(paths),
        "JOULEBIT_BITSTREAMS": str(folder),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="session")
def rtl():
    """The RTL of `tiny`, compiled: that takes minutes after its sources were changed."""
    return library("tiny", CLOCK_HZ)


@pytest.fixture
def client_environment(bitstream_folder):
    """(interpreter, environment variables) of pynq's client."""
    return _client_python(), _environment(bitstream_folder)


@pytest.fixture
def start_client(bitstream_folder):
    """start_client(what, address, **arguments): the client's process, which prints one JSON object."""
    started = []

    def start(what, address, script="pynq_client.py", **arguments):
        command = [
            _client_python(),
            str(Path(__file__).with_name(script)),
            what,
            address,
            json.dumps(arguments, default=str),
        ]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=_environment(bitstream_folder))
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        ended(process)


@pytest.fixture
def client(start_client):
    """client(what, address, **arguments): what the client printed; its errors fail the test."""

    def run(what, address, timeout_s=120, **arguments):
        process = start_client(what, address, **arguments)
        out, err = process.communicate(timeout=timeout_s)
        assert process.returncode == 0, err[-3000:]
        return json.loads(out.splitlines()[-1])

    return run


@pytest.fixture
def run_selftest(bitstream_folder):
    """pynq's own conformance test: the lines that it prints."""

    def run(address, bit):
        host, _, port = address.rpartition(":")
        command = [
            _client_python(),
            "-m",
            "pynq.remote.selftest",
            "--ip",
            host,
            "--port",
            port,
            "--bitstream",
            str(bit),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=_environment(bitstream_folder), check=False
        )
        return done.stdout.splitlines()

    return run


@pytest.fixture
def serve_process(bitstream_folder):
    """`joulebit board serve` in a process of its own: (process, address)."""
    started = []

    def start(*options):
        command = [sys.executable, "-m", "joulebit.cli.main", "board", "serve"]
        process = subprocess.Popen(
            [*command, "--port", "0", "--json", "--memory-mb", "40", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | _environment(bitstream_folder),
        )  # fmt: skip
        started.append(process)
        return process, json.loads(first_line(process))["address"]

    yield start
    for process in started:
        ended(process)
