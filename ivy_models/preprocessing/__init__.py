"""Conversion of files, images, sounds, texts and tables to a model's data."""

from ivy_models.preprocessing.clip import ClipPreprocessing
from ivy_models.preprocessing.image import ImagePreprocessing
from ivy_models.preprocessing.ngrams import NgramPreprocessing
from ivy_models.preprocessing.prepared import prepare
from ivy_models.preprocessing.sound import SoundPreprocessing, read_sound
from ivy_models.preprocessing.table import (
    CategoryColumn,
    DateColumn,
    ImageColumn,
    NumberColumn,
    SoundColumn,
    TablePreprocessing,
    TextColumn,
    TimeColumn,
)
from ivy_models.preprocessing.targets import ClassTarget, NumberTarget
from ivy_models.preprocessing.text import ByteTokenizer, TextPreprocessing, TextTokens
from ivy_models.preprocessing.video import VideoPreprocessing, write_video

__all__ = [
    "ByteTokenizer",
    "CategoryColumn",
    "ClassTarget",
    "ClipPreprocessing",
    "DateColumn",
    "ImageColumn",
    "ImagePreprocessing",
    "NgramPreprocessing",
    "NumberColumn",
    "NumberTarget",
    "SoundColumn",
    "SoundPreprocessing",
    "TablePreprocessing",
    "TextColumn",
    "TextPreprocessing",
    "TextTokens",
    "TimeColumn",
    "VideoPreprocessing",
    "prepare",
    "read_sound",
    "write_video",
]
