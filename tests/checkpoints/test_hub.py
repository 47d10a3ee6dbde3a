"""Models from the hub, served on this machine."""

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers.processes import LIMIT

from ivy_models import create_model
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOSpec

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

COMMIT = "a" * 40
SCRIPT = """
import sys
from ivy_models.transformers.perceiver_io import PerceiverIO
print(PerceiverIO.from_pretrained(sys.argv[1]).num_parameters)
"""


class Hub(BaseHTTPRequestHandler):
    """The part of the hub that downloads of the repository own/model need."""

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body):
        self.server.requests += 1
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
    """A server with the digits model in the repository own/model."""
    create_model("perceiver_io_digits", pretrained=True).save_pretrained(tmp_path / "digits")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = {path.name: path.read_bytes() for path in (tmp_path / "digits").iterdir()}
    server.files["README.md"] = b"Not needed."
    server.requests = server.downloads = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def load(hub, tmp_path, repository, **environment):
    """Load in a new process, because the hub's package reads the address when it is imported."""
    settings = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": tmp_path / "cache"}
    settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "0"} | environment
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, repository],
        env=os.environ | {key: str(value) for key, value in settings.items()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.slow
def test_a_repository_is_downloaded_once(hub, tmp_path):
    run = load(hub, tmp_path, "own/model")
    assert run.stdout.split() == ["89403"], run.stderr
    assert hub.downloads == 2  # config.json and model.safetensors
    run = load(hub, tmp_path, "own/model", HF_HUB_OFFLINE="1")
    assert run.stdout.split() == ["89403"], run.stderr
    assert hub.downloads == 2


def shard(files, stem, suffix, write):
    """Split the weights into two files with an index, as transformers does."""
    arrays = safetensors_torch.load(files.pop("model.safetensors"))
    names, weight_map = sorted(arrays), {}
    for number, part in enumerate((names[:30], names[30:]), 1):
        file = f"{stem}-{number:05}-of-00002.{suffix}"
        files[file] = write({name: arrays[name] for name in part})
        weight_map |= dict.fromkeys(part, file)
    files[f"{stem}.{suffix}.index.json"] = json.dumps({"weight_map": weight_map}).encode()


def torch_bytes(tensors):
    torch.save(tensors, buffer := io.BytesIO())
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [("model", "safetensors", safetensors_torch.save), ("pytorch_model", "bin", torch_bytes)],
    ids=["safetensors", "torch"],
)
def test_shards_are_downloaded(kind, hub, tmp_path):
    spec = PerceiverIOSpec(
        input_dim=3,
        num_input_axes=2,
        output_dim=10,
        queries_dim=64,
        latent_dim=64,
        num_latents=16,
        query_shape=[1],
        num_fourier_freq_bands=64,
        max_fourier_freq=[224, 224],
    )
    model = PerceiverIO(spec)
    model.save_pretrained(tmp_path / "theirs", layout="huggingface")
    hub.files = {path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()}
    shard(hub.files, *kind)
    hub.files["model-00009-of-00002.safetensors"] = b"Not of the model."
    for environment in ({}, {"IVY_MODELS_OFFLINE": "1"}):
        run = load(hub, tmp_path, "own/model", **environment)
        assert run.stdout.split() == [str(model.num_parameters)], run.stderr
        assert hub.downloads == 4  # config.json, the index and two shards


def test_a_hostile_index_downloads_nothing_more(hub, tmp_path):
    hub.files = {
        "config.json": b'{"model_type": "perceiver"}',
        "model.safetensors.index.json": b'{"weight_map": {"a": "../../a.safetensors"}}',
    }
    run = load(hub, tmp_path, "own/model")
    assert "WeightsError" in run.stderr
    assert "names '../../a.safetensors' as a shard" in run.stderr
    assert hub.downloads == 2


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["IVY_MODELS_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked(hub, tmp_path, variable):
    run = load(hub, tmp_path, "own/model", **{variable: "1"})
    assert run.returncode == 1
    assert "Without a network, pass a folder with config.json and model.safetensors" in run.stderr
    assert hub.requests == 0


@pytest.mark.slow
def test_repositories_missing_on_the_hub_are_refused(hub, tmp_path):
    run = load(hub, tmp_path, "own/other")
    assert run.returncode == 1
    assert "DownloadError: There is no folder own/other, and it could not be" in run.stderr
    run = load(hub, tmp_path, "own/model", HF_HUB_OFFLINE="1")
    assert "DownloadError" in run.stderr
