"""The model through its public call."""

import itertools

import helpers.ivy_ops  # noqa: F401  registers the operations of ivy.Array
import numpy as np
import pytest
from helpers import (
    CHOSEN,
    ivy_ops,  # noqa: F401  registers ivy.Array
    unset_backends,
)
from helpers.arrays import compiled, image, numpy_of
from helpers.chunks import set_scores_per_chunk
from helpers.specs import arguments_for, small_spec, specs
from hypothesis import given, settings, strategies as st

from ivy_models.errors import BackendError, InputError, SpecError, WeightsError
from ivy_models.layers.parameters import flatten, map_tree
from ivy_models.ops import ops_named
from ivy_models.shells.ivy_weights import ModuleWithWeights
from ivy_models.transformers.perceiver_io import (
    Decoder,
    GridAdapter,
    PerceiverIO,
    PerceiverIOCore,
    PerceiverIOSpec,
    Processor,
    Reader,
    initialise,
)
import ivy

# All backends agree


@pytest.mark.slow
@pytest.mark.usefixtures("always_streaming")
@settings(max_examples=10)
@given(specs(), st.integers(0, 2**32 - 1))
def test_backends_agree_on_random_specs(spec, seed):
    data, mask, queries = arguments_for(spec, np.random.default_rng(seed))
    outputs = []
    for name in CHOSEN:
        ivy.set_backend(name)
        model = PerceiverIO(spec, seed=seed % 1000)
        outputs.append(numpy_of(model(data, mask, queries)))
    unset_backends()
    assert np.isfinite(outputs[0]).all()
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], atol=1e-4 * max(1, outputs[0].std()))


@pytest.mark.slow
@pytest.mark.usefixtures("always_streaming")
@settings(max_examples=5)
@given(specs(), st.sampled_from(CHOSEN))
def test_native_operations_agree_with_ivys_own(spec, name):
    data, mask, queries = arguments_for(spec, np.random.default_rng(0))
    ivy.set_backend(name)
    model = PerceiverIO(spec)
    native = numpy_of(model(data, mask, queries))
    batch, channels = data.shape[0], spec.input_dim
    wrapped = [
        None if x is None else ivy.array(x)
        for x in (
            data.reshape(batch, *data.shape[1:-1], channels)
            if mask is None
            else np.where(mask[..., None], data, 0),
            None if mask is None else mask.reshape(batch, -1),
            None if queries is None else queries.reshape(batch, -1, spec.queries_dim),
        )
    ]
    slow = numpy_of(PerceiverIOCore(spec, plain_reader=True)(model.v, *wrapped))
    unset_backends()
    np.testing.assert_allclose(native.reshape(slow.shape), slow, atol=1e-4)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(CHOSEN, 2)))
def test_a_model_follows_every_switch_of_backend_and_back(first, second, rng):
    ivy.set_backend(first)
    model, data = PerceiverIO(small_spec()), image(rng, 2, 6, 5, 3)
    before = numpy_of(model(data))
    ivy.set_backend(second)
    np.testing.assert_allclose(numpy_of(model(data)), before, atol=1e-4)
    assert all(ops_named(second).is_array(leaf.data) for _, leaf in flatten(model.v))
    ivy.set_backend(first)
    np.testing.assert_array_equal(numpy_of(model(data)), before)
    unset_backends()


# Inputs


def test_every_kind_of_array_is_taken(backend, rng):
    model, data = PerceiverIO(small_spec()), image(rng, 2, 6, 5, 3)
    expected = numpy_of(model(data))
    for name in CHOSEN:  # arrays of other frameworks are converted
        np.testing.assert_array_equal(numpy_of(model(ops_named(name).asarray(data))), expected)
    for array in (ivy.array(data), data.tolist(), data.astype(np.float64)):
        np.testing.assert_array_equal(numpy_of(model(array)), expected)
    output = model(data)
    assert isinstance(output, ivy.Array)
    assert ops_named(backend).is_array(output.data)


def test_without_a_backend_the_arrays_decide(rng):
    unset_backends()
    model, data = PerceiverIO(small_spec()), image(rng, 6, 5, 3)
    assert isinstance(model(data).data, np.ndarray)
    for name in CHOSEN:
        assert ops_named(name).is_array(model(ops_named(name).asarray(data)).data)


@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (2, 1, 2)])
def test_any_number_of_batch_axes(backend, rng, batch):
    model, data = PerceiverIO(small_spec()), image(rng, *batch, 6, 5, 3)
    output = numpy_of(model(data))
    assert output.shape == (*batch, 1, 5)
    one_by_one = [numpy_of(model(d)) for d in data.reshape(-1, 6, 5, 3)]
    np.testing.assert_allclose(output.reshape(-1, 1, 5), one_by_one, atol=1e-5)


def test_any_resolution(backend, rng):
    model = PerceiverIO(small_spec(max_fourier_freq=(6, 5)))
    for size in [(6, 5), (5, 6), (1, 1), (13, 2)]:
        assert numpy_of(model(image(rng, *size, 3))).shape == (1, 5)
    assert model.spec == small_spec(max_fourier_freq=(6, 5))


def test_masked_inputs_have_no_influence(backend, rng):
    model, data = PerceiverIO(small_spec()), image(rng, 2, 6, 5, 3)
    mask = rng.random((2, 6, 5)) < 0.5
    expected = numpy_of(model(data, mask))
    assert not np.allclose(expected, numpy_of(model(data)))
    for replacement in (7.0, np.nan, np.inf):
        other = np.where(mask[..., None], data, np.float32(replacement))
        np.testing.assert_array_equal(numpy_of(model(other, mask)), expected)
    np.testing.assert_array_equal(numpy_of(model(data, mask.astype(np.int32))), expected)
    np.testing.assert_array_equal(numpy_of(model(data, ivy.array(mask))), expected)


def test_a_mask_for_the_whole_batch(backend, rng):
    model, data = PerceiverIO(small_spec()), image(rng, 2, 6, 5, 3)
    mask = rng.random((6, 5)) < 0.5
    np.testing.assert_array_equal(
        numpy_of(model(data, mask)), numpy_of(model(data, np.stack([mask, mask])))
    )


def test_with_everything_masked_the_inputs_do_not_matter(backend, rng):
    model, nothing = PerceiverIO(small_spec()), np.zeros((6, 5), bool)
    first, second = (numpy_of(model(image(rng, 6, 5, 3), nothing)) for _ in range(2))
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


def test_nan_is_never_a_plausible_answer(backend, rng):
    model, data = PerceiverIO(small_spec()), image(rng, 2, 6, 5, 3)
    data[0, 2, 3, 1] = np.nan
    output = numpy_of(model(data))
    assert np.isnan(output[0]).all()
    assert np.isfinite(output[1]).all()


# General use


@pytest.mark.parametrize("axes", [1, 3, 4])
def test_any_number_of_axes(backend, rng, axes):
    model = PerceiverIO(small_spec(num_input_axes=axes))
    assert numpy_of(model(image(rng, 2, *(4, 3, 2, 3)[:axes], 3))).shape == (2, 1, 5)


def test_dense_output_map(backend, rng):
    model = PerceiverIO(small_spec(query_shape=(4, 3)))
    assert numpy_of(model(image(rng, 2, 6, 5, 3))).shape == (2, 4, 3, 5)


def test_explicit_queries(backend, rng):
    model = PerceiverIO(small_spec(learn_query=False, query_shape=None))
    assert "queries" not in model.v
    data, queries = image(rng, 2, 6, 5, 3), image(rng, 2, 4, 3, 14)
    output = numpy_of(model(data, queries=queries))
    assert output.shape == (2, 4, 3, 5)
    first = numpy_of(model(data[0], queries=queries[0]))
    np.testing.assert_allclose(first, output[0], atol=1e-5)
    shared = numpy_of(model(data, queries=queries[0, 0]))
    np.testing.assert_allclose(shared[0], output[0, 0], atol=1e-5)
    assert shared.shape == (2, 3, 5)


def test_without_head_or_decoder(backend, rng):
    data = image(rng, 2, 6, 5, 3)
    headless = PerceiverIO(small_spec(with_final_head=False))
    assert numpy_of(headless(data)).shape == (2, 1, 14)
    latents = PerceiverIO(small_spec(with_decoder=False, query_shape=None))
    assert numpy_of(latents(data)).shape == (2, 7, 12)
    assert not {"decoder", "queries"} & set(latents.v)


@pytest.mark.parametrize(
    ("tied", "every_layer", "reads", "layers"),
    [(True, False, 1, 1), (True, True, 1, 1), (False, False, 1, 2), (False, True, 2, 2)],
)
def test_layers_have_weights_of_their_own_unless_tied(
    backend, rng, tied, every_layer, reads, layers
):
    spec = small_spec(weight_tie_layers=tied, cross_attend_in_every_layer=every_layer)
    model = PerceiverIO(spec)
    assert len(model.v["reader"]) == reads
    assert len(model.v["processor"]) == layers
    data = image(rng, 2, 6, 5, 3)
    deeper = PerceiverIO(spec.replace(network_depth=3))
    assert not np.allclose(numpy_of(model(data)), numpy_of(deeper(data)))


def test_reading_in_every_layer_reads_again(backend, rng):
    data = image(rng, 6, 5, 3)
    once, every = (
        numpy_of(PerceiverIO(small_spec(cross_attend_in_every_layer=flag))(data))
        for flag in (False, True)
    )
    assert not np.allclose(once, every)


def test_parts_make_the_model(ops, rng):
    """The reader, the processor and the decoder, used one by one, are the model."""
    spec = small_spec()
    model, data = PerceiverIO(spec), image(rng, 2, 6, 5, 3)
    params = map_tree(lambda leaf: leaf.data, model.v)
    adapter = GridAdapter(3, 2, positions=spec.adapter().positions)
    reader = Reader(latent_dim=12, input_dim=adapter.num_channels)
    processor = Processor(latent_dim=12, num_layers=2, num_heads=3)
    decode = Decoder(query_dim=14, latent_dim=12, output_dim=5)

    def call(params, data):
        inputs = adapter({}, data)
        latents = reader(params["reader"]["layer_0"], params["latents"][None], inputs)
        for _ in range(spec.network_depth):
            latents = processor(params["processor"]["layer_0"], latents)
        return decode(params["decoder"], params["queries"][None], latents)

    given = ops.move(ops.asarray(data), like=params["latents"])
    output = compiled(ops, call)(params, given)
    np.testing.assert_allclose(ops.to_numpy(output), numpy_of(model(data)), atol=1e-5)


def test_float64(backend, rng):
    if backend == "jax":
        with pytest.raises(BackendError, match="jax_enable_x64"):
            PerceiverIO(small_spec(dtype="float64"))
        return
    data = image(rng, 2, 6, 5, 3)
    double = numpy_of(PerceiverIO(small_spec(dtype="float64"))(data))
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, numpy_of(PerceiverIO(small_spec())(data)), atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(backend, rng, dtype):
    spec, data = small_spec(), image(rng, 2, 6, 5, 3)
    if backend in ("numpy", "paddle"):  # Paddle on a CPU
        with pytest.raises(BackendError, match='"float32" or "float64", got dtype'):
            PerceiverIO(spec.replace(dtype=dtype))
        return
    full = numpy_of(PerceiverIO(spec)(data))
    for changes in ({}, {"stem": "projection", "stem_dim": 4}):
        model = PerceiverIO(spec.replace(dtype=dtype, **changes))
        assert ops_named(backend).dtype(model.v["latents"].data) == dtype
        assert ops_named(backend).dtype(model(data).data) == dtype
    half = numpy_of(PerceiverIO(spec.replace(dtype=dtype))(data))
    assert 0 < np.abs(half - full).max() < 0.05 * full.std()


def test_many_queries_are_decoded_in_chunks(backend, rng, monkeypatch):
    data = image(rng, 2, 6, 5, 3)
    whole = numpy_of(PerceiverIO(small_spec(query_shape=(11, 3)))(data))
    set_scores_per_chunk(monkeypatch, 2 * 7 * 10)  # 10 queries at a time
    chunked = numpy_of(PerceiverIO(small_spec(query_shape=(11, 3)))(data))
    np.testing.assert_allclose(chunked, whole, atol=1e-5)


# Weights


def test_weights_for_one_call(backend, rng):
    model, other = PerceiverIO(small_spec()), PerceiverIO(small_spec(), seed=1)
    data = image(rng, 6, 5, 3)
    before, expected = numpy_of(model(data)), numpy_of(other(data))
    np.testing.assert_allclose(numpy_of(model(data, v=other.v)), expected, atol=1e-6)
    np.testing.assert_array_equal(numpy_of(model(data)), before)


def test_weights_for_one_call_that_is_refused_are_not_kept(backend, rng):
    model, other = PerceiverIO(small_spec()), PerceiverIO(small_spec(), seed=1)
    data = image(rng, 6, 5, 3)
    before = numpy_of(model(data))
    with pytest.raises(InputError):
        model(data[..., :2], v=other.v)
    with pytest.raises(WeightsError, match="latents"):
        model(data, v={"queries": other.v["queries"]})
    np.testing.assert_array_equal(numpy_of(model(data)), before)


def test_given_weights_are_used_and_checked(backend, rng):
    weights = initialise(PerceiverIOCore(small_spec()).parameters(), seed=5)
    data = image(rng, 6, 5, 3)
    given_weights = numpy_of(PerceiverIO(small_spec(), v=weights)(data))
    np.testing.assert_array_equal(given_weights, numpy_of(PerceiverIO(small_spec(), seed=5)(data)))
    del weights["latents"]
    weights["queries"] = weights["queries"][:, :3]
    weights["extra"] = np.ones(2, np.float32)
    with pytest.raises(WeightsError) as refusal:
        PerceiverIO(small_spec(), v=weights)
    for line in ("1 missing:", "latents", "1 unexpected:", "extra", "(1, 3), expected (1, 14)"):
        assert line in str(refusal.value)


@pytest.mark.parametrize("v", [3, "weights", [1.0], np.ones(3), {3: np.ones(3)}, {"a": {None: 1}}])
def test_weights_that_are_not_a_tree_are_refused(v):
    model, data = PerceiverIO(small_spec()), np.zeros((6, 5, 3), np.float32)
    for refused in (
        lambda: model(data, v=v),
        lambda: PerceiverIO(small_spec(), v=v),
        lambda: model.with_weights(v),
    ):
        with pytest.raises(WeightsError, match="nested dict of weights|names in .* must be text"):
            refused()


def test_weights_of_a_model_or_native_module(backend, rng):
    model, source = PerceiverIO(small_spec()), PerceiverIO(small_spec(), seed=1)
    data = image(rng, 6, 5, 3)
    expected = numpy_of(source(data))
    copies = {"model": source, "v": source.v}
    if "torch" in CHOSEN:
        copies["torch"] = source.to_torch_module()
    if "jax" in CHOSEN:
        copies["jax"] = source.to_jax()
    if "paddle" in CHOSEN:
        copies["paddle"] = source.to_paddle_module()
    for copy in copies.values():
        np.testing.assert_allclose(numpy_of(model.with_weights(copy)(data)), expected, atol=1e-5)


def test_other_modules_have_no_weights_for_a_model():
    with pytest.raises(WeightsError, match="nested dict of weights"):
        PerceiverIO(small_spec()).with_weights(ivy.Linear(2, 3))


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("to_keras_module", "to_keras_model"),
        ("to_flax_module", "to_jax"),
        ("to_haiku_module", "to_jax"),
        ("from_torch_module", "with_weights"),
        ("from_keras_module", "with_weights"),
        ("save", "save_pretrained"),
        ("load", "from_pretrained"),
        ("trace_graph", "compile"),
        ("show_graph", "model_costs"),
        ("register_parameter", "with_weights"),
        ("register_buffer", "with_weights"),
    ],
)
def test_inherited_names_that_do_not_fit_name_the_right_one(name, instead):
    model = PerceiverIO(small_spec())
    for subject in (model, PerceiverIO):
        with pytest.raises(
            AttributeError, match=f"PerceiverIO does not support {name}: .*{instead}"
        ):
            getattr(subject, name)
    assert name not in dir(model)


def test_inherited_names_are_own_refused_or_known_to_work(backend, rng):
    model = PerceiverIO(small_spec())
    inherited = {name for name in dir(model) if not name.startswith("_")} - set(vars(model))
    inherited -= {*vars(PerceiverIO), *vars(ModuleWithWeights)}
    working = {"buffers", "build_mode", "built", "eval", "module_dict"}
    assert inherited == working | {"state_dict", "training"}
    data = image(rng, 6, 5, 3)
    np.testing.assert_array_equal(numpy_of(model.eval()(data)), numpy_of(model(data)))
    assert sorted(model.state_dict) == sorted(model.v)
    assert model.built and not model.training  # noqa: PT018
    for name in working:
        getattr(model, name)


def test_changed_weights_change_the_result(backend, rng):
    model, data = PerceiverIO(small_spec()), image(rng, 6, 5, 3)
    before = numpy_of(model(data))
    model.v["decoder"]["head"]["bias"] = model.v["decoder"]["head"]["bias"] + 1
    np.testing.assert_allclose(numpy_of(model(data)), before + 1, atol=1e-5)
    other = PerceiverIO(small_spec(), seed=1)
    model.v = other.v
    np.testing.assert_array_equal(numpy_of(model(data)), numpy_of(other(data)))


def test_models_do_not_share_state(backend, rng):
    first, second = PerceiverIO(small_spec()), PerceiverIO(small_spec(), seed=1)
    data = image(rng, 6, 5, 3)
    before = numpy_of(first(data))
    assert not np.allclose(numpy_of(second(data)), before)
    np.testing.assert_array_equal(numpy_of(first(data)), before)


def test_a_failed_constructor_leaves_no_trace(backend, rng):
    for _ in range(2):
        with pytest.raises(WeightsError):
            PerceiverIO(small_spec(), v={})
        model = PerceiverIO(small_spec())
        assert model.built
        assert numpy_of(model(image(rng, 6, 5, 3))).shape == (1, 5)


def test_modules_of_the_user_are_still_built_at_once(backend):
    PerceiverIO(small_spec())

    class Own(ivy.Module):
        def _create_variables(self, *, device=None, dtype=None):
            return {"w": ivy.ones((2,))}

        def _forward(self, x):
            return x * self.v.w

    before = len(getattr(ivy.Module, "_init_var", []))
    PerceiverIO(small_spec())
    assert len(getattr(ivy.Module, "_init_var", [])) == before


def test_dropout_is_not_ignored_in_silence(backend):
    assert PerceiverIO(small_spec()).train().eval().built
    with pytest.raises(SpecError, match="does not apply dropout"):
        PerceiverIO(small_spec(attn_dropout=0.1)).train()


def test_repr_names_the_size(backend):
    model = PerceiverIO(small_spec())
    assert f"{model.num_parameters:,} parameters" in repr(model)


# Refusals


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 5, 4), "4 channels; expected .*3 channels"),
        ((3, 6, 5), "The channels go last"),
        ((5, 3), "too few axes"),
        ((0, 6, 5, 3), "is empty"),
        ((2, 0, 5, 3), "is empty"),
    ],
)
def test_data_of_another_shape_is_refused(backend, shape, message):
    with pytest.raises(InputError, match=message):
        PerceiverIO(small_spec())(np.zeros(shape, np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_data_that_are_not_floats_are_refused(backend, dtype):
    with pytest.raises(InputError, match="takes floats"):
        PerceiverIO(small_spec())(np.zeros((6, 5, 3), dtype))


@pytest.mark.parametrize("data", ["image.png", None, [[1, 2], [3]], np.array([{}])])
def test_data_that_are_not_an_array_are_refused(backend, data):
    with pytest.raises(InputError, match="data must be a dense array of real numbers"):
        PerceiverIO(small_spec())(data)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((5, 6), bool), r"expected \(2, 6, 5\)"),
        (np.ones((2, 6, 5), np.float32), "expected booleans"),
        (np.ones((2, 6, 5, 1), bool), "mask has shape"),
    ],
)
def test_wrong_masks_are_refused(backend, rng, mask, message):
    with pytest.raises(InputError, match=message):
        PerceiverIO(small_spec())(image(rng, 2, 6, 5, 3), mask)


def test_an_image_too_small_for_a_convolution_is_refused(backend):
    model = PerceiverIO(small_spec(stem="centred_convolution", stem_dim=4))
    with pytest.raises(InputError, match="needs at least 5 elements on each axis"):
        model(np.ones((4, 9, 3), np.float32))
    assert model(np.ones((5, 9, 3), np.float32)).shape == (1, 5)


def test_a_mask_with_a_convolution_is_refused(backend, rng):
    model = PerceiverIO(small_spec(stem="convolution", stem_dim=4))
    with pytest.raises(InputError, match="mixes neighbours"):
        model(image(rng, 6, 5, 3), np.ones((6, 5), bool))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 13), "expected .*14"),
        ((3, 4, 14), "does not begin with the data's batch axes"),
        ((14,), "queries have shape"),
        ((0, 14), "queries are empty"),
    ],
)
def test_wrong_queries_are_refused(backend, rng, shape, message):
    model = PerceiverIO(small_spec(learn_query=False, query_shape=None))
    with pytest.raises(InputError, match=message):
        model(image(rng, 2, 6, 5, 3), queries=image(rng, *shape))


def test_queries_without_an_axis_need_a_query_shape(backend, rng):
    data, queries = image(rng, 2, 3, 6, 5, 3), image(rng, 2, 3, 14)
    model = PerceiverIO(small_spec(learn_query=False, query_shape=None))
    with pytest.raises(InputError, match=r"batch axes and channels.*query_shape=\(\)"):
        model(data, queries=queries)
    assert PerceiverIO(model.spec.replace(query_shape=()))(data, queries=queries).shape == (2, 3, 5)


def test_queries_are_passed_where_the_model_needs_them(backend, rng):
    data = image(rng, 6, 5, 3)
    with pytest.raises(InputError, match="each call passes queries"):
        PerceiverIO(small_spec(learn_query=False, query_shape=None))(data)
    with pytest.raises(InputError, match="without a decoder"):
        PerceiverIO(small_spec(with_decoder=False))(data, queries=image(rng, 4, 14))
    with pytest.raises(InputError, match="the spec's query_shape is"):
        PerceiverIO(small_spec(learn_query=False, query_shape=(2, 3)))(
            data, queries=image(rng, 3, 2, 14)
        )


def test_learned_positions_take_their_own_size_only(backend, rng):
    spec = small_spec(
        fourier_encode_input=False, learned_position_shape=(6, 5), learned_position_dim=4
    )
    assert numpy_of(PerceiverIO(spec)(image(rng, 6, 5, 3))).shape == (1, 5)
    with pytest.raises(InputError, match=r"\(5, 6\).*learned positions.*\(6, 5\)"):
        PerceiverIO(spec)(image(rng, 5, 6, 3))


def test_other_types_than_a_spec_are_refused():
    with pytest.raises(SpecError, match="spec must be a PerceiverIOSpec, got dict"):
        PerceiverIO({"input_dim": 3})


def test_a_backend_without_operations_is_refused(monkeypatch, rng):
    model = PerceiverIO(small_spec())
    monkeypatch.setattr(ivy, "current_backend_str", lambda: "mxnet")
    with pytest.raises(BackendError, match="'mxnet'; the models run on numpy, torch"):
        model(image(rng, 6, 5, 3))


def test_arrays_that_carry_gradients_elsewhere_are_refused(rng):
    torch = pytest.importorskip("torch")
    ivy.set_backend("numpy")
    data = torch.ones((6, 5, 3), requires_grad=True)
    with pytest.raises(InputError, match="requires gradients"):
        PerceiverIO(PerceiverIOSpec(3, 2, 5, query_shape=[1], num_latents=4, latent_dim=16))(data)
    unset_backends()
