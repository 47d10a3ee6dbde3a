"""Arrays of every kind are converted to the same numbers on every backend, or refused by name."""

import array
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from helpers import CHOSEN
from helpers.arrays import image, numpy_of
from helpers.specs import small_spec

from ivy_models.errors import InputError, WeightsError
from ivy_models.transformers.perceiver_io import PerceiverIO
import ivy

SHAPE = (2, 6, 5, 3)


class Quantity(np.ndarray):
    """An array with a unit, like those of astropy and unyt."""

    unit = "mJy"


class Fluxes(Quantity):
    """An array with a unit, of a package whose name begins like a framework's."""

    __module__ = "torch_units.arrays"


class Dimensionless(np.ndarray):
    unit = ""


class Duck:
    """An array by NumPy's protocol, with a unit like pint's or an attribute like xarray's."""

    def __init__(self, values, units=None):
        self.values, self.units = values, units

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no dense copy by itself")


def masked(x):
    return np.ma.masked_array(x, np.arange(x.size).reshape(x.shape) == 3)


SAME_NUMBERS = {
    "big-endian": lambda x: x.astype(">f4"),
    "big-endian float64": lambda x: x.astype(">f8"),
    "longdouble": lambda x: x.astype(np.longdouble),
    "reversed": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "rotated": lambda x: np.rot90(np.rot90(x, 1, (1, 2)), -1, (1, 2)),
    "Fortran order": np.asfortranarray,
    "every second": lambda x: np.repeat(x, 2, 1)[:, ::2],
    "read-only": lambda x: np.broadcast_to(x, x.shape),
    "lists": lambda x: x.tolist(),
    "list of arrays": list,
    "a memoryview": memoryview,
    "nothing masked": lambda x: np.ma.masked_array(x),
    "a duck": Duck,
    "a unit of plain numbers": lambda x: x.view(Dimensionless),
    "another unit of plain numbers": lambda x: Duck(x, "dimensionless"),
    "bfloat16": lambda x: x.astype(ml_dtypes.bfloat16),
    "float8": lambda x: x.astype(ml_dtypes.float8_e4m3fn),
    "float16": lambda x: x.astype(np.float16),
}


@pytest.fixture(scope="module")
def models():
    return {}


@pytest.fixture
def model(backend, models):
    """One model a backend, which is compiled once. No test changes it."""
    if backend not in models:
        models[backend] = PerceiverIO(small_spec())
    return models[backend]


def coarse(rng):
    """Data that float8 represents exactly."""
    return rng.integers(-8, 8, SHAPE).astype(np.float32) / 4


@pytest.mark.parametrize("convert", SAME_NUMBERS.values(), ids=SAME_NUMBERS)
def test_the_same_numbers(model, rng, convert):
    x = coarse(rng)
    np.testing.assert_array_equal(numpy_of(model(convert(x))), numpy_of(model(x)))


REFUSED = {
    "masked": (masked, "masked array"),
    "masked, in a list": (lambda x: [x[0], masked(x[1])], "masked array"),
    "with a unit": (lambda x: x.view(Quantity), "has a unit, mJy"),
    "with a unit, in a list": (lambda x: [x[0].view(Quantity), x[1]], "has a unit, mJy"),
    "with a unit, of another package": (lambda x: x.view(Fluxes), "has a unit, mJy"),
    "a duck with a unit": (lambda x: Duck(x, "metre"), "has a unit, metre"),
    "complex": (lambda x: x.astype(complex), "complex128"),
    "strings": (lambda x: x.astype(str), "type <U"),
    "objects": (lambda x: x.astype(object), "type object"),
    "a fraction": (lambda x: Fraction(1, 2), "type object"),
    "dates": (lambda x: x.astype("M8[s]"), "datetime64"),
    "records": (lambda x: x.view([("a", "f4")]), r"type \[\('a'"),
    "ragged": (lambda x: [[1.0], [1.0, 2.0]], "cannot be converted"),
    "a mapping": (lambda x: {"x": x}, "got a dict"),
    "a set": (lambda x: {1.0}, "got a set"),
    "no array": (lambda x: object(), "got a object"),
    "an unwilling array": (lambda x: Broken(), "no dense copy by itself"),
    "bytes": (lambda x: x.tobytes(), "type |S"),
    "a text": (lambda x: "x.npy", "type <U5"),
    "beyond 32 bits": (lambda x: np.full(SHAPE, 2**32 + 1), "4294967297; .* at most 32 bits"),
}


@pytest.mark.parametrize(("convert", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_by_name(model, rng, convert, message):
    with pytest.raises(InputError, match="^data .*" + message):
        model(convert(coarse(rng)))


def test_scipy_sparse_matrices_are_refused(model):
    scipy_sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(InputError, match="data must be a dense array .*csr"):
        model(scipy_sparse.csr_matrix(np.eye(3)))


def test_pandas(model, rng):
    pandas = pytest.importorskip("pandas")
    model = PerceiverIO(small_spec(num_input_axes=1, max_fourier_freq=(6,)))
    x = rng.standard_normal((6, 3), np.float32)
    table = pandas.DataFrame(x, columns=["unit", "units", "mask"])
    np.testing.assert_array_equal(numpy_of(model(table)), numpy_of(model(x)))
    with pytest.raises(InputError, match="type object"):
        model(table.assign(mask="text"))
    with pytest.raises(InputError, match="type object"):
        model(table.astype("Float32").mask(table > 0, pandas.NA))


MASKS = {
    "big-endian": lambda mask: mask.astype(">i2"),
    "reversed": lambda mask: np.ascontiguousarray(mask[:, ::-1])[:, ::-1],
    "unsigned": lambda mask: mask.astype(np.uint64),
    "int4": lambda mask: mask.astype(ml_dtypes.int4),
    "lists": lambda mask: mask.tolist(),
}


@pytest.mark.parametrize("convert", MASKS.values(), ids=MASKS)
def test_masks(model, rng, convert):
    x, mask = image(rng, *SHAPE), rng.random(SHAPE[:-1]) > 0.4
    np.testing.assert_array_equal(numpy_of(model(x, convert(mask))), numpy_of(model(x, mask)))


def test_a_mask_of_one_row(model, rng):
    x, mask = image(rng, *SHAPE), rng.random((1, *SHAPE[1:-1])) > 0.4
    np.testing.assert_array_equal(numpy_of(model(x, mask)), numpy_of(model(x, mask[0])))


@pytest.mark.parametrize("dtype", [complex, object, str, ">f4", ml_dtypes.bfloat16])
def test_masks_that_are_refused(model, rng, dtype):
    with pytest.raises(InputError, match="^mask"):
        model(image(rng, *SHAPE), np.ones(SHAPE[:-1]).astype(dtype))


def test_integer_masks_that_are_added_to_scores_are_refused(model, rng):
    x, mask = image(rng, *SHAPE), rng.random(SHAPE[:-1]) > 0.4
    for added in (np.where(mask, 0, -10000), mask * 2, mask.astype(np.int8) - 1):
        with pytest.raises(InputError, match="mask has integers from .* 1 where an input"):
            model(x, added)


def test_the_shape_of_a_mask_without_a_batch(model, rng):
    with pytest.raises(InputError, match=r"mask has shape \(1, 6, 5\); expected \(6, 5\): True"):
        model(image(rng, *SHAPE[1:]), np.ones((1, *SHAPE[1:-1]), bool))


def test_queries(backend, rng):
    model = PerceiverIO(small_spec(learn_query=False, queries_dim=8))
    x, queries = image(rng, *SHAPE), rng.standard_normal((1, 8), np.float32)
    expected = numpy_of(model(x, queries=queries))
    for same in (queries.astype(">f4"), queries[::-1, ::-1][:, ::-1], queries.tolist()):
        np.testing.assert_array_equal(numpy_of(model(x, queries=same)), expected)
    with pytest.raises(InputError, match="queries is a masked array"):
        model(x, queries=masked(queries))


def weights_of(model, change):
    def convert(tree, path=""):
        return {
            key: convert(value, f"{path}{key}/")
            if isinstance(value, dict)
            else change(numpy_of(value))
            if f"{path}{key}" == "latents"
            else numpy_of(value)
            for key, value in tree.items()
        }

    return convert(model.v)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.astype(">f4"),
        lambda w: np.ascontiguousarray(w[::-1])[::-1],
        lambda w: w.tolist(),
        lambda w: w.astype(np.longdouble),
    ],
)
def test_weights(model, rng, change):
    x, weights = image(rng, *SHAPE), weights_of(model, change)
    expected = numpy_of(model(x))
    np.testing.assert_array_equal(numpy_of(model(x, v=weights)), expected)
    np.testing.assert_array_equal(numpy_of(model.with_weights(weights)(x)), expected)
    np.testing.assert_array_equal(numpy_of(PerceiverIO(model.spec, v=weights)(x)), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (masked, "latents is a masked array"),
        (lambda w: w.view(Quantity), "latents has a unit"),
        (lambda w: w.astype(complex), "latents must be .* complex128"),
        (lambda w: w.astype(object), "latents must be .* object"),
        (lambda w: object(), "latents must be .* got a object"),
    ],
)
def test_weights_that_are_refused(model, rng, change, message):
    weights = weights_of(model, change)
    with pytest.raises(WeightsError, match=message):
        model(image(rng, *SHAPE), v=weights)
    with pytest.raises(WeightsError, match=message):
        model.with_weights(weights)
    with pytest.raises(WeightsError, match=message):
        PerceiverIO(model.spec, v=weights)


# Arrays of the frameworks, on every backend


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
@pytest.mark.filterwarnings("ignore")  # nested and masked tensors are prototypes
def test_torch_tensors(model, rng):
    import torch

    x = torch.tensor(coarse(rng))
    expected = numpy_of(model(x.numpy()))
    same = {
        "bfloat16": x.bfloat16(),
        "float8": x.to(torch.float8_e4m3fn),
        "negative bit": torch.complex(x, -x).conj().imag,
        "a list": list(x),
    }
    for name, tensor in same.items():
        np.testing.assert_array_equal(numpy_of(model(tensor)), expected, name)
    refused = {
        "sparse": x.to_sparse(),
        "sparse torch tensor .*csr": x[0, 0].to_sparse_csr(),
        "nested": torch.nested.nested_tensor([x[0], x[1, :3]]),
        "jagged|nested": torch.nested.nested_tensor([x[0], x[1, :3]], layout=torch.jagged),
        "quantized": torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        "MaskedTensor": torch.masked.masked_tensor(x, x > 0),
        "complex64": x.to(torch.complex64),
    }
    for message, tensor in refused.items():
        with pytest.raises(InputError, match=f"^data.*({message})"):
            model(tensor)


@pytest.mark.skipif("tensorflow" not in CHOSEN, reason="needs tensorflow")
def test_tensorflow_tensors(model, rng):
    import tensorflow as tf

    x = coarse(rng)
    expected = numpy_of(model(x))
    for same in (tf.constant(x, tf.bfloat16), tf.Variable(x), list(tf.constant(x))):
        np.testing.assert_array_equal(numpy_of(model(same)), expected)
    refused = {
        "RaggedTensor": tf.ragged.constant([[1.0, 2.0], [3.0]]),
        "SparseTensor": tf.sparse.from_dense([[1.0, 0.0]]),
        "IndexedSlices": tf.IndexedSlices(tf.constant(x[0]), tf.constant([0])),
        "complex64": tf.constant(x, tf.complex64),
        "string": tf.constant(["x"]),
        "qint8": tf.quantization.quantize(x, -1, 1, tf.qint8)[0],
    }
    for message, tensor in refused.items():
        with pytest.raises(InputError, match=f"^data must be .*({message}|object)"):
            model(tensor)


@pytest.mark.skipif("jax" not in CHOSEN, reason="needs jax")
def test_jax_arrays(model, rng):
    import jax
    import jax.numpy as jnp
    from jax.experimental import sparse

    x = coarse(rng)
    expected = numpy_of(model(x))
    for same in (jnp.asarray(x, jnp.bfloat16), jnp.asarray(x, jnp.float8_e4m3fn), list(x)):
        np.testing.assert_array_equal(numpy_of(model(same)), expected)
    refused = {
        "BCOO": sparse.BCOO.fromdense(x),
        "complex64": jnp.asarray(x, jnp.complex64),
        "key<fry>": jax.random.key(0),
    }
    for message, key in refused.items():
        with pytest.raises(InputError, match=f"^data must be .*{message}"):
            model(key)


def test_numbers_beyond_32_bits_are_refused_as_tokens(backend):
    spec = small_spec(
        num_input_axes=1,
        fourier_encode_input=False,
        learned_position_shape=(8,),
        vocabulary_size=20,
    )
    model = PerceiverIO(spec)
    for tokens in (np.array([1, 2**32 + 5]), array.array("q", [1, 2**32 + 5])):
        with pytest.raises(InputError, match="32 bits"):
            model(tokens)


# Programs that set numpy's floating-point errors to raise


def test_seterr_raise(rng):
    ivy.set_backend("numpy")
    try:
        with np.errstate(all="raise"):
            model = PerceiverIO(small_spec())
            x = image(rng, *SHAPE) * np.float32(1e-30)
            assert np.isfinite(numpy_of(model(x, rng.random(SHAPE[:-1]) > 0.9))).all()
            assert np.isfinite(numpy_of(model.decode(model.encode(x)))).all()
            model.with_weights(weights_of(model, lambda w: w * np.float64(1e-40)))
    finally:
        ivy.unset_backend()
