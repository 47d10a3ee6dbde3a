"""Helpers for tests of several folders."""

import os
import signal
from pathlib import Path

from ivy_models.ops import BACKENDS
import ivy

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
TINY = TESTS / "reference" / "tiny"

CHOSEN = os.environ.get("IVY_MODELS_TEST_BACKENDS", " ".join(BACKENDS)).split()


def unset_backends():
    while ivy.backend_stack:
        ivy.unset_backend()


def heed_interrupts():
    """Make a new process react to Ctrl-C, which background jobs of a shell ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
