"""The downloader, against a server on this machine."""

import dataclasses
import hashlib
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
from make_data_files import SMALL_MNIST, write_mnist

import joulebit.data.load as load_module
from joulebit.data import DataError, load_dataset
from joulebit.data.download import download
from joulebit.data.idx import load_mnist
from joulebit.data.sources import RESOURCES, Resource

CONTENT = bytes(range(256)) * 1000


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        if self.path.startswith("/cut/"):
            self.send_header("Content-Length", str(len(body) + 1000))
        elif not self.path.startswith("/unsized/"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """A web server; ``files`` maps paths to bodies, ``asked`` lists the requests."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.files, server.asked = {"/good/file": CONTENT}, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def resource(*urls, content=CONTENT, sha256=True):
    return Resource(
        "folder/file",
        urls,
        len(content),
        hashlib.md5(content).hexdigest(),
        hashlib.sha256(content).hexdigest() if sha256 else "",
    )


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("sha256", [True, False])
def test_a_file_comes_whole_and_under_its_name(tmp_path, server, sha256):
    paths = download([resource(f"{server.url}/good/file", sha256=sha256)], tmp_path, show_progress=False)
    assert paths == [tmp_path / "folder" / "file"]
    assert paths[0].read_bytes() == CONTENT
    assert files_below(tmp_path) == ["folder/file"]


def test_a_file_that_is_there_is_not_fetched(tmp_path, server):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"mine")
    download([resource(f"{server.url}/good/file")], tmp_path, show_progress=False)
    assert server.asked == []
    assert (tmp_path / "folder" / "file").read_bytes() == b"mine"


def test_the_next_mirror_helps_out(tmp_path, server):
    server.files["/bad/file"] = CONTENT[:-1] + b"?"
    mirrors = [f"{server.url}/{name}/file" for name in ("none", "bad", "good", "unused")]
    (path,) = download([resource(*mirrors)], tmp_path, show_progress=False)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["/none/file", "/bad/file", "/good/file"]
    assert files_below(tmp_path) == ["folder/file"]


@pytest.mark.parametrize("sha256", [True, False])
@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/none/file", None, "HTTP 404"),
        ("/wrong/file", CONTENT[:-1] + b"?", "(sha256|md5) [0-9a-f]+, expected [0-9a-f]+"),
        ("/short/file", CONTENT[:-10], "sent 255990 bytes, expected 256000"),
        ("/cut/file", CONTENT[:-10], "(broke off|sent 255990 bytes)"),
        ("/long/file", CONTENT + b"x", "sent more than 256000 bytes, expected 256000"),
        ("/unsized/file", CONTENT * 3, "sent more than 256000 bytes"),
    ],
)
def test_a_wrong_file_is_refused_and_removed(tmp_path, server, sha256, path, body, message):
    if body is not None:
        server.files[path] = body
    with pytest.raises(DataError, match=message) as caught:
        download([resource(server.url + path, sha256=sha256)], tmp_path, show_progress=False)
    text = str(caught.value)
    assert text.startswith(str(tmp_path / "folder" / "file"))
    assert server.url + path in text
    assert "\n" not in text
    assert files_below(tmp_path) == []


def test_a_server_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no mirror sent it; http://127\.0\.0\.1:1/x: .*refused"):
        download([resource("http://127.0.0.1:1/x")], tmp_path, show_progress=False)


def test_a_place_that_cannot_be_written_is_named(tmp_path, server):
    (tmp_path / "folder").write_text("a file where the folder should go")
    with pytest.raises(DataError, match="folder/file: cannot be written"):
        download([resource(f"{server.url}/good/file")], tmp_path, show_progress=False)


def test_progress_goes_to_stderr_only(tmp_path, server, capfd):
    download([resource(f"{server.url}/good/file")], tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    assert "file" in err


def test_loading_fetches_only_what_is_missing_and_only_when_asked(tmp_path, server, monkeypatch):
    source = tmp_path / "source"
    content = write_mnist(source)
    resources = []
    for path in sorted(source.iterdir()):
        data = path.read_bytes()
        server.files[f"/{path.name}"] = data
        url = f"{server.url}/{path.name}"
        resources.append(dataclasses.replace(resource(url, content=data), path=f"mnist/{path.name}"))
    monkeypatch.setitem(RESOURCES, "mnist", tuple(resources))
    monkeypatch.setattr(load_module, "load_mnist", lambda folder: load_mnist(folder, SMALL_MNIST))
    data_dir = tmp_path / "data"
    with pytest.raises(DataError, match="does not exist"):
        load_dataset("mnist", data_dir)
    assert server.asked == []
    write_mnist(data_dir / "mnist", compress=False)
    (data_dir / "mnist" / "t10k-labels-idx1-ubyte").unlink()
    dataset = load_dataset("mnist", data_dir, download=True, show_progress=False)
    assert server.asked == ["/t10k-labels-idx1-ubyte.gz"]
    assert np.array_equal(dataset.test.labels, content["test"][1])
    load_dataset("mnist", data_dir, download=True)
    assert len(server.asked) == 1


def test_published_sources_are_well_formed():
    for resources in RESOURCES.values():
        for item in resources:
            assert len(item.urls) >= 2
            assert all(url.startswith("https://") and url.endswith(Path(item.path).name) for url in item.urls)
            assert (len(bytes.fromhex(item.md5)), len(bytes.fromhex(item.sha256))) == (16, 32)
            assert item.size > 0
