"""The examples that train models of several modalities learn."""

import ivy
import numpy as np
import pytest
from conftest import CHOSEN, unset_backends

from ivy_models.arrays import unwrap_tree

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif("torch" not in CHOSEN, reason="the examples train with torch")


@pytest.fixture(autouse=True)
def _on_torch():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ivy.set_backend("torch")
    yield
    unset_backends()
    torch.set_num_threads(threads)


def test_a_forecast_beats_repeating_yesterday():
    import train_forecast as example

    model = example.PerceiverIO(example.SPEC)
    days = example.make_days(100, np.random.default_rng(1))
    yesterday = (days["hours"][:, -24:, :1] - days["demand"]).abs().mean().item()
    example.train(model, steps=300, seed=0)
    error, right = example.evaluate(model, days, facts=True)
    assert error < 0.7 * yesterday
    assert right > 0.8
    assert error < 0.9 * example.evaluate(model, days, facts=False)[0]


def test_an_autoencoder_of_video_learns():
    import train_video as example

    model = example.perceiver_io_video(example.SPEC, pretrained=False)
    clips = example.make_clips(50, np.random.default_rng(1))

    def loss():
        generator = torch.Generator().manual_seed(1)
        return example.loss_of(model.core, unwrap_tree(model.v), clips, generator).item()

    before = loss()
    example.train(model, steps=100, seed=0)
    assert loss() < 0.7 * before
    clip = example.reconstruct_video(model, clips["image"][0], clips["audio"][0])
    assert np.abs(clip.frames - clips["image"][0].numpy()).mean() < 0.2
