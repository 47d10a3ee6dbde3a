"""Tables."""

import datetime
import json
import socket

import datasets
import numpy as np
import pytest
from PIL import Image

from ivy_models.datasets import read_rows, read_training_data
from ivy_models.datasets.columns import fit_column, number_format, recognise
from ivy_models.datasets.files import COMPRESSIONS
from ivy_models.errors import InputError
from ivy_models.preprocessing import ClassTarget, NumberTarget, TablePreprocessing
from ivy_models.preprocessing.table.cells import DATE_FORMATS
from ivy_models.training.report.metrics import true_values

CITIES = ("Bern", "Oslo", "Rome")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Refuse connections: local files are read without the hub."""

    def refuse(*_):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def write_csv(path, rows, delimiter=",", encoding="utf-8"):
    def cell(value):
        text = "" if value is None else str(value)
        return f'"{text}"' if any(c in text for c in f'{delimiter}\n"') else text

    lines = [rows[0], *(row.values() for row in rows)]
    text = "".join(delimiter.join(map(cell, line)) + "\n" for line in lines)
    path.write_text(text, encoding, newline="")


def people(rng, count=60):
    """Rows of every kind of column but files."""
    return [
        {
            "id": 1000 + i,
            "age": None if i == 3 else int(rng.integers(18, 90)),
            "income": round(float(rng.lognormal(8)), 2),
            "city": CITIES[i % 3],
            "zip": f"{i % 7:05d}",
            "opens": f"{i % 24}:{i * 7 % 60:02d}",
            "born": f"{1950 + i % 50}-0{1 + i % 9}-1{i % 10}",
            "comment": f"a {'good' if i % 2 else 'bad'} thing, {i}\nindeed",
            "key": f"k{i * 7919 % 1000:03d}x",
            "always": "same",
            "empty": None,
            "label": "yes" if i % 2 else "no",
        }
        for i in range(count)
    ]


KINDS = {
    "id": "ignore",
    "age": "number",
    "income": "number",
    "city": "category",
    "zip": "category",
    "opens": "time",
    "born": "date",
    "comment": "text",
    "key": "ignore",
    "always": "ignore",
    "empty": "ignore",
    "label": "class",
}


def test_columns_are_recognised(tmp_path, rng):
    write_csv(tmp_path / "people.csv", people(rng))
    data = read_training_data(tmp_path / "people.csv")
    assert {column.name: column.kind for column in data.columns} == KINDS
    details = {column.name: column.detail for column in data.columns}
    assert details["id"] == "numbers the rows"
    assert details["key"] == "another name in every row"
    assert details["always"] == "always same"
    assert details["empty"] == "empty"
    assert details["label"] == "2 classes: no (30), yes (30)"
    assert details["city"].startswith("3 categories: ")
    assert data.targets == (ClassTarget("label", ("no", "yes")),)
    assert isinstance(data.preprocessing, TablePreprocessing)
    assert (len(data.train), len(data.validation)) == (48, 12)
    batch = data.train.batch(range(48))
    assert batch.data["numbers"].shape == (48, 7, 17)
    assert batch.data["categories"].shape == (48, 2)
    assert batch.data["text_0"].shape == (48, 24)
    known = batch.mask["numbers"]
    assert known[:, 0].sum() in (47, 48)
    assert known[:, 1:].all()
    standardised = batch.data["numbers"][:, 1, 0]
    assert abs(standardised.mean()) < 1e-5
    assert abs(standardised.std() - 1) < 1e-5


@pytest.mark.parametrize("time", ["", " %I:%M:%S %p"])
@pytest.mark.parametrize("form", [form for form in DATE_FORMATS[1:] if "%d" in form])
def test_formats_of_dates_are_recognised(form, time):
    dates = [datetime.datetime(2024, 1, 1, 1, 40) + i * datetime.timedelta(29.1) for i in range(12)]
    kind, *_ = recognise([date.strftime(form + time) for date in dates])
    column, detail = fit_column("on", kind, [date.strftime(form + time) for date in dates])
    assert column.kind == "date"
    assert column.has_time == bool(time)
    assert detail.startswith("2024-01-01 to 2024-11-16")
    written = form if form != "%Y-%m-%d" or time else "iso"
    assert detail.endswith(f"written {written}") == (written != "iso")


@pytest.mark.parametrize("form", ["%Y-%m", "%m/%Y", "%b %Y", "%B %Y", "%b-%Y", "%b-%y"])
def test_months_are_dates(form):
    months = [datetime.date(2024, month, 1).strftime(form) for month in (3, 5, 11)]
    kind, *_ = recognise(months)
    column, detail = fit_column("in", kind, months)
    assert (column.kind, detail) == ("date", f"2024-03-01 to 2024-11-01, written {form}")


def test_dates_may_be_whole_numbers():
    days = [20240131, 20240229, 20240315]
    kind, *_ = recognise(days)
    column, detail = fit_column("on", kind, days)
    assert (column.kind, detail) == ("date", "2024-01-31 to 2024-03-15, written %Y%m%d")
    assert recognise([20240131, 20249999, 20240315])[0] == "number"


@pytest.mark.parametrize("kind", [int, str])
def test_identifiers_that_are_one_as_floats_are_categories(kind):
    users = [kind(2**63 + i % 4) for i in range(40)]
    assert recognise(users).kind == "category"
    assert number_format(users) is None
    assert recognise([kind(10**18 + i % 4 * 10**16) for i in range(40)]).kind == "number"


def test_the_best_format_is_used_for_a_kind_that_is_chosen():
    """Less than 95 % of the cells have it, so the kind is not recognised."""
    days = ["31.12.2023", "30.12.2023", "unknown"]
    column, detail = fit_column("on", "date", days)
    assert detail == "2023-12-30 to 2023-12-31, written %d.%m.%Y, not dates: 1"
    prices = ["1,5 €", "2,5 €", "free", "gone"]
    column, detail = fit_column("price", "number", prices)
    assert detail == "1.5 to 2.5 €, not numbers: 2"
    assert column.encode(prices)[1].tolist() == [True, True, False, False]


@pytest.mark.parametrize("name", ["column 1", "Unnamed: 0", "__index_level_0__"])
def test_an_index_is_not_read(name):
    """Rows that were sorted by class and then filtered have an index that tells the class."""
    index = [3, 17, 4, 99]
    assert recognise(index, name=name)[:2] == ("ignore", "numbers the rows")
    assert recognise(index, name="age").kind == "number"
    assert recognise([3, 3, 4, 99], name=name).kind == "number"


def test_the_range_of_times_is_that_of_the_cells():
    assert fit_column("at", "time", ["1:40", "2:03 pm", "9:00"])[1] == "01:40 to 14:03"


@pytest.mark.parametrize(("suffix", "opened"), COMPRESSIONS.items())
def test_compressed_tables_are_read(tmp_path, rng, suffix, opened):
    path, rows = tmp_path / f"people.csv{suffix}", people(rng)
    write_csv(tmp_path / "people.csv", rows)
    content = (tmp_path / "people.csv").read_bytes()
    (tmp_path / "people.csv").unlink()
    for old, new in ((b"id", b"id"), (b"age", b"years")):  # the second with the first one's path
        with opened(path, "wb") as file:
            file.write(content.replace(old, new, 1))
        kinds = {column.name: column.kind for column in read_training_data(path).columns}
        assert kinds == {name.replace(old.decode(), new.decode()): KINDS[name] for name in KINDS}
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"people.csv{suffix} cannot be read: Compressed file end"):
        read_training_data(path)
    with opened(path, "wb") as file:
        file.write(b"")
    with pytest.raises(InputError, match="has no rows"):
        read_training_data(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".tsv"])
def test_formats_give_the_same_columns(tmp_path, rng, suffix):
    import datasets

    path, rows = tmp_path / f"people{suffix}", people(rng)
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    elif suffix == ".tsv":
        write_csv(path, rows, "\t")
    else:
        datasets.Dataset.from_list(rows).to_parquet(path)
    data = read_training_data(path)
    assert {column.name: column.kind for column in data.columns} == KINDS


@pytest.mark.parametrize(
    ("delimiter", "encoding"),
    [(";", "utf-8-sig"), ("|", "cp1252"), ("\t", "utf-16"), (";", "utf-16-be"), (",", "utf-32")],
)
def test_csv_files_of_other_programs_are_read(tmp_path, delimiter, encoding):
    rows = [
        {
            "größe": f"{i},5",
            "name": f"Zoë {i % 2}",
            "y": f'"{i % 2}"\n;',
            "tag": f"{i + 1:02d}.03.2024",
        }
        for i in range(20)
    ]
    path = tmp_path / "a.csv"
    lines = [
        list(rows[0]),
        *([f'"{v.replace(chr(34), chr(34) * 2)}"' for v in row.values()] for row in rows),
    ]
    path.write_text("\r\n".join(map(delimiter.join, lines)), encoding, newline="")
    table = read_rows(path)
    assert table.columns == ("größe", "name", "y", "tag")
    assert [table[i] for i in range(20)] == rows
    data = read_training_data(path, target="y")
    assert [column.kind for column in data.columns] == ["number", "category", "class", "date"]
    assert data.columns[0].detail.endswith(".5")
    assert "written %d.%m.%Y" in data.columns[3].detail


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "~"])
def test_a_first_line_of_excel_names_the_delimiter(tmp_path, delimiter):
    path = tmp_path / "a.csv"
    lines = [f"sep={delimiter}", *(delimiter.join(row) for row in ("ab", "12", "34"))]
    path.write_text("\n".join(lines))
    table = read_rows(path)
    assert [table[i] for i in range(2)] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    path.write_text("\n".join(lines[:2]))
    with pytest.raises(InputError, match="has no rows"):
        read_rows(path)


def test_a_tsv_file_may_have_thousands_of_columns(tmp_path):
    """Its first line is longer than a cell of CSV may be."""
    path = tmp_path / "a.tsv"
    names = [f"measurement {i}" for i in range(9000)]
    path.write_text("\n".join("\t".join(row) for row in (names, ["1"] * 9000, ["2"] * 9000)))
    assert read_rows(path).columns == tuple(names)


@pytest.mark.parametrize("suffix", [".txt", ".tab", ".TXT"])
def test_tables_with_tabs_have_several_suffixes(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text("size\tlabel\n" + "".join(f"{i % 7}\t{i % 2}\n" for i in range(20)))
    data = read_training_data(path)
    assert [column.kind for column in data.columns] == ["number", "class"]
    path.write_text("A text, not a table.\n\tIt has a tab.")
    if suffix != ".tab":
        assert read_rows(path).kind == "text"


def test_spaces_after_a_delimiter_are_not_part_of_a_cell(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a, "b c"\n1, "x, y"\n2,  z\n')
    table = read_rows(path)
    assert [table[i] for i in range(2)] == [{"a": "1", "b c": "x, y"}, {"a": "2", "b c": "z"}]


def test_files_of_a_folder_are_one_table_or_several_parts(tmp_path, rng):
    rows = people(rng)
    write_csv(tmp_path / "a.csv", rows[:40])
    write_csv(tmp_path / "b.csv", rows[40:], ";")
    table = read_rows(tmp_path)
    assert len(table) == 60
    assert [table[i]["id"] for i in (0, 39, 40, 59)] == ["1000", "1039", "1040", "1059"]
    (tmp_path / "a.csv").rename(tmp_path / "train.csv")
    (tmp_path / "b.csv").rename(tmp_path / "test-0.csv")
    data = read_training_data(tmp_path)
    assert (len(data.train), len(data.validation)) == (40, 20)
    write_csv(tmp_path / "test-0.csv", [{"label": "yes"}])
    with pytest.raises(InputError, match="lack the column age, income, city"):
        read_training_data(tmp_path)
    write_csv(tmp_path / "test-0.csv", [{"another": 1}])
    data = read_training_data(tmp_path)
    assert (len(data.train), len(data.validation)) == (32, 8)
    assert "The part test has no targets, so it is not used." in data.warnings
    (tmp_path / "test-0.csv").rename(tmp_path / "valid-0.csv")
    with pytest.raises(InputError, match="lack the target label. Choose other data, or a share"):
        read_training_data(tmp_path)
    with pytest.raises(InputError, match="All files of a table need the same"):
        read_rows(tmp_path)


def test_tables_outside_the_parts_are_named(tmp_path, rng):
    for name in ("train", "test", "sample_submission"):
        write_csv(tmp_path / f"{name}.csv", people(rng))
    said = "not in the parts test.csv, train.csv: 1 file, sample_submission.csv."
    assert any(warning.endswith(said) for warning in read_training_data(tmp_path).warnings)


def test_validation_rows_in_another_format_are_named(tmp_path):
    for name, form in (("train", "%Y-%m-%d"), ("valid", "%d.%m.%Y")):
        days = [datetime.date(2024, 1 + i % 12, 1 + i % 28).strftime(form) for i in range(30)]
        rows = [{"day": day, "label": "ab"[i % 2]} for i, day in enumerate(days)]
        write_csv(tmp_path / f"{name}.csv", rows)
    (warning,) = read_training_data(tmp_path).warnings
    assert warning.startswith("100% of the cells of 'day' are not known as date, such as '01.01.20")


def test_a_table_that_was_replaced_is_read_anew(tmp_path):
    import os

    path = tmp_path / "a.csv"
    for content in ("a,b\n1,2\n", "a,b\n3,4\n"):
        path.write_text(content)
        os.utime(path, (0, 0))
        assert read_rows(path)[0]["a"] == content[4]


@pytest.mark.parametrize("cell", [["a", "b"], {"a": 1}, b"a"])
def test_a_target_of_lists_is_refused(tmp_path, cell):
    rows = [{"a": i % 7, "label": cell} for i in range(20)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="'label' has cells of type .*; expected a word or a numb"):
        read_training_data(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("form", "what"),
    [("%Y-%m-%d", "dates"), ("%Y%m%d", "dates"), ("%a, %d %b %Y", "dates"), ("%H:%M", "times of")],
)
def test_a_target_of_dates_is_refused(tmp_path, form, what):
    """A class for each day is never what is meant, and 20240131 is no number to predict."""
    start, step = datetime.datetime(2024, 1, 1), datetime.timedelta(days=1, minutes=5)
    rows = [{"size": i % 7, "on": (start + i % 9 * step).strftime(form)} for i in range(40)]
    write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(InputError, match=f"'on' has {what}.*such as .*set its kind to class"):
        read_training_data(tmp_path / "a.csv", "on")
    (target,) = read_training_data(tmp_path / "a.csv", "on", {"on": "class"}).targets
    assert len(target.labels) == 9


def test_targets_are_chosen(tmp_path, rng):
    rows = people(rng)
    for row in rows:
        if row["id"] % 30 == 0:
            row["income"] = "unknown"
        del row["label"]
    write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(InputError, match="Choose the column to predict.*: id, age, income"):
        read_training_data(tmp_path / "a.csv")
    with pytest.raises(InputError, match="no column 'incme' to predict"):
        read_training_data(tmp_path / "a.csv", target="incme")
    data = read_training_data(tmp_path / "a.csv", target=["city", "income"])
    city, income = data.targets
    assert city == ClassTarget("city", CITIES)
    assert isinstance(income, NumberTarget)
    encoded = data.train.encoded_targets()
    assert encoded["city"].dtype == np.int64
    assert encoded["income"].dtype == np.float32
    known = encoded["income"][~np.isnan(encoded["income"])]
    assert abs(known.mean()) < 1e-5
    assert len(known) < len(data.train)
    alone = read_training_data(tmp_path / "a.csv", target="income")
    assert len(alone.train) + len(alone.validation) == 58
    assert "Left out, without a target: 2 of 60 examples." in alone.warnings
    assert not any(np.isnan(alone.validation.encoded_targets()["income"]))


def test_numbers_of_rows_are_recognised_in_a_sample():
    places = np.array([0, 3, 4, 9])
    assert recognise([str(5 + place) for place in places], places).reason == "numbers the rows"
    assert recognise(["5", "6", "7", "8"], places).kind == "number"


def test_a_targets_decimal_mark_is_that_of_the_training_data(tmp_path):
    """Other data may have no number that shows which mark is meant."""
    rows = [{"size": i % 11, "price": f"{i % 7},{i % 9}5"} for i in range(40)]
    write_csv(tmp_path / "train.csv", rows, ";")
    write_csv(tmp_path / "other.csv", [{"size": 1, "price": "1,234"}], ";")
    data = read_training_data(tmp_path / "train.csv", "price")
    (target,) = data.targets
    assert target.decimal == ","
    assert true_values(target, read_rows(tmp_path / "other.csv").column("price")) == [1.234]


@pytest.mark.parametrize(
    ("cells", "kind", "form"),
    [
        ([f"{i}.5%" for i in range(40)], "number", (".", "%")),
        ([f"-${i},250.00" for i in range(1, 41)], "number", (".", "$")),
        ([f"{i}.250,5 €" for i in range(1, 41)], "number", (",", "€")),
        # Decimals, because 0,250 is no number with thousands.
        ([f"({i}.5)" if i % 3 else f"{i}.5" for i in range(40)], "number", (".", "")),
        ([f"(${i},000)" if i % 3 else f"$ {i},000" for i in range(1, 41)], "number", (".", "$")),
        ([f"{i},5-" if i % 3 else f"{i},5" for i in range(40)], "number", (",", "")),
        ([f"{i},23,456" for i in range(1, 41)], "number", (".", "")),
        ([f"{i},250" for i in range(40)], "number", (",", "")),
        ([f"{i},250" for i in range(1, 41)], "number", (".", "")),
        ([f"{'$€'[i % 2]}{i}" for i in range(40)], "ignore", None),
        ([f"{i} kg" for i in range(1, 40)], "number", (".", "kg")),
        ([f"{i}m²" for i in range(40)], "number", (".", "m²")),
        ([f"EUR {i}.50" for i in range(40)], "number", (".", "EUR")),
        ([f"-{i},50 CHF" for i in range(40)], "number", (",", "CHF")),
        ([f"US$ {i},000" for i in range(1, 41)], "number", (".", "US$")),
        ([f"SKU{i}" for i in range(40)], "ignore", None),
        ([f"00{i}A" for i in range(40)], "ignore", None),
        ([f"{i % 12 + 1} pm" for i in range(40)], "time", None),
        ([f"{i % 24}:05" for i in range(40)], "time", None),
        ([f"{i}:05:30" for i in range(40)], "number", (".", "s")),
        ([f"{i}:05" for i in range(40)], "number", (".", "s")),
        ([f"P{i}DT12H" for i in range(40)], "number", (".", "s")),
        ([str(datetime.timedelta(hours=i)) for i in range(40)], "number", (".", "s")),
        ([datetime.timedelta(hours=i) for i in range(40)], "number", (".", "s")),
    ],
)
def test_units_and_decimal_marks_are_recognised(cells, kind, form):
    assert recognise(cells)[0] == kind
    assert number_format(cells) == form


def test_a_unit_belongs_to_the_model(tmp_path):
    rows = [{"size": f"{i % 9}%", "price": f"${i % 7}.{i % 9}5"} for i in range(40)]
    write_csv(tmp_path / "train.csv", rows)
    data = read_training_data(tmp_path / "train.csv", "price")
    (target,), (column,) = data.targets, data.preprocessing.columns
    assert (column.unit, target.unit) == ("%", "$")
    assert true_values(target, ["$1.5"]) == [1.5]
    assert np.isnan(true_values(target, ["€2"]))
    assert column.encode(["3%", "3"])[1].tolist() == [True, False]


def test_kinds_can_be_overridden(tmp_path, rng):
    write_csv(tmp_path / "a.csv", people(rng))
    columns = {"age": "category", "key": "text", "city": "ignore", "zip": "number"}
    data = read_training_data(tmp_path / "a.csv", columns=columns)
    kinds = {column.name: column.kind for column in data.columns}
    assert {name: kinds[name] for name in columns} == columns
    numbers = read_training_data(tmp_path / "a.csv", target="zip", columns={"zip": "number"})
    assert isinstance(numbers.targets[0], NumberTarget)
    for chosen, message in [
        ({"agee": "number"}, "no column 'agee'. Did you mean age"),
        ({"age": "integer"}, "must be one of number, category"),
        ({"label": "text"}, "must be one of class, number"),
        ({"city": "number"}, "'city' cannot be read as number: no cell such as '"),
        ({"city": "image"}, "'city' names files.*none exists"),
    ]:
        with pytest.raises(InputError, match=message):
            read_training_data(tmp_path / "a.csv", columns=chosen)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("a,label\n", "has no rows"),
        ("label\n \n  \n", "has no rows"),
        ("a,label\n1,x\n2,x\n", "'label' is 'x' in all rows"),
        (f"a,label\n1,{'x' * 999}\n2,{'x' * 999}\n", r"'label' is 'x{49}\.\.\.x{46}' in all rows"),
        ("a,label\n1,\n2,NA\n", "'label' is empty in all rows"),
        ("a,label\n1,x\n2,None\n", "'label' is 'x' in all rows that .* 'None' counts as missing"),
        ("a,label\n1,x\n2,y,z\n", "2 columns in its first line, but a row with 3 cells"),
        ("People of 2024\n\na,label\n1,x\n", "first line must name all columns; remove lines"),
        ("a,label\n1,x\n" + "2,y\n" * 30 + "3,x,\n", "Expected 2 fields in line 33, saw 3"),
        ('a,label\n"1,x\n', "EOF inside string"),
        ("label\nx\ny\n", "No column .* is left to learn from, .*: there is no other"),
        ("id,label\n1,x\n2,y\n3,x\n4,y\n", r"left .*: id \(numbers the rows\)"),
        ("a,label\n" + "".join(f"{i % 3},n{i}\n" for i in range(50)), "50 different values"),
        (
            "a,label\n" + "".join(f"{i % 3},{i}.5 {('kg', 'lb')[i % 2]}\n" for i in range(50)),
            "such as '0.5 kg', .*: too many for classes. Choose another target, write numbers i",
        ),
    ],
)
def test_tables_that_cannot_be_learned_are_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_training_data(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.parquet", b"PAR1"), ("a.jsonl", b'{"a": 1'), ("a.json", b"[{\x00")],
)
def test_broken_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json.*|a\.parquet cannot be read as a table"):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "start", "what"),
    [
        ("a.csv", b"PK\x03\x04", "an archive or a sheet"),
        ("a.csv", b"\x1f\x8b\x08", "compressed"),
        ("a.tsv", b"<!DOCTYPE html>", "a web page"),
        ("a.csv", b'[{"a": 1}]', "JSON"),
        ("a.json", b"PAR1", "a table of Parquet"),
    ],
)
def test_a_name_of_another_kind_is_refused(tmp_path, name, start, what):
    """Parsed as a table, they have strange columns, or no rows."""
    (tmp_path / name).write_bytes(start)
    with pytest.raises(InputError, match=f"{name} is {what}.*, but its name ends in {name[1:]}"):
        read_rows(tmp_path / name)


def test_cells_may_be_long(tmp_path):
    (tmp_path / "a.csv").write_text(f"a,label\n{'word ' * 30_000},x\nb,y\n")
    assert len(read_rows(tmp_path / "a.csv")[0]["a"]) == 150_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": {"0": 1, "1": 2}, "label": {"0": "x", "1": "y"}}', "has one object, of columns"),
        ('{"count": 1, "data": [{"a": 1, "label": "x"}]}', "with a list of objects in 'data'"),
        ('[[1, "x"], [2, "y"]]', "at its beginning"),
        ('"people"', "at its beginning"),
        ("[]", "has no rows"),
    ],
)
def test_json_without_an_object_for_each_row_is_refused(tmp_path, content, message):
    """pandas writes an object of columns unless it is told otherwise."""
    (tmp_path / "a.json").write_text(content)
    advice = "" if message == "has no rows" else '.*; expected an object for each row.*"records"'
    with pytest.raises(InputError, match=f"{message}{advice}"):
        read_rows(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a": 1, "a": 2}', "in row 2: an object has 'a' more than once"),
        ('{"a": 1}\n{"a": 2', "in row 2: Expecting ',' delimiter, at ''"),
        ('[{"a": 1}, {"a": 2}', "in row 3: expected an object, got the end of the file"),
        ('{"a": 1}\n[2]', r"in row 2: expected an object, got '\[2\]'"),
        ("{'a': 1}", "in row 1: Expecting property name enclosed in double quotes, at \"'a': 1}\""),
        ('{"a": ' + "[" * 100_000, "in row 1: maximum recursion depth exceeded"),
    ],
)
def test_a_mistake_in_json_is_named(tmp_path, content, message):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(InputError, match=f"a.jsonl cannot be read as a table, {message}"):
        read_rows(tmp_path / "a.jsonl")


def test_numbers_of_json_are_kept_as_they_are_written(tmp_path):
    """Identifiers above 2^64, and above 2^53 among fractions, would be rounded."""
    numbers = ["18446744073709551617", "9007199254740993", "1.50", "9" * 5000]
    lines = [f'{{"id": {number}}}' for number in numbers]
    for name, text in (("a.jsonl", "\n".join(lines)), ("a.json", f"\n [{', '.join(lines)}]")):
        (tmp_path / name).write_text(text)
        assert read_rows(tmp_path / name).column("id") == numbers


def test_rows_of_json_may_differ(tmp_path, monkeypatch):
    """A type is not guessed from the first rows; chunks end anywhere."""
    monkeypatch.setattr("ivy_models.datasets.json_tables.CHUNK", 7)
    monkeypatch.setattr("ivy_models.datasets.json_tables.ROWS", 2)
    rows = [
        {"id": 1, "date": "5", "tags": None},
        {"id": "A7", "tags": ["x", 2]},
        {"id": True, "date": None, "tags": {"y": 1}},
        {"late": "\ud83d", "id": "caf\u00e9"},
    ]
    expected = {
        "id": ["1", "A7", "True", "caf\u00e9"],
        "date": ["5", None, None, None],
        "tags": [None, ["x", "2"], ['{"y": "1"}'], None],
        "late": [None, None, None, "?"],
    }
    for name, text in (
        ("a.jsonl", "\n".join(map(json.dumps, rows))),
        ("a.json", f"\ufeff\n{json.dumps(rows, indent=2)}\n"),
        ("b.json", "[" + ",\n".join(map(json.dumps, rows)) + ",]"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        read = read_rows(tmp_path / name)
        assert {column: read.column(column) for column in read.columns} == expected


def test_names_in_two_forms_of_unicode_are_one_column(tmp_path):
    """macOS writes é as e and an accent; both look the same."""
    one, two = "pr\u00e9nom", "pre\u0301nom"
    for written in (one, two):
        rows = [{written: f"Zo{written[2:-3]}{i % 2}", "size": i % 7} for i in range(40)]
        write_csv(tmp_path / "a.csv", rows)
        for name in (one, two):
            data = read_training_data(tmp_path / "a.csv", name)
            assert data.targets[0].name == one
            assert data.targets[0].labels == ("Zo\u00e90", "Zo\u00e91")
        data = read_training_data(tmp_path / "a.csv", "size", columns={two: "text"})
        assert data.columns[0].kind == "text"
    write_csv(tmp_path / "a.csv", [{one: 1, two: 2}])
    assert read_rows(tmp_path / "a.csv").columns == (one, f"{one} 2")


def test_another_encoding_is_said(tmp_path):
    rows = [{"city": ("Москва", "Казань")[i % 2], "label": i % 2} for i in range(20)]
    write_csv(tmp_path / "a.csv", rows, encoding="cp1251")
    said = "a.csv is not written in UTF-8, so it is read as Windows-1252."
    assert any(
        warning.startswith(said) for warning in read_training_data(tmp_path / "a.csv").warnings
    )
    write_csv(tmp_path / "a.csv", [{"city": "大阪", "label": 1}], encoding="shift-jis")
    with pytest.raises(InputError, match="Save it as CSV in UTF-8"):
        read_rows(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([str(i * 7 % 10) if i % 4 else "unknown" for i in range(40)], "number"),
        (
            [f"{i % 28 + 1}.3.2024" if i % 3 else f"2024-03-{i % 28 + 1:02d}" for i in range(40)],
            "date",
        ),
        ([f"0{i % 9}123" for i in range(40)], None),
        (["yes", "no", "1", "no"] * 10, None),
    ],
)
def test_a_column_that_is_mostly_of_another_kind_is_named(tmp_path, cells, kind):
    rows = [{"x": cell, "size": i % 7, "label": i % 2} for i, cell in enumerate(cells)]
    write_csv(tmp_path / "a.csv", rows)
    data = read_training_data(tmp_path / "a.csv")
    said = [warning for warning in data.warnings if "of the cells of 'x' are" in warning]
    assert len(said) == (kind is not None)
    if kind:
        assert said[0].endswith(f"set its kind to {kind}.")
        assert read_training_data(tmp_path / "a.csv", columns={"x": kind}).columns[0].kind == kind


def test_parquet_of_other_writers_is_read(tmp_path):
    import pyarrow
    from pyarrow import parquet

    columns = {
        "city": pyarrow.array(["Bern", "Oslo"] * 10, pyarrow.string_view()),
        "": [i % 7 for i in range(20)],
        "label": [i % 2 for i in range(20)],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    found = read_training_data(tmp_path / "a.parquet").columns
    assert [(column.name, column.kind) for column in found] == [
        ("city", "category"),
        ("column 2", "number"),
        ("label", "class"),
    ]
    parquet.write_table(pyarrow.table(columns).slice(0, 0), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="has no rows"):
        read_rows(tmp_path / "a.parquet")


def test_columns_that_cannot_be_read_are_left_out(tmp_path):
    import pyarrow
    from pyarrow import parquet

    columns = {
        "notes": pyarrow.array([[("a", 1)]] * 20, pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        "size": [i % 7 for i in range(20)],
        "label": [i % 2 for i in range(20)],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    data = read_training_data(tmp_path / "a.parquet")
    assert [column.name for column in data.columns] == ["size", "label"]
    assert "types cannot be read: notes (map<" in " ".join(data.warnings)


def test_parquet_with_two_columns_of_one_name_is_refused(tmp_path):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table([[1, 2], [1, 2], ["a", "b"]], names=["size", "size", "label"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="several columns named 'size'"):
        read_rows(tmp_path / "a.parquet")


def test_a_broken_part_of_a_parquet_file_is_named(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"size": list(range(99)), "label": [0, 1, 0] * 33}), path)
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)  # the first columns, not the schema at the end
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet cannot be read as a table"):
        read_rows(path)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("a,label\n1,x\n")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "a.csv" / "cache")
    with pytest.raises(InputError, match="in the cache .*cache: Not a directory. Set the env"):
        read_rows(tmp_path / "a.csv")


def test_a_date_beyond_those_of_python_is_refused(tmp_path):
    import pyarrow
    from pyarrow import parquet

    since = pyarrow.array([2**40] * 4, pyarrow.timestamp("s"))
    parquet.write_table(
        pyarrow.table({"since": since, "label": list("abab")}), tmp_path / "a.parquet"
    )
    with pytest.raises(InputError, match="a.parquet has a value that cannot be read: "):
        read_training_data(tmp_path / "a.parquet")


def test_a_file_that_ends_like_utf8_is_read(tmp_path):
    (tmp_path / "a.csv").write_bytes("a,b\n1,Zo\u00c3".encode("cp1252"))
    assert read_rows(tmp_path / "a.csv")[0] == {"a": "1", "b": "Zo\u00c3"}


def test_columns_without_a_name_are_numbered(tmp_path):
    (tmp_path / "a.csv").write_text("\n,,\n1,2,3\n")
    table = read_rows(tmp_path / "a.csv")
    assert [table[i] for i in range(len(table))] == [
        {"column 1": "1", "column 2": "2", "column 3": "3"}
    ]


def test_columns_of_one_name_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,a,a 2,,\n1,2,3,4,5,6\n")
    table = read_rows(tmp_path / "a.csv")
    assert table.columns == ("a", "b", "a 2", "a 2 2", "column 5", "column 6")
    assert [warning.partition(".csv ")[2] for warning in table.warnings] == [
        "has several columns named 'a'. The later ones have a number after their name here."
    ]


def test_numbers_that_are_not_finite_are_missing(tmp_path):
    values = ["inf", "nan", "1e999", "-inf", *range(100)]
    rows = [{"a": value, "b": i % 3, "label": i % 2} for i, value in enumerate(values)]
    write_csv(tmp_path / "a.csv", rows)
    data = read_training_data(tmp_path / "a.csv")
    batch = data.train.batch(range(len(data.train)))
    assert np.isfinite(batch.data["numbers"]).all()
    assert 0 < (~batch.mask["numbers"][:, 0]).sum() <= 4


def test_equal_rows_in_both_parts_are_counted(tmp_path):
    rows = [{"a": i**2, "label": "ab"[i % 2]} for i in range(30)]
    write_csv(tmp_path / "a.csv", rows)
    alone = read_training_data(tmp_path / "a.csv")
    assert not alone.warnings
    write_csv(tmp_path / "a.csv", rows * 2)
    data = read_training_data(tmp_path / "a.csv")
    parts = (data.train.digests(), data.validation.digests())
    number = np.isin(parts[1], parts[0]).sum()
    assert number
    assert f"Of 12 rows for validation, {number} are equal to rows for" in data.warnings[-1]


def test_a_folder_of_save_to_disk_is_named(tmp_path):
    table = datasets.Dataset.from_dict({"size": [1, 2], "label": ["a", "b"]})
    table.save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match="saved was written by save_to_disk.*to_parquet instead"):
        read_rows(tmp_path / "saved")


def test_columns_of_files_are_relative_to_the_table(tmp_path, rng, monkeypatch):
    (tmp_path / "photos").mkdir()
    for i in range(20):
        Image.new("RGB", (16, 16), (i, 0, 0)).save(tmp_path / "photos" / f"{i}.png")
    rows = [{"photo": f"photos/{i}.png", "age": i % 7, "label": "ab"[i % 2]} for i in range(20)]
    rows[5]["photo"] = "photos\\5.png"  # as Windows writes it
    rows[4]["photo"] = None
    (tmp_path / "photos" / "7.png").write_bytes(b"no image")
    rows[9]["photo"] = "photos/none.png"
    write_csv(tmp_path / "a.csv", rows)
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match="2 of 20 examples cannot be read, more than 5%"):
        read_training_data(tmp_path)
    data = read_training_data(tmp_path, max_broken=0.1)
    assert [column.kind for column in data.columns] == ["image", "number", "class"]
    assert data.columns[0].detail == "16 x 16 pixels, 5% missing"
    assert len(data.train) + len(data.validation) == 18
    assert "row 8: Column 'photo'" in data.warnings[-1]
    assert data.train.batch([0, 1]).data["image_0"].shape == (2, 16, 16, 3)
    given = read_training_data(tmp_path, preprocessing=data.preprocessing, max_broken=0.1)
    assert given.preprocessing is data.preprocessing
    kinds = {"photo": "category"}  # a name of a file is read like any other text
    names = read_training_data(tmp_path, columns=kinds).train
    assert names.batch(range(len(names))).mask["categories"].mean() > 0.9
    for arguments, message in (
        ({"target": ["label", data.columns[1].name]}, "model reads the column .* cannot learn to"),
        ({"columns": {data.columns[1].name: "ignore"}}, "says how columns are read: leave out"),
    ):
        with pytest.raises(InputError, match=message):
            read_training_data(tmp_path, preprocessing=data.preprocessing, **arguments)


def test_images_inside_parquet_are_read(tmp_path, rng):
    import datasets

    images = [Image.new("RGB", (16, 16), (i, 0, 0)) for i in range(10)]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "city": datasets.ClassLabel(names=["Bern", "Rome"]),
            "label": datasets.ClassLabel(names=["a", "b"]),
        }
    )
    numbers = [i % 2 for i in range(10)]
    table = {"image": images, "city": [*numbers[1:], None], "label": numbers}
    datasets.Dataset.from_dict(table, features).to_parquet(tmp_path / "a.parquet")
    data = read_training_data(tmp_path / "a.parquet")
    assert [column.kind for column in data.columns] == ["image", "category", "class"]
    assert data.targets[0].labels == ("a", "b")
    batch = data.train.batch(range(len(data.train)))
    assert batch.data["image_0"].shape == (len(data.train), 16, 16, 3)
    known = batch.mask["categories"][:, 0]
    assert known.sum() >= len(data.train) - 1
    assert (batch.data["categories"][known, 0] == 1 - batch.targets["label"][known]).all()


def test_values_of_other_types_are_used_or_ignored(tmp_path):
    import datetime
    import decimal

    import pyarrow
    from pyarrow import parquet

    numbers = range(40)
    columns = {
        "time": [datetime.datetime(2024, 1, 1 + i % 28, i % 24) for i in numbers],
        "price": [decimal.Decimal(f"{i % 7}.5") for i in numbers],
        "large": [1e308 if i % 2 else -1e308 for i in numbers],
        "truth": [i % 3 == 0 for i in numbers],
        "bytes": [b"\xff%d" % (i % 3) for i in numbers],
        "list": [[i] for i in numbers],
        "a.b/c": [f"v{i % 2}" for i in numbers],
        "target": [i % 2 == 0 for i in numbers],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    data = read_training_data(tmp_path / "a.parquet")
    kinds = ["date", "number", "number", "category", "ignore", "ignore", "category", "class"]
    assert [column.kind for column in data.columns] == kinds
    assert data.targets[0].labels == ("False", "True")
    batch = data.train.batch(range(32))
    assert batch.data["numbers"].shape[:2] == (32, 6)
    assert np.isfinite(batch.data["numbers"]).all()
    assert len(data.preprocessing.modalities()) == 2
