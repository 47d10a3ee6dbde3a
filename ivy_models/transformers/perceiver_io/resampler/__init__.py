"""The resampler: a fixed number of outputs from any number of inputs, for other models."""
