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
    """What was measured of a call.

    Parameters
    ----------
    first_seconds
        Of the first call, in which JAX and TensorFlow compile.
    seconds
        Of each later call.
    extra_bytes
        Peak memory of a call above that of the loaded model; None where it cannot be measured.
    """

    first_seconds: float
    seconds: tuple[float, ...]
    extra_bytes: int | None

    @property
    def median_seconds(self) -> float:
        return statistics.median(self.seconds)


def time_calls(call: Callable[[], Any], meter: Meter, repeats: int) -> Timing:
    """Call ``repeats`` + 2 times: at first, to measure memory, and to measure time.

    Parameters
    ----------
    call
        Has finished its work when it returns.
    meter
        Of :func:`.meter`, made when the model was loaded.
    repeats
        Calls whose times are kept, at least 1.
    """
    first = _seconds(call)
    extra = meter.extra(call)
    return Timing(first, tuple(_seconds(call) for _ in range(repeats)), extra)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
