"""Models on other devices than the first CPU: where they compute, and what that costs there.

No accelerator is needed: JAX and TensorFlow divide the CPU into two devices, and on torch's fake
devices kernels and copies are counted.
"""

import json

import numpy as np
import pytest
from helpers import CHOSEN, ROOT, device_counts, second_device
from helpers.processes import python
from helpers.specs import flow_spec, language_spec, small_spec

from ivy_models.arrays import device_of
from ivy_models.ops import ops_named
from ivy_models.ops.base import read_only
from ivy_models.transformers.perceiver_io import Decoder, PerceiverIO
import ivy


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ("jax", "tensorflow") if name in CHOSEN])
def test_everything_is_computed_on_the_device_of_the_spec(name):
    python(second_device.MAIN, name, KERAS_BACKEND=name, IVY_MODELS_TEST_BACKENDS=name)


def test_models_of_tests_are_on_the_device_of_the_run(backend, device_of_run, rng):
    model = PerceiverIO(small_spec(network_depth=1, num_lat_att_per_layer=1))
    output = model(rng.standard_normal((1, 6, 5, 3), np.float32))
    assert model.device == device_of(output.data) == device_of_run


@pytest.mark.slow
@pytest.mark.skipif("tensorflow" not in CHOSEN, reason="needs a backend with a second CPU device")
def test_the_tests_run_on_a_device():
    code = "import pytest, sys; sys.exit(pytest.main(sys.argv[1:]))"
    test = f"{__file__}::{test_models_of_tests_are_on_the_device_of_the_run.__name__}"
    options = "-q", "-rs", "-p", "no:cacheprovider", "--rootdir", ROOT, "--device", "cpu:1"
    output = python(code, *options, test, IVY_MODELS_TEST_BACKENDS="numpy tensorflow")
    assert "1 passed, 1 skipped" in output
    assert "got device 'cpu:1'" in output


# Counts on an accelerator. They are the same on every machine.

CEILINGS = {
    "images of 224x224, batch 32": 5_100,
    "image of 1024x1024": 3_200,
    "flow": 3_600,
    "video": 3_000,
}
"""Kernels of a call. A launch takes some 5 microseconds."""


@pytest.fixture(scope="module")
def counts():
    if "torch" not in CHOSEN:
        pytest.skip("counts kernels of torch")
    pytest.importorskip("transformers")
    return json.loads(python(device_counts.MAIN))


@pytest.mark.slow
@pytest.mark.parametrize("name", CEILINGS)
def test_a_call_launches_few_kernels(counts, name):
    assert counts[name]["kernels"] <= CEILINGS[name]


@pytest.mark.slow
def test_accelerate_does_not_make_a_model_bound_by_launches(counts):
    """On an H100: 5 microseconds a launch, and 3.35 TB/s."""
    assert counts["theirs"].keys() == device_counts.THEIRS.keys()
    for name, theirs in counts["theirs"].items():
        ours = counts[name]
        assert ours["bytes"] <= 1.3 * theirs["bytes"]
        launches, memory = ours["kernels"] * 5e-6, ours["bytes"] / 3.35e12
        assert launches <= max(2 * memory, 1.25 * theirs["kernels"] * 5e-6), name


@pytest.mark.slow
def test_a_step_of_training_is_not_bound_by_launches(counts):
    """Of images of 224x224, batch 32. Its kernels also read and write less than transformers'."""
    ours, theirs = counts["training"]["ours"], counts["training"]["theirs"]
    assert ours["kernels"] <= 12_000
    assert ours["bytes"] <= 0.7 * theirs["bytes"]
    assert ours["kernels"] * 5e-6 <= 0.5 * ours["bytes"] / 3.35e12


@pytest.mark.slow
def test_later_calls_neither_copy_to_the_device_nor_wait_for_it(counts):
    """Else each would wait for the device, and no CUDA graph could be captured."""
    assert len(counts["small"]) == sum(len(names) for _, _, names in device_counts.CASES)
    for name, kinds in counts["small"].items():
        for kind, counted in kinds.items():
            assert (counted["copies"], counted["waits"]) == ({}, {}), (name, kind)
            assert counted["kernels"] > 50


@pytest.mark.slow
def test_arguments_on_the_host_reach_the_device(counts):
    assert set(counts["from the host"].values()) == {"cuda:0"}


@pytest.mark.slow
def test_cuda_gets_heads_that_its_fused_attention_takes(counts):
    assert counts["head sizes"]
    assert all(size % 8 == 0 for size in counts["head sizes"])


# Tables that torch keeps on a device


def test_read_only_tables_are_copied_once():
    torch = pytest.importorskip("torch")
    ops, like = ops_named("torch"), torch.zeros(2)
    table = read_only(np.arange(3.0))
    kept = ops.constant(table, like)
    assert ops.constant(table, like) is kept
    assert ops.constant(table, like.double()).dtype == torch.float64
    assert ops.constant(np.arange(3.0), like) is not ops.constant(np.arange(3.0), like)
    np.testing.assert_array_equal(kept, table)


def test_kept_tables_serve_gradients_programs_and_transforms(rng):
    torch = pytest.importorskip("torch")
    ivy.set_backend("torch")
    try:
        module = PerceiverIO(small_spec()).to_torch_module()
    finally:
        ivy.unset_backend()
    data = torch.from_numpy(rng.standard_normal((1, 7, 4, 3), np.float32))
    with torch.inference_mode():  # makes the tables of this size
        expected = module(data).clone()
    module(data).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    assert torch.equal(module(data), expected)
    torch.testing.assert_close(torch.func.vmap(module)(data[None])[0], expected)


# Precision


def test_tokens_of_half_precision_are_read_by_streaming(backend, always_streaming, rng):
    if backend in ("numpy", "paddle"):
        pytest.skip("has no half precision on a CPU")
    tokens = rng.integers(0, 262, (2, 9))
    model = PerceiverIO(language_spec())
    expected = ivy.to_numpy(model(tokens))
    for dtype, tolerance in {"bfloat16": 0.1, "float16": 0.02}.items():
        half = PerceiverIO(model.spec.replace(dtype=dtype), v=model.v)
        output = half(tokens)
        assert output.dtype == dtype
        difference = np.abs(ivy.to_numpy(ivy.astype(output, "float32")) - expected).max()
        assert difference < tolerance * expected.std()


def test_accelerators_decode_by_products_of_half_precision(backend, monkeypatch, rng):
    """Tensor cores compute them many times as fast as those of float32."""
    if backend in ("numpy", "paddle"):
        pytest.skip("has no half precision on a CPU")
    kind, data = type(ops_named(backend)), rng.standard_normal((2, 2, 9, 11, 3), np.float32)
    model = PerceiverIO(flow_spec(network_depth=1, num_lat_att_per_layer=1))
    expected, matmul, halves = ivy.to_numpy(model(data)), kind.matmul, {True: 0, False: 0}

    def multiply(ops, a, b):
        halves[ops.is_on_cpu(a)] += ops.dtype(a) == ops.dtype(b) == "bfloat16"
        return matmul(ops, a, b)

    monkeypatch.setattr(Decoder, "_folding_is_cheaper", lambda *_: True)
    monkeypatch.setattr(kind, "matmul", multiply)
    for on_cpu in (True, False):
        monkeypatch.setattr(kind, "is_on_cpu", lambda *_, on_cpu=on_cpu: on_cpu)
        half = PerceiverIO(model.spec.replace(dtype="bfloat16"), v=model.v)
        output = half(data)
        assert output.dtype == "bfloat16"
        difference = np.abs(ivy.to_numpy(ivy.astype(output, "float32")) - expected).max()
        assert difference < 0.1 * expected.std()
    assert halves[False] > halves[True]


def test_chunks_draw_no_random_numbers(always_streaming, monkeypatch):
    """Their random state is not saved: CUDA graphs forbid to read it."""
    torch = pytest.importorskip("torch")
    import ivy_models.ops.torch_ops as torch_ops

    kept, checkpoint = [], torch_ops.checkpoint

    def remember(*arguments, **named):
        kept.append(named.get("preserve_rng_state", True))
        return checkpoint(*arguments, **named)

    monkeypatch.setattr(torch_ops, "checkpoint", remember)
    monkeypatch.setattr(torch_ops.TorchOps, "scores_per_chunk", lambda *_: 42)
    ivy.set_backend("torch")
    try:
        module = PerceiverIO(small_spec()).to_torch_module()
    finally:
        ivy.unset_backend()
    module(torch.zeros(1, 24, 5, 3))
    assert kept
    assert not any(kept)


# The benchmark of devices

STEPS = """
import sys, device

names = "agreement", "waits", "fused", "stock", "flash_perceiver", "training", "chunks", "reader"
rows = device.main(["--device=cpu", "--small", f"--output={sys.argv[1]}", "--steps", *names])
assert {row["step"] for row in rows} == set(names)
assert not [row for row in rows if "failed" in row]
assert all(row["difference"] < 0.05 for row in rows if "difference" in row)
late = device.main(["--device=cpu", "--small", "--seconds=0"])
assert {row["skipped"] for row in late} == {"out of time"}

def broken(*arguments):
    raise MemoryError("no more memory")

def partly(run):
    yield {"one": 1}
    broken()

first, failed = device.run_step(device.Run("cpu", True), partly, {})
assert first["one"] and failed["failed"] == "MemoryError: no more memory"
device.Run.spec = broken
rows = device.main(["--device=cpu", "--small"])
assert len(rows) == len(late) and {row["step"] for row in rows} == {row["step"] for row in late}
assert all("failed" in row or "skipped" in row for row in rows)
"""


@pytest.mark.slow
def test_the_benchmark_of_devices_runs_and_survives_failures(tmp_path):
    pytest.importorskip("transformers")
    python(STEPS, tmp_path)
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    table = (tmp_path / "table.md").read_text("utf-8")
    assert all(f"## {row['step']}" in table for row in results["rows"])
