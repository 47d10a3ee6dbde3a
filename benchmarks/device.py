"""Measure models on an accelerator with one command, which takes at most nine minutes on an H100.

    python benchmarks/device.py --device cuda --output docs/benchmarks/device
    python benchmarks/device.py --device cpu --small

Each result is printed as soon as it is there, and results.json and table.md are written after each
step. A step that fails is recorded with its error, and the next one starts. After ``--seconds`` no
step starts any more, so the most important ones come first. ``--small`` runs all steps on tiny
models: it tests this script.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import itertools
import json
import os
import statistics
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from machine import describe_machine

from ivy_models.layers.parameters import initialise, map_tree
from ivy_models.models.presets import PRESETS
from ivy_models.ops import ops_named
from ivy_models.ops.torch_ops import FUSED_READER, TorchOps
from ivy_models.shells.accelerate import accelerate
from ivy_models.shells.torch import PerceiverIO
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

Row = dict[str, Any]

MODELS = {
    "fourier 224": ("imagenet_fourier", (224, 224, 3)),
    "fourier 1024": ("imagenet_fourier", (1024, 1024, 3)),
    "flow": ("optical_flow", (2, 368, 496, 3)),
    "video": ("video", {"image": (16, 224, 224, 3), "audio": (30720, 1)}),
}
"""The published model, and the shape of an element of its data."""

SMALL_SHAPES = {
    "fourier 224": (8, 8, 3),
    "fourier 1024": (12, 12, 3),
    "flow": (2, 8, 12, 3),
    "video": {"image": (2, 8, 8, 3), "audio": (64, 1)},
}
SMALL = {"num_latents": 8, "num_lat_att_per_layer": 1, "network_depth": 1}

PRECISIONS = {
    "float32": (torch.float32, False),
    "TF32": (torch.float32, True),
    "bfloat16": (torch.bfloat16, False),
}
"""Data type, and whether products of float32 may be rounded to TF32."""


class Run:
    """The device and the models of a run of this script."""

    def __init__(self, device: str, small: bool):
        self.device, self.small = torch.device(device), small
        self.is_cuda = self.device.type == "cuda"
        self.trees: dict[str, Any] = {}

    def spec(self, name: str) -> Any:
        spec = PRESETS[f"perceiver_io_{MODELS[name][0]}"].spec
        if self.small:
            spec = spec.replace(**SMALL)
            if name == "flow":
                spec = spec.replace(max_fourier_freq=SMALL_SHAPES[name][1:3])
        return spec

    def module(self, name: str, dtype: torch.dtype = torch.float32, device: Any = None) -> Any:
        """A torch module with random weights, the same ones in each data type."""
        spec = self.spec(name).replace(dtype=str(dtype).removeprefix("torch."))
        if name not in self.trees:
            self.trees[name] = initialise(PerceiverIOCore(spec).parameters(), 0)
        place = {"device": device or self.device, "dtype": dtype}
        return PerceiverIO(spec, map_tree(lambda w: torch.tensor(w, **place), self.trees[name]))

    def data(self, name: str, batch: int, device: Any = None) -> Any:
        shape = SMALL_SHAPES[name] if self.small else MODELS[name][1]
        rng = np.random.default_rng(0)

        def draw(shape):
            numbers = rng.standard_normal((batch, *shape), np.float32)
            return torch.from_numpy(numbers).to(device or self.device)

        return {n: draw(s) for n, s in shape.items()} if isinstance(shape, dict) else draw(shape)

    def call(self, name: str, module: Any, data: Any) -> Callable[[], Any]:
        """A call of a module; of small videos only some outputs are decoded."""
        if name != "video" or not self.small:
            return lambda: module(data)
        some = torch.arange(4, device=self.device)
        return lambda: module(data, queries={"image": some, "audio": some, "label": None})

    def theirs(self, name: str, batch: int) -> tuple[Any, torch.Tensor]:
        """The model of transformers, with the same random weights each time, and its data."""
        import transformers
        from subjects import huggingface_config

        spec = self.spec(name)
        config = huggingface_config(spec)
        data = self.data(name, batch)
        torch.manual_seed(0)
        with torch.device(self.device):
            if name.startswith("fourier"):
                config.image_size = data.shape[1]
                model = transformers.PerceiverForImageClassificationFourier(config).eval()
                return model, data.permute(0, 3, 1, 2).contiguous()
            if name == "flow":
                config.train_size = [int(size) for size in spec.max_fourier_freq]
                model = transformers.PerceiverForOpticalFlow(config).eval()
                # It expects 3x3 patches; their values do not affect the cost.
                return model, data.permute(0, 1, 4, 2, 3).repeat_interleave(9, 2)
        raise ValueError(f"{name} is not compared with transformers")

    def wait(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize()

    def timed(self, call: Callable[[], Any], repeats: int = 7) -> Row:
        """Time of the first call, median of later ones until the device is done, and memory."""
        self.wait()
        start = time.perf_counter()
        call()
        self.wait()
        first = time.perf_counter() - start
        if self.is_cuda:
            loaded = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        launches, times = [], []
        for _ in range(repeats if first < 2 else 2):
            start = time.perf_counter()
            call()
            launches.append(time.perf_counter() - start)
            self.wait()
            times.append(time.perf_counter() - start)
        row = {
            "ms": round(1e3 * statistics.median(times), 2),
            "host_ms": round(1e3 * statistics.median(launches), 2),
            "first_s": round(first, 2),
        }
        if self.is_cuda:
            row["extra_MiB"] = (torch.cuda.max_memory_allocated() - loaded) >> 20
        return row


@contextlib.contextmanager
def fused_attention() -> Iterator[None]:
    """Let transformers' Perceiver use torch's fused attention, which it does not have."""
    from transformers.models.perceiver.modeling_perceiver import PerceiverSelfAttention

    def forward(self, hidden_states, attention_mask=None, inputs=None, inputs_mask=None, *_, **__):
        hidden_states = self.layernorm1(hidden_states)
        keys = hidden_states if inputs is None else self.layernorm2(inputs)
        q, k, v = (
            x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x in (self.query(hidden_states), self.key(keys), self.value(keys))
        )
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return (out.transpose(1, 2).flatten(2),)

    own = PerceiverSelfAttention.forward
    PerceiverSelfAttention.forward = forward
    try:
        yield
    finally:
        PerceiverSelfAttention.forward = own


def set_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


# Steps. Each yields rows.


def agreement(run: Run, name: str) -> Iterator[Row]:
    """Largest difference from float64 on the CPU, relative to the largest output."""
    expected = run.call(name, run.module(name, torch.float64, "cpu"), run.data(name, 1, "cpu"))()
    for precision, (dtype, tf32) in PRECISIONS.items():
        set_tf32(tf32)
        output = run.call(name, run.module(name, dtype), run.data(name, 1))()
        yield {"precision": precision, "difference": _relative(output.double().cpu(), expected)}


def waits(run: Run, name: str, precision: str) -> Iterator[Row]:
    """How often a later call waits for the device, and the call as a CUDA graph."""
    if not run.is_cuda:
        yield {"skipped": "needs CUDA"}
        return
    dtype, tf32 = PRECISIONS[precision]
    set_tf32(tf32)
    for kernel in readers(run):
        with fused_reader(kernel):
            for row in _waits(run, run.call(name, run.module(name, dtype), run.data(name, 1))):
                yield {"reader": "kernel" if kernel else "chunks", **row}


def _waits(run: Run, call: Callable[[], torch.Tensor]) -> Iterator[Row]:
    expected = call()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    yield {"waits": sum("synchroniz" in str(warning.message) for warning in seen)}
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = call()
    row = run.timed(graph.replay)
    yield {"captured": True, "difference": _relative(output, expected), **row}


def chunks(run: Run, name: str, batch: int) -> Iterator[Row]:
    """Time and memory by the number of scores in a chunk."""
    call = run.call(name, run.module(name), run.data(name, batch))
    chosen = TorchOps.scores_per_chunk
    try:
        for exponent in (20, 22, 24, 26):
            number = 2**exponent
            TorchOps.scores_per_chunk = lambda self, like, number=number: number
            with fused_reader(False):
                row = run.timed(call, 3)
            yield {"scores": f"2^{exponent}", **row}
    finally:
        TorchOps.scores_per_chunk = chosen


def speed(run: Run, name: str, batch: int, precision: str) -> Iterator[Row]:
    """Time and memory of a call."""
    dtype, tf32 = PRECISIONS[precision]
    set_tf32(tf32)
    yield run.timed(run.call(name, run.module(name, dtype), run.data(name, batch)))


def stock(run: Run, name: str, batch: int, precision: str) -> Iterator[Row]:
    """The same of transformers, and accelerated."""
    dtype, tf32 = PRECISIONS[precision]
    set_tf32(tf32)
    model, data = run.theirs(name, batch)
    model, data = model.to(dtype), data.to(dtype)
    expected = model(inputs=data).logits
    yield {"subject": "transformers", **run.timed(lambda: model(inputs=data))}
    with fused_attention():
        row = run.timed(lambda: model(inputs=data))
        yield {"subject": "with fused attention", **_apart(model(inputs=data), expected), **row}
    accelerate(model)
    row = run.timed(lambda: model(inputs=data))
    yield {"subject": "accelerated", **_apart(model(inputs=data), expected), **row}


def _apart(output: Any, expected: torch.Tensor) -> Row:
    """The largest difference between logits, relative to the largest of them."""
    return {"difference": _relative(output.logits, expected)}


def _relative(output: torch.Tensor, expected: torch.Tensor) -> float:
    difference = (output - expected).abs().max() / expected.abs().max()
    return float(f"{difference.item():.2e}")


def compiled(run: Run, name: str, precision: str, mode: str) -> Iterator[Row]:
    """A module compiled by torch.compile; the mode reduce-overhead makes it a CUDA graph."""
    module, data = run.module(name, PRECISIONS[precision][0]), run.data(name, 1)
    for kernel in readers(run):
        torch.compiler.reset()
        with fused_reader(kernel):
            call = run.call(name, torch.compile(module, mode=mode), data)
            call()
            row = run.timed(call)
        yield {"reader": "kernel" if kernel else "chunks", **row}


def reader(run: Run, name: str, batch: int, precision: str) -> Iterator[Row]:
    """The reader alone: plain attention, and streaming in chunks and by its kernel."""
    dtype, tf32 = PRECISIONS[precision]
    set_tf32(tf32)
    module, data = run.module(name, dtype), run.data(name, batch)
    for plain, kernel in ((True, False), *((False, kernel) for kernel in readers(run))):
        core = PerceiverIOCore(module.spec, plain_reader=plain, processor=lambda _, z: z)
        with fused_reader(kernel):
            row = run.timed(functools.partial(core.encode, module.weights(), data), 3)
        yield {"reader": "plain" if plain else "kernel" if kernel else "chunks", **row}


def fused(run: Run, name: str, batch: int) -> Iterator[Row]:
    """The reader in chunks and by its kernel: agreement with float64, gradients, and time."""
    if True not in readers(run):
        yield {"skipped": "needs CUDA and Triton"}
        return
    module, data, small = run.module(name), run.data(name, batch), run.data(name, 1)
    expected = run.call(name, run.module(name, torch.float64, "cpu"), small.double().cpu())()
    model = PerceiverIOCore(module.spec, plain_reader=False)
    reads = PerceiverIOCore(module.spec, plain_reader=False, processor=lambda _, z: z)
    gradients = []
    for kernel in (False, True):
        with fused_reader(kernel):
            row = run.timed(functools.partial(reads.encode, module.weights(), data), 3)
            with torch.enable_grad():
                output = model(module.weights(), small)
                loss = output.square().mean()
                found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
            gradients.append(torch.cat([x.flatten() for x in found if x is not None]))
        output = output.reshape(expected.shape).double().cpu()
        difference = _relative(output, expected)
        yield {"reader": "kernel" if kernel else "chunks", "difference": difference, **row}
    yield {"reader": "gradients of both", "difference": _relative(*reversed(gradients))}


def readers(run: Run) -> tuple[bool, ...]:
    """Whether the reader uses its kernel: no, and yes where there is one."""
    with fused_reader(True):
        found = ops_named("torch").has_grid_sums(torch.zeros((1, 1), device=run.device))
    return (False, True) if found and run.is_cuda else (False,)


@contextlib.contextmanager
def fused_reader(kernel: bool) -> Iterator[None]:
    """Let the reader use its kernel where there is one, or not."""
    with mock.patch.dict(os.environ, {FUSED_READER: str(int(kernel))}):
        yield


def flash_perceiver(run: Run, name: str, batch: int) -> Iterator[Row]:
    """A model of FlashPerceiver with as many latents, layers and heads, where it is installed.

    Its MLPs are four times as wide, and its reader's head has 256 channels, the most that
    FlashAttention takes. The inputs with their positions are given, not made.
    """
    try:
        from flash_perceiver import Perceiver
    except ImportError as error:
        yield {"skipped": str(error)}
        return
    spec = run.spec(name)
    channels, heads = spec.reader().input_dim, spec.num_self_att_heads
    shape = SMALL_SHAPES[name] if run.small else MODELS[name][1]
    model = Perceiver(
        input_dim=channels,
        depth=1,
        output_dim=spec.output_dim,
        num_latents=spec.num_latents,
        latent_dim=spec.latent_dim,
        cross_head_dim=min(256, channels),
        latent_heads=heads,
        latent_head_dim=spec.latent_dim // heads,
        self_per_cross_attn=spec.network_depth * spec.num_lat_att_per_layer,
        gated_mlp=False,
        use_flash_attn=run.is_cuda,
    )
    model = model.to(run.device, torch.bfloat16).eval()
    place = {"device": run.device, "dtype": torch.bfloat16}
    inputs = torch.zeros(batch, shape[0] * shape[1], channels, **place)
    yield {"subject": "FlashPerceiver", **run.timed(lambda: model(inputs))}


def training(run: Run, name: str, batch: int, precision: str) -> Iterator[Row]:
    """Forward and backward pass of weights in float32, with autocast in half precision."""
    dtype, tf32 = PRECISIONS[precision]
    set_tf32(tf32)

    def step(forward, module):
        module.zero_grad()
        with torch.autocast(run.device.type, dtype, enabled=dtype != torch.float32):
            output = forward()
        output.float().square().mean().backward()

    with torch.enable_grad():
        data = run.data(name, batch)
        for kernel, rematerialise in itertools.product(readers(run), (False, True)):
            module = run.module(name).train()
            module.rematerialise = rematerialise
            with fused_reader(kernel):
                row = run.timed(functools.partial(step, lambda m=module: m(data), module), 3)
            reader = "kernel" if kernel else "chunks"
            yield {"subject": "ours", "reader": reader, "rematerialised": rematerialise, **row}
        theirs, data = run.theirs(name, batch)
        row = run.timed(functools.partial(step, lambda: theirs(inputs=data).logits, theirs), 3)
        yield {"subject": "transformers", **row}


def jax_calls(run: Run, name: str, batch: int) -> Iterator[Row]:
    """The model on JAX, where it is installed and has the device."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch has memory too
    import jax

    from ivy_models.shells.jax import split

    ops, spec = ops_named("jax"), run.spec(name)
    tree = initialise(PerceiverIOCore(spec).parameters(), 0)
    model = split(spec, map_tree(lambda w: ops.asarray(w, spec.dtype, str(run.device)), tree))
    data = jax.device_put(run.data(name, batch, "cpu").numpy(), model.params["latents"].sharding)
    for precision in ("highest", "default"):
        with jax.default_matmul_precision(precision):
            call = jax.jit(lambda x: model.apply(model.params, x))
            row = run.timed(lambda call=call: call(data).block_until_ready(), 3)
        row.pop("extra_MiB", None)  # torch's
        yield {"precision": precision, **row}


def steps(small: bool) -> Iterator[tuple[Callable[..., Iterator[Row]], dict[str, Any]]]:
    """The steps with their settings, the most important first."""
    one, many = 1, 2 if small else 32
    fourier = {"name": "fourier 224"}
    for name in ("fourier 224", "flow"):
        yield agreement, {"name": name}
        yield waits, {"name": name, "precision": "float32"}
    yield waits, fourier | {"precision": "bfloat16"}
    for name, batch in (("fourier 224", many), ("fourier 1024", one), ("flow", one)):
        yield fused, {"name": name, "batch": batch}
    for batch in (one, many):
        for precision in PRECISIONS:
            yield speed, fourier | {"batch": batch, "precision": precision}
        for precision in ("float32", "bfloat16"):
            yield stock, fourier | {"batch": batch, "precision": precision}
        yield flash_perceiver, fourier | {"batch": batch}
    yield from others(one)
    for precision in ("float32", "bfloat16"):
        yield training, fourier | {"batch": 2 if small else 8, "precision": precision}
    for mode in ("default", "reduce-overhead"):
        yield compiled, fourier | {"precision": "bfloat16", "mode": mode}
    for batch in (one, many):
        yield jax_calls, fourier | {"batch": batch}
    for precision in ("float32", "bfloat16"):
        yield reader, fourier | {"batch": many, "precision": precision}
    yield chunks, fourier | {"batch": many}
    for name in ("fourier 1024", "flow"):
        yield chunks, {"name": name, "batch": one}
    yield from others(many)


def others(batch: int) -> Iterator[tuple[Callable[..., Iterator[Row]], dict[str, Any]]]:
    """Steps of the larger models."""
    for name in list(MODELS)[1:]:
        for precision in PRECISIONS:
            yield speed, {"name": name, "batch": batch, "precision": precision}
        if name != "video":
            yield stock, {"name": name, "batch": batch, "precision": "bfloat16"}


def run_step(run: Run, function: Callable[..., Iterator[Row]], settings: Row) -> Iterator[Row]:
    """The rows of a step; if it fails, its error as the last row."""
    begins = {"step": name_of(function), **settings}
    try:
        with torch.no_grad():
            for row in function(run, **settings):
                yield begins | row
    except Exception as error:  # of any class: the next step must run
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        yield begins | {"failed": reason, "at": f"{Path(where.filename).name}:{where.lineno}"}
    finally:
        set_tf32(False)
        gc.collect()
        if run.is_cuda:
            with contextlib.suppress(RuntimeError):  # the device may be what failed
                torch.cuda.empty_cache()


def name_of(step: Callable[..., Iterator[Row]]) -> str:
    return step.__name__.removesuffix("_calls")


NOTES = """
- **ms**: median time of a later call until the device is done; **host_ms**: until the call returns;
  **first_s**: seconds of the first call; **extra_MiB**: peak memory of the device during a call,
  beyond what is loaded.
- **difference**: the largest difference, relative to the largest output: of "agreement" and "fused"
  from float64 on the CPU, of "stock" from transformers.
- **stock**: the Perceiver of transformers as it is, with torch's fused attention, and after
  `ivy_models.accelerate`; **speed**: this library's torch module.
- **reader**: "chunks" are torch's operations, "kernel" is the one of Triton.
- All weights are random.
"""


def table(rows: list[Row], machine: Row) -> str:
    """A Markdown table for each step."""
    lines = ["# Models on an accelerator", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += NOTES.rstrip().splitlines()
    for step in dict.fromkeys(row["step"] for row in rows):
        group = [row for row in rows if row["step"] == step]
        names = list(dict.fromkeys(name for row in group for name in row if name != "step"))
        lines += ["", f"## {step}", "", f"| {' | '.join(names)} |", "| --- " * len(names) + "|"]
        for row in group:
            lines.append(f"| {' | '.join(str(row.get(name, '')) for name in names)} |")
    return "\n".join([*lines, ""])


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny models, to test this script")
    parser.add_argument("--output", type=Path, help="folder for results.json and table.md")
    parser.add_argument("--seconds", type=float, default=500, help="start no step after this time")
    parser.add_argument("--steps", nargs="+", help="names of the steps to run; all without it")
    chosen = parser.parse_args(arguments)
    start, rows = time.perf_counter(), []
    run = Run(chosen.device, chosen.small)
    machine = describe_machine(chosen.device)
    print(json.dumps(machine), flush=True)
    for function, settings in steps(chosen.small):
        if chosen.steps and name_of(function) not in chosen.steps:
            continue
        if time.perf_counter() - start > chosen.seconds:
            found = [{"step": name_of(function), **settings, "skipped": "out of time"}]
        else:
            found = run_step(run, function, settings)
        for row in found:
            rows.append(row)
            print(json.dumps(row), flush=True)
        if chosen.output:
            chosen.output.mkdir(parents=True, exist_ok=True)
            results = json.dumps({"machine": machine, "rows": rows}, indent=1)
            (chosen.output / "results.json").write_text(results, "utf-8")
            (chosen.output / "table.md").write_text(table(rows, machine), "utf-8")
    print(f"{time.perf_counter() - start:.0f} s", flush=True)
    return rows


if __name__ == "__main__":
    main()
