"""Models from the hub, of a server on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ivy_models import create_model

COMMIT = "a" * 40
SCRIPT = """
import sys
from ivy_models.transformers.perceiver_io import PerceiverIO
print(PerceiverIO.from_pretrained(sys.argv[1]).num_parameters)
"""


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as downloading the repository own/model takes."""

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body):
        files, (_, _, name) = self.server.files, self.path.rpartition("/")
        headers, body = {}, None
        if self.path.startswith("/api/models/own/model/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "b" * 40}
                for name, data in files.items()
            ]
            body = json.dumps(tree).encode()
        elif self.path.startswith("/api/models/own/model"):
            siblings = [{"rfilename": name} for name in files]
            body = json.dumps({"id": "own/model", "sha": COMMIT, "siblings": siblings}).encode()
        elif self.path.startswith("/own/model/resolve/") and name in files:
            self.server.downloads += with_body
            body = files[name]
            digest = hashlib.sha256(body).hexdigest()
            headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}
        self.send_response(404 if body is None else 200)
        for key, value in ({"Content-Length": len(body or b"")} | headers).items():
            self.send_header(key, str(value))
        self.end_headers()
        if with_body and body is not None:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    """A server with the digits in the repository own/model."""
    create_model("perceiver_io_digits", pretrained=True).save_pretrained(tmp_path / "digits")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = {path.name: path.read_bytes() for path in (tmp_path / "digits").iterdir()}
    server.files["README.md"] = b"Not needed."
    server.downloads = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def load(hub, tmp_path, repository, **environment):
    """In a process of its own: the hub's package reads its address when it is imported."""
    settings = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": tmp_path / "cache"}
    settings |= {"HF_HUB_DISABLE_TELEMETRY": "1"} | environment
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, repository],
        env=os.environ | {key: str(value) for key, value in settings.items()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_repository_is_downloaded_once(hub, tmp_path):
    run = load(hub, tmp_path, "own/model")
    assert run.stdout.split() == ["89403"], run.stderr
    assert hub.downloads == 2  # config.json and model.safetensors
    run = load(hub, tmp_path, "own/model", HF_HUB_OFFLINE="1")
    assert run.stdout.split() == ["89403"], run.stderr
    assert hub.downloads == 2


def test_what_the_hub_does_not_have_is_refused(hub, tmp_path):
    run = load(hub, tmp_path, "own/other")
    assert run.returncode == 1
    assert "DownloadError: There is no folder own/other, and it could not be had" in run.stderr
    run = load(hub, tmp_path, "own/model", HF_HUB_OFFLINE="1")
    assert "DownloadError" in run.stderr
