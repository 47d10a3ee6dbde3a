"""Products of arrays in JAX's programs have few axes.

On a CPU, XLA of jaxlib 0.10.2 has a fault in fused products of arrays with 7 or 8 axes
(jax-ml/jax#39257, #40412).
"""

import pytest

from ivy_models.layers.parameters import map_tree
from ivy_models.models.data_shape import data_shape
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import PerceiverIOCore

jax = pytest.importorskip("jax")

MOST_AXES = 4
PRODUCTS = {"dot_general", "conv_general_dilated", "ragged_dot_general"}


def product_ranks(jaxpr):
    """The number of axes of each operand and result of a product, in inner programs too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in PRODUCTS:
            yield from (x.aval.ndim for x in (*equation.invars, *equation.outvars))
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            if hasattr(inner := getattr(inner, "jaxpr", inner), "eqns"):
                yield from product_ranks(inner)


def traced(spec, shape, batch=2):
    """The programs of a model's outputs and of their gradients, without computing them."""
    core = PerceiverIOCore(spec)

    def array(shape, name="data"):
        dtype = "int32" if spec.input().takes_tokens(name) else "float32"
        return jax.ShapeDtypeStruct((batch, *shape), dtype)

    data = (
        {name: array(axes, name) for name, axes in shape.items()}
        if isinstance(shape, dict)
        else array(shape)
    )
    params = map_tree(lambda p: jax.ShapeDtypeStruct(p.shape, "float32"), core.parameters())

    def loss(params, data):
        return sum(output.sum() for output in jax.tree.leaves(core(params, data)))

    yield jax.make_jaxpr(core)(params, data).jaxpr
    yield jax.make_jaxpr(jax.grad(loss))(params, data).jaxpr


@pytest.mark.slow
@pytest.mark.parametrize("streams", [False, True], ids=["as chosen", "streaming"])
@pytest.mark.parametrize("name", PRESETS)
def test_products_have_few_axes(name, streams, request):
    if streams:
        request.getfixturevalue("always_streaming")
    preset = PRESETS[name]
    shape = data_shape(preset.spec, preset.data_preprocessing())
    for program in traced(preset.spec, shape):
        ranks = list(product_ranks(program))
        assert len(ranks) > 10
        assert max(ranks) <= MOST_AXES


def test_products_with_more_axes_would_be_found():
    def program(x):
        return jax.lax.map(lambda y: jax.numpy.einsum("abcdefg,abcdefg->abcdef", y, y), x)

    shape = jax.ShapeDtypeStruct((2,) * 8, "float32")
    assert max(product_ranks(jax.make_jaxpr(jax.jit(program))(shape).jaxpr)) == 7
