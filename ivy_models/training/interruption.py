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

    Only the main thread receives Ctrl-C; in others this does nothing.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(*_arguments: object) -> None:
        interruption.asked = True
        signal.signal(signal.SIGINT, previous)

    if previous is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, previous)
