"""Data for training: folders and tables on disk, and arrays in memory."""

from ivy_models.datasets.columns import Column
from ivy_models.datasets.examples import ArrayExamples, Batch, Examples, TrainingData
from ivy_models.datasets.reading import read_training_data
from ivy_models.datasets.rows import Rows, read_rows
from ivy_models.datasets.sources import SourceExamples

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
