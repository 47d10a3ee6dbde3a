"""Types of the public names: mypy and pyright check a user's script."""

import json
import re
import subprocess
import sys

import pytest
from helpers import ROOT

import ivy_models
from ivy_models.transformers import perceiver_io

SCRIPT = """\
import ivy
from ivy_models import Prediction, classify, create_model
from ivy_models.transformers.perceiver_io import (
    PerceiverIO,
    PerceiverIOSpec,
    perceiver_io_img_classification,
)

ivy.set_backend("torch")
spec = PerceiverIOSpec(input_dim=3, num_input_axes=2, output_dim=1000, queries_dim=1024,
                       network_depth=8, learn_query=True, query_shape=[1],
                       num_fourier_freq_bands=64, num_lat_att_per_layer=6, device="cuda")
model = perceiver_io_img_classification(spec)
label, probability = classify(model, "photo.jpg")[0]
print(label.upper(), probability + 1)


def best(model: PerceiverIO) -> list[Prediction]:
    return [answers[0] for answers in classify(model, ["one.jpg", "two.jpg"], top=1)]


best(create_model("perceiver_io_digits", pretrained=True))
PerceiverIOSpec(input_dim=3, num_input_axes=2, output_dim=10, learn_qery=True)  # error
PerceiverIOSpec(input_dim="3", num_input_axes=2, output_dim=10)  # error
perceiver_io_img_classification()  # error
create_model(7)  # error
best(spec)  # error
label.no_such_attribute  # error
"""
MYPY_CONFIG = """\
[mypy]
[mypy-torch.*,jax.*,flax.*,optax.*,keras.*,tensorflow.*,transformers.*,sklearn.*,matplotlib.*,datasets.*]
follow_imports = skip
"""
"""The frameworks' own types take minutes to check, and decide nothing of the scripts."""
PACKAGES = {"ivy_models": ivy_models, "perceiver_io": perceiver_io}
NAMES = [f"{alias}.{name}" for alias, package in PACKAGES.items() for name in package.__all__]
REVEALED = "import ivy_models\nfrom ivy_models.transformers import perceiver_io\n\n" + "".join(
    f"reveal_type({name})\n" for name in NAMES
)
WRONG = {i for i, line in enumerate(SCRIPT.splitlines(), 1) if line.endswith("# error")}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "script.py").write_text(SCRIPT)
    (folder / "revealed.py").write_text(REVEALED)
    return folder


@pytest.fixture(scope="module")
def pyright(scripts):
    """Diagnostics of pyright, as (file, line, severity, message)."""
    config = {"extraPaths": [str(ROOT)]}  # this package, even if another copy is installed
    (scripts / "pyrightconfig.json").write_text(json.dumps(config))
    command = ["-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    result = run(scripts, *command)
    return [
        (d["file"].rpartition("/")[2], d["range"]["start"]["line"] + 1, d["severity"], d["message"])
        for d in json.loads(result.stdout)["generalDiagnostics"]
    ]


@pytest.fixture(scope="module")
def mypy(scripts, tmp_path_factory):
    """Diagnostics of mypy, in the same form."""
    cache = tmp_path_factory.mktemp("cache")
    (scripts / "mypy.ini").write_text(MYPY_CONFIG)
    options = ["--no-error-summary", "--disable-error-code=import-untyped"]
    result = run(scripts, "-m", "mypy", *options, "--cache-dir", cache, "script.py", "revealed.py")
    found = re.findall(r"^(\w+\.py):(\d+): (\w+): (.*)$", result.stdout, re.MULTILINE)
    assert found, result.stdout + result.stderr
    return [(file, int(line), severity, message) for file, line, severity, message in found]


def run(folder, *command):
    environment = {"PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT), "PATH": "", "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["pyright", "mypy"])
def test_errors_of_a_script_are_found_and_no_others(checker, request):
    said = request.getfixturevalue(checker)
    errors = [entry for entry in said if entry[0] == "script.py" and entry[2] == "error"]
    assert {entry[1] for entry in errors} == WRONG, errors
    assert any("learn_qery" in message for *_, message in errors)


@pytest.mark.parametrize("checker", ["pyright", "mypy"])
def test_every_public_name_has_a_type(checker, request):
    said = request.getfixturevalue(checker)
    types = [entry for entry in said if entry[0] == "revealed.py"]
    assert len(types) == len(NAMES)
    for _, _, severity, message in types:
        assert severity in ("note", "information"), message
        assert re.search(r'"(type\[|def |\(|Overload|Module|types\.ModuleType)', message), message
        assert "Unknown" not in message, message
