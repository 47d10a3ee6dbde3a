"""Small models that are published by a local server, with known results."""

import functools
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
from ivy_models.models.presets import PRESETS
from ivy_models.preprocessing import ByteTokenizer, ImagePreprocessing
from ivy_models.preprocessing.text import MASK
from ivy_models.verification import known
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
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
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
def photo(server, monkeypatch):
    """A photo on the server in place of the one for which results are known."""
    path = server.folder / "photo.png"
    Image.fromarray(PIXELS).save(path)
    file = PublishedFile(f"{server.url}photo.png", transfer.checksum(path))
    monkeypatch.setattr("ivy_models.verification.photo.PHOTO", file)
    return path


@pytest.fixture
def models(server, photo, monkeypatch):
    """Publish small models of the original in place of the real ones.

    Their known results are those of NumPy.
    """
    for name, (case, _) in CASES.items():
        preset = PRESETS[name]
        file = preset.weights.name
        (server.folder / file).write_bytes(checkpoint(case).read_bytes())
        small = small_preset(case, preset, PublishedFile(server.url + file))
        monkeypatch.setitem(PRESETS, name, small)
        monkeypatch.setitem(known.ANSWERS, name, answer(name))
    return SimpleNamespace(
        path=lambda name: server.folder / PRESETS[name].weights.name,
        photo=photo,
    )


def checkpoint(case):
    return TINY / case / "checkpoint.pystate"


def small_preset(case, preset, file):
    config = json.loads((TINY / case / "config.json").read_text())
    is_text = case == "language_mlm"
    return replace(
        preset,
        spec=tiny_language_spec(config) if is_text else tiny_spec(config),
        weights=file,
        preprocessing=None
        if is_text
        else ImagePreprocessing(tuple(config["image_size"]), crop_fraction=0.875),
        labels=None,
        tokenizer=ByteTokenizer(24) if is_text else None,
    )


@functools.cache
def answer(name):
    """What NumPy computes."""
    case, variant = CASES[name]
    preset = small_preset(case, PRESETS[name], None)
    with using("numpy"):
        run = model_run(preset.spec, load_weights(checkpoint(case), preset.spec))
        if preset.tokenizer is None:
            data = preset.preprocessing(PIXELS)
            best = int(run(data, {}).argmax())
            return PhotoAnswer((best,), tuple(run(data, variant).reshape(-1)[:3]), 1e-4, variant)
        tokens = preset.tokenizer.encode(TEXT)
        filled = preset.tokenizer.decode(run(tokens, {}).argmax(-1)[tokens == MASK])
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
