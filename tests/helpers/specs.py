"""Small specs, and data for them."""

import numpy as np
from hypothesis import strategies as st

from ivy_models.transformers.perceiver_io import InputModality, OutputModality, PerceiverIOSpec
from ivy_models.transformers.perceiver_io.inputs.grid import CONVOLUTIONS

# Sizes are distinct and mostly prime, so that swapped axes cannot go unnoticed.
SMALL = {
    "input_dim": 3,
    "num_input_axes": 2,
    "output_dim": 5,
    "queries_dim": 14,
    "network_depth": 2,
    "num_latents": 7,
    "latent_dim": 12,
    "num_self_att_heads": 3,
    "query_shape": (1,),
    "num_lat_att_per_layer": 2,
    "num_fourier_freq_bands": 4,
}


FEW_LAYERS = {"network_depth": 1, "num_lat_att_per_layer": 1}
"""For tests of what is before or after the latents: compilers take long for each layer."""


def small_spec(**changes):
    return PerceiverIOSpec(**(SMALL | changes))


def language_spec(**changes):
    """A small masked language model with the published one's vocabulary."""
    language = {
        "input_dim": 14,
        "num_input_axes": 1,
        "output_dim": 262,
        "num_cross_att_heads": 2,
        "cross_head_dim": 3,
        "latent_head_dim": 2,
        "query_shape": (23,),
        "fourier_encode_input": False,
        "learned_position_shape": (23,),
        "query_residual": False,
        "reader_v_dim": 10,
        "processor_v_dim": 15,
        "decoder_v_dim": 8,
        "vocabulary_size": 262,
        "query_per_input": True,
        "tied_head": True,
    }
    return small_spec(**(language | changes))


def flow_spec(**changes):
    """A small model of optical flow."""
    flow = {
        "num_input_axes": 3,
        "output_dim": 2,
        "queries_dim": 5 + 2 * (2 * 4 + 1),
        "learn_query": False,
        "query_shape": None,
        "max_fourier_freq": (9.0, 11.0),
        "stem": "frame_pair",
        "stem_dim": 5,
        "query_residual": False,
        "queries_from_inputs": True,
        "output_scale": 0.2,
    }
    return small_spec(**(flow | changes))


def points_spec(**changes):
    """A small model of points with two coordinates."""
    points = {"num_input_axes": 1, "num_position_axes": 2, "max_fourier_freq": (16.0, 12.0)}
    return small_spec(**(FEW_LAYERS | points | changes))


def points(rng, spec, batch=(2,), number=11):
    """Data and positions that fit ``points_spec``."""
    data = rng.standard_normal((*batch, number, spec.input_dim), dtype=np.float32)
    return data, rng.uniform(-1, 1, (*batch, number, spec.num_position_axes)).astype(np.float32)


def sites_spec(**changes):
    """A small classifier of points with two coordinates, and of a vector."""
    sites = {
        "input_dim": 25,
        "num_input_axes": 1,
        "fourier_encode_input": False,
        "input_modalities": (
            InputModality(
                "sites",
                3,
                1,
                num_fourier_freq_bands=4,
                max_fourier_freq=(16.0, 12.0),
                num_position_axes=2,
                position_range=(0, 1),
            ),
            InputModality("facts", 11, 0),
        ),
    }
    return small_spec(**(FEW_LAYERS | sites | changes))


def sites_data(rng, number=30):
    """Data and positions that fit ``sites_spec``."""
    data = {
        "sites": rng.standard_normal((2, number, 3), dtype=np.float32),
        "facts": rng.standard_normal((2, 11), dtype=np.float32),
    }
    return data, {"sites": rng.uniform(0, 1, (2, number, 2)).astype(np.float32)}


def field_spec(**changes):
    """A small model of images that is decoded at points with two coordinates."""
    field = {
        "num_query_position_axes": 2,
        "max_fourier_freq": (16.0, 12.0),
        "learn_query": False,
        "query_shape": None,
    }
    return small_spec(**(FEW_LAYERS | field | changes))


@st.composite
def specs(draw):
    """Random small specs of every kind."""
    axes = draw(st.integers(1, 3))
    cross_heads = draw(st.sampled_from([1, 2]))
    positions = draw(st.sampled_from(["fourier", "learned", None]))
    stems = [None, "projection", *CONVOLUTIONS] if axes == 2 else [None]
    stem = draw(st.sampled_from(stems))
    if stem in CONVOLUTIONS and positions == "learned":
        positions = None
    activation = draw(st.sampled_from(["gelu", "gelu", "relu", "silu"]))
    tied, with_decoder = draw(st.booleans()), draw(st.booleans())
    pooling = draw(st.sampled_from([None, None, "mean"])) if with_decoder else None
    learned = {"learned_position_shape": (5, 4, 3)[:axes], "learned_position_dim": 6}
    return PerceiverIOSpec(
        input_dim=draw(st.integers(1, 3)),
        num_input_axes=axes,
        output_dim=draw(st.integers(1, 4)),
        queries_dim=draw(st.integers(1, 9)),
        network_depth=draw(st.integers(1, 3)),
        num_latents=draw(st.integers(1, 7)),
        latent_dim=12,
        num_cross_att_heads=cross_heads,
        num_self_att_heads=draw(st.sampled_from([1, 3])),
        cross_head_dim=draw(st.integers(1, 5)) if cross_heads > 1 else None,
        latent_head_dim=draw(st.sampled_from([None, 5])),
        weight_tie_layers=tied,
        untied_first_layer=tied and draw(st.booleans()),
        learn_query=draw(st.booleans()),
        query_shape=None if pooling else draw(st.sampled_from([(), (1,), (2, 3)])),
        num_lat_att_per_layer=draw(st.integers(1, 2)),
        cross_attend_in_every_layer=draw(st.booleans()),
        with_decoder=with_decoder,
        pooling=pooling,
        with_final_head=draw(st.booleans()),
        fourier_encode_input=positions == "fourier",
        num_fourier_freq_bands=draw(st.integers(1, 4)),
        max_fourier_freq=draw(st.sampled_from([None, 10.0])),
        stem=stem,
        stem_dim=4 if stem else None,
        query_residual=draw(st.booleans()),
        exact_gelu=activation == "gelu" and draw(st.booleans()),
        num_decoder_heads=draw(st.sampled_from([None, 1, 2])),
        decoder_head_dim=draw(st.sampled_from([None, 3])),
        reader_widening_factor=draw(st.integers(0, 3)),
        processor_widening_factor=draw(st.integers(0, 3)),
        decoder_widening_factor=draw(st.integers(0, 3)),
        activation=activation,
        gated_mlp=draw(st.booleans()),
        **(learned if positions == "learned" else {}),
    )


def arguments_for(spec, rng, batch=(2,)):
    """Data, mask and queries that fit a spec."""
    axes = spec.learned_position_shape or (5, 4, 3)[: spec.num_input_axes]
    if spec.stem in CONVOLUTIONS:
        axes = (9, 7)
    data = rng.standard_normal((*batch, *axes, spec.input_dim), dtype=np.float32)
    mask = None if spec.stem in CONVOLUTIONS else rng.random((*batch, *axes)) < 0.7
    queries = None
    if spec.with_decoder and not spec.learn_query and spec.pooling is None:
        shape = (*batch, *spec.query_shape, spec.queries_dim)
        queries = rng.standard_normal(shape, dtype=np.float32)
    return data, mask, queries


def multimodal_spec(**changes):
    """A small autoencoder of sound, images and a label."""
    multimodal = {
        "input_dim": 37,
        "num_input_axes": 1,
        "output_dim": 6,
        "queries_dim": 23,
        "learn_query": False,
        "query_shape": None,
        "fourier_encode_input": False,
        "query_residual": False,
        "input_modalities": (
            InputModality("sound", 1, 1, num_fourier_freq_bands=5, patch_shape=(4,)),
            InputModality("image", 3, 3, num_fourier_freq_bands=2, patch_shape=(1, 2, 2)),
            InputModality("label", 11, 0),
        ),
        "output_modalities": (
            OutputModality("sound", 1, (7,), num_fourier_freq_bands=5, patch_shape=(4,)),
            OutputModality(
                "image", 3, (2, 5, 6), num_fourier_freq_bands=2, max_fourier_freq=(2, 5, 9)
            ),
            OutputModality("label", 11, (1,), learned_query_dim=13),
        ),
    }
    return small_spec(**(multimodal | changes))


def multimodal_data(rng, batch=(2,)):
    """Data that fit ``multimodal_spec``."""
    shapes = {"sound": (28, 1), "image": (2, 6, 10, 3), "label": (11,)}
    return {
        name: rng.standard_normal((*batch, *shape), dtype=np.float32)
        for name, shape in shapes.items()
    }


def columns_spec(**changes):
    """A small classifier of tokens, a category, learned positions and two stems."""
    columns = {
        "input_dim": 29,
        "num_input_axes": 1,
        "query_shape": (),
        "fourier_encode_input": False,
        "input_modalities": (
            InputModality("a comment", 14, 1, vocabulary_size=19, learned_position_shape=(11,)),
            InputModality("city", 6, 0, vocabulary_size=4),
            InputModality(
                "numbers",
                2,
                1,
                stem="column_projection",
                stem_dim=4,
                learned_position_shape=(3,),
                learned_position_dim=5,
            ),
            InputModality("photo", 3, 2, num_fourier_freq_bands=2, stem="convolution", stem_dim=8),
            InputModality("relief", 1, 2, patch_shape=(2, 3), stem="projection", stem_dim=7),
        ),
    }
    return small_spec(**(columns | changes))


def columns_data(rng, batch=(2,)):
    """Data that fit ``columns_spec``, and masks that hide some and a whole photo."""
    shapes = {"numbers": (3, 2), "photo": (13, 9, 3), "relief": (4, 6, 1)}
    data = {
        name: rng.standard_normal((*batch, *shape), dtype=np.float32)
        for name, shape in shapes.items()
    }
    data["a comment"] = rng.integers(0, 19, (*batch, 9), dtype=np.int32)
    data["city"] = rng.integers(0, 4, batch, dtype=np.int32)
    grids = {"a comment": (9,), "city": (), "numbers": (3,), "photo": (4, 3), "relief": (2, 2)}
    mask = {name: rng.random((*batch, *grid)) < 0.6 for name, grid in grids.items()}
    mask["photo"][0] = False
    return data, mask
