"""Verification of small models that a local server publishes."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import seeded
from helpers import CHOSEN, TINY
from PIL import Image

from ivy_models import verify_model
from ivy_models.checkpoints.download.cache import PublishedFile
from ivy_models.checkpoints.download.http import checksum
from ivy_models.checkpoints.load import load_weights
from ivy_models.checkpoints.pickles.unpickle import unpickle
from ivy_models.errors import BackendError, InputError, SpecError, WeightsError
from ivy_models.models.presets import PRESETS
from ivy_models.verification import verify as verification
from ivy_models.verification.answers import PhotoAnswer, compare
from ivy_models.verification.backends import model_run, using
from ivy_models.verification.known import ANSWERS
import ivy

FOURIER = "perceiver_io_imagenet_fourier"
LEARNED = "perceiver_io_imagenet_learned"
MODELS = [FOURIER, LEARNED, "perceiver_io_imagenet_conv", "perceiver_io_language"]


def verify(name, **options):
    """Outcomes and checks by what was checked."""
    checks = list(verify_model(name, **{"backends": ["numpy"]} | options))
    assert len({check.what for check in checks}) == len(checks)
    return {c.what: str(c.outcome) for c in checks}, {c.what: c for c in checks}


def failed(checks):
    return [what for what, check in checks.items() if check.failed]


# Everything right


@pytest.mark.parametrize("name", MODELS)
def test_published_models_are_right(models, cache, backend, name):
    before = ivy.current_backend_str()
    outcomes, checks = verify(name, backends=[backend])
    answer = "masked text" if name.endswith("language") else "class"
    assert outcomes == {
        "file": "right",
        "known SHA-256": "not run",
        "structure": "right",
        "first seen": "right",
        f"{answer} on {backend}": "right",
        f"logits on {backend}": "right",
    }
    assert not failed(checks)
    assert f"{models.path(name).stat().st_size:,} bytes" in checks["file"].detail
    assert ivy.current_backend_str() == before
    recorded = json.loads((cache / "first_seen.json").read_text())
    assert list(recorded) == [PRESETS[name].weights.url]
    assert verify(name)[1]["first seen"].detail == "the same file"


def test_all_installed_backends_are_used(models, monkeypatch):
    monkeypatch.setattr(verification, "BACKENDS", CHOSEN)
    outcomes, _ = verify(FOURIER, backends=None)
    assert {f"logits on {name}" for name in CHOSEN} <= set(outcomes)


def test_a_backend_that_is_not_installed_is_named(models, monkeypatch):
    def missing(name):
        if name == "jax":
            raise BackendError("The jax backend needs a package that is not installed.")

    monkeypatch.setattr(verification, "ops_named", missing)
    monkeypatch.setattr(verification, "BACKENDS", ("numpy", "jax"))
    outcomes, checks = verify(FOURIER, backends=None)
    assert outcomes["results on jax"] == "not run"
    assert outcomes["logits on numpy"] == "right"
    assert not failed(checks)
    with pytest.raises(BackendError, match="not installed"):
        verify_model(FOURIER, backends=["jax"])


def test_a_local_file_is_not_downloaded(models, server, cache, tmp_path):
    copy = models.path(FOURIER).rename(tmp_path / "copy.pystate")
    outcomes, checks = verify(FOURIER, weights=copy, image=models.photo)
    assert outcomes["logits on numpy"] == "right"
    assert str(copy) in checks["file"].detail
    assert {path.suffix for path in cache.iterdir()} == {".json", ".lock"}


def test_a_model_without_known_results(models, server, monkeypatch):
    monkeypatch.delitem(ANSWERS, FOURIER)
    outcomes, checks = verify(FOURIER)
    assert outcomes["results"] == "not run"
    assert not failed(checks)


# Wrong files, told apart


@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_weight(models, change, cache, name):
    change(models.path(name))
    outcomes, checks = verify(name)
    assert outcomes["structure"] == "right"
    assert failed(checks) == ["logits on numpy"]
    assert "largest difference" in checks["logits on numpy"].detail
    assert not (cache / "first_seen.json").exists()


def test_a_weight_that_is_no_number(models, change):
    change(models.path(FOURIER), np.nan)
    _, checks = verify(FOURIER)
    assert failed(checks) == ["class on numpy", "logits on numpy"]
    assert "; expected class " in checks["class on numpy"].detail


def test_a_truncated_file(models, cache):
    path = models.path(FOURIER)
    path.write_bytes(path.read_bytes()[:-1000])
    outcomes, checks = verify(FOURIER)
    assert failed(checks) == ["structure"]
    assert "is not a pickle of arrays, or is broken" in checks["structure"].detail
    assert f"Remove {cache / path.name}" in checks["structure"].detail
    assert outcomes["results"] == "not run"


def test_a_transfer_that_breaks_off(models, server, cache):
    server.broken.add(f"/{models.path(FOURIER).name}")
    outcomes, checks = verify(FOURIER)
    assert outcomes == {"file": "not run", "results": "not run"}
    assert failed(checks) == ["file"]
    assert "could not be downloaded" in checks["file"].detail
    assert "\n" not in checks["file"].detail


@pytest.mark.parametrize("other", MODELS[1:])
def test_a_swapped_model(models, other):
    models.path(FOURIER).write_bytes(models.path(other).read_bytes())
    _, checks = verify(FOURIER)
    assert failed(checks) == ["structure"]
    assert f"is the file of {other}." in checks["structure"].detail
    assert f"Expected that of {FOURIER}, from {PRESETS[FOURIER].weights.url}." in (
        checks["structure"].detail
    )


def test_another_size_of_the_model(models):
    other = TINY / "imagenet_fourier_other_resolution" / "checkpoint.pystate"
    content = unpickle(other)
    params = content["params"]
    latents = next(name for name in params if "trainable_position" in name)
    params[latents] = {name: array[:-1] for name, array in params[latents].items()}
    models.path(FOURIER).write_bytes(pickle.dumps(content))
    _, checks = verify(FOURIER)
    assert failed(checks) == ["structure"]
    assert "of another shape" in checks["structure"].detail


@pytest.mark.slow
def test_full_size_weights_in_the_published_layout(server, photo, monkeypatch):
    name = "perceiver_io_imagenet_conv"
    preset = PRESETS[name]
    path = server.folder / preset.weights.name
    file = PublishedFile(server.url + preset.weights.name)
    monkeypatch.setitem(PRESETS, name, replace(preset, weights=file))
    content = seeded.checkpoint("imagenet_conv_preprocessing")
    path.write_bytes(pickle.dumps(content, protocol=4))
    with using("numpy"):
        run = model_run(preset.spec, load_weights(path, preset.spec))
        logits = run(preset.preprocessing(photo), {}).reshape(-1)
    known = PhotoAnswer((int(logits.argmax()),), tuple(logits[:3]), 1e-4, {})
    monkeypatch.setitem(ANSWERS, name, known)
    assert not failed(verify(name)[1])

    head = content["params"]["classification_decoder/~/basic_decoder/output"]
    head["b"][0] += 0.05  # a wrong weight
    path.write_bytes(pickle.dumps(content, protocol=4))
    assert failed(verify(name, weights=path)[1]) == ["first seen"]
    checks = verify(name, weights=path, accept_changed=True)[1]
    assert failed(checks) == ["logits on numpy"]
    assert "largest difference 0.05" in checks["logits on numpy"].detail

    path.write_bytes(path.read_bytes()[:-1000])  # a truncated file
    assert failed(verify(name, weights=path)[1]) == ["structure"]

    other = seeded.checkpoint("imagenet_fourier_position_encoding")  # a swapped model
    path.write_bytes(pickle.dumps(other, protocol=4))
    checks = verify(name, weights=path)[1]
    assert "is the file of perceiver_io_imagenet_fourier." in checks["structure"].detail


# Checksums


@pytest.mark.parametrize("is_same", [True, False])
def test_a_known_checksum(models, monkeypatch, is_same):
    path = models.path(FOURIER)
    digest = checksum(path) if is_same else "0" * 64
    file = PublishedFile(PRESETS[FOURIER].weights.url, digest)
    monkeypatch.setitem(PRESETS, FOURIER, replace(PRESETS[FOURIER], weights=file))
    outcomes, checks = verify(FOURIER, weights=path)
    assert outcomes["known SHA-256"] == ("right" if is_same else "wrong")
    assert outcomes["structure"] == "right"
    assert ("logits on numpy" in outcomes) == is_same
    assert failed(checks) == [] if is_same else ["known SHA-256"]


def test_a_changed_file_is_refused_until_it_is_accepted(models, change, cache):
    verify(FOURIER)
    path, record = models.path(FOURIER), cache / "first_seen.json"
    before = record.read_text()
    content = path.read_bytes()
    path.write_bytes(pickle.dumps(unpickle(path), protocol=3))  # other bytes, the same weights
    outcomes, checks = verify(FOURIER, weights=path)
    assert failed(checks) == ["first seen"]
    assert checksum(cache / path.name) in checks["first seen"].detail
    assert outcomes["results"] == "not run"
    assert record.read_text() == before
    outcomes, checks = verify(FOURIER, weights=path, accept_changed=True)
    assert not failed(checks)
    assert verify(FOURIER, weights=path)[1]["first seen"].detail == "the same file"
    path.write_bytes(content)
    assert failed(verify(FOURIER, weights=path)[1]) == ["first seen"]


def test_a_changed_file_that_is_wrong_is_not_recorded(models, change, cache):
    verify(FOURIER)
    before = (cache / "first_seen.json").read_text()
    change(models.path(FOURIER))
    _, checks = verify(FOURIER, weights=models.path(FOURIER), accept_changed=True)
    assert failed(checks) == ["logits on numpy"]
    assert (cache / "first_seen.json").read_text() == before


def test_a_damaged_record_is_named(models, cache):
    cache.mkdir()
    (cache / "first_seen.json").write_text("{")
    with pytest.raises(WeightsError, match=r"first_seen\.json cannot be read"):
        verify(FOURIER)


# The photo


def test_another_photo_is_refused(models, tmp_path):
    saved_again = tmp_path / "photo.jpg"
    Image.open(models.photo).save(saved_again)
    with pytest.raises(InputError, match="is not the photo .*: its SHA-256 is"):
        verify_model(FOURIER, image=saved_again)
    with pytest.raises(InputError, match=r"none\.jpg cannot be read: No such file"):
        verify_model(FOURIER, image=tmp_path / "none.jpg")


def test_a_photo_that_cannot_be_downloaded(models):
    models.photo.unlink()
    outcomes, checks = verify(FOURIER)
    assert outcomes["structure"] == "right"
    assert failed(checks) == ["results"]
    assert "as image= in Python, as --image" in checks["results"].detail
    assert not failed(verify("perceiver_io_language")[1])  # needs no photo


# Arguments


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("perceiver_io_imagenet_fourrier", {}, SpecError, f"Did you mean {FOURIER}?"),
        ("perceiver_io_digits", {}, SpecError, "its weights are in the package"),
        (FOURIER, {"weights": "none.pystate"}, WeightsError, "There is no weights file"),
        (FOURIER, {"weights": __file__}, WeightsError, "is not a copy of a published file"),
        (FOURIER, {"backends": ["theano"]}, BackendError, "There is no backend 'theano'"),
        (FOURIER, {"backends": "numpy"}, BackendError, "must be a list"),
        (FOURIER, {"batch_size": 0}, InputError, "batch_size must be at least 1"),
        (FOURIER, {"imagenet": "none"}, InputError, "There is no folder"),
    ],
)
def test_wrong_arguments_are_refused_before_a_download(
    models, cache, name, options, error, message
):
    with pytest.raises(error) as refusal:
        verify_model(name, **options)
    assert message in str(refusal.value)
    assert not cache.exists()


def test_a_device_that_is_not_there(models):
    _, checks = verify(FOURIER, device="cuda")
    assert failed(checks) == ["results on numpy"]
    assert 'runs on "cpu" only' in checks["results on numpy"].detail


def test_comparison():
    expected = np.array([1.0, 2.0])
    assert not compare("x", expected + 0.009, expected, 0.01).failed
    assert compare("x", expected - 0.011, expected, 0.01).failed
    assert compare("x", np.array([1, np.nan]), expected, 0.01).failed
    detail = compare("x", expected - [0, 0.011], expected, 0.01).detail
    assert detail == "largest difference 0.011, tolerance 0.01: got 1.9890, expected 2.0000"
    assert "got nan, expected 2" in compare("x", np.array([9, np.nan]), expected, 0.01).detail
