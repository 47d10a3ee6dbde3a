"""The training examples learn in a few steps, and the trained model can be called."""

import numpy as np
import pytest
from helpers import unset_backends

torch = pytest.importorskip("torch")

import train_field  # noqa: E402
import train_flow  # noqa: E402
import train_forecast  # noqa: E402
import train_language  # noqa: E402
import train_resampler  # noqa: E402
import train_video  # noqa: E402

from ivy_models import (  # noqa: E402
    estimate_flow,
    perceiver_io_language,
    perceiver_io_optical_flow,
)
from ivy_models.arrays import unwrap_tree  # noqa: E402
from ivy_models.training.losses import end_point_error  # noqa: E402
import ivy  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    """One thread, as in the examples. A second one would wait for busy cores at every operation."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ivy.set_backend("torch")
    yield
    unset_backends()
    torch.set_num_threads(threads)


def test_language(rng):
    sentences = train_language.make_sentences(rng)
    assert len(set(sentences)) == len(sentences) == 16 * 4 * 4 * 6
    model = perceiver_io_language(train_language.SPEC, pretrained=False)
    losses = train_language.train(model, sentences[100:], 60, rng)
    assert losses[0] > 5  # 5.55 to 5.63; ln(262) = 5.57 is the loss of uniform predictions
    assert np.mean(losses[-5:]) < 3.2  # 2.77 to 2.93 with 5 seeds
    assert 0 <= train_language.share_right(model, sentences[:3]) <= 1


def test_a_part_of_each_sentence_is_masked(rng):
    sentences = train_language.make_sentences(rng)[:200]
    tokenizer = perceiver_io_language(train_language.SPEC, pretrained=False).tokenizer
    tokens, mask, masked = train_language.masked_batch(tokenizer, sentences, rng)
    assert not (masked & ~mask).any()
    chosen = set()
    for row, where, parts in zip(tokens, masked, sentences, strict=True):
        part = tokenizer.decode(row[where].numpy())
        chosen.add(parts.index(part))
    assert chosen == set(range(5))


def test_flow(rng, monkeypatch):
    frames, flow = train_flow.moving_pairs(rng, 16)
    # The same pairs at every step, because new ones would need ten times as many steps.
    monkeypatch.setattr(train_flow, "moving_pairs", lambda *_: (frames, flow))
    model = perceiver_io_optical_flow(train_flow.SPEC, pretrained=False)
    losses = train_flow.train(model, 100, rng)
    still = end_point_error(torch.zeros_like(flow), flow)
    assert losses[0] > still
    assert end_point_error(model(frames).data, flow) < 0.5 * still  # 0.02 to 0.04 with 5 seeds
    first, second = (frames[0].numpy() + 1) / 2
    estimated = estimate_flow(model, first, second)
    np.testing.assert_allclose(estimated, model(frames[0]).data, atol=1e-5)


def test_textures_move_as_the_flow_says(rng):
    frames, flow = train_flow.moving_pairs(rng, 20)
    assert frames.shape == (20, 2, 16, 16, 3)
    assert frames.abs().max() <= 1
    # Where a texture moves by u, brightness changes by about -u times its gradient.
    change = (frames[:, 1] - frames[:, 0])[:, 1:-1, 1:-1]
    mean = frames.mean(1)
    down = (mean[:, 2:, 1:-1] - mean[:, :-2, 1:-1]) / 2
    right = (mean[:, 1:-1, 2:] - mean[:, 1:-1, :-2]) / 2
    u = flow[:, 1:-1, 1:-1, :, None]
    expected = -(u[..., 0, :] * right + u[..., 1, :] * down)
    assert np.corrcoef(change.flatten(), expected.flatten())[0, 1] > 0.8


def test_a_mapped_field_beats_the_nearest_measured_point():
    model = train_field.train(train_field.PerceiverIO(train_field.SPEC), steps=300, seed=0)
    ours, nearest = train_field.errors(model, seed=0)
    assert ours < 0.7 * nearest
    assert len(train_field.draw(model, seed=0).splitlines()) == 24


@pytest.mark.slow
def test_a_forecast_beats_repeating_yesterday():
    model = train_forecast.PerceiverIO(train_forecast.SPEC)
    days = train_forecast.make_days(100, np.random.default_rng(1))
    yesterday = (days["hours"][:, -24:, :1] - days["demand"]).abs().mean().item()
    train_forecast.train(model, steps=450, seed=0)
    error, right = train_forecast.evaluate(model, days, facts=True)
    assert error < 0.7 * yesterday  # at most 0.45 with 2 seeds
    assert right > 0.8
    without_table, _ = train_forecast.evaluate(model, days, facts=False)
    assert error < 0.9 * without_table  # at most 0.67 of it with 2 seeds; after 300 steps 0.88


def test_a_resampler_reads_digits_from_some_patches():
    model = train_resampler.train(steps=200, seed=0)
    from_all, from_half = train_resampler.accuracy(model, seed=0)
    assert from_all > 0.5  # 0.74 to 0.86 with 3 seeds; by chance 0.1
    assert from_half > 0.35  # 0.59 to 0.67


@pytest.mark.slow
def test_an_autoencoder_of_video_learns():
    model = train_video.perceiver_io_video(train_video.SPEC, pretrained=False)
    clips = train_video.make_clips(50, np.random.default_rng(1))

    def loss():
        generator = torch.Generator().manual_seed(1)
        return train_video.loss_of(model.core, unwrap_tree(model.v), clips, generator).item()

    before = loss()
    train_video.train(model, steps=100, seed=0)
    assert loss() < 0.7 * before  # 0.20 to 0.30 with 3 seeds
    clip = train_video.reconstruct_video(model, clips["image"][0], clips["audio"][0])
    assert np.abs(clip.frames - clips["image"][0].numpy()).mean() < 0.2  # 0.08 to 0.10
