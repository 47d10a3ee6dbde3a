"""The commands of docs/train.rst run on the data that the page makes."""

import re
import shlex

import pytest
from helpers import CHOSEN, ROOT
from helpers.training import draw_nothing

PAGE = (ROOT / "docs" / "train.rst").read_text("utf-8")
BLOCKS = re.findall(r"^\.\. code-block:: (\w+)\n\n((?:(?:    .*)?\n)+)", PAGE, re.MULTILINE)
SHORT, TINY = ["--epochs", "1"], ["--model", "tiny"]


@pytest.mark.skipif("torch" not in CHOSEN, reason="trains on torch")
def test_the_commands_of_the_page(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_nothing(monkeypatch)
    data = [code for language, code in BLOCKS if language == "python"][:-1]
    namespace = {}
    for code in data:
        exec(re.sub("^    ", "", code, flags=re.MULTILINE), namespace)
    lines = [line for language, code in BLOCKS if language == "shell" for line in code.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if "ivy-models" in line]
    for command in commands:
        if "perceiver_io_imagenet_conv" in command:
            continue  # its weights are not downloaded
        more = SHORT + ([] if "--model" in command else TINY)
        result = run(*command, *(more if command[0] == "train" else []))
        assert result.exit_code == 0, (command, result.output)
    assert len(commands) == 12
