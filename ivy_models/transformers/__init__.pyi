"""What type checkers, and ``lazy_exports``, know of the package's public names."""

from ivy_models.transformers import perceiver_io as perceiver_io
from ivy_models.transformers.perceiver_io import (
    PerceiverIO as PerceiverIO,
    PerceiverIOSpec as PerceiverIOSpec,
    perceiver_io_img_classification as perceiver_io_img_classification,
)
