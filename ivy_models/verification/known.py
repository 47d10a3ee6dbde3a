"""What is known about the results of the published weights.

Source of the classes, texts and logits: the slow tests of Hugging Face transformers
(tests/models/perceiver/test_modeling_perceiver.py), and the examples in its documentation.
"""

from __future__ import annotations

from ivy_models.verification.answers import Answer, PhotoAnswer, TextAnswer

TABBY, TIGER_CAT, EGYPTIAN_CAT = 281, 282, 285
CATS = (TABBY, TIGER_CAT, EGYPTIAN_CAT)
"""Classes of domestic cats. transformers' documentation shows "tabby, tabby cat"."""

PHOTO_TOLERANCE = 0.01
"""Tolerance of a classifier's logits.

- The source rounds its numbers to 4 digits: 5e-5.
- Its own tests allow a difference of 1e-4, and 1e-3 on some GPUs.
- Decoders of JPEG may differ by 1 level of 255. Noise of that size in every pixel changed the
  logits of full-size models with random weights by at most 8e-4. The tolerance leaves room for
  trained weights to be ten times as sensitive.

The variants of a model that the source does not compute differ by more: with random weights, the
query residual changed the first logits by 0.2, and the padding of the convolution by 0.015.
"""

TEXT_TOLERANCE = 0.002
"""Tolerance of the language model's logits, which are about -12.

The source's own tests allow 1e-4 of the number and 1e-4 more, together 1.3e-3; it rounds to 4
digits.
"""

ANSWERS: dict[str, Answer] = {
    "perceiver_io_imagenet_fourier": PhotoAnswer(
        CATS, (-1.1295, -0.2832, 0.3226), PHOTO_TOLERANCE, {"exact_gelu": True}
    ),
    "perceiver_io_imagenet_learned": PhotoAnswer(
        CATS,
        (-1.1652, -0.1992, -0.7520),
        PHOTO_TOLERANCE,
        {"exact_gelu": True, "query_residual": True},
    ),
    "perceiver_io_imagenet_conv": PhotoAnswer(
        CATS,
        (-1.1186, 0.0554, 0.0897),
        PHOTO_TOLERANCE,
        {"exact_gelu": True, "stem": "centred_convolution"},
    ),
    "perceiver_io_language": TextAnswer(
        "[CLS]This is an incomplete sentence where some words are" + 9 * "[MASK]" + "[SEP]",
        " missing.",
        (
            (-10.8609, -10.7651, -10.9187),
            (-12.1689, -11.9389, -12.1479),
            (-12.1518, -11.9707, -12.2073),
        ),
        TEXT_TOLERANCE,
        {"exact_gelu": True},
    ),
}
"""Known results, by the model's name."""
