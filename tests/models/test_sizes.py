"""Specs that fit the data."""

import numpy as np
import pytest
from helpers.arrays import numpy_of

from ivy_models import spec_for
from ivy_models.errors import SpecError
from ivy_models.models.data_shape import data_shape
from ivy_models.models.sizes import SIZES, learning_rate_for, size_for
from ivy_models.preprocessing import (
    CategoryColumn,
    ClassTarget,
    ImageColumn,
    ImagePreprocessing,
    NgramPreprocessing,
    NumberColumn,
    NumberTarget,
    SoundColumn,
    SoundPreprocessing,
    TablePreprocessing,
    TextColumn,
    TextPreprocessing,
    prepare,
)
from ivy_models.transformers.perceiver_io import PerceiverIO, model_costs
import ivy

TARGETS = (ClassTarget("kind", ("a", "b", "c")), NumberTarget("price", 3.0, 2.0))

IMAGE, SOUND = ImagePreprocessing((64, 48)), SoundPreprocessing(8000, 800)

TABLE = TablePreprocessing(
    [
        NumberColumn("age", 40, 15, [18, 40, 90]),
        CategoryColumn("town", ["Bern", "Rome"]),
        TextColumn("comment", TextPreprocessing(24)),
        TextColumn("title", NgramPreprocessing(8, (2, 3), 50)),
        ImageColumn("photo", IMAGE),
        SoundColumn("call", SOUND),
    ]
)

UNKNOWN = {column.name: None for column in TABLE.columns}

PREPARED = {
    "photos": (IMAGE, [np.zeros((20, 30, 3), np.uint8)] * 2),
    "drawings": (ImagePreprocessing((28, 28), 1), [np.zeros((28, 28), np.uint8)] * 2),
    "digits": (ImagePreprocessing((8, 8), 1), [np.zeros((8, 8), np.uint8)] * 2),
    "sounds": (SOUND, [np.zeros(500, np.float32)] * 2),
    "texts": (TextPreprocessing(40), ["good", "bad"]),
    "n-grams": (NgramPreprocessing(8, (2, 3), 50), ["good", "bad"]),
    "table": (TABLE, [UNKNOWN | {"age": 3, "comment": "new"}, UNKNOWN | {"town": "Rome"}]),
}


@pytest.mark.parametrize(("samples", "patch"), [(4000, (16,)), (4100, (4,)), (801, None)])
def test_patches_fit_the_length_of_a_sound(samples, patch):
    spec = spec_for(SoundPreprocessing(8000, samples), TARGETS, 100)
    assert spec.patch_shape == patch


@pytest.mark.parametrize("kind", PREPARED)
def test_a_model_takes_what_is_prepared(kind):
    preprocessing, sources = PREPARED[kind]
    data, mask = prepare(preprocessing, sources)
    spec = spec_for(preprocessing, TARGETS, 100)
    is_image = isinstance(preprocessing, ImagePreprocessing)
    assert spec.stem == ("two_convolutions" if is_image else None)
    ivy.set_backend("numpy")
    assert numpy_of(PerceiverIO(spec)(data, mask)).shape == (2, 4)
    shape = data_shape(spec, preprocessing)
    shapes = {n: x.shape[1:] for n, x in data.items()} if kind == "table" else data.shape[1:]
    assert shape == shapes
    parameters = [
        model_costs(spec_for(preprocessing, TARGETS, 100, size), shape)["total"].parameters
        for size in SIZES
    ]
    assert parameters == sorted(parameters)


def test_a_missing_photo_has_no_effect():
    rows = [UNKNOWN | {"age": 3}, UNKNOWN | {"age": 3, "photo": np.full((9, 9, 3), 200, np.uint8)}]
    data, mask = prepare(TABLE, rows)
    ivy.set_backend("numpy")
    model = PerceiverIO(spec_for(TABLE, TARGETS, 100))
    missing, given = numpy_of(model(data, mask))
    data["image_0"][0] = np.nan
    np.testing.assert_allclose(numpy_of(model(data, mask))[0], missing, atol=1e-6)
    assert np.abs(given - missing).max() > 1e-3
    one = {name: array[0] for name, array in data.items()}
    hidden = {name: array[0] for name, array in mask.items()}
    np.testing.assert_allclose(numpy_of(model(one, hidden)), missing, atol=1e-5)


def test_the_size_grows_with_the_examples():
    assert [size_for(size.num_examples) for size in SIZES.values()] == list(SIZES)
    assert size_for(1) == "tiny"
    assert spec_for(IMAGE, TARGETS, 10**9) == spec_for(IMAGE, TARGETS, 1, "base")


def test_fields_can_be_changed():
    spec = spec_for(IMAGE, TARGETS, 100, num_latents=5, dtype="float64")
    assert (spec.num_latents, spec.dtype) == (5, "float64")


@pytest.mark.parametrize(
    ("preprocessing", "changes", "message"),
    [
        (IMAGE, {"size": "huge"}, "size must be one of tiny, small, base, got 'huge'"),
        (IMAGE, {"num_latent": 5}, "num_latents"),
        (None, {}, "preprocessing must be an ImagePreprocessing"),
    ],
)
def test_what_does_not_fit_is_refused(preprocessing, changes, message):
    with pytest.raises(SpecError, match=message):
        spec_for(preprocessing, TARGETS, 100, **changes)


def test_larger_models_learn_at_lower_rates():
    specs = [spec_for(IMAGE, TARGETS, 100, size) for size in SIZES]
    narrow, wide = specs[0].replace(latent_dim=32), specs[-1].replace(latent_dim=1024)
    rates = [learning_rate_for(spec) for spec in (narrow, *specs, wide)]
    assert rates == [2e-3, *(size.learning_rate for size in SIZES.values()), 5e-4]
