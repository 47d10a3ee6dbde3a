"""The examples inside other tools: PyTorch's DataLoader and loops, tf.data.

Settings that a framework reads once, when it starts, are made in a new process.
"""

import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import CHOSEN, ROOT, unset_backends

from ivy_models import create_model
from ivy_models.layers.parameters import flatten
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy


def needs(backend):
    return pytest.mark.skipif(backend not in CHOSEN, reason=f"{backend} was not chosen")


def run(script, *arguments):
    """Output of an example."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, ROOT / "examples" / script, *arguments],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def one_thread():
    """One thread, as in the examples. A second one would wait for busy cores at every operation."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    unset_backends()
    torch.set_num_threads(threads)


@needs("torch")
def test_dataloader(one_thread, tmp_path):
    from classify_with_dataloader import DataLoader, ImageFiles, count_right, write_digits

    model = create_model("perceiver_io_digits", pretrained=True)
    write_digits(tmp_path, model.labels)
    files = ImageFiles(tmp_path, model.labels, model.preprocessing)
    assert len(files) == 360
    files = pickle.loads(pickle.dumps(files))  # pickled, as for a worker that is not forked
    loader = DataLoader(files, batch_size=50, num_workers=2)
    assert count_right(model.to_torch_module(), loader) > 0.95 * 360
    images, _ = next(iter(loader))
    np.testing.assert_array_equal(images, model.preprocessing(files.paths[:50]))


@pytest.mark.slow
@needs("tensorflow")
def test_tf_data():
    printed = run("classify_with_tf_data.py")
    assert "batches: (None, 8, 8, 1)" in printed
    shares = re.findall(r"(\S+)% of 360 images right", printed)
    assert len(shares) == 2
    assert shares[0] == shares[1]
    assert float(shares[0]) > 95


@needs("torch")
def test_finetuning_in_a_plain_loop(one_thread, tmp_path):
    import torch
    from finetune_torch_module import accuracy, make_model, parity_split, train

    model = make_model(seed=1)
    images, labels, *held_out = parity_split(model)
    module = model.to_torch_module()
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    assert accuracy(module, *held_out) < 0.9  # 0.23 to 0.69 with 5 seeds
    train(module, module.decoder.head.parameters(), images, labels, 50, 1e-2)
    assert accuracy(module, *held_out) > 0.95  # 0.986 to 0.992
    changed = {
        name
        for name, weight in module.state_dict().items()
        if not torch.equal(weight, before[name])
    }
    assert changed == {"decoder.head.weight", "decoder.head.bias"}
    train(module, module.parameters(), images, labels, 30, 3e-4)
    assert not torch.equal(module.latents, before["latents"])

    model.with_weights(module.weights()).save_pretrained(tmp_path)
    ivy.set_backend("numpy")
    loaded = PerceiverIO.from_pretrained(tmp_path)
    assert loaded.labels == ("even", "odd")
    assert loaded.preprocessing == model.preprocessing
    with torch.inference_mode():
        logits = module(held_out[0]).numpy()
    np.testing.assert_allclose(loaded(held_out[0].numpy()).data, logits, atol=1e-3)
    right = logits[:, 0].argmax(-1) == held_out[1].numpy()
    assert right.mean() > 0.95  # 0.983 to 0.989 with 5 seeds


@needs("torch")
def test_finetuning_with_a_trainer(one_thread):
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")  # the Trainer's own requirement
    from finetune_with_trainer import accuracy, make_model, parity_split, train

    model = make_model(seed=1)
    images, labels, *held_out = parity_split(model)
    module = model.to_torch_module()
    assert accuracy(module, *held_out) < 0.9  # 0.23 to 0.69 with 5 seeds
    train(module, images, labels, steps=60, seed=0)
    assert accuracy(module, *held_out) > 0.95  # 0.975 to 0.989
    trained = dict(flatten(model.with_weights(module.weights()).v))
    assert any(
        not np.array_equal(trained[name].data, weight.data) for name, weight in flatten(model.v)
    )
