"""Models of perceiver-pytorch on the core, in place, compared with their own code."""

import copy
import pickle

import pytest
import torch
from helpers import CHOSEN
from helpers.perceiver_pytorch import CASES, call_arguments, original, output_of
from perceiver_pytorch import Perceiver, perceiver_pytorch

from ivy_models import accelerate
from ivy_models.errors import WeightsError
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore

pytestmark = pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")


@pytest.fixture
def runs_of_the_core(monkeypatch):
    """A list that grows by one with each run of the core."""
    runs, read = [], PerceiverIOCore.to_latents

    def counted(self, *arguments, **named):
        runs.append(1)
        return read(self, *arguments, **named)

    monkeypatch.setattr(PerceiverIOCore, "to_latents", counted)
    return runs


def check_same(got, expected):
    pair = torch.as_tensor(got), torch.as_tensor(expected)
    torch.testing.assert_close(*pair, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_outputs_gradients_and_copies(case, runs_of_the_core):
    own, (data, mask, queries) = original(case), call_arguments(case)
    fast = accelerate(copy.deepcopy(own))
    assert type(fast).__name__ == type(own).__name__
    assert isinstance(fast, type(own))
    assert list(fast.state_dict()) == list(own.state_dict())
    expected = output_of(own, data, mask, queries)
    for model in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast)), accelerate(fast)):
        check_same(output_of(model, data, mask, queries), expected)
    assert len(runs_of_the_core) == 4
    check_same(output_of(fast, data, None, queries), output_of(own, data, None, queries))
    given = {"mask": mask} if queries is None else {"mask": mask, "queries": queries}
    for model in (own, fast):
        model(data, **given).square().sum().backward()
    for (name, mine), theirs in zip(fast.named_parameters(), own.parameters(), strict=True):
        if theirs.grad is None:
            assert mine.grad is None
        else:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4, msg=name)
    assert len(runs_of_the_core) == 6


def test_latents_are_those_of_the_model(runs_of_the_core):
    own, (data, mask, _) = original("images"), call_arguments("images")
    fast = accelerate(copy.deepcopy(own))
    with torch.no_grad():
        check_same(fast(data, mask, True), own(data, mask, True))
        io, (sequence, seen, queries) = original("io"), call_arguments("io")
        fast_io = accelerate(copy.deepcopy(io))
        check_same(fast_io(sequence, seen), io(sequence, seen))
        check_same(fast_io(sequence, seen, queries[0]), io(sequence, seen, queries[0]))
        assert len(runs_of_the_core) == 3
        hidden = fast(data, mask, return_hiddens=True)
    check_same(hidden[0], output_of(own, data, mask, None))
    assert len(hidden[1]) == 5
    assert len(runs_of_the_core) == 3


def layer(model):
    return model.layers[2].self_attns[0][1].fn.net


CHANGES = {
    "hook": lambda model: layer(model)[0].register_forward_hook(lambda *call: 2 * call[2]),
    "another module": lambda model: layer(model).__setitem__(1, torch.nn.GLU()),
    "heads": lambda model: setattr(model.layers[0].cross_attn.fn, "heads", 1),
    "scale": lambda model: setattr(model.layers[0].cross_attn.fn, "scale", 1.0),
    "frequencies": lambda model: setattr(model, "max_freq", 3.0),
    "head": lambda model: setattr(model, "to_logits", torch.nn.Identity()),
}


@pytest.mark.parametrize("case", ["images", "tied"])
@pytest.mark.parametrize("change", CHANGES)
def test_changes_count_before_and_after_accelerating(case, change, runs_of_the_core):
    own, arguments = original(case), call_arguments(case)
    fast = accelerate(copy.deepcopy(own))
    before = output_of(fast, *arguments)
    for model in (own, fast):
        CHANGES[change](model)
    expected = output_of(own, *arguments)
    assert expected.shape != before.shape or abs(expected - before).max() > 1e-6
    check_same(output_of(fast, *arguments), expected)
    assert len(runs_of_the_core) == 1


def test_layers_that_share_no_more_run_as_before(runs_of_the_core):
    own, arguments = original("tied"), call_arguments("tied")
    fast = accelerate(copy.deepcopy(own))
    for model in (own, fast):
        model.layers[3] = copy.deepcopy(model.layers[0])
    check_same(output_of(fast, *arguments), output_of(own, *arguments))
    with pytest.warns(UserWarning, match="its layers share other weights"):
        accelerate(fast)
    check_same(output_of(fast, *arguments), output_of(own, *arguments))
    assert not runs_of_the_core


@pytest.mark.slow
def test_calls_that_differ_run_as_before(runs_of_the_core):
    own, (data, mask, _) = original("images"), call_arguments("images")
    fast = accelerate(copy.deepcopy(own))
    nothing = mask & (torch.arange(2) == 0)[:, None, None]
    check_same(output_of(fast, data, nothing, None), output_of(own, data, nothing, None))
    with pytest.raises(AssertionError, match="right number of axis"):
        fast(data[:, 0])
    halves = (model.to(torch.bfloat16) for model in copy.deepcopy((fast, own)))
    first, second = (model(data.to(torch.bfloat16), mask=mask) for model in halves)
    torch.testing.assert_close(first, second)
    torch.compile(fast, backend="eager")(data, mask)
    assert not runs_of_the_core
    own, (data, mask, _) = original("tied").train(), call_arguments("tied")
    fast = accelerate(copy.deepcopy(own))
    results = []
    for model in (own, fast):
        torch.manual_seed(0)
        results.append(output_of(model, data, mask, None))
    check_same(*results)
    assert not runs_of_the_core


def test_replaced_functions_run(runs_of_the_core, monkeypatch):
    own, arguments = original("images"), call_arguments("images")
    fast = accelerate(copy.deepcopy(own))
    encode = perceiver_pytorch.fourier_encode
    with monkeypatch.context() as patch:
        patch.setattr(perceiver_pytorch, "fourier_encode", lambda *given: 2 * encode(*given))
        check_same(output_of(fast, *arguments), output_of(own, *arguments))
        with pytest.warns(UserWarning, match="own code for now: .*fourier_encode was replaced"):
            accelerate(own)
    assert not runs_of_the_core
    output_of(fast, *arguments)
    assert runs_of_the_core


def test_weights_of_an_accelerated_model_are_read():
    fast = accelerate(original("images"))
    assert PerceiverIO.from_perceiver_pytorch(fast).spec.pooling == "mean"


class _Own(Perceiver):
    pass


def test_other_models_are_refused_or_warned_of():
    with pytest.warns(UserWarning, match="runs perceiver-pytorch's own code for now: The model"):
        model = accelerate(original("images", attn_residual=True))
    assert type(model) is Perceiver
    own = _Own(num_freq_bands=2, depth=1, max_freq=3.0, num_latents=2, latent_dim=8, num_classes=2)
    for other in (own, torch.nn.DataParallel(original("images"))):
        with pytest.raises(WeightsError, match="or a Perceiver, PerceiverIO or PerceiverLM of"):
            accelerate(other)
