"""Data for training: folders and tables on disk, and arrays in memory."""

from ivy_models.training.data.columns import Column
from ivy_models.training.data.examples import ArrayExamples, Batch, Examples, TrainingData
from ivy_models.training.data.reading import read_training_data
from ivy_models.training.data.rows import Rows, read_rows
from ivy_models.training.data.sources import SourceExamples

__all__ = [
    "ArrayExamples",
    "Batch",
    "Column",
    "Examples",
    "Rows",
    "SourceExamples",
    "TrainingData",
    "read_rows",
    "read_training_data",
]
