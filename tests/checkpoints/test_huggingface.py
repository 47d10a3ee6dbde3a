"""Reading and writing checkpoints of Hugging Face transformers, compared with its own models."""

import json
import pickle
import shutil
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from helpers import CHOSEN, unset_backends
from helpers.huggingface import CASES, IMAGE_SHAPES, huggingface_model
from transformers.activations import ACT2FN
from verify_reference import relative_difference

from ivy_models.checkpoints.huggingface import weights as huggingface
from ivy_models.checkpoints.huggingface.config import ACTIVATIONS
from ivy_models.checkpoints.huggingface.weights import (
    read_huggingface,
    read_huggingface_spec,
    write_huggingface,
)
from ivy_models.checkpoints.load import load_weights
from ivy_models.errors import WeightsError
from ivy_models.layers.parameters import flatten, unflatten
from ivy_models.models.presets import PRESETS
from ivy_models.transformers.perceiver_io import PerceiverIO, PerceiverIOCore, initialise
import ivy


@pytest.fixture
def saved(tmp_path):
    """Save a random model of transformers; return the model and its folder."""

    def save(case, **changes):
        model = huggingface_model(case, **changes)
        model.save_pretrained(tmp_path / case)
        return model, tmp_path / case

    return save


@pytest.fixture
def changed(saved):
    """Save a small model and change its config.json; return the folder."""

    def change(case="ImageClassificationFourier", **changes):
        _, folder = saved(case)
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return folder

    return change


@pytest.fixture
def on_torch():
    if "torch" not in CHOSEN:
        pytest.skip("needs torch")
    ivy.set_backend("torch")
    yield
    unset_backends()


def check_same_outputs(case, model, ours, rng):
    """Compare the outputs of transformers' model and ours for the same data.

    Most of a difference is transformers' error: it computes angles of hundreds of radians in
    float32.
    """
    outputs_of = {
        "MaskedLM": text_outputs,
        "SequenceClassification": text_outputs,
        "OpticalFlow": flow_outputs,
        "MultimodalAutoencoding": multimodal_outputs,
    }.get(case, image_outputs)
    for name, pair in outputs_of(case, model, ours, rng).items():
        assert relative_difference(*pair) < 1e-4, name


def run(model, **inputs):
    with torch.inference_mode():
        logits = model(**inputs).logits
    return {n: x.numpy() for n, x in logits.items()} if isinstance(logits, dict) else logits.numpy()


def text_outputs(case, model, ours, rng):
    tokens = rng.integers(0, 30, (3, 9))
    mask = rng.random((3, 9)) < 0.7
    theirs = run(model, inputs=torch.tensor(tokens), attention_mask=torch.tensor(mask).int())
    output = ivy.to_numpy(ours(tokens, mask))
    if case == "SequenceClassification":
        return {"logits": (output[:, 0], theirs)}
    # transformers also decodes masked tokens, but the result is meaningless.
    return {"logits": (output[mask], theirs[mask])}


def image_outputs(case, model, ours, rng):
    images = rng.standard_normal((2, *IMAGE_SHAPES[case], 3), np.float32)
    theirs = run(model, inputs=torch.tensor(images.transpose(0, 3, 1, 2)))
    return {"logits": (ivy.to_numpy(ours(images))[:, 0], theirs)}


def flow_outputs(case, model, ours, rng):
    frames = rng.standard_normal((2, 2, 6, 5, 3), np.float32)
    padded = np.pad(frames, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
    # The order of channels in the original's patches, which transformers' weights expect: the
    # 27 channels of a frame are those of the 3x3 neighbours, y first, the colours together.
    patches = [padded[:, :, y : y + 6, x : x + 5] for y in range(3) for x in range(3)]
    patches = np.concatenate(patches, -1).transpose(0, 1, 4, 2, 3)
    theirs = run(model, inputs=torch.tensor(patches))
    return {"flow": (ivy.to_numpy(ours(frames)), theirs)}


def multimodal_outputs(case, model, ours, rng):
    images = rng.standard_normal((2, 2, 8, 12, 3), np.float32)
    audio = rng.standard_normal((2, 24, 1), np.float32)
    # transformers decodes by index only, and never sees the label.
    points = {"image": np.array([0, 7, 31, 59]), "audio": np.array([1, 5]), "label": None}
    theirs = run(
        model,
        inputs={
            "image": torch.tensor(images.transpose(0, 1, 4, 2, 3)),
            "audio": torch.tensor(audio),
            "label": torch.zeros(2, 3),
        },
        subsampled_output_points={
            name: None if p is None else torch.tensor(p) for name, p in points.items()
        },
    )
    output = ours({"image": images, "audio": audio}, queries=points)
    output = {name: ivy.to_numpy(x) for name, x in output.items()}
    return {
        "image": (output["image"], theirs["image"]),
        "audio": (output["audio"].reshape(2, -1), theirs["audio"]),
        "label": (output["label"][:, 0], theirs["label"]),
    }


def random_weights(spec):
    """Our weights, none at its neutral value."""
    rng = np.random.default_rng(1)
    drawn = flatten(initialise(PerceiverIOCore(spec).parameters()))
    return {name: w + 0.1 * rng.standard_normal(w.shape, np.float32) for name, w in drawn}


# The same outputs


@pytest.mark.parametrize("case", CASES)
def test_transformers_models_give_the_same_here(case, saved, on_torch, rng):
    model, folder = saved(case)
    spec, weights = read_huggingface(folder)
    ours = PerceiverIO(spec, v=unflatten(weights))
    check_same_outputs(case, model, ours, rng)


@pytest.mark.parametrize("case", CASES)
def test_ours_give_the_same_in_transformers(case, saved, tmp_path, on_torch, rng):
    spec = read_huggingface_spec(saved(case)[1])
    weights = random_weights(spec)
    write_huggingface(tmp_path / "ours", spec, weights)
    model, info = getattr(transformers, f"PerceiverFor{case}").from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(info.values()), info
    ours = PerceiverIO(spec, v=unflatten(weights))
    check_same_outputs(case, model.eval(), ours, rng)


def test_every_backend_gives_the_same(backend, saved, rng):
    case = "ImageClassificationConvProcessing"
    model, folder = saved(case, hidden_act="gelu_new")
    spec, weights = read_huggingface(folder)
    assert not spec.exact_gelu
    ours = PerceiverIO(spec, v=unflatten(weights))
    check_same_outputs(case, model, ours, rng)


@pytest.mark.parametrize(
    "case", ["SequenceClassification", "ImageClassificationFourier", "OpticalFlow"]
)
@pytest.mark.parametrize(
    "changes",
    [
        {"cross_attention_shape_for_attention": "q"},
        {"qk_channels": 16, "num_cross_attention_heads": 4},
        {"qk_channels": 16, "cross_attention_shape_for_attention": "q"},
        {"qk_channels": 24, "v_channels": 16},
        {"qk_channels": 24, "v_channels": 16, "cross_attention_shape_for_attention": "q"},
        {"qk_channels": None, "v_channels": None, "num_cross_attention_heads": 1},
    ],
)
def test_widths_of_attention(case, changes, saved, tmp_path, on_torch, rng):
    model, folder = saved(case, **changes)
    spec, weights = read_huggingface(folder)
    ours = PerceiverIO(spec, v=unflatten(weights))
    check_same_outputs(case, model, ours, rng)
    write_huggingface(tmp_path / "again", spec, weights)
    assert read_huggingface_spec(tmp_path / "again") == spec


WIDE = {"self_attention_widening_factor": 4, "cross_attention_widening_factor": 3}


@pytest.mark.parametrize("case", CASES)
def test_widths_of_mlps(case, saved, tmp_path, on_torch, rng):
    model, folder = saved(case, **WIDE)
    spec, weights = read_huggingface(folder)
    check_same_outputs(case, model, PerceiverIO(spec, v=unflatten(weights)), rng)
    write_huggingface(tmp_path / "again", spec, weights)
    assert read_huggingface_spec(tmp_path / "again") == spec
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert {name: config[name] for name in WIDE} == WIDE


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("gelu", "gelu"),
        ("gelu_new", "gelu_pytorch_tanh"),
        ("gelu_fast", "gelu_pytorch_tanh"),
        ("gelu_accurate", "gelu_pytorch_tanh"),
        ("gelu_python", "gelu"),
        ("gelu_python_tanh", "gelu_pytorch_tanh"),
        ("relu", "relu"),
        ("silu", "silu"),
        ("swish", "silu"),
    ],
)
def test_activations(name, written, saved, tmp_path, backend, rng):
    case = "ImageClassificationFourier"
    model, folder = saved(case, hidden_act=name, **WIDE)
    spec, weights = read_huggingface(folder)
    check_same_outputs(case, model, PerceiverIO(spec, v=unflatten(weights)), rng)
    write_huggingface(tmp_path / "again", spec, weights)
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["hidden_act"] == written
    assert read_huggingface_spec(tmp_path / "again") == spec


@pytest.mark.parametrize("name", [name for name in ACT2FN if name not in ACTIVATIONS])
def test_other_activations_are_refused(name, changed):
    with pytest.raises(WeightsError, match=f"hidden_act is '{name}'; this library reads"):
        read_huggingface_spec(changed(hidden_act=name))


# Reading and writing


@pytest.mark.parametrize("case", CASES)
def test_round_trip_is_exact(case, saved, tmp_path):
    spec, weights = read_huggingface(saved(case)[1])
    write_huggingface(tmp_path / "again", spec, weights)
    again, same = read_huggingface(tmp_path / "again")
    assert again == spec
    assert same.keys() == weights.keys()
    for name, array in weights.items():
        assert array.dtype == same[name].dtype
        np.testing.assert_array_equal(array, same[name])
    assert {path.name for path in (tmp_path / "again").iterdir()} == {
        "config.json",
        "model.safetensors",
    }


@pytest.mark.parametrize("case", ["SequenceClassification", "ImageClassificationFourier"])
def test_a_classifier_without_an_axis_for_its_query(case, saved, tmp_path, on_torch, rng):
    spec, weights = read_huggingface(saved(case)[1])
    flat = spec.replace(query_shape=[])
    write_huggingface(tmp_path / "flat", flat, weights)
    assert read_huggingface_spec(tmp_path / "flat") == flat
    theirs = getattr(transformers, f"PerceiverFor{case}").from_pretrained(tmp_path / "flat")
    check_same_outputs(case, theirs.eval(), PerceiverIO(spec, v=unflatten(weights)), rng)


def test_specs_of_the_published_models():
    """Of the presets' fields few are others in transformers' classes; the rest is written."""
    changes = {
        "perceiver_io_imagenet_learned": {"query_residual": True},
        "perceiver_io_imagenet_fourier": {},
        "perceiver_io_imagenet_conv": {"stem": "centred_convolution"},
        "perceiver_io_language": {},
        "perceiver_io_optical_flow": {"output_scale": 0.01},
        "perceiver_io_video": {},
    }
    for name, different in changes.items():
        spec = PRESETS[name].spec
        if different:
            with pytest.raises(WeightsError, match=rf"{next(iter(different))}: .*, not "):
                huggingface.config_of(spec)
        spec = spec.replace(**different)
        assert huggingface.spec_of(huggingface.config_of(spec), "config") == spec


def test_load_weights_takes_a_folder_of_transformers(saved):
    _, folder = saved("ImageClassificationFourier")
    spec, weights = read_huggingface(folder)
    loaded = dict(flatten(load_weights(folder, spec)))
    for name, array in weights.items():
        np.testing.assert_array_equal(loaded[name], array)
    new_head = load_weights(folder, spec.replace(output_dim=7), fresh=["decoder/head"])
    assert new_head["decoder"]["head"]["weight"].shape == (16, 7)
    with pytest.raises(WeightsError, match=r"exact_gelu +False +True"):
        load_weights(folder, spec.replace(exact_gelu=False))


@pytest.mark.parametrize(
    "wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_fsdp_wrapped_module.", "inner"]
)
def test_weights_of_wrapped_models(wrapper, saved):
    """torch.compile and DataParallel put words of their own into the names."""
    model, folder = saved("ImageClassificationFourier")
    expected = read_huggingface(folder)[1]
    state = {
        name.replace("encoder.", "encoder._orig_mod.") if wrapper == "inner" else wrapper + name: x
        for name, x in model.state_dict().items()
    }
    safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})
    check_read(folder, expected)


def test_torch_files(saved, monkeypatch):
    model, folder = saved("ImageClassificationConvProcessing")
    _, expected = read_huggingface(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    _, weights = read_huggingface(folder)
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_half_precision(dtype, file, tmp_path, monkeypatch):
    model = huggingface_model("ImageClassificationConvProcessing").to(dtype)
    model.save_pretrained(tmp_path / "half")
    if file == "pytorch_model.bin":
        (tmp_path / "half" / "model.safetensors").unlink()
        torch.save(model.state_dict(), tmp_path / "half" / file)
    model.float().save_pretrained(tmp_path / "single")
    _, expected = read_huggingface(tmp_path / "single")
    for package in ("torch", "ml_dtypes"):
        monkeypatch.setitem(sys.modules, package, None)
    _, weights = read_huggingface(tmp_path / "half")
    for name, array in expected.items():
        assert weights[name].dtype == (np.float16 if dtype == torch.float16 else np.float32)
        np.testing.assert_array_equal(weights[name], array)


# Shards


@pytest.fixture
def sharded(saved):
    """Save a small model in two shards; return the folder, its index and the weights."""

    def save(file="model.safetensors"):
        model, folder = saved("ImageClassificationConvProcessing")
        _, expected = read_huggingface(folder)
        (folder / "model.safetensors").unlink()
        write = torch.save if file == "pytorch_model.bin" else safetensors.torch.save_file
        state, weight_map = sorted(model.state_dict().items()), {}
        stem, _, suffix = file.partition(".")
        for number, part in enumerate((state[:20], state[20:]), 1):
            shard = f"{stem}-{number:05}-of-00002.{suffix}"
            write(dict(part), folder / shard)
            weight_map |= {name: shard for name, _ in part}
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (folder / f"{file}.index.json").write_text(json.dumps(index))
        return folder, index, expected

    return save


def check_read(folder, expected):
    _, weights = read_huggingface(folder)
    assert weights.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_shards(file, sharded):
    folder, _, expected = sharded(file)
    check_read(folder, expected)


def test_shards_that_transformers_writes(saved, tmp_path):
    model, folder = saved("MaskedLM")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 2
    check_read(tmp_path / "shards", read_huggingface(folder)[1])


@pytest.mark.parametrize(
    "shard",
    [
        "../model.safetensors",
        "/model.safetensors",
        "..",
        "a\\model.safetensors",
        "C:model.safetensors",
        "",
        ".safetensors",
        "model.safetensors\n",
        "*.safetensors",
        "pytorch_model.bin",
        3,
        None,
    ],
)
def test_shards_are_files_beside_their_index(shard, sharded):
    folder, index, _ = sharded()
    shutil.copy(folder / "model-00001-of-00002.safetensors", folder.parent / "model.safetensors")
    weight_map = dict.fromkeys(index["weight_map"], shard)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(WeightsError, match=f"{path} names .* not a .safetensors file beside it"):
        read_huggingface(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": []}', "[" * 100_000, "\xff"])
def test_a_broken_index_is_refused(content, sharded):
    folder, _, _ = sharded()
    (folder / "model.safetensors.index.json").write_text(content, "latin-1")
    with pytest.raises(WeightsError, match=r"index\.json (is not an index|cannot be read|must be)"):
        read_huggingface(folder)


def test_shards_that_contradict_their_index_are_refused(sharded):
    folder, index, _ = sharded()
    path, weight_map = folder / "model.safetensors.index.json", index["weight_map"]
    first, name = "model-00001-of-00002.safetensors", "perceiver.embeddings.latents"
    others = {key: shard for key, shard in weight_map.items() if key != name}
    for changed, differing in ((weight_map | {"nowhere": first}, "nowhere"), (others, name)):
        path.write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(WeightsError, match=f"are in only one of them, such as {differing}"):
            read_huggingface(folder)
    path.write_text(json.dumps(index))
    (folder / first).unlink()
    with pytest.raises(WeightsError, match=f"names the shard {first}, which does not exist"):
        read_huggingface(folder)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_torch_files_are_not_executed(changed, tmp_path):
    folder, witness = changed(), tmp_path / "executed"
    (folder / "model.safetensors").unlink()
    state = {"perceiver.embeddings.latents": Malicious(str(witness))}
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        write(state, folder / "pytorch_model.bin")
        with pytest.raises(WeightsError, match="pytorch_model.bin is not a file of tensors alone"):
            read_huggingface(folder)
        assert not witness.exists()


def test_torch_files_before_version_1_6(changed):
    folder = changed()
    path, safe = folder / "pytorch_model.bin", folder / "model.safetensors"
    tensors = safetensors.torch.load_file(safe)
    safe.unlink()
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match=r"before version 1\.6; convert it with torch\.save"):
        read_huggingface(folder)
    torch.save(torch.load(path, weights_only=True), path)
    assert read_huggingface(folder)


def test_torch_files_of_other_kinds(changed):
    folder = changed()
    (folder / "model.safetensors").unlink()
    for content in ([1], {"a": 1}, {"a": torch.zeros(2).to_sparse()}, torch.zeros(2)):
        torch.save(content, folder / "pytorch_model.bin")
        with pytest.raises(WeightsError, match="pytorch_model.bin is not a file of tensors alone"):
            read_huggingface(folder)


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'; this library reads 'perceiver'"),
        ({"architectures": ["PerceiverModel"]}, r"architectures is \['PerceiverModel'\]"),
        ({"architectures": None}, "architectures is None"),
        ({"hidden_act": "quick_gelu"}, "hidden_act is 'quick_gelu'; this library reads 'gelu' or"),
        ({"self_attention_widening_factor": 0}, "self_attention_widening_factor is 0"),
        ({"cross_attention_widening_factor": "4"}, "cross_attention_widening_factor is '4'"),
        (
            {"cross_attention_widening_factor": 2},
            r"hidden/weight: \(16, 16\), expected \(16, 32",
        ),
        ({"cross_attention_shape_for_attention": "k"}, "for_attention is 'k'"),
        ({"use_query_residual": False}, "use_query_residual is False; this library reads True"),
        ({"num_latents": "many"}, "num_latents is 'many'"),
        ({"train_size": ["a"]}, r"train_size is \['a'\]"),
        ({"num_latents": 0}, "num_latents is 0"),
        ({"qk_channels": 0}, "qk_channels is 0"),
        ({"output_shape": [1, 2]}, r"output_shape is \[1, 2\]"),
        ({"id2label": {}}, "output_dim must be an integer of at least 1"),
        ({"v_channels": 12}, "the processor's values have 12 channels"),
        ({"num_cross_attention_heads": 8}, "cannot be divided among 8 attention heads"),
        ({"num_latents": 6}, r"latents: \(5, 16\), expected \(6, 16\)"),
        ({"num_self_attends_per_block": 1}, "unexpected"),
    ],
)
def test_other_models_are_refused(changes, message, changed):
    with pytest.raises(WeightsError, match=message):
        read_huggingface(changed(**changes))


def test_broken_and_missing_files_are_refused(changed):
    folder = changed()
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(WeightsError, match="not a safetensors file, or is broken"):
        read_huggingface(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="neither model.safetensors nor pytorch_model.bin"):
        read_huggingface(folder)
    for content in ("{", "[]"):
        (folder / "config.json").write_text(content)
        with pytest.raises(WeightsError, match="config.json"):
            read_huggingface(folder)
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match="config.json cannot be read"):
        read_huggingface(folder)


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("perceiver_io_imagenet_fourier", {"weight_tie_layers": False}, "weight_tie_layers"),
        ("perceiver_io_imagenet_fourier", {"max_fourier_freq": None}, "max_fourier_freq"),
        ("perceiver_io_imagenet_fourier", {"fc_dropout": 0.1}, "fc_dropout"),
        ("perceiver_io_imagenet_fourier", {"input_dim": 1}, "input_dim"),
        ("perceiver_io_imagenet_fourier", {"with_decoder": False}, "with_decoder"),
        ("perceiver_io_imagenet_fourier", {"reader_v_dim": 8}, "values have 8 channels"),
        ("perceiver_io_language", {"query_per_input": False}, "query_per_input"),
        ("perceiver_io_language", {"cross_head_dim": 16}, "cross_head_dim"),
        ("perceiver_io_optical_flow", {"max_fourier_freq": 9.5}, "max_fourier_freq"),
        ("perceiver_io_video", {"input_dim": 705}, "input_dim"),
        ("perceiver_io_digits", {}, "num_fourier_freq_bands: 4, not 64"),
    ],
)
def test_a_spec_that_transformers_does_not_have_is_refused(name, changes, field, tmp_path):
    spec = PRESETS[name].spec.replace(**changes)
    with pytest.raises(WeightsError, match=field):
        write_huggingface(tmp_path / "refused", spec, {})
    assert not (tmp_path / "refused").exists()


def test_weights_that_do_not_fit_are_not_written(tmp_path):
    spec = PRESETS["perceiver_io_imagenet_fourier"].spec
    with pytest.raises(WeightsError, match="missing"):
        write_huggingface(tmp_path / "refused", spec, {})
    assert not (tmp_path / "refused").exists()
