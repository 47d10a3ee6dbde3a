"""Training in the processes of torchrun makes the steps of one process."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.processes import python
from helpers.training import DATA, SETTINGS, SPEC
from PIL import Image

from ivy_models.errors import InputError, SpecError
from ivy_models.layers.parameters import flatten
from ivy_models.training.loop import fit
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

pytestmark = pytest.mark.skipif("torch" not in CHOSEN, reason="trains on torch")

SCRIPT = """
import os
import signal
from dataclasses import replace
from pathlib import Path
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from helpers.training import DATA, SETTINGS, SPEC, break_off
from ivy_models.cli import main
from ivy_models.training import writing
from ivy_models.training.loop import fit
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy


def kill_the_second():
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)


def work():
    data = DATA
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        fit(PerceiverIO(SPEC), DATA, SETTINGS, "shared")
        data = break_off(kill_the_second, 9)
    writing.CHECKPOINT_SECONDS = 0.0
    fitted = fit(PerceiverIO(SPEC), data, replace(SETTINGS, shard=True), "sharded", resume=True)
    fitted.model.save_pretrained(Path("sharded", os.environ["RANK"]))
    main(COMMAND, prog_name="ivy-models", standalone_mode=False)

ivy.set_backend("torch")
# What torchrun --standalone --nproc-per-node 2 --max-restarts 1 does, in forks of this process.
one_machine = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "start_method": "fork"}
elastic_launch(LaunchConfig(1, 1, 2, max_restarts=1, **one_machine), work)()
"""


def columns(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows if row[name]]) for name in rows[0]}


def assert_same_run(got, expected):
    got, expected = columns(got), columns(expected)
    assert got.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-4, err_msg=name)


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for i in range(20):
        (tmp_path / "photos" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 128, (8, 8), np.uint8) + 128 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(f"photos/{'ab'[i % 2]}/{i}.png")
    options = ["train", "photos", "--model", "tiny", "--epochs", "2", "--batch-size", "8"]
    # Each process augments its share with random numbers of its own.
    options += ["--no-augment", "--backend", "torch", "--output"]
    said = python(SCRIPT.replace("COMMAND", str([*options, "command"])), get="stderr")

    assert run(*options, "alone").exit_code == 0
    assert_same_run(tmp_path / "command", tmp_path / "alone")
    assert (tmp_path / "command" / "report" / "metrics.json").exists()
    for once in ("Data: photos", "Best epoch:", "ivy-models predict command"):
        assert said.count(once) == 1

    ivy.set_backend("torch")
    expected = fit(PerceiverIO(SPEC), DATA, SETTINGS, tmp_path / "own").model
    assert_same_run(tmp_path / "shared", tmp_path / "own")
    assert_same_run(tmp_path / "sharded", tmp_path / "own")  # killed: no step lost, none doubled
    first, second = (PerceiverIO.from_pretrained(tmp_path / "sharded" / rank) for rank in "01")
    for (name, weight), (_, other) in zip(flatten(first.v), flatten(second.v), strict=True):
        np.testing.assert_array_equal(ivy.to_numpy(weight), ivy.to_numpy(other), err_msg=name)
    arguments = DATA.validation.data, DATA.validation.mask
    got, output = (ivy.to_numpy(model(*arguments)) for model in (first, expected))
    np.testing.assert_allclose(got, output, atol=1e-4)


def test_what_torchrun_cannot_use_is_refused(run, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from ivy_models.training.trainers.torch_processes import Processes

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(InputError, match="a GPU of its own, so device='cuda:1' cannot be chosen"):
        Processes(torch.device("cuda", 1), "cuda:1")
    result = run("train", "photos", "--output", str(tmp_path / "new"), "--backend", "jax")
    assert result.exit_code == 2
    assert "torchrun works with --backend torch, not with jax." in result.stderr


def test_one_process_cannot_divide_the_weights(run, tmp_path):
    with pytest.raises(InputError, match="among the processes of torchrun, but only one runs"):
        fit(PerceiverIO(SPEC), DATA, replace(SETTINGS, shard=True), tmp_path / "new")
    with pytest.raises(SpecError, match='shard=True needs backend="torch", got .jax'):
        replace(SETTINGS, shard=True, backend="jax")
    result = run("train", "photos", "--output", str(tmp_path / "new"), "--shard")
    assert result.exit_code == 2
    assert "torchrun --nproc-per-node 2 -m ivy_models train" in result.stderr
    assert not (tmp_path / "new").exists()
