"""Malicious files are read or refused in bounded memory and time, and nothing is executed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, TINY, hostile
from helpers.processes import LIMIT, ONE_HEAP
from helpers.specs import small_spec
from safetensors.numpy import save_file
from verify_reference import tiny_spec

from ivy_models.base.cache import CACHE_VARIABLE
from ivy_models.checkpoints.files import MAX_BYTES_VARIABLE
from ivy_models.checkpoints.folder import read_safetensors
from ivy_models.checkpoints.pickles import machine as pickle_machine
from ivy_models.checkpoints.pickles.torch_file import read_torch
from ivy_models.checkpoints.pickles.unpickle import unpickle
from ivy_models.checkpoints.shards import read_shards
from ivy_models.errors import WeightsError
from ivy_models.layers.parameters import flatten
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore, initialise

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bounds memory as Linux does")

CANARY = "canary"
"""Commands in the files would create a file of this name in the working folder."""

VALID = json.loads(small_spec(max_fourier_freq=(7.0, 7.0)).to_json())

CORPUS = {
    "pickles": hostile.pickles(CANARY),
    "torch": hostile.torch_files(CANARY),
    "safetensors": hostile.safetensors_files(CANARY),
    "configs": {f"{name}/config.json": c for name, c in hostile.configs(VALID).items()},
    "images": hostile.images(CANARY),
}
FILES = [f"{kind}/{name}" for kind, files in CORPUS.items() for name in files]


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)


def read_all(folder, files):
    """Read files in one process; return the outcome and the message of each."""
    cwd = folder.parent / "elsewhere"
    cwd.mkdir()
    before = all_in(folder)
    run = subprocess.run(
        [sys.executable, hostile.__file__, folder],
        input="".join(f"{folder / file}\n" for file in files),
        cwd=cwd,
        env={
            "PYTHONPATH": f"{ROOT}",
            "PATH": "/usr/bin:/bin",
            CACHE_VARIABLE: str(folder.parent / "cache"),
            **ONE_HEAP,
        },
        capture_output=True,
        text=True,
        timeout=LIMIT + hostile.TIME * len(files),
        check=False,
    )
    lines = map(json.loads, run.stdout.splitlines())
    results = {str(Path(line[0]).relative_to(folder)): line[1:] for line in lines}
    assert len(results) == len(files), f"after {len(results)} files: {run.stderr[-2000:]}"
    assert all_in(folder) == before
    assert list(cwd.iterdir()) == []
    return results


def all_in(folder):
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "within"
    for kind, files in CORPUS.items():
        for name, content in files.items():
            put(folder / kind / name, content)
            if kind == "configs":
                weights = initialise(PerceiverIOCore(small_spec()).parameters())
                save_file(
                    dict(flatten(weights)), (folder / kind / name).parent / "model.safetensors"
                )
    return read_all(folder, FILES)


@pytest.mark.parametrize("file", FILES)
def test_a_malicious_file(results, file):
    outcome, message = results[file]
    is_to_be_read = hostile.READ in file
    assert outcome == ("read" if is_to_be_read else "refused"), message
    if not is_to_be_read:
        # A folder's error names the config or the folder.
        assert file.removesuffix("/config.json") in message
        assert len(message) < 2000
        assert message.replace("\n", "").isprintable()


def test_damaged_files_are_read_or_refused(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("damaged") / "within"
    spec = small_spec(max_fourier_freq=(7.0, 7.0))
    weights = dict(flatten(initialise(PerceiverIOCore(spec).parameters())))
    case = TINY / "imagenet_fourier"
    haiku = tiny_spec(json.loads((case / "config.json").read_text()))
    put(tmp_path / "whole/.safetensors/config.json", spec.to_json().encode())
    put(tmp_path / "whole/.pystate/config.json", haiku.to_json().encode())
    save_file(weights, tmp_path / "model.safetensors")
    digits = ROOT / "ivy_models" / "data" / "perceiver_io_digits"
    whole = {
        ".safetensors": (tmp_path / "model.safetensors").read_bytes(),
        ".pystate": (case / "checkpoint.pystate").read_bytes(),
        "/config.json": (digits / "config.json").read_bytes(),
    }
    files = []
    for ending, data in whole.items():
        for number, (_, damaged) in enumerate(hostile.damaged(data)):
            files.append(f"damaged/{number}{ending}")
            put(tmp_path / files[-1], damaged)
            if ending == "/config.json":
                model = (tmp_path / files[-1]).parent / "model.safetensors"
                model.symlink_to(digits / "model.safetensors")
    results = read_all(tmp_path, files)
    assert {outcome for outcome, _ in results.values()} == {"read", "refused"}
    for file, (outcome, message) in results.items():
        if outcome == "refused":
            assert file.removesuffix("/config.json") in message


def test_a_larger_file_can_be_allowed(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    put(path, hostile.safetensors({"a": hostile.entry([2])}))
    size = path.stat().st_size
    for other, read in (("a.pystate", unpickle), ("a.bin", read_torch), (path, read_safetensors)):
        put(tmp_path / other, path.read_bytes())
        monkeypatch.setenv(MAX_BYTES_VARIABLE, str(size - 1))
        with pytest.raises(WeightsError, match=f"If you trust it, set {MAX_BYTES_VARIABLE}={size}"):
            read(tmp_path / other)
    monkeypatch.setenv(MAX_BYTES_VARIABLE, str(size))
    assert read_safetensors(path).keys() == {"a"}
    monkeypatch.setenv(MAX_BYTES_VARIABLE, "1 GB")
    with pytest.raises(WeightsError, match="a whole number of bytes, got '1 GB'"):
        read_safetensors(path)


def test_the_limit_holds_for_all_shards_together(tmp_path, monkeypatch):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}')
    for name in "ab":
        put(tmp_path / f"{name}.safetensors", hostile.safetensors({name: hostile.entry([2])}))
    size = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    monkeypatch.setenv(MAX_BYTES_VARIABLE, str(size))
    assert read_shards(index, read_safetensors).keys() == {"a", "b"}
    monkeypatch.setenv(MAX_BYTES_VARIABLE, str(size - 1))
    with pytest.raises(WeightsError, match="including the shards before it"):
        read_shards(index, read_safetensors)


def test_more_names_can_be_allowed(tmp_path, monkeypatch):
    path = tmp_path / "weights.pystate"
    put(path, b"\x80\x02" + hostile.many(5, hostile.array(b"K\x00\x85", b"C\x00")) + b".")
    names = unpickle(path)
    assert len(names) == 5
    monkeypatch.setattr(pickle_machine, "MAX_OPCODES", 4)
    with pytest.raises(WeightsError, match="more than 4 opcodes"):
        unpickle(path)


def test_no_published_model_is_near_the_limits():
    for preset in PRESETS.values():
        assert preset.spec.network_depth * preset.spec.num_lat_att_per_layer < 100


def test_writing_to_a_link_replaces_the_link(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    put(outside, b"not to be touched")
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).symlink_to(outside)
    PerceiverIO(small_spec()).save_pretrained(folder)
    assert outside.read_bytes() == b"not to be touched"
    assert PerceiverIO.from_pretrained(folder).spec == small_spec()
