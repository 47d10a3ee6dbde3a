"""Small random Perceivers of transformers."""

import torch
import transformers

SMALL = {
    "num_latents": 5,
    "d_latents": 16,
    "num_blocks": 2,
    "num_self_attends_per_block": 2,
    "num_self_attention_heads": 2,
    "num_cross_attention_heads": 1,
    "num_labels": 3,
}
TEXT = {"d_model": 24, "vocab_size": 30, "max_position_embeddings": 9}
# As in the published language model: several heads, and keys of another width than values.
KEYS = {"num_cross_attention_heads": 8, "qk_channels": 32, "v_channels": 16}
CASES = {
    "MaskedLM": TEXT | KEYS | {"qk_channels": 256},
    "SequenceClassification": TEXT | KEYS,
    "ImageClassificationLearned": {"image_size": 4},
    "ImageClassificationFourier": {},
    "ImageClassificationConvProcessing": {},
    "OpticalFlow": {"train_size": [6, 5]},
    "MultimodalAutoencoding": {
        "num_frames": 2,
        "audio_samples_per_frame": 12,
        "samples_per_patch": 4,
        "image_size": 7,
        "output_shape": [1, 2, 5, 6],
        "output_num_channels": 7,
        "_label_trainable_num_channels": 9,
    },
}
IMAGE_SHAPES = {
    "ImageClassificationLearned": (4, 4),
    "ImageClassificationFourier": (6, 5),
    "ImageClassificationConvProcessing": (27, 30),
}


def huggingface_model(case, **changes):
    """A random model of transformers without weights at their neutral values."""
    torch.manual_seed(0)
    config = transformers.PerceiverConfig(**(SMALL | CASES[case] | changes))
    model = getattr(transformers, f"PerceiverFor{case}")(config).eval()
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            if name.endswith("running_var"):
                weight.uniform_(0.5, 2)
            elif weight.is_floating_point():
                weight.add_(0.1 * torch.randn(weight.shape))
    return model
