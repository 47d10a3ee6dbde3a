"""Weights of perceiver-pytorch's models, compared with the package's own results."""

import re
import sys
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import CHOSEN
from helpers.perceiver_pytorch import (
    CASES,
    IO,
    PERCEIVER,
    call_arguments,
    made,
    original,
    output_of,
    random_case,
)
from perceiver_pytorch.gated import Perceiver as GatedPerceiver

from ivy_models import accelerate
from ivy_models.arrays import to_numpy
from ivy_models.checkpoints.perceiver_pytorch.arguments import arguments_of, spec_of
from ivy_models.checkpoints.perceiver_pytorch.weights import read_perceiver_pytorch
from ivy_models.errors import WeightsError
from ivy_models.layers.parameters import flatten
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore
import ivy


@pytest.mark.parametrize("case", CASES)
def test_every_option(case):
    """A module, and its state with the constructor's arguments."""
    ivy.set_backend("numpy")
    model, arguments = original(case), CASES[case][1]
    given = arguments_of(model)
    assert spec_of(CASES[case][0], given) == spec_of(CASES[case][0], arguments)
    data, mask, queries = call_arguments(case)
    expected = output_of(model, data, mask, queries)
    for read in (
        PerceiverIO.from_perceiver_pytorch(model),
        PerceiverIO.from_perceiver_pytorch(model.state_dict(), **arguments),
    ):
        got = to_numpy(read(data, mask, queries), "")
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
        if CASES[case][0] == "PerceiverIO":
            np.testing.assert_allclose(
                to_numpy(read(data, mask, queries[0]), ""),
                output_of(model, data, mask, queries[0]),
                rtol=1e-5,
                atol=1e-5,
            )
            latents = output_of(model, data, mask, None)
            encoded = to_numpy(read.encode(data, mask), "")
            np.testing.assert_allclose(encoded, latents, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("case", ["tied", "no bands", "io, tied", "tokens"])
def test_backends(backend, case):
    data, mask, queries = call_arguments(case)
    expected = output_of(model := original(case), data, mask, queries)
    read = PerceiverIO.from_perceiver_pytorch(model)
    arguments = (None if x is None else x.numpy() for x in (data, mask, queries))
    np.testing.assert_allclose(to_numpy(read(*arguments), ""), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_random_options(seed):
    torch.manual_seed(seed)
    name, arguments, call = random_case(np.random.default_rng(seed))
    model = made(name, arguments)
    expected = output_of(model, *call)
    scale = max(1, np.abs(expected).max())
    for backend in {"numpy", "torch"} & {*CHOSEN}:
        ivy.set_backend(backend)
        for read in (
            PerceiverIO.from_perceiver_pytorch(model),
            PerceiverIO.from_perceiver_pytorch(model.state_dict(), **arguments),
        ):
            np.testing.assert_allclose(to_numpy(read(*call), ""), expected, atol=1e-5 * scale)
        ivy.unset_backend()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        accelerated = accelerate(model)
    np.testing.assert_allclose(output_of(accelerated, *call), expected, atol=1e-5 * scale)


FORMER = {
    "tied": {
        r"layers\.(\d+)\.cross_attn": r"layers.\1.0",
        r"layers\.(\d+)\.cross_ff": r"layers.\1.1",
        r"layers\.(\d+)\.self_attns": r"layers.\1.2",
    },
    "io, tied": {
        r"cross_attend_block\.cross_attn": "cross_attend_blocks.0",
        r"cross_attend_block\.cross_ff": "cross_attend_blocks.1",
        r"layers\.(\d+)\.self_attns\.0": r"layers.\1",
    },
}
FORMER["tokens"] = FORMER["io, tied"]


@pytest.mark.parametrize("case", FORMER)
def test_files_of_every_release(case, tmp_path):
    """Names of releases before 0.11, in files, wrapped, and without the copies of tied layers."""
    model, arguments = original(case), CASES[case][1]
    expected = read_perceiver_pytorch(model, {})
    former = {}
    for name, tensor in model.state_dict().items():
        for pattern, replacement in FORMER[case].items():
            name = re.sub(pattern, replacement, name)
        former["module._orig_mod." + name] = tensor
    assert former.keys() != model.state_dict().keys()
    torch.save(former, tmp_path / "former.pt")
    safetensors.torch.save_model(model, str(tmp_path / "model.safetensors"))
    for source in (former, tmp_path / "former.pt", str(tmp_path / "model.safetensors")):
        read = read_perceiver_pytorch(source, arguments)
        assert read.spec == expected.spec
        for (name, got), (_, array) in zip(flatten(read.tree), flatten(expected.tree), strict=True):
            np.testing.assert_array_equal(got, array, err_msg=name)


def named(prefix, case):
    return {f"{prefix}{name}": tensor for name, tensor in original(case).state_dict().items()}


def without(part):
    """The state of a PerceiverLM without a part."""
    return {name: x for name, x in original("tokens").state_dict().items() if part not in name}


@pytest.mark.parametrize("case", ["images", "io", "tokens"])
@pytest.mark.parametrize("prefix", ["model.", "module.model.", "net.perceiver_io.", "latents."])
def test_a_perceiver_in_a_larger_module(case, prefix, tmp_path):
    state = named(prefix, case) | {"loss.weight": torch.ones(3), "latents": torch.ones(2)}
    torch.save(state, tmp_path / "weights.pt")
    expected = read_perceiver_pytorch(original(case), {})
    for source in (state, tmp_path / "weights.pt"):
        read = read_perceiver_pytorch(source, CASES[case][1])
        assert read.spec == expected.spec
        for (name, got), (_, array) in zip(flatten(read.tree), flatten(expected.tree), strict=True):
            np.testing.assert_array_equal(got, array, err_msg=name)


def test_files_of_more_than_weights_are_refused(tmp_path):
    model = original("io")
    checkpoint = {"epoch": 3, "state_dict": model.state_dict()}
    for content, message in (
        (model, "asks for perceiver_pytorch"),
        (checkpoint, r"a dict with the names \['epoch', 'state_dict'\]"),
        ([model.state_dict()], "it holds a list"),
    ):
        torch.save(content, tmp_path / "weights.pt")
        with pytest.raises(WeightsError, match=message) as error:
            read_perceiver_pytorch(tmp_path / "weights.pt", IO)
        assert error.match(r"torch\.save\(module\.state_dict\(\)")


def test_tied_layers_are_stored_once():
    tied = read_perceiver_pytorch(original("tied"), {})
    assert list(tied.tree["processor"]) == list(tied.tree["reader"]) == ["layer_0", "layer_1"]
    assert list(read_perceiver_pytorch(original("io, tied"), {}).tree["processor"]) == ["layer_0"]


class _Own(torch.nn.Linear):
    pass


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        (original("images"), {"depth": 2}, "A module has its own arguments; leave out depth"),
        (_Own(2, 3), {}, "_Own is not Perceiver, PerceiverIO or PerceiverLM"),
        (
            GatedPerceiver(num_freq_bands=2, depth=1, max_freq=3.0, num_classes=2),
            {},
            "gated.Perceiver is not Perceiver",
        ),
        (original("images", attn_residual=True), {}, "has attn_residual"),
        (original("io", inverted_cross_attn=True), {}, "has inverted_cross_attn"),
        (
            original("images", inverted_cross_attn=(False, True, False, False)),
            {},
            "has inverted_cross_attn",
        ),
        (original("images").state_dict(), {"depth": 4}, "needs num_freq_bands, max_freq"),
        (original("io").state_dict(), IO | {"dpeth": 4}, "no argument dpeth. Did you mean depth"),
        (
            original("images", attn_residual=True).state_dict(),
            PERCEIVER,
            "has attn_residual",
        ),
        (original("images").state_dict(), PERCEIVER | {"depth": 3}, "unexpected"),
        (original("images").state_dict(), PERCEIVER | {"latent_dim": 24}, "of another shape"),
        (
            original("images").state_dict(),
            PERCEIVER | {"weight_tie_layers": True},
            "differs from the same weight of another layer",
        ),
        (
            original("images").state_dict(),
            PERCEIVER | {"self_per_cross_attn": 0},
            "has self_per_cross_attn=0, no self-attention",
        ),
        (original("io", depth=0), {}, "has depth=0, no self-attention"),
        (without("pos_emb."), CASES["tokens"][1], "num_tokens and max_seq_len describe a Perceive"),
        (original("tokens").perceiver_io.state_dict(), CASES["tokens"][1], "lack an embedding"),
        ({"weight": np.ones(2)}, {}, "have no latents"),
        (named("a.", "io") | named("b.", "io"), IO, r"several Perceivers: 'a\.', 'b\.'"),
        (
            {"epoch": 3, "state_dict": original("io").state_dict()},
            IO,
            r"such as source\['state_dict'\]",
        ),
        ([original("io")], IO, "must be a module, its state_dict.. or a path, got list"),
        ("nothing.pt", IO, "There is no weights file"),
    ],
)
def test_what_is_refused(source, arguments, message):
    with pytest.raises(WeightsError, match=message):
        read_perceiver_pytorch(source, arguments)


@pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")
def test_training_as_the_original_does():
    """The gradients of the weights that both have are the same."""
    model, (data, mask, queries) = original("io, tied", seq_dropout_prob=0.0), call_arguments("io")
    ivy.set_backend("torch")
    module = PerceiverIO.from_perceiver_pytorch(model).to_torch_module()
    for outputs in (model(data, mask=mask, queries=queries), module(data, mask, queries)):
        outputs.square().sum().backward()
    pairs = (
        (module.latents, model.latents),
        (module.decoder.head.weight, model.to_logits.weight),
        (
            module.processor.layer_0.self_attention_0.mlp.output.weight,
            model.layers[0].self_attns[0][1].fn.net[2].weight,
        ),
    )
    for mine, theirs in pairs:
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_it_needs_neither_torch_nor_the_package(tmp_path, monkeypatch):
    model, (data, mask, queries) = original("io"), call_arguments("io")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    expected = output_of(model, data, mask, queries)
    monkeypatch.setitem(sys.modules, "perceiver_pytorch", None)
    read = read_perceiver_pytorch(tmp_path / "weights.pt", IO)
    arguments = (x.numpy() for x in (data, mask, queries))
    got = PerceiverIOCore(read.spec)(read.tree, *arguments)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
