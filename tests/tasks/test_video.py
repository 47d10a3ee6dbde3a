"""Clips in, reconstructed clips and labels out."""

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import TINY
from helpers.arrays import assert_close, numpy_of
from helpers.models import multimodal_model, video_model
from helpers.specs import multimodal_data

from ivy_models import (
    classify,
    create_model,
    decode_in_chunks,
    perceiver_io_video,
    reconstruct_video,
)
from ivy_models.cli import main
from ivy_models.errors import InputError
from ivy_models.models.presets import PRESETS
from ivy_models.preprocessing import ClipPreprocessing, write_video

CASE = TINY / "video_autoencoding"


@pytest.fixture
def clip(rng):
    """Frames of another size than the model's, and a sound that is longer."""
    return rng.random((5, 20, 24, 3), dtype=np.float32), rng.uniform(-1, 1, 70).astype("f")


def test_a_clip_is_reconstructed(backend, clip, capsys):
    model = video_model()
    result = reconstruct_video(model, *clip, top=3, progress=True)
    assert result.frames.shape == (4, 16, 16, 3)
    assert result.sound.shape == (64, 1)
    assert "1.04k/1.04k" in capsys.readouterr().err  # 4 x 16 x 16 pixels, 16 patches, a label
    outputs = {name: numpy_of(x) for name, x in model(model.preprocessing(*clip)).items()}
    np.testing.assert_allclose(result.frames, np.clip(outputs["image"], 0, 1), atol=1e-5)
    np.testing.assert_allclose(result.sound, np.clip(outputs["audio"], -1, 1), atol=1e-5)
    logits = outputs["label"][0]
    probabilities = np.exp(logits) / np.exp(logits).sum()
    best = np.argsort(-probabilities)[:3]
    assert [p.label for p in result.predictions] == [f"class {i}" for i in best]
    assert [p.probability for p in result.predictions] == pytest.approx(
        probabilities[best].tolist(), rel=1e-4
    )


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("size", [25, 1000])
def test_chunks_give_the_same_as_one_call(backend, rng, batch, size):
    model, data = multimodal_model(), multimodal_data(rng, batch)
    expected = {name: numpy_of(x) for name, x in model(data).items()}
    assert_close(decode_in_chunks(model, model.encode(data), size), expected, 1e-5)


def test_the_published_model_has_the_labels_and_takes_clips():
    model = create_model(
        "perceiver_io_video", num_latents=3, latent_dim=16, num_lat_att_per_layer=1
    )
    assert model.labels == PRESETS["perceiver_io_video"].label_names()
    assert len(set(model.labels)) == 700
    assert model.preprocessing.video.size == (224, 224)
    assert model.preprocessing.sound.num_samples == 30720


def test_the_command_reconstructs_a_file_and_decodes_it_once(clip, tmp_path, monkeypatch):
    decoded, prepare = [], ClipPreprocessing.__call__
    monkeypatch.setattr(
        ClipPreprocessing, "__call__", lambda *args: decoded.append(args) or prepare(*args)
    )
    frames, sound = clip
    write_video(tmp_path / "clip.mp4", frames, np.resize(sound, 4800))
    video_model().save_pretrained(tmp_path / "model")
    paths = [str(tmp_path / name) for name in ("clip.mp4", "out.mp4")]
    options = ["--model", str(tmp_path / "model"), "--top", "2"]
    result = CliRunner().invoke(main, ["video", *paths, *options])
    assert result.exit_code == 0, result.output
    assert len(decoded) == 1
    assert "4 frames" in result.output
    assert result.output.count("%  class ") == 2
    again = video_model().preprocessing(paths[1])
    assert again["image"].shape == (4, 16, 16, 3)


def test_a_model_of_sound_alone_takes_no_clips():
    spec = PRESETS["perceiver_io_video"].spec
    sound = spec.replace(output_modalities=spec.output_modalities[:1], num_latents=3, latent_dim=16)
    assert perceiver_io_video(sound, pretrained=False).preprocessing is None


def test_unusable_clips_are_refused(clip, tmp_path):
    model, (frames, sound) = video_model(), clip
    with pytest.raises(InputError, match="Pass sound"):
        reconstruct_video(model, frames)
    with pytest.raises(InputError, match="has 3 frames"):
        reconstruct_video(model, frames[:3], sound)
    with pytest.raises(InputError, match="top must be at least 1"):
        reconstruct_video(model, *clip, top=0)
    with pytest.raises(InputError, match="is not an autoencoder of video"):
        reconstruct_video(create_model("perceiver_io_digits"), *clip)
    with pytest.raises(InputError, match="no output_modalities"):
        decode_in_chunks(create_model("perceiver_io_digits"), np.zeros((16, 64), np.float32))
    with pytest.raises(InputError, match="size must be at least 1"):
        decode_in_chunks(model, np.zeros((6, 16), np.float32), 0)
    with pytest.raises(InputError, match="reconstruct_video"):
        classify(model, frames)
    result = CliRunner().invoke(main, ["video", "a.mp4", str(tmp_path / "none" / "b.mp4")])
    assert result.exit_code == 2
    result = CliRunner().invoke(main, ["video", "a.mp4", "b.mp4", "--model", "perceiver_io_digits"])
    assert "is not an autoencoder of video" in result.output
