"""Compare resamplers with the same resamplers written with the frameworks' own attention.

    python benchmarks/resampler.py                      # torch, keras, jax
    KERAS_BACKEND=jax python benchmarks/resampler.py --frameworks keras

64 outputs are read from 4,096 inputs of 1,024 channels in two layers, as wide as OpenFlamingo's;
with keys from the inputs alone, and from inputs and latents. The other resampler computes the same
from the same weights, with torch.nn.functional.scaled_dot_product_attention,
keras.layers.MultiHeadAttention or jax.nn.dot_product_attention. Both are compiled on JAX and Keras.
They take turns. Prints the shortest and the median time of a call, and of a call with the gradients
of all weights.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np

from ivy_models.transformers.perceiver_io import ResamplerSpec, initialise

DIM, OUTPUTS, LAYERS, HEADS, HEAD_DIM = 1024, 64, 2, 8, 64
Calls = dict[str, tuple[Callable[[], Any], Callable[[], Any]]]
"""Ours and theirs by the name of the call."""


def spec_of(keys_from_latents: bool) -> ResamplerSpec:
    return ResamplerSpec(
        DIM, DIM, OUTPUTS, LAYERS, num_heads=HEADS, head_dim=HEAD_DIM,
        keys_from_latents=keys_from_latents,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frameworks", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--inputs", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu", help='of torch: "cpu" or "cuda"')
    arguments = parser.parse_args()
    shape = arguments.batch, arguments.inputs, DIM
    inputs = np.random.default_rng(0).standard_normal(shape, np.float32)
    print(f"{'':24}{'keys from':12}{'ours, s':>18}{'theirs, s':>18}{'ratio':>8}")
    for framework in arguments.frameworks:
        for keys_from_latents in (False, True):
            calls = SUBJECTS[framework](spec_of(keys_from_latents), inputs, arguments.device)
            keys = "both" if keys_from_latents else "inputs"
            for name, pair in calls.items():
                (ours, our_median), (theirs, their_median) = timed(pair, arguments.repeats)
                print(
                    f"{framework:8}{name:16}{keys:12}{ours:9.3f} {our_median:8.3f}"
                    f"{theirs:9.3f} {their_median:8.3f}{ours / theirs:8.2f}",
                    flush=True,
                )


def timed(
    pair: tuple[Callable[[], Any], Callable[[], Any]], repeats: int
) -> list[tuple[float, float]]:
    """The shortest and median time of each, in turns, after a first call that compiles."""
    ours, theirs = (function() for function in pair)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for function, times in zip(pair, seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [(min(times), median(times)) for times in seconds]


def torch_calls(spec: ResamplerSpec, inputs: np.ndarray, device: str) -> Calls:
    import torch
    from torch import nn
    from torch.nn import functional as F

    from ivy_models.shells.torch import Resampler

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm_inputs, self.norm_latents = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
            self.to_q = nn.Linear(DIM, HEADS * HEAD_DIM, bias=False)
            self.to_k = nn.Linear(DIM, HEADS * HEAD_DIM, bias=False)
            self.to_v = nn.Linear(DIM, HEADS * HEAD_DIM, bias=False)
            self.to_out = nn.Linear(HEADS * HEAD_DIM, DIM, bias=False)

        def forward(self, latents, x):
            x, latents = self.norm_inputs(x), self.norm_latents(latents)
            keys = torch.cat([x, latents], 1) if spec.keys_from_latents else x
            q, k, v = (
                layer(y).unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2)
                for layer, y in ((self.to_q, latents), (self.to_k, keys), (self.to_v, keys))
            )
            attended = F.scaled_dot_product_attention(q, k, v)
            return self.to_out(attended.transpose(1, 2).flatten(2))

    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.latents = nn.Parameter(torch.zeros(OUTPUTS, DIM))
            self.attention = nn.ModuleList(Attention() for _ in range(LAYERS))
            self.mlp = nn.ModuleList(
                nn.Sequential(
                    nn.LayerNorm(DIM),
                    nn.Linear(DIM, 4 * DIM, bias=False),
                    nn.GELU(),
                    nn.Linear(4 * DIM, DIM, bias=False),
                )
                for _ in range(LAYERS)
            )
            self.norm = nn.LayerNorm(DIM)

        def forward(self, x):
            latents = self.latents.expand(len(x), -1, -1)
            for attention, mlp in zip(self.attention, self.mlp, strict=True):
                latents = latents + attention(latents, x)
                latents = latents + mlp(latents)
            return self.norm(latents)

    ours, theirs = Resampler(spec).to(device), Theirs().to(device)
    with torch.no_grad():
        theirs.latents.copy_(ours.latents)
        for i in range(LAYERS):
            block = getattr(ours, f"layer_{i}").cross_attention
            attention, mlp = theirs.attention[i], theirs.mlp[i]
            for mine, other in (
                (block.attention.query, attention.to_q), (block.attention.key, attention.to_k),
                (block.attention.value, attention.to_v), (block.attention.output, attention.to_out),
                (block.mlp.hidden, mlp[1]), (block.mlp.output, mlp[3]),
            ):  # fmt: skip
                other.weight.copy_(mine.weight)
    x = torch.from_numpy(inputs).to(device)

    def forward(module):
        with torch.inference_mode():
            return module(x).cpu().numpy()

    def training(module):
        module.zero_grad()
        loss = module(x).square().mean()
        loss.backward()
        return module.latents.grad.cpu().numpy()

    return {
        "forward": (lambda: forward(ours), lambda: forward(theirs)),
        "with gradients": (lambda: training(ours), lambda: training(theirs)),
    }


def jax_calls(spec: ResamplerSpec, inputs: np.ndarray, _device: str) -> Calls:
    import jax
    import jax.numpy as jnp

    from ivy_models.shells.jax import resampler

    apply, params = resampler(spec)
    x = jnp.asarray(inputs)

    def norm(p, y):
        centred = y - y.mean(-1, keepdims=True)
        deviation = jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
        return centred / deviation * p["scale"] + p["offset"]

    def theirs(params, x):
        latents = jnp.broadcast_to(params["latents"], (len(x), OUTPUTS, DIM))
        for i in range(LAYERS):
            p = params[f"layer_{i}"]["cross_attention"]
            queries, keys = norm(p["query_norm"], latents), norm(p["input_norm"], x)
            if spec.keys_from_latents:
                keys = jnp.concatenate([keys, queries], 1)
            q, k, v = (
                (y @ p["attention"][name]["weight"]).reshape(*y.shape[:2], HEADS, HEAD_DIM)
                for name, y in (("query", queries), ("key", keys), ("value", keys))
            )
            attended = jax.nn.dot_product_attention(q, k, v).reshape(len(x), OUTPUTS, -1)
            latents = latents + attended @ p["attention"]["output"]["weight"]
            hidden = norm(p["mlp_norm"], latents) @ p["mlp"]["hidden"]["weight"]
            hidden = jax.nn.gelu(hidden, approximate=False)
            latents = latents + hidden @ p["mlp"]["output"]["weight"]
        return norm(params["output_norm"], latents)

    def calls(function):
        forward = jax.jit(function)
        gradient = jax.jit(jax.grad(lambda params, x: jnp.square(function(params, x)).mean()))
        return (
            lambda: np.asarray(forward(params, x)),
            lambda: np.asarray(jax.block_until_ready(gradient(params, x))["latents"]),
        )

    return dict(
        zip(
            ("forward", "with gradients"),
            zip(calls(apply), calls(theirs), strict=True),
            strict=True,
        )
    )


def keras_calls(spec: ResamplerSpec, inputs: np.ndarray, _device: str) -> Calls:
    import keras

    from ivy_models.shells.keras import Resampler

    weights = initialise(spec.parameters())

    class Latents(keras.layers.Layer):
        def build(self, _shape):
            self.latents = self.add_weight(shape=(OUTPUTS, DIM), name="latents")

        def call(self, x):
            return keras.ops.broadcast_to(self.latents, (keras.ops.shape(x)[0], OUTPUTS, DIM))

    x = keras.Input(inputs.shape[1:])
    learned = Latents()
    latents, layers = learned(x), []
    for _ in range(LAYERS):
        norms = [keras.layers.LayerNormalization(epsilon=1e-5) for _ in range(3)]
        attention = keras.layers.MultiHeadAttention(HEADS, HEAD_DIM, use_bias=False)
        hidden = keras.layers.Dense(4 * DIM, use_bias=False)
        output = keras.layers.Dense(DIM, use_bias=False)
        queries, keys = norms[0](latents), norms[1](x)
        if spec.keys_from_latents:
            keys = keras.layers.Concatenate(1)([keys, queries])
        latents = latents + attention(queries, keys)
        activated = keras.ops.gelu(hidden(norms[2](latents)), approximate=False)
        latents = latents + output(activated)
        layers.append((attention, hidden, output))
    theirs = keras.Model(x, keras.layers.LayerNormalization(epsilon=1e-5)(latents))
    learned.latents.assign(weights["latents"])
    for i, (attention, hidden, output) in enumerate(layers):
        block = weights[f"layer_{i}"]["cross_attention"]
        for variable, name in zip(
            attention.weights, ("query", "key", "value", "output"), strict=True
        ):
            variable.assign(block["attention"][name]["weight"].reshape(variable.shape))
        for layer, name in ((hidden, "hidden"), (output, "output")):
            layer.kernel.assign(block["mlp"][name]["weight"])
    ours = keras.Model(x, Resampler(spec)(x))
    target = np.zeros((len(inputs), OUTPUTS, DIM), np.float32)
    for model in (ours, theirs):
        model.compile(keras.optimizers.SGD(0.0), "mse")
    return {
        "forward": tuple(lambda m=m: m.predict_on_batch(inputs) for m in (ours, theirs)),
        "with gradients": tuple(
            lambda m=m: m.train_on_batch(inputs, target) for m in (ours, theirs)
        ),
    }  # pyright: ignore[reportReturnType]


SUBJECTS = {"torch": torch_calls, "keras": keras_calls, "jax": jax_calls}

if __name__ == "__main__":
    main()
