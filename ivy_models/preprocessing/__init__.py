"""Conversion of files, images, sounds and texts to a model's data."""

from ivy_models.preprocessing.clip import ClipPreprocessing
from ivy_models.preprocessing.image import ImagePreprocessing
from ivy_models.preprocessing.sound import SoundPreprocessing, read_sound
from ivy_models.preprocessing.text import ByteTokenizer
from ivy_models.preprocessing.video import VideoPreprocessing, write_video

__all__ = [
    "ByteTokenizer",
    "ClipPreprocessing",
    "ImagePreprocessing",
    "SoundPreprocessing",
    "VideoPreprocessing",
    "read_sound",
    "write_video",
]
