"""transformers' Perceivers on this library's core: the same outputs, losses and gradients."""

import copy
import functools
import pickle
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.utils.prune as prune
import transformers
from helpers import CHOSEN
from helpers.huggingface import CASES, IMAGE_SHAPES, SMALL, huggingface_model
from transformers.models.perceiver import modeling_perceiver
from verify_reference import relative_difference

from ivy_models import accelerate
from ivy_models.errors import InputError, WeightsError
from ivy_models.transformers.perceiver_io import PerceiverIOCore
import ivy

pytestmark = pytest.mark.skipif("torch" not in CHOSEN, reason="needs torch")

IMAGE = "ImageClassificationFourier"


def arguments(case, rng):
    """What a model of a case is called with."""

    def normal(*shape):
        return torch.from_numpy(rng.standard_normal(shape, np.float32))

    if "vocab_size" in CASES[case]:
        mask = torch.from_numpy(rng.random((3, 9)) < 0.6).long()
        mask[:, 4] = 1
        return {"inputs": torch.from_numpy(rng.integers(0, 30, (3, 9))), "attention_mask": mask}
    if case == "OpticalFlow":
        return {"inputs": normal(2, 2, 27, 6, 5)}
    if case == "MultimodalAutoencoding":
        points = {"image": torch.tensor([0, 7, 59]), "audio": torch.tensor([1, 5]), "label": None}
        inputs = {"image": normal(2, 2, 3, 8, 12), "audio": normal(2, 24, 1)}
        inputs["label"] = torch.zeros(2, 3)
        return {"inputs": inputs, "subsampled_output_points": points}
    return {"inputs": normal(2, 3, *IMAGE_SHAPES[case])}


def outputs_of(model, named):
    with torch.inference_mode():
        logits = model(**named).logits
    return logits if isinstance(logits, dict) else {"logits": logits}


def check_same(before, after):
    assert before.keys() == after.keys()
    for name in before:
        assert before[name].shape == after[name].shape
        assert relative_difference(after[name].numpy(), before[name].numpy()) < 1e-4, name


@pytest.fixture
def runs_of_the_core(monkeypatch):
    """The list that a run of the core adds to: what is computed as before adds nothing."""
    calls, run = [], PerceiverIOCore.run
    monkeypatch.setattr(PerceiverIOCore, "run", lambda *a: calls.append(a) or run(*a))
    return calls


@pytest.mark.parametrize("case", CASES)
def test_outputs_stay_the_same(case, rng, runs_of_the_core):
    model, named = huggingface_model(case), arguments(case, rng)
    names = list(model.state_dict())
    before = outputs_of(model, named)
    accelerated = accelerate(model)
    assert accelerated is model
    assert type(model) is getattr(transformers, f"PerceiverFor{case}")
    check_same(before, outputs_of(model, named))
    assert len(runs_of_the_core) == 1
    assert list(model.state_dict()) == names
    accelerate(model)
    check_same(before, outputs_of(model, named))


@pytest.mark.parametrize("case", CASES)
def test_wide_mlps_and_activations(case, rng, runs_of_the_core):
    for activation in ("gelu_new", "relu", "silu", "swish"):
        wide = {"self_attention_widening_factor": 4, "cross_attention_widening_factor": 2}
        model, named = huggingface_model(case, hidden_act=activation, **wide), arguments(case, rng)
        before = outputs_of(model, named)
        check_same(before, outputs_of(accelerate(model), named))
        assert runs_of_the_core.pop()
        layer(model).mlp.intermediate_act_fn = torch.nn.Tanh()
        outputs_of(model, named)
        assert not runs_of_the_core


@pytest.mark.usefixtures("always_streaming")
@pytest.mark.parametrize("case", [IMAGE, "OpticalFlow"])
def test_streaming_gives_the_same(case, rng):
    model, named = huggingface_model(case), arguments(case, rng)
    check_same(outputs_of(model, named), outputs_of(accelerate(model), named))


def test_latents_and_tuples_stay_the_same(rng):
    model, named = huggingface_model(IMAGE), arguments(IMAGE, rng)
    slow, fast = model.perceiver, accelerate(copy.deepcopy(model)).perceiver
    with torch.inference_mode():
        expected, got = slow(**named), fast(**named)
        tuples = slow(**named, return_dict=False), fast(**named, return_dict=False)
    assert type(got) is type(expected)
    latents = {"latents": expected.last_hidden_state}
    check_same(latents, {"latents": got.last_hidden_state})
    check_same(*({"logits": logits, "latents": latents} for logits, latents in tuples))


@pytest.mark.parametrize("case", [IMAGE, "MaskedLM"])
def test_loss_and_gradients_stay_the_same(case, rng):
    slow = huggingface_model(case, attention_probs_dropout_prob=0.0).train()
    fast, named = accelerate(copy.deepcopy(slow)), arguments(case, rng)
    labels = torch.tensor([0, 2]) if case == IMAGE else named["inputs"]
    losses = [model(**named, labels=labels).loss for model in (slow, fast)]
    torch.testing.assert_close(losses[1], losses[0])
    for loss in losses:
        loss.backward()
    gradients = {name: weight.grad for name, weight in fast.named_parameters()}
    for name, weight in slow.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(gradients[name], weight.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    "asked",
    [
        {"output_attentions": True},
        {"output_hidden_states": True},
        {"interpolate_pos_encoding": True},
        {"attention_mask": torch.ones(2, 30)},
    ],
)
def test_features_outside_the_core_are_computed_as_before(asked, rng, runs_of_the_core):
    model, named = accelerate(huggingface_model(IMAGE)), arguments(IMAGE, rng)
    perceiver = model.perceiver
    with torch.inference_mode():
        got = perceiver(**named, **asked)
        expected = transformers.PerceiverModel.forward(perceiver, **named, **asked)
    torch.testing.assert_close(got.logits, expected.logits)
    assert (got.attentions is None) == (expected.attentions is None)
    assert (got.hidden_states is None) == (expected.hidden_states is None)
    assert not runs_of_the_core


@pytest.mark.parametrize(
    ("case", "dropout"), [(IMAGE, 0.1), ("ImageClassificationConvProcessing", 0.0)]
)
def test_dropout_and_batch_norm_in_training_are_transformers(case, dropout, rng, runs_of_the_core):
    model = accelerate(huggingface_model(case, attention_probs_dropout_prob=dropout))
    named = arguments(case, rng)
    model.train()(**named)
    assert not runs_of_the_core
    model.eval()(**named)
    assert runs_of_the_core


def layer(model):
    return model.perceiver.encoder.self_attends[0]


def replace_forward(model):
    before = layer(model).mlp.forward
    layer(model).mlp.forward = lambda x: 0 * before(x)


def swap_class(model):
    class Doubled(torch.nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    layer(model).mlp.dense1.__class__ = Doubled


def drop_layer(model):
    model.perceiver.encoder.self_attends = model.perceiver.encoder.self_attends[:1]


def parametrise(model):
    dense = torch.nn.utils.parametrizations.weight_norm(layer(model).mlp.dense1)
    with torch.no_grad():
        dense.parametrizations.weight.original0.mul_(2)


def add_lora(model):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["query", "value"], r=2, init_lora_weights=False)
    peft.inject_adapter_in_model(config, model)


CHANGES = {
    "another module": lambda model: setattr(
        layer(model).mlp, "dense2", torch.nn.Sequential(layer(model).mlp.dense2, torch.nn.Tanh())
    ),
    "forward hook": lambda model: layer(model).register_forward_hook(
        lambda module, inputs, output: (2 * output[0],)
    ),
    "forward pre-hook": lambda model: layer(model).register_forward_pre_hook(
        lambda module, inputs: (2 * inputs[0],)
    ),
    "forward": replace_forward,
    "class": swap_class,
    "eps": lambda model: setattr(layer(model).layernorm, "eps", 1.0),
    "activation": lambda model: setattr(layer(model).mlp, "intermediate_act_fn", torch.nn.ReLU()),
    "heads": lambda model: vars(layer(model).attention.self).update(
        num_heads=1, qk_channels_per_head=16, v_channels_per_head=16
    ),
    "residual": lambda model: setattr(layer(model).attention, "use_query_residual", False),
    "one layer more": lambda model: model.perceiver.encoder.self_attends.append(
        copy.deepcopy(layer(model))
    ),
    "one layer fewer": drop_layer,
    "pruning": lambda model: prune.l1_unstructured(layer(model).mlp.dense1, "weight", 0.5),
    "quantisation": lambda model: torch.ao.quantization.quantize_dynamic(
        model.perceiver, {torch.nn.Linear}, inplace=True
    ),
    "parametrisation": parametrise,
    "LoRA": add_lora,
    "postprocessor": lambda model: setattr(
        model.perceiver, "output_postprocessor", lambda logits, **named: 2 * logits
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.filterwarnings("ignore")
def test_changes_count_before_and_after_accelerating(change, rng, runs_of_the_core):
    own, fast = huggingface_model(IMAGE), accelerate(huggingface_model(IMAGE))
    named = arguments(IMAGE, rng)
    unchanged = outputs_of(fast, named)["logits"]
    for model in (own, fast):
        torch.manual_seed(1)
        CHANGES[change](model)
    expected = outputs_of(own, named)
    assert not torch.allclose(expected["logits"], unchanged, atol=1e-6)
    check_same(expected, outputs_of(fast, named))
    with pytest.warns(UserWarning, match="runs transformers' own code for now"):
        accelerate(own)
    check_same(expected, outputs_of(own, named))
    assert len(runs_of_the_core) == 1


def test_dropout_of_one_module_runs_as_before(rng, runs_of_the_core):
    model = accelerate(huggingface_model(IMAGE))
    layer(model).attention.self.dropout.train()  # as Monte Carlo dropout does
    model(**arguments(IMAGE, rng))
    assert not runs_of_the_core


def test_replaced_methods_of_classes_run(rng, runs_of_the_core, monkeypatch):
    model, named = accelerate(huggingface_model(IMAGE)), arguments(IMAGE, rng)
    before = outputs_of(model, named)["logits"]
    forward = torch.nn.LayerNorm.forward
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.LayerNorm, "forward", lambda self, x: 2 * forward(self, x))
        assert not torch.allclose(outputs_of(model, named)["logits"], before)
        assert len(runs_of_the_core) == 1
    torch.testing.assert_close(outputs_of(model, named)["logits"], before)
    assert len(runs_of_the_core) == 2


def doubled(function):
    @functools.wraps(function)
    def replacement(*arguments, **named):
        result = function(*arguments, **named)
        return tuple(2 * x for x in result) if isinstance(result, tuple) else 2 * result

    return replacement


def double(function, *arguments, **named):
    return 2 * function(*arguments, **named)


REPLACED = [
    (torch, "matmul"),
    (torch, "sin"),
    (torch.Tensor, "permute"),
    (torch.nn.functional, "linear"),
    (torch.nn.functional, "layer_norm"),
    (torch.nn.Softmax, "forward"),
    (torch.nn.Linear, "__call__"),
    (modeling_perceiver, "generate_fourier_features"),
    (modeling_perceiver.PerceiverAttention, "forward"),
]
REPLACEMENTS = {
    "function": doubled,
    "partial": lambda function: functools.partial(double, function),
    "wrapper of torch": lambda function: torch.enable_grad()(doubled(function)),
    "mock": lambda function: mock.MagicMock(side_effect=doubled(function)),
}


@pytest.mark.parametrize(("owner", "name"), REPLACED, ids=lambda value: str(value))
def test_replaced_functions_run(owner, name, rng, runs_of_the_core, monkeypatch):
    own, fast = huggingface_model(IMAGE), accelerate(huggingface_model(IMAGE))
    named = arguments(IMAGE, rng)
    before = outputs_of(fast, named)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, doubled(getattr(owner, name)))
        expected = outputs_of(own, named)
        assert not torch.allclose(expected["logits"], before["logits"])
        with pytest.warns(UserWarning, match=rf"{name} was replaced"):
            accelerate(own)
        for model in (own, fast):
            torch.testing.assert_close(outputs_of(model, named), expected)
    assert len(runs_of_the_core) == 1
    for model in (own, fast):
        check_same(before, outputs_of(model, named))
    assert len(runs_of_the_core) == 3


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_kinds_of_replacements_run(kind, rng, runs_of_the_core, monkeypatch):
    model, named = huggingface_model(IMAGE), arguments(IMAGE, rng)
    replacement = REPLACEMENTS[kind](torch.nn.functional.linear)
    monkeypatch.setattr(torch.nn.functional, "linear", replacement)
    expected = outputs_of(model, named)
    with pytest.warns(UserWarning, match=r"torch\.nn\.functional\.linear was replaced"):
        accelerate(model)
    torch.testing.assert_close(outputs_of(model, named), expected)
    assert not runs_of_the_core


@pytest.mark.parametrize("when", ["before the model is made", "before accelerate"])
def test_another_activation_of_the_same_name_runs(when, rng, runs_of_the_core, monkeypatch):
    if when == "before the model is made":
        monkeypatch.setitem(transformers.activations.ACT2FN, "gelu", (torch.nn.ReLU, {}))
    else:
        monkeypatch.setattr(transformers.activations.GELUActivation, "forward", torch.relu)
    model, named = huggingface_model(IMAGE), arguments(IMAGE, rng)
    before = outputs_of(model, named)
    with pytest.warns(UserWarning, match="intermediate_act_fn does not compute gelu"):
        accelerate(model)
    torch.testing.assert_close(outputs_of(model, named), before)
    assert not runs_of_the_core


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_fast", "gelu_python", "relu", "silu"])
def test_activations_run_on_the_core(activation, rng, runs_of_the_core):
    model, named = huggingface_model(IMAGE, hidden_act=activation), arguments(IMAGE, rng)
    check_same(outputs_of(model, named), outputs_of(accelerate(model), named))
    assert runs_of_the_core


def test_backward_and_global_hooks_fire(rng, runs_of_the_core):
    model, named = accelerate(huggingface_model(IMAGE)), arguments(IMAGE, rng)
    calls, kinds = [], []
    hook = layer(model).mlp.register_full_backward_hook(lambda *call: calls.append(call))
    model(**named).logits.sum().backward()
    hook.remove()
    assert len(calls) == 2  # one for each block
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *call: kinds.append(type(module))
    )
    try:
        model(**named)
    finally:
        hook.remove()
    assert torch.nn.Linear in kinds
    assert not runs_of_the_core
    model(**named)
    assert len(runs_of_the_core) == 1


def test_second_derivatives_stay_the_same(rng, runs_of_the_core):
    slow, images = huggingface_model(IMAGE), arguments(IMAGE, rng)["inputs"].requires_grad_()
    found = []
    for model in (slow, accelerate(copy.deepcopy(slow))):
        loss = model(images).logits.square().sum()
        (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
        gradient.square().sum().backward()
        found.append(layer(model).mlp.dense1.weight.grad)
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-3)
    assert len(runs_of_the_core) == 1


def test_transforms_and_traces_are_those_of_the_model_as_before(rng, runs_of_the_core):
    model, images = accelerate(huggingface_model(IMAGE)), arguments(IMAGE, rng)["inputs"]
    torch.func.jvp(lambda x: model(x).logits, (images,), (images,))
    torch.vmap(lambda x: model(x[None]).logits)(images)
    model.requires_grad_(False)  # constants of the trace
    traced = torch.jit.trace(lambda x: model(x).logits, (images,), check_trace=False)
    assert not runs_of_the_core
    torch.testing.assert_close(traced(2 * images), model(2 * images).logits)


def test_offloaded_weights_run_as_before(rng, runs_of_the_core):
    offload = pytest.importorskip("accelerate").cpu_offload
    model, named = accelerate(huggingface_model(IMAGE)), arguments(IMAGE, rng)
    before = outputs_of(model, named)
    offload(model, execution_device=torch.device("cpu"))
    check_same(before, outputs_of(model, named))
    assert len(runs_of_the_core) == 1


def test_merged_adapters_run_on_the_core_again(rng, runs_of_the_core):
    peft = pytest.importorskip("peft")
    model, named = accelerate(huggingface_model(IMAGE)), arguments(IMAGE, rng)
    config = peft.LoraConfig(target_modules=["query", "value"], r=2, init_lora_weights=False)
    adapted = peft.get_peft_model(model, config).eval()
    before = outputs_of(adapted, named)
    assert not runs_of_the_core
    check_same(before, outputs_of(adapted.merge_and_unload(), named))
    assert len(runs_of_the_core) == 1


@pytest.mark.parametrize("case", CASES)
def test_the_same_parameters_get_gradients(case, rng):
    slow = huggingface_model(case)
    fast, named = accelerate(copy.deepcopy(slow)), arguments(case, rng)
    got = []
    for model in (slow, fast):
        logits = model(**named).logits
        parts = logits.values() if isinstance(logits, dict) else [logits]
        sum(part.square().sum() for part in parts).backward()
        got.append({name for name, p in model.named_parameters() if p.grad is not None})
    assert got[0] == got[1]


def test_replicas_have_weights_of_their_own(rng):
    model, named = accelerate(huggingface_model(IMAGE)), arguments(IMAGE, rng)
    before = outputs_of(model, named)["logits"]
    replica = model.perceiver._replicate_for_data_parallel()
    for name, module in model.perceiver.named_children():
        setattr(replica, name, copy.deepcopy(module))
    with torch.no_grad():
        replica.embeddings.latents.mul_(2)
    got = replica(**named).logits
    assert not torch.allclose(got, before)
    torch.testing.assert_close(got, transformers.PerceiverModel.forward(replica, **named).logits)


@pytest.mark.parametrize("shape", [(1, 2, 27, 12, 5), (2, 2, 27, 3, 5), (2, 27, 6, 5)])
def test_flow_of_another_size_is_refused_as_before(shape):
    model = huggingface_model("OpticalFlow")
    for changed in (model, accelerate(model)):
        with pytest.raises((RuntimeError, ValueError)):
            changed(torch.zeros(shape))


def test_masks_of_four_axes_are_taken_as_before(rng):
    model, named = huggingface_model("MaskedLM"), arguments("MaskedLM", rng)
    mask = named["attention_mask"][:, None, None, :].bool()
    before = outputs_of(model, named | {"attention_mask": mask})
    check_same(before, outputs_of(accelerate(model), named | {"attention_mask": mask}))


def test_programs_are_those_of_the_model_as_before(rng, runs_of_the_core):
    model, named = accelerate(huggingface_model("MaskedLM")), arguments("MaskedLM", rng)
    before = outputs_of(model, named)
    compiled = torch.compile(model, backend="eager")
    check_same(before, outputs_of(compiled, named))
    assert len(runs_of_the_core) == 1
    outputs_of(model, named)
    outputs_of(accelerate(huggingface_model("MaskedLM")), named)
    assert len(runs_of_the_core) == 3


def test_a_text_without_tokens_is_computed_as_before(rng):
    model, named = huggingface_model("MaskedLM"), arguments("MaskedLM", rng)
    named["attention_mask"][1] = 0
    check_same(outputs_of(model, named), outputs_of(accelerate(model), named))


def test_copies_have_weights_of_their_own(rng):
    model, named = accelerate(huggingface_model(IMAGE)), arguments(IMAGE, rng)
    before = outputs_of(model, named)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            other.perceiver.embeddings.latents.mul_(2)
        assert not torch.allclose(outputs_of(other, named)["logits"], before["logits"])
    check_same(before, outputs_of(model, named))


def test_weights_that_change_are_followed(rng, tmp_path):
    model, named = accelerate(huggingface_model(IMAGE)), arguments(IMAGE, rng)
    with torch.no_grad():
        model.perceiver.embeddings.latents.mul_(2)
    model.double().save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path, dtype=torch.float64)
    named = {"inputs": named["inputs"].double()}
    check_same(outputs_of(again, named), outputs_of(model, named))


def test_other_models_are_refused():
    config = transformers.PerceiverConfig(**SMALL, d_model=16)
    for model in (torch.nn.Linear(2, 2), transformers.PerceiverModel(config)):
        with pytest.raises(WeightsError, match="cannot be accelerated"):
            accelerate(model)


def test_unsupported_models_are_left_unchanged(rng, runs_of_the_core):
    class PerceiverModel(transformers.PerceiverModel):
        pass

    own, activation = huggingface_model(IMAGE), huggingface_model(IMAGE, hidden_act="mish")
    own.perceiver.__class__ = PerceiverModel
    for model, reason in ((own, "PerceiverModel"), (activation, "hidden_act is 'mish'")):
        named, kind = arguments(IMAGE, rng), type(model.perceiver)
        before = outputs_of(model, named)
        with pytest.warns(UserWarning, match=f"transformers' own code for now: its .*{reason}"):
            assert accelerate(model) is model
        assert type(model.perceiver) is kind
        check_same(before, outputs_of(model, named))
    assert not runs_of_the_core


def test_a_configuration_that_changes_to_an_unsupported_one_runs_as_before(rng, runs_of_the_core):
    model, named = accelerate(huggingface_model(IMAGE)), arguments(IMAGE, rng)
    before = outputs_of(model, named)
    model.config.hidden_act = "mish"
    check_same(before, outputs_of(model, named))
    assert len(runs_of_the_core) == 1


def test_inputs_that_do_not_fit_are_refused():
    model = accelerate(huggingface_model(IMAGE))
    with pytest.raises(InputError, match="channels"):
        model(torch.zeros(2, 4, 5, 5))
    with pytest.raises(InputError, match="in transformers with its image processor"):
        model(torch.zeros(2, 3, 5, 5, dtype=torch.uint8))
    with pytest.raises((RuntimeError, ValueError)):
        model(torch.zeros(3, 5, 5))


def test_ivys_backend_does_not_matter(rng, backend):
    model, named = huggingface_model(IMAGE), arguments(IMAGE, rng)
    check_same(outputs_of(model, named), outputs_of(accelerate(model), named))
    assert ivy.current_backend_str() == backend
