"""Models built on attention."""

from ivy_models.transformers import perceiver_io as perceiver_io
