"""What Paddle 3.3 needs at its import.

On CPUs of AMD, Paddle's release of MKL from 2019 uses instructions of 2006, and takes 2.4 times as
long for a matrix product. An environment variable of MKL chooses AVX2.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import ModuleType

from ivy_models.base.deep_binding import DeepBinding

CPU_INFO = Path("/proc/cpuinfo")


class PaddleLoader(DeepBinding):
    def exec_module(self, module: ModuleType) -> None:
        use_avx2_on_amd()
        with warnings.catch_warnings():  # only builds of extensions need ccache
            warnings.filterwarnings("ignore", "No ccache found")
            super().exec_module(module)


def use_avx2_on_amd() -> None:
    """Let Paddle's MKL use AVX2 on CPUs of AMD that have it, unless the user has chosen.

    MKL reads the variable at its first product. Its releases since 2020, such as that of torch,
    ignore it.
    """
    try:
        cpu = CPU_INFO.read_text("utf-8", "replace")
    except OSError:  # not Linux
        return
    if "AuthenticAMD" in cpu and {"avx2", "fma"} <= set(cpu.split()):
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
