"""From files and images to the data that a model takes."""

from ivy_models.preprocessing.image import ImagePreprocessing
from ivy_models.preprocessing.text import ByteTokenizer

__all__ = ["ByteTokenizer", "ImagePreprocessing"]
