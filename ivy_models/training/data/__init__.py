"""Data for training: folders and tables on disk, and arrays in memory."""

from ivy_models.training.data.examples import ArrayExamples, Batch, Examples, TrainingData

__all__ = ["ArrayExamples", "Batch", "Examples", "TrainingData"]
