"""Small models that are published by a local server, with known results."""

import json
import pickle
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import TINY
from PIL import Image
from verify_reference import tiny_language_spec, tiny_spec

from ivy_models.base.cache import CACHE_VARIABLE
from ivy_models.checkpoints.download import cache as download, http as transfer
from ivy_models.checkpoints.download.cache import PublishedFile
from ivy_models.checkpoints.load import load_weights
from ivy_models.checkpoints.pickles.unpickle import unpickle
from ivy_models.models import presets
from ivy_models.preprocessing import ByteTokenizer, ImagePreprocessing
from ivy_models.verification import known, photo
from ivy_models.verification.answers import PhotoAnswer, TextAnswer
from ivy_models.verification.backends import model_run, using

CASES = {
    "perceiver_io_imagenet_fourier": ("imagenet_fourier", {"exact_gelu": True}),
    "perceiver_io_imagenet_learned": (
        "imagenet_learned",
        {"exact_gelu": True, "query_residual": True},
    ),
    "perceiver_io_imagenet_conv": (
        "imagenet_conv",
        {"exact_gelu": True, "stem": "centred_convolution"},
    ),
    "perceiver_io_language": ("language_mlm", {"exact_gelu": True}),
}
TEXT = "[CLS]some words" + 3 * "[MASK]" + "[SEP]"


class Handler(SimpleHTTPRequestHandler):
    """Sends the files of a folder; breaks off in the middle of those in ``server.broken``."""

    def do_GET(self):
        if self.path not in self.server.broken:
            return super().do_GET()
        content = (self.server.folder / self.path[1:]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])

    def log_message(self, *_):
        pass


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(download.OFFLINE_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(transfer, "RETRY_DELAY_S", 0.001)
    return tmp_path / "cache"


@pytest.fixture
def server(cache, tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()

    def handler(*arguments):
        return Handler(*arguments, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.folder, server.broken = folder, set()
        server.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def models(server, monkeypatch, rng):
    """Publish small models of the original in place of the real ones.

    Their known results are those of NumPy, for a photo that the server also has.
    """
    pixels = rng.integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(server.folder / "photo.png")
    digest = transfer.checksum(server.folder / "photo.png")
    monkeypatch.setattr(photo, "PHOTO", PublishedFile(f"{server.url}photo.png", digest))
    for name, (case, variant) in CASES.items():
        small, weights = small_preset(server, name, case)
        monkeypatch.setitem(presets.PRESETS, name, small)
        with using("numpy"):
            run = model_run(small.spec, weights)
            monkeypatch.setitem(known.ANSWERS, name, answer(server, small, run, variant))
    return SimpleNamespace(
        path=lambda name: server.folder / presets.PRESETS[name].weights.name,
        photo=server.folder / "photo.png",
    )


def small_preset(server, name, case):
    config = json.loads((TINY / case / "config.json").read_text())
    spec = (tiny_language_spec if case == "language_mlm" else tiny_spec)(config)
    file = presets.PRESETS[name].weights.name
    content = (TINY / case / "checkpoint.pystate").read_bytes()
    (server.folder / file).write_bytes(content)
    preset = replace(
        presets.PRESETS[name],
        spec=spec,
        weights=PublishedFile(server.url + file),
        preprocessing=None if case == "language_mlm" else preprocessing(config),
        labels=None,
        tokenizer=ByteTokenizer(24) if case == "language_mlm" else None,
    )
    return preset, load_weights(TINY / case / "checkpoint.pystate", spec)


def preprocessing(config):
    return ImagePreprocessing(tuple(config["image_size"]), crop_fraction=0.875)


def answer(server, preset, run, variant):
    if preset.tokenizer is None:
        data = preset.preprocessing(server.folder / "photo.png")
        best = int(run(data, {}).argmax())
        logits = tuple(run(data, variant).reshape(-1)[:3])
        return PhotoAnswer((best,), logits, 1e-4, variant)
    tokens = preset.tokenizer.encode(TEXT)
    filled = preset.tokenizer.decode(run(tokens, {}).argmax(-1)[tokens == 3])
    logits = tuple(map(tuple, run(tokens, variant)[:3, :3]))
    return TextAnswer(TEXT, filled, logits, 1e-4, variant)


@pytest.fixture
def change():
    """Change one weight of a published file by a little."""

    def change(path, amount=0.05):
        content = unpickle(path)
        params = content.get("params", content)
        scope = next(name for name in sorted(params) if "trainable_position" in name)
        name, array = next(iter(params[scope].items()))
        params[scope][name] = np.array(array)
        params[scope][name].reshape(-1)[0] += amount
        path.write_bytes(pickle.dumps(content, protocol=4))

    return change
