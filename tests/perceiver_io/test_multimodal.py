"""Several modalities in and out: padding, order, masking, subsampling."""

import numpy as np
import pytest
from helpers.arrays import assert_close, compiled, image, numpy_of
from helpers.gradients import TRAINED, value_and_gradients
from helpers.models import multimodal_model, new_model, noisy
from helpers.specs import (
    columns_data,
    columns_spec,
    multimodal_data,
    multimodal_spec,
    small_spec,
)

from ivy_models.errors import InputError, SpecError
from ivy_models.layers.parameters import map_tree
from ivy_models.models.data_shape import data_shape
from ivy_models.ops import ops_for
from ivy_models.shells.call import checked_call
from ivy_models.transformers.perceiver_io import (
    Decoder,
    InputModality,
    OutputModality,
    PerceiverIO,
    PerceiverIOCore,
    PerceiverIOSpec,
    depth_to_space,
    initialise,
    space_to_depth,
)
import ivy

SHAPES = {"sound": (28, 1), "image": (2, 5, 6, 3), "label": (1, 11)}


def run(model, *arguments, **named):
    return {name: numpy_of(x) for name, x in model(*arguments, **named).items()}


# Outputs


@pytest.mark.parametrize("batch", [(), (3,), (2, 1)])
def test_every_modality_is_decoded_at_all_positions(backend, rng, batch):
    outputs = run(multimodal_model(), multimodal_data(rng, batch))
    assert {name: x.shape for name, x in outputs.items()} == {
        name: (*batch, *shape) for name, shape in SHAPES.items()
    }


def test_all_backends_agree(backend, rng):
    data = multimodal_data(rng)
    outputs = run(multimodal_model(), data)
    ivy.set_backend("numpy")
    expected = run(multimodal_model(), data)
    ivy.unset_backend()
    assert_close(outputs, expected)


def test_some_positions_give_the_same_as_all(backend, rng):
    model, data = multimodal_model(), multimodal_data(rng)
    everything = run(model, data)
    where = {"image": np.array([59, 0, 7, 7]), "sound": np.array([6, 2])}
    some = run(model, data, queries=where)
    pixels = everything["image"].reshape(2, 60, 3)
    patches = everything["sound"].reshape(2, 7, 4, 1)
    assert_close(
        some, {"image": pixels[:, where["image"]], "sound": patches[:, where["sound"]]}, 1e-5
    )


def test_only_requested_modalities_are_decoded(backend, rng):
    model, data = multimodal_model(), multimodal_data(rng)
    label = run(model, data, queries={"label": None})
    assert_close(label, {"label": run(model, data)["label"]}, 1e-5)


def test_latents_can_be_decoded_apart(backend, rng):
    model, data = multimodal_model(), multimodal_data(rng)
    latents = model.encode(data)
    assert tuple(latents.shape) == (2, 7, 12)
    outputs = {name: numpy_of(x) for name, x in model.decode(latents).items()}
    assert_close(outputs, run(model, data), 1e-5)


def test_any_model_encodes_and_decodes(backend, rng):
    model = PerceiverIO(small_spec())
    images = image(rng, 2, 5, 4, 3)
    apart = numpy_of(model.decode(model.encode(images)))
    np.testing.assert_allclose(apart, numpy_of(model(images)), atol=1e-5)
    with pytest.raises(InputError, match="expected floats"):
        model.decode(np.zeros((2, 7, 13), np.float32))
    with pytest.raises(InputError, match="depend on the data"):
        PerceiverIO(small_spec(with_decoder=False)).decode(np.zeros((3, 7, 12), np.float32))


@pytest.mark.parametrize("folding", [True, False])
def test_queries_can_be_folded_or_not(backend, rng, monkeypatch, folding):
    data = multimodal_data(rng)
    queries = {"image": None, "sound": np.arange(5), "label": None}
    expected = run(multimodal_model(), data, queries=queries)
    monkeypatch.setattr(Decoder, "_folding_is_cheaper", lambda *_: folding)
    assert_close(run(new_model(), data, queries=queries), expected, 1e-5)


# Inputs


def test_streaming_is_plain_attention(ops, rng, always_streaming):
    spec = multimodal_spec(with_decoder=False, output_modalities=None)
    params = map_tree(ops.asarray, noisy(spec))
    data = {name: ops.asarray(x) for name, x in multimodal_data(rng).items()}
    seen = {"image": ops.asarray(rng.random((2, 30)) < 0.5)}
    for mask in (None, seen):
        streamed, plain = (
            ops.to_numpy(compiled(ops, PerceiverIOCore(spec, plain_reader=p))(params, data, mask))
            for p in (None, True)
        )
        assert np.abs(streamed - plain).max() <= 1e-5 * np.abs(plain).max()


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_are_those_of_plain_attention(name, rng, always_streaming, monkeypatch):
    spec = multimodal_spec()
    arguments = {"params": noisy(spec), "data": multimodal_data(rng)}

    def gradients(name, plain):
        core = PerceiverIOCore(spec, plain_reader=plain)
        monkeypatch.setattr(Decoder, "_folding_is_cheaper", lambda *_: not plain)
        return value_and_gradients(name, core, arguments, "float32")

    (_, fast), (_, plain) = gradients(name, False), gradients(TRAINED[0], True)
    for key in plain:
        assert np.abs(fast[key] - plain[key]).max() <= 1e-4 * max(1, np.abs(plain[key]).max()), key
    for key in ("input/sound/padding", "queries/image/padding", "outputs/sound/weight"):
        assert np.abs(plain[f"params/{key}"]).max() > 0


def test_a_vector_left_out_is_masked(backend, rng):
    model, data = multimodal_model(), multimodal_data(rng)
    masked = run(model, data, mask={"label": np.zeros(2, bool)})
    del data["label"]
    assert_close(run(model, data), masked, 1e-6)


def test_masked_inputs_are_not_seen(backend, rng):
    model, data = multimodal_model(), multimodal_data(rng)
    mask = {"image": np.ones((2, 3, 5), bool)}
    seen = run(model, data)
    assert_close(run(model, data, mask=mask), seen, 1e-5)
    mask["image"][1, 2] = False
    some = run(model, data, mask=mask)
    assert np.abs(some["label"] - seen["label"]).max() > 1e-3
    data["image"][:, 1, 4:] = np.nan
    assert_close(run(model, data, mask=mask), some, 1e-6)


def test_modalities_stand_in_the_order_of_their_names():
    spec = multimodal_spec()
    assert [m.name for m in spec.input_modalities] == ["image", "label", "sound"]
    turned = spec.replace(input_modalities=spec.input_modalities[::-1])
    assert turned == spec
    assert hash(turned) == hash(spec)


def test_modalities_survive_json():
    spec = multimodal_spec()
    assert PerceiverIOSpec.from_json(spec.to_json()) == spec


def test_modalities_in_one_output_and_one_input_in_modalities(backend, rng):
    data = multimodal_data(rng)
    classifier = new_model(output_modalities=None, learn_query=True, query_shape=(2,))
    assert tuple(classifier(data).shape) == (2, 2, 6)
    outputs = multimodal_spec().output_modalities
    spec = small_spec(
        output_modalities=outputs, queries_dim=23, learn_query=False, query_shape=None
    )
    assert {n: x.shape for n, x in run(PerceiverIO(spec), image(rng, 2, 5, 4, 3)).items()} == {
        name: (2, *shape) for name, shape in SHAPES.items()
    }


def test_heads_of_modalities_take_the_place_of_the_final_head(backend, rng):
    """A final head that changes nothing can be left out."""
    headed, data = multimodal_spec(output_dim=23), multimodal_data(rng)
    weights = noisy(headed)
    weights["decoder"]["head"] = {"weight": np.eye(23), "bias": np.zeros(23)}
    expected = run(PerceiverIO(headed, v=weights), data)
    del weights["decoder"]["head"]
    headless = PerceiverIO(headed.replace(with_final_head=False), v=weights)
    assert_close(run(headless, data), expected)
    some = run(headless, data, queries={"sound": [0, 3], "label": None})
    assert {name: x.shape for name, x in some.items()} == {
        "sound": (2, 2, 4, 1),
        "label": (2, 1, 11),
    }


# Tokens, categories, learned positions and stems


def test_each_kind_of_input_is_that_of_a_model_of_its_own(ops, rng):
    spec, (data, _) = columns_spec(), columns_data(rng)
    params = map_tree(ops.asarray, noisy(spec)["input"])
    data = {name: ops.asarray(array) for name, array in data.items()}
    segments, _ = spec.input().adapt(params, data, None)

    def numbers(inputs, weights):
        return ops.to_numpy(inputs.dense(ops, weights["mask_token"]))

    alone = {
        "a comment": {"vocabulary_size": 19, "learned_position_shape": (11,)},
        "numbers": {
            "learned_position_shape": (3,),
            "learned_position_dim": 5,
            "stem": "column_projection",
            "stem_dim": 4,
        },
        "photo": {"num_fourier_freq_bands": 2, "stem": "convolution", "stem_dim": 8},
        "relief": {"patch_shape": (2, 3), "stem": "projection", "stem_dim": 7},
    }
    for modality, segment in zip(spec.input_modalities, segments, strict=True):
        name, weights = modality.name, params[modality.name]
        if name == "city":
            expected = ops.to_numpy(weights["embedding"])[ops.to_numpy(data[name])][:, None]
        else:
            own = small_spec(
                input_dim=modality.input_dim,
                num_input_axes=modality.num_input_axes,
                fourier_encode_input=name == "photo",
                **alone[name],
            )
            expected = numbers(own.input().adapt(weights, data[name], None)[0], weights)
        got, size = numbers(segment, weights), expected.shape[-1]
        np.testing.assert_allclose(got[..., :size], expected, atol=1e-5)
        padding = np.broadcast_to(ops.to_numpy(weights["padding"]), got[..., size:].shape)
        np.testing.assert_array_equal(got[..., size:], padding)


def test_columns_are_masked(backend, rng):
    spec, (data, mask) = columns_spec(), columns_data(rng)
    model = PerceiverIO(spec, v=noisy(spec))
    outputs, masked = numpy_of(model(data)), numpy_of(model(data, mask))
    ivy.set_backend("numpy")
    reference = PerceiverIO(spec, device="cpu", v=noisy(spec))
    expected = numpy_of(reference(data)), numpy_of(reference(data, mask))
    ivy.set_backend(backend)
    np.testing.assert_allclose(outputs, expected[0], atol=1e-4)
    np.testing.assert_allclose(masked, expected[1], atol=1e-4)
    np.testing.assert_allclose(
        numpy_of(model({name: array[1] for name, array in data.items()})), outputs[1], atol=1e-4
    )
    # Hidden inputs have no effect.
    changed = {name: array.copy() for name, array in data.items()}
    changed["numbers"][~mask["numbers"]] = np.nan
    changed["photo"][0] = np.nan
    changed["city"][~mask["city"]] = 3
    changed["a comment"][~mask["a comment"]] = 0
    np.testing.assert_allclose(numpy_of(model(changed, mask)), masked, atol=1e-5)
    # One element hides all inputs.
    whole = mask | {"photo": np.array([False, True])[:, None, None]}
    mask["photo"][1] = True
    np.testing.assert_allclose(numpy_of(model(data, whole)), numpy_of(model(data, mask)), atol=1e-6)
    # A category may be left out.
    del changed["city"]
    mask["city"][:] = False
    with pytest.raises(InputError, match="masked as a whole"):
        model(changed, mask)
    hidden = numpy_of(model(data, mask))
    del mask["city"]
    np.testing.assert_allclose(numpy_of(model(changed, mask)), hidden, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_hidden_inputs_get_no_gradients(name, rng):
    spec, (data, mask) = columns_spec(), columns_data(rng)
    data["photo"][:] = data["numbers"][:] = np.nan
    mask["photo"][:] = mask["numbers"][:] = False
    arguments = {"params": initialise(PerceiverIOCore(spec).parameters())}

    def call(params):
        ops = ops_for(params["latents"])
        return checked_call(ops, spec, PerceiverIOCore(spec), params, data, mask)

    _, gradients = value_and_gradients(name, call, arguments, "float32")
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
    assert np.abs(gradients["params/input/a comment/embedding"]).max() > 0
    assert np.abs(gradients["params/input/photo/convolution/weight"]).max() == 0


@pytest.mark.parametrize(
    ("arrays", "masks", "message"),
    [
        ({"city": np.array([0, 4])}, {}, "city has tokens from 0 to 4"),
        ({"city": np.array([0.0, 1.0])}, {}, "city is of type float64; expected tokens"),
        ({"city": np.zeros((3,), int)}, {}, "share one batch shape"),
        ({"city": np.zeros((2, 0), int)}, {}, r"expected tokens \(\*batch,\)"),
        ({"a comment": np.zeros((2, 12), int)}, {}, "a comment has 12 tokens"),
        ({"numbers": np.ones((2, 4, 2))}, {}, "numbers has shape .* learned positions for inputs"),
        ({}, {"photo": np.ones((2, 13, 9), bool)}, 'mask\\["photo"\\] has shape'),
        ({}, {"city": np.ones((2, 1), bool)}, 'mask\\["city"\\] has shape'),
    ],
)
def test_columns_that_do_not_fit_are_refused(rng, arrays, masks, message):
    ivy.set_backend("numpy")
    data, _ = columns_data(rng)
    with pytest.raises(InputError, match=message):
        PerceiverIO(columns_spec())(data | arrays, masks)
    ivy.unset_backend()


def test_sizes_of_data_by_modality():
    spec = columns_spec()
    assert data_shape(spec, size={"photo": (24, 32), "relief": (4, 6)}) == {
        "a comment": (11,),
        "city": (),
        "numbers": (3, 2),
        "photo": (24, 32, 3),
        "relief": (4, 6, 1),
    }
    with pytest.raises(InputError, match="relief: .* not multiples of the patches"):
        data_shape(spec, size={"photo": (24, 32), "relief": (4,)})
    with pytest.raises(InputError, match="photo: The spec does not fix the size"):
        data_shape(spec)


# Refusals


def change(data, **arrays):
    return data | arrays


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda d: (np.zeros((2, 4, 37), np.float32),), "data is a mapping"),
        (lambda d: (change(d, depth=d["image"]),), "data has depth"),
        (lambda d: ({"image": d["image"], "label": d["label"]},), "sound is missing from data"),
        (lambda d: (change(d, sound=d["sound"][:1]),), "share one batch shape"),
        (lambda d: (change(d, sound=d["sound"][:, :27]),), "not multiples of the patches"),
        (lambda d: (change(d, image=d["image"][..., :2]),), r"image has shape \(2, 2, 6, 10, 2\)"),
        (lambda d: (change(d, label=np.zeros((2, 11), int)),), "takes floats"),
        (lambda d: (d, {"image": np.ones((2, 2, 6, 10), bool)}), 'mask\\["image"\\] has shape'),
        (lambda d: (d, {"image": np.ones((2, 3, 5))}), "expected booleans"),
        (lambda d: (d, np.ones(2, bool)), "mask is a mapping"),
        (
            lambda d: ({k: d[k] for k in ("image", "sound")}, {"label": False}),
            "masked as a whole",
        ),
        (lambda d: (d, None, {"depth": None}), "queries has depth"),
        (lambda d: (d, None, {}), "at least one modality to decode"),
        (lambda d: (d, None, {"image": [60]}), "from 0 to 59"),
        (lambda d: (d, None, {"image": [-1]}), "from 0 to 59"),
        (lambda d: (d, None, {"image": [0.5]}), "integers"),
        (lambda d: (d, None, {"image": [[0]]}), "integers"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(rng, arguments, message):
    ivy.set_backend("numpy")
    model, data = multimodal_model(), multimodal_data(rng)
    with pytest.raises(InputError, match=message):
        model(*arguments(data))
    ivy.unset_backend()


SOUND = InputModality("sound", 1, 1)
CLASS = OutputModality("label", 3, (1,), learned_query_dim=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_modalities": ()}, "must be a list of InputModality"),
        ({"input_modalities": [SOUND, SOUND]}, "different names"),
        ({"input_modalities": ["sound"]}, "it contains 'sound'"),
        ({"input_modalities": [{"name": "sound"}]}, "is not an InputModality"),
        ({"input_modalities": [CLASS]}, "must be a list of InputModality"),
        ({"input_dim": 10}, "input_dim=10 is less"),
        ({"queries_dim": 12}, "queries_dim=12 is less"),
        ({"fourier_encode_input": True}, "its own axes, positions"),
        ({"num_input_axes": 2}, "its own axes, positions"),
        ({"stem": "projection", "stem_dim": 4}, "its own axes, positions"),
        ({"patch_shape": (2,)}, "its own axes, positions"),
        ({"vocabulary_size": 9}, "its own axes, positions"),
        ({"learned_position_shape": (5,)}, "its own axes, positions"),
        ({"learned_position_dim": 5}, "its own axes, positions"),
        ({"max_fourier_freq": (3.0, 4.0)}, "each of the 1 input axes"),
        ({"learn_query": True}, "its own queries"),
        ({"query_shape": (3,)}, "its own queries"),
        ({"output_scale": 2.0}, "its own queries"),
        ({"with_decoder": False}, "its own queries"),
        ({"queries_from_inputs": True}, "its own queries"),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        multimodal_spec(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputModality("two.words", 1, 1), "must be readable text"),
        (lambda: InputModality("x", 0, 1), "input_dim"),
        (lambda: InputModality("x", 1, -1), "num_input_axes"),
        (lambda: InputModality("x", 1, 0, num_fourier_freq_bands=2), "no positions"),
        (lambda: InputModality("x", 1, 2, patch_shape=(2,)), "patch_shape needs one number"),
        (lambda: InputModality("x", 1, 2, max_fourier_freq=3), "needs num_fourier"),
        (lambda: InputModality("x", 8, 1, vocabulary_size=9), "x: Tokens"),
        (lambda: InputModality("x", 8, 2, vocabulary_size=9), "x: Tokens"),
        (lambda: InputModality("x", 8, 0, 2, vocabulary_size=9), "x: without axes"),
        (lambda: InputModality("x", 8, 0, learned_position_shape=[3]), "x: without axes"),
        (lambda: InputModality("x", 8, 1, learned_position_dim=3), "x: .* go together"),
        (lambda: InputModality("x", 3, 1, stem="convolution", stem_dim=4), "x: .* needs data"),
        (lambda: InputModality("x", 3, 2, stem="convolution"), "x: Set both stem and stem_dim"),
        (lambda: InputModality("x", 3, 2, stem="pool", stem_dim=4), "x: stem must be one of"),
        (
            lambda: InputModality("x", 3, 1, 2, learned_position_shape=[3], learned_position_dim=3),
            "x: positions are either learned or Fourier",
        ),
        (lambda: OutputModality("a/b", 1, (2,), 3), "must be readable text"),
        (lambda: OutputModality("x", 1, (2,)), "set one of the two"),
        (lambda: OutputModality("x", 1, (2,), 3, learned_query_dim=4), "set one of the two"),
        (lambda: OutputModality("x", 1, (2,), 3, max_fourier_freq=(1, 2)), "needs one number"),
        (lambda: OutputModality("x", 1, ()), "set one of the two"),
        (lambda: OutputModality("x", 1, (), 3), "no positions"),
        (lambda: OutputModality("x", 1, 2, 3), "query_shape must be a list"),
    ],
)
def test_modalities_check_themselves(make, message):
    with pytest.raises(SpecError, match=message):
        make()


# Patches


def test_patches_are_blocks_of_neighbours(ops, rng):
    video = rng.standard_normal((2, 4, 6, 10, 3), dtype=np.float32)
    patches = ops.to_numpy(space_to_depth(ops.asarray(video), (2, 3, 5)))
    assert patches.shape == (2, 2, 2, 2, 90)
    np.testing.assert_array_equal(patches[1, 0, 1, 1], video[1, :2, 3:, 5:].reshape(-1))
    back = ops.to_numpy(depth_to_space(ops.asarray(patches), (2, 3, 5)))
    np.testing.assert_array_equal(back, video)


def test_a_model_of_patches_is_one_of_their_elements(backend, rng):
    images = rng.standard_normal((2, 6, 10, 3), dtype=np.float32)
    spec = small_spec(patch_shape=(2, 5), max_fourier_freq=(3, 2))
    model = PerceiverIO(spec)
    flat = images.reshape(2, 3, 2, 2, 5, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 3, 2, 30)
    expected = PerceiverIO(spec.replace(patch_shape=None, input_dim=30))(flat)
    np.testing.assert_allclose(numpy_of(model(images)), numpy_of(expected), atol=1e-5)
    mask = np.ones((3, 2), bool)
    mask[0, 1] = False
    masked = numpy_of(model(images, mask))
    assert np.abs(masked - numpy_of(expected)).max() > 1e-4
    images[:, :2, 5:] = np.nan
    np.testing.assert_allclose(numpy_of(model(images, mask)), masked, atol=1e-6)
    with pytest.raises(InputError, match="not multiples of the patches"):
        model(images[:, :5])
