"""Rows of tables."""

import datetime
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ivy_models.checkpoints.attributes import attributes_from_json, attributes_to_json
from ivy_models.errors import InputError, SpecError, WeightsError
from ivy_models.preprocessing import (
    CategoryColumn,
    DateColumn,
    ImageColumn,
    ImagePreprocessing,
    NumberColumn,
    SoundColumn,
    SoundPreprocessing,
    TablePreprocessing,
    TextColumn,
    TextPreprocessing,
    TimeColumn,
    prepare,
)
from ivy_models.preprocessing.table.cells import (
    is_missing,
    to_category,
    to_date,
    to_hours,
    to_number,
)

EDGES = (0.0, 1.0, 4.0)
TABLE = TablePreprocessing(
    [
        NumberColumn("age", 2.0, 2.0, EDGES),
        CategoryColumn("city", ["Bern", "Rome"]),
        DateColumn("born", 0.0, 100.0, EDGES, has_time=True),
        CategoryColumn("size", ["1", "2", "3"]),
        TextColumn("comment", TextPreprocessing(6)),
        ImageColumn("photo", ImagePreprocessing((4, 6))),
        SoundColumn("call", SoundPreprocessing(8000, 5)),
        TimeColumn("opens", 12.0, 6.0, EDGES),
    ]
)


@pytest.mark.parametrize(
    ("value", "decimal", "number"),
    [
        ("3", ".", 3),
        (" -1,234.5 ", ".", -1234.5),
        ("1.234,5", ",", 1234.5),
        ("0,5", ",", 0.5),
        ("1e-3", ".", 0.001),
        (True, ".", 1),
        (np.float32(0.5), ".", 0.5),
        ("1\u00a0234 567.5", ".", None),
        ("1\u202f234\u202f567,5", ",", 1234567.5),
        ("-1'234.5", ".", -1234.5),
        ("1\u2019234", ".", 1234),
        ("\u22121.5", ".", -1.5),
        ("(1.5)", ".", -1.5),
        ("1.234,5-", ",", -1234.5),
        ("12,34,567", ".", 1234567),
        ("12,34,56", ".", None),
        ("(-1.5)", ".", None),
        ("-1.5-", ".", None),
        ("()", ".", None),
        ("12 34", ".", None),
        ("1,23", ".", None),
        ("inf", ".", None),
        ("1e999", ".", None),
        (10**400, ".", None),
        ("", ".", None),
        (".", ".", None),
        ("abc", ".", None),
        (None, ".", None),
        ([1], ".", None),
        (float("nan"), ".", None),
        (np.True_, ".", 1),
        (Decimal("sNaN"), ".", None),
    ],
)
def test_numbers_are_read(value, decimal, number):
    read = to_number(value, decimal)
    assert np.isnan(read) if number is None else read == number


@pytest.mark.parametrize(
    ("value", "unit", "number"),
    [
        ("84.5%", "%", 84.5),
        ("84.5 %", "%", 84.5),
        ("$1,234.50", "$", 1234.5),
        ("-$5", "$", -5),
        ("$ -5", "$", -5),
        ("\u2212$5", "$", -5),
        ("-5 €", "€", -5),
        ("($5.5)", "$", -5.5),
        ("$ (5.5)", "$", -5.5),
        ("(5 %)", "%", -5),
        (5, "$", 5),
        ("5", "$", None),
        ("$5$", "$", None),
        ("$", "$", None),
        ("€5", "$", None),
        ("5%", "", None),
        ("EUR 5.50", "EUR", 5.5),
        ("-5.50 EUR", "EUR", -5.5),
        ("US$ (5)", "US$", -5),
        ("5.5kg", "kg", 5.5),
        ("5 g", "kg", None),
        ("90 s", "s", 90),
        ("36:05:10", "s", 129910),
        ("4:30,5", "s", 270.5),
        ("1 day, 0:00:10", "s", 86410),
        ("-1 days +23:00:00", "s", -3600),
        ("2 days", "s", 172800),
        ("P1W2DT3H4M5.5S", "s", 788645.5),
        ("P1M", "s", None),
        ("PT", "s", None),
        ("4:75", "s", None),
        ("4:30", "", None),
        (datetime.timedelta(minutes=2), "s", 120),
    ],
)
def test_numbers_are_read_in_one_unit(value, unit, number):
    read = to_number(value, unit=unit)
    assert np.isnan(read) if number is None else read == number


@pytest.mark.parametrize(
    ("value", "form", "date"),
    [
        ("2024-02-29", "iso", (2024, 2, 29)),
        ("2024-02-29T12:30:00+02:00", "iso", (2024, 2, 29, 10, 30)),
        ("2024-02-29 12:30:00 UTC", "iso", (2024, 2, 29, 12, 30)),
        ("29.02.2024 12:30", "%d.%m.%Y", (2024, 2, 29, 12, 30)),
        ("2/29/2024 02:30:15 PM", "%m/%d/%Y", (2024, 2, 29, 14, 30, 15)),
        ("29/02/24, 9:05", "%d/%m/%y", (2024, 2, 29, 9, 5)),
        ("29-FEB-24 12:30:00.5", "%d-%b-%y", (2024, 2, 29, 12, 30, 0, 500_000)),
        ("February 29, 2024", "%B %d, %Y", (2024, 2, 29)),
        ("29 Feb 2024 25:00", "%d %b %Y", None),
        ("29 Feb 2024 12:30 noon", "%d %b %Y", None),
        ("Thu, 29 Feb 2024 12:30:00 +0130", "%d %b %Y", (2024, 2, 29, 11)),
        ("Thursday, 29-Feb-24 12:30:00 GMT", "%d-%b-%y", (2024, 2, 29, 12, 30)),
        ("[29/Feb/2024:12:30:00 -0800]", "%d/%b/%Y", (2024, 2, 29, 20, 30)),
        ("Thu Feb  1 12:30:00 2024", "%b %d %Y", (2024, 2, 1, 12, 30)),
        ("Thu Feb 29 12:30:00 PDT 2024", "%b %d %Y", (2024, 2, 29, 19, 30)),
        ("Thu Feb 29 12:30:00 +0000 2024", "%b %d %Y", (2024, 2, 29, 12, 30)),
        ("Thu Feb 29 2024 12:30:00 GMT+0100 (Central)", "%b %d %Y", (2024, 2, 29, 11, 30)),
        ("Thursday, February 29, 2024", "%B %d, %Y", (2024, 2, 29)),
        ("February 29, 2024 at 1:30 PM", "%B %d, %Y", (2024, 2, 29, 13, 30)),
        ("2024-02-29 12:30:00 EST", "%Y-%m-%d", (2024, 2, 29, 17, 30)),
        ("2024-02-29 12:30:00 XYZ", "%Y-%m-%d", None),
        ("01/01/0001 00:00 +0200", "%d/%m/%Y", None),
        (datetime.date(2024, 2, 29), "iso", (2024, 2, 29)),
        ("2024-02-30", "iso", None),
        ("20240229", "iso", None),
        (3, "iso", None),
        (np.datetime64("2024-02-29"), "iso", (2024, 2, 29)),
        (np.datetime64("NaT"), "iso", None),
        (np.datetime64("20000-01-01"), "iso", None),
        ("0001-01-01T00:00+02:00", "iso", None),
    ],
)
def test_dates_are_read(value, form, date):
    assert to_date(value, form) == (None if date is None else datetime.datetime(*date))


@pytest.mark.parametrize(
    ("value", "hours"),
    [
        ("14:30", 14.5),
        (" 9:05:06.5 ", 9 + 5 / 60 + 6.5 / 3600),
        ("2:30 pm", 14.5),
        ("12:00 A.M.", 0),
        ("12:15PM", 12.25),
        ("2 pm", 14),
        (datetime.time(23, 59, 59, 500_000), 24 - 0.5 / 3600),
        ("24:00", None),
        ("13:00 pm", None),
        ("0:30 am", None),
        ("14:5", None),
        ("14", None),
        ("2024-02-29 14:30", None),
        (14, None),
        (None, None),
    ],
)
def test_times_are_read(value, hours):
    read = to_hours(value)
    assert np.isnan(read) if hours is None else read == pytest.approx(hours)


def test_midnight_is_near_the_evening():
    (_, cycle), _ = TimeColumn("at", 12, 6, EDGES).encode(["23:59", "0:00", "12:00"])
    evening, midnight, noon = cycle
    assert np.abs(evening - midnight).max() < 0.01
    assert np.abs(noon - midnight).max() > 1


@pytest.mark.parametrize(
    "value",
    [
        *(None, float("nan"), "", " ", "NA", "NaN", "null", "?", Decimal("NaN"), pd.NA, pd.NaT),
        *("#N/A", "<NA>", "-nan", "#DIV/0!", ".", r"\N", "n.a.", "-Infinity"),
    ],
)
def test_nothing_is_recognised(value):
    assert is_missing(value)
    assert to_category(value) is None
    assert np.isnan(to_number(value))
    assert to_date(value) is None


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ((3, 3.0, "3", " 3.0 ", "3.00", np.int8(3), np.float32(3), Decimal("3.0")), "3"),
        ((0.0, -0.0, "0", "-0.0"), "0"),
        ((True, "true", "TRUE", np.True_), "True"),
        (("03.0",), "03.0"),
        (("3.10", Decimal("3.10")), "3.10"),
        ((0.5, np.float32(0.5), "0.5"), "0.5"),
        ((float("inf"),), "inf"),
    ],
)
def test_categories_do_not_depend_on_the_kind_of_file(values, name):
    assert {to_category(value) for value in values} == {name}


def test_rows_become_modalities(tmp_path):
    Image.new("RGB", (6, 4), "white").save(tmp_path / "a.png")
    row = {
        "age": "2.5",
        "city": " Rome ",
        "born": "1970-01-02",
        "size": 3.0,
        "comment": "hi",
        "photo": tmp_path / "a.png",
        "call": np.ones(3, np.float32),
        "opens": "9:00",
        "another": "column",
    }
    nothing = dict.fromkeys(row)
    data, mask = prepare(TABLE, [row, nothing])
    assert {name: array.shape for name, array in data.items()} == {
        "numbers": (2, 7, 4),
        "categories": (2, 2),
        "text_0": (2, 6),
        "image_0": (2, 4, 6, 3),
        "sound_0": (2, 5, 1),
    }
    np.testing.assert_allclose(data["numbers"][0, 0], [0.25, 1, 0.5, 0])
    np.testing.assert_allclose(data["numbers"][0, 1], [0.01, 1, 0, 0])
    np.testing.assert_allclose(data["numbers"][0, 5], [-0.5, 1, 1, 0])
    assert data["categories"].tolist() == [[1, 4], [0, 2]]
    assert data["text_0"][0].tolist() == [ord("h") + 6, ord("i") + 6, 0, 0, 0, 0]
    assert data["image_0"][0].min() == 1
    assert data["sound_0"][0, :, 0].tolist() == [1, 1, 1, 0, 0]
    for name in ("numbers", "categories"):
        assert mask[name].tolist() == [[True] * len(mask[name][0]), [False] * len(mask[name][0])]
    assert mask["text_0"].tolist() == [[True, True, False, False, False, False], [False] * 6]
    assert not any(data[name][1].any() for name in ("numbers", "text_0", "image_0", "sound_0"))
    alone, alone_mask = TABLE(row)
    for name, array in data.items():
        np.testing.assert_array_equal(alone[name], array[0])
    assert alone_mask["numbers"].shape == (7,)


def test_unknown_values_are_masked():
    row = {"age": "old", "city": "Oslo", "born": "soon", "size": float("nan")}
    row |= {"comment": "", "photo": None, "call": None, "opens": "late"}
    _, mask = TABLE([row])
    assert not any(part.any() for part in mask.values())


def test_a_broken_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"Column 'photo': .*a\.png is not an image"):
        TABLE({column.name: None for column in TABLE.columns} | {"photo": tmp_path / "a.png"})


@pytest.mark.parametrize("rows", [[], [3], "age"])
def test_rows_are_mappings(rows):
    with pytest.raises(InputError, match="Expected rows"):
        TABLE(rows)


def test_a_misspelt_column_is_refused():
    row = {column.name: None for column in TABLE.columns}
    row["Age"] = row.pop("age")
    with pytest.raises(InputError, match="A row has no 'age'; it has city, .*Age"):
        TABLE(row)


def test_tables_that_exceed_the_memory_are_refused():
    column = {
        "kind": "ImageColumn",
        "preprocessing": {"kind": "ImagePreprocessing", "size": [8192, 8192]},
    }
    columns = [column | {"name": str(i)} for i in range(2)]
    task = {"preprocessing": {"kind": "TablePreprocessing", "columns": columns}}
    with pytest.raises(WeightsError, match="its result has 402,653,184 numbers"):
        attributes_from_json(task, "a model")


def test_it_is_saved_with_a_model():
    class Model:
        labels = tokenizer = targets = None
        preprocessing = TABLE

    saved = json.loads(json.dumps(attributes_to_json(Model)))
    assert attributes_from_json(saved, "a model") == {"preprocessing": TABLE}


@pytest.mark.parametrize(
    "column",
    [
        {"kind": "TextColumn", "name": "a", "preprocessing": {"kind": "TextPreprocessing"}},
        {
            "kind": "TextColumn",
            "name": "a",
            "preprocessing": {"kind": "TextPreprocessing", "max_length": 1 << 40},
        },
        {"kind": "NumberColumn", "name": "a", "mean": 0, "std": 0, "edges": [1]},
        {"kind": "NumberColumn", "name": "a", "mean": 0, "std": 1, "edges": list(range(100))},
        {"kind": "NumberColumn", "name": "a", "mean": 0, "std": 1, "edges": [1, "b"]},
        {"kind": "DateColumn", "name": "a", "mean": 0, "std": 1, "edges": [1], "form": "%Z" * 99},
        {"kind": "CategoryColumn", "name": "a", "categories": [["b"]]},
        {"kind": "CategoryColumn", "name": "a", "categories": []},
        {"kind": "ImageColumn", "name": "a", "preprocessing": None},
        {"kind": "ClassTarget", "name": "a", "labels": ["b", "c"]},
    ],
)
def test_a_broken_description_is_refused(column):
    task = {"preprocessing": {"kind": "TablePreprocessing", "columns": [column]}}
    with pytest.raises(WeightsError, match="the task cannot be read"):
        attributes_from_json(task, "a model")


def test_columns_have_names_of_their_own():
    with pytest.raises(SpecError, match="different names"):
        TablePreprocessing([CategoryColumn("a", ["b"]), CategoryColumn("a", ["c"])])
    with pytest.raises(SpecError, match="different names"):
        TablePreprocessing([])
