"""Ctrl-C between two steps, so that a run stops in a state that can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interruption:
    """Whether the user has asked to stop."""

    asked = False


@contextmanager
def heeded_interruptions() -> Iterator[Interruption]:
    """Note the first Ctrl-C instead of raising KeyboardInterrupt. The second one raises.

    In threads other than the main one, which do not receive Ctrl-C, and in a program that handles
    Ctrl-C itself, this does nothing.
    """
    interruption, previous = Interruption(), signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or previous is not signal.default_int_handler:
        yield interruption
        return

    def note(*_arguments: object) -> None:
        interruption.asked = True
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, previous)
