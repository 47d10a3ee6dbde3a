"""Perceiver IO (arXiv 2107.14795)."""

from ivy_models._lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "adapters": [
            "GridAdapter",
            "InputModality",
            "LearnedPositions",
            "MultimodalInput",
            "MultimodalOutput",
            "OutputModality",
            "TokenAdapter",
        ],
        "core": ["PerceiverIOCore"],
        "costs": ["Cost", "model_costs"],
        "decoder": ["Decoder"],
        "factories": [
            "perceiver_io_img_classification",
            "perceiver_io_language",
            "perceiver_io_optical_flow",
            "perceiver_io_video",
        ],
        "grid_attention": ["GridCrossAttention"],
        "inputs": ["Features", "Inputs"],
        "model": ["PerceiverIO"],
        "parameters": ["initialise"],
        "position_encoding": ["FourierPositionEncoding"],
        "patches": ["depth_to_space", "space_to_depth"],
        "processor": ["Processor"],
        "reader": ["Reader"],
        "spec": ["PerceiverIOSpec"],
    },
)
