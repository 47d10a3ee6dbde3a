"""Models on the second of two CPU devices: ``python(MAIN, backend)``.

The devices stand for two GPUs, or for a GPU and the CPU. JAX and TensorFlow divide a CPU only
before they are used, so this runs in its own process.
"""

import copy
import pickle
import sys
from dataclasses import replace

import numpy as np

from helpers.arrays import image, numpy_of
from helpers.compiling import optimize_programs
from helpers.devices import divide_cpu
from helpers.specs import FEW_LAYERS, language_spec, multimodal_data, multimodal_spec, small_spec
from helpers.training import DATA, SETTINGS, SPEC
from ivy_models.arrays import device_of, unwrap
from ivy_models.interpret.attention_maps import attention_maps
from ivy_models.interpret.depth import latents_over_depth
from ivy_models.layers.parameters import flatten
from ivy_models.ops import ops_named
from ivy_models.training.batches import Batches
from ivy_models.training.trainers import make_trainer
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

MAIN = "from helpers import second_device; second_device.main()"
SECOND = "cpu:1"


def assert_on(device, tree):
    """Check that all arrays of nested dicts, lists and tuples are on a device."""
    if isinstance(tree, (dict, list, tuple)):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            assert_on(device, branch)
    elif tree is not None:
        assert device_of(unwrap(tree)) == device, (device_of(unwrap(tree)), tree)


def main():
    (backend,) = sys.argv[1:]
    optimize_programs(False)
    divide_cpu(backend)
    ivy.set_backend(backend)
    rng = np.random.default_rng(0)
    data = image(rng, 2, 6, 5, 3)
    model = check_calls(data)
    check_moves(model, data)
    check_copies(model, data)
    check_other_inputs(rng)
    check_native(backend, model, data)
    check_training(backend)


def check_calls(data):
    """Whatever a model computes is on the spec's device, and as on the first one."""
    expected = PerceiverIO(small_spec(**FEW_LAYERS))
    model = PerceiverIO(small_spec(**FEW_LAYERS, device=SECOND))
    assert model.device == SECOND
    output = model(data)
    latents = model.encode(data, mask=np.ones((6, 5), bool))
    assert_on(SECOND, [dict(flatten(model.v)), output, latents, model.decode(latents)])
    assert_on(SECOND, [model(data, num_latents=2), model.encode(data, num_latents=2)])
    assert_on(SECOND, list(attention_maps(model, data)))
    assert_on(SECOND, latents_over_depth(model, data))
    assert_on("cpu", expected(data))
    np.testing.assert_allclose(numpy_of(output), numpy_of(expected(data)), atol=1e-5)
    return model


def check_moves(model, data):
    """``to_device``, Ivy's default device, and data of another device."""
    other = PerceiverIO(model.spec.replace(device="cpu"))
    on_first = ops_named(ivy.current_backend_str()).asarray(data, device="cpu")
    assert_on(SECOND, model(on_first))
    other.to_device(SECOND)
    assert_on(SECOND, [dict(flatten(other.v)), other(data)])
    other.to_device("cpu")
    assert_on("cpu", [dict(flatten(other.v)), other(data)])
    ivy.set_default_device(SECOND)
    try:
        assert PerceiverIO(small_spec(**FEW_LAYERS)).device == SECOND
    finally:
        ivy.unset_default_device()


def check_copies(model, data):
    """Copies within the process, and those that pickle makes."""
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_on(SECOND, [dict(flatten(other.v)), other(data)])


def check_other_inputs(rng):
    """Tokens and modalities, with masks, queries and missing data."""
    language = PerceiverIO(language_spec(**FEW_LAYERS, device=SECOND))
    assert_on(SECOND, language(rng.integers(0, 262, (2, 9)), mask=np.ones((2, 9), bool)))
    spec = multimodal_spec(**FEW_LAYERS, device=SECOND)
    data = multimodal_data(rng)
    del data["label"]
    assert_on(SECOND, PerceiverIO(spec)(data, queries={"image": np.arange(3), "label": None}))


def check_native(backend, model, data):
    """Models of the framework, and of Keras on it, in calls, programs and training."""

    if backend == "jax":
        import jax

        apply, params = model.to_jax()
        assert_on(SECOND, [dict(flatten(params)), jax.jit(apply)(params, data)])
    native = model.to_keras_model()
    assert_on(SECOND, [variable.value for variable in native.weights])
    assert_on(SECOND, native(data))
    native.compile("sgd", "mse")
    native.fit(data, np.zeros((2, 1, 5), np.float32), verbose=0)
    assert_on(SECOND, [variable.value for variable in native.weights])


def check_training(backend):
    """The weights of a step, its optimizer's moments and averages."""
    settings = replace(SETTINGS, backend=backend)
    batches, model = Batches(DATA, settings), PerceiverIO(SPEC.replace(device=SECOND))
    trainer = make_trainer(model, DATA.targets, settings, batches.steps)
    trainer.step(0, batches(0).parts(settings.accumulation))
    if backend == "jax":
        import jax

        assert_on(SECOND, jax.tree.leaves(trainer.arrays))
    else:
        parts = (trainer.network, trainer.optimizer, trainer.average)
        # The number of steps is an integer, which TensorFlow keeps on the CPU.
        arrays = [variable.value for part in parts for variable in part.variables]
        assert_on(SECOND, [array for array in arrays if array.dtype.is_floating])
