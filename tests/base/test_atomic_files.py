"""A full disk, Ctrl-C or a kill at any moment of writing leaves either the old or the new files."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from helpers.arrays import same_weights
from helpers.specs import small_spec
from PIL import Image

from ivy_models.base.atomic_files import remove_incomplete, replaced
from ivy_models.errors import WeightsError
from ivy_models.models import factories
from ivy_models.models.presets import PRESETS
from ivy_models.tasks.flow import read_flo, write_flo
from ivy_models.transformers.perceiver_io import PerceiverIO

FULL = OSError(errno.ENOSPC, "No space left on device")

SPECS = {
    "native": small_spec(),
    "huggingface": PRESETS["perceiver_io_imagenet_fourier"].spec.replace(
        num_latents=3, latent_dim=16, queries_dim=16, num_lat_att_per_layer=1, exact_gelu=True
    ),
}


@pytest.fixture(params=SPECS)
def models(request, tmp_path):
    """A saved model, the model to replace it, the folder and its layout."""
    spec, folder = SPECS[request.param], tmp_path / "model"
    old, new = PerceiverIO(spec), PerceiverIO(spec.replace(attn_dropout=0.25), seed=1)
    old.save_pretrained(folder, request.param)
    return old, new, folder, request.param


def content(folder, old, new):
    """Which of two models a folder holds, or "refused" if neither."""
    try:
        read = PerceiverIO.from_pretrained(folder)
    except WeightsError:
        return "refused"
    (name,) = (
        name
        for name, model in (("old", old), ("new", new))
        if read.spec == model.spec and same_weights(read, model)
    )
    return name


def at_every_step(monkeypatch, before):
    """Call ``before()`` before a file gets its name, and when it is half written."""
    replace, write_bytes = os.replace, Path.write_bytes

    def replace_later(*paths):
        before()
        return replace(*paths)

    def write_by_halves(path, data):
        write_bytes(path, data[: len(data) // 2])
        before()
        return write_bytes(path, data)

    monkeypatch.setattr(os, "replace", replace_later)
    monkeypatch.setattr(Path, "write_bytes", write_by_halves)


def test_a_kill_at_any_moment(models, monkeypatch, tmp_path):
    old, new, folder, layout = models
    moments = []

    def remember():
        moments.append(tmp_path / f"moment {len(moments)}")
        shutil.copytree(folder, moments[-1])

    with monkeypatch.context() as patch:
        at_every_step(patch, remember)
        new.save_pretrained(folder, layout)
    found = [content(moment, old, new) for moment in [*moments, folder]]
    assert len(found) > 4
    assert found == sorted(found, key=["old", "refused", "new"].index)
    assert (found[0], found[-1]) == ("old", "new")
    new.save_pretrained(folder, layout)  # beside the remains of a killed process
    assert content(folder, old, new) == "new"
    killed = next(moment for moment in moments if any(moment.glob(".writing-*")))
    remove_incomplete(killed)
    assert not list(killed.glob(".*"))


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full", "Ctrl-C"])
def test_an_error_at_any_moment(models, monkeypatch, error):
    old, new, folder, layout = models
    found = []
    while "new" not in found:
        steps = iter(range(len(found) + 1))

        def fail(steps=steps):
            if next(steps, None) == len(found):
                raise error

        with monkeypatch.context() as patch:
            at_every_step(patch, fail)
            with suppress(WeightsError, KeyboardInterrupt):
                new.save_pretrained(folder, layout)
        names = {path.name for path in folder.iterdir()}
        assert names <= {"config.json", "model.safetensors"}
        found.append(content(folder, old, new))
        if found[-1] == "refused":  # a mixture of two models, which the next save replaces
            old.save_pretrained(folder, layout)
    assert len(found) > 4
    assert found[:3] == ["old"] * 3


def write_half(path, error):
    with replaced(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise error


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full", "Ctrl-C"])
def test_a_file_is_replaced_whole(tmp_path, error):
    path = tmp_path / "file"
    for before in (None, b"old"):
        with pytest.raises(type(error)) as raised:
            write_half(path, error)
        if error is FULL:
            assert raised.value.filename == str(path)
            assert raised.value.errno == errno.ENOSPC
        assert [p.name for p in tmp_path.iterdir()] == ["file"] * (before is not None)
        path.write_bytes(b"old")
    with replaced(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["flow.flo", "flow.png"])
def test_flow_files_are_written_whole(run, monkeypatch, tmp_path, name):
    field, output = np.ones((4, 6, 2), np.float32), tmp_path / name
    write_flo(tmp_path / "old.flo", field)
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "frame.png")
    monkeypatch.setattr("ivy_models.tasks.flow.estimate_flow", lambda *_, **__: field)
    monkeypatch.setattr(factories, "create_model", lambda *_, **__: None)
    frame = str(tmp_path / "frame.png")
    output.write_bytes(b"old")
    before = set(tmp_path.iterdir())
    with monkeypatch.context() as patch:

        def fail(*_, **__):
            raise FULL

        patch.setattr(Path, "write_bytes", fail)
        patch.setattr(Image.Image, "save", fail)
        result = run("flow", frame, frame, str(output))
    assert result.exit_code == 1
    assert result.stderr == f"Error: {output}: No space left on device.\n"
    assert set(tmp_path.iterdir()) == before
    assert output.read_bytes() == b"old"
    assert run("flow", frame, frame, str(output)).exit_code == 0
    assert set(tmp_path.iterdir()) == before
    if name == "flow.flo":
        np.testing.assert_array_equal(read_flo(output), field)
