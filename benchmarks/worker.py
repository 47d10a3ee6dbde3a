"""One subject in a process of its own.

Reads JSON lines: first the case, then "call" or "gemm"; answers each with a JSON line.
After an error, which is answered too, it ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import memory
import numpy as np
from products import gemm_gflop_per_second
from subjects import Case, Subject, load


def main() -> None:
    # What frameworks print, from C++ too, goes to stderr: stdout holds nothing but answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        case = Case(**json.loads(sys.stdin.readline()))
        subject = load(case)
        print(json.dumps("loaded"), file=answers)
        for line in sys.stdin:
            ask = {"call": measure_call, "gemm": measure_gemm}[json.loads(line)]
            print(json.dumps(ask(case, subject)), file=answers)
    except Exception as error:  # whatever it is, the table shows it
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers)


def measure_call(case: Case, subject: Subject) -> dict[str, Any]:
    memory.fail_alone(case.device)
    meter = memory.meter(case.framework, case.device)
    meter.start()
    start = time.perf_counter()
    logits = subject.call()
    seconds = time.perf_counter() - start
    extra_bytes = meter.extra()
    if logits.size != case.batch * 1000 or not np.isfinite(logits).all():
        raise ValueError(f"The logits are wrong: shape {logits.shape}, or not finite.")
    return {"seconds": seconds, "extra_bytes": extra_bytes}


def measure_gemm(case: Case, subject: Subject) -> float:
    return gemm_gflop_per_second(subject.ops, case.dtype, case.device)


if __name__ == "__main__":
    main()
