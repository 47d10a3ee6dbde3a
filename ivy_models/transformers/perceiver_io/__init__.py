"""Perceiver IO (arXiv 2107.14795)."""

from ivy_models._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "adapters": ["GridAdapter", "LearnedPositions", "TokenAdapter"],
        "core": ["PerceiverIOCore"],
        "decoder": ["Decoder"],
        "factories": [
            "perceiver_io_img_classification",
            "perceiver_io_language",
            "perceiver_io_optical_flow",
        ],
        "inputs": ["Features", "Inputs"],
        "model": ["PerceiverIO"],
        "parameters": ["initialise"],
        "position_encoding": ["FourierPositionEncoding"],
        "processor": ["Processor"],
        "reader": ["Reader"],
        "spec": ["PerceiverIOSpec"],
    },
)
