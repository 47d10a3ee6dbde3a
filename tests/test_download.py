"""Downloads, from a local server that behaves and one that does not."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ivy_models.errors import DownloadError
from ivy_models.weights import download
from ivy_models.weights.download import PublishedFile

CONTENT = bytes(range(256)) * 1000


class Handler(BaseHTTPRequestHandler):
    requests = 0

    def do_GET(self):
        type(self).requests += 1
        if self.path == "/missing":
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/stalls":
            threading.Event().wait(3)
        self.wfile.write(CONTENT[: 1000 if self.path == "/truncated" else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(Handler, "requests", 0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_is_downloaded_once_with_a_progress_bar(server, tmp_path, capfd):
    file = PublishedFile(f"{server}/weights.pystate", hashlib.sha256(CONTENT).hexdigest())
    path = download.download(file)
    assert path == tmp_path / "cache" / "weights.pystate"
    assert path.read_bytes() == CONTENT
    assert "100%" in capfd.readouterr().err
    assert download.download(file) == path
    assert Handler.requests == 1


@pytest.mark.parametrize("path", ["missing", "truncated", "stalls"])
def test_a_broken_download_leaves_nothing(server, tmp_path, monkeypatch, path):
    monkeypatch.setattr(download, "TIMEOUT_S", 0.5)
    with pytest.raises(DownloadError, match=f"{path} could not be downloaded"):
        download.download(PublishedFile(f"{server}/{path}"))
    assert list((tmp_path / "cache").glob("*")) == []


def test_a_wrong_checksum_is_refused(server, tmp_path):
    with pytest.raises(DownloadError, match="could not be downloaded"):
        download.download(PublishedFile(f"{server}/weights.pystate", "0" * 64))
    assert list((tmp_path / "cache").glob("*")) == []


def test_a_file_put_into_the_cache_by_hand_is_used(server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights.pystate").write_bytes(b"by hand")
    path = download.download(PublishedFile(f"{server}/weights.pystate"))
    assert path.read_bytes() == b"by hand"
    assert Handler.requests == 0


def test_the_cache_has_a_default(monkeypatch):
    monkeypatch.delenv(download.CACHE_VARIABLE, raising=False)
    assert download.cache_folder().name == "ivy_models"
