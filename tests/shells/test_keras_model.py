"""The Keras model on each of Keras' backends, each of which needs its own process."""

import os
import subprocess
import sys

import pytest
from helpers import CHOSEN, ROOT, TESTS
from helpers.compiling import quick_xla

PRELUDE = """
import sys
import keras
import numpy as np
from helpers.resamplers import textbook
from helpers.specs import (
    columns_data, columns_spec, language_spec, multimodal_data, multimodal_spec, small_spec)

import ivy
from ivy_models.errors import InputError
from ivy_models.shells.keras import GridCrossAttention, Resampler
from ivy_models.transformers.perceiver_io import (
    InputModality, PerceiverIO, PerceiverIOCore, ResamplerSpec, initialise)

def refuses(error, words, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except error as caught:
        assert words in str(caught), caught
    else:
        raise AssertionError(words)

def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)

ivy.set_backend("numpy")
# Without XLA on TensorFlow, where it is the default and slow. The first model trains with it.
QUICKLY = {"jit_compile": keras.backend.backend() == "jax"}
"""

TRAINS = """
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
shallow = {"network_depth": 1, "num_lat_att_per_layer": 1}
model = PerceiverIO(small_spec(stem="convolution", stem_dim=4, **shallow))
data, target = rng.standard_normal((10, 9, 7, 3), np.float32), np.arange(8) % 5
expected = ivy.to_numpy(model(data))

module = model.to_keras_model()
assert isinstance(module, keras.Model)
assert sum(np.prod(w.shape) for w in module.trainable_weights) == model.num_parameters
assert len(module.non_trainable_weights) == 2
paths = {w.path for w in module.weights}
assert "perceiver_io/processor/layer_0/self_attention_0/mlp/hidden/weight" in paths
np.testing.assert_allclose(keras.ops.convert_to_numpy(module(data)), expected, atol=1e-5)
# Batches of 4, 4 and 2: the graph is traced without the batch's size.
np.testing.assert_allclose(module.predict(data, batch_size=4, verbose=0), expected, atol=1e-5)

def loss(true, logits):
    return keras.losses.sparse_categorical_crossentropy(true, logits[:, 0], from_logits=True)

module.compile(optimizer=keras.optimizers.AdamW(5e-3), loss=loss)
# Batches of one size, for which JAX compiles one program.
losses = module.fit(data[:8], target, batch_size=4, epochs=40, verbose=0).history["loss"]
assert losses[-1] < 0.5 < 1 < losses[0], losses
after = module.predict(data, verbose=0)
assert not np.allclose(after, expected)

trained = model.with_weights(module)
np.testing.assert_allclose(ivy.to_numpy(trained(data)), after, atol=1e-5)
np.testing.assert_array_equal(ivy.to_numpy(model(data)), expected)
module.save(sys.argv[1] + "/model.keras")
module.save_weights(sys.argv[1] + "/model.weights.h5")
again = keras.saving.load_model(sys.argv[1] + "/model.keras", compile=False)
np.testing.assert_array_equal(again.predict(data, verbose=0), after)
fresh = model.to_keras_model()
fresh.load_weights(sys.argv[1] + "/model.weights.h5")
np.testing.assert_array_equal(fresh.predict(data, verbose=0), after)

clone = keras.models.clone_model(fresh)
assert np.abs(clone.predict(data, verbose=0)).max() > 0.01  # of random weights, not of zeros

# Inside a functional model, and frozen by its layers.
fresh.get_layer("processor").trainable = False
inputs = keras.Input((9, 7, 3))
functional = keras.Model(inputs, keras.layers.Flatten()(fresh(inputs)))
assert functional.output_shape == (None, 5)
np.testing.assert_allclose(functional.predict(data, verbose=0), after[:, 0], atol=1e-5)
processor = [w for w in fresh.weights if "/processor/" in w.path]
before = [keras.ops.convert_to_numpy(w) for w in processor]
functional.compile(optimizer="sgd", loss="mse", **QUICKLY)
functional.fit(data, after[:, 0] + 1, verbose=0)
for weight, value in zip(processor, before):
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)

mixed = type(module)(model.spec, dtype="mixed_bfloat16")
mixed.set_weights(module.get_weights())
output = keras.ops.convert_to_numpy(keras.ops.cast(mixed(data), "float32"))
np.testing.assert_allclose(output, after, atol=0.3)
assert {keras.backend.standardize_dtype(w.dtype) for w in mixed.weights} == {"float32"}

text = PerceiverIO(language_spec(**shallow)).to_keras_model()
assert text.predict(rng.integers(0, 262, (3, 9)), verbose=0).shape == (3, 9, 262)
refuses(InputError, "channels go last", module, np.zeros((2, 3, 9, 7), np.float32))
dropout = PerceiverIO(small_spec(attn_dropout=0.3, fc_dropout=0.3, **shallow)).to_keras_model()
data_of = {"training": False}, {"training": True}, {"training": True}
off, first, second = (keras.ops.convert_to_numpy(dropout(data, **named)) for named in data_of)
assert len({x.tobytes() for x in (off, first, second)}) == 3
np.testing.assert_allclose(dropout.predict(data, verbose=0), off, atol=1e-5)
dropout.compile(optimizer="sgd", loss=loss)
dropout.fit(data[:8], target, batch_size=4, verbose=0)

layer = GridCrossAttention(14, 3, num_bands=4, num_heads=2)
queries = keras.Input((7, 14))
pixels = keras.Input((9, 7, 3))
functional = keras.Model([queries, pixels], layer(queries, pixels))
arguments = [rng.standard_normal((10, 7, 14), np.float32), data]
before = functional.predict(arguments, batch_size=4, verbose=0)
assert before.shape == (10, 7, 14)
functional.save(sys.argv[1] + "/layer.keras")
again = keras.saving.load_model(sys.argv[1] + "/layer.keras")
np.testing.assert_array_equal(again.predict(arguments, batch_size=4, verbose=0), before)

spec = ResamplerSpec(7, 8, 3, num_heads=2, head_dim=4, output_dim=5)
layer = Resampler(spec, name="resampler")
assert "resampler/layer_0/cross_attention/attention/query/weight" in {w.path for w in layer.weights}
inputs, mask = rng.standard_normal((10, 9, 7), np.float32), rng.random((10, 9)) < 0.6
symbols = keras.Input((9, 7)), keras.Input((9,), dtype="bool")
functional = keras.Model(symbols, layer(symbols[0], mask=symbols[1]))
assert functional.output_shape == (None, 3, 5) == layer.compute_output_shape((None, 9, 7))
before = functional.predict([inputs, mask], batch_size=4, verbose=0)
expected = textbook(spec, initialise(spec.parameters()), inputs, mask=mask)
np.testing.assert_allclose(before, expected, atol=1e-5)
functional.save(sys.argv[1] + "/resampler.keras")
again = keras.saving.load_model(sys.argv[1] + "/resampler.keras")
np.testing.assert_array_equal(again.predict([inputs, mask], batch_size=4, verbose=0), before)
functional.compile(optimizer="sgd", loss="mse", **QUICKLY)
functional.fit([inputs, mask], before + 1, verbose=0)
assert np.abs(functional.predict([inputs, mask], verbose=0) - before).max() > 1e-3
given = ResamplerSpec(7, 8, None, num_heads=2, head_dim=4, num_layers=2, pooled=True)
several = keras.Input((9, 7)), keras.Input((4, 7))
latents = keras.Input((3, 8))
pooled = keras.Model([*several, latents], Resampler(given)(list(several), latents))
arguments = [inputs, inputs[:, :4], rng.standard_normal((10, 3, 8), np.float32)]
expected = textbook(given, initialise(given.parameters()), arguments[:2], arguments[2])
np.testing.assert_allclose(pooled.predict(arguments, verbose=0), expected, atol=1e-5)
"""

CONVENTIONS = """
rng = np.random.default_rng(0)
shallow = {"network_depth": 1, "num_lat_att_per_layer": 1}
data, mask = rng.standard_normal((4, 9, 7, 3), np.float32), rng.random((4, 9, 7)) < 0.5
module = PerceiverIO(small_spec(**shallow)).to_keras_model()

# Data and mask as one argument.
expected = numbers(module(data, mask=mask))
assert not np.allclose(expected, numbers(module(data)), atol=1e-4)
for packed in ((data, mask), {"data": data, "mask": mask}, {"mask": mask, "data": data}):
    np.testing.assert_allclose(module.predict(packed, verbose=0), expected, atol=1e-5)
    np.testing.assert_allclose(numbers(module(packed)), expected, atol=1e-5)
module.compile("sgd", "mse", **QUICKLY)
for packed in ((data, mask), {"data": data, "mask": mask}):
    module.fit(packed, expected + 1, batch_size=2, verbose=0)
    predicted = module.predict(packed, verbose=0)
    loss = module.evaluate(packed, expected, verbose=0)
    np.testing.assert_allclose(loss, np.square(predicted - expected).mean(), rtol=1e-3)
refuses(InputError, "Pass them once", module, (data, mask), mask=mask)
refuses(InputError, "got data, masks", module, {"data": data, "masks": mask})
refuses(InputError, "a fourth part", module, (data, mask, None, None))
kinds = [InputModality("data", 3, 2), InputModality("label", 4, 0)]
several = PerceiverIO(
    small_spec(input_dim=8, num_input_axes=1, input_modalities=kinds, fourier_encode_input=False,
               **shallow)
).to_keras_model()
by_modality = {"data": data, "label": np.ones((4, 4), np.float32)}
seen = {"data": mask}
expected = numbers(several(by_modality, mask=seen))
assert not np.allclose(expected, numbers(several(by_modality)), atol=1e-4)
for packed in ((by_modality, seen), {"data": by_modality, "mask": seen}):
    np.testing.assert_allclose(several.predict(packed, verbose=0), expected, atol=1e-5)
assert several.compute_output_shape({k: (None, *x.shape[1:]) for k, x in by_modality.items()}) == (
    None, *expected.shape[1:])

# Shapes of outputs, with and without sizes that are known.
def agrees(model, *shapes, arguments):
    output = model(*arguments)
    known = model.compute_output_shape(*(x.shape for x in arguments))
    assert known == tuple(output.shape)
    spec = model.compute_output_spec(*arguments)
    assert keras.backend.standardize_dtype(output.dtype) == spec.dtype
    return model.compute_output_shape(*shapes)

queries = rng.standard_normal((4, 6, 14), np.float32)
given = PerceiverIO(small_spec(learn_query=False, query_shape=None, queries_dim=14, **shallow))
text = PerceiverIO(language_spec(**shallow)).to_keras_model()
tokens = rng.integers(0, 262, (3, 9))
latents = PerceiverIO(small_spec(with_decoder=False, **shallow)).to_keras_model()
half = type(module)(module.spec, dtype="mixed_bfloat16")
open_image = None, None, None, 3
assert agrees(module, open_image, arguments=[data])[0] is None
assert agrees(half, open_image, arguments=[data]) == module.compute_output_shape(open_image)
assert agrees(text, (None, None), arguments=[tokens]) == (None, None, 262)
assert agrees(latents, open_image, arguments=[data]) == (
    None, latents.spec.num_latents, latents.spec.latent_dim)
given = given.to_keras_model()
assert given.compute_output_shape(data.shape, None, queries.shape) == given(
    data, queries=queries).shape
patches = PerceiverIO(small_spec(patch_shape=[3, 7], queries_from_inputs=True, learn_query=False,
    query_shape=None, queries_dim=small_spec(patch_shape=[3, 7]).encoded_dim, **shallow))
patches = patches.to_keras_model()
assert agrees(patches, (None, None, 7, 3), arguments=[data])[:3] == (None, None, 1)
refuses(InputError, "channels", module.compute_output_shape, (None, 9, 7, 4))
timed = keras.layers.TimeDistributed(module)
frames = np.stack([data, data], 1)
np.testing.assert_allclose(numbers(timed(frames))[:, 1], numbers(module(data)), atol=1e-5)
inputs = keras.Input((2, 9, 7, 3))
assert timed(inputs).shape == (None, 2, *module(data).shape[1:])

# Fewer blocks, layers or latents than the model has.
data = rng.standard_normal((2, 6, 5, 3), np.float32)
for with_decoder in (True, False):
    spec = small_spec(with_decoder=with_decoder)
    network = PerceiverIO(spec).to_keras_model()
    core = PerceiverIOCore(spec.replace(network_depth=1, num_latents=3))
    weights = initialise(PerceiverIOCore(spec).parameters())
    expected = core(weights | {"latents": weights["latents"][:3]}, data)
    sizes = {"depth": 1, "num_latents": 3}
    np.testing.assert_allclose(numbers(network(data, **sizes)), expected, atol=1e-4)
    inputs = keras.Input((6, 5, 3))
    functional = keras.Model(inputs, network(inputs, **sizes))
    assert functional.output_shape == (None, *expected.shape[1:]), functional.output_shape
    np.testing.assert_allclose(functional.predict(data, verbose=0), expected, atol=1e-4)
    refuses(InputError, "depth must be an integer from 1 to 2", network, data, depth=3)

# A wide and gated MLP.
spec = small_spec(processor_widening_factor=4, activation="silu", gated_mlp=True)
gated = PerceiverIO(spec).to_keras_model()
shapes = {variable.path: variable.shape for variable in gated.trainable_variables}
assert shapes[f"{gated.name}/processor/layer_0/self_attention_0/mlp/gate/weight"] == (12, 48)
core = PerceiverIOCore(spec)
expected = core(initialise(core.parameters()), data)
gated.save(sys.argv[1] + "/gated.keras")
for network in (gated, keras.saving.load_model(sys.argv[1] + "/gated.keras")):
    np.testing.assert_allclose(
        network.predict(data, verbose=0), expected, rtol=1e-4, atol=1e-4
    )
"""

FILES = """
from keras.src.testing import TestCase

rng, folder = np.random.default_rng(0), sys.argv[1]
data = rng.standard_normal((4, 9, 7, 3), np.float32)
model = PerceiverIO(small_spec(network_depth=1, num_lat_att_per_layer=1))
module = model.to_keras_model()
refuses(InputError, "channels", module, data[..., :2])  # whose shape is not recorded
expected = numbers(module(data))

# Shapes of the groups.
lines = []
module.summary(print_fn=lambda line, **named: lines.append(line))
rows = {name: row for row in "\\n".join(lines).split("\\n") for name in module.parts if name in row}
latents = f"(4, {module.spec.num_latents}, {module.spec.latent_dim})"
assert latents in rows["reader"] and latents in rows["processor"], rows
assert "(4, 1, 5)" in rows["decoder"], rows

# Every part of a model of several modalities has a shape.
wide = PerceiverIO(multimodal_spec()).to_keras_model()
spread = {name: keras.KerasTensor(x.shape) for name, x in multimodal_data(rng).items()}
wide.compute_output_spec(spread)
lines.clear()
wide.summary(print_fn=lambda line, **named: lines.append(line))
assert "?" not in "\\n".join(lines), lines

# Keras would drop the mask of an array.
masked = np.ma.masked_array(data, data > 1)
for call in (module, module.predict, module.evaluate, module.fit):
    refuses(InputError, "masked array", call, masked)

# Mixed precision computes with weights that are cast; what is stored is not.
mixed = type(module)(module.spec, dtype="mixed_bfloat16")
mixed.set_weights(module.get_weights())
again = model.with_weights(mixed.weight_tree())
np.testing.assert_allclose(ivy.to_numpy(again(data)), expected, atol=1e-5)

# Keras' legacy format holds it within a functional model alone.
for save in (module.save, lambda path: keras.saving.save_model(module, path)):
    refuses(InputError, "legacy format", save, folder + "/model.h5")
inputs = keras.Input((9, 7, 3))
functional = keras.Model(inputs, keras.layers.Flatten()(module(inputs)))
functional.save(folder + "/functional.h5")
again = keras.saving.load_model(folder + "/functional.h5")
np.testing.assert_allclose(numbers(again(data)), expected[:, 0], atol=1e-5)
refuses(NotImplementedError, "cannot be quantized", module.quantize, "int8")
np.testing.assert_array_equal(numbers(module(data)), expected)

# Keras' own test of a layer. Its training check would pass both arguments as one.
class LayerTest(TestCase):
    def runTest(self):
        fields = {"query_dim": 14, "data_dim": 3, "num_bands": 4, "num_heads": 2}
        self.run_layer_test(
            GridCrossAttention,
            fields,
            input_shape={"queries_shape": (4, 7, 14), "data_shape": (4, 9, 7, 3)},
            expected_output_shape=(4, 7, 14),
            supports_masking=False,
            run_training_check=False,
        )

LayerTest().runTest()

# Keras would drop the masks of these layers' arguments as well.
grid = GridCrossAttention(14, 3, num_bands=4, num_heads=2)
refuses(InputError, "masked array", grid, np.zeros((4, 7, 14), np.float32), masked)
sampler = Resampler(ResamplerSpec(3, 8, 2, num_heads=2, head_dim=4))
refuses(InputError, "masked array", sampler, masked.reshape(4, -1, 3))

# Programs of other formats, after a call. Keras' torch backend needs torch_xla for a SavedModel.
layer = GridCrossAttention(14, 3, num_bands=4, num_heads=2)
queries = rng.standard_normal((4, 7, 14), np.float32)
arguments = [keras.Input((7, 14)), keras.Input((9, 7, 3))]
around = keras.Model(arguments, layer(*arguments))
columns, (table, hidden) = PerceiverIO(columns_spec()), columns_data(rng)
network = columns.to_keras_model()
of_table = ivy.to_numpy(columns(table))
np.testing.assert_allclose(numbers(network(table)), of_table, atol=1e-5)
masked = numbers(network(table, mask=hidden))
np.testing.assert_allclose(masked, ivy.to_numpy(columns(table, hidden)), atol=1e-5)
network.save(folder + "/columns.keras")
again = keras.saving.load_model(folder + "/columns.keras")
np.testing.assert_array_equal(numbers(again(table)), numbers(network(table)))
again.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), **QUICKLY)
again.fit(table, np.array([0, 3]), verbose=0)
if keras.backend.backend() != "torch":
    import tensorflow as tf

    network.export(folder + "/columns", verbose=False)
    program = tf.saved_model.load(folder + "/columns")
    np.testing.assert_allclose(program.serve(table), of_table, atol=1e-5)
    module.export(folder + "/program", verbose=False)
    program = tf.saved_model.load(folder + "/program")
    np.testing.assert_allclose(program.serve(data), expected, atol=1e-5)
    np.testing.assert_allclose(program.serve(data[:3]), expected[:3], atol=1e-5)
    if keras.backend.backend() == "jax":  # its padded pool has no gradient of open sizes
        small = dict(network_depth=1, num_lat_att_per_layer=1)
        stem = PerceiverIO(small_spec(stem="convolution", stem_dim=4, **small)).to_keras_model()
        signature = [keras.InputSpec(shape=(None, None, None, 3), dtype="float32")]
        stem.export(folder + "/stem", input_signature=signature, verbose=False)
        program = tf.saved_model.load(folder + "/stem")
        for sizes in ((2, 13, 18, 3), (1, 22, 11, 3)):
            pixels = rng.standard_normal(sizes, np.float32)
            np.testing.assert_allclose(program.serve(pixels), numbers(stem(pixels)), atol=1e-5)
    around.export(folder + "/layer", verbose=False)
    program = tf.saved_model.load(folder + "/layer")
    attended = program.serve([queries, data])
    np.testing.assert_allclose(attended, numbers(layer(queries, data)), atol=1e-5)
else:  # fixed sizes, the batch's too
    import onnxruntime

    refuses(InputError, "sizes of an exported program are fixed", module.export, folder + "/x.onnx")
    for format, sizes in (("onnx", (None, 9, 7, 3)), ("torch", (4, None, None, 3))):
        signature = [keras.InputSpec(shape=sizes, dtype="float32")]
        refuses(
            InputError,
            "to_torch_module",
            lambda: module.export(folder + "/x", format=format, input_signature=signature),
        )
    signature = [keras.InputSpec(shape=data.shape, dtype="float32", name="data")]
    module.export(folder + "/x.onnx", format="onnx", input_signature=signature, verbose=False)
    session = onnxruntime.InferenceSession(folder + "/x.onnx")
    np.testing.assert_allclose(session.run(None, {"data": data})[0], expected, atol=1e-5)
if keras.backend.backend() == "tensorflow":
    content = tf.lite.TFLiteConverter.from_keras_model(module).convert()
    interpreter = tf.lite.Interpreter(model_content=content)
    (argument,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(argument["index"], data.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(argument["index"], data)
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(result["index"]), expected, atol=1e-5)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tensorflow", "jax", "torch"])
def test_on_each_backend_of_keras(name, tmp_path):
    """One process for all parts: its imports take as long as each of them."""
    if name not in CHOSEN:
        pytest.skip(f"needs {name}")
    environment = os.environ | quick_xla()
    environment |= {
        "KERAS_BACKEND": name,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]),
    }
    result = subprocess.run(
        [sys.executable, "-c", PRELUDE + TRAINS + CONVENTIONS + FILES, str(tmp_path)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_kerass_numpy_backend_is_refused(tmp_path):
    script = """
import ivy
from helpers.specs import small_spec
from ivy_models.errors import BackendError
from ivy_models.transformers.perceiver_io import PerceiverIO
try:
    PerceiverIO(small_spec()).to_keras_model()
except BackendError as error:
    assert "Keras runs on numpy" in str(error)
else:
    raise AssertionError
"""
    environment = os.environ | {
        "KERAS_BACKEND": "numpy",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]),
    }
    subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, check=True)
