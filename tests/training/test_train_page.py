"""The commands of the tutorials run on the data that each page makes."""

import re
import shlex

import pytest
from helpers import CHOSEN, ROOT
from helpers.training import draw_nothing

BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:(?:    .*)?\n)+)", re.MULTILINE)
SHORT, TINY = ["--epochs", "1"], ["--model", "tiny"]
COMMANDS = {"train_photos": 4, "train_table": 5, "train_sounds": 3, "train_texts": 4}
FEW = 30
"""Examples that a page makes here instead of hundreds."""


@pytest.mark.skipif("torch" not in CHOSEN, reason="trains on torch")
@pytest.mark.parametrize("page", COMMANDS)
def test_the_commands_of_a_page(page, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_nothing(monkeypatch)
    commands, namespace = [], {}
    for language, indented in BLOCK.findall((ROOT / "docs" / f"{page}.rst").read_text("utf-8")):
        code = re.sub("^    ", "", indented, flags=re.MULTILINE)
        if language == "python":
            exec(re.sub(r"(?m)^(\w+\(.*), \d+\)$", rf"\1, {FEW})", code), namespace)
        elif language == "shell":
            lines = [line for line in code.splitlines() if line.startswith("ivy-models")]
            commands += [shlex.split(line)[1:] for line in lines]
    for command in commands:
        if "perceiver_io_imagenet_conv" in command:
            continue  # its weights are not downloaded
        more = SHORT + ([] if "--model" in command else TINY)
        result = run(*command, *(more if command[0] == "train" else []))
        assert result.exit_code == 0, (command, result.output)
    assert len(commands) == COMMANDS[page]
