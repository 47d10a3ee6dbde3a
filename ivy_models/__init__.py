"""Perceiver IO for every framework: NumPy, PyTorch, JAX and TensorFlow, through Ivy."""

from ivy_models._lazy import lazy_exports

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "shells.huggingface": ["accelerate"],
        "classification": ["Prediction", "classify", "classify_each"],
        "decoding": ["decode_in_chunks"],
        "flow": ["draw_flow", "estimate_flow", "read_flo", "write_flo"],
        "language": ["Candidate", "fill_mask"],
        "seeing.depth": ["latents_over_depth"],
        "seeing.drawing": [
            "draw_attention",
            "draw_flow_arrows",
            "draw_latents",
            "draw_predictions",
            "draw_reconstruction",
        ],
        "seeing.recording": ["AttentionMaps", "attention_maps"],
        "seeing.rollout": ["attention_rollout"],
        "transformers.perceiver_io.factories": [
            "create_model",
            "perceiver_io_img_classification",
            "perceiver_io_language",
            "perceiver_io_optical_flow",
            "perceiver_io_video",
        ],
        "transformers.perceiver_io.presets": ["list_models"],
        "video": ["Reconstruction", "reconstruct_video"],
    },
)
