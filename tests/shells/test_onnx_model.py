"""Exported models in the engines ONNX Runtime and OpenVINO."""

import sys

import numpy as np
import onnx
import openvino
import pytest
from helpers.arrays import numpy_of
from helpers.processes import python
from helpers.specs import (
    flow_spec,
    language_spec,
    multimodal_data,
    multimodal_spec,
    small_spec,
)

from ivy_models import OnnxModel, classify, create_model, estimate_flow, fill_mask
from ivy_models.checkpoints import onnx_file
from ivy_models.errors import BackendError, InputError, WeightsError
from ivy_models.preprocessing import ByteTokenizer, ImagePreprocessing
from ivy_models.shells.engines import ENGINES
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

IMAGE = (11, 7, 3)


@pytest.fixture(autouse=True)
def backend():
    ivy.set_backend("numpy")
    yield
    ivy.unset_backend()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


def close(got, expected):
    np.testing.assert_allclose(got, numpy_of(expected), atol=1e-4)


def test_calls(engine, path, rng):
    model = PerceiverIO(small_spec())
    model.to_onnx(path, (None, *IMAGE))
    exported = OnnxModel(path, engine)
    for batch in ((), (2,), (2, 3)):
        data = rng.standard_normal((*batch, *IMAGE), dtype=np.float32)
        close(exported(data), model(data))
    with pytest.raises(InputError, match=r"data has shape \(1, 9, 7, 3\).*for \(any, 11, 7, 3\)"):
        exported(data[0, 0, :9])
    with pytest.raises(InputError, match="4 channels"):
        exported(np.zeros((11, 7, 4), np.float32))
    with pytest.raises(InputError, match="takes no mask"):
        exported(data[0], mask=np.ones((11, 7), bool))
    with pytest.raises(InputError, match="only runs as a whole"):
        exported.encode(data)


def test_a_fixed_batch_size_runs_as_often_as_needed(engine, path, rng):
    model = PerceiverIO(small_spec())
    model.to_onnx(path, (2, *IMAGE))
    data = rng.standard_normal((5, *IMAGE), dtype=np.float32)
    close(OnnxModel(path, engine)(data), model(data))


def test_masks_of_texts(engine, path, rng):
    model = PerceiverIO(language_spec())
    model.to_onnx(path, (None, 11), mask=True)
    exported, tokens = OnnxModel(path, engine), rng.integers(0, 262, (2, 11))
    close(exported(tokens), model(tokens))
    mask = rng.random((2, 11)) < 0.7
    close(exported(tokens, mask), model(tokens, mask))
    close(exported(tokens, mask[0]), model(tokens, mask[0]))


def test_several_modalities(engine, path, rng):
    model, data = PerceiverIO(multimodal_spec()), multimodal_data(rng)
    model.to_onnx(path, {name: (None, *x.shape[1:]) for name, x in data.items()}, mask=True)
    exported, mask = OnnxModel(path, engine), {"sound": rng.random((2, 7)) < 0.5}
    del data["label"]
    outputs, expected = exported(data, mask), model(data, mask)
    assert outputs.keys() == expected.keys()
    for name in expected:
        close(outputs[name], expected[name])
    with pytest.raises(InputError, match="decodes all outputs"):
        exported(data, queries={"sound": None})


def test_queries_and_positions(engine, path, rng):
    model = PerceiverIO(small_spec(learn_query=False, query_shape=(2, 3)))
    model.to_onnx(path, (None, *IMAGE))
    data = rng.standard_normal((2, *IMAGE), dtype=np.float32)
    queries = rng.standard_normal((2, 2, 3, 14), dtype=np.float32)
    exported = OnnxModel(path, engine)
    close(exported(data, queries=queries), model(data, queries=queries))
    close(exported(data, queries=queries[0]), model(data, queries=queries[0]))
    points = small_spec(
        num_input_axes=1,
        num_position_axes=2,
        num_query_position_axes=2,
        learn_query=False,
        query_shape=None,
        max_fourier_freq=10.0,
        position_range=((0, 1), (-3, 1000.3)),
    )
    model = PerceiverIO(points)
    model.to_onnx(path, {"data": (None, 9, 3), "positions": (None, 9, 2)})
    data, positions = rng.random((2, 9, 3), np.float32), rng.random((9, 2), np.float32)
    positions[0], positions[1] = (0, -3), (1, 1000.3)
    arguments = {"data": data, "positions": positions, "queries": positions[:4]}
    close(OnnxModel(path, engine)(**arguments), model(**arguments))


def test_tasks(engine, path, rng):
    digits = create_model("perceiver_io_digits", pretrained=True)
    digits.to_onnx(path)
    images = list(rng.integers(0, 256, (3, 20, 20), np.uint8))
    exported = OnnxModel(path, engine)
    assert exported.labels == digits.labels
    for got, expected in zip(classify(exported, images), classify(digits, images), strict=True):
        assert [p.label for p in got] == [p.label for p in expected]
        np.testing.assert_allclose(
            [p.probability for p in got], [p.probability for p in expected], atol=1e-5
        )
    language = PerceiverIO(language_spec())
    language.tokenizer = ByteTokenizer()
    language.to_onnx(path)
    exported, text = OnnxModel(path, engine), "a [MASK]"
    assert [c.text for c in fill_mask(exported, text)[0]] == [
        c.text for c in fill_mask(language, text)[0]
    ]
    with pytest.raises(InputError, match="does not estimate flow"):
        estimate_flow(exported, *images[:2])
    flow = PerceiverIO(flow_spec())
    flow.to_onnx(path, (1, 2, 9, 11, 3))
    frames = rng.random((2, 6, 5, 3), np.float32)
    close(estimate_flow(OnnxModel(path, engine), *frames), estimate_flow(flow, *frames))


def test_half_precision(path, rng):
    model = PerceiverIO(small_spec())
    model.to_onnx(path, (None, *IMAGE))
    with pytest.raises(BackendError, match='"float32", got dtype'):
        OnnxModel(path, dtype="bfloat16")
    with pytest.raises(BackendError, match="float32 or bfloat16, got dtype 'float16'"):
        OnnxModel(path, "openvino", dtype="float16")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(BackendError, match="does not compute in bfloat16"):
            OnnxModel(path, "openvino", dtype="bfloat16")
        return
    half, data = OnnxModel(path, "openvino", dtype="bfloat16"), rng.random(IMAGE, np.float32)
    assert 0 < np.abs(half(data) - numpy_of(model(data))).max() < 0.05


def test_engines_that_are_not_there(engine, path, monkeypatch):
    PerceiverIO(small_spec()).to_onnx(path)
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(BackendError, match=rf'pip install "\.\[{engine}\]"'):
        OnnxModel(path, engine)
    with pytest.raises(BackendError, match="no engine 'openvin'. Did you mean openvino"):
        OnnxModel(path, "openvin")


def test_files_that_are_refused(path, tmp_path):
    model = PerceiverIO(small_spec())
    model.to_onnx(path)
    onnx.checker.check_model(path, full_check=True)
    content = path.read_bytes()
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    other = onnx.load(path)
    del other.metadata_props[:]
    for broken in (b"", b"hello", content[:-1], content[:1000], changed, other.SerializeToString()):
        path.write_bytes(broken)
        with pytest.raises(
            WeightsError, match=r"model\.onnx is not an ONNX file that this library"
        ):
            OnnxModel(path)
    path.write_bytes(content.replace(b"ivy_models.seal.1", b"ivy_models.seal.2"))
    with pytest.raises(WeightsError, match="another format of ONNX files"):
        OnnxModel(path)
    with pytest.raises(WeightsError, match=r"missing\.onnx cannot be read: .*No such file"):
        OnnxModel(tmp_path / "missing.onnx")
    with pytest.raises(WeightsError, match="not a regular file"):
        OnnxModel(tmp_path)


def test_a_sealed_file_that_does_not_run(engine, path):
    onnx_file.write_sealed(path, [b"hello"])
    with pytest.raises(WeightsError, match=rf"model\.onnx does not run in {engine}"):
        OnnxModel(path, engine)


def test_attributes_are_checked(path):
    PerceiverIO(small_spec()).to_onnx(path)
    exported = OnnxModel(path)
    exported.preprocessing = ImagePreprocessing((11, 7))
    with pytest.raises(InputError, match="labels must be"):
        exported.labels = "cat"


DROPPED = """
import gc, signal, sys, threading
from ivy_models import OnnxModel

held = [OnnxModel(sys.argv[1], "openvino")]

def drop():
    held.clear()
    gc.collect()

thread = threading.Thread(target=drop)
thread.start()
thread.join()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
signal.raise_signal(signal.SIGINT)
"""
"""OpenVINO's memory is the stack of the main thread's handlers, and another thread frees it."""


def test_a_signal_is_handled_after_another_thread_dropped_a_model(path):
    PerceiverIO(small_spec(network_depth=1, num_lat_att_per_layer=1)).to_onnx(path, (None, *IMAGE))
    assert python(DROPPED, path) == "handled\n"
