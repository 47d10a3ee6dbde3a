"""From files and images to the data that a model takes."""

from ivy_models.preprocessing.image import ImagePreprocessing

__all__ = ["ImagePreprocessing"]
