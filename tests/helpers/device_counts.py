"""Count what models do on an accelerator: ``python(MAIN)`` prints the counts as JSON.

The devices are those of :mod:`helpers.fake_devices`, in a process of its own.
"""

import functools
import json

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from helpers import fake_devices
from helpers.fake_devices import Count
from helpers.specs import flow_spec, language_spec, multimodal_spec, points_spec, small_spec
from ivy_models.layers.parameters import map_tree
from ivy_models.models.presets import PRESETS
from ivy_models.ops import torch_linear
from ivy_models.ops.torch_ops import TorchOps
from ivy_models.shells.torch import PerceiverIO, Resampler
from ivy_models.training.losses import classification_loss
from ivy_models.transformers.perceiver_io import Reader, ResamplerSpec
from ivy_models.transformers.perceiver_io.core import PerceiverIOCore

MAIN = "from helpers import device_counts; device_counts.main()"

FOURIER, FLOW, VIDEO = (
    PRESETS[f"perceiver_io_{name}"].spec for name in ("imagenet_fourier", "optical_flow", "video")
)

PUBLISHED = {
    "image of 224x224": (FOURIER, (1, 224, 224, 3)),
    "images of 224x224, batch 32": (FOURIER, (32, 224, 224, 3)),
    "image of 1024x1024": (FOURIER, (1, 1024, 1024, 3)),
    "flow": (FLOW, (1, 2, 368, 496, 3)),
    "video": (VIDEO, {"image": (1, 16, 224, 224, 3), "audio": (1, 30720, 1), "label": (1, 700)}),
}

THEIRS = {
    "image of 224x224": ("ImageClassificationFourier", FOURIER, (1, 3, 224, 224)),
    "images of 224x224, batch 32": ("ImageClassificationFourier", FOURIER, (32, 3, 224, 224)),
    "flow": ("OpticalFlow", FLOW, (1, 2, 27, 368, 496)),
}
"""The class of transformers, and the shape of its data, of which 3x3 patches are channels."""

IMAGES, GIVEN = {"data": (2, 6, 5, 3)}, {"learn_query": False, "query_shape": None}
POINTS = {"data": (2, 11, 3), "positions": (2, 11, 2)}
SMALL = {
    "grid": (small_spec(), IMAGES | {"mask": (2, 6, 5)}),
    "flow": (flow_spec(), {"data": (2, 2, 9, 11, 3)}),
    "video": (multimodal_spec(), {"data": {"sound": (2, 28, 1), "image": (2, 2, 6, 10, 3)}}),
    "points": (points_spec(), POINTS),
    "tokens": (language_spec(), {"data": (2, 9), "mask": (2, 9)}),
    "one channel": (small_spec(latent_dim=1, num_self_att_heads=1), {"data": (1, 1, 1, 3)}),
}
"""Specs, and shapes of the arguments of a call."""

WITH_MASKS = {
    "points": (points_spec(), POINTS | {"mask": (2, 11)}),
    "queries": (small_spec(**GIVEN), IMAGES | {"queries": (2, 3, 14), "query_mask": (2, 3)}),
    "coordinates of queries": (
        small_spec(**GIVEN, num_query_position_axes=2, max_fourier_freq=8),
        IMAGES | {"queries": (2, 3, 2), "query_mask": (2, 3)},
    ),
}
"""The same, of calls whose arguments are on the host."""

HEAD_SIZES = set()
"""Channels of the heads that fused attention was called with on CUDA, and strides of other axes."""

CASES = [
    ("cuda:1", "float32", list(SMALL)),
    ("cuda:1", "bfloat16", ["grid", "tokens"]),
    ("mps", "float32", ["grid"]),
    ("xpu", "float32", ["grid"]),
]
"""Devices and data types that the small models run in."""


def module_on(device, spec):
    """A torch module on a device, with parameters that have no numbers."""
    dtype = getattr(torch, spec.dtype)

    def empty(parameter):
        return torch.empty(parameter.shape, device=device, dtype=dtype)

    return PerceiverIO(spec, map_tree(empty, PerceiverIOCore(spec).parameters()))


def made(device, shape, dtype=torch.float32):
    if isinstance(shape, dict):
        return {name: made(device, inner) for name, inner in shape.items()}
    return torch.empty(shape, device=device, dtype=dtype)


def counts_of(call, on_host=False):
    with Count(on_host) as count:
        call()
    return {
        "kernels": count.kernels,
        "bytes": count.bytes,
        "copies": dict(count.copies),
        "waits": dict(count.waits),
    }


def published(spec, shape):
    """Counts of the first call of a model."""
    with FakeTensorMode(), torch.no_grad():
        module, data = module_on("cuda", spec), made("cuda", shape)
        return counts_of(lambda: module(data))


def theirs(kind, spec, shape):
    """Counts of a call of the same model of transformers."""
    import transformers
    from subjects import huggingface_config

    config = huggingface_config(spec)
    config.image_size, config.train_size = shape[-1], list(shape[-2:])
    with FakeTensorMode(), torch.no_grad():
        with torch.device("cuda"):
            model = getattr(transformers, f"PerceiverFor{kind}")(config).eval()
        data = made("cuda", shape)
        return counts_of(lambda: model(inputs=data))


def training(spec, batch):
    """Counts of a step of training: here, and of transformers.

    Fake devices have no backward passes, so the CPU's fake tensors are chunked as theirs are.
    """
    import transformers
    from subjects import huggingface_config

    TorchOps.is_on_cpu = lambda *_: False
    torch_linear.ONEDNN_LINEAR, torch_linear._mkl_is_slow = None, lambda: False
    config = huggingface_config(spec)
    config.image_size = 224
    with FakeTensorMode():
        theirs = transformers.PerceiverForImageClassificationFourier(config)
        calls = {
            "ours": functools.partial(module_on("cpu", spec), made("cpu", (batch, 224, 224, 3))),
            "theirs": lambda: theirs(inputs=made("cpu", (batch, 3, 224, 224))).logits,
        }
        steps = {
            name: lambda call=call: call().square().mean().backward()
            for name, call in calls.items()
        }
        return {name: counts_of(step, on_host=True) for name, step in steps.items()}


def arguments(device, spec, shapes):
    """The arguments of a call."""
    types = {"data": torch.int64 if spec.vocabulary_size else torch.float32}
    types |= dict.fromkeys(("mask", "query_mask"), torch.bool)
    return {name: made(device, s, types.get(name, torch.float32)) for name, s in shapes.items()}


def from_host(spec, shapes):
    """The device of the output of a call, the numbers of which are on the host."""
    with FakeTensorMode(), torch.no_grad():
        return str(module_on("cuda", spec)(**arguments("cpu", spec, shapes)).device)


def resampler_from_host():
    """The same of a call of a Resampler."""
    with torch.device("meta"):
        module = Resampler(ResamplerSpec(input_dim=12, latent_dim=16, num_latents=4, num_heads=2))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        mask = made("cpu", (2, 9), torch.bool)
        return str(module.to_empty(device="cuda")(made("cpu", (2, 9, 12)), mask=mask).device)


def small(device, spec, name):
    """Counts of a second call, with data on the device, and of one whose loss has a gradient."""
    with FakeTensorMode():
        module = module_on(device, spec)
        data = arguments(device, spec, SMALL[name][1])
        classes = torch.zeros((), dtype=torch.int64, device=device)

        def train():
            outputs = module(**data)
            outputs = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
            for output in outputs:
                classification_loss(output, classes.expand(output.shape[:-1]))

        def call():
            with torch.no_grad():
                module(**data)

        counts = {}
        for kind, function in {"call": call, "training": train}.items():
            function()
            counts[kind] = counts_of(function)
        return counts


def main():
    """Print the counts."""
    fake_devices.install()
    result = {name: published(*case) for name, case in PUBLISHED.items()}
    result["theirs"] = {name: theirs(*case) for name, case in THEIRS.items()}
    cheaper, own = Reader.plain_is_cheaper, F.scaled_dot_product_attention
    # Small data, read as large data are.
    Reader.plain_is_cheaper = lambda *_: False
    F.scaled_dot_product_attention = formula  # the fake devices have no fused kernels
    result["small"] = {
        f"{name} on {device} in {dtype}": small(device, SMALL[name][0].replace(dtype=dtype), name)
        for device, dtype, names in CASES
        for name in names
    }
    result["from the host"] = {name: from_host(*case) for name, case in WITH_MASKS.items()}
    result["from the host"]["resampler"] = resampler_from_host()
    result["head sizes"] = sorted(HEAD_SIZES)
    F.scaled_dot_product_attention = own
    Reader.plain_is_cheaper = cheaper
    result["training"] = training(FOURIER, 32)
    print(json.dumps(result))


def formula(q, k, v, attn_mask=None, scale=None):
    """Attention as torch documents it."""
    if q.device.type == "cuda":
        for x in (q, k, v):
            HEAD_SIZES.update((x.shape[-1], *x.stride()[:-1]))
    scores = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
    return torch.softmax(scores if attn_mask is None else scores + attn_mask, -1) @ v
