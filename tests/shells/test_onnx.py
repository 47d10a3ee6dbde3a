"""ONNX files that the core writes itself, run by ONNX Runtime."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import CHOSEN
from helpers.arrays import numpy_of
from helpers.chunks import set_scores_per_chunk
from helpers.processes import ONE_HEAP, python
from helpers.specs import (
    arguments_for,
    columns_data,
    columns_spec,
    flow_spec,
    language_spec,
    multimodal_data,
    multimodal_spec,
    small_spec,
    specs,
)
from hypothesis import given, settings, strategies as st

from ivy_models import OnnxModel, create_model
from ivy_models.checkpoints.onnx_file import CONFIG
from ivy_models.errors import InputError, WeightsError
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

IMAGE = (2, 11, 7, 3)


def named(name, argument):
    """An argument, or several by modality, as inputs of a graph."""
    if argument is None:
        return {}
    if isinstance(argument, dict):
        return {f"{name}.{part}": array for part, array in argument.items()}
    return {name: argument}


def outputs_of(path, data, mask=None, queries=None):
    """Outputs of a file by name."""
    session = onnxruntime.InferenceSession(path)
    feeds = named("data", data) | named("mask", mask) | named("queries", queries)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def check(model, path, data, mask=None, queries=None, backends=("numpy",)):
    """Compare a file with the model. The backends agree with each other by tests of their own."""
    onnx.checker.check_model(path, full_check=True)
    outputs = outputs_of(path, data, mask, queries)
    for backend in backends:
        ivy.set_backend(backend)
        expected = named("output", model(data, mask, queries))
        assert outputs.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_allclose(outputs[name], numpy_of(array), atol=1e-4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


@pytest.fixture
def small_chunks(monkeypatch, always_streaming):
    """Loops over chunks in small models."""
    set_scores_per_chunk(monkeypatch, 150)


CASES = {
    "image": (small_spec(), (11, 7, 3)),
    "patches": (small_spec(patch_shape=(2, 2)), (8, 6, 3)),
    "convolution": (small_spec(stem="convolution", stem_dim=4), (9, 7, 3)),
    "centred convolution": (small_spec(stem="centred_convolution", stem_dim=4), (9, 7, 3)),
    "two convolutions": (small_spec(stem="two_convolutions", stem_dim=4), (9, 7, 3)),
    "flow": (flow_spec(), (2, 8, 6, 3)),
    "many outputs": (small_spec(query_shape=(9, 31)), (11, 7, 3)),
    "latents": (small_spec(with_decoder=False), (11, 7, 3)),
}


def test_every_backend_gives_the_same(path, rng):
    model = PerceiverIO(small_spec())
    model.to_onnx(path)
    check(model, path, rng.standard_normal(IMAGE, dtype=np.float32), backends=CHOSEN)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", ["fixed", "open batch", "open"])
def test_data_on_a_grid(case, shape, small_chunks, path, rng):
    spec, axes = CASES[case]
    model = PerceiverIO(spec)
    model.to_onnx(path, {"fixed": (2, *axes), "open batch": (None, *axes), "open": None}[shape])
    check(model, path, rng.standard_normal((2, *axes), dtype=np.float32))


@pytest.mark.parametrize("shape", [(2, 11), (None, 11), None])
def test_text(shape, path, rng):
    model = PerceiverIO(language_spec())
    model.to_onnx(path, shape, mask=True)
    mask = rng.random((2, 11)) < 0.7
    mask[1] = False
    check(model, path, rng.integers(0, 262, (2, 11)), mask)


@pytest.mark.parametrize("batch", [2, None, "open"])
def test_several_modalities(batch, small_chunks, path, rng):
    model, data = PerceiverIO(multimodal_spec()), multimodal_data(rng)
    shape = {name: (batch, *array.shape[1:]) for name, array in data.items()}
    mask = {"sound": rng.random((2, 7)) < 0.5, "image": np.zeros((2, 2, 3, 5), bool)}
    model.to_onnx(path, None if batch == "open" else shape)
    check(model, path, data)
    model.to_onnx(path, None if batch == "open" else shape, mask=True)
    check(model, path, data, mask | {"label": np.ones((2,), bool)})


def test_tokens_and_other_columns(path, rng):
    model, (data, mask) = PerceiverIO(columns_spec()), columns_data(rng)
    model.to_onnx(path, mask=True)
    kinds = {name: np.int64 if x.dtype.kind == "i" else np.float32 for name, x in data.items()}
    check(model, path, {name: x.astype(kinds[name]) for name, x in data.items()}, mask)
    outputs = OnnxModel(path)(data, mask)
    np.testing.assert_allclose(outputs, numpy_of(model(data, mask)), atol=1e-4)


@pytest.mark.slow
@settings(max_examples=15)
@given(spec=specs(), is_open=st.booleans())
def test_random_models(spec, is_open, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    ivy.set_backend("numpy")
    model, rng = PerceiverIO(spec), np.random.default_rng(0)
    data, mask, queries = arguments_for(spec, rng)
    model.to_onnx(path, None if is_open else data.shape, mask=mask is not None)
    outputs = outputs_of(path, data, mask, queries)
    expected = numpy_of(model(data, mask, queries))
    assert outputs["output"].shape == expected.shape
    np.testing.assert_allclose(outputs["output"], expected, atol=1e-4)


@pytest.mark.parametrize("axes", [(2, 3), None])
def test_queries_of_each_call(axes, path, rng):
    model = PerceiverIO(small_spec(learn_query=False, query_shape=axes))
    model.to_onnx(path)
    queries = rng.standard_normal((2, *(axes or (5,)), 14), dtype=np.float32)
    check(model, path, rng.standard_normal(IMAGE, dtype=np.float32), queries=queries)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.03), ("float64", 1e-4)])
def test_other_data_types_become_float32(dtype, tolerance, path, rng):
    ivy.set_backend("torch")
    model = PerceiverIO(small_spec(dtype=dtype))
    model.to_onnx(path)
    data = rng.standard_normal(IMAGE, dtype=np.float32)
    outputs = outputs_of(path, data)
    np.testing.assert_allclose(outputs["output"], numpy_of(model(data)), atol=tolerance)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_activations(activation, gated, path, rng):
    model = PerceiverIO(small_spec(activation=activation, gated_mlp=gated))
    model.to_onnx(path)
    check(model, path, rng.standard_normal(IMAGE, dtype=np.float32))


@pytest.mark.parametrize("is_open", [True, False])
def test_coordinates(is_open, small_chunks, path, rng):
    spec = small_spec(
        num_input_axes=1,
        num_position_axes=2,
        num_query_position_axes=2,
        max_fourier_freq=10.0,
        learn_query=False,
        query_shape=None,
        query_residual=False,
    )
    model = PerceiverIO(spec)
    data = rng.standard_normal((2, 40, 3), dtype=np.float32)
    positions = rng.uniform(-1, 1, (2, 40, 2)).astype(np.float32)
    queries = rng.uniform(-1, 1, (2, 50, 2)).astype(np.float32)
    shape = {"data": (None, 40, 3), "positions": (None, 40, 2)}
    model.to_onnx(path, None if is_open else shape)
    session = onnxruntime.InferenceSession(path)
    feeds = {"data": data, "positions": positions, "queries": queries}
    (outputs,) = session.run(None, feeds)
    expected = numpy_of(model(data, positions=positions, queries=queries))
    np.testing.assert_allclose(outputs, expected, atol=1e-4)


def test_the_shared_block_is_written_once(path):
    sizes = []
    for depth in (2, 9):
        PerceiverIO(small_spec(network_depth=depth)).to_onnx(path, IMAGE)
        sizes.append(path.stat().st_size)
    assert sizes[0] == sizes[1]


def test_a_loop_holds_only_what_changes_between_its_turns(small_chunks, path):
    PerceiverIO(small_spec(network_depth=1, with_decoder=False)).to_onnx(path, IMAGE)
    graph = onnx.load(path).graph
    (loop,) = (node for node in graph.node if node.op_type == "Loop")  # the reader's
    body = loop.attribute[0].g
    assert not body.initializer
    assert "Exp" in {node.op_type for node in body.node}
    assert {"LayerNormalization", "Constant"}.isdisjoint(node.op_type for node in body.node)


@pytest.mark.parametrize("tied", [True, False])
def test_a_part_of_a_model(tied, path, rng):
    model = PerceiverIO(small_spec(network_depth=3, weight_tie_layers=tied))
    data, sizes = rng.standard_normal(IMAGE, dtype=np.float32), []
    for part in ({"depth": 2}, {"depth": 1, "num_layers": 1, "num_latents": 3}):
        model.to_onnx(path, **part)
        exported = OnnxModel(path)
        np.testing.assert_allclose(exported(data), numpy_of(model(data, **part)), atol=1e-5)
        assert exported.spec.network_depth == part["depth"]
        sizes.append(path.stat().st_size)
    assert sizes[1] < sizes[0]
    with pytest.raises(InputError, match="depth must be an integer from 1 to 3"):
        model.to_onnx(path, depth=4)


def test_metadata_describe_the_model(path):
    model = create_model("perceiver_io_digits", pretrained=True)
    model.to_onnx(path)
    session = onnxruntime.InferenceSession(path)
    config = json.loads(session.get_modelmeta().custom_metadata_map[CONFIG])
    assert config["task"]["labels"] == list(model.labels)
    assert config["task"]["preprocessing"]["kind"] == "ImagePreprocessing"
    assert config["num_latents"] == model.spec.num_latents
    assert [i.name for i in session.get_inputs()] == ["data"]
    assert session.get_inputs()[0].shape[0] == "batch"
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 11, 7, 4), "4 channels"),
        ((11, 3), "too few axes"),
        ((2, 2, 11, 7, 3), "one batch axis"),
        ({"image": IMAGE}, "a sequence of sizes"),
        ((2, -1, 7, 3), "shape holds sizes"),
    ],
)
def test_a_shape_that_does_not_fit(shape, message, path):
    with pytest.raises(InputError, match=message):
        PerceiverIO(small_spec()).to_onnx(path, shape)
    assert not path.exists()


def test_a_mask_of_a_convolution_is_refused(path):
    with pytest.raises(InputError, match="mixes neighbours"):
        PerceiverIO(small_spec(stem="convolution", stem_dim=4)).to_onnx(path, mask=True)


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(WeightsError, match="cannot be written"):
        PerceiverIO(small_spec()).to_onnx(tmp_path / "missing" / "model.onnx")


def test_a_file_of_2_gib_is_refused(monkeypatch, path):
    monkeypatch.setattr("ivy_models.shells.onnx.MAX_BYTES", 1000)
    with pytest.raises(WeightsError, match="holds less than 2 GiB"):
        PerceiverIO(small_spec()).to_onnx(path)


def test_the_command(run, tmp_path):
    path = tmp_path / "digits.onnx"
    result = run("export", "perceiver_io_digits", str(path))
    assert result.exit_code == 0, result.output
    session = onnxruntime.InferenceSession(path)
    assert session.get_inputs()[0].shape == ["batch", 8, 8, 1]
    result = run("export", "perceiver_io_digits", str(path), "--any-size", "--batch-size", "3")
    assert result.exit_code == 0, result.output
    (data,) = onnxruntime.InferenceSession(path).get_inputs()
    assert data.shape[0] == 3
    assert data.shape[3] == 1
    result = run("export", "perceiver_io_digits", str(path), "--depth", "1")
    assert result.exit_code == 0, result.output
    assert OnnxModel(path).spec.network_depth == 1


def test_the_command_refuses_contradictions(run, tmp_path):
    folder = tmp_path / "folder"
    create_model("perceiver_io_digits", pretrained=True).save_pretrained(folder)
    for message, arguments in (
        ("not both", ["perceiver_io_digits", "--any-size", "--size", "8"]),
        ("leave out", [str(folder), "--weights", str(folder)]),
    ):
        result = run("export", *arguments, str(tmp_path / "x.onnx"))
        assert result.exit_code == 2
        assert message in result.output


EXPORTED = """
import resource, sys
import numpy as np
import ivy_models, ivy
from ivy_models import PerceiverIO, PerceiverIOSpec

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

ivy.set_backend("numpy")
sizes = {"input_dim": 3, "num_input_axes": 1, "output_dim": 2, "query_shape": [], "queries_dim": 8}
sizes |= {"network_depth": 1, "num_lat_att_per_layer": 2, "num_latents": 4}
PerceiverIO(PerceiverIOSpec(**sizes, latent_dim=8)).to_onnx(sys.argv[1])
model = PerceiverIO(PerceiverIOSpec(**sizes, latent_dim=1024))
before = peak()
model.to_onnx(sys.argv[1])
print((peak() - before) / (4 * model.num_parameters))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
def test_the_weights_are_not_copied(path):
    assert float(python(EXPORTED, path, **ONE_HEAP)) < 0.75
