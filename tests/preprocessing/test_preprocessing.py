"""Images of every kind give the data that the model was trained on."""

import numpy as np
import pytest
from helpers import CHOSEN
from PIL import Image

from ivy_models.errors import InputError
from ivy_models.models.presets import PRESETS
from ivy_models.ops import ops_named
from ivy_models.preprocessing import ImagePreprocessing

IMAGENET = PRESETS["perceiver_io_imagenet_fourier"].preprocessing
PLAIN = ImagePreprocessing((6, 8), 3, 1.0, (0, 0, 0), (1, 1, 1))
GREY = ImagePreprocessing((6, 8), 1, 1.0, (0,), (1,))


@pytest.fixture
def photo(rng):
    """Smooth colours, 40 rows by 60 columns, far enough from black and white never to be cut."""
    small = rng.integers(60, 200, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((60, 40), Image.Resampling.BICUBIC))


def test_imagenet_preprocessing_is_the_originals(photo):
    side = int(224 / 256 * 40)
    top, left = (40 - side + 1) // 2, (60 - side + 1) // 2
    crop = Image.fromarray(photo[top : top + side, left : left + side])
    resized = np.asarray(crop.resize((224, 224), Image.Resampling.BICUBIC)) / 255
    expected = (resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    prepared = IMAGENET(photo)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, expected, atol=1e-6)


def test_crops_to_the_targets_proportions(photo):
    assert PLAIN(photo).shape == (6, 8, 3)
    marked = np.zeros((40, 100, 3), np.uint8)
    marked[:, 24:77] = 255  # the 53 columns that are kept
    np.testing.assert_allclose(PLAIN(marked), 1, atol=0.02)
    tall = np.zeros((100, 8, 3), np.uint8)
    tall[46:54] = 255
    np.testing.assert_allclose(PLAIN(tall), 1, atol=0.02)


def test_every_source_gives_the_same(photo, tmp_path):
    expected = PLAIN(photo)
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    rgba = np.concatenate([photo, np.full_like(photo[:, :, :1], 9)], -1)
    for source in (path, str(path), Image.open(path), rgba, Image.fromarray(rgba)):
        np.testing.assert_array_equal(PLAIN(source), expected)
    for source in (photo / 255, (photo / 255).astype(np.float32), photo.astype(np.uint16) * 257):
        np.testing.assert_allclose(PLAIN(source), expected, atol=0.006)
    for name in CHOSEN:
        np.testing.assert_array_equal(PLAIN(ops_named(name).asarray(photo)), expected)


def test_grey(photo):
    grey = np.asarray(Image.fromarray(photo).convert("L"))
    expected = GREY(grey)
    assert expected.shape == (6, 8, 1)
    np.testing.assert_array_equal(GREY(grey[:, :, None]), expected)
    np.testing.assert_array_equal(GREY(photo), expected)
    np.testing.assert_allclose(GREY(photo / 255), expected, atol=0.01)
    np.testing.assert_array_equal(PLAIN(grey), np.repeat(expected, 3, -1))
    np.testing.assert_allclose(PLAIN(grey / 255), np.repeat(expected, 3, -1), atol=0.006)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode(photo, mode):
    image = Image.fromarray(photo).convert(mode)
    np.testing.assert_array_equal(PLAIN(image), PLAIN(np.asarray(image.convert("RGB"))))


def test_sixteen_bits_are_not_cut_off(photo, tmp_path):
    grey = np.asarray(Image.fromarray(photo).convert("L"))
    path = tmp_path / "deep.png"
    Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    np.testing.assert_allclose(GREY(path), GREY(grey), atol=0.006)


def test_photos_are_turned_as_their_exif_says(photo, tmp_path):
    path = tmp_path / "turned.jpg"
    image = Image.fromarray(photo)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.save(path, exif=exif, quality=100, subsampling=0)
    upright = np.rot90(photo, -1)
    np.testing.assert_allclose(PLAIN(path), PLAIN(upright), atol=0.03)


def test_lists_become_batches(photo):
    batch = PLAIN([photo, photo[::-1]])
    assert batch.shape == (2, 6, 8, 3)
    np.testing.assert_array_equal(batch[0], PLAIN(photo))


def test_one_pixel():
    assert IMAGENET(np.zeros((1, 1, 3), np.uint8)).shape == (224, 224, 3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 20, 30)), "The channels go last"),
        (np.zeros((2, 20, 30, 3)), "Pass several images as a list"),
        (np.zeros((20, 30, 2)), "1, 3 or 4 channels"),
        (np.zeros((0, 30, 3)), "image has shape"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.full((4, 4), np.inf), "not finite"),
        (np.full((4, 4), 255.0), r"from 255 to 255; expected floats in \[0, 1\]"),
        (np.zeros((4, 4), np.int64), "of type int64"),
        (None, "image must be a dense array of real numbers"),
        ([], "at least one image"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(InputError, match=message):
        PLAIN(image)


def test_unreadable_files_are_refused(tmp_path, photo):
    path = tmp_path / "photo.png"
    with pytest.raises(InputError, match=r"photo\.png cannot be read"):
        PLAIN(path)
    path.write_text("not an image")
    with pytest.raises(InputError, match=r"photo\.png is no image"):
        PLAIN(path)
    Image.fromarray(photo).save(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"photo\.png cannot be read"):
        PLAIN(path)


@pytest.mark.parametrize("error", [OSError, ValueError, SyntaxError, RuntimeError])
def test_what_decoders_raise_is_refused(tmp_path, photo, monkeypatch, error):
    """RuntimeError, say, is what Pillow's AVIF decoder raises."""

    def load(_):
        raise error("broken data")

    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(InputError, match="cannot be read as an image: broken data"):
        PLAIN(path)
