"""Compare this library with recorded results of the original implementation.

A case is a folder with the original's config.json, checkpoint.pystate and arrays.npz, or
a full-size checkpoint whose weights and inputs are drawn from seeds:

    python tools/verify_reference.py tests/reference/tiny/imagenet_fourier --backend torch
    python tools/verify_reference.py --full imagenet_conv_preprocessing --backend jax

One line a case: the largest absolute difference, relative to the reference's standard
deviation. Exits with 1 if one is above the tolerance.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import tempfile
from pathlib import Path

import ivy
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
)
from ivy_models.transformers.perceiver_io import PerceiverIOSpec  # noqa: E402
from ivy_models.transformers.perceiver_io.presets import PRESETS  # noqa: E402

FULL = {
    "imagenet_fourier_position_encoding": "perceiver_io_imagenet_fourier",
    "imagenet_learned_position_encoding": "perceiver_io_imagenet_learned",
    "imagenet_conv_preprocessing": "perceiver_io_imagenet_conv",
    "language_perceiver_io_bytes": "perceiver_io_language",
    "optical_flow": "perceiver_io_optical_flow",
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
    cases = [(folder.name, *run_tiny(folder)) for folder in arguments.folders]
    if arguments.full:
        cases.append((arguments.full, *run_full(arguments)))
    worst = 0.0
    for name, output, expected in cases:
        difference = relative_difference(output, expected)
        worst = max(worst, difference)
        print(f"{name} ({arguments.backend}): {difference:.2e}")
    return 0 if worst <= arguments.tolerance else 1


def relative_difference(output: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference over the expected standard deviation; infinite for NaN."""
    if output.shape != expected.shape:
        raise SystemExit(f"shape {output.shape}, expected {expected.shape}")
    difference = np.abs(output.astype(np.float64) - expected).max() / expected.std()
    return float(difference) if np.isfinite(difference) else float("inf")


def run_tiny(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    config = json.loads((folder / "config.json").read_text())
    arrays = np.load(folder / "arrays.npz")
    if config["kind"] == "masked_lm":
        model = perceiver_io_language(
            tiny_language_spec(config), weights=folder / "checkpoint.pystate"
        )
        return ivy.to_numpy(model(arrays["tokens"], arrays["mask"])), arrays["output"]
    if config["kind"] == "optical_flow":
        model = perceiver_io_optical_flow(
            tiny_flow_spec(config), weights=folder / "checkpoint.pystate"
        )
        return ivy.to_numpy(model(arrays["frames"])), arrays["output"]
    model = perceiver_io_img_classification(
        tiny_spec(config), weights=folder / "checkpoint.pystate"
    )
    return ivy.to_numpy(model(arrays["images"]))[:, 0], arrays["output"]


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


def run_full(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
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
        return logits[:, ::97], recorded["output_every_97th_position"]
    if name == "optical_flow":
        flow = ivy.to_numpy(model(inputs["frames"]))
        return flow[:, ::23, ::23], recorded["output_every_23rd_row_col"]
    images = inputs["images"]
    return ivy.to_numpy(model(images))[:, 0], recorded["output"]


def pick(given: int | None, recorded: np.lib.npyio.NpzFile, name: str) -> int:
    if given is not None:
        return given
    if name not in recorded:
        raise SystemExit(f"the expected outputs record no {name}; pass it")
    return int(recorded[name])


if __name__ == "__main__":
    sys.exit(main())
