"""``ivy-models language``."""

import csv
import io
import json

from PIL import Image

GERMAN = "Der Zug nach Hamburg hat heute leider eine halbe Stunde Verspätung."
FRENCH = "Il fait très beau aujourd'hui et les enfants jouent dans le jardin."


def test_texts_files_and_lines(run, tmp_path):
    (tmp_path / "a.txt").write_text(FRENCH, "utf-8")
    (tmp_path / "lines.txt").write_text(f"{GERMAN}\n\n{FRENCH}\n", "utf-8")
    options = ["--file", str(tmp_path / "a.txt"), "--lines", str(tmp_path / "lines.txt"), "--json"]
    result = run("language", GERMAN, *options)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["language"] for line in lines] == ["de", "fr", "de", "fr"]
    assert [line["source"] for line in lines] == [GERMAN, str(tmp_path / "a.txt"), GERMAN, FRENCH]
    assert lines[0]["candidates"][0]["label"] == "de"

    rows = list(csv.reader(io.StringIO(run("language", GERMAN, "--format", "csv").stdout)))
    assert rows[0] == ["source", "language", "name", "probability", "error"]
    assert rows[1][1:3] == ["de", "German"]


def test_one_text_for_people(run, tmp_path):
    picture = tmp_path / "letters.png"
    result = run("language", GERMAN, "--letters", str(picture), "--among", "de, nl")
    assert result.exit_code == 0, result.output
    first, second, third = result.stdout.splitlines()
    assert first.endswith(": German")
    assert second.split()[1:] == ["de", "German"]
    assert third.split()[1:] == ["nl", "Dutch"]
    with Image.open(picture) as image:
        assert image.width > image.height
    unsure = run("language", "xq zzk vvq", "--threshold", "1")
    assert unsure.stdout.splitlines()[0].endswith(": unknown")


def test_what_cannot_be_used_is_said(run, tmp_path):
    result = run("language", GERMAN, "12 345", "--json")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[0]["language"] == "de"
    assert "has no letters" in lines[1]["error"]
    assert result.stderr.endswith("1 of 2 texts could not be identified.\n")
    assert run("language").exit_code == 2
    assert run("language", "a", "b", "--letters", str(tmp_path / "c.png")).exit_code == 2
    assert run("language", GERMAN, "--model", "perceiver_io_digits").exit_code == 2
    assert run("language", GERMAN, "--among", "de,xx").exit_code == 1
