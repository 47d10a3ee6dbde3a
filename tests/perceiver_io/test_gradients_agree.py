"""Gradients of torch, JAX and TensorFlow agree with each other and with finite differences.

Together the cases use every field of a spec. Both readers compute each case.
"""

import functools
import itertools
from dataclasses import fields, replace

import numpy as np
import pytest
from helpers.chunks import set_scores_per_chunk
from helpers.gradients import TRAINED, directional_derivatives, value_and_gradients
from helpers.specs import (
    columns_data,
    columns_spec,
    flow_spec,
    language_spec,
    multimodal_data,
    multimodal_spec,
    points,
    points_spec,
    sites_data,
    sites_spec,
    small_spec,
)

from ivy_models.layers.parameters import map_tree
from ivy_models.transformers.perceiver_io import (
    InputModality,
    OutputModality,
    PerceiverIOCore,
    PerceiverIOSpec,
    initialise,
)
from ivy_models.transformers.perceiver_io.inputs.stems import CONVOLUTIONS, STEMS

READERS = {"plain": True, "streaming": False}

SCORES_PER_CHUNK = 120
"""Few enough that readers and decoders need several chunks and a rest."""

STEP = 1e-5
"""Step of finite differences, with which rounding and curvature cause errors of at most 4e-8."""

NOT_DIFFERENTIATED = {
    "device": "says where, not what is computed",
    "dtype": "is that of the arrays which a core is called with",
    "attn_dropout": "is random; see test_dropout.py",
    "fc_dropout": "is random; see test_dropout.py",
    "seq_dropout": "is random; see test_dropout.py",
    "position_range": "is applied before a core is called; see test_coordinates.py",
}
"""Fields of a spec that no case changes, and why."""


def cases():
    shallow = {"network_depth": 1, "num_lat_att_per_layer": 1}  # JAX takes seconds to compile each
    learned = {"fourier_encode_input": False, "learned_position_dim": 6}
    sound, *others = multimodal_spec().input_modalities[::-1]
    sites = sites_spec(**shallow)
    facts, points = sites.input_modalities
    logarithmic = replace(points, fourier_band_spacing="logarithmic")
    return {
        "patches": small_spec(
            patch_shape=(1, 2),
            max_fourier_freq=(9.0, 4.0),
            num_cross_att_heads=2,
            cross_head_dim=5,
            latent_head_dim=5,
            num_decoder_heads=1,
            decoder_head_dim=3,
            reader_v_dim=6,
            processor_v_dim=9,
            decoder_v_dim=4,
            weight_tie_layers=False,
            cross_attend_in_every_layer=True,
            num_lat_att_per_layer=1,
            reader_widening_factor=2,
            processor_widening_factor=3,
            decoder_widening_factor=2,
            activation="silu",
            gated_mlp=True,
        ),
        "projection": small_spec(
            stem="projection",
            stem_dim=4,
            cross_attend_in_every_layer=True,
            untied_first_layer=True,
            num_lat_att_per_layer=1,
            query_shape=(3, 5),
            exact_gelu=True,
        ),
        "convolution": small_spec(stem="convolution", stem_dim=4, with_final_head=False),
        "centred convolution": small_spec(
            **shallow,
            stem="centred_convolution",
            stem_dim=4,
            with_decoder=False,
            query_shape=None,
        ),
        "two convolutions": small_spec(**shallow, stem="two_convolutions", stem_dim=4),
        "learned positions": small_spec(
            **learned,
            learned_position_shape=(5, 4),
            **shallow,
            learn_query=False,
            query_shape=None,
            query_residual=False,
            output_scale=0.3,
            activation="relu",
        ),
        "column projection": small_spec(
            **learned,
            learned_position_shape=(5, 4),
            **shallow,
            stem="column_projection",
            stem_dim=4,
        ),
        "language": language_spec(**shallow),
        "flow": flow_spec(**shallow, max_fourier_freq=None),
        "coordinates": points_spec(**shallow, fourier_band_spacing="logarithmic"),
        "projected coordinates": points_spec(
            **shallow,
            fourier_encode_input=False,
            learned_position_dim=6,
            pooling="mean",
            query_shape=None,
        ),
        "coordinate queries": small_spec(
            **shallow,
            num_query_position_axes=3,
            max_fourier_freq=9.0,
            learn_query=False,
            query_shape=None,
            query_residual=False,
        ),
        "modalities": multimodal_spec(
            **shallow,
            input_modalities=(replace(sound, max_fourier_freq=7.0), *others),
        ),
        "columns": columns_spec(**shallow),
        "sites": sites.replace(input_modalities=(facts, logarithmic)),
    }


CASES = cases()


def arguments_for(spec):
    """Arguments of a core, by name."""
    rng = np.random.default_rng(1)
    params = map_tree(
        lambda w: w + 0.2 * rng.standard_normal(w.shape),
        initialise(PerceiverIOCore(spec).parameters()),
    )
    mask = queries = None
    if spec.stem in CONVOLUTIONS:
        data = rng.standard_normal((2, 17, 7, 3))
        params["input"]["batch_norm"]["variance"] **= 2  # positive
    elif spec.stem == "two_convolutions":
        data = rng.standard_normal((2, 17, 7, 3))
    elif spec.stem == "frame_pair":
        data = rng.standard_normal((2, 2, 5, 4, 3))
    elif spec == CASES["columns"]:
        data, mask = columns_data(rng)
        data = {name: x if x.dtype.kind == "i" else np.float64(x) for name, x in data.items()}
        mask = {name: x.reshape(2, -1) for name, x in mask.items()}
        params["input"]["photo"]["batch_norm"]["variance"] **= 2  # positive
    elif spec == CASES["sites"]:
        data, positions = (map_tree(np.float64, part) for part in sites_data(rng))
        data = spec.input().with_positions(data, positions)
        mask = {"sites": rng.random((2, 30)) < 0.7}
    elif spec.input_modalities is not None:
        data = map_tree(np.float64, multimodal_data(rng))
        mask = {"image": rng.random((2, 2 * 3 * 5)) < 0.7}
    elif spec.num_position_axes is not None:
        data = dict(zip(("data", "positions"), map(np.float64, points(rng, spec)), strict=True))
        mask = rng.random((2, 11)) < 0.7
    elif spec.vocabulary_size is not None:
        data = rng.integers(0, spec.vocabulary_size, (2, 9), dtype=np.int32)
        mask = rng.random((2, 9)) < 0.7
    else:
        data = rng.standard_normal((2, 5, 4, 3))
        mask = rng.random((2, 10 if spec.patch_shape else 20)) < 0.7
        if not spec.learn_query:
            queries = rng.standard_normal((2, 11, spec.queries().dim))
    return {"params": params, "data": data, "input_mask": mask, "queries": queries}


@functools.cache
def gradients_of(name, case, reader, dtype):
    core = PerceiverIOCore(CASES[case], READERS[reader])
    return value_and_gradients(name, core, arguments_for(CASES[case]), dtype)[1]


@functools.cache
def differences(case):
    # If a step crosses a kink of ReLU or a max pool, a difference is not a derivative. None does
    # with these weights, which are fixed: the step is too short to cross one but by rare chance.
    core = PerceiverIOCore(CASES[case], plain_reader=True)
    return directional_derivatives(core, arguments_for(CASES[case]), STEP)


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch):
    set_scores_per_chunk(monkeypatch, SCORES_PER_CHUNK)


def by_every_framework(jax_reader):
    """All cases, readers and frameworks, except one of JAX's readers, which compiles for seconds.

    test_gradients.py compares the gradients of its two readers.
    """
    slow = {"jax": pytest.mark.slow}
    return pytest.mark.parametrize(
        ("case", "reader", "name"),
        [
            pytest.param(case, reader, name, marks=slow.get(name, ()))
            for case, reader, name in itertools.product(CASES, READERS, TRAINED)
            if name != "jax" or reader == jax_reader
        ],
    )


@by_every_framework(jax_reader="streaming")
def test_frameworks_agree_in_float32(case, reader, name):
    """Each is within 5e-5 of one's gradients in float64, so within 1e-4 of any other."""
    gradients = gradients_of(name, case, reader, "float32")
    reference = gradients_of(TRAINED[0], case, reader, "float64")
    assert gradients.keys() == reference.keys()
    largest = max(np.abs(gradient).max() for gradient in reference.values())
    for key, gradient in gradients.items():
        assert gradient.dtype == np.float32
        assert np.abs(gradient - reference[key]).max() <= 5e-5 * largest, key


@by_every_framework(jax_reader="plain")
def test_gradients_are_finite_differences(case, reader, name):
    gradients = gradients_of(name, case, reader, "float64")
    assert gradients.keys() == differences(case).keys()
    size = max(np.abs(derivative) for _, derivative in differences(case).values())
    for key, (direction, derivative) in differences(case).items():
        error = abs(np.sum(gradients[key] * direction) - derivative)
        # Biases of keys cancel in the softmax, so their gradients are zero.
        assert error <= 1e-6 * np.linalg.norm(gradients[key]) + 1e-10 * size, key


def test_every_option_is_in_a_case():
    every = {
        PerceiverIOSpec: CASES.values(),
        InputModality: [
            modality
            for name in ("modalities", "columns", "sites")
            for modality in CASES[name].input_modalities
        ],
        OutputModality: CASES["modalities"].output_modalities,
    }
    for kind, instances in every.items():
        for field in fields(kind):
            values = {getattr(instance, field.name) for instance in instances}
            if field.name in NOT_DIFFERENTIATED:
                continue
            assert values - {field.default}, field.name
            if isinstance(field.default, bool):
                assert values == {True, False}, field.name
    assert {spec.stem for spec in CASES.values()} == {*STEMS}
