"""Compare this library with recorded results of the original implementation.

A case is a folder with config.json, checkpoint.pystate and arrays.npz of the original, or a
full-size checkpoint whose weights and inputs are drawn from seeds:

    python tools/verify_reference.py tests/reference/tiny/imagenet_fourier --backend torch
    python tools/verify_reference.py --full imagenet_conv_preprocessing --backend jax

Prints one line per case: the largest absolute difference between the outputs, divided by the
standard deviation of the reference. Exits with status 1 if a difference is above the tolerance.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "tests" / "reference"
sys.path[:0] = [str(ROOT), str(REFERENCE)]

import seeded  # noqa: E402

from ivy_models import (  # noqa: E402
    create_model,
    perceiver_io_img_classification,
    perceiver_io_language,
    perceiver_io_optical_flow,
    perceiver_io_video,
)
from ivy_models.checkpoints.pickles.unpickle import unpickle  # noqa: E402
from ivy_models.models.presets import PRESETS  # noqa: E402
from ivy_models.transformers.perceiver_io import (  # noqa: E402
    InputModality,
    OutputModality,
    PerceiverIO,
    PerceiverIOSpec,
)
import ivy  # noqa: E402

FULL = {
    "imagenet_fourier_position_encoding": "perceiver_io_imagenet_fourier",
    "imagenet_learned_position_encoding": "perceiver_io_imagenet_learned",
    "imagenet_conv_preprocessing": "perceiver_io_imagenet_conv",
    "language_perceiver_io_bytes": "perceiver_io_language",
    "optical_flow": "perceiver_io_optical_flow",
    "video_autoencoding": "perceiver_io_video",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, help="folders of cases")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--full", choices=FULL, help="a full-size checkpoint")
    parser.add_argument("--weight-seed", type=int, help="default: the recorded one")
    parser.add_argument("--input-seed", type=int, help="default: the recorded one")
    parser.add_argument("--expected", type=Path, help=".npz with the outputs; default: recorded")
    arguments = parser.parse_args()
    if not arguments.folders and not arguments.full:
        parser.error("name a folder of a case, or --full")

    ivy.set_backend(arguments.backend)
    cases = [(folder.name, run_tiny(folder)) for folder in arguments.folders]
    if arguments.full:
        cases.append((arguments.full, run_full(arguments)))
    worst = 0.0
    for name, outputs in cases:
        difference = max(relative_difference(*pair) for pair in outputs)
        worst = max(worst, difference)
        print(f"{name} ({arguments.backend}): {difference:.2e}")
    return 0 if worst <= arguments.tolerance else 1


def relative_difference(output: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference over the reference's standard deviation; infinite for NaN."""
    if output.shape != expected.shape:
        raise SystemExit(f"shape {output.shape}, expected {expected.shape}")
    difference = np.abs(output.astype(np.float64) - expected).max() / expected.std()
    return float(difference) if np.isfinite(difference) else float("inf")


Outputs = list[tuple[np.ndarray, np.ndarray]]
"""Pairs of outputs: of this library, and of the original."""


def run_tiny(folder: Path) -> Outputs:
    config = json.loads((folder / "config.json").read_text())
    arrays = np.load(folder / "arrays.npz")
    if config["kind"] == "masked_lm":
        model = perceiver_io_language(
            tiny_language_spec(config), weights=folder / "checkpoint.pystate"
        )
        return [(ivy.to_numpy(model(arrays["tokens"], arrays["mask"])), arrays["output"])]
    if config["kind"] == "optical_flow":
        model = perceiver_io_optical_flow(
            tiny_flow_spec(config), weights=folder / "checkpoint.pystate"
        )
        return [(ivy.to_numpy(model(arrays["frames"])), arrays["output"])]
    if config["kind"] == "multimodal_autoencoding":
        model = perceiver_io_video(
            tiny_video_spec(config, folder), weights=folder / "checkpoint.pystate"
        )
        expected = [arrays[f"output_{name}"] for name in ("audio", "image", "label")]
        return list(zip(run_video(model, arrays), expected, strict=True))
    model = perceiver_io_img_classification(
        tiny_spec(config), weights=folder / "checkpoint.pystate"
    )
    return [(ivy.to_numpy(model(arrays["images"]))[:, 0], arrays["output"])]


def run_video(model: PerceiverIO, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Sound (B, samples), pixels (B, n, 3) and logits (B, classes) at the recorded indices."""
    data = {"image": arrays["images"], "audio": arrays["audio"]}
    queries = {
        "image": arrays["image_output_indices"],
        "audio": arrays["audio_output_indices"],
        "label": None,
    }
    outputs = {n: ivy.to_numpy(x) for n, x in model(data, queries=queries).items()}
    audio = outputs["audio"]
    return [audio.reshape(len(audio), -1), outputs["image"], outputs["label"][:, 0]]


def tiny_spec(config: dict) -> PerceiverIOSpec:
    """Translate the original's configuration."""
    kind, channels = config["kind"], config.get("learned_position_channels")
    kinds = {
        "fourier": {},
        "learned": {
            "stem": "projection",
            "stem_dim": channels,
            "learned_position_shape": config["image_size"],
            "learned_position_dim": channels,
            "query_residual": False,
        },
        "conv": {"stem": "convolution", "stem_dim": config.get("num_channels", 64)},
    }
    if kind not in kinds:
        raise SystemExit(f"cannot verify a case of kind {kind!r} yet; kinds: {', '.join(kinds)}")
    if kind != "learned":
        kinds[kind]["num_fourier_freq_bands"] = config["num_bands"]
        kinds[kind]["max_fourier_freq"] = config["max_resolution"]
    return PerceiverIOSpec(
        input_dim=3,
        num_input_axes=2,
        output_dim=config["num_classes"],
        queries_dim=config["latent_dim"],
        network_depth=config["num_blocks"],
        num_latents=config["num_latents"],
        latent_dim=config["latent_dim"],
        num_cross_att_heads=config["cross_attention_heads"],
        num_self_att_heads=config["self_attention_heads"],
        query_shape=[1],
        num_lat_att_per_layer=config["self_attends_per_block"],
        fourier_encode_input=kind != "learned",
        **kinds[kind],
    )


def tiny_language_spec(config: dict) -> PerceiverIOSpec:
    return PRESETS["perceiver_io_language"].spec.replace(
        input_dim=config["d_model"],
        output_dim=config["vocab_size"],
        queries_dim=config["d_model"],
        network_depth=config["num_blocks"],
        num_latents=config["num_latents"],
        latent_dim=config["latent_dim"],
        num_cross_att_heads=config["cross_attention_heads"],
        num_self_att_heads=config["self_attention_heads"],
        cross_head_dim=config["qk_channels"] // config["cross_attention_heads"],
        latent_head_dim=config["qk_channels"] // config["self_attention_heads"],
        query_shape=[config["max_seq_len"]],
        num_lat_att_per_layer=config["self_attends_per_block"],
        learned_position_shape=[config["max_seq_len"]],
        reader_v_dim=config["encoder_v_channels"],
        processor_v_dim=config["encoder_v_channels"],
        decoder_v_dim=config["decoder_v_channels"],
        vocabulary_size=config["vocab_size"],
    )


def tiny_flow_spec(config: dict) -> PerceiverIOSpec:
    positions = 2 * (2 * config["num_bands"] + 1)
    return PRESETS["perceiver_io_optical_flow"].spec.replace(
        queries_dim=config["conv_after_patching_channels"] + positions,
        network_depth=config["num_blocks"],
        num_latents=config["num_latents"],
        latent_dim=config["latent_dim"],
        num_cross_att_heads=config["cross_attention_heads"],
        num_self_att_heads=config["self_attention_heads"],
        num_lat_att_per_layer=config["self_attends_per_block"],
        num_fourier_freq_bands=config["num_bands"],
        max_fourier_freq=config["image_size"],
        stem_dim=config["conv_after_patching_channels"],
        output_scale=config["flow_scale_factor"] / config["rescale_factor"],
    )


def tiny_video_spec(config: dict, folder: Path) -> PerceiverIOSpec:
    size, frames = config["image_size"], config["num_frames"]
    audio, image = (
        {
            "num_fourier_freq_bands": config[f"{name}_num_bands"],
            "max_fourier_freq": config[f"{name}_max_resolution"],
        }
        for name in ("audio", "image")
    )
    samples, block = (config["samples_per_patch"],), config["spatial_downsample"]
    num_patches = config["audio_samples"] // config["samples_per_patch"]
    inputs = [
        InputModality("audio", 1, 1, **audio, patch_shape=samples),
        InputModality("image", 3, 3, **image, patch_shape=(1, block, block)),
        InputModality("label", config["num_classes"], 0),
    ]
    label_queries = config["label_query_channels"]
    outputs = [
        OutputModality("audio", 1, (num_patches,), **audio, patch_shape=samples),
        OutputModality("image", 3, (frames, size, size), **image),
        OutputModality("label", config["num_classes"], (1,), learned_query_dim=label_queries),
    ]
    # The configuration lacks the width of the shared head, so read it from the checkpoint.
    params = unpickle(folder / "checkpoint.pystate")
    shared_head = params["multimodal_decoder/~/basic_decoder/output"]["b"]
    input_width = max(m.adapter().num_channels for m in inputs)
    query_width = max(m.query_dim for m in outputs)
    return PRESETS["perceiver_io_video"].spec.replace(
        input_dim=input_width + config["min_padding_size_input"],
        output_dim=len(shared_head),
        queries_dim=query_width + config["min_padding_size_output"],
        network_depth=config["num_blocks"],
        num_latents=config["num_latents"],
        latent_dim=config["latent_dim"],
        num_self_att_heads=config["self_attention_heads"],
        num_lat_att_per_layer=config["self_attends_per_block"],
        input_modalities=inputs,
        output_modalities=outputs,
    )


def run_full(arguments: argparse.Namespace) -> Outputs:
    name = arguments.full
    recorded = np.load(arguments.expected or REFERENCE / "full" / f"{name}.npz")
    weight_seed = pick(arguments.weight_seed, recorded, "weight_seed")
    input_seed = pick(arguments.input_seed, recorded, "input_seed")
    manifest = json.loads((REFERENCE / "full" / f"{name}.manifest.json").read_text())
    checkpoint = seeded.weights(manifest["params"], weight_seed)
    if manifest["state"]:
        state = seeded.weights(manifest["state"], weight_seed + 1)
        checkpoint = {"params": checkpoint, "state": state}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.pystate"
        path.write_bytes(pickle.dumps(checkpoint, protocol=4))
        model = create_model(FULL[name], weights=path)
    inputs = seeded.inputs(name, input_seed)
    if name == "language_perceiver_io_bytes":
        logits = ivy.to_numpy(model(inputs["tokens"], inputs["mask"]))
        return [(logits[:, ::97], recorded["output_every_97th_position"])]
    if name == "optical_flow":
        flow = ivy.to_numpy(model(inputs["frames"]))
        return [(flow[:, ::23, ::23], recorded["output_every_23rd_row_col"])]
    if name == "video_autoencoding":
        audio, image, label = run_video(model, inputs)
        return [
            (audio[:, ::7], recorded["output_audio_every_7th_index"]),
            (image[:, ::7], recorded["output_image_every_7th_index"]),
            (label, recorded["output_label"]),
        ]
    return [(ivy.to_numpy(model(inputs["images"]))[:, 0], recorded["output"])]


def pick(given: int | None, recorded: np.lib.npyio.NpzFile, name: str) -> int:
    if given is not None:
        return given
    if name not in recorded:
        raise SystemExit(
            f"the expected outputs do not record {name}: pass --{name.replace('_', '-')}"
        )
    return int(recorded[name])


if __name__ == "__main__":
    sys.exit(main())
