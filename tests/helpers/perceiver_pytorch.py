"""Small random models of perceiver-pytorch, and arguments of their calls."""

import perceiver_pytorch
import torch

SIZES = {
    "num_latents": 7,
    "latent_dim": 12,
    "cross_heads": 2,
    "latent_heads": 3,
    "cross_dim_head": 5,
    "latent_dim_head": 4,
}
PERCEIVER = SIZES | {"num_freq_bands": 4, "max_freq": 9.5, "depth": 4, "num_classes": 5}
IO = SIZES | {"depth": 3, "dim": 9, "queries_dim": 10}

CASES = {
    "images": ("Perceiver", PERCEIVER),
    "tied": (
        "Perceiver",
        PERCEIVER | {"weight_tie_layers": True, "self_per_cross_attn": 2, "attn_dropout": 0.1},
    ),
    "no positions": ("Perceiver", PERCEIVER | {"fourier_encode_data": False, "ff_dropout": 0.2}),
    "no bands": ("Perceiver", PERCEIVER | {"num_freq_bands": 0, "max_freq": 2}),
    "no head": ("Perceiver", PERCEIVER | {"final_classifier_head": False, "depth": 1}),
    "sequences": ("Perceiver", PERCEIVER | {"input_axis": 1, "input_channels": 2}),
    "videos": ("Perceiver", PERCEIVER | {"input_axis": 3, "num_freq_bands": 1, "depth": 2}),
    "io": ("PerceiverIO", IO),
    "io, tied": (
        "PerceiverIO",
        IO
        | {"weight_tie_layers": True, "decoder_ff": True, "logits_dim": 6, "seq_dropout_prob": 0.3},
    ),
    "tokens": (
        "PerceiverLM",
        SIZES | {"depth": 2, "dim": 9, "num_tokens": 20, "max_seq_len": 13},
    ),
}


def original(case, **changes):
    """A model in evaluation mode, none of whose weights is zero or one."""
    name, arguments = CASES[case]
    return made(name, arguments | changes)


def made(name, arguments):
    """The same for a class and its arguments."""
    torch.manual_seed(0)
    model = getattr(perceiver_pytorch, name)(**arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def call_arguments(case, batch=2):
    """Data, mask and queries (or None) as tensors."""
    torch.manual_seed(1)
    name, arguments = CASES[case]
    if name == "PerceiverLM":
        return torch.randint(20, (batch, 11)), torch.rand(batch, 11) < 0.7, None
    if name == "PerceiverIO":
        mask = torch.rand(batch, 11) < 0.7
        return torch.randn(batch, 11, 9), mask, torch.randn(batch, 8, 10)
    axes = (6, 5, 3)[: arguments.get("input_axis", 2)]
    data = torch.randn(batch, *axes, arguments.get("input_channels", 3))
    return data, torch.rand(batch, *axes) < 0.7, None


def random_case(rng):
    """A class's name, arguments that its spec describes, and data, mask and queries for them."""
    name = str(rng.choice(["Perceiver", "PerceiverIO", "PerceiverLM"]))

    def one_of(*values):
        return values[rng.integers(len(values))]

    arguments = {size: one_of(1, 2, 5) for size in SIZES} | {
        "depth": one_of(1, 2, 3, 4),
        "num_latents": one_of(1, 7),
        "latent_dim": one_of(1, 5, 12),
        "weight_tie_layers": one_of(False, True),
    }
    if name == "Perceiver":
        arguments |= {
            "num_freq_bands": one_of(0, 1, 2, 6),
            "max_freq": one_of(0.5, 1, 2, 10.0, 64),
            "input_channels": one_of(1, 3),
            "input_axis": one_of(1, 2, 3),
            "num_classes": one_of(1, 4),
            "fourier_encode_data": one_of(True, True, False),
            "self_per_cross_attn": one_of(1, 2, 3),
            "final_classifier_head": one_of(True, True, False),
            "attn_dropout": one_of(0.0, 0.1),
            "ff_dropout": one_of(0.0, 0.1),
        }
        shape = [one_of(1, 2, 5) for _ in range(arguments["input_axis"])]
        data, queries = torch.randn(2, *shape, arguments["input_channels"]), None
    else:
        arguments |= {
            "dim": one_of(1, 9),
            "decoder_ff": one_of(False, True),
            "seq_dropout_prob": one_of(0.0, 0.3),
        }
        shape = [one_of(1, 11)]
        if name == "PerceiverLM":
            arguments |= {"num_tokens": 20, "max_seq_len": 13}
            data, queries = torch.randint(20, (2, *shape)), None
        else:
            arguments |= {"queries_dim": one_of(1, 10), "logits_dim": one_of(None, 1, 6)}
            data = torch.randn(2, *shape, arguments["dim"])
            queries = torch.randn(*one_of((4,), (2, 3)), arguments["queries_dim"])
    mask = torch.rand(2, *shape) < 0.7
    mask.view(2, -1)[:, 0] = True  # without any input the results differ
    return name, arguments, (data, one_of(None, mask), queries)


def output_of(model, data, mask, queries):
    """The output of a model of perceiver-pytorch."""
    with torch.no_grad():
        if queries is None:
            return model(data, mask=mask).numpy()
        return model(data, mask=mask, queries=queries).numpy()
