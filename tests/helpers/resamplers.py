"""Small resamplers with the settings of published models, and textbook formulas in float64."""

import math

import numpy as np

from ivy_models.layers.parameters import map_tree
from ivy_models.transformers.perceiver_io import ResamplerSpec, initialise

SMALL = {"input_dim": 12, "latent_dim": 12, "num_heads": 4, "head_dim": 6}

PUBLISHED = {
    "flamingo": {"num_latents": 5, "num_layers": 2, "keys_from_latents": True},
    "idefics": {"num_latents": 5, "keys_from_latents": True, "qk_norm": "heads",
                "activation": "relu"},
    "idefics2": {"num_latents": 5, "keys_from_latents": True, "norm": "rms_norm",
                 "num_key_value_heads": 2, "activation": "silu", "gated_mlp": True},
    "ip_adapter": {"input_dim": 7, "num_latents": 5, "keys_from_latents": True,
                   "input_projection": True, "output_dim": 9},
    "aurora": {"input_dim": 7, "norm_position": "after", "qk_norm": "channels", "mlp_bias": True,
               "output_norm": False},
    "aurora_decoder": {"norm_position": "after", "query_residual": False, "output_norm": False},
    "chatterbox": {"num_latents": 5, "qkv_bias": True, "out_bias": True, "mlp_dim": 0,
                   "num_self_attention_layers": 1, "output_norm": False},
    "poyo": {"rotary_dim": 4, "rotate_values": True, "out_bias": True, "mlp_bias": True,
             "gated_mlp": True, "num_self_attention_layers": 1, "output_norm": False},
    "xtts": {"num_latents": 5, "num_layers": 2, "keys_from_latents": True, "norm": "rms_norm",
             "norm_position": None, "mlp_dim": 10, "gated_mlp": True, "mlp_bias": True},
    "pooled": {"num_latents": 5, "num_self_attention_layers": 2, "pooled": True, "qkv_bias": True},
}  # fmt: skip


def published(name):
    return ResamplerSpec(**SMALL | PUBLISHED[name])


def random_weights(spec, rng):
    """No weight at its neutral value."""
    return map_tree(
        lambda x: x + 0.3 * rng.standard_normal(x.shape, np.float32), initialise(spec.parameters())
    )


def arguments_for(spec, rng, batch=2, num_inputs=9, masked=True):
    """Arguments of a call by name, as NumPy arrays."""
    shape = batch, num_inputs
    arguments = {"inputs": rng.standard_normal((*shape, spec.input_dim), np.float32)}
    if masked:
        arguments["mask"] = rng.random(shape) < 0.6
    if spec.num_latents is None:
        arguments["latents"] = rng.standard_normal((batch, 3, spec.latent_dim), np.float32)
    if spec.rotary_dim is not None:
        arguments["positions"] = rng.uniform(0, 9, shape).astype(np.float32)
        num_latents = spec.num_latents or 3
        arguments["latent_positions"] = rng.uniform(0, 9, num_latents).astype(np.float32)
    return arguments


def textbook(spec, weights, inputs, latents=None, mask=None, positions=None, latent_positions=None):
    """The formulas in float64, for one latent, head and layer at a time."""
    weights = map_tree(np.float64, weights)
    outputs = []
    for b in range(len(inputs if not isinstance(inputs, list) else inputs[0])):
        z = weights["latents"] if latents is None else np.float64(latents[b % len(latents)])
        where = None if latent_positions is None else row(latent_positions, b)
        for i in range(spec.num_layers):
            x = np.float64(inputs[i][b] if isinstance(inputs, list) else inputs[b])
            kept = row(mask[i] if isinstance(mask, list) else mask, b)
            places = row(positions[i] if isinstance(positions, list) else positions, b)
            if spec.input_projection:
                x = linear(weights["input_projection"], x)
            layer = weights[f"layer_{i}"]
            z = block(spec, layer["cross_attention"], z, where, x, kept, places)
            for j in range(spec.num_self_attention_layers):
                z = block(spec, layer[f"self_attention_{j}"], z, where)
        if spec.output_dim:
            z = linear(weights["output_projection"], z)
        if spec.output_norm:
            z = norm(spec, weights["output_norm"], z)
        outputs.append(z.mean(0) if spec.pooled else z)
    return np.stack(outputs)


def row(x, b):
    return x if x is None or np.ndim(x) == 1 else x[b]


def linear(weights, x):
    return x @ weights["weight"] + weights.get("bias", 0)


def norm(spec, weights, x):
    if spec.norm == "rms_norm":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + spec.rms_norm_eps) * weights["scale"]
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred / deviation * weights["scale"] + weights["offset"]


def rotated(spec, x, positions):
    """Complex numbers (a + i b) turn by exp(i angle)."""
    if spec.rotary_dim is None:
        return x
    angles = np.float64(positions)[:, None] * spec.rotary_theta ** -(
        np.arange(spec.rotary_dim // 2) / (spec.rotary_dim // 2)
    )
    turned = (x[:, : spec.rotary_dim : 2] + 1j * x[:, 1 : spec.rotary_dim : 2]) * np.exp(
        1j * angles
    )
    result = x.copy()
    result[:, : spec.rotary_dim : 2], result[:, 1 : spec.rotary_dim : 2] = turned.real, turned.imag
    return result


def block(spec, weights, z, where, x=None, kept=None, places=None):
    before, after = spec.norm_position == "before", spec.norm_position == "after"
    queries = norm(spec, weights["query_norm"], z) if before else z
    if x is None:
        keys, kept, places = queries, None, where
    else:
        keys = norm(spec, weights["input_norm"], x) if before else x
        kept = np.ones(len(keys), bool) if kept is None else kept
        if spec.keys_from_latents:
            keys, kept = np.concatenate([keys, queries]), np.append(kept, np.ones(len(z), bool))
            places = None if places is None else np.append(places, where)
    attended = attention(spec, weights["attention"], queries, keys, kept, where, places)
    attended = norm(spec, weights["attention_norm"], attended) if after else attended
    z = attended + z if x is None or spec.query_residual else attended
    if spec.mlp_dim == 0:
        return z
    hidden = norm(spec, weights["mlp_norm"], z) if before else z
    act = {"relu": lambda t: np.maximum(t, 0), "silu": lambda t: t / (1 + np.exp(-t)),
           "gelu": lambda t: t * (1 + np.vectorize(math.erf)(t / math.sqrt(2))) / 2,
    }[spec.activation]  # fmt: skip
    mlp = weights["mlp"]
    gate = act(linear(mlp["gate"], hidden)) if spec.gated_mlp else None
    hidden = linear(mlp["hidden"], hidden)
    hidden = linear(mlp["output"], act(hidden) if gate is None else hidden * gate)
    return z + (norm(spec, weights["mlp_norm"], hidden) if after else hidden)


def attention(spec, weights, queries, keys, kept, where, places):
    q, k, v = (
        linear(weights["query"], queries),
        *(linear(weights[n], keys) for n in ("key", "value")),
    )
    if spec.qk_norm == "channels":
        q, k = norm(spec, weights["query_norm"], q), norm(spec, weights["key_norm"], k)
    heads, size = [], spec.head_dim
    for h in range(spec.num_heads):
        g = h * spec.key_value_heads // spec.num_heads
        own, shared = slice(h * size, (h + 1) * size), slice(g * size, (g + 1) * size)
        q_h, k_h, v_h = q[:, own], k[:, shared], v[:, shared]
        if spec.qk_norm == "heads":
            q_h, k_h = norm(spec, weights["query_norm"], q_h), norm(spec, weights["key_norm"], k_h)
        scores = rotated(spec, q_h, where) @ rotated(spec, k_h, places).T / math.sqrt(size)
        v_h = rotated(spec, v_h, places) if spec.rotate_values else v_h
        if kept is not None:
            scores, v_h = scores[:, kept], v_h[kept]
        if not scores.shape[1]:
            heads.append(np.zeros_like(q_h))
            continue
        shares = np.exp(scores - scores.max(1, keepdims=True))
        attended = shares / shares.sum(1, keepdims=True) @ v_h
        if spec.rotate_values:
            attended = rotated(spec, attended, -where)
        heads.append(attended)
    return linear(weights["output"], np.concatenate(heads, 1))
