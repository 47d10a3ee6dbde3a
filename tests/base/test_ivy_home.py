"""Ivy leaves nothing in the folder that a user works in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from ivy_models.base import ivy_home
from ivy_models.base.cache import CACHE_VARIABLE

ROOT_OF_IVY = "import os, ivy_models, ivy; print(os.environ['IVY_ROOT'])"
NO_ACCOUNT = "import sys; sys.modules['pwd'] = None; "
"""Python then finds the user's home only by $HOME, as for a user id without an account."""

NOT_A_FOLDER = os.devnull
"""A home or cache in which nobody, not even root, can create a file."""


def variables(**more):
    """A new user's environment: no HOME, no cache and nothing of Ivy's."""
    kept = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | more


def python(code, cwd, **environment):
    """Output of a new process."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=variables(**environment),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def work(tmp_path):
    """The folder that the user works in; the one above it has what Ivy would use itself."""
    (tmp_path / ".ivy").mkdir()
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def temporary(tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_script_leaves_the_working_folder_alone(work, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    root = Path(python(ROOT_OF_IVY, work, HOME=str(home)))
    assert root.is_relative_to(home)
    assert root.parts[-2:] == ("ivy_models", "ivy")
    assert names(work) == names(tmp_path / ".ivy") == []
    assert names(root) == ["compiler", ivy_home.LOG]


def test_without_a_home_ivy_gets_a_temporary_folder(work, temporary):
    root = Path(python(NO_ACCOUNT + ROOT_OF_IVY, work, TMPDIR=str(temporary)))
    assert root.parent == temporary
    assert names(work) == names(temporary) == []


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME", CACHE_VARIABLE])
def test_where_the_cache_cannot_be_written_ivy_gets_a_temporary_folder(work, temporary, variable):
    environment = {"HOME": NOT_A_FOLDER, "TMPDIR": str(temporary), variable: NOT_A_FOLDER}
    root = Path(python(ROOT_OF_IVY, work, **environment))
    assert root.parent == temporary
    assert names(work) == names(temporary) == []


@pytest.mark.slow
def test_the_temporary_folder_outlives_a_fork(work, temporary):
    code = """
import os, sys, ivy_models, ivy
if os.fork() == 0:
    sys.exit()
os.wait()
print(os.path.isdir(os.environ["IVY_ROOT"]))
"""
    assert python(code, work, HOME=NOT_A_FOLDER, TMPDIR=str(temporary)) == "True"
    assert names(temporary) == []


@pytest.mark.skipif(sys.platform != "linux", reason="uses /proc, where root cannot write either")
@pytest.mark.parametrize("home", ["with a home", "without a home"])
def test_the_working_folder_can_be_read_only(tmp_path, temporary, home):
    environment = {"TMPDIR": str(temporary)}
    if home == "with a home":
        environment["HOME"] = str(tmp_path)
    root = Path(python(NO_ACCOUNT + ROOT_OF_IVY, "/proc", **environment))
    assert root.is_relative_to(tmp_path if home == "with a home" else temporary)


@pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0),
    reason="a folder that is gone makes Python 3.13.0 fail at attributes that a module lacks",
)
def test_the_working_folder_can_be_gone(work, tmp_path):
    code = f"import os; os.rmdir({str(work)!r}); {ROOT_OF_IVY}"
    assert python(code, work, **{CACHE_VARIABLE: str(tmp_path / "cache")}).startswith(str(tmp_path))


def test_the_cache_variable_may_be_relative(work):
    code = ROOT_OF_IVY + "; os.chdir('/'); ivy.set_backend('numpy')"
    assert python(code, work, **{CACHE_VARIABLE: "cache"}) == str(work / "cache" / "ivy")


def test_a_users_own_root_and_log_are_kept(work, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (work / ivy_home.LOG).write_text("mine")
    assert python(ROOT_OF_IVY, work, HOME=str(tmp_path), IVY_ROOT=str(root)) == str(root)
    assert (work / ivy_home.LOG).read_text() == "mine"
    assert names(work) == [ivy_home.LOG]


def test_ivys_log_is_written_to_its_home(work, tmp_path):
    code = """
import ivy_models, ivy
from ivy.transpiler.utils import logging_utils
logging_utils.error("it %s", "broke")
"""
    python(code, work, HOME=str(tmp_path))
    (log,) = tmp_path.rglob(ivy_home.LOG)
    assert "it broke" in log.read_text()
    assert names(work) == []


def test_importing_this_library_alone_writes_nothing(work, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    python("import ivy_models", work, HOME=str(tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


def test_downloads_need_a_home_or_the_variable(work):
    code = """
from ivy_models.base.cache import cache_folder
from ivy_models.errors import DownloadError
try:
    cache_folder()
except DownloadError as error:
    print(error)
"""
    assert f"Set {CACHE_VARIABLE}" in python(NO_ACCOUNT + code, work)
    assert python(NO_ACCOUNT + code, work, **{CACHE_VARIABLE: "cache"}) == ""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["list"], ["info", "perceiver_io_digits"], ["classify", "seven.png"]],
    ids=lambda arguments: arguments[0],
)
def test_commands_leave_the_working_folder_alone(work, tmp_path, arguments):
    from PIL import Image

    Image.new("L", (8, 8)).save(tmp_path / "seven.png")
    arguments = [str(tmp_path / a) if a.endswith(".png") else a for a in arguments]
    subprocess.run(
        [sys.executable, "-m", "ivy_models", *arguments],
        cwd=work,
        env=variables(HOME=str(tmp_path)),
        capture_output=True,
        check=True,
    )
    assert names(work) == []
