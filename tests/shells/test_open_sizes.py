"""Programs that leave the size of the data open."""

import numpy as np
import onnxruntime
import pytest
from helpers.specs import (
    flow_spec,
    language_spec,
    multimodal_data,
    multimodal_spec,
    small_spec,
)

from ivy_models.errors import InputError
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")

SPECS = {
    "image": small_spec(),
    "text": language_spec(),
    "patches": small_spec(patch_shape=(2, 2)),
    "convolution": small_spec(stem="convolution", stem_dim=4),
    "two convolutions": small_spec(stem="two_convolutions", stem_dim=4),
    "flow": flow_spec(),
}
SHAPES = {
    "image": ("2,h,w,3", (2, 8, 6, 3), (2, 10, 12, 3)),
    "text": ("2,m", (2, 10), (2, 17)),
    "patches": ("2,2*h,2*w,3", (2, 8, 6, 3), (2, 10, 12, 3)),
    "convolution": ("2,h,w,3", (2, 16, 18, 3), (2, 21, 31, 3)),
    "two convolutions": ("2,h,w,3", (2, 16, 18, 3), (2, 21, 31, 3)),
    "flow": ("2,2,h,w,3", (2, 2, 8, 6, 3), (2, 2, 10, 12, 3)),
}


def draw(rng, kind, shape):
    if kind == "text":
        return rng.integers(0, 262, shape).astype(np.int32)
    return rng.standard_normal(shape, dtype=np.float32)


@pytest.fixture(params=SPECS)
def case(request, rng):
    """A model, data of two sizes with their results, and the open shape."""
    ivy.set_backend("numpy")
    kind = request.param
    symbolic, *shapes = SHAPES[kind]
    model, data = PerceiverIO(SPECS[kind]), [draw(rng, kind, shape) for shape in shapes]
    return model, data, [ivy.to_numpy(model(x)) for x in data], symbolic


def check(run, data, expected):
    for x, result in zip(data, expected, strict=True):
        np.testing.assert_allclose(run(x), result, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [None, True])
def test_compiled_torch(case, dynamic):
    model, data, expected, _ = case
    torch.compiler.reset()
    compiled = torch.compile(model.to_torch_module(), backend="eager", dynamic=dynamic)
    with torch.no_grad():
        check(lambda x: compiled(torch.from_numpy(x)), data, expected)


@pytest.mark.slow
def test_exported_and_traced_torch(case):
    model, data, expected, symbolic = case
    module, first = model.to_torch_module(), (torch.from_numpy(data[0]),)
    sizes = symbolic.split(",")
    open_axes = {i: torch.export.Dim.AUTO for i, s in enumerate(sizes) if not s.isdigit()}
    exported = torch.export.export(module, first, dynamic_shapes={"data": open_axes}).module()
    traced = torch.jit.trace(module, first, check_trace=False)
    with torch.no_grad():
        for program in (exported, traced):
            check(lambda x, run=program: run(torch.from_numpy(x)), data, expected)


def test_exported_jax(case):
    model, data, expected, symbolic = case
    apply, params = model.to_jax()
    from jax import export

    scope = export.SymbolicScope(["m <= 23"] if "m" in symbolic else [])
    shape = export.symbolic_shape(symbolic, scope=scope)
    described = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    program = export.export(jax.jit(apply))(described, jax.ShapeDtypeStruct(shape, data[0].dtype))
    check(lambda x: program.call(params, x), data, expected)


def test_torch_module_on_meta():
    ivy.set_backend("torch")
    with torch.device("meta"):
        module = PerceiverIO(small_spec()).to_torch_module()
        data = torch.zeros(2, 8, 6, 3)
        assert all(parameter.is_meta for parameter in module.parameters())
        assert module(data).is_meta
    for weighty in (PerceiverIO(small_spec()), PerceiverIO(small_spec()).to_torch_module()):
        with pytest.raises(InputError, match="device meta has a shape but no numbers"):
            weighty(data)


@pytest.mark.slow
def test_onnx(case, tmp_path):
    model, data, expected, symbolic = case
    open_axes = {
        i: torch.export.Dim.DYNAMIC for i, s in enumerate(symbolic.split(",")) if not s.isdigit()
    }
    with torch.no_grad():
        torch.onnx.export(
            model.to_torch_module(),
            (torch.from_numpy(data[0]),),
            tmp_path / "model.onnx",
            dynamo=True,
            dynamic_shapes={"data": open_axes},
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    check(lambda x: session.run(None, {"data": x})[0], data, expected)


def test_tensorflow_function(case):
    tf = pytest.importorskip("tensorflow")
    model, data, expected, symbolic = case
    sizes = [int(s) if s.isdigit() else None for s in symbolic.split(",")]
    ivy.set_backend("tensorflow")
    run = tf.function(
        lambda x: model(x).data, input_signature=[tf.TensorSpec(sizes, data[0].dtype)]
    )
    check(run, data, expected)


def test_tensorflow_function_of_unknown_rank():
    tf = pytest.importorskip("tensorflow")
    ivy.set_backend("tensorflow")
    model = PerceiverIO(small_spec())
    signature = [tf.TensorSpec(None, tf.float32)]
    run = tf.function(lambda x: model(x).data, input_signature=signature, autograph=False)
    with pytest.raises(InputError, match="unknown number of axes"):
        run.get_concrete_function()


def test_jax_size_that_the_model_must_know():
    from jax import export

    ivy.set_backend("jax")
    apply, params = PerceiverIO(language_spec()).to_jax()
    described = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    tokens = jax.ShapeDtypeStruct(export.symbolic_shape("2,m"), np.int32)
    with pytest.raises(InputError, match="Fix the sizes of the data to numbers.* 'm' <= '23'"):
        export.export(jax.jit(apply))(described, tokens)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [None, True])
def test_compiled_torch_of_modalities(dynamic, rng):
    ivy.set_backend("torch")
    module = PerceiverIO(multimodal_spec()).to_torch_module()
    data = {name: torch.from_numpy(x) for name, x in multimodal_data(rng).items()}
    torch.compiler.reset()
    compiled = torch.compile(module, backend="eager", dynamic=dynamic, fullgraph=True)
    for queries in (None, {"label": None, "sound": torch.tensor([0, 3])}):
        with torch.no_grad():
            torch.testing.assert_close(compiled(data, None, queries), module(data, None, queries))
