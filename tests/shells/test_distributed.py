"""The examples on many devices: N processes or devices train like one, and no file is lost.

Each test runs in its own processes, which end with it.
"""

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pandas
import pytest
from helpers import CHOSEN, ROOT
from helpers.processes import LIMIT

from ivy_models import classify, create_model
from ivy_models.layers.parameters import flatten
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore


def needs(backend):
    return pytest.mark.skipif(backend not in CHOSEN, reason=f"{backend} was not chosen")


def run(*arguments, **environment):
    """Output of Python. If it hangs, the processes that it started are killed too."""
    paths = [str(ROOT), str(ROOT / "examples"), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, errors
    return printed


@pytest.fixture(scope="module")
def plain():
    """Losses of ten steps on the digits and the final weights, by a plain loop in torch."""
    import torch
    from digits import digits_split
    from torch.nn.functional import cross_entropy

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = create_model("perceiver_io_digits", seed=0)
    images, classes, *_ = digits_split()
    images, classes = torch.from_numpy(model.preprocessing(list(images))), torch.tensor(classes)
    module, losses = model.to_torch_module().train(), []
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3, eps=1e-6)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        batch = torch.randint(len(images), (64,), generator=generator)
        loss = cross_entropy(module(images[batch])[:, 0], classes[batch])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    torch.set_num_threads(threads)
    return losses, dict(flatten(model.with_weights(module.weights()).v))


@pytest.mark.slow
@needs("torch")
@pytest.mark.parametrize(("strategy", "kept"), [("ddp", 100), ("fsdp", 50)])
def test_two_processes_of_torch(strategy, kept, plain, tmp_path):
    script = ROOT / "examples" / "train_torch_distributed.py"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    named = ("--strategy", strategy, "--steps", 10, "--output", tmp_path)
    printed = run(*launcher, script, *named)
    losses = [float(loss) for loss in re.findall(r"^step \d+: loss (\S+)$", printed, re.M)]
    expected_losses, expected = plain
    np.testing.assert_allclose(losses, expected_losses, atol=5e-6, rtol=0)
    assert float(re.search(r"state in a process: (\S+)%", printed)[1]) == pytest.approx(kept, abs=1)
    trained = dict(flatten(PerceiverIO.from_pretrained(tmp_path).v))
    for name, weight in expected.items():
        np.testing.assert_allclose(trained[name].data, weight.data, atol=2e-5, err_msg=name)


BLOCKS = """
import sys
import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard
from ivy_models import create_model

module = create_model("perceiver_io_digits", seed=0).to_torch_module().train()
images = torch.rand(8, 8, 8, 1, generator=torch.Generator().manual_seed(0))
classes = torch.arange(8)
distributed.init_process_group("gloo")
rank, size = distributed.get_rank(), distributed.get_world_size()
images, classes = images.chunk(size)[rank], classes.chunk(size)[rank]
if "blocks" in sys.argv:
    blocks = module.processor.layer_0
    for block in blocks.children():
        fully_shard(block)
    fully_shard(module)
    assert type(blocks.self_attention_0.mlp.hidden.weight).__name__ == "DTensor"
optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
for step in range(4):
    loss = torch.nn.functional.cross_entropy(module(images)[:, 0], classes)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    loss = loss.detach()
    distributed.all_reduce(loss)
    if rank == 0:
        print(f"loss {loss.item() / size:.7f}")
distributed.destroy_process_group()
"""


@pytest.mark.slow
@needs("torch")
def test_blocks_that_two_processes_of_torch_share(tmp_path):
    script = tmp_path / "blocks.py"
    script.write_text(BLOCKS)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
    alone, shared = (
        np.array(re.findall(r"^loss (\S+)$", run(*launcher, *named), re.M), np.float64)
        for named in ((1, script), (2, script, "blocks"))
    )
    assert len(set(alone)) == 4
    np.testing.assert_allclose(shared, alone, atol=5e-6, rtol=0)


SHARDED = """
import sys
import jax
import numpy as np
import train_jax_sharded as example
from ivy_models.layers.parameters import flatten
from ivy_models.models.presets import PRESETS

runs, train = [], example.train
example.train = lambda *given, **named: runs.append(train(*given, **named)) or runs[-1]
sys.argv[1:] = ["--mesh", "4", "2", "--steps", "10"]
example.main()
(params, state, losses), (expected, _, expected_losses) = runs
np.testing.assert_allclose(losses, expected_losses, atol=5e-6, rtol=0)
expected = dict(flatten(expected))
for name, weight in flatten(params):
    np.testing.assert_allclose(weight, expected[name], atol=2e-5, err_msg=name)
(mean,) = (part.mu for part in jax.tree.leaves(state, is_leaf=lambda x: hasattr(x, "mu"))
           if hasattr(part, "mu"))
for tree in params, mean:
    layer = tree["processor"]["layer_0"]["self_attention_1"]
    hidden, output = layer["mlp"]["hidden"], layer["attention"]["output"]
    shapes = [part.addressable_shards[0].data.shape
              for part in (hidden["weight"], hidden["bias"], output["weight"], output["bias"])]
    assert shapes == [(64, 32), (32,), (32, 64), (64,)], shapes
    assert tree["latents"].sharding.is_fully_replicated
"""


@pytest.mark.slow
@needs("jax")
def test_a_mesh_of_jax():
    printed = run("-c", SHARDED)
    assert printed.startswith("8 devices: loss from")
    # Each of two devices has half of the processor's two layers and of the two other MLPs.
    model = create_model("perceiver_io_digits")
    divided = 2 * (6 * 64 * 64 + 4 * 64) + 2 * (2 * 64 * 64 + 64)
    share = f"{1 - divided / 2 / model.num_parameters:.0%}"
    assert f"weights on a device: {share}\n" in printed
    assert f"optimizer's state on a device: {share}\n" in printed


@needs("jax")
def test_the_published_models_can_be_sharded():
    import jax
    from train_jax_sharded import sharding_of

    mesh = jax.sharding.AbstractMesh((8, 8), ("data", "model"))
    for name in ("perceiver_io_imagenet_fourier", "perceiver_io_language"):
        spec = PRESETS[name].spec
        for name, part in flatten(PerceiverIOCore(spec).parameters()):
            sharding_of(name, part.shape, mesh).shard_shape(part.shape)  # or an error


MIRRORED = """
import sys
import numpy as np
import train_keras_mirrored as example
from ivy_models.layers.parameters import flatten
from ivy_models.models.presets import PRESETS

runs, train = [], example.train
example.train = lambda *given, **named: runs.append(train(*given, **named)) or runs[-1]
sys.argv[1:] = ["--devices", "2", "--epochs", "1"]
example.main()
(trained, losses), (expected, expected_losses) = runs
assert len(trained.weights[0].value.values) == 2  # a copy on each device
np.testing.assert_allclose(losses, expected_losses, atol=5e-6, rtol=0)
for variable, other in zip(trained.weights, expected.weights, strict=True):
    np.testing.assert_allclose(variable, other, atol=2e-5, err_msg=variable.path)
"""


@pytest.mark.slow
@needs("tensorflow")
def test_mirrored_devices_of_keras():
    printed = run("-c", MIRRORED)
    assert "2 devices: loss from" in printed


MORTAL = """
import os
import signal
import sys
import predict_with_ray as example

folder, model, output, marker = sys.argv[1:]

class Mortal(example.Predictor):
    labelled = 0

    def __call__(self, batch):
        rows = super().__call__(batch)
        if self.labelled:  # the first batch is done, the second never arrives
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        self.labelled += 1
        return rows

example.Predictor = Mortal
sys.argv[1:] = [folder, "--model", model, "--output", output]
example.main()
"""


@pytest.mark.slow
@needs("torch")
def test_ray_survives_a_killed_worker(tmp_path):
    from digits import write_digits

    model = create_model("perceiver_io_digits", pretrained=True)
    model.save_pretrained(tmp_path / "model")
    write_digits(tmp_path / "images", model.labels)
    broken = tmp_path / "images" / "broken.png"
    broken.write_text("no image")
    paths = [str(path) for path in (tmp_path / "images").rglob("*.png") if path != broken]
    output, marker = tmp_path / "labels", tmp_path / "killed"
    with tempfile.TemporaryDirectory() as folder:  # sockets need a short path
        named = {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
        named["RAY_AUTH_TOKEN"] = secrets.token_hex(
            32
        )  # otherwise Ray writes one to the home folder
        run("-c", MORTAL, tmp_path / "images", tmp_path / "model", output, marker, **named)
    assert marker.exists()
    rows = pandas.read_parquet(output)
    assert sorted(rows.path) == sorted([*paths, str(broken)])
    found = rows.set_index("path")
    assert "broken.png is not an image" in found.error[str(broken)]
    assert found.label[paths].tolist() == [best[0].label for best in classify(model, paths, top=1)]
    assert (found.error[paths] == "").all()
