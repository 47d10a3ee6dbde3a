"""Contents of the drawings, and the gallery's pictures."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import CHOSEN, ROOT, unset_backends
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ivy_models import (
    Prediction,
    Reconstruction,
    attention_maps,
    attention_rollout,
    classify,
    draw_attention,
    draw_flow,
    draw_flow_arrows,
    draw_latents,
    draw_predictions,
    draw_reconstruction,
    latents_over_depth,
)
from ivy_models.errors import InputError
from ivy_models.interpret.drawing import BLUE, ORANGE
from ivy_models.ops import ops_named

GALLERY = ROOT / "docs" / "gallery"


def pictures(axes):
    """The arrays of the images in an Axes, the lowest first."""
    return [np.asarray(image.get_array()) for image in axes.get_images()]


# Attention


def test_maps_over_an_image(rng):
    weights, image = rng.random((10, 4, 3)), rng.random((8, 6, 3), np.float32)
    weights[3, 2, 1] = 2  # the strongest of all maps
    titles = [f"latent {i}" for i in range(10)]
    figure = draw_attention(weights, image, titles)
    *axes, scale = figure.axes
    assert [place.get_title() for place in axes] == titles
    for place, drawn in zip(axes, weights, strict=True):
        below, heat = place.get_images()
        np.testing.assert_array_equal(below.get_array(), image)
        np.testing.assert_array_equal(heat.get_array(), drawn)
        # Each weight is drawn over its pixels; the weakest leave the image visible.
        assert below.get_extent() == heat.get_extent() == [0, 6, 8, 0]
        assert heat.get_clim() == (0, 2)
        assert np.argmin(heat.get_alpha()) == np.argmin(drawn)
    assert scale.get_ylabel() == "attention weight"


@pytest.mark.parametrize("name", CHOSEN)
def test_arrays_of_any_framework(rng, name):
    weights = rng.random((4, 3), np.float32)
    (place, _) = draw_attention(ops_named(name).asarray(weights)).axes
    np.testing.assert_array_equal(pictures(place), [weights])


def test_an_image_for_each_map_on_given_axes(rng):
    weights, images = rng.random((4, 2, 2)), [np.full((2, 2), i, np.uint8) for i in range(4)]
    figure = Figure()
    axes = figure.subplots(2, 2)
    assert draw_attention(weights, images, axes=axes) is figure
    for place, image in zip(axes.flat, images, strict=True):
        np.testing.assert_allclose(pictures(place)[0], image[0, 0] / 255, atol=1e-7)


def test_maps_that_do_not_fit_are_refused(rng):
    weights = rng.random((3, 4, 4))
    with pytest.raises(InputError, match=r"weights have shape \(1, 3, 4, 4\)"):
        draw_attention(weights[None])
    with pytest.raises(InputError, match="3 maps, got 2 titles"):
        draw_attention(weights, titles=["a", "b"])
    with pytest.raises(InputError, match="3 maps; got 1 images"):
        draw_attention(weights, [np.zeros((4, 4), np.uint8)])
    with pytest.raises(InputError, match="3 drawings, got 2"):
        draw_attention(weights, axes=Figure().subplots(1, 2))
    with pytest.raises(InputError, match="image has shape"):
        draw_attention(weights, np.zeros((4, 4, 2), np.uint8))


# Predictions


def test_bars_are_probabilities():
    predictions = [Prediction("a cat", 0.7), Prediction("a dog", 0.25), Prediction("a cow", 0.05)]
    (place,) = draw_predictions(predictions).axes
    bars = place.patches
    assert [bar.get_width() for bar in bars] == [0.7, 0.25, 0.05]
    assert bars[0].get_facecolor()[:3] == to_rgb(ORANGE)
    assert [label.get_text() for label in place.get_yticklabels()] == ["a cat", "a dog", "a cow"]
    assert [text.get_text() for text in place.texts] == ["70.0%", "25.0%", "5.0%"]
    assert place.yaxis_inverted()  # the first one on top
    assert place.get_xlabel() == "probability"


@pytest.mark.parametrize("wrong", [[], [[Prediction("a", 1.0)]], [("a", 1.0)]])
def test_other_predictions_are_refused(wrong):
    with pytest.raises(InputError, match="of one source"):
        draw_predictions(wrong)


# Latents


def test_latents_are_drawn_by_their_cosines(rng):
    latents = rng.standard_normal((3, 5, 4))
    latents[2, 1] = -2 * latents[2, 0]
    *axes, scale = draw_latents(latents).axes
    titles = [place.get_title() for place in axes]
    assert titles == ["after the reader", "after block 1", "after block 2"]
    for place, x in zip(axes, latents, strict=True):
        (drawn,) = pictures(place)
        for i, j in ((0, 0), (0, 3), (4, 2)):
            cosine = x[i] @ x[j] / np.sqrt((x[i] @ x[i]) * (x[j] @ x[j]))
            assert drawn[i, j] == pytest.approx(cosine)
        assert place.get_images()[0].get_clim() == (-1, 1)
    assert drawn[0, 1] == pytest.approx(-1)
    assert (axes[0].get_xlabel(), scale.get_ylabel()) == ("latent", "cosine")


def test_latents_of_a_batch_are_refused(rng):
    with pytest.raises(InputError, match=r"\(2, 5, 4\).*choose a batch element"):
        draw_latents([rng.random((2, 5, 4))])
    with pytest.raises(InputError, match="got none"):
        draw_latents([])


# Flow


def test_arrows_are_the_flow(rng):
    flow = rng.standard_normal((24, 36, 2)).astype(np.float32)
    (place,) = draw_flow_arrows(flow).axes
    np.testing.assert_array_equal(pictures(place), [draw_flow(flow)])
    (arrows,) = place.collections
    assert arrows.N == 8 * 12
    for x, y, u, v in zip(*arrows.XY.T, arrows.U, arrows.V, strict=True):
        np.testing.assert_array_equal(flow[int(y), int(x)], (u, v))
    longest = np.hypot(flow[..., 0], flow[..., 1]).max()
    assert arrows.scale == pytest.approx(longest / 3)  # 3 pixels from one to the next
    assert f"{longest:.2g} pixels" in place.get_title()


def test_arrows_over_a_frame(rng):
    flow, frame = np.ones((5, 4, 2), np.float32), rng.integers(0, 256, (5, 4, 3), np.uint8)
    (place,) = draw_flow_arrows(flow, frame, longest=2.0).axes
    np.testing.assert_allclose(pictures(place)[0], frame / 255, atol=1e-6)
    assert place.collections[0].scale == 2
    with pytest.raises(InputError, match="frame has shape"):
        draw_flow_arrows(flow, frame[:4])
    with pytest.raises(InputError, match="longest must be above 0"):
        draw_flow_arrows(flow, longest=0)


# Reconstructions


def test_a_reconstruction_is_drawn_below_its_input(rng):
    frames, made = rng.random((2, 3, 4, 5, 3), np.float32)
    sound, other = rng.uniform(-1, 1, (2, 40, 1)).astype(np.float32)
    *places, wave = draw_reconstruction(Reconstruction(made, other, []), frames, sound).axes
    for place, frame in zip(places, [*frames, *made], strict=True):
        np.testing.assert_array_equal(pictures(place), [frame])
    assert (places[0].get_ylabel(), places[3].get_ylabel()) == ("given", "made")
    given, heard = wave.get_lines()
    np.testing.assert_array_equal(given.get_ydata(), sound[:, 0])
    np.testing.assert_array_equal(heard.get_ydata(), other[:, 0])
    assert [line.get_color() for line in (given, heard)] == [BLUE, ORANGE]
    with pytest.raises(InputError, match="3 frames that were reconstructed, got 2"):
        draw_reconstruction(Reconstruction(made, other, []), frames[:2], sound)


# Without matplotlib


def test_without_matplotlib_the_error_says_what_to_install():
    code = """
import sys
sys.modules["matplotlib"] = None
import numpy as np
import ivy_models
try:
    ivy_models.draw_attention(np.ones((2, 2)))
except ivy_models.errors.BackendError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install ".[plot]"' in result.stdout, result.stderr


def test_drawing_does_not_load_pyplot():
    """Which keeps every figure that it makes, and may want a display."""
    code = """
import sys, numpy as np
from ivy_models import draw_attention
assert "matplotlib" not in sys.modules
draw_attention(np.ones((2, 2))).savefig(sys.stdout.buffer)
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# The gallery


@pytest.mark.slow
@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_the_gallery(tmp_path, monkeypatch):
    """Two steps of training for each model; the digits' pictures are those of the page."""
    import gallery
    import torch

    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["gallery.py", "--steps", "5", "--output", str(tmp_path)])
    with gallery.matplotlib.rc_context():
        gallery.main()
        torch.set_num_threads(threads)
    unset_backends()
    names = {*gallery.OF_DIGITS, *gallery.TRAINED}
    assert {path.stem for path in GALLERY.iterdir()} == names
    assert {path.stem for path in tmp_path.iterdir()} == names
    page = (ROOT / "docs" / "gallery.rst").read_text("utf-8")
    for name in names:
        assert f".. image:: gallery/{name}.png" in page
        assert (GALLERY / f"{name}.png").stat().st_size < 60_000
        made, kept = (
            np.asarray(Image.open(folder / f"{name}.png").convert("RGB"), float)
            for folder in (tmp_path, GALLERY)
        )
        assert made.shape == kept.shape
        assert (made[: gallery.MARGIN] == 255).all()
        if name in gallery.OF_DIGITS:
            assert abs(made - kept).mean() < 2


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_the_digits_pictures_show_the_results_of_the_functions():
    import gallery

    digits = gallery.Digits()
    model, shown = digits.model, digits.of_each_class
    assert [int(digits.classes[i]) for i in shown] == list(range(10))
    maps = attention_maps(model, digits.data[shown])

    *axes, _ = gallery.latents_of_a_digit(digits).axes
    for place, weights in zip(axes, maps.reader[0].data[6, 0], strict=True):
        np.testing.assert_allclose(
            pictures(place)[0][..., 0], digits.ink(shown[6]) / 255, atol=1e-6
        )
        np.testing.assert_allclose(pictures(place)[1], weights, atol=1e-6)

    axes = gallery.rollout_of_digits(digits).axes[10:20]
    for place, weights in zip(axes, attention_rollout(maps).data[:, 0], strict=True):
        np.testing.assert_allclose(pictures(place)[1], weights, atol=1e-6)

    axes = gallery.heads_of_a_digit(digits).axes[:16]
    heads = [head for layer in maps.processor for head in layer.data[6]]
    for place, weights in zip(axes, heads, strict=True):
        np.testing.assert_allclose(pictures(place)[0], weights, atol=1e-6)

    (drawn,) = pictures(gallery.decoder_of_digits(digits).axes[0])
    np.testing.assert_allclose(drawn, maps.decoder.data[:, 0, 0], atol=1e-6)

    axes = gallery.depth_of_a_digit(digits).axes[:3]
    for place, latents in zip(axes, latents_over_depth(model, digits.data[shown[6]]), strict=True):
        normed = latents.data / np.linalg.norm(latents.data, axis=-1, keepdims=True)
        np.testing.assert_allclose(pictures(place)[0], normed @ normed.T, atol=1e-5)

    axes = gallery.right_and_wrong(digits).axes[:9]
    named = [place.get_yticklabels()[0].get_text() for place in axes[2::3]]
    true = [place.get_title().removeprefix("a ") for place in axes[::3]]
    assert named[0] == true[0]
    assert all(name != label for name, label in zip(named[1:], true[1:], strict=True))
    bars = [bar.get_width() for bar in axes[2].patches]
    np.testing.assert_allclose(bars, [p for _, p in classify(model, digits.images[shown[3]])], 1e-5)
