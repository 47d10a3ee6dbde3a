"""Preprocessing of tables: columns of numbers, categories, dates, times, texts and files."""

from ivy_models.preprocessing.table.categories import CategoryColumn
from ivy_models.preprocessing.table.dates import DateColumn
from ivy_models.preprocessing.table.files import ImageColumn, SoundColumn
from ivy_models.preprocessing.table.numbers import NumberColumn
from ivy_models.preprocessing.table.preprocessing import COLUMNS, TableColumn, TablePreprocessing
from ivy_models.preprocessing.table.texts import TextColumn
from ivy_models.preprocessing.table.times import TimeColumn

__all__ = [
    "COLUMNS",
    "CategoryColumn",
    "DateColumn",
    "ImageColumn",
    "NumberColumn",
    "SoundColumn",
    "TableColumn",
    "TablePreprocessing",
    "TextColumn",
    "TimeColumn",
]
