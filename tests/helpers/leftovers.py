"""Hooks for pytest: a run that leaves a file in the checkout fails.

Ignored files and empty folders count too. Git is not needed.
"""

import os

import pytest

USUAL = {".git", ".hypothesis", ".pytest_cache", ".ruff_cache", "__pycache__"}
"""Cache folders of Python and of development tools."""

BEFORE = pytest.StashKey[set]()
LEFT = pytest.StashKey[list]()


def contents(root):
    """All files and folders of the checkout except caches and virtual environments."""
    found = set()
    for folder, folders, files in os.walk(root):
        if "pyvenv.cfg" in files:
            folders.clear()
        folders[:] = [n for n in folders if n not in USUAL and not n.endswith(".egg-info")]
        found |= {os.path.relpath(os.path.join(folder, name), root) for name in folders + files}
    return found


def is_worker(config):
    return hasattr(config, "workerinput")


def pytest_sessionstart(session):
    if not is_worker(session.config):
        session.config.stash[BEFORE] = contents(session.config.rootpath)


def pytest_sessionfinish(session):
    if not is_worker(session.config):
        left = contents(session.config.rootpath) - session.config.stash[BEFORE]
        session.config.stash[LEFT] = sorted(left)
        if left and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    if left := config.stash.get(LEFT, []):
        terminalreporter.section("left in the checkout by this run", red=True)
        for path in left:
            terminalreporter.write_line(path)
