"""Costs of a model, compared with independent counts."""

import json

import numpy as np
import pytest
from helpers import CHOSEN
from helpers.chunks import set_scores_per_chunk
from helpers.processes import python
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
from hypothesis import given, settings

from ivy_models.errors import InputError
from ivy_models.layers.parameters import map_tree
from ivy_models.models.data_shape import data_shape
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import PerceiverIOCore, initialise, model_costs
from ivy_models.transformers.perceiver_io.costs import PARTS

needs_torch = pytest.mark.skipif("torch" not in CHOSEN, reason="counts with torch")


def flops_by_torch(core, data, queries):
    """FLOPs of matrix products and convolutions, as torch counts them."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    def tensors(x):
        return map_tree(torch.from_numpy, x) if isinstance(x, dict) else torch.from_numpy(x)

    weights = map_tree(torch.from_numpy, initialise(core.parameters()))
    queries = None if queries is None else tensors(queries)
    # The counter does not count the CPU's fused attention.
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        core(weights, tensors(data), None, queries)
    return counter.get_total_flops()


def check_flops(spec, data, queries=None):
    if isinstance(data, dict):
        shape = {name: x.shape[1:] for name, x in data.items()}
    else:
        shape = data.shape[1:]
    total = model_costs(spec, shape, batch=2)["total"]
    assert total.flops == flops_by_torch(PerceiverIOCore(spec), data, queries)
    plain = PerceiverIOCore(spec, plain_reader=True, plain_decoder=True)
    assert total.plain_flops == flops_by_torch(plain, data, queries)


@needs_torch
@pytest.mark.parametrize("streaming", [False, True])
def test_flops_are_those_that_torch_counts(request, rng, streaming):
    if streaming:
        request.getfixturevalue("always_streaming")

    @settings(max_examples=15)
    @given(specs())
    def check(spec):
        data, _, queries = arguments_for(spec, rng)
        if queries is not None:
            queries = queries.reshape(2, -1, spec.queries_dim)
        check_flops(spec, data, queries)

    check()
    check_flops(multimodal_spec(), multimodal_data(rng))
    check_flops(columns_spec(), columns_data(rng)[0])
    check_flops(language_spec(), rng.integers(0, 262, (2, 20)))
    check_flops(flow_spec(), rng.standard_normal((2, 2, 9, 11, 3), np.float32))


def test_flops_of_loops_count_every_turn(monkeypatch, always_streaming):
    """As many chunks as there are rows of inputs, and a decoder in chunks of queries."""

    spec, shape = small_spec(query_shape=(5,)), (6, 4, 3)
    whole = model_costs(spec, shape)
    set_scores_per_chunk(monkeypatch, 14)
    chunked = model_costs(spec, shape)
    for part in PARTS:
        assert chunked[part].flops == whole[part].flops
    assert chunked["reader"].call_bytes < whole["reader"].call_bytes
    deeper = model_costs(spec.replace(network_depth=6), shape)
    assert deeper["processor"].flops == 3 * whole["processor"].flops


def test_published_models():
    for name, preset in PRESETS.items():
        costs = model_costs(preset.spec, data_shape(preset.spec, preset.data_preprocessing()))
        assert list(costs) == [*PARTS, "total"]
        assert costs["total"].parameters == preset.num_parameters, name
        assert costs["total"].flops <= costs["total"].plain_flops, name
    fourier = PRESETS["perceiver_io_imagenet_fourier"]
    costs = model_costs(fourier.spec, (224, 224, 3))
    # 48 layers of 512 latents of 1024 channels: six projections, scores and sums.
    products = 48 * (512 * 1024 * 6 * 1024 + 512 * 512 * 2 * 1024)
    assert costs["processor"].flops == 2 * products
    # The plain reader: keys and values of 261 channels, scores and sums, and what the latents do.
    products = 224 * 224 * 261 * (261 * 2 + 512 * 2) + 512 * 1024 * (261 * 2 + 1024 * 2)
    assert costs["reader"].plain_flops == 2 * products
    half = model_costs(fourier.spec.replace(dtype="bfloat16"), (224, 224, 3))
    assert 2 * half["total"].weight_bytes == costs["total"].weight_bytes == 4 * 48_440_627


PEAK = """
import gc, json, sys, tracemalloc
import numpy as np
from ivy_models.transformers.perceiver_io import PerceiverIOCore, PerceiverIOSpec, initialise

spec, shape = PerceiverIOSpec.from_json(sys.argv[1]), json.loads(sys.argv[2])
rng = np.random.default_rng(0)
if spec.vocabulary_size is None:
    data = rng.standard_normal((1, *shape), np.float32)
else:
    data = rng.integers(0, 262, (1, *shape), np.int32)
core = PerceiverIOCore(spec)
weights = initialise(core.parameters())
core(weights, data)  # makes the tables that later calls share
gc.collect()
tracemalloc.start()
core(weights, data)
print(tracemalloc.get_traced_memory()[1])
"""
"""Peak of a call in bytes, in a new process, because tracemalloc counts every thread."""


@pytest.mark.parametrize(
    ("name", "shape", "changes"),
    [
        ("imagenet_fourier", (224, 224, 3), {"network_depth": 2, "num_lat_att_per_layer": 1}),
        ("imagenet_learned", (224, 224, 3), {"network_depth": 2, "num_lat_att_per_layer": 1}),
        ("language", (512,), {"num_lat_att_per_layer": 1}),
        ("optical_flow", (2, 60, 70, 3), {"num_lat_att_per_layer": 1, "num_latents": 64}),
    ],
)
def test_memory_is_as_numpy_allocates(name, shape, changes):
    spec = PRESETS[f"perceiver_io_{name}"].spec.replace(**changes)
    peak = int(python(PEAK, spec.to_json(), json.dumps(shape)))
    assert model_costs(spec, shape)["total"].call_bytes == pytest.approx(peak, rel=0.05)


def test_queries_of_unknown_number_are_refused():
    spec = small_spec(learn_query=False, query_shape=None)
    with pytest.raises(InputError, match="does not fix the number of queries"):
        model_costs(spec, (5, 4, 3))


def test_data_shape():
    def shape(name, size=None):
        preset = PRESETS[f"perceiver_io_{name}"]
        return data_shape(preset.spec, preset.data_preprocessing(), size)

    assert shape("imagenet_conv") == (224, 224, 3)
    assert shape("imagenet_fourier", [300]) == (300, 300, 3)
    assert shape("optical_flow") == (2, 368, 496, 3)
    assert shape("optical_flow", [50, 60]) == (2, 50, 60, 3)
    assert shape("language") == (2048,)
    assert shape("language", [7]) == (7,)
    video = {"audio": (30720, 1), "image": (16, 224, 224, 3), "label": (700,)}
    assert shape("video") == video
    patches = small_spec(patch_shape=(2, 3), max_fourier_freq=(5, 7))
    assert data_shape(patches) == (10, 21, 3)
    for name, size, message in [
        ("imagenet_learned", [100], "learned positions for inputs of size"),
        ("language", [3000], "positions for 2048"),
        ("imagenet_fourier", [1, 2, 3], "the data's 2 axes"),
        ("video", [100], "size is a mapping from modalities"),
        ("video", {"label": [3]}, "label: .* 0 axes"),
    ]:
        with pytest.raises(InputError, match=message):
            shape(name, size)
    with pytest.raises(InputError, match="pass a size"):
        data_shape(small_spec())
    with pytest.raises(InputError, match="at least 5 elements"):
        data_shape(small_spec(stem="centred_convolution", stem_dim=4), size=[4])
