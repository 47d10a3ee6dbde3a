"""Images of every kind become data like those that the model was trained on."""

import dataclasses
import io
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from helpers import CHOSEN
from PIL import Image, ImageOps

from ivy_models.errors import InputError, SpecError
from ivy_models.models.presets import PRESETS
from ivy_models.ops import ops_named
from ivy_models.preprocessing import (
    ImagePreprocessing,
    SoundPreprocessing,
    VideoPreprocessing,
)
from ivy_models.tasks.flow import draw_flow

IMAGENET = PRESETS["perceiver_io_imagenet_fourier"].preprocessing
PLAIN = ImagePreprocessing((6, 8), 3, 1.0, (0, 0, 0), (1, 1, 1))
GREY = ImagePreprocessing((6, 8), 1, 1.0, (0,), (1,))


@pytest.fixture
def photo(rng):
    """Smooth colours, 40 rows by 60 columns, far from black and white, so never clipped."""
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
        (Image.new("RGB", (0, 30)), r"no pixels: its size is \(0, 30\)"),
        (np.full((4, 4), np.nan), "NaN or infinity"),
        (np.full((4, 4), np.inf), "NaN or infinity"),
        (np.full((4, 4), 255.0), r"from 255 to 255; expected floats in \[0, 1\]"),
        (np.zeros((4, 4), np.int64), "of type int64"),
        (None, "image must be a dense array of real numbers"),
        ([], "at least one image"),
    ],
)
def test_unusable_images_are_refused(image, message):
    with pytest.raises(InputError, match=message):
        PLAIN(image)


def test_unreadable_files_are_refused(tmp_path, photo):
    path = tmp_path / "photo.png"
    with pytest.raises(InputError, match=r"photo\.png cannot be read"):
        PLAIN(path)
    path.write_text("not an image")
    with pytest.raises(InputError, match=r"photo\.png is not an image"):
        PLAIN(path)
    Image.fromarray(photo).save(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"photo\.png cannot be read"):
        PLAIN(path)


@pytest.mark.parametrize("error", [OSError, ValueError, SyntaxError, RuntimeError])
def test_exceptions_of_decoders_become_input_errors(tmp_path, photo, monkeypatch, error):
    """RuntimeError, say, is what Pillow's AVIF decoder raises."""

    def load(_):
        raise error("broken data")

    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(InputError, match="cannot be read as an image: broken data"):
        PLAIN(path)


# Images from cameras, scanners and programs


def exif_block(*entries):
    """EXIF data in little-endian order; each entry is (tag, type, value in bytes)."""
    out, body = b"II*\0" + struct.pack("<IH", 8, len(entries)), b""
    offset = 8 + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        if len(value) > 4:
            body, value = body + value, struct.pack("<I", offset + len(body))
        out += struct.pack("<HHI", tag, kind, 1) + value.ljust(4, b"\0")
    return b"Exif\0\0" + out + b"\0\0\0\0" + body


TURNED = (0x112, 3, struct.pack("<H", 6))
ODD_TAGS = {
    "a rational maker": exif_block(TURNED, (0x10F, 5, struct.pack("<II", 1, 2))),
    "a signed rational": exif_block(TURNED, (0x132, 10, struct.pack("<ii", -1, 0))),
    "a float": exif_block(TURNED, (0x131, 11, struct.pack("<f", 1.5))),
    "an unknown type": exif_block(TURNED, (0x13B, 77, b"abcd")),
    "a value beyond the end": exif_block(TURNED, (0x8298, 5, struct.pack("<I", 2**31))),
    "no texts": exif_block(TURNED, (0x8769, 2, b"abcd")),
}


@pytest.mark.parametrize("exif", ODD_TAGS.values(), ids=ODD_TAGS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_odd_tags_leave_a_photo_as_it_is(photo, exif, kind):
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, kind, exif=exif, quality=95)
    np.testing.assert_allclose(PLAIN(buffer), PLAIN(np.rot90(photo, -1)), atol=0.04)


def test_broken_exif_data_leaves_a_photo_as_it_is(photo):
    for exif in (b"Exif\0\0", b"Exif\0\0junk that is no TIFF", exif_block(TURNED)[:20]):
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, "JPEG", exif=exif, quality=95)
        np.testing.assert_allclose(PLAIN(buffer), PLAIN(photo), atol=0.04)


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation(photo, turn):
    image = Image.fromarray(photo)
    image.getexif()[0x112] = turn
    expected = ImageOps.exif_transpose(image)
    np.testing.assert_array_equal(PLAIN(image), PLAIN(np.asarray(expected)))


@pytest.mark.parametrize("mode", ["La", "RGBa", "RGBX", "HSV", "PA"])
def test_rare_modes(photo, mode):
    source = Image.fromarray(photo)
    image = source.convert({"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode, "RGB")).convert(mode)
    expected = source.convert("L") if mode == "La" else source
    np.testing.assert_allclose(PLAIN(image), PLAIN(expected), atol=0.1 if mode == "PA" else 0.02)


@pytest.mark.parametrize("prepare", [PLAIN, GREY])
def test_lab_images_are_converted(prepare):
    """The first channel is the lightness; where the others are 0 there is no colour."""
    lightness = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(48, 0)
    pixels = np.stack([lightness, *[np.zeros_like(lightness)] * 2], -1)
    buffer = io.BytesIO()
    Image.frombytes("LAB", (64, 48), pixels.tobytes()).save(buffer, "TIFF")
    shown = prepare(buffer)
    assert (np.diff(shown[0, :, 0]) > 0).all()
    assert np.ptp(shown, axis=-1).max() < 0.02


def test_images_that_cannot_be_converted_are_refused(photo, monkeypatch):
    def convert(*_):
        raise ValueError("conversion from RGB to L not supported")

    image = Image.fromarray(photo)
    monkeypatch.setattr(Image.Image, "convert", convert)
    with pytest.raises(InputError, match="mode RGB, which cannot be converted to L"):
        GREY(image)


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 65536), (-(2**31), 2**31 - 1)])
def test_whole_numbers_of_32_bits_never_wrap_around(low, high):
    ramp = np.linspace(low, high, 64).astype(np.int32)[None]
    with pytest.raises(InputError, match=f"from {low} to {high}"):
        GREY(Image.fromarray(ramp))


def test_sixteen_bits_in_32_or_in_any_byte_order(photo):
    grey = np.asarray(Image.fromarray(photo).convert("L"))
    deep = grey.astype(np.uint16) * 257
    expected = GREY(deep)
    for same in (deep.astype(">u2"), Image.fromarray(deep.astype(np.int32)), deep[::-1][::-1]):
        np.testing.assert_array_equal(GREY(same), expected)


@pytest.mark.parametrize("dtype", ["uint32", "int32", "int16", "int8", "bool"])
def test_integers_of_unknown_range_are_refused(dtype):
    with pytest.raises(InputError, match=f"of type {dtype}"):
        PLAIN(np.ones((8, 8), dtype))


def test_bytes_and_open_files(photo, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    expected, content = PLAIN(photo), path.read_bytes()
    half_read = io.BytesIO(content)
    half_read.read(10)
    with path.open("rb") as file, zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(path, "photo.png")
        for source in (
            content,
            bytearray(content),
            memoryview(content),
            half_read,
            file,
            archive.open("photo.png"),
        ):
            np.testing.assert_array_equal(PLAIN(source), expected)
            np.testing.assert_array_equal(PLAIN([source]), expected[None])


def test_a_path_from_home(photo, tmp_path, monkeypatch):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    np.testing.assert_array_equal(PLAIN("~/photo.png"), PLAIN(photo))


def test_rounding_errors_beyond_the_range_are_cut():
    bright = np.full((8, 8), np.nextafter(np.float32(1), np.float32(2)))
    assert PLAIN(bright).max() == 1
    assert PLAIN(bright - 1 - 2e-7).min() == 0
    with pytest.raises(InputError, match=r"floats from 1.0001 to 1.0001; .*\[0, 1\]"):
        PLAIN(np.full((8, 8), 1.0001))


def test_programs_that_raise_floating_point_errors():
    dark = np.full((8, 8), 1e-45, np.float32)
    with np.errstate(all="raise"):
        assert np.isfinite(PLAIN(dark)).all()


@pytest.mark.parametrize(
    "error", [MemoryError(), OverflowError("odd"), Image.DecompressionBombWarning("odd")]
)
def test_failures_after_decoding_name_the_file(photo, tmp_path, monkeypatch, error):
    def resize(*_):
        raise error

    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    monkeypatch.setattr(Image.Image, "resize", resize)
    why = str(error) or "not enough memory"
    with pytest.raises(InputError, match=rf"photo\.png cannot be read as an image: .*{why}"):
        PLAIN(path)


def test_the_range_of_a_file_is_refused_by_its_name(tmp_path):
    path = tmp_path / "heights.tif"
    Image.fromarray(np.full((8, 8), 300.0, np.float32)).save(path)
    with pytest.raises(InputError, match=r"heights\.tif: image holds floats from 300"):
        PLAIN(path)


# The fields


def test_defaults(photo):
    prepare = ImagePreprocessing((6, 8))
    assert prepare == ImagePreprocessing([6, 8], 3, 1.0, (0.5,) * 3, [0.5] * 3, "up")
    np.testing.assert_allclose(prepare(photo), PLAIN(photo) * 2 - 1, atol=1e-6)
    assert ImagePreprocessing((6, 8), 1).mean == (0.5,)


@pytest.mark.parametrize("size", [(40, 61), (41, 60), (63, 40), (41, 41)])
def test_the_extra_pixel_of_a_crop(rng, size):
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    down = ImagePreprocessing((20, 20), crop_fraction=0.875, crop_rounding="down")
    side = int(0.875 * min(size))
    top, left = (n - side for n in size)
    for prepare, extra in ((down, 0), (dataclasses.replace(down, crop_rounding="up"), 1)):
        y, x = (top + extra) // 2, (left + extra) // 2
        whole = dataclasses.replace(prepare, crop_fraction=1.0)
        np.testing.assert_array_equal(prepare(image), whole(image[y : y + side, x : x + side]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 224}, "size must be a list of integers"),
        ({"size": (224,)}, "size must be a height and a width"),
        ({"size": (224, 0)}, "at least 1"),
        ({"channels": 2}, "channels must be 3 for RGB or 1 for grey"),
        ({"crop_fraction": 0}, "crop_fraction must be above 0 and at most 1"),
        ({"mean": (0.5,)}, "mean must have a number for each channel, got 1 for 3"),
        ({"mean": "grey"}, "mean must be a finite number"),
        ({"std": 0.0}, "std must be above 0"),
        ({"crop_rounding": "left"}, "crop_rounding must be one of up, down"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        ImagePreprocessing(**({"size": (6, 8)} | fields))


# Arrays that are more, or less, than plain numbers


class Quantity(np.ndarray):
    unit = "mJy"


PREPARED = {
    "image": (PLAIN, lambda rng: rng.random((9, 9, 3), np.float32)),
    "grey image": (GREY, lambda rng: rng.random((9, 9), np.float32)),
    "sound": (SoundPreprocessing(16000, 100), lambda rng: rng.random(120, np.float32)),
    "clip": (VideoPreprocessing(2, (6, 8)), lambda rng: rng.random((3, 9, 9, 3), np.float32)),
    "flow": (draw_flow, lambda rng: rng.random((6, 7, 2), np.float32)),
}
SAME = {
    "big-endian": lambda x: x.astype(">f4"),
    "longdouble": lambda x: x.astype(np.longdouble),
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "nothing masked": np.ma.masked_array,
    "Fortran order": np.asfortranarray,
}
REFUSED = {
    "masked": (lambda x: np.ma.masked_greater(x, 0.5), "masked array"),
    "with a unit": (lambda x: x.view(Quantity), "has a unit, mJy"),
    "complex": (lambda x: x.astype(complex), "complex128"),
    "objects": (lambda x: x.astype(object), "object"),
    "texts": (lambda x: x.astype(str), "type <U"),
    "dates": (lambda x: x.astype("M8[s]"), "datetime64"),
}


@pytest.mark.parametrize("kind", PREPARED)
def test_arrays_of_the_same_numbers(kind, rng, tmp_path):
    prepare, make = PREPARED[kind]
    x = make(rng)
    expected = prepare(x)
    for name, convert in SAME.items():
        np.testing.assert_allclose(prepare(convert(x)), expected, atol=1e-6, err_msg=name)
    stored = np.memmap(tmp_path / "numbers", np.float32, "w+", shape=x.shape)
    stored[:] = x
    np.testing.assert_array_equal(prepare(stored), expected)
    narrow = x.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(prepare(narrow), prepare(narrow.astype(np.float32)))


@pytest.mark.parametrize("kind", PREPARED)
@pytest.mark.parametrize(("convert", "message"), REFUSED.values(), ids=REFUSED)
def test_arrays_that_are_more_or_less_than_numbers(kind, convert, message, rng):
    prepare, make = PREPARED[kind]
    with pytest.raises(InputError, match=message):
        prepare(convert(make(rng)))
