import copy
import inspect
import pickle
from dataclasses import fields

import pytest
from helpers.specs import SMALL, flow_spec, language_spec, multimodal_spec, small_spec, specs
from hypothesis import given

from ivy_models import create_model
from ivy_models.errors import SpecError
from ivy_models.preprocessing import ImagePreprocessing
from ivy_models.transformers.perceiver_io import InputModality, PerceiverIOCore, PerceiverIOSpec


@given(specs())
def test_json_round_trip(spec):
    assert PerceiverIOSpec.from_json(spec.to_json()) == spec


def test_json_without_later_fields_gives_their_defaults():
    written = small_spec(exact_gelu=True).to_dict()
    for name in ("reader", "processor", "decoder"):
        del written[f"{name}_widening_factor"]
    del written["activation"], written["gated_mlp"]
    assert PerceiverIOSpec.from_dict(written) == small_spec(exact_gelu=True)


def test_the_mission_spec_is_the_published_model():
    spec = PerceiverIOSpec(
        input_dim=3,
        num_input_axes=2,
        output_dim=1000,
        queries_dim=1024,
        network_depth=8,
        learn_query=True,
        query_shape=[1],
        num_fourier_freq_bands=64,
        num_lat_att_per_layer=6,
        device="cuda",
    )
    assert spec.encoded_dim == 261
    assert spec.query_shape == (1,)
    assert hash(spec) == hash(spec.replace())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_latents": 0}, "num_latents must be an integer of at least 1, got 0"),
        ({"latent_dim": 1.5}, "latent_dim must be an integer"),
        ({"network_depth": True}, "network_depth must be an integer"),
        ({"learn_query": 1}, "learn_query must be True or False"),
        (
            {"num_self_att_heads": 5},
            "12 latent channels cannot be divided among 5.*latent_head_dim",
        ),
        ({"num_cross_att_heads": 2}, "21 input channels cannot be divided among 2.*cross_head_dim"),
        ({"query_shape": None}, "learn_query=True needs query_shape"),
        ({"query_shape": 1}, "query_shape must be a list of integers"),
        ({"query_shape": [2, 0]}, "each size of query_shape"),
        ({"max_fourier_freq": -1.0}, "max_fourier_freq must be above 0"),
        ({"max_fourier_freq": float("nan")}, "max_fourier_freq must be a finite number"),
        ({"max_fourier_freq": (4, 4, 4)}, "each of the 2 input axes"),
        ({"attn_dropout": 1.0}, r"attn_dropout must be in \[0, 1\)"),
        ({"fc_dropout": -0.1}, "fc_dropout"),
        ({"seq_dropout": 1.0}, r"seq_dropout must be in \[0, 1\)"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"device": 0}, "device must be a name"),
        ({"processor_widening_factor": -1}, "processor_widening_factor must be an integer"),
        ({"reader_widening_factor": 1.5}, "reader_widening_factor must be an integer"),
        ({"activation": "geglu"}, "one of gelu, relu, silu, got 'geglu'. With gated_mlp=True"),
        ({"activation": "relu", "exact_gelu": True}, "needs activation='gelu', got 'relu'"),
        ({"stem": "resnet", "stem_dim": 4}, "stem must be one of None"),
        ({"stem": "projection"}, "Set both stem and stem_dim"),
        ({"stem": "convolution", "stem_dim": 4, "num_input_axes": 1}, "2 axes"),
        ({"stem": "column_projection", "stem_dim": 4}, "needs learned positions"),
        ({"learned_position_shape": (4, 4)}, "go together"),
        (
            {"learned_position_shape": (4, 4), "learned_position_dim": 3},
            "either learned or Fourier",
        ),
        (
            {
                "learned_position_shape": (4,),
                "learned_position_dim": 3,
                "fourier_encode_input": False,
            },
            "each of the 2 input axes",
        ),
    ],
)
def test_contradictions_are_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        PerceiverIOSpec(**(SMALL | changes))


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (flow_spec, {"learn_query": True, "query_shape": (1,)}),
        (flow_spec, {"with_decoder": False}),
        (flow_spec, {"queries_dim": 24}),
        (language_spec, {"learn_query": False, "tied_head": False}),
        (multimodal_spec, {"output_modalities": None, "queries_dim": 37}),
    ],
)
def test_queries_from_inputs_are_refused_for_other_models(make, changes):
    assert flow_spec().queries_from_inputs
    with pytest.raises(SpecError, match="queries_from_inputs needs a decoder, learn_query=False"):
        make(queries_from_inputs=True, **changes)


def test_unknown_fields_are_refused():
    with pytest.raises(SpecError, match="no field depth. Expected one of input_dim"):
        small_spec().replace(depth=3)
    with pytest.raises(SpecError, match="no field depth"):
        PerceiverIOSpec.from_json('{"depth": 3}')


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("num_latent", "num_latents"),
        ("num_classes", "output_dim"),
        ("d_latents", "latent_dim"),
        ("hidden_act", "activation"),
        ("widening_factor", "processor_widening_factor"),
        ("learn_qery", "learn_query"),
        ("pretraned", "pretrained"),
    ],
)
def test_a_name_for_a_misspelt_one(given, meant):
    with pytest.raises(SpecError, match=f"no field {given}. Did you mean {meant}\\?"):
        create_model("perceiver_io_digits", **{given: 3})


@pytest.mark.parametrize(
    ("make", "given", "meant"),
    [
        (PerceiverIOSpec, "num_latnts", "num_latents"),
        (PerceiverIOSpec, "num_classes", "output_dim"),
        (InputModality, "inputdim", "input_dim"),
        (ImagePreprocessing, "chanels", "channels"),
    ],
)
def test_constructors_suggest_a_name_for_a_misspelt_one(make, given, meant):
    with pytest.raises(SpecError, match=f"{make.__name__} has no field {given}. .* {meant}\\?"):
        make(**{given: 3})
    assert "kwargs" not in str(inspect.signature(make)), "editors show the fields"


def test_names_of_other_libraries_lead_to_fields():
    assert set(PerceiverIOSpec.OTHER_NAMES.values()) <= {
        field.name for field in fields(PerceiverIOSpec)
    }
    with pytest.raises(SpecError, match="no model 'perceiver_io_digit'. Did you mean perceiver_io"):
        create_model("perceiver_io_digit")


@pytest.mark.parametrize("text", ["[1]", "{", '{"input_dim": 3}', "null"])
def test_broken_json_is_refused(text):
    with pytest.raises(SpecError, match="A spec"):
        PerceiverIOSpec.from_json(text)


def test_copies_and_pickles_hold_the_fields_alone():
    core, unused = PerceiverIOCore(small_spec()), PerceiverIOCore(small_spec())
    core.parameters()  # which makes the reader, the decoder and others
    assert core == unused
    assert hash(core) == hash(unused)
    for copied in (pickle.loads(pickle.dumps(core)), copy.deepcopy(core)):
        assert copied == core
        for part in (copied, copied.spec):
            assert vars(part).keys() == {field.name for field in fields(part)}
        assert copied.parameters().keys() == core.parameters().keys()
