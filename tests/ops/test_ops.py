"""Native operations compared with Ivy's and with their formulas."""

import gc
import math
import sys

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.ivy_ops import IvyOps

from ivy_models.errors import BackendError, InputError
from ivy_models.ops import BACKENDS, ops_for, ops_named
from ivy_models.ops.base import same_padding


@pytest.fixture
def both(ops):
    """Apply an operation natively and through Ivy, compare, and return the native result."""

    def apply(name, *arrays, **options):
        def run(with_ops):
            inputs = [with_ops.asarray(x) if isinstance(x, np.ndarray) else x for x in arrays]
            return with_ops.to_numpy(getattr(with_ops, name)(*inputs, **options))

        native, reference = run(ops), run(IvyOps())
        np.testing.assert_allclose(native, reference, rtol=1e-4, atol=2e-5)
        return native

    return apply


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def test_layer_norm(both, rng):
    x, scale, offset = 3 * normal(rng, 2, 5, 11) + 7, normal(rng, 11), normal(rng, 11)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(
        both("layer_norm", x, scale, offset), expected * scale + offset, atol=1e-5
    )


def test_rms_norm(both, rng):
    x, scale = 3 * normal(rng, 2, 5, 11) + 7, normal(rng, 11)
    for epsilon in (1e-6, 0.5):
        expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * scale
        np.testing.assert_allclose(both("rms_norm", x, scale, epsilon), expected, atol=1e-5)


def test_waves(ops, rng):
    positions = rng.uniform(-1, 1, (5, 40, 2)).astype(np.float32)
    positions[0, 0] = [1, np.nan]
    frequencies = np.pi * np.stack([np.linspace(1, 112, 9), np.geomspace(1, 2, 9)])
    angles = (positions.astype(float)[..., None] * frequencies).reshape(5, 40, 18)
    rounding = np.spacing(np.float32(112 * np.pi))  # of the largest angle
    for wave, exact in zip(
        ops.waves(ops.asarray(positions), frequencies), (np.sin, np.cos), strict=True
    ):
        np.testing.assert_allclose(ops.to_numpy(wave), exact(angles), rtol=0, atol=rounding)


@pytest.mark.skipif("jax" not in CHOSEN, reason="needs jax")
def test_derivatives_of_waves_in_jax(rng):
    import jax

    from ivy_models.ops.jax_waves import sin_and_cos

    half_turns = rng.uniform(-50, 50, 400).astype(np.float32)
    exact = [np.sin(np.pi * half_turns.astype(float)), np.cos(np.pi * half_turns.astype(float))]
    np.testing.assert_allclose(sin_and_cos(half_turns), exact, rtol=0, atol=2e-7)
    derivatives = jax.vmap(jax.jacfwd(sin_and_cos))(half_turns)
    expected = [np.pi * exact[1], -np.pi * exact[0]]
    np.testing.assert_allclose(derivatives, expected, rtol=0, atol=1e-6)


def test_gelu_is_the_tanh_approximation_or_exact(both, rng, monkeypatch):
    x = 3 * normal(rng, 4, 50)
    tanh = [
        0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x.flat
    ]
    exact = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.flat]
    assert not np.allclose(tanh, exact, atol=1e-5)
    np.testing.assert_allclose(both("gelu", x).ravel(), tanh, atol=1e-5)
    np.testing.assert_allclose(both("gelu", x, True).ravel(), exact, atol=1e-6)
    monkeypatch.setitem(sys.modules, "scipy.special", None)  # not installed
    np.testing.assert_allclose(both("gelu", x, True).ravel(), exact, atol=1e-6)


def test_relu_and_silu(both, rng):
    x = np.concatenate([3 * normal(rng, 200), np.float32([0, -1e30, -200, 200, 1e30])])
    np.testing.assert_array_equal(both("relu", x), np.where(x > 0, x, 0))
    sigmoid = [1 / (1 + math.exp(-v)) if v > -700 else 0.0 for v in x]
    np.testing.assert_allclose(both("silu", x), x * np.array(sigmoid), rtol=1e-5, atol=1e-6)
    for activation in ("relu", "silu"):
        assert np.isnan(both(activation, np.float32([np.nan]))).all()


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_sum(both, rng, axis):
    x = normal(rng, 4, 5, 6)
    for keepdims in (False, True):
        expected = x.sum(axis, keepdims=keepdims)
        summed = both("sum", x, axis, keepdims)
        np.testing.assert_allclose(summed, expected, atol=1e-5)
    np.testing.assert_allclose(both("sum", x[0, 0], 0), x[0, 0].sum(), atol=1e-5)


INTO = {
    "add_into": np.add,
    "multiply_into": np.multiply,
    "exp_of_difference": lambda x, y: np.exp(x - y),
}


SHAPES = [((3, 4, 5), (4, 1)), ((4, 1), (3, 1, 5)), ((2, 3), (1, 3)), ((2, 3, 4), (2, 1, 4))]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("name", INTO)
def test_arithmetic_in_the_memory_of_an_array(both, rng, name, shapes):
    x, y = (normal(rng, *shape) for shape in shapes)
    expected = INTO[name](x, y)
    np.testing.assert_allclose(both(name, x.copy(), y), expected, rtol=1e-6)


@pytest.mark.parametrize("name", INTO)
def test_arithmetic_in_the_memory_of_an_array_keeps_what_gradients_need(name):
    torch = pytest.importorskip("torch")
    ops = ops_named("torch")
    x, y = (torch.rand(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, y: getattr(ops, name)(x.sin(), y.sin()), (x, y))
    rows = torch.func.vmap(getattr(ops, name), (None, 0))(x[0].detach(), y.detach())
    np.testing.assert_allclose(rows, INTO[name](x[0].detach().numpy(), y.detach().numpy()))
    with torch.no_grad():  # nothing needs the numbers of x
        assert getattr(ops, name)(x, y).data_ptr() == x.data_ptr()


@pytest.mark.skipif("paddle" not in CHOSEN, reason="needs paddle")
@pytest.mark.parametrize("shape", [(3, 2), (1, 2)])
@pytest.mark.parametrize("name", INTO)
def test_paddle_writes_into_an_array_that_no_gradient_needs(name, rng, shape):
    import paddle

    operation = getattr(ops_named("paddle"), name)
    x, y = (paddle.to_tensor(normal(rng, *s), stop_gradient=False) for s in ((3, 2), shape))
    expected = INTO[name](x.detach().numpy(), y.detach().numpy())
    result = operation(x * 1, y * 1)
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-6)
    derivatives = {  # with respect to x and y, before the latter is summed over repeated rows
        "add_into": (1 + 0 * x, 1 + 0 * x),
        "multiply_into": (y + 0 * x, x),
        "exp_of_difference": (result, -result),
    }
    for gradient, derivative in zip(
        paddle.grad(result.sum(), [x, y]), derivatives[name], strict=True
    ):
        derivative = derivative.detach().numpy()
        derivative = derivative.sum(0, keepdims=True) if gradient.shape[0] == 1 else derivative
        np.testing.assert_allclose(gradient.numpy(), derivative, rtol=1e-5)
    with paddle.no_grad():
        assert operation(x, y) is x
        np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)


def test_linear(both, rng):
    x, weight, bias = normal(rng, 2, 3, 5), normal(rng, 5, 7), normal(rng, 7)
    np.testing.assert_allclose(both("linear", x, weight, bias), x @ weight + bias, atol=1e-5)
    np.testing.assert_allclose(both("linear", x, weight, None), x @ weight, atol=1e-5)


@pytest.mark.parametrize("shapes", [((3, 1, 6, 25), (1, 25, 24)), ((1, 6, 3), (3, 3, 20))])
def test_matmul_broadcasts_batches(both, rng, shapes):
    # Several rounds, because a kernel that reads beyond its arrays can be right by chance.
    for _ in range(5):
        a, b = (normal(rng, *shape) for shape in shapes)
        np.testing.assert_allclose(both("matmul", a, b), np.matmul(a, b), atol=1e-4)


def plain_attention(q, k, v, mask):
    scores = np.einsum("bhnk,bhmk->bhnm", q, k) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask[:, None, None], scores, -1e30)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    out = np.einsum("bhnm,bhmk->bhnk", weights / weights.sum(-1, keepdims=True), v)
    return out if mask is None else out * mask.any(-1)[:, None, None, None]


@pytest.mark.parametrize("masked", [False, True])
def test_attention(both, rng, masked):
    q, k, v = normal(rng, 3, 2, 5, 8), normal(rng, 3, 2, 7, 8), normal(rng, 3, 2, 7, 6)
    mask = rng.random((3, 7)) < 0.6 if masked else None
    options = () if mask is None else (mask,)
    np.testing.assert_allclose(
        both("attention", q, k, v, *options), plain_attention(q, k, v, mask), atol=1e-5
    )


def test_attention_gives_zeros_where_every_key_is_masked(both, rng):
    q, k, v = (normal(rng, 2, 1, 5, 4) for _ in range(3))
    mask = np.array([[False] * 5, [True] * 5])
    out = both("attention", q, k, v, mask)
    assert (out[0] == 0).all()
    assert (out[1] != 0).any()


def test_attention_with_scores_that_overflow_exp(both, rng):
    q, k, v = 1e4 * normal(rng, 1, 1, 3, 4), normal(rng, 1, 1, 5, 4), normal(rng, 1, 1, 5, 4)
    assert np.isfinite(both("attention", q, k, v)).all()


def test_programs_outlive_the_variables_of_their_first_call():
    """A loop in a program refers to variables that it was traced with."""
    tf, ops = pytest.importorskip("tensorflow"), ops_named("tensorflow")
    program = ops.compile(lambda tree, x: ops.loop(2, lambda _, carry: carry * tree["a"], x))

    def call(value):
        a, x = tf.Variable(value), tf.Variable(5.0)
        with tf.GradientTape() as tape:
            product = program({"a": a}, x)
        return float(product), float(tape.gradient(product, a))

    assert call(2.0) == (20.0, 20.0)
    gc.collect()
    assert call(3.0) == (45.0, 30.0)


@pytest.mark.parametrize(
    ("size", "window", "stride"), [(10, 7, 2), (9, 7, 2), (5, 3, 2), (4, 3, 1)]
)
def test_same_padding_is_tensorflows(size, window, stride):
    tf = pytest.importorskip("tensorflow")
    before, after = same_padding(size, window, stride)
    x = np.arange(1.0, size + 1, dtype=np.float32)
    expected = tf.nn.conv1d(x[None, :, None], np.ones((window, 1, 1), "f"), stride, "SAME")
    padded = np.pad(x, (before, after))
    windows = [padded[i : i + window].sum() for i in range(0, len(padded) - window + 1, stride)]
    np.testing.assert_allclose(windows, np.asarray(expected).ravel())


@pytest.mark.parametrize("size", [(10, 9), (7, 12)])
def test_conv2d_and_max_pool2d(both, rng, size):
    image, weight = normal(rng, 2, *size, 3), normal(rng, 7, 7, 3, 4)
    rows, columns = -(-size[0] // 2), -(-size[1] // 2)
    convolved = both("conv2d", image, weight, stride=2)
    assert convolved.shape == (2, rows, columns, 4)
    padding = [(0, 0), same_padding(size[0], 7, 2), same_padding(size[1], 7, 2), (0, 0)]
    window = np.pad(image, padding)[:, 2:9, 4:11]
    np.testing.assert_allclose(
        convolved[:, 1, 2], np.einsum("byxc,yxcd->bd", window, weight), atol=1e-4
    )
    pooled = both("max_pool2d", -np.abs(image), window=3, stride=2)
    assert pooled.shape == (2, rows, columns, 3)
    assert (pooled < 0).all()  # padding never wins


def test_loop_carries_tuples(ops, rng):
    x = ops.asarray(normal(rng, 3))
    doubled, total = ops.compile(
        lambda x: ops.loop(4, lambda i, c: (c[0] * 2, c[1] + c[0]), (x, x * 0))
    )(x)
    np.testing.assert_allclose(ops.to_numpy(doubled), 16 * ops.to_numpy(x))
    np.testing.assert_allclose(ops.to_numpy(total), 15 * ops.to_numpy(x), rtol=1e-6)


def test_ops_are_found_by_the_array(ops):
    assert ops_for(ops.asarray(np.ones(2))) is ops


def test_asarray_copies(ops):
    array = np.ones(3, np.float32)
    native = ops.asarray(array)
    array[:] = 5
    np.testing.assert_array_equal(ops.to_numpy(native), np.ones(3))


def test_no_array_is_refused():
    with pytest.raises(BackendError, match="got list"):
        ops_for([1.0])


def test_unknown_backend_is_refused():
    with pytest.raises(BackendError, match="no backend 'theano'.*numpy, torch, jax, tensorflow"):
        ops_named("theano")


@pytest.mark.parametrize("device", ["cuda", "gpu:0", "cuda:7"])
def test_a_missing_device_is_refused(ops, device):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(BackendError, match=device):
        ops.check_device(device)


def test_unknown_device_is_refused(ops):
    with pytest.raises(BackendError, match="abacus"):
        ops.check_device("abacus")


def test_a_gradient_is_never_cut_in_silence():
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="requires gradients"):
        ops_named("torch").to_numpy(torch.ones(2, requires_grad=True))


def test_a_traced_array_cannot_leave_its_framework():
    jax = pytest.importorskip("jax")
    with pytest.raises(InputError, match="being traced"):
        jax.jit(lambda x: ops_named("jax").to_numpy(x))(np.ones(2))


def test_every_backend_is_listed():
    assert BACKENDS == ("numpy", "torch", "jax", "tensorflow", "paddle")


def test_torch_keeps_matrices_column_by_column():
    pytest.importorskip("torch")
    weight = np.arange(15, dtype="f").reshape(3, 5)
    placed = ops_named("torch").matrix(weight, "float32", "cpu")
    np.testing.assert_array_equal(placed.numpy(), weight)
    assert placed.t().is_contiguous()
