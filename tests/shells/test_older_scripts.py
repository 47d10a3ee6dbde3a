"""Scripts for the first library of this name: its calls, and what its spec and model are asked."""

import importlib
import json
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from helpers import CHOSEN, unset_backends
from helpers.specs import FEW_LAYERS, small_spec

from ivy_models.errors import BackendError, InputError, SpecError, WeightsError
from ivy_models.ops import ops_named
from ivy_models.transformers.helpers import FeedForward, PreNorm
from ivy_models.transformers.perceiver_io import (
    PerceiverIO,
    PerceiverIOSpec,
    perceiver_io_img_classification,
)
import ivy


def image(rng, *shape):
    return rng.standard_normal(shape, np.float32)


# Imports


@pytest.mark.parametrize("package", ["ivy_models", "ivy_models.transformers"])
def test_packages_have_the_model_and_its_module(package):
    names = {}
    exec(f"from {package} import *", names)  # as scripts of that time import
    module = importlib.import_module(package)
    assert names["perceiver_io"] is module.perceiver_io
    for name in ("PerceiverIO", "PerceiverIOSpec", "perceiver_io_img_classification"):
        expected = globals()[name]
        assert names[name] is getattr(module, name) is getattr(module.perceiver_io, name)
        assert names[name] is expected


# The older library's modules


def test_feed_forward(backend, rng):
    module, x = FeedForward(4), ivy.array(image(rng, 3, 4))
    hidden = ivy.gelu(ivy.matmul(x, ivy.matrix_transpose(module.v["net/submodules/v0/w"])))
    expected = ivy.matmul(hidden, ivy.matrix_transpose(module.v["net/submodules/v2/w"]))
    np.testing.assert_allclose(ivy.to_numpy(module(x)), ivy.to_numpy(expected), atol=1e-6)


@pytest.mark.parametrize("name", ["key_dim", "context_dim"])
def test_layer_norm_before_a_module(backend, rng, name):
    def normed(x):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)

    x, keys, values = (image(rng, 3, 4) for _ in range(3))
    module = PreNorm(4, lambda *args, **kwargs: [*args, *kwargs.values()], **{name: 4})
    if name == "key_dim":
        found = module(*map(ivy.array, (x, keys, values)))
        expected = [normed(x), normed(keys), values]
    else:
        found = module(ivy.array(x), context=ivy.array(keys))
        expected = [normed(x), normed(keys)]
    for array, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(ivy.to_numpy(array), wanted, atol=1e-5)


# Building


def test_pretrained_is_the_second_argument(backend):
    spec = small_spec(output_dim=3)
    assert isinstance(perceiver_io_img_classification(spec, False), PerceiverIO)


def test_weights_are_the_second_argument(backend, rng):
    data = image(rng, 6, 5, 3)
    model = PerceiverIO(small_spec(), None)
    twin = PerceiverIO(small_spec(), model.v)
    np.testing.assert_array_equal(ivy.to_numpy(twin(data)), ivy.to_numpy(model(data)))


def test_keywords_of_ivy_modules(backend, rng):
    spec = small_spec(dtype="float64")
    model = PerceiverIO(
        spec, v=None, device="cpu", dtype="float32", build_mode="on_call", training=True
    )
    assert model(image(rng, 6, 5, 3)).dtype == "float32"
    assert model.training
    assert (model.spec.device, model.spec.dtype) == ("cpu", "float32")
    others = {"buffers": {}, "store_vars": True, "dynamic_backend": False}
    PerceiverIO(small_spec(), with_partial_v=False, **others)
    with pytest.raises(SpecError, match="build_mode must be one of on_init"):
        PerceiverIO(spec, build_mode="later")
    with pytest.raises(SpecError, match="has no buffers, got mean"):
        PerceiverIO(spec, buffers={"mean": np.zeros(3)})
    with pytest.raises(SpecError, match="dropout"):
        PerceiverIO(small_spec(fc_dropout=0.5), training=True)


def test_weights_that_are_not_given_are_drawn_if_asked(backend):
    model, other = (PerceiverIO(small_spec(**FEW_LAYERS), seed=seed) for seed in (0, 1))
    some = {"latents": other.v.latents}
    for v in (some, {}, None):
        partial = PerceiverIO(small_spec(**FEW_LAYERS), v, with_partial_v=True)
        latents = (other if v else model).v.latents
        np.testing.assert_array_equal(ivy.to_numpy(partial.v.latents), ivy.to_numpy(latents))
        np.testing.assert_array_equal(
            ivy.to_numpy(partial.v.queries), ivy.to_numpy(model.v.queries)
        )
    with pytest.raises(WeightsError, match="missing"):
        PerceiverIO(small_spec(**FEW_LAYERS), some)
    with pytest.raises(WeightsError, match="unexpected"):
        PerceiverIO(small_spec(**FEW_LAYERS), {"latent": some["latents"]}, with_partial_v=True)


# Calling


@pytest.mark.slow
def test_queries_of_a_call_replace_the_learned_ones(backend, rng):
    """Three pairs of frames, as in that library's test of optical flow."""
    spec = small_spec(num_input_axes=3, query_shape=[32, 32], queries_dim=32, output_dim=2)
    learned = PerceiverIO(spec)
    frames, queries = image(rng, 3, 2, 32, 32, 3), image(rng, 3, 32, 32, 32)
    weights = {name: leaf for name, leaf in learned.v.items() if name != "queries"}
    given = PerceiverIO(spec.replace(learn_query=False), weights)
    output = ivy.to_numpy(learned(frames, queries=queries))
    assert output.shape == (3, 32, 32, 2)
    np.testing.assert_allclose(output, ivy.to_numpy(given(frames, queries=queries)), atol=1e-5)
    assert np.abs(output - ivy.to_numpy(learned(frames))).max() > 1e-3
    with pytest.raises(InputError, match="the spec's query_shape is"):
        learned(frames, queries=image(rng, 3, 32, 31, 32))


# Devices

SAME = ["cpu", "cpu:0", "CPU:0", "/CPU:0", "/job:localhost/replica:0/task:0/device:CPU:0"]
GPU = [("gpu:0", "cuda:0"), ("cuda:1", "cuda:1"), ("gpu", "cuda"), ("/device:GPU:1", "cuda:1")]


def test_devices_are_written_as_in_any_framework(backend):
    native = ivy.as_native_dev("cpu")
    for device in [*SAME, ivy.Device("cpu"), native]:
        model = PerceiverIO(small_spec(device=device))
        assert model.spec.device == "cpu"
        assert model.device == "cpu"
    for written, name in GPU:
        assert small_spec(device=written).device == name
    assert PerceiverIOSpec.from_json(small_spec(device=native).to_json()).device == "cpu"


def test_devices_of_frameworks():
    torch = pytest.importorskip("torch")
    assert small_spec(device=torch.device("cuda", 1)).device == "cuda:1"
    assert small_spec(device=torch.device("cpu")).device == "cpu"
    for other in (torch.zeros(1), np.dtype("float32")):  # their "type" is something else
        with pytest.raises(SpecError, match="device must be a name"):
            small_spec(device=other)
    tensorflow = pytest.importorskip("tensorflow")
    config, spec = tensorflow.config, tensorflow.DeviceSpec
    for kind in (config.list_logical_devices, config.list_physical_devices):
        assert small_spec(device=kind("CPU")[0]).device == "cpu"
    assert small_spec(device=spec(device_type="GPU", device_index=1)).device == "cuda:1"


@pytest.mark.parametrize("device", ["cuda", "gpu:7", "cpu:99", "mps", "xpu:0", "tpu", "toaster"])
def test_devices_that_are_not_here_are_refused(backend, device, device_of_run):
    if device == "cuda" and device_of_run.startswith("gpu"):
        pytest.skip("it is here")
    model = PerceiverIO(small_spec())
    with pytest.raises(BackendError, match=r"[Dd]evice"):
        PerceiverIO(small_spec(device=device))
    with pytest.raises(BackendError, match=r"[Dd]evice"):
        model.to_device(device)
    assert model.spec.device is None


@pytest.mark.parametrize("device", [0, "cuda:x", "cuda:-1", "", ["cpu"]])
def test_values_that_name_no_device_are_refused(device):
    with pytest.raises(SpecError, match="device must be a name"):
        small_spec(device=device)


def test_data_types_are_written_as_in_any_framework(backend, rng):
    name = "float16" if backend == "jax" else "float64"  # which JAX has on request only
    native = ivy.as_native_dtype(name)
    for dtype in (name, ivy.Dtype(name), native, np.dtype(name), getattr(np, name)):
        assert small_spec(dtype=dtype) == small_spec(dtype=name)
    model = PerceiverIO(small_spec(**FEW_LAYERS), dtype=native)
    assert model.spec.dtype == model.dtype == model(image(rng, 6, 5, 3)).dtype == name


def test_half_precision_by_the_types_of_frameworks():
    assert small_spec(dtype=np.float16).dtype == "float16"
    for name in set(CHOSEN) - {"numpy"}:
        framework = importlib.import_module("jax.numpy" if name == "jax" else name)
        assert small_spec(dtype=framework.bfloat16).dtype == "bfloat16"


@pytest.mark.parametrize("dtype", [float, 32, None, "single"])
def test_values_that_name_no_data_type_are_refused(dtype):
    with pytest.raises(SpecError, match="dtype must be a name"):
        small_spec(dtype=dtype)


def test_the_default_device_of_ivy_is_followed(backend, monkeypatch):
    asked = []
    ops = ops_named(backend)
    asarray = type(ops).asarray

    def remember(self, x, dtype=None, device=None):
        asked.append(device)
        return asarray(self, x, dtype, device)

    monkeypatch.setattr(type(ops), "asarray", remember)
    ivy.set_default_device("cpu")
    try:
        PerceiverIO(small_spec())
    finally:
        ivy.unset_default_device()
    assert set(asked) == {"cpu"}


def test_a_model_moves_to_a_device(backend, rng, device_of_run):
    model, data = PerceiverIO(small_spec()), image(rng, 6, 5, 3)
    expected = ivy.to_numpy(model(data))
    assert model.to_device("cpu:0") is model
    assert model.device == model.spec.device == "cpu"
    rounding = 0 if device_of_run == "cpu" else 1e-5  # devices round differently
    np.testing.assert_allclose(ivy.to_numpy(model(data)), expected, rtol=0, atol=rounding)


def test_the_device_is_known_without_a_backend(backend, device_of_run):
    model = PerceiverIO(small_spec())
    unset_backends()
    assert model.device == device_of_run


# Reading the spec


def test_a_spec_reads_as_a_mapping():
    spec = small_spec()
    assert spec["input_dim"] == spec.input_dim
    assert "input_dim" in spec
    assert "inputs" not in spec
    assert spec.get("inputs", 3) == 3
    assert dict(spec) == dict(spec.items()) == dict(zip(spec.keys(), spec.values(), strict=True))
    assert len(spec) == len(list(spec))
    assert PerceiverIOSpec(**spec) == PerceiverIOSpec.from_dict(spec.to_dict()) == spec
    assert json.loads(spec.to_json()) == json.loads(json.dumps(spec.to_dict()))
    with pytest.raises(KeyError, match="inputs"):
        spec["inputs"]


def test_assigning_a_field_names_replace():
    spec = small_spec()
    with pytest.raises(FrozenInstanceError, match=r"spec\.replace\(input_dim=4\)"):
        spec.input_dim = 4
    with pytest.raises(FrozenInstanceError, match=r"spec\.replace\(input_dim=4\)"):
        spec["input_dim"] = 4


def test_the_spec_by_its_former_name(backend):
    model = PerceiverIO(small_spec())
    assert model._spec is model.spec


# Weights by their former names, and in HDF5 files


def test_weights_by_their_former_names(backend, rng):
    model, twin = (PerceiverIO(small_spec(), seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(ivy.to_numpy(model.v.z_latents), ivy.to_numpy(model.v["latents"]))
    np.testing.assert_array_equal(
        ivy.to_numpy(model.v.decoder_queries), ivy.to_numpy(model.v["queries"])
    )
    assert "z_latents" not in model.v
    assert len(list(model.v)) == len(list(PerceiverIO(small_spec(), model.v).v))

    data = image(rng, 6, 5, 3)
    before = ivy.to_numpy(model(data))
    model.v.z_latents = twin.v.z_latents
    after = ivy.to_numpy(model(data))
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(ivy.to_numpy(model.v["latents"]), ivy.to_numpy(twin.v["latents"]))
    assert "z_latents" not in model.v


def test_weights_may_be_assigned_as_a_dict(backend, rng):
    model, twin = (PerceiverIO(small_spec(**FEW_LAYERS), seed=seed) for seed in (0, 1))
    data = image(rng, 6, 5, 3)
    model.v = twin.v.cont_to_dict()
    assert isinstance(model.v, ivy.Container)
    np.testing.assert_array_equal(ivy.to_numpy(model(data)), ivy.to_numpy(twin(data)))
    for value in (None, [], twin.v.latents, {1: twin.v.latents}):
        with pytest.raises(WeightsError, match=r"model\.v"):
            model.v = value
    np.testing.assert_array_equal(ivy.to_numpy(model(data)), ivy.to_numpy(twin(data)))


@pytest.mark.slow
def test_ivys_optimizers_train_a_model(backend, rng):
    if backend == "numpy":
        pytest.skip("NumPy has no gradients")
    model, data = PerceiverIO(small_spec(**FEW_LAYERS)), ivy.array(image(rng, 6, 5, 3))
    optimizer, losses = ivy.Adam(1e-3), []
    for _ in range(3):
        loss, gradients = ivy.execute_with_gradients(
            lambda v: ivy.mean(model(data, v=v) ** 2), model.v
        )
        losses.append(float(ivy.to_numpy(loss)))
        model.v = optimizer.step(model.v, gradients)
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.slow
def test_gradients_have_the_names_of_now(backend, rng):
    if backend == "numpy":
        pytest.skip("NumPy has no gradients")
    model, data = PerceiverIO(small_spec()), image(rng, 6, 5, 3)
    _, gradients = ivy.execute_with_gradients(lambda v: ivy.mean(model(data, v=v) ** 2), model.v)
    assert sorted(gradients) == sorted(model.v)


def misfits():
    """Replaced weights that do not fit a small model, and what the error says of them."""
    yield "one number", "bias", lambda: ivy.ones((1,)), r"bias: \(1,\), expected"
    yield "a number", "bias", lambda: 0.0, r"bias: \(\), expected \(5,\)"
    yield "integers", "bias", lambda: ivy.ones((5,), dtype="int32"), "int32"
    yield "a further one", "scale", lambda: ivy.ones((5,)), "unexpected"


@pytest.mark.parametrize(
    ("name", "weight", "message"), [pytest.param(*case, id=kind) for kind, *case in misfits()]
)
def test_replaced_weights_that_do_not_fit_are_refused(
    backend, rng, tmp_path, name, weight, message
):
    model = PerceiverIO(small_spec(**FEW_LAYERS))
    model.v[f"decoder/head/{name}"] = weight()
    uses = (
        lambda: model(image(rng, 6, 5, 3)),
        lambda: model.save_pretrained(tmp_path / "model"),
        model.to_jax,
    )
    for use in uses:
        with pytest.raises(WeightsError, match=message):
            use()
    assert not (tmp_path / "model").exists()


def test_removed_weights_are_missed(backend, rng):
    model = PerceiverIO(small_spec(**FEW_LAYERS))
    del model.v["latents"]
    with pytest.raises(WeightsError, match=r"in model\.v do not fit.*\n.*missing:\n *latents"):
        model(image(rng, 6, 5, 3))


def test_replaced_weights_get_the_type_of_the_others(backend, rng):
    model, data = PerceiverIO(small_spec(**FEW_LAYERS)), image(rng, 6, 5, 3)
    expected = ivy.to_numpy(model(data)) + 1
    dtype = "float16" if backend == "jax" else "float64"  # which JAX has on request only
    for bias in (ivy.ones((5,), dtype=dtype), np.ones(5), [1.0] * 5):
        model.v["decoder/head/bias"] = bias
        output = model(data)
        assert output.dtype == "float32"
        np.testing.assert_allclose(ivy.to_numpy(output), expected, atol=1e-5)


# As part of an ivy.Module


class Classifier(ivy.Module):
    """A module of a script, with a model in it."""

    def _build(self, *args, **kwargs):
        self.encoder = PerceiverIO(small_spec(**FEW_LAYERS))
        self.head = ivy.Linear(5, 2)

    def _forward(self, data):
        return self.head(self.encoder(data)[:, 0])


def test_a_module_passes_its_weights_to_the_model_in_it(backend, rng):
    module, data = Classifier(), image(rng, 2, 6, 5, 3)
    other = module.v * 0.5
    encoded = PerceiverIO(small_spec(**FEW_LAYERS), other.encoder)(data)
    expected = ivy.to_numpy(module.head(encoded[:, 0], v=other.head))
    before = ivy.to_numpy(module(data))
    assert np.abs(expected - before).max() > 1e-3
    np.testing.assert_allclose(ivy.to_numpy(module(data, v=other)), expected, atol=1e-5)
    np.testing.assert_allclose(ivy.to_numpy(module(data)), before, atol=1e-5)
    module.v = other
    np.testing.assert_allclose(ivy.to_numpy(module(data)), expected, atol=1e-5)
    np.testing.assert_allclose(ivy.to_numpy(module.encoder(data)), ivy.to_numpy(encoded), atol=1e-5)


@pytest.mark.slow
def test_the_model_in_a_trained_module_is_saved_as_trained(backend, rng, tmp_path):
    module, data = Classifier(), image(rng, 2, 6, 5, 3)
    if backend == "numpy":  # has no gradients
        module.v = module.v * 0.5
    else:
        _, gradients = ivy.execute_with_gradients(
            lambda v: ivy.mean(module(data, v=v) ** 2), module.v
        )
        assert np.abs(ivy.to_numpy(gradients.encoder.latents)).max() > 0
        module.v = ivy.SGD(0.1).step(module.v, gradients)
    module.encoder.save_pretrained(tmp_path)
    saved = PerceiverIO.from_pretrained(tmp_path)
    np.testing.assert_array_equal(
        ivy.to_numpy(saved.v.latents), ivy.to_numpy(module.v.encoder.latents)
    )
    np.testing.assert_allclose(
        ivy.to_numpy(saved(data)), ivy.to_numpy(module.encoder(data)), atol=1e-5
    )


def test_weights_that_a_model_loads_are_those_of_its_module(backend, rng, tmp_path, device_of_run):
    module, data = Classifier(), image(rng, 2, 6, 5, 3)
    other = PerceiverIO(small_spec(**FEW_LAYERS), seed=1)
    other.save_pretrained(tmp_path)
    module.v = module.v * 0.5
    module.encoder.load_weights(tmp_path)
    module.encoder.to_device(device_of_run)
    expected = ivy.to_numpy(module.head(other(data)[:, 0]))
    np.testing.assert_allclose(ivy.to_numpy(module(data)), expected, atol=1e-5)


def test_weights_are_saved_and_loaded(backend, rng, tmp_path):
    pytest.importorskip("h5py")
    model, twin = (PerceiverIO(small_spec(), seed=seed) for seed in (0, 1))
    data, path = image(rng, 6, 5, 3), str(tmp_path / "folder" / "model.hdf5")
    model.save_weights(path)
    assert twin.load_weights(path) is None
    np.testing.assert_array_equal(ivy.to_numpy(twin(data)), ivy.to_numpy(model(data)))
    twin.save_weights(path)
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["model.hdf5"]


@pytest.mark.parametrize("name", ["weights.hdf5", "weights.h5", "weights"])
def test_files_of_ivys_modules_are_read(backend, rng, tmp_path, name):
    pytest.importorskip("h5py")
    model, path = PerceiverIO(small_spec(), seed=1), str(tmp_path / name)
    ivy.Module.save_weights(model, path)
    read = perceiver_io_img_classification(small_spec(), weights=path)
    data = image(rng, 6, 5, 3)
    np.testing.assert_array_equal(ivy.to_numpy(read(data)), ivy.to_numpy(model(data)))


def broken_files():
    """Names of changes to an HDF5 file of weights, the changes, and what the error says."""

    def replaced(value=None, **storage):
        def change(file):
            shape = file["latents"].shape
            del file["latents"]
            if value is not None:
                file["latents"] = value
            elif storage:
                file.create_dataset("latents", shape, "float32", **storage)

        return change

    yield "missing", replaced(), r"missing:\n +latents"
    yield "text", replaced("latents"), "latents must be floats"
    yield "another shape", replaced(np.ones((2, 2), np.float32)), "latents"
    yield "never written", replaced(maxshape=(None, None)), "not written completely"
    yield "in another file", replaced(external="elsewhere.bin"), "stored in this file itself"
    yield "unexpected", lambda file: file.create_dataset("more/a", data=1.0), "more/a"


@pytest.mark.parametrize(
    ("change", "message"), [pytest.param(*case, id=name) for name, *case in broken_files()]
)
def test_broken_files_are_refused(tmp_path, change, message):
    h5py = pytest.importorskip("h5py")
    model, path = PerceiverIO(small_spec()), tmp_path / "model.hdf5"
    model.save_weights(path)
    before = ivy.to_numpy(model.v.z_latents)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(WeightsError, match=message):
        model.load_weights(path)
    np.testing.assert_array_equal(ivy.to_numpy(model.v.z_latents), before)


def test_what_is_not_hdf5_or_cut_short_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    model, path = PerceiverIO(small_spec()), tmp_path / "model.hdf5"
    model.save_weights(path)
    whole = path.read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "not a readable HDF5 file"),
        (b"weights", "unknown format"),
    ):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            model.load_weights(path)
    with pytest.raises(WeightsError, match="cannot be written"):
        model.save_weights(path / "model.hdf5")
    path.write_bytes(whole)
    monkeypatch.setitem(sys.modules, "h5py", None)
    for use in (model.load_weights, model.save_weights):
        with pytest.raises(BackendError, match="pip install h5py"):
            use(path)
