"""How long a call takes, and how much memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ivy_models.measure.memory import Meter


@dataclass(frozen=True)
class Timing:
    """Time and memory of a call.

    Parameters
    ----------
    first_seconds
        Duration of the first call, in which JAX and TensorFlow compile.
    seconds
        Duration of each later call.
    extra_bytes
        Peak memory of a call minus that of the loaded model; None if it cannot be measured.
    """

    first_seconds: float
    seconds: tuple[float, ...]
    extra_bytes: int | None

    @property
    def median_seconds(self) -> float:
        return statistics.median(self.seconds)


def time_calls(call: Callable[[], Any], meter: Meter, repeats: int) -> Timing:
    """Run ``call`` once for the first time, once to measure memory, then ``repeats`` times.

    Parameters
    ----------
    call
        A function that returns only when its work is finished.
    meter
        From :func:`.meter`, made when the model was loaded.
    repeats
        Number of calls whose times are kept, at least 1.
    """
    first = _seconds(call)
    extra = meter.extra(call)
    return Timing(first, tuple(_seconds(call) for _ in range(repeats)), extra)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
