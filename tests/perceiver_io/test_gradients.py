"""The streaming reader's gradients equal those of plain attention, on every framework."""

import functools

import numpy as np
import pytest
from helpers.chunks import set_scores_per_chunk
from helpers.gradients import TRAINED, value_and_gradients
from helpers.specs import arguments_for, specs
from hypothesis import given, settings, strategies as st

from ivy_models.layers.parameters import map_tree
from ivy_models.transformers.perceiver_io import PerceiverIOCore, initialise
from ivy_models.transformers.perceiver_io.inputs.grid import CONVOLUTIONS

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
@settings(max_examples=6)
@given(specs(), st.integers(0, 99), st.sampled_from([1, 60, 10**6]))
def test_streaming_has_the_gradients_of_plain_attention(name, spec, seed, chunk):
    # Shallow, because only the reader is compared and compiling deep gradients takes minutes.
    depth = min(spec.network_depth, 2 if spec.cross_attend_in_every_layer else 1)
    spec = spec.replace(network_depth=depth, num_lat_att_per_layer=1)
    rng = np.random.default_rng(seed)
    data, mask, queries = arguments_for(spec, rng)
    if mask is not None:
        mask = mask.reshape(2, -1)
    if queries is not None:
        queries = queries.reshape(2, -1, spec.queries_dim)
    weights = map_tree(
        lambda w: w + 0.2 * rng.standard_normal(w.shape),
        initialise(PerceiverIOCore(spec).parameters(), seed),
    )
    if spec.stem in CONVOLUTIONS:
        weights["input"]["batch_norm"]["variance"] **= 2
    arguments = {"params": weights, "data": data, "input_mask": mask, "queries": queries}

    def computed(plain_reader, dtype):
        core = PerceiverIOCore(spec, plain_reader=plain_reader)
        return value_and_gradients(name, core, arguments, dtype)

    exact = computed(True, "float64")
    for dtype in TOLERANCE:
        with pytest.MonkeyPatch.context() as patch:
            set_scores_per_chunk(patch, chunk)
            fast = computed(False, dtype)
        check(fast, functools.cache(lambda: computed(True, "float32")), exact, dtype)


def check(fast, plain, exact, dtype):
    """Streaming rounds no worse than plain attention, whose error can exceed the tolerance.

    ``plain`` computes plain attention, which is compiled only where the tolerance is exceeded.
    """
    (output,), fast_gradients = fast[0].values(), fast[1]
    (exact_output,), gradients = exact[0].values(), exact[1]
    assert output.dtype == dtype
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    sizes = dict.fromkeys(gradients, largest) | {"": np.abs(exact_output).max()}
    got, expected = fast_gradients | {"": output}, gradients | {"": exact_output}
    for key, size in sizes.items():
        error, allowed = np.abs(got[key] - expected[key]).max(), TOLERANCE[dtype] * size
        if error > allowed and dtype == "float32":
            (plain_output,), plain_gradients = plain()[0].values(), plain()[1]
            found = (plain_gradients | {"": plain_output})[key]
            allowed = np.abs(found - expected[key]).max()
        assert error <= allowed, key
